//! How much of what it keeps its blocks in a store uses.

/// What a store takes up, and what it may still take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What it takes up, in bytes.
    pub used_bytes: u64,
    /// What is left for it and for others, in bytes; `None`: nobody knows.
    pub available_bytes: Option<u64>,
}
