//! What a logical unit is at one moment: published by the LU's home, read by every shard.
//!
//! Plain data. A task checks a command against one snapshot; when the shard holds another version at the moment of
//! submitting I/O, the checks run again.

use std::sync::Arc;

use block::{Geometry, ProtectionType, StoreCaps};

use crate::access::{AccessGroup, AccessState};
use crate::command::{Cdb, VARIABLE_LENGTH};
use crate::device::DeviceType;
use crate::identifying::Identifying;
use crate::lu::{LuStatistics, NexusId};
use crate::multimedia::Tray;
use crate::persistent_reserve::{NexusName, PersistentReservations, ReservationType};
use crate::sanitize::Sanitize;
use crate::sense::Sense;

/// All of a logical unit that commands are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LuSnapshot {
    /// Grows by one with each publication.
    pub version: u64,
    /// What it is.
    pub device: DeviceType,
    /// Whether its medium is in, where it can be taken out.
    pub tray: Tray,
    /// Facts of the store, with the geometry.
    pub caps: StoreCaps,
    /// Names that stay.
    pub identity: Arc<LuIdentity>,
    /// The values of the mode pages that can change.
    pub mode: ModeValues,
    /// What [`ModeValues`] were at start, and return to at a reset where none are saved.
    pub mode_defaults: ModeValues,
    /// What they return to at a reset, and are after a restart: those that MODE SELECT has saved.
    pub mode_saved: Option<ModeValues>,
    /// What it has done.
    pub statistics: Arc<LuStatistics>,
    /// What SET TIMESTAMP said, as milliseconds to add to the time of day; `None`: nothing yet.
    pub timestamp_offset_ms: Option<i64>,
    /// The threshold of the Logical Block Provisioning mode page has been reached, and everybody told.
    pub threshold_reached: bool,
    /// What initiators have written on it.
    pub identifying: Arc<Identifying>,
    /// By what the LU is kept from some of its nexuses: what each command looks at.
    pub reserved: Reserved,
    /// Who is registered, and who holds the persistent reservation.
    pub persistent: Arc<PersistentReservations>,
    /// Registrations can be made to outlast a loss of power (PTPL_C), and so can settings.
    pub ptpl_capable: bool,
    /// A sanitize operation that is under way, or has failed.
    pub sanitize: Option<Sanitize>,
    /// The ports the LU can be reached through, ascending by relative port identifier.
    pub target_ports: Arc<[TargetPort]>,
    /// Whether commands that touch the medium are served.
    pub condition: LuCondition,
    /// ACA conditions that are in effect: one at most, or one for each nexus where these have task sets of their own.
    pub contingent: Vec<Contingent>,
    /// Third-party copies are offered, where they can be.
    pub third_party_copy: bool,
    /// The target port groups, ascending by identifier; a port of another group, or of none, is active/optimized for ever.
    pub access_groups: Arc<[AccessGroup]>,
}

impl LuSnapshot {
    /// A ready LU of a store, at version 1, not reserved.
    #[must_use]
    pub fn new(
        caps: StoreCaps,
        identity: Arc<LuIdentity>,
        target_ports: Arc<[TargetPort]>,
    ) -> Self {
        let mode = ModeValues {
            write_cache: caps.write_cache,
            ..ModeValues::default()
        };
        Self {
            version: 1,
            device: DeviceType::Disk,
            tray: Tray::default(),
            caps,
            identity,
            mode,
            mode_defaults: mode,
            mode_saved: None,
            statistics: Arc::default(),
            timestamp_offset_ms: None,
            identifying: Arc::default(),
            threshold_reached: false,
            reserved: Reserved::No,
            persistent: Arc::default(),
            ptpl_capable: false,
            sanitize: None,
            target_ports,
            condition: LuCondition::Ready,
            contingent: Vec::new(),
            third_party_copy: true,
            access_groups: Arc::new([]),
        }
    }

    /// The LU with these persistent reservations.
    #[must_use]
    pub fn with_persistent(self, persistent: Arc<PersistentReservations>) -> Self {
        let reserved = match persistent.kind() {
            _ if persistent.is_lost() => Reserved::Lost,
            Some(kind) => Reserved::Persistently(kind),
            None => Reserved::No,
        };
        Self {
            reserved,
            persistent,
            ..self
        }
    }

    /// Whether there is a place to keep settings.
    #[must_use]
    pub fn can_save(&self) -> bool {
        self.ptpl_capable
    }

