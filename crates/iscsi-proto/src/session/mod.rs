//! One session in full feature phase.

mod event;
mod sense;
mod transmit;

pub use event::{
    CommandEvent, ConnectionIndex, DataFault, DropReason, Event, LogoutHandle, MAX_SENSE_BYTES,
    Outcome, ReceivePlan, Received, SendTargets, SessionLimits, TaskId, TextHandle, TmfEvent,
    TmfHandle, TmfReference,
};
pub use sense::{TRANSPORT_SENSE_BYTES, TransportSense};
pub use transmit::{Piece, Transmit};
