//! Each status, in the case the RFC names it for; and the ends without one.

use auth::{Policy, Refusal};
use iscsi_wire::{Bhs, PortalAddress, opcode};

use super::*;

fn refused_with(bench: &Bench, status: LoginStatus, what: &str) {
    assert_eq!(bench.last_status(), Some(status), "{what}");
    assert!(bench.closed, "{what}");
    assert!(bench.commit_requests.is_empty(), "{what}");
    let last = bench.responses.last().expect("a response");
    assert!(!last.header.transit && !last.header.r#continue, "{what}");
    assert_eq!(bench.login.poll_timeout(), None, "{what}");
}

#[test]
fn refusals_of_the_owner_are_sent_and_close() {
    for status in [
        LoginStatus::INITIATOR_ERROR,
        LoginStatus::AUTHENTICATION_FAILURE,
        LoginStatus::AUTHORIZATION_FAILURE,
        LoginStatus::NOT_FOUND,
        LoginStatus::TARGET_REMOVED,
        LoginStatus::TOO_MANY_CONNECTIONS,
        LoginStatus::CANNOT_INCLUDE_IN_SESSION,
        LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
        LoginStatus::SESSION_DOES_NOT_EXIST,
        LoginStatus::TARGET_ERROR,
        LoginStatus::SERVICE_UNAVAILABLE,
        LoginStatus::OUT_OF_RESOURCES,
    ] {
        let mut bench = Bench::open();
        bench.target = Err(status);
        let names = names();
        bench.send(request(SECURITY, None), &named(&names, &[]));
        refused_with(&bench, status, "when resolving");
        assert_eq!(bench.login.error(), Some(&LoginError::Refused(status)));

        let mut bench = Bench::open();
        bench.send(request(SECURITY, None), &named(&names, &[]));
        bench.login.refuse(status);
        assert!(bench.act());
        refused_with(&bench, status, "between requests");
        // What the peer still sends is dropped, and a second refusal says nothing.
        assert_eq!(bench.feed(&[0; 500]), 500);
        let responses = bench.responses.len();
        bench.login.refuse(status);
        assert!(!bench.act());
        assert_eq!(bench.responses.len(), responses);
    }
}

#[test]
fn refusal_that_claims_success_is_a_target_error() {
    let mut bench = Bench::open();
    bench.target = Err(LoginStatus::SUCCESS);
    let names = names();
    bench.send(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &named(&names, &[]),
    );
    refused_with(&bench, LoginStatus::TARGET_ERROR, "success");
}

#[test]
fn refusal_while_committing_is_sent_in_place_of_the_final_response() {
    let names = names();
    let mut login = Bench::open().login;
    let bytes = pdu(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &text(&named(&names, &[])),
    );
    login.handle_received(Duration::ZERO, &bytes);
    login.poll_event();
    login.resolved(Ok(offer()));
    login.poll_event();
    login.policy_is(Some(Policy::Open));
    assert!(matches!(login.poll_event(), Some(LoginEvent::Commit(_))));
    assert!(login.is_committing());
    // The wait for the nexus has an end of its own.
    assert_eq!(login.poll_timeout(), None);
    login.handle_timeout(DEADLINE * 2);
    let mut out = Vec::new();
    login.poll_transmit(&mut out);
    assert!(out.is_empty() && login.is_committing());
    login.refuse(LoginStatus::SERVICE_UNAVAILABLE);
    login.poll_transmit(&mut out);
    let response = LoginResponse::parse(&Bhs(out[..48].try_into().expect("48 bytes")));
    assert_eq!(
        response.expect("a response").status,
        LoginStatus::SERVICE_UNAVAILABLE
    );
    assert_eq!(login.poll_event(), Some(LoginEvent::Close));
    assert!(!login.is_committing());
}

#[test]
fn refusal_after_the_commit_takes_the_place_of_the_final_response() {
    let names = names();
    for asked in [Tsih(0), TSIH] {
        let mut bench = Bench::open();
        let last = LoginRequest {
            tsih: asked,
            ..request(OPERATIONAL, Some(FULL_FEATURE))
        };
        // A first exchange, so that the StatSN is not the first one (and wraps).
        let first = LoginRequest {
            tsih: asked,
            ..request(OPERATIONAL, None)
        };
        bench.send(first, &named(&names, &[]));
        let success = bench.send(last, &["HeaderDigest=None"]);
        assert!(success.header.transit && success.header.data_segment_length > 0);
        let refusal = &bench.established.as_ref().expect("a session").refusal;
        // One PDU, without text.
        assert_eq!(refusal.len(), 48);
        let bhs = Bhs(refusal[..48].try_into().expect("48 bytes"));
        let header = LoginResponse::parse(&bhs).expect("a Login Response");
        let expected = LoginResponse {
            status: LoginStatus::SERVICE_UNAVAILABLE,
            transit: false,
            next_stage: Stage::default(),
            tsih: asked,
            data_segment_length: 0,
            ..success.header
        };
        assert_eq!(header, expected);
        assert_eq!((header.itt, header.isid), (last.itt, last.isid));
        assert_eq!(header.stat_sn, SerialNumber(0xffff_ffff));
        let stat_sn = bench.established.expect("a session").stat_sn;
        assert_eq!(stat_sn, header.stat_sn.next());
    }
}

#[test]
fn redirections_carry_the_address() {
    for (permanent, status) in [
        (false, LoginStatus::TARGET_MOVED_TEMPORARILY),
        (true, LoginStatus::TARGET_MOVED_PERMANENTLY),
    ] {
        let mut bench = Bench::open();
        let names = names();
        bench.send(request(OPERATIONAL, None), &named(&names, &[]));
        let to = PortalAddress::parse("[2001:db8::1]:3261").expect("an address");
        bench.login.redirect(&Redirection { to, permanent });
        bench.act();
        refused_with(&bench, status, "redirection");
        let text = bench.responses.last().expect("a response").text();
        assert_eq!(text, ["TargetAddress=[2001:db8::1]:3261"]);
    }
}

#[test]
fn policy_or_verdict_that_redirects_sends_the_login_elsewhere() {
    let moved = LoginStatus::TARGET_MOVED_TEMPORARILY;
    for (question, asked) in [
        ("policy", vec!["resolve", "policy"]),
        ("verify", vec!["resolve", "policy", "verify"]),
    ] {
        let mut bench = Bench::new(chap());
        bench.elsewhere = Some((question, elsewhere()));
        let names = names();
        bench.send(
            request(SECURITY, None),
            &named(&names, &["AuthMethod=CHAP"]),
        );
        if question == "verify" {
            let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
            let [name, response] = proof(&challenge, USER_SECRET);
            bench.send(request(SECURITY, Some(OPERATIONAL)), &[&name, &response]);
        }
        refused_with(&bench, moved, question);
        assert_eq!(bench.questions, asked);
        let last = bench.responses.last().expect("a response");
        assert_eq!(last.text(), ["TargetAddress=san.example.org:3261"]);
        assert_eq!(bench.login.error(), Some(&LoginError::Refused(moved)));
    }
}

#[test]
fn policy_that_redirects_a_discovery_session_ends_it_without_an_address() {
    let mut bench = Bench::open();
    bench.elsewhere = Some(("policy", elsewhere()));
    let initiator = format!("InitiatorName={INITIATOR}");
    let response = bench.send(
        request(SECURITY, None),
        &[&initiator, "SessionType=Discovery"],
    );
    refused_with(&bench, LoginStatus::TARGET_ERROR, "discovery");
    assert!(response.text().is_empty());
}

fn elsewhere() -> Redirection {
    Redirection {
        to: PortalAddress::parse("san.example.org:3261").expect("an address"),
        permanent: false,
    }
}

#[test]
fn first_request_without_what_it_needs_is_a_missing_parameter() {
    let initiator = format!("InitiatorName={INITIATOR}");
    let target = format!("TargetName={TARGET}");
    let table: &[(&[&str], LoginStatus)] = &[
        (&[], LoginStatus::MISSING_PARAMETER),
        (&[&target], LoginStatus::MISSING_PARAMETER),
        (&[&initiator], LoginStatus::MISSING_PARAMETER),
        (
            &[&initiator, "SessionType=Normal"],
            LoginStatus::MISSING_PARAMETER,
        ),
        (&["SessionType=Discovery"], LoginStatus::MISSING_PARAMETER),
        (
            &[&initiator, &target, "SessionType=Backup"],
            LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
        ),
        (
            &[&initiator, &target, "SessionType="],
            LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
        ),
        (
            &["InitiatorName=a b", &target],
            LoginStatus::INITIATOR_ERROR,
        ),
        (&["InitiatorName=", &target], LoginStatus::INITIATOR_ERROR),
        (
            &[&initiator, "TargetName=a\tb"],
            LoginStatus::INITIATOR_ERROR,
        ),
        (&[&initiator, &target], LoginStatus::SUCCESS),
        (&[&initiator, "SessionType=Discovery"], LoginStatus::SUCCESS),
        (
            &[&initiator, &target, "SessionType=Discovery"],
            LoginStatus::SUCCESS,
        ),
    ];
    for (pairs, status) in table {
        let mut bench = Bench::open();
        let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), pairs);
        assert_eq!(response.header.status, *status, "{pairs:?}");
        assert_eq!(
            bench.questions.is_empty(),
            !status.is_success(),
            "{pairs:?}"
        );
    }
    let alias = format!("InitiatorAlias={}", "a".repeat(256));
    let mut bench = Bench::open();
    bench.send(request(OPERATIONAL, None), &[&initiator, &target, &alias]);
    refused_with(&bench, LoginStatus::INITIATOR_ERROR, "alias of 256 bytes");
}

