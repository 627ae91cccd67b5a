//! One logical unit, shared by workers: its home, its shards, and what each nexus has pending on it.
//!
//! An LU has one [`LuHome`], and one [`LuShard`] on each worker that has a session using it. A shard holds what plain
//! I/O needs, and only its worker touches it: the present snapshot, its part of the task set, the I/O in flight, the
//! nexuses with their unit attentions. All else is a message to the home, which works one action at a time by means of a
//! *fence*: every shard is told what to hold back (or to abort), and acknowledges when what is older has left; then the
//! home acts, publishes the new snapshot with its unit attentions, waits for the acknowledgements, lifts the fence and
//! answers. Two promises follow:
//!
//! - no I/O is admitted on a snapshot that a completed action has replaced: [`LuShard::admit_io`] compares versions, and
//!   an action completes only when every shard has the new one;
//! - while a range is granted to a task, no other I/O touches it on any shard.
//!
//! Everything here is a state machine: messages in, messages out. It requires of its caller that messages between one
//! shard and the home keep their order in each direction; messages of different shards may overtake each other.
//!
//! What it does not know: threads and mailboxes (`engine`), what a CDB says (the device server), payload.
//!
//! Standards: SAM-5 r21 "Task and command lifetimes", "Task attributes", "Unit attention conditions", "Task management
//! functions"; SPC-2 r20 "RESERVE(6)" and "RELEASE(6)"; SBC-4 r22 "COMPARE AND WRITE command".

mod attention;
mod fence;
mod home;
mod ids;
mod message;
mod nexus;
mod shard;
mod statistics;
mod tasks;

pub use attention::{UnitAttention, UnitAttentions};
pub use fence::{Fence, FenceScope, Holds, IoKind, Meant, Telling};
pub use home::{LuHome, Save, SaveKind, Transition};
pub use ids::{FenceId, NexusId, ShardId, TaskKey, Ticket};
pub use message::{
    Abortion, ActionResult, AttentionScope, HomeAction, LuChange, ModeChange, Publication,
    SanitizeRequest, ShardAction, ToHome, ToShard,
};
pub use nexus::NexusLu;
pub use shard::{Admit, AdmitEnd, EnterError, LuShard, Plain, PlainKind};
pub use statistics::{
    LuStatistics, LuTotals, SelfTestCode, SelfTestResult, Traffic, TrafficTotals,
};
pub(crate) use statistics::{SELF_TESTS, ShardStatistics};

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod contingent_tests;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod persistent_tests;
#[cfg(test)]
mod tests;
