//! Which answers to an offer are legal, and our answers to a target's offers (RFC 7143 §6.2, §13).

use iscsi_wire::number::{parse_boolean, parse_number};
use iscsi_wire::text::split_list;

/// How an offer and an answer relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A declaration takes no answer.
    Declared,
    /// The answer is not above the offer.
    Minimum,
    /// The answer is not below the offer.
    Maximum,
    /// An offered No stays No.
    And,
    /// An offered Yes stays Yes.
    Or,
    /// The answer is a member of the offered list.
    List,
    /// The answer is No or Reject.
    Obsolete,
}

/// The rule of a key; `None` for a key that is nobody's but its vendor's.
pub(crate) fn rule(key: &str) -> Option<Rule> {
    Some(match key {
        "InitiatorName"
        | "InitiatorAlias"
        | "TargetName"
        | "TargetAlias"
        | "TargetAddress"
        | "TargetPortalGroupTag"
        | "SessionType"
        | "MaxRecvDataSegmentLength" => Rule::Declared,
        "MaxConnections" | "MaxBurstLength" | "FirstBurstLength" | "DefaultTime2Retain"
        | "MaxOutstandingR2T" | "ErrorRecoveryLevel" | "iSCSIProtocolLevel" => Rule::Minimum,
        "DefaultTime2Wait" => Rule::Maximum,
        "ImmediateData" => Rule::And,
        "InitialR2T" | "DataPDUInOrder" | "DataSequenceInOrder" => Rule::Or,
        "AuthMethod" | "HeaderDigest" | "DataDigest" | "TaskReporting" => Rule::List,
        "IFMarker" | "OFMarker" | "IFMarkInt" | "OFMarkInt" => Rule::Obsolete,
        _ => return None,
    })
}

/// Whether an offer is the result whatever the answer (RFC 7143 §6.2.2).
pub(crate) fn is_settled_by_offer(key: &str, offer: &str) -> bool {
    matches!(
        (rule(key), offer),
        (Some(Rule::And), "No") | (Some(Rule::Or), "Yes")
    )
}

/// The answers that may stand for "no result" (RFC 7143 §6.2).
pub(crate) fn is_constant(value: &str) -> bool {
    matches!(value, "NotUnderstood" | "Irrelevant" | "Reject")
}

/// Whether `answer` may come to `offer`.
pub(crate) fn is_legal(key: &str, offer: &str, answer: &str) -> bool {
    let Some(rule) = rule(key) else { return true };
    // RFC 7143 §6.2: a key that the RFC defines MUST be understood.
    if answer == "NotUnderstood" {
        return false;
    }
    if is_constant(answer) {
        return true;
    }
    let numbers = (parse_number(offer).ok(), parse_number(answer).ok());
    let booleans = (parse_boolean(offer).ok(), parse_boolean(answer).ok());
    match (rule, numbers, booleans) {
        (Rule::Minimum, (Some(offer), Some(answer)), _) => answer <= offer,
        (Rule::Maximum, (Some(offer), Some(answer)), _) => answer >= offer,
        (Rule::And, _, (Some(offer), Some(answer))) => offer || !answer,
        (Rule::Or, _, (Some(offer), Some(answer))) => !offer || answer,
        (Rule::List, ..) => split_list(offer).any(|member| member == answer),
        (Rule::Obsolete, ..) => answer == "No",
        _ => false,
    }
}

/// Our answer to what the target offers of its own accord; `None` where it is a declaration. We have no wish in what
/// we did not offer, so the target's value stands, but for lists and what the RFC obsoletes.
pub(crate) fn answer(key: &str, offer: &str) -> Option<String> {
    let taken = match rule(key) {
        None => "NotUnderstood",
        Some(Rule::Declared) => return None,
        Some(Rule::Obsolete) => "Reject",
        Some(Rule::List) if key == "TaskReporting" => "RFC3720",
        Some(Rule::List) => "None",
        Some(_) => offer,
    };
    let offered = rule(key) != Some(Rule::List) || split_list(offer).any(|member| member == taken);
    Some(if offered { taken } else { "Reject" }.to_owned())
}
