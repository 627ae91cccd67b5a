//! The object tree as plain data: what exists, and who may log in and see what.
#![forbid(unsafe_code)]
