//! One table for every way to authenticate: the built-in store, the same store behind a socket, and the same store behind a
//! socket that leaves the target's own proof to the built-in credentials.

use std::sync::Arc;

use auth::{
    Authenticator, ChapAlgorithm, ChapEntry, ChapError, ChapExchange, ChapResponse, ChapRule,
    ChapStore, ChapUser, MutualResponse, Policy, RANDOM_BYTES, Refusal, Rule, Scope, Secret, chap,
};
use daemon::helper::{HelperAuthenticator, HelperConfig};

use crate::ask::{name, policy, request, verify};
use crate::server::{Server, hex, store_script};

pub(crate) const ALICE: (&str, &str) = ("alice", "alice's long secret");
pub(crate) const BOB: (&str, &str) = ("bob", "bob's long secret");
pub(crate) const TARGET: (&str, &str) = ("target", "the target's own secret");
const OURS: u8 = 0x5a;

/// One login, as an initiator does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login {
    pub(crate) initiator: &'static str,
    pub(crate) target: Option<&'static str>,
    pub(crate) algorithms: &'static str,
    pub(crate) user: (&'static str, &'static str),
    pub(crate) asks_for_proof: bool,
    /// The challenge to the target is the target's own.
    pub(crate) reflects: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Without authentication.
    Open,
    /// As this user, by this algorithm; and whether the target proved itself.
    In(&'static str, ChapAlgorithm, bool),
    /// By the policy.
    Denied(Refusal),
    /// By the exchange.
    Failed(ChapError),
}

pub(crate) const LOGIN: Login = Login {
    initiator: "host1",
    target: Some("both"),
    algorithms: "5,6,7,8",
    user: ALICE,
    asks_for_proof: false,
    reflects: false,
};

fn user((name, secret): (&str, &str)) -> ChapUser {
    ChapUser {
        name: name.to_owned(),
        secret: Secret::new(secret.as_bytes().to_vec()),
    }
}