#[test]
fn discovery_that_joins_a_session_finds_none() {
    let mut bench = Bench::open();
    let initiator = format!("InitiatorName={INITIATOR}");
    let joining = LoginRequest {
        tsih: TSIH,
        ..request(OPERATIONAL, Some(FULL_FEATURE))
    };
    bench.send(joining, &[&initiator, "SessionType=Discovery"]);
    refused_with(&bench, LoginStatus::SESSION_DOES_NOT_EXIST, "discovery");
}

#[test]
fn versions_other_than_zero_are_refused() {
    for (min, max, accepted) in [(0, 0, true), (0, 5, true), (1, 1, false), (1, 5, false)] {
        let mut bench = Bench::open();
        let names = names();
        let versions = LoginRequest {
            version_min: min,
            version_max: max,
            ..request(OPERATIONAL, Some(FULL_FEATURE))
        };
        let response = bench.send(versions, &named(&names, &[]));
        let expected = if accepted {
            LoginStatus::SUCCESS
        } else {
            LoginStatus::UNSUPPORTED_VERSION
        };
        assert_eq!(response.header.status, expected);
        assert_eq!(
            (response.header.version_max, response.header.version_active),
            (0, 0)
        );
    }
}

#[test]
fn policies_that_let_nobody_in_have_their_status() {
    let table = [
        (
            Some(Policy::Deny(Refusal::NotAuthorized)),
            LoginStatus::AUTHORIZATION_FAILURE,
        ),
        (
            Some(Policy::Deny(Refusal::UnknownUser)),
            LoginStatus::AUTHENTICATION_FAILURE,
        ),
        (
            Some(Policy::Deny(Refusal::Unavailable)),
            LoginStatus::SERVICE_UNAVAILABLE,
        ),
        (None, LoginStatus::SERVICE_UNAVAILABLE),
    ];
    for (policy, status) in table {
        for stage in [SECURITY, OPERATIONAL] {
            let mut bench = Bench::open();
            let names = names();
            let first = request(stage, Some(FULL_FEATURE));
            let bytes = pdu(first, &text(&named(&names, &[])));
            bench.login.handle_received(Duration::ZERO, &bytes);
            bench.login.poll_event();
            bench.login.resolved(Ok(offer()));
            let Some(LoginEvent::Policy(asked)) = bench.login.poll_event() else {
                panic!("the policy is asked for");
            };
            assert_eq!(
                asked.target.as_ref().map(|name| name.as_str()),
                Some(TARGET)
            );
            assert_eq!(asked.portal_group_tag, Some(7));
            bench.login.policy_is(policy.clone());
            assert!(bench.act());
            refused_with(&bench, status, "policy");
        }
    }
}

