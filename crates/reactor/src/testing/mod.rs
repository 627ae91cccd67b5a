//! What tests of other crates need and may not write themselves, because it takes unsafe code.

mod counting;
mod stuck_file;

pub use counting::CountingAllocator;
pub use stuck_file::{Hang, StuckFile};
