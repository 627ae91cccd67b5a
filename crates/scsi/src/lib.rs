//! The SCSI device server, sans-I/O: SAM-5, SPC-5, SBC-4.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
