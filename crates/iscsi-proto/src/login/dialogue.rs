//! What a login knows once its first request is read, whatever stage it is in.

use iscsi_wire::keys::Key;
use iscsi_wire::text::TextWriter;
use iscsi_wire::{IscsiName, LoginRequest, Stage, Tsih};

use super::error::LoginError;
use super::types::{LoginIdentity, SessionType, TargetOffer};
use crate::negotiate::{Ledger, Negotiation, Pair};

/// The longest alias in bytes (RFC 7143 §6.1: a value of no stated length).
const MAX_ALIAS_BYTES: usize = 255;

/// A login of which the first request is complete, and nothing is answered yet.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) identity: LoginIdentity,
    ledger: Ledger,
    pub(super) request: LoginRequest,
    pub(super) pairs: Vec<Pair>,
}

/// A login whose target is known.
#[derive(Clone)]
pub(super) struct Dialogue {
    pub(super) identity: LoginIdentity,
    ledger: Ledger,
    pub(super) negotiation: Negotiation,
    pub(super) portal_group_tag: Option<u16>,
    target_alias: Option<String>,
    introduced: bool,
}

impl Opened {
    /// Reads who wants what from the first request's text.
    pub(super) fn read(
        request: LoginRequest,
        text: Vec<u8>,
        max_keys: usize,
    ) -> Result<Self, LoginError> {
        let mut ledger = Ledger::new(request.tsih == Tsih(0), max_keys);
        let pairs = ledger.read(text, request.current_stage, true)?;
        let identity = identity(&request, &pairs)?;
        Ok(Self {
            identity,
            ledger,
            request,
            pairs,
        })
    }

    /// Goes on with the target found.
    pub(super) fn with_target(self, offer: TargetOffer) -> (Dialogue, LoginRequest, Vec<Pair>) {
        let discovery = self.identity.session_type == SessionType::Discovery;
        let dialogue = Dialogue {
            identity: self.identity,
            ledger: self.ledger,
            negotiation: Negotiation::new(offer.params, discovery),
            portal_group_tag: offer.portal_group_tag,
            target_alias: offer.target_alias,
            introduced: false,
        };
        (dialogue, self.request, self.pairs)
    }
}

impl Dialogue {
    /// What the target says of itself, in its first answer.
    // RFC 7143 §6.3.1, §13.9: the first Login Response to a whole text tells the portal group that the connection came in
    // through, on every connection of a session. A discovery session that names no target has none.
    pub(super) fn introduce(&mut self, answers: &mut TextWriter<'_>) {
        if core::mem::replace(&mut self.introduced, true) {
            return;
        }
        if let Some(alias) = &self.target_alias {
            answers.push(Key::TargetAlias.name(), alias);
        }
        if let Some(tag) = self.portal_group_tag {
            answers.push_number(Key::TargetPortalGroupTag.name(), tag.into());
        }
    }

    /// Answers a request in the operational stage.
    pub(super) fn negotiate(&mut self, pairs: &[Pair]) -> Result<Vec<u8>, LoginError> {
        let mut answer = Vec::new();
        let mut answers = TextWriter::new(&mut answer);
        self.introduce(&mut answers);
        self.negotiation.answer(pairs, &mut answers)?;
        self.negotiation.declare(&mut answers);
        Ok(answer)
    }

    /// Takes the text of a request after the first apart.
    pub(super) fn read(&mut self, text: Vec<u8>, stage: Stage) -> Result<Vec<Pair>, LoginError> {
        Ok(self.ledger.read(text, stage, false)?)
    }
}

/// RFC 7143 §6.3: the first request names the initiator, and the target unless it is for discovery.
fn identity(request: &LoginRequest, pairs: &[Pair]) -> Result<LoginIdentity, LoginError> {
    let value = |key: Key| {
        let pair = pairs
            .iter()
            .find(|pair| pair.row.is_some_and(|row| row.key == key));
        pair.map(|pair| pair.value.as_str())
    };
    let name = |key: Key| {
        let parse =
            |text| IscsiName::parse_peer(text).map_err(|_| LoginError::MalformedName(key.name()));
        value(key).map(parse).transpose()
    };
    let session_type = match value(Key::SessionType) {
        None | Some("Normal") => SessionType::Normal,
        Some("Discovery") => SessionType::Discovery,
        Some(_) => return Err(LoginError::SessionType),
    };
    let initiator_name =
        name(Key::InitiatorName)?.ok_or(LoginError::Missing(Key::InitiatorName.name()))?;
    let target_name = name(Key::TargetName)?;
    if session_type == SessionType::Normal && target_name.is_none() {
        return Err(LoginError::Missing(Key::TargetName.name()));
    }
    // RFC 7143 §13.2: a discovery session has one connection, so there is none to add to.
    if session_type == SessionType::Discovery && request.tsih != Tsih(0) {
        return Err(LoginError::NoSuchSession);
    }
    let alias = value(Key::InitiatorAlias);
    if alias.is_some_and(|alias| alias.len() > MAX_ALIAS_BYTES) {
        return Err(LoginError::MalformedName(Key::InitiatorAlias.name()));
    }
    Ok(LoginIdentity {
        initiator_name,
        initiator_alias: alias.map(str::to_owned),
        target_name,
        session_type,
        isid: request.isid,
        tsih: request.tsih,
        cid: request.cid,
    })
}