    /// The state in which this target port reaches the LU.
    #[must_use]
    pub fn access_state(&self, target_port: u16) -> AccessState {
        let port = |port: &&TargetPort| port.relative_id == target_port;
        let group = self
            .target_ports
            .iter()
            .find(port)
            .map(|port| port.group_id);
        let groups = self.access_groups.iter();
        groups
            .filter(|one| Some(one.id) == group)
            .map(|one| one.state)
            .next()
            .unwrap_or_default()
    }

    /// What REQUEST SENSE tells while no unit attention is pending.
    #[must_use]
    pub(crate) fn standing_sense(&self) -> Sense {
        match self.condition {
            LuCondition::Ready if !self.tray.is_out() => Sense::NO_SENSE,
            LuCondition::Ready | LuCondition::NotReady => self.not_ready(),
            LuCondition::Failed => Sense::INTERNAL_TARGET_FAILURE,
            LuCondition::Sanitizing => self.sanitize_in_progress(),
            LuCondition::SanitizeFailed => Sense::SANITIZE_COMMAND_FAILED,
        }
    }

    /// Why a command that needs the medium is not served, while it is not there.
    #[must_use]
    pub(crate) fn not_ready(&self) -> Sense {
        if self.tray.is_open() {
            Sense::MEDIUM_NOT_PRESENT_TRAY_OPEN
        } else if self.tray.is_out() {
            Sense::MEDIUM_NOT_PRESENT_TRAY_CLOSED
        } else if self.device.tables().is_removable {
            Sense::MEDIUM_NOT_PRESENT
        } else {
            Sense::NOT_READY
        }
    }

    /// Blocks and their size.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.caps.geometry
    }

    /// The ACA condition of the task set that this nexus' commands are in.
    #[must_use]
    pub fn contingent_for(&self, nexus: NexusId) -> Option<&Contingent> {
        let mut all = self.contingent.iter();
        all.find(|one| one.nexus == nexus || !self.mode.task_set_per_nexus)
    }

    /// Whether third-party copies are offered: what they write has no protection information.
    #[must_use]
    pub fn copies_for_others(&self) -> bool {
        self.third_party_copy && self.device == DeviceType::Disk && self.caps.protection.is_none()
    }

    /// SBC-4 "Type 2 protection": whether the commands of 32 bytes are processed.
    pub(crate) fn has_long_commands(&self) -> bool {
        self.caps.protection == Some(ProtectionType::Type2)
    }

    /// NACA of a command to this LU. Where an operation code means nothing, nothing says where its CONTROL byte stands.
    pub(crate) fn naca(&self, cdb: &Cdb) -> bool {
        cdb.naca(self.device) && (cdb.opcode() != VARIABLE_LENGTH || self.has_long_commands())
    }

    /// Whether no condition of the LU keeps a READ or WRITE back, whoever sends it. What is new in a snapshot has to be
    /// thought of here.
    pub(crate) fn is_plain(&self) -> bool {
        let Self {
            version: _,
            device,
            // What can be taken out is no disk.
            tray: _,
            caps,
            identity: _,
            mode: _,
            mode_defaults: _,
            mode_saved: _,
            statistics: _,
            timestamp_offset_ms: _,
            threshold_reached: _,
            identifying: _,
            reserved,
            persistent: _,
            ptpl_capable: _,
            sanitize,
            target_ports: _,
            condition,
            contingent,
            third_party_copy: _,
            access_groups,
        } = self;
        let StoreCaps {
            geometry: _,
            read_only: _,
            unmap: _,
            unmap_zeroes: _,
            write_zeroes: _,
            unmap_granularity_blocks: _,
            rotational: _,
            physical_block_exponent: _,
            optimal_granularity_blocks: _,
            optimal_blocks: _,
            volatile: _,
            write_cache: _,
            protection,
        } = caps;
        *device == DeviceType::Disk
            && protection.is_none()
            && *reserved == Reserved::No
            && sanitize.is_none()
            && *condition == LuCondition::Ready
            && contingent.is_empty()
            && access_groups.iter().all(|one| one.state.is_active())
    }

    /// Whether nothing may be written, through any LUN.
    #[must_use]
    pub fn write_protected(&self) -> bool {
        self.caps.read_only || self.mode.software_write_protect
    }
}

