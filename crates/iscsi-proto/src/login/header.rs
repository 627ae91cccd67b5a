//! The rules that the headers of one login's requests keep among themselves (RFC 7143 §11.12).

use iscsi_wire::{Bhs, LoginRequest, Stage, opcode};

use super::error::LoginError;
use super::inbound::Inbound;
use super::types::LoginLimits;
use crate::negotiate::DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH;

/// The version this target speaks: RFC 7143 §11.12.4 knows no other.
pub(super) const VERSION: u8 = 0;

/// What the requests so far have been.
#[derive(Clone, Default)]
pub(super) struct Headers {
    /// The first request: the others are held to it.
    pub(super) first: Option<LoginRequest>,
    count: u32,
}

impl Headers {
    /// Checks a complete header before a byte of its data segment is kept. `stage` is the one the login is in, `None`
    /// before its first request has been taken.
    pub(super) fn admit(
        &mut self,
        bhs: &Bhs,
        stage: Option<Stage>,
        inbound: &Inbound,
        limits: &LoginLimits,
    ) -> Result<LoginRequest, LoginError> {
        if bhs.opcode() != opcode::LOGIN_REQUEST {
            return Err(match self.first {
                None => LoginError::NotALogin,
                Some(_) => LoginError::InvalidDuringLogin(bhs.opcode()),
            });
        }
        let request = LoginRequest::parse(bhs).map_err(|error| {
            // What can be read of it is what the response is addressed by.
            self.first.get_or_insert_with(|| addressed(bhs));
            LoginError::Header(error)
        })?;
        // Only the current stage of the first request is looked at while its text goes on in further ones.
        let stage = stage.or_else(|| self.first.map(|first| first.current_stage));
        let first = *self.first.get_or_insert(request);
        self.count = self.count.saturating_add(1);
        if self.count > limits.max_pdus {
            return Err(LoginError::TooManyRequests);
        }
        // RFC 7143 §11.12.4, §11.13.5: no version within the initiator's range is one of ours.
        if request.version_min > VERSION {
            return Err(LoginError::UnsupportedVersion);
        }
        check_constant(&first, &request)?;
        check_stages(&request, stage)?;
        check_length(&request, inbound, limits)?;
        // Only the first CmdSN counts, also in what is answered.
        Ok(LoginRequest {
            cmd_sn: first.cmd_sn,
            ..request
        })
    }
}

/// RFC 7143 §11.12: fields that stay the same over all requests of a login. CmdSN does too, but not all initiators keep
/// it, and only the first one's counts.
fn check_constant(first: &LoginRequest, request: &LoginRequest) -> Result<(), LoginError> {
    let changed = [
        (first.itt != request.itt, "InitiatorTaskTag"),
        (first.isid != request.isid, "ISID"),
        (first.tsih != request.tsih, "TSIH"),
        (first.cid != request.cid, "CID"),
        (first.version_max != request.version_max, "Version-max"),
        (first.version_min != request.version_min, "Version-min"),
    ];
    let found = changed.into_iter().find(|(changed, _)| *changed);
    found.map_or(Ok(()), |(_, field)| Err(LoginError::Changed(field)))
}

fn check_stages(request: &LoginRequest, stage: Option<Stage>) -> Result<(), LoginError> {
    let current = request.current_stage;
    // RFC 7143 §6.3.1: a login starts in either stage; the target's answers say when the next begins, and there is no
    // way back.
    let expected = match stage {
        None => matches!(current, Stage::Security | Stage::Operational),
        Some(stage) => current == stage,
    };
    if !expected {
        return Err(LoginError::WrongStage);
    }
    if !request.transit {
        return Ok(());
    }
    // RFC 7143 §11.12.2: a request whose text goes on cannot ask for the next stage.
    if request.r#continue {
        return Err(LoginError::ContinueAndTransit);
    }
    // RFC 7143 §11.12.3: from security to operational, and from either to full feature.
    match (current, request.next_stage) {
        (Stage::Security, Stage::Operational | Stage::FullFeature)
        | (Stage::Operational, Stage::FullFeature) => Ok(()),
        _ => Err(LoginError::IllegalTransition),
    }
}

fn check_length(
    request: &LoginRequest,
    inbound: &Inbound,
    limits: &LoginLimits,
) -> Result<(), LoginError> {
    // RFC 7143 §13.12: 8192 holds until a side has declared more, and what a target declares in a login is for what
    // comes after it.
    if request.data_segment_length > DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH {
        return Err(LoginError::SegmentTooLong);
    }
    let length = usize::try_from(request.data_segment_length).unwrap_or(usize::MAX);
    if inbound.text_bytes().saturating_add(length) > limits.max_text_bytes {
        return Err(LoginError::TextTooLong);
    }
    Ok(())
}

/// A request's address fields, read from a header that is no legal request.
fn addressed(bhs: &Bhs) -> LoginRequest {
    let mut without_ahs = *bhs;
    without_ahs.0[4] = 0;
    LoginRequest::parse(&without_ahs).unwrap_or_else(|_| LoginRequest {
        itt: bhs.itt(),
        ..LoginRequest::default()
    })
}
