//! What the server asks of its own accord: whether we are there, and whether we have heard of a change.

use crate::attribute::{Attribute, Attributes, tag};
use crate::pdu::{Message, function};
use crate::status::Status;

/// Bits of an SCN bitmap (RFC 4171 §6.4.4).
pub(crate) mod scn {
    pub(crate) const OBJECT_UPDATED: u32 = 1 << 2;
    pub(crate) const OBJECT_ADDED: u32 = 1 << 3;
    pub(crate) const OBJECT_REMOVED: u32 = 1 << 4;
    pub(crate) const INITIATOR_AND_SELF_ONLY: u32 = 1 << 7;
}

/// A request of the server's, and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// To be sent back.
    pub reply: Message,
    /// What it told.
    pub notifications: Vec<Notification>,
}

/// A node changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its iSCSI name as the server has it.
    pub node: String,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is known now.
    Added,
    /// It is known no more.
    Removed,
    /// Something else of it.
    Updated,
}

impl Inbound {
    /// Takes a message that is no response. `entity` is the identifier that we registered.
    #[must_use]
    pub fn answer(message: &Message, entity: &str) -> Self {
        let (status, rest, notifications) = match message.function {
            function::ESI => inquiry(&message.payload, entity),
            function::SCN => notified(&message.payload),
            _ => (Status::MESSAGE_NOT_SUPPORTED, &[][..], Vec::new()),
        };
        let mut payload = status.0.to_be_bytes().to_vec();
        payload.extend_from_slice(rest);
        Self {
            reply: Message {
                function: message.function | function::RESPONSE,
                transaction_id: message.transaction_id,
                replace: false,
                payload,
            },
            notifications,
        }
    }
}

type Answer<'a> = (Status, &'a [u8], Vec<Notification>);

// RFC 4171 §5.7.5.13: the response has the attributes of the inquiry, in their order.
fn inquiry<'a>(payload: &'a [u8], entity: &str) -> Answer<'a> {
    let attributes: Result<Vec<Attribute<'_>>, _> = Attributes::new(payload).collect();
    let Ok(attributes) = attributes else {
        return (Status::MESSAGE_FORMAT_ERROR, &[], Vec::new());
    };
    let asked = attributes.iter().find(|a| a.tag == tag::ENTITY_IDENTIFIER);
    // Compared as the server normalises identifiers (§6.2.1): without regard to the case of letters.
    match asked.and_then(Attribute::text) {
        Some(asked) if asked.eq_ignore_ascii_case(entity) => {
            (Status::SUCCESSFUL, payload, Vec::new())
        }
        Some(_) => (Status::NO_SUCH_ENTRY, payload, Vec::new()),
        None => (Status::MESSAGE_FORMAT_ERROR, &[], Vec::new()),
    }
}

// RFC 4171 §5.6.5.8: the destination and a timestamp, then bitmaps, each with the nodes it is about. §5.7.5.8: the response
// has the destination.
fn notified(payload: &[u8]) -> Answer<'_> {
    let malformed = (Status::MESSAGE_FORMAT_ERROR, &[][..], Vec::new());
    let attributes: Result<Vec<Attribute<'_>>, _> = Attributes::new(payload).collect();
    let Ok(attributes) = attributes else {
        return malformed;
    };
    let Some((destination, rest)) = attributes.split_first() else {
        return malformed;
    };
    if destination.tag != tag::ISCSI_NAME || destination.text().is_none() {
        return malformed;
    }
    let mut bitmap = 0;
    let mut notifications = Vec::new();
    for attribute in rest {
        match (attribute.tag, attribute.number(), attribute.text()) {
            (tag::ISCSI_SCN_BITMAP, Some(bits), _) => bitmap = bits,
            (tag::ISCSI_NAME, _, Some(node)) => notifications.push(Notification {
                node: node.to_owned(),
                change: change(bitmap),
            }),
            _ => {}
        }
    }
    let destination_bytes = 8 + destination.value.len();
    (
        Status::SUCCESSFUL,
        payload.get(..destination_bytes).unwrap_or_default(),
        notifications,
    )
}