/// By what a logical unit is kept from some of its nexuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserved {
    /// By nothing.
    #[default]
    No,
    /// SPC-2 RESERVE: this nexus alone may use it.
    For(NexusId),
    /// A persistent reservation of this type.
    Persistently(ReservationType),
    /// A persistent reservation that nobody knows any more: see [`PersistentReservations::lost`].
    Lost,
}

/// Whether commands that touch the medium are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LuCondition {
    /// They are.
    #[default]
    Ready,
    /// The store is not there: NOT READY until it is.
    NotReady,
    /// Something inside is broken: HARDWARE ERROR, INTERNAL TARGET FAILURE until the operator resets the LU.
    Failed,
    /// A sanitize operation is under way: little more than its progress is told.
    Sanitizing,
    /// A sanitize operation has failed: nothing is served before another has not, or EXIT FAILURE MODE allows it.
    SanitizeFailed,
}

/// Names of a logical unit that stay for its life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LuIdentity {
    /// T10 vendor identification, ASCII, padded with spaces.
    pub vendor: [u8; 8],
    /// Product identification, ASCII, padded with spaces.
    pub product: [u8; 16],
    /// Product revision level, ASCII, padded with spaces.
    pub revision: [u8; 4],
    /// Unit serial number, printable ASCII; more than [`MAX_SERIAL_BYTES`] are not told.
    pub serial: String,
    /// NAA designator: 8 bytes (NAA 2, 3 or 5) or 16 (NAA 6) are told, by its first four bits.
    pub naa: [u8; 16],
}

impl LuIdentity {
    /// The bytes of the NAA designator: formats but 6h have eight.
    #[must_use]
    pub fn naa_designator(&self) -> &[u8] {
        if self.naa[0] >> 4 == 6 {
            &self.naa
        } else {
            &self.naa[..8]
        }
    }
}

/// The longest unit serial number that is told, in bytes.
pub const MAX_SERIAL_BYTES: usize = 200;

/// A SCSI target port: an iSCSI target portal group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetPort {
    /// Relative target port identifier, 1 to 65,535, unique in the daemon.
    pub relative_id: u16,
    /// The target port group (ALUA) it is in.
    pub group_id: u16,
    /// SCSI name string of the port: the iSCSI name, `,t,0x` and four hex digits of the portal group tag.
    pub name: Arc<str>,
    /// SCSI name string of the target device: the iSCSI name.
    pub device_name: Arc<str>,
}

/// An ACA condition (SAM-5 "Auto contingent allegiance").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingent {
    /// The faulted I_T nexus: that whose command ended in CHECK CONDITION.
    pub nexus: NexusId,
    /// Its name.
    pub name: NexusName,
}

/// QERR of the Control mode page: what CHECK CONDITION does to the other commands of the task set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueueError {
    /// 00b: nothing.
    #[default]
    Continues,
    /// 01b: they are aborted.
    AbortsAll,
    /// 11b: those of the same nexus are aborted.
    AbortsOwn,
}

/// UA_INTLCK_CTRL of the Control mode page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interlock {
    /// 00b: a unit attention that is reported is cleared by that.
    #[default]
    Cleared,
    /// 10b: it stays until REQUEST SENSE reports it.
    Kept,
    /// 11b: the same, and BUSY, TASK SET FULL and RESERVATION CONFLICT establish one of their own.
    KeptAndEstablished,
}

/// The values of the mode pages that can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModeValues {
    /// WCE of the Caching mode page: acknowledged writes may still be volatile.
    pub write_cache: bool,
    /// D_SENSE of the Control mode page: sense data in descriptor format.
    pub descriptor_sense: bool,
    /// SWP of the Control mode page: nothing may be written.
    pub software_write_protect: bool,
    /// TST of the Control mode page is 001b: each nexus has a task set of its own.
    pub task_set_per_nexus: bool,
    /// QERR of the Control mode page.
    pub queue_error: QueueError,
    /// TAS of the Control mode page: a command that another nexus aborts ends with TASK ABORTED; else it ends without a
    /// status, and COMMANDS CLEARED BY ANOTHER INITIATOR is established.
    pub task_aborted_status: bool,
    /// UA_INTLCK_CTRL of the Control mode page.
    pub interlock: Interlock,
    /// ENABLED of the threshold in the Logical Block Provisioning mode page.
    pub threshold_enabled: bool,
    /// THRESHOLD COUNT: when so many threshold sets are in use, whoever uses the LU is told.
    pub threshold_count: u32,
}
