//! Black-box tests: the built `quintain` binary, started as a user starts it, against real initiators on loopback.
//!
//! The library holds what the tests share: [`Target`] starts and ends the binary, [`tool`] runs a program within a time
//! limit, [`test_cu`] reads what `iscsi-test-cu` prints and compares it with the list of what is expected, [`Client`] is our
//! own sans-I/O initiator on a TCP stream.
//!
//! `cargo xtask ci interop` builds the binary, installs the Debian packages and sets the environment: `QUINTAIN_BIN`,
//! the binary (else the one beside the test's own build), and `QUINTAIN_QEMU_IMG`, a `qemu-img` that speaks iscsi://.

pub mod pattern;
pub mod target;
pub mod test_cu;
pub mod tool;

pub use target::{Credentials, Driver, Serve, Target};
