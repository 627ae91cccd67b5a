//! What asks a logical unit's home for something without being a task: task management functions, and nexuses that go.

use iscsi_proto::session::TmfHandle;

use crate::shared::UnitIndex;
use crate::slots::Key;

/// Who waits for the home's answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    /// A task management function of the session `link`.
    Tmf { link: Key, handle: TmfHandle },
    /// The session `link` may not use this unit any more, and the unit has let go of it.
    Unmap { link: Key, unit: UnitIndex },
    /// The session `link` ends, and one of its logical units has let go of it.
    Detach { link: Key },
}
