//! Authentication within a login (RFC 7143 §12): the way to [`Authorised`], without which there is no session.
//!
//! Knows the policy and passes on the verdict; knows no secret and nothing of who decides.

use auth::{
    ChapError, ChapExchange, ChapPolicy, ChapResponse, Policy, PolicyRequest, RANDOM_BYTES,
    Verdict, VerifyRequest,
};
use iscsi_wire::IscsiName;
use iscsi_wire::keys::Key;
use iscsi_wire::number::encode_hex;
use iscsi_wire::text::{TextWriter, split_list};

use super::error::LoginError;
use crate::negotiate::Pair;

/// Proof that the policy is satisfied. Made in this file only; a login commits with one or not at all.
#[derive(Clone)]
pub(super) struct Authorised {
    user: Option<String>,
    acl: Option<IscsiName>,
}

/// What the policy demands of this login.
#[derive(Clone)]
pub(super) struct Demand {
    none_allowed: bool,
    chap: Option<ChapPolicy>,
}

/// How far the authentication has come.
#[derive(Clone)]
pub(super) enum Security {
    /// No method is agreed.
    Choosing {
        demand: Demand,
        random: [u8; RANDOM_BYTES],
    },
    /// CHAP is agreed.
    Chap(ChapExchange),
    /// Nothing is left to do.
    Settled(Authorised),
}

/// The initiator's keys of the security stage, in one request.
#[derive(Clone, Copy, Default)]
struct SecurityKeys<'a> {
    method: Option<&'a str>,
    algorithms: Option<&'a str>,
    name: Option<&'a str>,
    response: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
}

impl Authorised {
    const UNPROVEN: Self = Self {
        user: None,
        acl: None,
    };

    /// The CHAP_N that proved itself, or `None` where the policy asked for no proof; and the node ACL that the verdict
    /// names.
    pub(super) fn into_parts(self) -> (Option<String>, Option<IscsiName>) {
        (self.user, self.acl)
    }
}

impl Demand {
    /// # Errors
    /// The policy lets nobody in.
    pub(super) fn new(policy: Policy) -> Result<Self, LoginError> {
        match policy {
            Policy::Open => Ok(Self {
                none_allowed: true,
                chap: None,
            }),
            Policy::Chap(chap) => Ok(Self {
                none_allowed: chap.none_allowed,
                chap: Some(chap),
            }),
            Policy::Deny(refusal) => Err(LoginError::Denied(refusal)),
            // Who goes elsewhere has gone before anything is demanded of it here.
            Policy::Redirect(redirection) => Err(LoginError::Refused(redirection.status())),
        }
    }

    /// The login goes on without authentication.
    ///
    /// # Errors
    /// The policy requires it.
    // RFC 7143 §6.3.2: an initiator may skip the security stage; a target that requires authentication then refuses.
    pub(super) fn skip(&self) -> Result<Authorised, LoginError> {
        if self.none_allowed {
            Ok(Authorised::UNPROVEN)
        } else {
            Err(LoginError::AuthenticationRequired)
        }
    }
}

impl Security {
    pub(super) const fn new(demand: Demand, random: [u8; RANDOM_BYTES]) -> Self {
        Self::Choosing { demand, random }
    }

