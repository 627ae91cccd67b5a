use super::*;
use crate::{Secret, chap};

const RANDOM: [u8; RANDOM_BYTES] = [0x5a; RANDOM_BYTES];

fn policy(mutual: Mutual) -> ChapPolicy {
    let algorithms = vec![
        ChapAlgorithm::Sha3_256,
        ChapAlgorithm::Sha1,
        ChapAlgorithm::Md5,
    ];
    ChapPolicy {
        algorithms,
        mutual,
        none_allowed: false,
    }
}

fn request() -> PolicyRequest {
    PolicyRequest {
        initiator: name("iqn.2024-01.lab.example:guest"),
        target: Some(name("iqn.2024-01.lab.example:disk")),
        portal_group_tag: Some(1),
        portal: ([127, 0, 0, 1], 3260).into(),
        peer: ([127, 0, 0, 1], 40000).into(),
    }
}

fn name(text: &str) -> iscsi_wire::IscsiName {
    iscsi_wire::IscsiName::parse(text).expect("a test's name is well formed")
}

fn challenged(mutual: Mutual, list: &str) -> ChapExchange {
    let mut exchange = ChapExchange::new(policy(mutual), RANDOM);
    exchange.choose(list).expect("an algorithm is common");
    exchange
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn one_way(response: &str) -> ChapResponse<'_> {
    ChapResponse {
        name: Some("user"),
        response: Some(response),
        ..ChapResponse::default()
    }
}

#[test]
fn choose_lists_in_any_order_take_our_preference() {
    let table = [
        ("5", Ok(ChapAlgorithm::Md5)),
        ("5,6", Ok(ChapAlgorithm::Sha1)),
        ("6,5", Ok(ChapAlgorithm::Sha1)),
        ("5,6,7,8", Ok(ChapAlgorithm::Sha3_256)),
        ("0x8", Ok(ChapAlgorithm::Sha3_256)),
        ("99,5", Ok(ChapAlgorithm::Md5)),
        ("7", Err(ChapError::NoCommonAlgorithm)),
        ("99", Err(ChapError::NoCommonAlgorithm)),
        ("", Err(ChapError::Malformed("CHAP_A"))),
        ("5,", Err(ChapError::Malformed("CHAP_A"))),
        ("md5", Err(ChapError::Malformed("CHAP_A"))),
        (
            "99999999999999999999999,5",
            Err(ChapError::Malformed("CHAP_A")),
        ),
    ];
    for (list, expected) in table {
        let chosen = ChapExchange::new(policy(Mutual::Never), RANDOM).choose(list);
        assert_eq!(chosen.map(|offer| offer.algorithm), expected, "{list}");
    }
}

#[test]
fn choose_twice_never_sends_a_second_challenge() {
    let mut exchange = challenged(Mutual::Never, "5");
    assert_eq!(exchange.choose("5"), Err(ChapError::OutOfTurn));
    let mut failed = ChapExchange::new(policy(Mutual::Never), RANDOM);
    assert_eq!(failed.choose("7"), Err(ChapError::NoCommonAlgorithm));
    assert_eq!(failed.choose("5"), Err(ChapError::OutOfTurn));
}

#[test]
fn choose_random_bytes_become_identifier_and_challenge() {
    let random = core::array::from_fn(|at| u8::try_from(at).expect("small"));
    let offer = ChapExchange::new(policy(Mutual::Never), random)
        .choose("5")
        .expect("common");
    assert_eq!(offer.identifier, 0);
    assert_eq!(offer.challenge, (1..=32).collect::<Vec<u8>>());
}

#[test]
fn respond_before_choose_is_out_of_turn() {
    let mut exchange = ChapExchange::new(policy(Mutual::Never), RANDOM);
    assert_eq!(
        exchange.respond(one_way("0x00"), request()),
        Err(ChapError::OutOfTurn)
    );
}

