//! What a session has seen that an operator may ask about.

/// Counts since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Data-Out PDUs dropped because their task was over, or unknown.
    pub late_data_pdus: u64,
    /// Bytes of payload in these.
    pub late_data_bytes: u64,
    /// Requests ignored because their CmdSN was outside the window, or had come before (RFC 7143 §4.2.2.1).
    pub ignored_requests: u64,
    /// PDUs answered with a Reject.
    pub rejects: u64,
    /// Header digests that did not match.
    pub header_digest_errors: u64,
    /// Data digests that did not match.
    pub data_digest_errors: u64,
    /// Tasks ended because their Data-Out broke the rules.
    pub data_faults: u64,
    /// R2Ts sent for data that was lost.
    pub recovery_r2ts: u64,
    /// Pings sent.
    pub pings: u64,
    /// Bytes of ping data not echoed, because too much of it waited.
    pub ping_bytes_cut: u64,
}
