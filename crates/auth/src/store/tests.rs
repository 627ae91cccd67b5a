use super::*;

fn name(text: &str) -> IscsiName {
    IscsiName::parse(text).expect("a test's name is well formed")
}

fn host(which: u8) -> IscsiName {
    name(&format!("iqn.2024-01.lab.example:host{which}"))
}

fn disk(which: u8) -> IscsiName {
    name(&format!("iqn.2024-01.lab.example:disk{which}"))
}

fn request(initiator: IscsiName, target: Option<IscsiName>) -> PolicyRequest {
    PolicyRequest {
        initiator,
        portal_group_tag: target.is_some().then_some(1),
        target,
        portal: ([127, 0, 0, 1], 3260).into(),
        peer: ([127, 0, 0, 1], 40000).into(),
    }
}

fn user(name: &str, secret: &str) -> ChapUser {
    ChapUser {
        name: name.to_owned(),
        secret: Secret::new(secret.as_bytes().to_vec()),
    }
}

fn chap_rule() -> ChapRule {
    ChapRule {
        users: vec![
            user("alice", "alice's long secret"),
            user("bob", "bob's long secret"),
        ],
        mutual: Some(user("target", "the target's own secret")),
        mutual_required: false,
        algorithms: ChapAlgorithm::ALL.to_vec(),
        none_allowed: false,
    }
}

fn entry(initiator: Option<IscsiName>, scope: Scope, rule: Rule) -> ChapEntry {
    ChapEntry {
        initiator,
        scope,
        rule,
    }
}

fn store(rule: ChapRule) -> ChapStore {
    let entries = vec![entry(None, Scope::AnyTarget, Rule::Chap(rule))];
    ChapStore::new(entries, Rule::Deny).expect("legal entries")
}

fn now<T>(answer: Answer<T>) -> T {
    match answer {
        Answer::Now(answer) => answer,
        Answer::Later => panic!("the built-in store answers at once"),
    }
}

fn unused<T>() -> Reply<T> {
    Reply::new(|_| panic!("an answer by value is not sent too"))
}

fn proof(user: &ChapUser, mutual: Option<MutualChallenge>) -> VerifyRequest {
    let algorithm = ChapAlgorithm::Sha256;
    VerifyRequest {
        request: request(host(1), Some(disk(1))),
        algorithm,
        identifier: 3,
        challenge: vec![9; 32],
        name: user.name.clone(),
        response: chap::response(algorithm, 3, &user.secret, &[9; 32]),
        mutual,
    }
}

#[test]
fn policy_narrowest_rule_decides_initiator_before_scope() {
    let rules = [
        (Some(host(1)), Scope::Group(disk(1), 1)),
        (Some(host(1)), Scope::Target(disk(1))),
        (Some(host(1)), Scope::AnyTarget),
        (Some(host(1)), Scope::Anywhere),
        (None, Scope::Group(disk(1), 1)),
        (None, Scope::Target(disk(1))),
        (None, Scope::AnyTarget),
        (None, Scope::Anywhere),
    ];
    // Only rule `first` and later ones exist; `first` is open, the rest deny.
    for first in 0..rules.len() {
        let entries = rules
            .iter()
            .enumerate()
            .skip(first)
            .map(|(at, (initiator, scope))| {
                let rule = if at == first { Rule::Open } else { Rule::Deny };
                entry(initiator.clone(), scope.clone(), rule)
            });
        let store = ChapStore::new(entries.collect(), Rule::Deny).expect("legal entries");
        let policy = |request: &PolicyRequest| now(store.policy(request, unused()));
        assert_eq!(
            policy(&request(host(1), Some(disk(1)))),
            Policy::Open,
            "{first}"
        );
    }
}

#[test]
fn policy_discovery_and_targets_have_rules_of_their_own() {
    let deny = Policy::Deny(Refusal::NotAuthorized);
    let table = [
        (Scope::Discovery, true, false),
        (Scope::AnyTarget, false, true),
        (Scope::Anywhere, true, true),
        (Scope::Target(disk(2)), false, false),
        (Scope::Group(disk(1), 2), false, false),
    ];
    for (scope, discovery, target) in table {
        let entries = vec![entry(None, scope.clone(), Rule::Open)];
        let store = ChapStore::new(entries, Rule::Deny).expect("legal entries");
        for (asked, open) in [(None, discovery), (Some(disk(1)), target)] {
            let policy = now(store.policy(&request(host(1), asked), unused()));
            assert_eq!(
                policy,
                if open { Policy::Open } else { deny.clone() },
                "{scope:?}"
            );
        }
    }
}