#[test]
fn respond_bad_keys_are_refused_by_name() {
    let right = hex(&[7; 16]);
    let long = "n".repeat(MAX_CHAP_NAME_BYTES + 1);
    let table = [
        (ChapResponse::default(), ChapError::MissingKey("CHAP_N")),
        (
            ChapResponse {
                response: None,
                ..one_way(&right)
            },
            ChapError::MissingKey("CHAP_R"),
        ),
        (
            ChapResponse {
                name: Some(""),
                ..one_way(&right)
            },
            ChapError::Malformed("CHAP_N"),
        ),
        (
            ChapResponse {
                name: Some("a\nb"),
                ..one_way(&right)
            },
            ChapError::Malformed("CHAP_N"),
        ),
        (
            ChapResponse {
                name: Some(&long),
                ..one_way(&right)
            },
            ChapError::Malformed("CHAP_N"),
        ),
        (one_way("zz"), ChapError::Malformed("CHAP_R")),
        (one_way("0x"), ChapError::Malformed("CHAP_R")),
        (one_way("0x0707"), ChapError::WrongResponseLength),
        (
            ChapResponse {
                identifier: Some("1"),
                ..one_way(&right)
            },
            ChapError::MissingKey("CHAP_C"),
        ),
        (
            ChapResponse {
                challenge: Some("0x01"),
                ..one_way(&right)
            },
            ChapError::MissingKey("CHAP_I"),
        ),
        (
            ChapResponse {
                identifier: Some("256"),
                challenge: Some("0x01"),
                ..one_way(&right)
            },
            ChapError::Malformed("CHAP_I"),
        ),
        (
            ChapResponse {
                identifier: Some("1"),
                challenge: Some("0x"),
                ..one_way(&right)
            },
            ChapError::Malformed("CHAP_C"),
        ),
    ];
    for (keys, expected) in table {
        let mut exchange = challenged(Mutual::Allowed, "5");
        assert_eq!(exchange.respond(keys, request()), Err(expected));
        // A failed exchange stays failed.
        assert_eq!(
            exchange.respond(one_way(&right), request()),
            Err(ChapError::OutOfTurn)
        );
    }
}

#[test]
fn respond_mutual_policy_is_kept() {
    let right = hex(&[7; 16]);
    let asking = ChapResponse {
        identifier: Some("1"),
        challenge: Some("0x0102"),
        ..one_way(&right)
    };
    let table = [
        (Mutual::Never, false, Ok(false)),
        (Mutual::Never, true, Err(ChapError::MutualNotAllowed)),
        (Mutual::Allowed, false, Ok(false)),
        (Mutual::Allowed, true, Ok(true)),
        (Mutual::Required, false, Err(ChapError::MutualMissing)),
        (Mutual::Required, true, Ok(true)),
    ];
    for (mutual, asks, expected) in table {
        let keys = if asks { asking } else { one_way(&right) };
        let verify = challenged(mutual, "5").respond(keys, request());
        assert_eq!(
            verify.map(|verify| verify.mutual.is_some()),
            expected,
            "{mutual:?} {asks}"
        );
    }
}

#[test]
fn respond_reflected_challenge_under_any_identifier_is_refused() {
    let right = hex(&[7; 16]);
    let ours = hex(&RANDOM[1..]);
    for identifier in ["0x5a", "1"] {
        let keys = ChapResponse {
            identifier: Some(identifier),
            challenge: Some(&ours),
            ..one_way(&right)
        };
        let mut exchange = challenged(Mutual::Allowed, "5");
        assert_eq!(
            exchange.respond(keys, request()),
            Err(ChapError::ReflectedChallenge)
        );
    }
}

#[test]
fn respond_challenge_of_1024_bytes_is_accepted_and_1025_refused() {
    let right = hex(&[7; 16]);
    for (bytes, accepted) in [
        (1, true),
        (MAX_BINARY_BYTES, true),
        (MAX_BINARY_BYTES + 1, false),
    ] {
        let challenge = hex(&vec![3; bytes]);
        let keys = ChapResponse {
            identifier: Some("0"),
            challenge: Some(&challenge),
            ..one_way(&right)
        };
        let verify = challenged(Mutual::Allowed, "5").respond(keys, request());
        assert_eq!(verify.is_ok(), accepted, "{bytes}");
    }
}

