use serde_json::json;

use super::*;

fn name(text: &str) -> IscsiName {
    IscsiName::parse(text).expect("a test's name is well formed")
}

fn request() -> PolicyRequest {
    PolicyRequest {
        initiator: name("iqn.2024-01.lab.example:host1"),
        target: Some(name("iqn.2024-01.lab.example:disk1")),
        portal_group_tag: Some(1),
        portal: ([192, 0, 2, 1], 3260).into(),
        peer: "[2001:db8::2]:40000".parse().expect("an address"),
    }
}

fn question(mutual: bool) -> VerifyRequest {
    VerifyRequest {
        request: request(),
        algorithm: ChapAlgorithm::Md5,
        identifier: 7,
        challenge: vec![0, 0xff],
        name: "al\"ice\n".to_owned(),
        response: vec![1; 16],
        mutual: mutual.then(|| MutualChallenge {
            identifier: 9,
            challenge: vec![0xab],
        }),
    }
}

fn hello(mutual: bool) -> Hello {
    Hello {
        algorithms: vec![ChapAlgorithm::Sha256, ChapAlgorithm::Md5],
        mutual,
        cache: true,
    }
}

fn redirection(to: &str, permanent: bool) -> Redirection {
    let to = PortalAddress::parse(to).expect("an address");
    Redirection { to, permanent }
}

fn emitted(emit: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>) -> String {
    let mut out = Vec::new();
    emit(&mut out).expect("short");
    String::from_utf8(out).expect("text")
}

#[test]
fn emit_each_line_is_as_the_guide_shows() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        emitted(emit_hello),
        format!(
            "{{\"hello\":{{\"protocol\":1,\"program\":\"quintain\",\"version\":\"{version}\"}}}}\n"
        )
    );
    let asked = r#""initiator":"iqn.2024-01.lab.example:host1","target":"iqn.2024-01.lab.example:disk1","portal_group_tag":1,"portal":"192.0.2.1:3260","peer":"[2001:db8::2]:40000""#;
    assert_eq!(
        emitted(|out| emit_policy(3, &request(), out)),
        format!("{{\"id\":3,\"policy\":{{{asked}}}}}\n")
    );
    let discovery = PolicyRequest {
        target: None,
        portal_group_tag: None,
        ..request()
    };
    let line = emitted(|out| emit_policy(4, &discovery, out));
    assert!(
        line.contains(r#""target":null,"portal_group_tag":null"#),
        "{line}"
    );
    let proof = r#""algorithm":"md5","identifier":7,"challenge":"00ff","name":"al\"ice\n","response":"01010101010101010101010101010101""#;
    assert_eq!(
        emitted(|out| emit_verify(5, &question(true), &hello(true), out)),
        format!(
            "{{\"id\":5,\"verify\":{{{asked},{proof},\"mutual\":{{\"identifier\":9,\"challenge\":\"ab\"}}}}}}\n"
        )
    );
    // A helper that does not answer it is not told the initiator's challenge.
    for (mutual, hello) in [(true, hello(false)), (false, hello(true))] {
        assert_eq!(
            emitted(|out| emit_verify(5, &question(mutual), &hello, out)),
            format!("{{\"id\":5,\"verify\":{{{asked},{proof},\"mutual\":null}}}}\n")
        );
    }
}

#[test]
fn emit_the_longest_question_is_a_legal_line() {
    let longest = VerifyRequest {
        algorithm: ChapAlgorithm::Sha256,
        challenge: vec![255; auth::MAX_BINARY_BYTES],
        name: "\u{7f}".repeat(MAX_CHAP_NAME_BYTES),
        response: vec![255; 32],
        mutual: Some(MutualChallenge {
            identifier: 255,
            challenge: vec![255; auth::MAX_BINARY_BYTES],
        }),
        ..question(true)
    };
    let line = emitted(|out| emit_verify(u64::MAX, &longest, &hello(true), out));
    assert!(line.len() < MAX_LINE_BYTES / 4, "{}", line.len());
}

