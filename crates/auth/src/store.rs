//! The built-in authenticator: rules with CHAP credentials, in memory, answering at once.

use core::fmt;
use std::collections::HashMap;

use iscsi_wire::IscsiName;

use crate::{
    Answer, Authenticator, ChapAlgorithm, ChapPolicy, MAX_CHAP_NAME_BYTES, Mutual, MutualChallenge,
    MutualResponse, Policy, PolicyRequest, Refusal, Reply, Secret, Verdict, VerifyRequest, chap,
};

/// One rule: who, where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapEntry {
    /// The initiator meant, or `None` for any.
    pub initiator: Option<IscsiName>,
    /// Where the rule holds.
    pub scope: Scope,
    /// What it says.
    pub rule: Rule,
}

/// Where a rule holds. For one login the narrowest scope decides, among the rules that name the initiator first, then
/// among those for any initiator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One portal group of one target.
    Group(IscsiName, u16),
    /// All of one target.
    Target(IscsiName),
    /// Every target, but not discovery.
    AnyTarget,
    /// Discovery sessions only.
    Discovery,
    /// Every target, and discovery.
    Anywhere,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No authentication.
    Open,
    /// Nobody.
    Deny,
    /// CHAP.
    Chap(ChapRule),
}

/// Credentials and conditions for CHAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapRule {
    /// Whoever may log in; at least one.
    pub users: Vec<ChapUser>,
    /// How the target authenticates itself, where it can.
    pub mutual: Option<ChapUser>,
    /// The initiator must ask for that.
    pub mutual_required: bool,
    /// Allowed algorithms, the preferred first; at least one. [`ChapAlgorithm::ALL`] where the operator names none.
    pub algorithms: Vec<ChapAlgorithm>,
    /// An initiator that prefers no authentication is let in without.
    pub none_allowed: bool,
}

/// A user name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapUser {
    /// CHAP_N.
    pub name: String,
    /// The shared secret.
    pub secret: Secret,
}

/// Why the entries make no store. Each names the place of the entry in the list given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Two entries for the same initiator and scope.
    Duplicate(usize),
    /// A CHAP rule without a user, or with two of one name.
    Users(usize),
    /// A CHAP rule without an algorithm.
    NoAlgorithm(usize),
    /// A user name is empty, too long, or has control characters.
    Name(usize),
    /// A secret is empty.
    EmptySecret(usize),
    /// A user's secret is also the target's own.
    SameSecret(usize),
    /// Mutual CHAP is required and there is no secret for it.
    NoMutualSecret(usize),
}

/// The built-in authenticator. Immutable: a change of configuration makes a new one.
#[derive(Clone, Debug)]
pub struct ChapStore {
    rules: HashMap<(Option<IscsiName>, Scope), Rule>,
    default: Rule,
}

impl ChapStore {
    /// A store of these entries; `default` says what holds where no entry does. In errors it stands as the entry after
    /// the last.
    ///
    /// # Errors
    /// An entry that contradicts another, or could never let anybody in, or breaks RFC 7143 §12.1.3.
    pub fn new(entries: Vec<ChapEntry>, default: Rule) -> Result<Self, StoreError> {
        check(&default, entries.len())?;
        let mut rules = HashMap::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            check(&entry.rule, at)?;
            if rules
                .insert((entry.initiator, entry.scope), entry.rule)
                .is_some()
            {
                return Err(StoreError::Duplicate(at));
            }
        }
        Ok(Self { rules, default })
    }

    fn rule(&self, request: &PolicyRequest) -> &Rule {
        let scopes = match (&request.target, request.portal_group_tag) {
            (None, _) => vec![Scope::Discovery, Scope::Anywhere],
            (Some(target), tag) => tag
                .map(|tag| Scope::Group(target.clone(), tag))
                .into_iter()
                .chain([
                    Scope::Target(target.clone()),
                    Scope::AnyTarget,
                    Scope::Anywhere,
                ])
                .collect(),
        };
        [Some(request.initiator.clone()), None]
            .into_iter()
            .flat_map(|initiator| {
                scopes
                    .iter()
                    .map(move |scope| (initiator.clone(), scope.clone()))
            })
            .find_map(|key| self.rules.get(&key))
            .unwrap_or(&self.default)
    }

    fn judge(&self, request: &VerifyRequest) -> Verdict {
        let Rule::Chap(rule) = self.rule(&request.request) else {
            return Verdict::Deny(Refusal::NotAuthorized);
        };
        match rule.judge(request) {
            Ok(mutual) => Verdict::Allow { mutual, acl: None },
            Err(refusal) => Verdict::Deny(refusal),
        }
    }
}

impl Authenticator for ChapStore {
    fn policy(&self, request: &PolicyRequest, reply: Reply<Policy>) -> Answer<Policy> {
        reply.now(match self.rule(request) {
            Rule::Open => Policy::Open,
            Rule::Deny => Policy::Deny(Refusal::NotAuthorized),
            Rule::Chap(rule) => Policy::Chap(rule.policy()),
        })
    }

