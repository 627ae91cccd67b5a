//! RADIUS packets: the Access-Request that a question becomes, and the reply to it (RFC 2865). No I/O.
//!
//! Each request carries a Message-Authenticator (RFC 2869 §5.14, RFC 3579 §3.2), and a reply without a right one is none:
//! the Response Authenticator alone is an MD5 that a stranger between us and the server can make fit another answer
//! (CVE-2024-3596, "Blast-RADIUS"). There is no switch for it.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

/// Bytes of an authenticator of either kind.
pub(crate) const AUTHENTICATOR_BYTES: usize = 16;

/// Bytes of code, identifier, length and authenticator (RFC 2865 §3).
const HEADER_BYTES: usize = 20;

/// The longest packet (RFC 2865 §3).
pub(crate) const MAX_PACKET_BYTES: usize = 4096;

/// The longest value of an attribute (RFC 2865 §5).
const MAX_VALUE_BYTES: usize = 253;

// Codes (RFC 2865 §3).
const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

// Attributes (RFC 2865 §5; RFC 2869 §5.14; RFC 3162 §2.1).
const USER_NAME: u8 = 1;
const CHAP_PASSWORD: u8 = 3;
const NAS_IP_ADDRESS: u8 = 4;
const CALLED_STATION_ID: u8 = 30;
const CALLING_STATION_ID: u8 = 31;
const NAS_IDENTIFIER: u8 = 32;
const CHAP_CHALLENGE: u8 = 60;
const NAS_PORT_TYPE: u8 = 61;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const NAS_IPV6_ADDRESS: u8 = 95;

/// NAS-Port-Type "Virtual": there is no line (RFC 2865 §5.41).
const VIRTUAL: u32 = 5;

/// How this helper presents itself to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nas {
    /// NAS-Identifier.
    pub(crate) identifier: String,
    /// NAS-IP-Address or NAS-IPv6-Address.
    pub(crate) address: Option<IpAddr>,
}

/// What an initiator has said, and to whom.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// CHAP_N.
    pub(crate) user: String,
    /// The identifier of our challenge.
    pub(crate) identifier: u8,
    /// Our challenge.
    pub(crate) challenge: Vec<u8>,
    /// CHAP_R by MD5.
    pub(crate) response: [u8; 16],
    /// The initiator's name: Calling-Station-Id.
    pub(crate) initiator: String,
    /// The target's name, but in a discovery session: Called-Station-Id.
    pub(crate) target: Option<String>,
}

/// A genuine reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Accept,
    /// Access-Reject; and Access-Challenge, which one that cannot answer it takes for a reject (RFC 2865 §4.4).
    Reject,
}

/// Why a datagram is no reply to our request. It is dropped, as if it had not come: a forged one must not end a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// No packet, or not a reply.
    Malformed,
    /// No Message-Authenticator.
    Unsigned,
    /// An authenticator is wrong: an old reply, a forged one, or another shared secret.
    WrongAuthenticator,
}

impl Credentials {
    /// The packet. `None`: a name or the challenge is longer than an attribute can be.
    pub(crate) fn emit(
        &self,
        identifier: u8,
        authenticator: &[u8; AUTHENTICATOR_BYTES],
        nas: &Nas,
        secret: &[u8],
    ) -> Option<Vec<u8>> {
        let mut packet = vec![ACCESS_REQUEST, identifier, 0, 0];
        packet.extend_from_slice(authenticator);
        // First, as servers that look for it there want it.
        let signature_at = packet.len().checked_add(2)?;
        push(
            &mut packet,
            MESSAGE_AUTHENTICATOR,
            &[0; AUTHENTICATOR_BYTES],
        )?;
        push(&mut packet, USER_NAME, self.user.as_bytes())?;
        // RFC 2865 §5.3: the CHAP identifier, then the response.
        let mut password = vec![self.identifier];
        password.extend_from_slice(&self.response);
        push(&mut packet, CHAP_PASSWORD, &password)?;
        push(&mut packet, CHAP_CHALLENGE, &self.challenge)?;
        push(&mut packet, NAS_IDENTIFIER, nas.identifier.as_bytes())?;
        match nas.address {
            Some(IpAddr::V4(address)) => push(&mut packet, NAS_IP_ADDRESS, &address.octets())?,
            Some(IpAddr::V6(address)) => push(&mut packet, NAS_IPV6_ADDRESS, &address.octets())?,
            None => {}
        }
        push(&mut packet, NAS_PORT_TYPE, &VIRTUAL.to_be_bytes())?;
        push(&mut packet, CALLING_STATION_ID, self.initiator.as_bytes())?;
        if let Some(target) = &self.target {
            push(&mut packet, CALLED_STATION_ID, target.as_bytes())?;
        }
        let length = u16::try_from(packet.len()).ok()?;
        packet.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes());
        // RFC 3579 §3.2: over the whole packet, with zeros in its own place.
        let signature = keyed(secret)?.chain_update(&packet).finalize().into_bytes();
        packet
            .get_mut(signature_at..signature_at.checked_add(AUTHENTICATOR_BYTES)?)?
            .copy_from_slice(&signature);
        Some(packet)
    }
}

