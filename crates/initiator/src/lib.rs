//! A small sans-I/O iSCSI initiator on iscsi-wire alone: a second reading of the RFC.
#![forbid(unsafe_code)]
