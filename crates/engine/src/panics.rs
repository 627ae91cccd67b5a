//! The catch around sans-I/O calls: a panic in one ends one session or one logical unit, never the process.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The call panicked. What it worked on may be half changed and must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs `call`. Its caller drops, or takes offline, what `call` had hold of when this returns an error.
#[inline(always)]
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_payload| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_of_a_panic_is_an_error_and_the_thread_goes_on() {
        assert_eq!(guard(|| 7), Ok(7));
        assert_eq!(
            guard(|| -> u8 { panic!("raised by a test") }),
            Err(Panicked)
        );
    }
}