    /// Takes one request of the security stage. The question it leads to, where it does, has to be answered by
    /// [`Self::settle`] before the request is.
    pub(super) fn handle(
        &mut self,
        pairs: &[Pair],
        transit: bool,
        request: impl FnOnce() -> PolicyRequest,
        answers: &mut TextWriter<'_>,
    ) -> Result<Option<VerifyRequest>, LoginError> {
        let keys = SecurityKeys::of(pairs);
        match self {
            Self::Choosing { demand, random } => {
                // CHAP before it is agreed on, also in the text that offers it, is out of turn.
                if keys.has_chap() {
                    return Err(ChapError::OutOfTurn.into());
                }
                match keys.method {
                    // RFC 7143 §12.1: the default of AuthMethod is None.
                    None if transit => *self = Self::Settled(demand.skip()?),
                    None => {}
                    Some(list) => {
                        let (chosen, next) = choose(list, demand, random)?;
                        answers.push(Key::AuthMethod.name(), chosen);
                        *self = next;
                    }
                }
                Ok(None)
            }
            Self::Chap(exchange) if exchange.expects_algorithms() => {
                if keys.has_response() {
                    return Err(ChapError::OutOfTurn.into());
                }
                let list = keys.algorithms.ok_or(ChapError::MissingKey("CHAP_A"))?;
                let offer = exchange.choose(list)?;
                answers
                    .push_number(Key::ChapA.name(), offer.algorithm.number().into())
                    .push_number(Key::ChapI.name(), offer.identifier.into())
                    .push(Key::ChapC.name(), &encode_hex(&offer.challenge));
                Ok(None)
            }
            // CHAP_A a second time has been refused as such.
            Self::Chap(exchange) => Ok(Some(exchange.respond(keys.chap_response(), request())?)),
            Self::Settled(_) if keys.has_chap() => Err(ChapError::OutOfTurn.into()),
            Self::Settled(_) => Ok(None),
        }
    }

    /// Takes the verdict on the question that [`Self::handle`] led to.
    pub(super) fn settle(
        &mut self,
        verdict: Verdict,
        answers: &mut TextWriter<'_>,
    ) -> Result<(), LoginError> {
        let Self::Chap(exchange) = self else {
            return Err(ChapError::OutOfTurn.into());
        };
        let proven = exchange.settle(verdict)?;
        if let Some(mutual) = proven.mutual {
            answers
                .push(Key::ChapN.name(), &mutual.name)
                .push(Key::ChapR.name(), &encode_hex(&mutual.response));
        }
        *self = Self::Settled(Authorised {
            user: Some(proven.user),
            acl: proven.acl,
        });
        Ok(())
    }

    /// The proof, once there is one.
    pub(super) const fn authorised(&self) -> Option<&Authorised> {
        match self {
            Self::Settled(authorised) => Some(authorised),
            Self::Choosing { .. } | Self::Chap(_) => None,
        }
    }
}

/// The first method in the list that the policy allows (RFC 7143 §6.2.1, §12.1).
fn choose(
    list: &str,
    demand: &Demand,
    random: &[u8; RANDOM_BYTES],
) -> Result<(&'static str, Security), LoginError> {
    for method in split_list(list) {
        match (method, &demand.chap) {
            ("None", _) if demand.none_allowed => {
                return Ok(("None", Security::Settled(Authorised::UNPROVEN)));
            }
            ("CHAP", Some(policy)) => {
                let exchange = ChapExchange::new(policy.clone(), *random);
                return Ok(("CHAP", Security::Chap(exchange)));
            }
            _ => {}
        }
    }
    Err(LoginError::NoCommonMethod)
}

impl<'a> SecurityKeys<'a> {
    fn of(pairs: &'a [Pair]) -> Self {
        let mut keys = Self::default();
        for pair in pairs {
            let place = match pair.row.map(|row| row.key) {
                Some(Key::AuthMethod) => &mut keys.method,
                Some(Key::ChapA) => &mut keys.algorithms,
                Some(Key::ChapN) => &mut keys.name,
                Some(Key::ChapR) => &mut keys.response,
                Some(Key::ChapI) => &mut keys.identifier,
                Some(Key::ChapC) => &mut keys.challenge,
                _ => continue,
            };
            *place = Some(&pair.value);
        }
        keys
    }

    fn has_chap(&self) -> bool {
        self.algorithms.is_some() || self.has_response()
    }

    fn has_response(&self) -> bool {
        [self.name, self.response, self.identifier, self.challenge]
            .iter()
            .any(Option::is_some)
    }

    const fn chap_response(&self) -> ChapResponse<'a> {
        ChapResponse {
            name: self.name,
            response: self.response,
            identifier: self.identifier,
            challenge: self.challenge,
        }
    }
}