const fn change(bitmap: u32) -> Change {
    if bitmap & scn::OBJECT_REMOVED != 0 {
        Change::Removed
    } else if bitmap & scn::OBJECT_ADDED != 0 {
        Change::Added
    } else {
        Change::Updated
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribute::Writer;

    const ENTITY: &str = "san.example.org";

    fn message(function: u16, payload: Writer) -> Message {
        Message {
            function,
            transaction_id: 5,
            replace: false,
            payload: payload.into_bytes(),
        }
    }

    fn inquiry_of(entity: &str) -> Message {
        let mut payload = Writer::default();
        payload
            .value(tag::TIMESTAMP, &[0; 8])
            .text(tag::ENTITY_IDENTIFIER, entity)
            .portal(
                (tag::PORTAL_ADDRESS, tag::PORTAL_PORT),
                ([192, 0, 2, 1], 3260).into(),
            );
        message(function::ESI, payload)
    }

    #[test]
    fn esi_of_our_entity_is_answered_with_its_attributes() {
        for (entity, status) in [
            (ENTITY, Status::SUCCESSFUL),
            ("SAN.example.org", Status::SUCCESSFUL),
            ("another.example.org", Status::NO_SUCH_ENTRY),
        ] {
            let asked = inquiry_of(entity);
            let answer = Inbound::answer(&asked, ENTITY);
            assert_eq!(answer.reply.function, 0x800d);
            assert_eq!(answer.reply.transaction_id, 5);
            assert_eq!(answer.reply.payload[..4], status.0.to_be_bytes());
            assert_eq!(answer.reply.payload[4..], asked.payload);
        }
    }

    #[test]
    fn scn_is_confirmed_by_its_destination_and_told() {
        let mut payload = Writer::default();
        payload.text(tag::ISCSI_NAME, "iqn.2026-11.org.example:disk");
        let destination = payload.len();
        payload
            .value(tag::TIMESTAMP, &[0; 8])
            .number(
                tag::ISCSI_SCN_BITMAP,
                scn::OBJECT_ADDED | scn::INITIATOR_AND_SELF_ONLY,
            )
            .text(tag::ISCSI_NAME, "iqn.2026-11.org.example:host1")
            .text(tag::ISCSI_NAME, "iqn.2026-11.org.example:host2")
            .number(tag::ISCSI_SCN_BITMAP, scn::OBJECT_REMOVED)
            .text(tag::ISCSI_NAME, "iqn.2026-11.org.example:disk");
        let asked = message(function::SCN, payload);
        let answer = Inbound::answer(&asked, ENTITY);
        assert_eq!(answer.reply.payload[..4], [0; 4]);
        assert_eq!(answer.reply.payload[4..], asked.payload[..destination]);
        let told: Vec<_> = answer
            .notifications
            .iter()
            .map(|one| (one.node.rsplit(':').next().unwrap_or_default(), one.change))
            .collect();
        assert_eq!(
            told,
            [
                ("host1", Change::Added),
                ("host2", Change::Added),
                ("disk", Change::Removed)
            ]
        );
    }

    #[test]
    fn malformed_and_unknown_requests_get_their_status() {
        let status = |message: &Message| {
            let payload = Inbound::answer(message, ENTITY).reply.payload;
            Status(u32::from_be_bytes(payload[..4].try_into().unwrap()))
        };
        let unknown = message(0x000e, Writer::default());
        assert_eq!(status(&unknown), Status::MESSAGE_NOT_SUPPORTED);
        for function in [function::ESI, function::SCN] {
            let empty = message(function, Writer::default());
            assert_eq!(status(&empty), Status::MESSAGE_FORMAT_ERROR);
            let cut = Message {
                payload: vec![0, 0, 0, 32, 0, 0, 0, 8],
                ..empty
            };
            assert_eq!(status(&cut), Status::MESSAGE_FORMAT_ERROR);
        }
    }

    proptest! {
        #[test]
        fn answer_to_any_payload_is_whole_words(function in 0u16..16, words: Vec<u32>) {
            let payload = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let asked = Message { function, transaction_id: 1, replace: false, payload };
            let reply = Inbound::answer(&asked, ENTITY).reply;
            prop_assert!(reply.payload.len() >= 4 && reply.payload.len().is_multiple_of(4));
        }
    }
}
