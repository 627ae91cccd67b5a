//! RFC 7143 bytes and values: PDUs, digests, text, names, serial numbers, the table of negotiation keys.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
