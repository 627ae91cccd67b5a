//! File, block device, RAM and null backstores, and the filters that hurt them in tests.
#![forbid(unsafe_code)]
