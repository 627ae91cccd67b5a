//! The way from what a server knows to what it is to know, request by request.

use std::collections::VecDeque;

use iscsi_wire::IscsiName;

use crate::pdu::{Message, function};
use crate::registration::{Objects, Registration};

/// A request to come, or under way.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Register {
        payload: Vec<u8>,
        replace: bool,
    },
    Deregister(Vec<u8>),
    DeregisterEntity(Vec<u8>),
    AskForChanges(IscsiName),
    /// Whether it is registered.
    AskFor(IscsiName),
}

/// What a plan has to take into account.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Nothing was told on this connection.
    pub(super) fresh: bool,
    /// Something was told in this client's life.
    pub(super) ever: bool,
    /// The server inquires, as far as is known.
    pub(super) inquiries: bool,
}

/// The way from what the server knows to what it is to know.
// What it has of an earlier life of ours, nobody knows: the first registration takes the place of all of it. Later ones
// leave what there is, so that initiators do not hear of targets that come and go while they stay.
pub(super) fn plan(
    known: Option<&Registration>,
    wanted: Option<&Registration>,
    told: Told,
) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    let Some(wanted) = wanted else {
        let payload = known.and_then(Registration::deregister_entity);
        steps.extend(payload.map(Step::DeregisterEntity));
        return steps;
    };
    let silent;
    let wanted = if told.inquiries {
        wanted
    } else {
        silent = Registration {
            esi_interval_seconds: 0,
            ..wanted.clone()
        };
        &silent
    };
    let same_entity = known.filter(|known| known.entity == wanted.entity);
    if let (Some(before), None) = (known, same_entity) {
        steps.extend(before.deregister_entity().map(Step::DeregisterEntity));
    }
    let gone = same_entity.map_or_else(Objects::default, |known| wanted.gone_since(known));
    if let (Some(before), false) = (known.and_then(Registration::source), gone.is_empty()) {
        let stays = wanted
            .nodes
            .keys()
            .find(|name| same_entity.is_some_and(|known| known.nodes.contains_key(*name)));
        let payload = Registration::deregister(stays.unwrap_or(before), &gone);
        steps.push_back(Step::Deregister(payload));
    }
    let changed = match same_entity {
        Some(known) if !told.fresh => wanted.changed_since(known),
        _ => wanted.all(),
    };
    let replace = !told.ever;
    let register = |(at, payload)| Step::Register {
        payload,
        replace: replace && at == 0,
    };
    steps.extend(
        wanted
            .register(&changed)
            .into_iter()
            .enumerate()
            .map(register),
    );
    if wanted.portals.values().any(|ports| ports.scn.is_some()) {
        steps.extend(changed.nodes.into_iter().map(Step::AskForChanges));
    }
    steps
}

impl Step {
    pub(super) const fn function(&self) -> u16 {
        match self {
            Self::Register { .. } => function::DEV_ATTR_REG,
            Self::Deregister(_) | Self::DeregisterEntity(_) => function::DEV_DEREG,
            Self::AskForChanges(_) => function::SCN_REG,
            Self::AskFor(_) => function::DEV_ATTR_QRY,
        }
    }

    pub(super) fn message(&self, transaction_id: u16) -> Message {
        let payload = match self {
            Self::Register { payload, .. }
            | Self::Deregister(payload)
            | Self::DeregisterEntity(payload) => payload.clone(),
            Self::AskForChanges(name) => Registration::ask_for_changes(name),
            Self::AskFor(name) => Registration::ask_for(name),
        };
        Message {
            function: self.function(),
            transaction_id,
            replace: matches!(self, Self::Register { replace: true, .. }),
            payload,
        }
    }
}