fn store() -> ChapStore {
    let both = ChapRule {
        users: vec![user(ALICE), user(BOB)],
        mutual: Some(user(TARGET)),
        mutual_required: false,
        algorithms: ChapAlgorithm::ALL.to_vec(),
        none_allowed: false,
    };
    let one_way = ChapRule {
        mutual: None,
        algorithms: vec![ChapAlgorithm::Md5, ChapAlgorithm::Sha1],
        ..both.clone()
    };
    let required = ChapRule {
        mutual_required: true,
        ..both.clone()
    };
    let offered = ChapRule {
        none_allowed: true,
        ..both.clone()
    };
    let rules = [
        (None, Scope::Target(name("both")), Rule::Chap(both.clone())),
        (None, Scope::Target(name("one-way")), Rule::Chap(one_way)),
        (None, Scope::Target(name("required")), Rule::Chap(required)),
        (None, Scope::Target(name("offered")), Rule::Chap(offered)),
        (None, Scope::Target(name("open")), Rule::Open),
        (None, Scope::Discovery, Rule::Chap(both)),
        (Some("stranger"), Scope::Anywhere, Rule::Deny),
    ];
    let entries = rules.map(|(initiator, scope, rule)| ChapEntry {
        initiator: initiator.map(name),
        scope,
        rule,
    });
    ChapStore::new(entries.to_vec(), Rule::Deny).expect("legal entries")
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<(Login, End)> {
    use ChapAlgorithm::{Md5, Sha1, Sha3_256, Sha256};
    let denied = |refusal| End::Failed(ChapError::Denied(refusal));
    let mut table = vec![
        (LOGIN, End::In("alice", Sha3_256, false)),
        (
            Login { user: BOB, ..LOGIN },
            End::In("bob", Sha3_256, false),
        ),
        (
            Login {
                asks_for_proof: true,
                ..LOGIN
            },
            End::In("alice", Sha3_256, true),
        ),
        // Algorithms that are not allowed here, or do not exist.
        (
            Login {
                target: Some("one-way"),
                ..LOGIN
            },
            End::In("alice", Md5, false),
        ),
        (
            Login {
                target: Some("one-way"),
                algorithms: "7,8",
                ..LOGIN
            },
            End::Failed(ChapError::NoCommonAlgorithm),
        ),
        (
            Login {
                algorithms: "4,9",
                ..LOGIN
            },
            End::Failed(ChapError::NoCommonAlgorithm),
        ),
        // Wrong names and responses.
        (
            Login {
                user: ("carol", ALICE.1),
                ..LOGIN
            },
            denied(Refusal::UnknownUser),
        ),
        (
            Login {
                user: ("Alice", ALICE.1),
                ..LOGIN
            },
            denied(Refusal::UnknownUser),
        ),
        (
            Login {
                user: ("alice", BOB.1),
                ..LOGIN
            },
            denied(Refusal::WrongResponse),
        ),
        (
            Login {
                user: ("alice", BOB.1),
                asks_for_proof: true,
                ..LOGIN
            },
            denied(Refusal::WrongResponse),
        ),
        (
            Login {
                user: ("", ALICE.1),
                ..LOGIN
            },
            End::Failed(ChapError::Malformed("CHAP_N")),
        ),
        // The target's secret in the initiator's hands.
        (
            Login {
                user: ("alice", TARGET.1),
                ..LOGIN
            },
            denied(Refusal::SameSecret),
        ),
        (
            Login {
                user: ("alice", TARGET.1),
                asks_for_proof: true,
                ..LOGIN
            },
            denied(Refusal::SameSecret),
        ),
        // The proof of the target.
        (
            Login {
                asks_for_proof: true,
                reflects: true,
                ..LOGIN
            },
            End::Failed(ChapError::ReflectedChallenge),
        ),
        (
            Login {
                target: Some("one-way"),
                asks_for_proof: true,
                ..LOGIN
            },
            End::Failed(ChapError::MutualNotAllowed),
        ),
        (
            Login {
                target: Some("required"),
                ..LOGIN
            },
            End::Failed(ChapError::MutualMissing),
        ),
        (
            Login {
                target: Some("required"),
                asks_for_proof: true,
                ..LOGIN
            },
            End::In("alice", Sha3_256, true),
        ),
        // Policies.
        (
            Login {
                target: Some("open"),
                ..LOGIN
            },
            End::Open,
        ),
        (
            Login {
                target: Some("offered"),
                ..LOGIN
            },
            End::Open,
        ),
        (
            Login {
                target: Some("unknown"),
                ..LOGIN
            },
            End::Denied(Refusal::NotAuthorized),
        ),
        (
            Login {
                initiator: "stranger",
                ..LOGIN
            },
            End::Denied(Refusal::NotAuthorized),
        ),
        (
            Login {
                initiator: "stranger",
                target: Some("open"),
                ..LOGIN
            },
            End::Denied(Refusal::NotAuthorized),
        ),
        // Discovery.
        (
            Login {
                target: None,
                ..LOGIN
            },
            End::In("alice", Sha3_256, false),
        ),
        (
            Login {
                target: None,
                asks_for_proof: true,
                ..LOGIN
            },
            End::In("alice", Sha3_256, true),
        ),
        (
            Login {
                target: None,
                user: ("alice", BOB.1),
                ..LOGIN
            },
            denied(Refusal::WrongResponse),
        ),
        (
            Login {
                target: None,
                initiator: "stranger",
                ..LOGIN
            },
            End::Denied(Refusal::NotAuthorized),
        ),
    ];
    for (algorithms, algorithm) in [("5", Md5), ("6", Sha1), ("7", Sha256), ("8", Sha3_256)] {
        for asks_for_proof in [false, true] {
            let login = Login {
                algorithms,
                asks_for_proof,
                ..LOGIN
            };
            table.push((login, End::In("alice", algorithm, asks_for_proof)));
            let wrong = Login {
                user: ("alice", BOB.1),
                ..login
            };
            table.push((wrong, denied(Refusal::WrongResponse)));
        }
    }
    table
}

/// The target's side of the login, with the initiator's words.
pub(crate) fn log_in(login: &Login, authenticator: &dyn Authenticator) -> End {
    let request = request(login.initiator, login.target);
    let policy = match policy(authenticator, &request) {
        Policy::Open => return End::Open,
        Policy::Deny(refusal) => return End::Denied(refusal),
        Policy::Redirect(redirection) => panic!("redirected: {redirection}"),
        Policy::Chap(policy) if policy.none_allowed => return End::Open,
        Policy::Chap(policy) => policy,
    };
    let mut exchange = ChapExchange::new(policy, [OURS; RANDOM_BYTES]);
    let offer = match exchange.choose(login.algorithms) {
        Ok(offer) => offer,
        Err(error) => return End::Failed(error),
    };
    let secret = Secret::new(login.user.1.as_bytes().to_vec());
    let proof = chap::response(offer.algorithm, offer.identifier, &secret, &offer.challenge);
    let response = format!("0x{}", hex(&proof));
    let asked = if login.reflects {
        offer.challenge
    } else {
        vec![3; 16]
    };
    let challenge = format!("0x{}", hex(&asked));
    let keys = ChapResponse {
        name: Some(login.user.0),
        response: Some(&response),
        identifier: login.asks_for_proof.then_some("200"),
        challenge: login.asks_for_proof.then_some(&challenge),
    };
    let question = match exchange.respond(keys, request) {
        Ok(question) => question,
        Err(error) => return End::Failed(error),
    };
    match exchange.settle(verify(authenticator, &question)) {
        Ok(answer) => {
            assert_eq!(answer.user, login.user.0);
            assert_eq!(
                answer.mutual,
                login.asks_for_proof.then(|| MutualResponse {
                    name: TARGET.0.to_owned(),
                    response: chap::response(offer.algorithm, 200, &user(TARGET).secret, &asked),
                })
            );
            End::In(login.user.0, offer.algorithm, answer.mutual.is_some())
        }
        Err(error) => End::Failed(error),
    }
}

fn every_row_ends_as_it_should(authenticator: &dyn Authenticator) {
    for (login, end) in table() {
        assert_eq!(log_in(&login, authenticator), end, "{login:?}");
    }
}

#[test]
fn built_in_store_every_row_ends_as_it_should() {
    every_row_ends_as_it_should(&store());
}

#[test]
fn store_behind_a_socket_every_row_ends_as_it_should() {
    let server = Server::start(store_script(store(), true));
    let helper = HelperAuthenticator::start(HelperConfig::new(server.socket()), None);
    every_row_ends_as_it_should(&helper.expect("a thread"));
    assert_eq!(server.connections(), 1);
}

#[test]
fn store_behind_a_socket_without_the_targets_proof_every_row_ends_as_it_should() {
    let server = Server::start(store_script(store(), false));
    let helper =
        HelperAuthenticator::start(HelperConfig::new(server.socket()), Some(Arc::new(store())));
    every_row_ends_as_it_should(&helper.expect("a thread"));
    assert_eq!(server.connections(), 1);
}
