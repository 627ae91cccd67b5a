//! Black-box tests: the built `quintain` binary, started as a user starts it, against real initiators on loopback.
//!
//! The library holds what the tests share: [`Serve`] and [`Target`] start and end the binary, [`tool`] runs a program within
//! a time limit, [`test_cu`] reads what `iscsi-test-cu` prints and compares it with the list of what is expected, [`Client`]
//! is our own sans-I/O initiator on a TCP stream, [`load`] a load that knows what the target has acknowledged, [`Peer`] an
//! initiator that need not behave, [`Siege`] a target under attack beside a session that must not notice, [`proxy`] loses and damages
//! PDUs on their way, and [`recovery`] is our initiator over several sockets that has to live with it.
//!
//! `cargo xtask ci interop` builds the binary, installs the Debian packages and sets the environment: `QUINTAIN_BIN`,
//! the binary (else the one beside the test's own build), and `QUINTAIN_QEMU_IMG`, a `qemu-img` that speaks iscsi://.

pub mod client;
pub mod floor;
pub mod instructions;
pub mod load;
pub mod pattern;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod recovery;
pub mod siege;
pub mod target;
pub mod test_cu;
pub mod tool;

pub use client::Client;
pub use load::Load;
pub use peer::Peer;
pub use siege::Siege;
pub use target::{Credentials, Driver, Serve, Target};

/// Makes of each function `fn(Driver) -> anyhow::Result<()>` a module of its name with a test for each driver.
#[macro_export]
macro_rules! on_each_driver {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn epoll() -> anyhow::Result<()> {
                super::$name($crate::Driver::Epoll)
            }

            #[test]
            fn uring() -> anyhow::Result<()> {
                super::$name($crate::Driver::Uring)
            }
        })+
    };
}
