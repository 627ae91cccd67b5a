//! Protection information: 8 bytes beside each block, made of its data, and held against it at each stop. SBC-4 r22 "Protection
//! information model".
//!
//! How it goes:
//! - **A logical unit has it** when its store keeps it ([`block::StoreCaps::protection`]): that is how the operator made it, of type
//!   1, 2 or 3. FORMAT UNIT with the same type has it read as not written; another type is refused (SPT says which one there is).
//! - **On the wire** it follows each block when the CDB's RDPROTECT, WRPROTECT, VRPROTECT or ORPROTECT is not zero; the two are
//!   taken apart and put together in the window's own memory. What comes without gets a guard and tags that disable checks, as
//!   the standard has it for ATO 1.
//! - **In the store** it stands apart from the blocks, complemented ([`block::TUPLE_BYTES`]): a hole is all ones, which nothing is
//!   checked against. So a new disk needs no formatting, and UNMAP and WRITE SAME with zeros leave what the standard asks for.
//! - **Together.** A write has its blocks to itself (as COMPARE AND WRITE has) from before the blocks are written until their
//!   tuples are; a read has both read as one I/O. So nobody sees the one without the other, and a check that fails tells of damage.
//! - **Durable.** Both are written as the data would be: both are on the medium before the status with FUA or without write cache,
//!   and SYNCHRONIZE CACHE flushes both. After a loss of power, blocks that were being written, or were written
//!   since the last flush, may have new data beside old tuples, or the reverse: they then fail their checks, as they should, until
//!   they are written again.
//! - **Copies.** Third-party copies are neither offered by such a logical unit nor made to it by others.

mod checks;
mod guard;
mod tuple;

pub(crate) use checks::Protect;
pub(crate) use guard::guard_of;
pub(crate) use tuple::{BYTES, Expected, Origin, Tuple};