#[test]
fn parse_hello_takes_what_is_known_and_leaves_the_rest() {
    let line =
        br#"{"hello":{"protocol":1,"algorithms":["md5","later","sha3-256"],"future":{}},"more":1}"#;
    let hello = Hello {
        algorithms: vec![ChapAlgorithm::Sha3_256, ChapAlgorithm::Md5],
        mutual: false,
        cache: false,
    };
    assert_eq!(parse_hello(line), Ok(hello));
    for line in [
        &br#"{"hello":{"protocol":2,"algorithms":["md5"]}}"#[..],
        br#"{"hello":{"protocol":1,"algorithms":["later"]}}"#,
        br#"{"hello":{"protocol":1,"algorithms":[]}}"#,
        br#"{"hello":{"protocol":1}}"#,
        br#"{"hello":{"protocol":1,"algorithms":["md5"],"mutual":"yes"}}"#,
        br#"{"id":1,"policy":{"open":true}}"#,
        br#"{}"#,
        b"",
        b"hello",
        b"\xff\xfe",
    ] {
        assert!(
            parse_hello(line).is_err(),
            "{}",
            String::from_utf8_lossy(line)
        );
    }
}

#[test]
fn parse_line_tells_answers_from_the_rest() {
    let answer = |id, answer| Ok(Line::Answer { id, answer });
    let table = [
        (
            r#"{"id":1,"policy":{}}"#,
            answer(1, Body::Policy(json!({}))),
        ),
        (
            r#"{"verdict":{"x":1},"id":18446744073709551615,"note":"aside"}"#,
            answer(u64::MAX, Body::Verdict(json!({"x": 1}))),
        ),
        (
            r#"{"id":1,"policy":{},"verdict":{}}"#,
            answer(1, Body::Neither),
        ),
        (r#"{"id":1}"#, answer(1, Body::Neither)),
        (r#"{"id":1,"policy":null}"#, answer(1, Body::Neither)),
        (r#"{"forget":true}"#, Ok(Line::Forget)),
    ];
    for (line, expected) in table {
        assert_eq!(parse_line(line.as_bytes()), expected, "{line}");
    }
    for line in [
        r#"{"forget":false}"#,
        r#"{"forget":true,"id":1}"#,
        r#"{"policy":{"open":true}}"#,
        r#"{"id":-1,"policy":{}}"#,
        r#"{"id":"1","policy":{}}"#,
        r#"{"id":1,"id":2,"policy":{}}"#,
        r#"{"id":1,"policy":{}"#,
        r#"{"hello":{"protocol":1,"algorithms":["md5"]}}"#,
        "[]",
        "",
    ] {
        assert!(parse_line(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn parse_policy_each_kind() {
    let chap = |algorithms: &[ChapAlgorithm], mutual, none_allowed| HelperPolicy::Chap {
        algorithms: algorithms.to_vec(),
        mutual,
        none_allowed,
    };
    let [sha256, md5] = [ChapAlgorithm::Sha256, ChapAlgorithm::Md5];
    let table = [
        (json!({"open": true}), HelperPolicy::Open, 0),
        (
            json!({"open": true, "cache_seconds": 60}),
            HelperPolicy::Open,
            60,
        ),
        (json!({"chap": {}}), chap(&[sha256, md5], None, false), 0),
        // The helper's order; what it cannot verify, and what it names twice, is left out.
        (
            json!({"chap": {"algorithms": ["md5", "sha1", "sha256", "md5"], "mutual": "required", "none_allowed": true}}),
            chap(&[md5, sha256], Some(Mutual::Required), true),
            0,
        ),
        (
            json!({"chap": {"mutual": "never"}}),
            chap(&[sha256, md5], Some(Mutual::Never), false),
            0,
        ),
        (
            json!({"chap": {"mutual": "allowed"}}),
            chap(&[sha256, md5], Some(Mutual::Allowed), false),
            0,
        ),
        (
            json!({"deny": "unavailable"}),
            HelperPolicy::Deny(Refusal::Unavailable),
            0,
        ),
        (
            json!({"deny": "whatever"}),
            HelperPolicy::Deny(Refusal::NotAuthorized),
            0,
        ),
        (
            json!({"redirect": {"address": "San.example.org"}, "cache_seconds": 9}),
            HelperPolicy::Redirect(redirection("san.example.org:3260", false)),
            9,
        ),
        (
            json!({"redirect": {"address": "[2001:db8::1]:3261", "permanent": true}}),
            HelperPolicy::Redirect(redirection("[2001:db8::1]:3261", true)),
            0,
        ),
    ];
    for (answer, policy, seconds) in table {
        let expected = Ok((policy, Duration::from_secs(seconds)));
        assert_eq!(
            parse_policy(answer.clone(), &request(), &hello(false)),
            expected,
            "{answer}"
        );
    }
    // A helper that did not say that it knows of caching is not taken at its word.
    let silent = Hello {
        cache: false,
        ..hello(false)
    };
    let answer = json!({"open": true, "cache_seconds": 60});
    assert_eq!(
        parse_policy(answer, &request(), &silent),
        Ok((HelperPolicy::Open, Duration::ZERO))
    );
}

#[test]
fn parse_policy_that_is_not_exactly_one_is_malformed() {
    for answer in [
        json!({}),
        json!(null),
        json!("open"),
        json!({"open": false}),
        json!({"open": 1}),
        json!({"open": true, "chap": {}}),
        json!({"open": true, "deny": "not_authorized"}),
        json!({"open": true, "opne": 1}),
        json!({"chap": {"algorithms": []}}),
        json!({"chap": {"algorithms": ["sha1"]}}),
        json!({"chap": {"algorithms": ["md4", "md5"]}}),
        json!({"chap": {"mutaul": "required"}}),
        json!({"chap": {"mutual": "sometimes"}}),
        json!({"chap": {"none_allowed": "no"}}),
        json!({"chap": true}),
        json!({"deny": true}),
        json!({"open": true, "redirect": {"address": "192.0.2.1"}}),
        json!({"redirect": "192.0.2.1"}),
        json!({"redirect": {}}),
        json!({"redirect": {"address": ""}}),
        json!({"redirect": {"address": "192.0.2.1:3260,1"}}),
        json!({"redirect": {"address": "192.0.2.1", "permanent": "yes"}}),
        json!({"redirect": {"address": "192.0.2.1", "permannet": true}}),
        json!({"open": true, "cache_seconds": -1}),
        json!({"open": true, "cache_seconds": u64::MAX}),
    ] {
        assert!(
            parse_policy(answer.clone(), &request(), &hello(false)).is_err(),
            "{answer}"
        );
    }
}

#[test]
fn parse_verdict_each_kind() {
    let proof = "0123456789abcdef0123456789ABCDEF";
    let mutual = json!({"name": "target", "response": proof});
    let allow = |acl: Option<&str>| {
        Ok(HelperVerdict::Allow {
            mutual: None,
            acl: acl.map(name),
        })
    };
    let plain = (question(false), hello(true));
    let template = "iqn.2024-01.lab.example:template";
    let table = [
        (json!({"allow": true}), &plain, allow(None)),
        (
            json!({"allow": true, "acl": template, "cache_seconds": 5, "mutual": null}),
            &plain,
            allow(Some(template)),
        ),
        // An answer to a challenge that there is not, or that the helper is not told of, goes nowhere.
        (
            json!({"allow": true, "mutual": mutual}),
            &plain,
            allow(None),
        ),
        (
            json!({"allow": true, "mutual": mutual}),
            &(question(true), hello(false)),
            allow(None),
        ),
        (
            json!({"deny": "wrong_response"}),
            &plain,
            Ok(HelperVerdict::Deny(Refusal::WrongResponse)),
        ),
        (
            json!({"deny": "hm"}),
            &plain,
            Ok(HelperVerdict::Deny(Refusal::NotAuthorized)),
        ),
        // Whoever proves the target proves it there.
        (
            json!({"redirect": {"address": "192.0.2.7:3261"}, "cache_seconds": 1}),
            &(question(true), hello(true)),
            Ok(HelperVerdict::Redirect(redirection(
                "192.0.2.7:3261",
                false,
            ))),
        ),
    ];
    for (answer, (question, hello), expected) in table {
        let verdict = parse_verdict(answer.clone(), question, hello);
        assert_eq!(verdict, expected, "{answer}");
    }
    // An ACL can have any name that an initiator can.
    let vmware = "iqn.1998-01.com.vmware:host_a";
    let verdict = parse_verdict(json!({"allow": true, "acl": vmware}), &plain.0, &plain.1);
    let Ok(HelperVerdict::Allow { acl: Some(acl), .. }) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(acl.as_str(), vmware);
    let verdict = parse_verdict(
        json!({"allow": true, "mutual": mutual}),
        &question(true),
        &hello(true),
    );
    let Ok(HelperVerdict::Allow {
        mutual: Some(mutual),
        ..
    }) = verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(
        (&*mutual.name, mutual.response.len(), mutual.response[7]),
        ("target", 16, 0xef)
    );
}

#[test]
fn parse_verdict_that_is_not_exactly_one_is_malformed() {
    let with = |name: &str, response: &str| json!({"allow": true, "mutual": {"name": name, "response": response}});
    let proof = "00".repeat(16);
    for answer in [
        json!({}),
        json!(true),
        json!({"allow": false}),
        json!({"allow": 1}),
        json!({"allow": true, "deny": "unknown_user"}),
        json!({"allow": true, "redirect": {"address": "192.0.2.7"}, "mutual": {"name": "t", "response": proof}}),
        json!({"redirect": {"address": "192.0.2.7"}, "deny": "unknown_user"}),
        json!({"redirect": {"address": "192.0.2.7"}, "acl": "iqn.2024-01.lab.example:a"}),
        json!({"redirect": {"address": "fe80::1"}}),
        json!({"deny": "unknown_user", "acl": "iqn.2024-01.lab.example:a"}),
        json!({"allow": true, "alc": "iqn.2024-01.lab.example:a"}),
        json!({"allow": true}),
        json!({"allow": true, "mutual": null}),
        with("", &proof),
        with("a\tb", &proof),
        with(&"x".repeat(256), &proof),
        with("target", &proof[1..]),
        with("target", &proof[2..]),
        with("target", &proof.replace("00", "0g")),
        with("target", &proof.replace("00", "+1")),
        with("target", &format!("0x{}", &proof[2..])),
        json!({"allow": true, "acl": "not a name", "mutual": {"name": "target", "response": proof}}),
    ] {
        let verdict = parse_verdict(answer.clone(), &question(true), &hello(true));
        assert!(verdict.is_err(), "{answer}");
    }
}

#[test]
fn redirect_of_a_discovery_session_is_malformed() {
    let discovery = PolicyRequest {
        target: None,
        portal_group_tag: None,
        ..request()
    };
    let answer = json!({"redirect": {"address": "192.0.2.7"}});
    let policy = parse_policy(answer.clone(), &discovery, &hello(false));
    assert!(policy.is_err(), "{policy:?}");
    let question = VerifyRequest {
        request: discovery,
        ..question(false)
    };
    let verdict = parse_verdict(answer, &question, &hello(false));
    assert!(verdict.is_err(), "{verdict:?}");
}

#[test]
fn reasons_are_those_of_every_refusal() {
    for refusal in [
        Refusal::NotAuthorized,
        Refusal::UnknownUser,
        Refusal::WrongResponse,
        Refusal::SameSecret,
        Refusal::MutualNotConfigured,
        Refusal::Unavailable,
    ] {
        assert_eq!(
            REASONS
                .iter()
                .filter(|(_, known)| *known == refusal)
                .count(),
            1
        );
    }
}
