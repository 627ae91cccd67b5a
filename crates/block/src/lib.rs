//! The words between SCSI and storage: addresses, counts, geometry, errors.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
