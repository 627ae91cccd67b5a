//! What goes into a login and what comes out of it.

use core::time::Duration;
use std::net::SocketAddr;

use iscsi_wire::{Cid, IscsiName, Isid, SerialNumber, Tsih};

use crate::negotiate::{NegotiatedParams, OfferedParams};

/// What a login is told about its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginConfig {
    /// Our end of the connection.
    pub portal: SocketAddr,
    /// The initiator's end of the connection.
    pub peer: SocketAddr,
    /// What one login may cost.
    pub limits: LoginLimits,
    /// When the whole login must be over, on the clock of `now`.
    pub deadline: Duration,
}

/// What one login may cost. It keeps at most `max_text_bytes` of text as it comes and the same again while that is taken
/// apart; for each of `max_keys` keys 300 bytes (its name, its place in lists, and an answer of at most 80 bytes, which
/// may be waiting and queued at once); 48 bytes for the answer to each of `max_pdus` requests; and 8 KiB besides. With the
/// defaults that is less than 256 KiB for a peer that does its worst, and under 4 KiB for a usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// Bytes of text in one request, over all the PDUs it is split into (RFC 7143 §6.2: 64 KiB must be possible).
    pub max_text_bytes: usize,
    /// Login Requests in one login.
    pub max_pdus: u32,
    /// Keys in one login.
    pub max_keys: usize,
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            max_text_bytes: 65_536,
            max_pdus: 256,
            max_keys: 256,
        }
    }
}

/// What the session is for (RFC 7143 §13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// SendTargets only.
    Discovery,
    /// SCSI.
    Normal,
}

/// Who logs in, to what, as which session and connection: as the first request says it, unproven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginIdentity {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// InitiatorAlias, where it came with the first request.
    pub initiator_alias: Option<String>,
    /// TargetName: always there in a normal session, and of no effect in a discovery session.
    pub target_name: Option<IscsiName>,
    /// SessionType.
    pub session_type: SessionType,
    /// The initiator's part of the session ID.
    pub isid: Isid,
    /// The target's part: zero for a new session.
    pub tsih: Tsih,
    /// The connection ID.
    pub cid: Cid,
}

/// The command window of a session that goes on while a connection logs in to it. Both numbers only grow, so that what
/// stood at one time of the login is never wrong: an initiator passes over what it knows better (RFC 7143 §4.2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedWindow {
    /// ExpCmdSN.
    pub exp_cmd_sn: SerialNumber,
    /// MaxCmdSN.
    pub max_cmd_sn: SerialNumber,
}

/// What stands behind the portal for this login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetOffer {
    /// The group of the target that the connection came in through. `None` in a discovery session that names no target.
    pub portal_group_tag: Option<u16>,
    /// TargetAlias.
    pub target_alias: Option<String>,
    /// The command window of the session that the connection is to join; `None` for a new session.
    pub joins: Option<JoinedWindow>,
    /// Our side of each key.
    pub params: OfferedParams,
}

/// A login that is complete but for its last response: may it become a session?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// Who, to what.
    pub identity: LoginIdentity,
    /// As the [`TargetOffer`] had it.
    pub portal_group_tag: Option<u16>,
    /// The CHAP_N that proved itself, or `None` where the policy asked for no proof.
    pub authenticated_as: Option<String>,
    /// The node ACL that the verdict names for this initiator in place of its own.
    pub acl: Option<IscsiName>,
    /// What was negotiated.
    pub params: NegotiatedParams,
}

/// What the login wants of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginEvent {
    /// Which target is this? Once, before anything is answered. To be answered by [`super::Login::resolved`].
    Resolve(LoginIdentity),
    /// To be put to the authenticator; [`super::Login::policy_is`].
    Policy(auth::PolicyRequest),
    /// To be put to the authenticator; [`super::Login::verdict_is`].
    Verify(auth::VerifyRequest),
    /// May it become a session? [`super::Login::commit`] or [`super::Login::refuse`].
    Commit(CommitRequest),
    /// Over: send what [`super::Login::poll_transmit`] gives, then close the connection.
    Close,
}

/// A login that became a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Who, to what.
    pub identity: LoginIdentity,
    /// The session's handle, as the final response tells it.
    pub tsih: Tsih,
    /// As the [`TargetOffer`] had it.
    pub portal_group_tag: Option<u16>,
    /// The CHAP_N that proved itself, or `None` where the policy asked for no proof.
    pub authenticated_as: Option<String>,
    /// The node ACL that the verdict names for this initiator in place of its own.
    pub acl: Option<IscsiName>,
    /// What was negotiated.
    pub params: NegotiatedParams,
    /// CmdSN of the first command to come: login requests are immediate and use up none. In a login to an existing
    /// session, ExpCmdSN as the responses told it.
    pub exp_cmd_sn: SerialNumber,
    /// MaxCmdSN as the final response tells it: a window of one, or that of the session which the connection joins. The
    /// session's own never lies before it.
    pub max_cmd_sn: SerialNumber,
    /// ExpStatSN of the first Login Request: in one that restarts a connection, that of the connection before (RFC 7143
    /// §11.12.9).
    pub first_exp_stat_sn: SerialNumber,
    /// StatSN of the next response: the final Login Response has the one before.
    pub stat_sn: SerialNumber,
    /// The final Login Response, to be sent before anything else.
    pub final_response: Vec<u8>,
    /// What goes out in place of `final_response` where the session cannot be after all, because something changed since
    /// the commit: one Login Response with status 0301h, after which the connection closes.
    pub refusal: Vec<u8>,
    /// Our end of the connection.
    pub portal: SocketAddr,
    /// The initiator's end of the connection.
    pub peer: SocketAddr,
}
