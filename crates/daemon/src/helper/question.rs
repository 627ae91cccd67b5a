//! One question on its way, and what becomes of the helper's answer to it.

use std::sync::Arc;
use std::time::Instant;

use auth::{
    Answer, Authenticator, ChapPolicy, Mutual, Policy, PolicyRequest, Refusal, Reply, Verdict,
    VerifyRequest,
};

use super::client::Slot;
use super::protocol::{
    Body, Hello, HelperPolicy, HelperVerdict, Malformed, emit_policy, emit_verify, parse_policy,
    parse_verdict,
};

/// A question and the way back.
pub(super) enum Asked {
    Policy {
        request: PolicyRequest,
        reply: Reply<Policy>,
    },
    Verify {
        request: Box<VerifyRequest>,
        reply: Reply<Verdict>,
    },
}

/// Who proves the target where the helper does not.
#[derive(Clone)]
pub(super) struct BuiltIn(pub(super) Option<Arc<dyn Authenticator>>);

/// A question with its deadline.
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) built_in: BuiltIn,
    pub(super) deadline: Instant,
    /// Given back when the question has its answer.
    pub(super) _slot: Slot,
}

impl Question {
    /// Its line.
    pub(super) fn emit(&self, id: u64, hello: &Hello, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match &self.asked {
            Asked::Policy { request, .. } => emit_policy(id, request, out),
            Asked::Verify { request, .. } => emit_verify(id, request, hello, out),
        }
    }

    /// There is no answer.
    pub(super) fn refuse(self) {
        match self.asked {
            Asked::Policy { reply, .. } => reply.send(Policy::Deny(Refusal::Unavailable)),
            Asked::Verify { reply, .. } => reply.send(Verdict::Deny(Refusal::Unavailable)),
        }
    }

    /// Hands on the helper's answer; one that cannot be understood is a refusal. `keep` gets a policy that holds longer
    /// than this question.
    pub(super) fn answer(
        self,
        body: Body,
        hello: &Hello,
        keep: impl FnOnce(&PolicyRequest, &HelperPolicy, std::time::Duration),
    ) -> Result<(), Malformed> {
        match (self.asked, body) {
            (Asked::Policy { request, reply }, Body::Policy(answer)) => {
                match parse_policy(answer, &request, hello) {
                    Ok((policy, holds)) => {
                        let policy = policy.settled_by(hello);
                        if !holds.is_zero() {
                            keep(&request, &policy, holds);
                        }
                        reply.send(self.built_in.complete(policy, &request));
                        Ok(())
                    }
                    Err(malformed) => {
                        reply.send(Policy::Deny(Refusal::Unavailable));
                        Err(malformed)
                    }
                }
            }
            (Asked::Verify { request, reply }, Body::Verdict(answer)) => {
                let verdict = parse_verdict(answer, &request, hello);
                let malformed = verdict.as_ref().err().copied();
                reply.send(match verdict {
                    Ok(verdict) => self.built_in.judge(verdict, &request, hello),
                    Err(_) => Verdict::Deny(Refusal::Unavailable),
                });
                malformed.map_or(Ok(()), Err)
            }
            (asked, _) => {
                Self { asked, ..self }.refuse();
                Err(Malformed("an answer that is not to its question"))
            }
        }
    }
}

impl HelperPolicy {
    /// A helper that proves the target does so where it is asked, if it says nothing else.
    fn settled_by(self, hello: &Hello) -> Self {
        match self {
            Self::Chap {
                algorithms,
                mutual,
                none_allowed,
            } => Self::Chap {
                algorithms,
                mutual: mutual.or_else(|| hello.mutual.then_some(Mutual::Allowed)),
                none_allowed,
            },
            other => other,
        }
    }
}

impl BuiltIn {
    /// The policy with what the helper leaves open.
    pub(super) fn complete(&self, policy: HelperPolicy, request: &PolicyRequest) -> Policy {
        match policy {
            HelperPolicy::Open => Policy::Open,
            HelperPolicy::Deny(refusal) => Policy::Deny(refusal),
            HelperPolicy::Redirect(redirection) => Policy::Redirect(redirection),
            HelperPolicy::Chap {
                algorithms,
                mutual,
                none_allowed,
            } => Policy::Chap(ChapPolicy {
                algorithms,
                mutual: mutual.unwrap_or_else(|| self.mutual(request)),
                none_allowed,
            }),
        }
    }

    /// The verdict with the proof that the helper leaves to us.
    fn judge(&self, verdict: HelperVerdict, request: &VerifyRequest, hello: &Hello) -> Verdict {
        let (mutual, acl) = match verdict {
            HelperVerdict::Deny(refusal) => return Verdict::Deny(refusal),
            HelperVerdict::Redirect(redirection) => return Verdict::Redirect(redirection),
            HelperVerdict::Allow { mutual, acl } => (mutual, acl),
        };
        if hello.mutual {
            return Verdict::Allow { mutual, acl };
        }
        let proof = match &self.0 {
            Some(built_in) => built_in.prove(request),
            None => Err(Refusal::MutualNotConfigured),
        };
        match proof {
            // RFC 7143 §12.1.3: our own secret serves the other direction too, whether that was asked for or not.
            Err(Refusal::SameSecret) => Verdict::Deny(Refusal::SameSecret),
            _ if request.mutual.is_none() => Verdict::Allow { mutual: None, acl },
            Ok(mutual) => Verdict::Allow {
                mutual: Some(mutual),
                acl,
            },
            Err(refusal) => Verdict::Deny(refusal),
        }
    }

    /// Whether the built-in credentials prove the target.
    fn mutual(&self, request: &PolicyRequest) -> Mutual {
        let Some(built_in) = &self.0 else {
            return Mutual::Never;
        };
        match built_in.policy(request, Reply::new(drop)) {
            Answer::Now(Policy::Chap(policy)) => policy.mutual,
            _ => Mutual::Never,
        }
    }
}
