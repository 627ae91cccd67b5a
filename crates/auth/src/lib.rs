//! The authentication upcall, CHAP, and the built-in store behind it. Sans-I/O.
#![forbid(unsafe_code)]
