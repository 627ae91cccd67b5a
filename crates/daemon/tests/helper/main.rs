//! Authentication by a helper, over a real socket: the same verdicts as from the built-in store, and nothing that hangs
//! whatever the helper does.

mod ask;
mod example;
mod failures;
mod pool;
mod server;
mod suite;