#[test]
fn policy_without_a_rule_is_the_default() {
    for (default, expected) in [
        (Rule::Open, Policy::Open),
        (Rule::Deny, Policy::Deny(Refusal::NotAuthorized)),
    ] {
        let store = ChapStore::new(Vec::new(), default).expect("legal");
        assert_eq!(
            now(store.policy(&request(host(1), None), unused())),
            expected
        );
    }
}

#[test]
fn policy_of_a_chap_rule_tells_algorithms_and_mutual() {
    let table = [
        (None, false, Mutual::Never),
        (
            Some(user("target", "the target's own secret")),
            false,
            Mutual::Allowed,
        ),
        (
            Some(user("target", "the target's own secret")),
            true,
            Mutual::Required,
        ),
    ];
    for (mutual, mutual_required, expected) in table {
        let store = store(ChapRule {
            mutual,
            mutual_required,
            ..chap_rule()
        });
        let policy = now(store.policy(&request(host(1), Some(disk(1))), unused()));
        let Policy::Chap(policy) = policy else {
            panic!("not CHAP: {policy:?}")
        };
        assert_eq!((policy.mutual, policy.none_allowed), (expected, false));
        assert_eq!(policy.algorithms, ChapAlgorithm::ALL);
    }
}

#[test]
fn verify_each_user_with_its_own_secret_only() {
    let store = store(chap_rule());
    let verify = |request: &VerifyRequest| now(store.verify(request, unused()));
    for user in &chap_rule().users {
        let allow = Verdict::Allow {
            mutual: None,
            acl: None,
        };
        assert_eq!(verify(&proof(user, None)), allow);
    }
    let swapped = VerifyRequest {
        name: "bob".to_owned(),
        ..proof(&chap_rule().users[0], None)
    };
    assert_eq!(verify(&swapped), Verdict::Deny(Refusal::WrongResponse));
    let nobody = VerifyRequest {
        name: "carol".to_owned(),
        ..proof(&chap_rule().users[0], None)
    };
    assert_eq!(verify(&nobody), Verdict::Deny(Refusal::UnknownUser));
    let dummy = ChapUser {
        name: "carol".to_owned(),
        secret: Secret::new(vec![0; 16]),
    };
    assert_eq!(
        verify(&proof(&dummy, None)),
        Verdict::Deny(Refusal::UnknownUser)
    );
}

#[test]
fn verify_mutual_is_answered_with_the_targets_own_secret() {
    let rule = chap_rule();
    let asked = MutualChallenge {
        identifier: 77,
        challenge: vec![1, 2, 3],
    };
    let request = proof(&rule.users[0], Some(asked));
    let verdict = now(store(rule.clone()).verify(&request, unused()));
    let ours = rule.mutual.as_ref().expect("configured");
    let response = chap::response(ChapAlgorithm::Sha256, 77, &ours.secret, &[1, 2, 3]);
    let expected = MutualResponse {
        name: "target".to_owned(),
        response,
    };
    assert_eq!(
        verdict,
        Verdict::Allow {
            mutual: Some(expected),
            acl: None,
        }
    );

    let without = store(ChapRule {
        mutual: None,
        ..rule
    });
    let verdict = now(without.verify(&request, unused()));
    assert_eq!(verdict, Verdict::Deny(Refusal::MutualNotConfigured));
}

#[test]
fn verify_response_made_with_the_targets_secret_is_same_secret() {
    let rule = chap_rule();
    let ours = rule.mutual.clone().expect("configured");
    let stolen = ChapUser {
        name: "alice".to_owned(),
        ..ours
    };
    let verdict = now(store(rule).verify(&proof(&stolen, None), unused()));
    assert_eq!(verdict, Verdict::Deny(Refusal::SameSecret));
}