#[test]
fn respond_right_keys_ask_the_authenticator_everything() {
    let secret = Secret::new(b"a secret of some length".to_vec());
    let mut exchange = ChapExchange::new(policy(Mutual::Allowed), RANDOM);
    let offer = exchange.choose("6").expect("common");
    let response = chap::response(offer.algorithm, offer.identifier, &secret, &offer.challenge);
    let verify = exchange
        .respond(one_way(&hex(&response)), request())
        .expect("well formed");
    assert_eq!(verify.request, request());
    assert_eq!(verify.algorithm, ChapAlgorithm::Sha1);
    assert_eq!(
        (verify.identifier, verify.challenge.as_slice()),
        (0x5a, &RANDOM[1..])
    );
    assert_eq!(
        (verify.name.as_str(), &verify.response),
        ("user", &response)
    );
    assert_eq!(verify.mutual, None);
    let shown = format!("{verify:?}");
    assert!(
        !shown.contains("response") && !shown.contains("challenge"),
        "{shown}"
    );
}

#[test]
fn settle_verdicts_end_the_exchange_once() {
    const ALLOW: Verdict = Verdict::Allow {
        mutual: None,
        acl: None,
    };
    let answer = |bytes: usize, name: &str| MutualResponse {
        name: name.to_owned(),
        response: vec![1; bytes],
    };
    let table = [
        (
            true,
            Verdict::Allow {
                mutual: Some(answer(16, "target")),
                acl: None,
            },
            Ok(true),
        ),
        (true, ALLOW, Err(ChapError::UnusableAnswer)),
        (
            true,
            Verdict::Allow {
                mutual: Some(answer(15, "target")),
                acl: None,
            },
            Err(ChapError::UnusableAnswer),
        ),
        (
            true,
            Verdict::Allow {
                mutual: Some(answer(16, "a\0b=c")),
                acl: None,
            },
            Err(ChapError::UnusableAnswer),
        ),
        (false, ALLOW, Ok(false)),
        // An answer nobody asked for is not sent.
        (
            false,
            Verdict::Allow {
                mutual: Some(answer(16, "target")),
                acl: None,
            },
            Ok(false),
        ),
        (
            false,
            Verdict::Deny(Refusal::UnknownUser),
            Err(ChapError::Denied(Refusal::UnknownUser)),
        ),
    ];
    let right = hex(&[7; 16]);
    for (asks, verdict, expected) in table {
        let keys = if asks {
            ChapResponse {
                identifier: Some("1"),
                challenge: Some("0x01"),
                ..one_way(&right)
            }
        } else {
            one_way(&right)
        };
        let mut exchange = challenged(Mutual::Allowed, "5");
        assert_eq!(exchange.settle(verdict.clone()), Err(ChapError::OutOfTurn));
        let mut exchange = challenged(Mutual::Allowed, "5");
        exchange.respond(keys, request()).expect("well formed");
        let end = exchange.settle(verdict.clone());
        assert_eq!(end.map(|end| end.mutual.is_some()), expected, "{verdict:?}");
        assert_eq!(exchange.settle(verdict), Err(ChapError::OutOfTurn));
    }
}

#[test]
fn settle_acl_of_the_verdict_is_in_the_answer() {
    let acl = Some(request().initiator);
    let right = hex(&[7; 16]);
    let mut exchange = challenged(Mutual::Never, "5");
    exchange
        .respond(one_way(&right), request())
        .expect("well formed");
    let verdict = Verdict::Allow {
        mutual: None,
        acl: acl.clone(),
    };
    let answer = exchange.settle(verdict).expect("allowed");
    assert_eq!(answer.acl, acl);
}