#[test]
fn first_pdu_that_is_no_login_request_closes_without_a_response() {
    for opcode in (0..0x40u8).filter(|opcode| *opcode != opcode::LOGIN_REQUEST) {
        let mut header = Bhs::zeroed();
        header.0[0] = 0x40 | opcode;
        let mut bench = Bench::open();
        assert_eq!(bench.feed(&header.0), 48);
        assert!(bench.closed && bench.responses.is_empty(), "{opcode:#x}");
        assert_eq!(bench.login.error(), Some(&LoginError::NotALogin));
    }
}

#[test]
fn other_pdu_during_login_is_invalid_during_login() {
    for opcode in (0..0x40u8).filter(|opcode| *opcode != opcode::LOGIN_REQUEST) {
        let mut header = Bhs::zeroed();
        header.0[0] = opcode;
        let mut bench = Bench::open();
        let names = names();
        bench.send(request(OPERATIONAL, None), &named(&names, &[]));
        bench.feed(&header.0);
        refused_with(&bench, LoginStatus::INVALID_DURING_LOGIN, "opcode");
    }
}

#[test]
fn malformed_first_header_is_answered_to_whom_it_came_from() {
    let mut header = request(OPERATIONAL, None).emit();
    header.0[4] = 1;
    let mut bench = Bench::open();
    bench.feed(&header.0);
    refused_with(&bench, LoginStatus::INITIATOR_ERROR, "AHS");
    let answer = bench.responses[0].header;
    assert_eq!(
        (answer.itt, answer.isid),
        (Itt(0x2a), request(OPERATIONAL, None).isid)
    );

    let mut bench = Bench::open();
    bench.feed(
        &LoginRequest {
            itt: Itt::RESERVED,
            ..request(OPERATIONAL, None)
        }
        .emit()
        .0,
    );
    refused_with(&bench, LoginStatus::INITIATOR_ERROR, "reserved tag");
}

