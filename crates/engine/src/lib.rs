//! Runs the tree: workers, portals, sessions, logical units.
#![forbid(unsafe_code)]
