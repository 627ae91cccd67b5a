//! Who authenticates an initiator: the tree's own credentials, or the helper that a portal group names.

use std::fmt;
use std::sync::Arc;

use auth::{
    Answer, Authenticator, ChapAlgorithm, ChapEntry, ChapRule, ChapStore, ChapUser, Policy,
    PolicyRequest, Refusal, Reply, Rule, Scope, Verdict, VerifyRequest,
};
use model::{ChapCredential, Requirement, Tree};

/// Where authentication helpers are found, by the path of their socket. Called by workers: it never waits.
pub trait Helpers: Send + Sync {
    /// The helper behind a socket; `None`: there is none to be had, and the login is refused. `built_in` answers from the tree's own
    /// credentials, for what the helper leaves to it.
    fn helper(
        &self,
        socket: &str,
        built_in: Arc<dyn Authenticator>,
    ) -> Option<Arc<dyn Authenticator>>;
}

impl fmt::Debug for dyn Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helpers")
    }
}

/// Answers from one generation of the tree. What nothing names is denied.
pub(crate) struct TreeAuthenticator {
    tree: Tree,
    helpers: Option<Arc<dyn Helpers>>,
}

impl TreeAuthenticator {
    pub(crate) fn new(tree: Tree, helpers: Option<Arc<dyn Helpers>>) -> Self {
        Self { tree, helpers }
    }

    fn requirement(&self, request: &PolicyRequest) -> Option<Requirement> {
        let (Some(target), Some(tag)) = (&request.target, request.portal_group_tag) else {
            return Some(self.tree.discovery_requirement());
        };
        let group = self.tree.group(target, tag)?;
        let acl = group.acls.get(&request.initiator);
        Some(self.tree.requirement(group, acl.map(AsRef::as_ref)))
    }

    /// The one that answers this request.
    fn responsible(&self, request: &PolicyRequest) -> Option<Arc<dyn Authenticator>> {
        let requirement = self.requirement(request)?;
        let built_in: Arc<dyn Authenticator> = Arc::new(store(request, &requirement)?);
        match &requirement.helper {
            None => Some(built_in),
            Some(socket) => self.helpers.as_ref()?.helper(socket, built_in),
        }
    }
}

impl Authenticator for TreeAuthenticator {
    fn policy(&self, request: &PolicyRequest, reply: Reply<Policy>) -> Answer<Policy> {
        match self.responsible(request) {
            Some(one) => one.policy(request, reply),
            None => reply.now(Policy::Deny(Refusal::Unavailable)),
        }
    }

    fn verify(&self, request: &VerifyRequest, reply: Reply<Verdict>) -> Answer<Verdict> {
        match self.responsible(&request.request) {
            Some(one) => one.verify(request, reply),
            None => reply.now(Verdict::Deny(Refusal::Unavailable)),
        }
    }
}

/// A store that knows just what this login needs.
fn store(request: &PolicyRequest, requirement: &Requirement) -> Option<ChapStore> {
    let scope = match (&request.target, request.portal_group_tag) {
        (Some(target), Some(tag)) => Scope::Group(target.clone(), tag),
        _ => Scope::Discovery,
    };
    let entry = ChapEntry {
        initiator: None,
        scope,
        rule: rule(requirement),
    };
    // Credentials that the store refuses let nobody in; the tree has been checked for them.
    ChapStore::new(vec![entry], Rule::Deny).ok()
}

fn rule(requirement: &Requirement) -> Rule {
    if !requirement.required && requirement.helper.is_none() {
        return Rule::Open;
    }
    match &requirement.credentials {
        // CHAP is required and nobody has a secret here: nobody gets in.
        None => Rule::Deny,
        Some(credentials) => Rule::Chap(ChapRule {
            users: vec![user(&credentials.chap)],
            mutual: credentials.mutual.as_ref().map(user),
            mutual_required: false,
            algorithms: ChapAlgorithm::ALL.to_vec(),
            none_allowed: false,
        }),
    }
}

fn user(credential: &ChapCredential) -> ChapUser {
    ChapUser {
        name: credential.user.clone(),
        secret: credential.secret.clone(),
    }
}