    fn verify(&self, request: &VerifyRequest, reply: Reply<Verdict>) -> Answer<Verdict> {
        reply.now(self.judge(request))
    }

    fn prove(&self, request: &VerifyRequest) -> Result<MutualResponse, Refusal> {
        let Rule::Chap(rule) = self.rule(&request.request) else {
            return Err(Refusal::MutualNotConfigured);
        };
        rule.prove(request)
    }
}

impl ChapRule {
    fn policy(&self) -> ChapPolicy {
        ChapPolicy {
            algorithms: self.algorithms.clone(),
            mutual: match (&self.mutual, self.mutual_required) {
                (_, true) => Mutual::Required,
                (Some(_), false) => Mutual::Allowed,
                (None, false) => Mutual::Never,
            },
            none_allowed: self.none_allowed,
        }
    }

    fn judge(&self, request: &VerifyRequest) -> Result<Option<MutualResponse>, Refusal> {
        let user = self.users.iter().find(|user| user.name == request.name);
        // An unknown user costs the same computation as a wrong response, so that the time does not tell which it was.
        let nobody = Secret::new(vec![0; 16]);
        let secret = user.map_or(&nobody, |user| &user.secret);
        let right = proves(secret, request);
        self.check_secrets(request)?;
        if user.is_none() {
            return Err(Refusal::UnknownUser);
        }
        if !right {
            return Err(Refusal::WrongResponse);
        }
        request
            .mutual
            .as_ref()
            .map(|_| self.prove(request))
            .transpose()
    }

    fn prove(&self, request: &VerifyRequest) -> Result<MutualResponse, Refusal> {
        self.check_secrets(request)?;
        let (Some(challenge), Some(ours)) = (&request.mutual, &self.mutual) else {
            return Err(Refusal::MutualNotConfigured);
        };
        Ok(ours.answer(request.algorithm, challenge))
    }

    // RFC 7143 §12.1.3: a response that we would have given to our own challenge ourselves is an authentication failure:
    // either one secret serves both directions, or somebody got us to answer.
    fn check_secrets(&self, request: &VerifyRequest) -> Result<(), Refusal> {
        let ours = self.mutual.as_ref();
        if ours.is_some_and(|ours| proves(&ours.secret, request)) {
            return Err(Refusal::SameSecret);
        }
        Ok(())
    }

    fn check(&self, at: usize) -> Result<(), StoreError> {
        let users = || self.users.iter().chain(&self.mutual);
        let twice = |(place, user): (usize, &ChapUser)| {
            self.users
                .iter()
                .take(place)
                .any(|other| other.name == user.name)
        };
        let refusals = [
            (
                self.users.is_empty() || self.users.iter().enumerate().any(twice),
                StoreError::Users(at),
            ),
            (self.algorithms.is_empty(), StoreError::NoAlgorithm(at)),
            (
                users().any(|user| !user.has_legal_name()),
                StoreError::Name(at),
            ),
            (
                users().any(|user| user.secret.bits() == 0),
                StoreError::EmptySecret(at),
            ),
            // RFC 7143 §12.1.3: the two directions never share a secret.
            (
                self.mutual
                    .as_ref()
                    .is_some_and(|ours| self.users.iter().any(|user| user.secret == ours.secret)),
                StoreError::SameSecret(at),
            ),
            (
                self.mutual_required && self.mutual.is_none(),
                StoreError::NoMutualSecret(at),
            ),
        ];
        refusals
            .into_iter()
            .find(|(wrong, _)| *wrong)
            .map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl ChapUser {
    fn answer(&self, algorithm: ChapAlgorithm, asked: &MutualChallenge) -> MutualResponse {
        MutualResponse {
            name: self.name.clone(),
            response: chap::response(algorithm, asked.identifier, &self.secret, &asked.challenge),
        }
    }

    fn has_legal_name(&self) -> bool {
        (1..=MAX_CHAP_NAME_BYTES).contains(&self.name.len())
            && !self.name.chars().any(char::is_control)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match self {
            Self::Duplicate(at) => ("a second rule for one initiator and place", at),
            Self::Users(at) => ("a CHAP rule needs users, each name once", at),
            Self::NoAlgorithm(at) => ("a CHAP rule needs an algorithm", at),
            Self::Name(at) => (
                "a CHAP user name has 1 to 255 bytes and no control characters",
                at,
            ),
            Self::EmptySecret(at) => ("a CHAP secret is empty", at),
            Self::SameSecret(at) => ("one CHAP secret in both directions", at),
            Self::NoMutualSecret(at) => ("mutual CHAP is required and has no secret", at),
        };
        write!(f, "{what}: entry {at}")
    }
}

impl core::error::Error for StoreError {}

fn check(rule: &Rule, at: usize) -> Result<(), StoreError> {
    match rule {
        Rule::Open | Rule::Deny => Ok(()),
        Rule::Chap(rule) => rule.check(at),
    }
}

fn proves(secret: &Secret, request: &VerifyRequest) -> bool {
    chap::verify(
        request.algorithm,
        request.identifier,
        secret,
        &request.challenge,
        &request.response,
    )
}

#[cfg(test)]
mod tests;