#[test]
fn malformed_text_ends_the_login() {
    let names = names();
    let good = text(&named(&names, &[]));
    let with = |tail: &[u8]| [good.as_slice(), tail].concat();
    for bad in [
        with(b"HeaderDigest"),
        with(b"HeaderDigest\0"),
        with(b"HeaderDigest=None"),
        with(b"=None\0"),
        with(b"A key=x\0"),
        with(b"X-a=\xff\xfe\0"),
        with(&[b"X".repeat(64).as_slice(), b"=1\0"].concat()),
    ] {
        let mut bench = Bench::open();
        bench.feed(&pdu(request(OPERATIONAL, Some(FULL_FEATURE)), &bad));
        refused_with(
            &bench,
            LoginStatus::INITIATOR_ERROR,
            &String::from_utf8_lossy(&bad),
        );
    }
    // More than one NUL behind a pair is legal.
    let mut bench = Bench::open();
    let padded = [b"\0".as_slice(), &good, b"\0\0InitialR2T=No\0\0\0"].concat();
    bench.feed(&pdu(request(OPERATIONAL, Some(FULL_FEATURE)), &padded));
    assert!(
        bench
            .established
            .is_some_and(|established| !established.params.initial_r2t)
    );
}

#[test]
fn deadline_closes_without_a_response_wherever_the_login_stands() {
    let names = names();
    let bytes = pdu(request(SECURITY, None), &text(&named(&names, &[])));
    for sent in [0, 1, 47, 48, bytes.len() - 1, bytes.len()] {
        let mut bench = Bench::open();
        bench.feed(&bytes[..sent]);
        let responses = bench.responses.len();
        assert_eq!(bench.login.poll_timeout(), Some(DEADLINE));
        bench
            .login
            .handle_timeout(DEADLINE - Duration::from_nanos(1));
        assert!(!bench.act());
        bench.login.handle_timeout(DEADLINE);
        assert!(bench.act() && bench.closed, "{sent}");
        assert_eq!(bench.responses.len(), responses);
        assert_eq!(bench.login.error(), Some(&LoginError::DeadlinePassed));
        assert_eq!(bench.login.poll_timeout(), None);
    }
    // Bytes that come after it say so too.
    let mut bench = Bench::open();
    assert_eq!(bench.login.handle_received(DEADLINE, &bytes), bytes.len());
    assert_eq!(bench.login.poll_event(), Some(LoginEvent::Close));
}

#[test]
fn authenticator_that_fails_at_the_verdict_has_its_status() {
    let allow = |mutual| Some(Verdict::Allow { mutual, acl: None });
    let short = auth::MutualResponse {
        name: "target".to_owned(),
        response: vec![1; 3],
    };
    let table = [
        (None, LoginStatus::SERVICE_UNAVAILABLE),
        (
            Some(Verdict::Deny(Refusal::Unavailable)),
            LoginStatus::SERVICE_UNAVAILABLE,
        ),
        (
            Some(Verdict::Deny(Refusal::NotAuthorized)),
            LoginStatus::AUTHORIZATION_FAILURE,
        ),
        (
            Some(Verdict::Deny(Refusal::SameSecret)),
            LoginStatus::AUTHENTICATION_FAILURE,
        ),
        (
            Some(Verdict::Deny(Refusal::MutualNotConfigured)),
            LoginStatus::AUTHENTICATION_FAILURE,
        ),
        // The target's own proof is missing, or cannot be sent.
        (allow(None), LoginStatus::TARGET_ERROR),
        (allow(Some(short)), LoginStatus::TARGET_ERROR),
    ];
    for (verdict, status) in table {
        let mut bench = Bench::new(chap());
        let names = names();
        bench.send(
            request(SECURITY, None),
            &named(&names, &["AuthMethod=CHAP"]),
        );
        let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
        let [name, proof] = proof(&challenge, USER_SECRET);
        let pairs = [&name, &proof, "CHAP_I=1", "CHAP_C=0x0102"];
        let bytes = pdu(request(SECURITY, Some(FULL_FEATURE)), &text(&pairs));
        bench.login.handle_received(Duration::ZERO, &bytes);
        assert!(matches!(
            bench.login.poll_event(),
            Some(LoginEvent::Verify(_))
        ));
        bench.login.verdict_is(verdict.clone());
        assert!(bench.act());
        refused_with(&bench, status, &format!("{verdict:?}"));
    }
}
