//! The security stage's exchange from the initiator's side: the choice of AuthMethod, and CHAP both ways
//! (RFC 7143 §12.1, §12.1.3).

use iscsi_wire::number::{encode_hex, parse_binary, parse_number};
use iscsi_wire::text::parse_pairs;

use crate::Violation;
use crate::config::Chap;
use crate::login::Login;

/// Where the authentication stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nothing more is to be proved.
    Settled,
    /// AuthMethod is offered.
    Method,
    /// CHAP_A is offered.
    Challenge,
    /// CHAP_R and CHAP_C are sent: the target is to prove itself, with this algorithm.
    Proof(u8),
}

impl Login {
    /// Takes the authentication keys of a response's text.
    pub(crate) fn authenticate(
        &mut self,
        chap: Option<&Chap>,
        text: &[u8],
    ) -> Result<(), Violation> {
        let value = |key: &str| {
            let mut pairs = parse_pairs(text).map_while(Result::ok);
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        match self.auth {
            Auth::Settled => Ok(()),
            Auth::Method => match (value("AuthMethod"), chap) {
                (None, _) => Ok(()),
                (Some("None"), _) => {
                    self.auth = Auth::Settled;
                    Ok(())
                }
                (Some("CHAP"), Some(chap)) => {
                    let numbers = chap.algorithms.iter().map(u8::to_string);
                    self.say("CHAP_A", &numbers.collect::<Vec<_>>().join(","));
                    self.auth = Auth::Challenge;
                    Ok(())
                }
                _ => Err(Violation::Authentication(
                    "AuthMethod is none that was offered",
                )),
            },
            Auth::Challenge => {
                let chap = chap.ok_or(Violation::Authentication("CHAP without credentials"))?;
                let (algorithm, response) = answer_challenge(chap, value)?;
                self.say("CHAP_N", &chap.name);
                self.say("CHAP_R", &encode_hex(&response));
                self.auth = Auth::Settled;
                if let Some(mutual) = &chap.mutual {
                    self.say("CHAP_I", &mutual.identifier.to_string());
                    self.say("CHAP_C", &encode_hex(&mutual.challenge));
                    self.auth = Auth::Proof(algorithm);
                }
                Ok(())
            }
            Auth::Proof(algorithm) => {
                check_proof(chap, algorithm, value)?;
                self.auth = Auth::Settled;
                Ok(())
            }
        }
    }
}

/// RFC 7143 §12.1.3: the target chooses one algorithm of those offered, and sends identifier and challenge with it.
fn answer_challenge<'a>(
    chap: &Chap,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<(u8, Vec<u8>), Violation> {
    let number = |key| {
        let number = value(key).and_then(|text| parse_number(text).ok());
        number.and_then(|number| u8::try_from(number).ok())
    };
    let algorithm = number("CHAP_A").filter(|a| chap.algorithms.contains(a));
    let algorithm =
        algorithm.ok_or(Violation::Authentication("CHAP_A is none that was offered"))?;
    let identifier = number("CHAP_I").ok_or(Violation::Authentication("CHAP_I is no number"))?;
    let challenge = value("CHAP_C").and_then(|text| parse_binary(text, MAX_CHAP_BYTES).ok());
    let challenge = challenge.ok_or(Violation::Authentication("CHAP_C is no binary value"))?;
    Ok((
        algorithm,
        (chap.digest)(algorithm, identifier, &chap.secret, &challenge),
    ))
}

fn check_proof<'a>(
    chap: Option<&Chap>,
    algorithm: u8,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), Violation> {
    let asked = chap.and_then(|chap| Some((chap.digest, chap.mutual.as_ref()?)));
    let (digest, mutual) = asked.ok_or(Violation::Authentication("no proof was asked for"))?;
    let expected = digest(
        algorithm,
        mutual.identifier,
        &mutual.secret,
        &mutual.challenge,
    );
    let name = value("CHAP_N").ok_or(Violation::Authentication("target has no CHAP_N"))?;
    if mutual.name.as_ref().is_some_and(|wanted| wanted != name) {
        return Err(Violation::Authentication("target has another CHAP_N"));
    }
    let response = value("CHAP_R").and_then(|text| parse_binary(text, MAX_CHAP_BYTES).ok());
    if response == Some(expected) {
        Ok(())
    } else {
        Err(Violation::Authentication("target has the wrong CHAP_R"))
    }
}

/// The longest challenge or response (RFC 7143 §12.1.3).
const MAX_CHAP_BYTES: usize = 1024;
