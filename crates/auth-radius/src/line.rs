//! The lines of Quintain's helper protocol, as a helper sees them that asks RADIUS: MD5 only, and no proof of the target.
//! No I/O. The protocol is described in `docs/guides/authentication-helper.md`.

use serde::Deserialize;
use serde_json::json;

use crate::exchange::End;
use crate::packet::Credentials;

/// The longest line in either direction, in bytes, without its end.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The version of the protocol.
const PROTOCOL: u32 = 1;

/// What Quintain says.
pub(crate) enum Line {
    /// Its first line.
    Hello,
    /// How must this initiator authenticate itself?
    Policy { id: u64 },
    /// Is this response right?
    Verify { id: u64, credentials: Credentials },
    /// A question that RADIUS cannot be asked.
    Unfit { id: u64 },
}

#[derive(Deserialize)]
struct AnyLine {
    hello: Option<Hello>,
    id: Option<u64>,
    policy: Option<serde::de::IgnoredAny>,
    verify: Option<Verify>,
}

#[derive(Deserialize)]
struct Hello {
    protocol: u32,
}

#[derive(Deserialize)]
struct Verify {
    initiator: String,
    target: Option<String>,
    algorithm: String,
    identifier: u8,
    challenge: String,
    name: String,
    response: String,
}

/// The line is none of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

pub(crate) fn parse(line: &[u8]) -> Result<Line, Malformed> {
    let line: AnyLine = serde_json::from_slice(line).map_err(|_| Malformed)?;
    match line {
        AnyLine {
            hello: Some(Hello { protocol: PROTOCOL }),
            id: None,
            policy: None,
            verify: None,
        } => Ok(Line::Hello),
        AnyLine {
            hello: None,
            id: Some(id),
            policy: Some(_),
            verify: None,
        } => Ok(Line::Policy { id }),
        AnyLine {
            hello: None,
            id: Some(id),
            policy: None,
            verify: Some(verify),
        } => Ok(verify
            .credentials()
            .map_or(Line::Unfit { id }, |credentials| Line::Verify {
                id,
                credentials,
            })),
        _ => Err(Malformed),
    }
}

/// What this helper can.
pub(crate) fn hello() -> String {
    let hello =
        json!({"protocol": PROTOCOL, "algorithms": ["md5"], "mutual": false, "cache": false});
    ended(&json!({ "hello": hello }))
}

/// CHAP for everybody. Whether the target proves itself is for Quintain's own credentials to say.
pub(crate) fn policy(id: u64) -> String {
    ended(&json!({"id": id, "policy": {"chap": {"algorithms": ["md5"]}}}))
}

pub(crate) fn verdict(id: u64, end: End) -> String {
    let verdict = match end {
        End::Accept => json!({"allow": true}),
        // A server does not say whether it was the name or the response.
        End::Reject => json!({"deny": "wrong_response"}),
        End::Unfit => json!({"deny": "not_authorized"}),
        End::NoAnswer => json!({"deny": "unavailable"}),
    };
    ended(&json!({"id": id, "verdict": verdict}))
}

impl Verify {
    fn credentials(self) -> Option<Credentials> {
        if self.algorithm != "md5" {
            return None;
        }
        Some(Credentials {
            user: self.name,
            identifier: self.identifier,
            challenge: parse_hex(&self.challenge)?,
            response: parse_hex(&self.response)?.try_into().ok()?,
            initiator: self.initiator,
            target: self.target,
        })
    }
}

fn ended(line: &serde_json::Value) -> String {
    format!("{line}\n")
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFY: &str = r#"{"id":9,"verify":{"initiator":"iqn.a","target":null,"portal_group_tag":null,"portal":"127.0.0.1:3260","peer":"127.0.0.1:9","algorithm":"md5","identifier":7,"challenge":"00fF","name":"al\u0069ce","response":"000102030405060708090a0b0c0d0e0f","mutual":null}}"#;

    #[test]
    fn parse_verify_is_what_a_server_is_asked() {
        let Ok(Line::Verify { id: 9, credentials }) = parse(VERIFY.as_bytes()) else {
            panic!("not a question");
        };
        let expected = Credentials {
            user: "alice".to_owned(),
            identifier: 7,
            challenge: vec![0, 0xff],
            response: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            initiator: "iqn.a".to_owned(),
            target: None,
        };
        assert!(credentials == expected);
    }

    #[test]
    fn parse_verify_that_radius_cannot_be_asked_still_has_its_number() {
        for (from, to) in [
            ("md5", "sha1"),
            ("00fF", "00f"),
            ("00fF", "00fg"),
            ("00fF", "0x00"),
            ("000102", "0001"),
            ("000102", "+10102"),
        ] {
            let line = VERIFY.replace(from, to);
            assert!(
                matches!(parse(line.as_bytes()), Ok(Line::Unfit { id: 9 })),
                "{line}"
            );
        }
    }

    #[test]
    fn parse_other_lines() {
        let hello = br#"{"hello":{"protocol":1,"program":"quintain"}}"#;
        assert!(matches!(parse(hello), Ok(Line::Hello)));
        let policy = br#"{"id":3,"policy":{"initiator":"iqn.a"}}"#;
        assert!(matches!(parse(policy), Ok(Line::Policy { id: 3 })));
        for line in [
            r#"{"hello":{"protocol":2}}"#,
            r#"{"hello":{}}"#,
            r#"{"id":3}"#,
            r#"{"policy":{}}"#,
            r#"{"id":3,"verify":{"name":"alice"}}"#,
            r#"{"id":-3,"policy":{}}"#,
            "{}",
            "",
            "hello",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn verdict_each_end_has_its_line() {
        for (end, line) in [
            (End::Accept, r#"{"allow":true}"#),
            (End::Reject, r#"{"deny":"wrong_response"}"#),
            (End::Unfit, r#"{"deny":"not_authorized"}"#),
            (End::NoAnswer, r#"{"deny":"unavailable"}"#),
        ] {
            assert_eq!(
                verdict(7, end),
                format!("{{\"id\":7,\"verdict\":{line}}}\n")
            );
        }
    }
}
