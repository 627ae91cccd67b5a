//! The built-in CHAP store, made from a tree's credentials.

use auth::{
    ChapAlgorithm, ChapEntry, ChapRule, ChapStore, ChapUser, Rule, Scope, Secret, StoreError,
};
use model::{Authentication, ChapCredential, ConfigCode, ConfigError, Credentials, Tree};

use crate::config::StartError;

/// The store that decides by `tree`'s own credentials: an ACL's before its group's; what nothing names is denied.
pub(crate) fn authenticator(tree: &Tree) -> Result<ChapStore, StartError> {
    let mut entries = Vec::new();
    let mut paths = Vec::new();
    for target in tree.targets.values() {
        for group in target.tpgs.values() {
            let path = format!("/targets/{}/tpgs/{}", target.name, group.tag);
            let scope = Scope::Group(target.name.clone(), group.tag);
            let of_group = rule(&group.authentication, None);
            entries.push(ChapEntry {
                initiator: None,
                scope: scope.clone(),
                rule: of_group,
            });
            paths.push(path.clone());
            for acl in group.acls.values().filter(|acl| acl.credentials.is_some()) {
                entries.push(ChapEntry {
                    initiator: Some(acl.initiator.clone()),
                    scope: scope.clone(),
                    rule: rule(&group.authentication, acl.credentials.as_ref()),
                });
                paths.push(format!("{path}/acls/{}", acl.initiator));
            }
        }
    }
    let discovery = rule(&tree.discovery, None);
    entries.push(ChapEntry {
        initiator: None,
        scope: Scope::Discovery,
        rule: discovery,
    });
    paths.push("/discovery".to_owned());
    ChapStore::new(entries, Rule::Deny).map_err(|error| {
        let (entry, reason, hint) = explain(error);
        let path = paths.get(entry).cloned().unwrap_or_default();
        StartError::Tree(vec![ConfigError {
            path,
            code: ConfigCode::OutOfRange,
            reason,
            hint,
        }])
    })
}

fn explain(error: StoreError) -> (usize, &'static str, &'static str) {
    match error {
        StoreError::Duplicate(at) => (at, "its credentials stand twice", "keep one of them"),
        StoreError::Users(at) => (
            at,
            "CHAP is required, and no user or one user twice",
            "name each user once",
        ),
        StoreError::NoAlgorithm(at) => (at, "CHAP has no algorithm", "allow at least one"),
        StoreError::Name(at) => (
            at,
            "the CHAP user name cannot be used",
            "use 1 to 255 printable characters",
        ),
        StoreError::EmptySecret(at) => (at, "the CHAP secret is empty", "use at least 12 bytes"),
        StoreError::SameSecret(at) => (
            at,
            "one secret serves both directions",
            "give the target a secret of its own (RFC 7143 §9.2.1)",
        ),
        StoreError::NoMutualSecret(at) => (
            at,
            "mutual CHAP is required without a secret for it",
            "give the target a secret",
        ),
    }
}

fn rule(authentication: &Authentication, own: Option<&Credentials>) -> Rule {
    if !authentication.required {
        return Rule::Open;
    }
    match own.or(authentication.credentials.as_ref()) {
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
        secret: Secret::new(credential.secret.clone()),
    }
}
