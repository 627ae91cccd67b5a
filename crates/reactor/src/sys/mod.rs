//! The thin layer over system calls that no safe wrapper has in the form needed here.
//!
//! Functions that take addresses are `unsafe`: their callers own the memory and say why it lives long enough.

pub(crate) mod aio;
pub(crate) mod block_device;
pub(crate) mod interfaces;
pub(crate) mod lock;
pub(crate) mod mapping;
pub(crate) mod net;
pub(crate) mod rw;