#[test]
fn verify_where_no_chap_rule_holds_is_refused() {
    for default in [Rule::Open, Rule::Deny] {
        let store = ChapStore::new(Vec::new(), default).expect("legal");
        let verdict = now(store.verify(&proof(&chap_rule().users[0], None), unused()));
        assert_eq!(verdict, Verdict::Deny(Refusal::NotAuthorized));
    }
}

#[test]
fn new_entries_that_cannot_work_are_refused_by_place() {
    let good = chap_rule;
    let alice = || user("alice", "alice's long secret");
    let table = [
        (
            ChapRule {
                users: Vec::new(),
                ..good()
            },
            StoreError::Users(1),
        ),
        (
            ChapRule {
                users: vec![alice(), alice()],
                ..good()
            },
            StoreError::Users(1),
        ),
        (
            ChapRule {
                algorithms: Vec::new(),
                ..good()
            },
            StoreError::NoAlgorithm(1),
        ),
        (
            ChapRule {
                users: vec![user("", "secret")],
                ..good()
            },
            StoreError::Name(1),
        ),
        (
            ChapRule {
                users: vec![user("a\0", "secret")],
                ..good()
            },
            StoreError::Name(1),
        ),
        (
            ChapRule {
                users: vec![user(&"n".repeat(256), "secret")],
                ..good()
            },
            StoreError::Name(1),
        ),
        (
            ChapRule {
                mutual: Some(user("", "secret")),
                ..good()
            },
            StoreError::Name(1),
        ),
        (
            ChapRule {
                users: vec![user("alice", "")],
                ..good()
            },
            StoreError::EmptySecret(1),
        ),
        (
            ChapRule {
                mutual: Some(user("target", "bob's long secret")),
                ..good()
            },
            StoreError::SameSecret(1),
        ),
        (
            ChapRule {
                mutual: None,
                mutual_required: true,
                ..good()
            },
            StoreError::NoMutualSecret(1),
        ),
    ];
    for (rule, expected) in table {
        let entries = vec![
            entry(None, Scope::Discovery, Rule::Open),
            entry(None, Scope::AnyTarget, Rule::Chap(rule.clone())),
        ];
        assert_eq!(
            ChapStore::new(entries, Rule::Deny).err(),
            Some(expected),
            "{rule:?}"
        );
        let first = vec![entry(None, Scope::Discovery, Rule::Open)];
        assert_eq!(
            ChapStore::new(first, Rule::Chap(rule)).err(),
            Some(expected)
        );
    }
    let twice = vec![
        entry(Some(host(1)), Scope::Anywhere, Rule::Open),
        entry(Some(host(1)), Scope::Anywhere, Rule::Deny),
    ];
    assert_eq!(
        ChapStore::new(twice, Rule::Deny).err(),
        Some(StoreError::Duplicate(1))
    );
}

#[test]
fn prove_answers_the_challenge_whoever_the_user_is() {
    let rule = chap_rule();
    let asked = MutualChallenge {
        identifier: 7,
        challenge: vec![1, 2, 3],
    };
    let ours = rule.mutual.clone().expect("configured");
    let stranger = user("carol", "carol's long secret");
    let table = [
        (
            Some(rule.clone()),
            proof(&stranger, Some(asked.clone())),
            Ok(ours.answer(ChapAlgorithm::Sha256, &asked)),
        ),
        (
            Some(rule.clone()),
            proof(&stranger, None),
            Err(Refusal::MutualNotConfigured),
        ),
        (
            Some(rule.clone()),
            proof(&ours, Some(asked.clone())),
            Err(Refusal::SameSecret),
        ),
        (
            Some(ChapRule {
                mutual: None,
                ..rule
            }),
            proof(&stranger, Some(asked.clone())),
            Err(Refusal::MutualNotConfigured),
        ),
        (
            None,
            proof(&stranger, Some(asked)),
            Err(Refusal::MutualNotConfigured),
        ),
    ];
    for (rule, request, expected) in table {
        let store = rule.map_or_else(
            || ChapStore::new(Vec::new(), Rule::Open).expect("legal"),
            store,
        );
        assert_eq!(store.prove(&request), expected);
    }
}