/// The identifier that a datagram says it answers.
pub(crate) fn identifier_of(datagram: &[u8]) -> Option<u8> {
    datagram.get(1).copied()
}

/// Reads a datagram as the reply to the request that had this authenticator.
pub(crate) fn parse_reply(
    datagram: &[u8],
    request_authenticator: &[u8; AUTHENTICATOR_BYTES],
    secret: &[u8],
) -> Result<Reply, NoReply> {
    let packet = whole(datagram).ok_or(NoReply::Malformed)?;
    let reply = match packet.first() {
        Some(&ACCESS_ACCEPT) => Reply::Accept,
        Some(&(ACCESS_REJECT | ACCESS_CHALLENGE)) => Reply::Reject,
        _ => return Err(NoReply::Malformed),
    };
    let signature_at = signature_of(packet)?;
    // Both are computed with the request's authenticator in place of the reply's own.
    let mut signed = packet.to_vec();
    let response_authenticator: Vec<u8> = signed
        .splice(4..HEADER_BYTES, request_authenticator.iter().copied())
        .collect();
    // RFC 2865 §3: MD5 over code, identifier, length, request authenticator, attributes and the secret.
    let expected = Md5::new()
        .chain_update(&signed)
        .chain_update(secret)
        .finalize();
    // RFC 3579 §3.2: HMAC-MD5 over the same but the secret, with zeros in its own place.
    let place = signature_at..signature_at.saturating_add(AUTHENTICATOR_BYTES);
    let zeros = [0; AUTHENTICATOR_BYTES];
    let signature: Vec<u8> = signed.splice(place, zeros).collect();
    keyed(secret)
        .ok_or(NoReply::WrongAuthenticator)?
        .chain_update(&signed)
        .verify_slice(&signature)
        .map_err(|_| NoReply::WrongAuthenticator)?;
    if is_equal(&expected, &response_authenticator) {
        Ok(reply)
    } else {
        Err(NoReply::WrongAuthenticator)
    }
}

/// The packet in a datagram. RFC 2865 §3: bytes beyond the length are padding; a shorter datagram is dropped.
fn whole(datagram: &[u8]) -> Option<&[u8]> {
    let length = datagram.get(2..4)?.try_into().ok()?;
    let length = usize::from(u16::from_be_bytes(length));
    if !(HEADER_BYTES..=MAX_PACKET_BYTES).contains(&length) {
        return None;
    }
    datagram.get(..length)
}

/// Where the one Message-Authenticator has its value.
fn signature_of(packet: &[u8]) -> Result<usize, NoReply> {
    let mut at = HEADER_BYTES;
    let mut found = None;
    while at < packet.len() {
        let attribute = packet.get(at..).unwrap_or_default();
        let &[kind, length, ..] = attribute else {
            return Err(NoReply::Malformed);
        };
        let length = usize::from(length);
        if length < 2 || length > attribute.len() {
            return Err(NoReply::Malformed);
        }
        if kind == MESSAGE_AUTHENTICATOR {
            // RFC 3579 §3.2: one of 18 bytes.
            if length != AUTHENTICATOR_BYTES + 2 || found.is_some() {
                return Err(NoReply::Malformed);
            }
            found = Some(at.saturating_add(2));
        }
        at = at.saturating_add(length);
    }
    found.ok_or(NoReply::Unsigned)
}

fn push(packet: &mut Vec<u8>, kind: u8, value: &[u8]) -> Option<()> {
    if value.is_empty() || value.len() > MAX_VALUE_BYTES {
        return None;
    }
    packet.push(kind);
    packet.push(u8::try_from(value.len().checked_add(2)?).ok()?);
    packet.extend_from_slice(value);
    Some(())
}

fn keyed(secret: &[u8]) -> Option<Hmac<Md5>> {
    Hmac::new_from_slice(secret).ok()
}

/// Takes the same time wherever they differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |differs, (left, right)| differs | (left ^ right))
            == 0
}

#[cfg(test)]
mod tests;
