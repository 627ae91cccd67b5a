//! Every way between the stages.

use super::*;

/// RFC 7143 §11.12.3: which current and next stages a first request may have.
#[test]
fn first_request_every_pair_of_stages_is_allowed_or_refused() {
    let names = names();
    for current in 0..4u8 {
        for next in (0..4u8).map(Some).chain([None]) {
            let mut bench = Bench::open();
            let first = request(Stage::from(current), next.map(Stage::from));
            let response = bench.send(first, &named(&names, &[]));
            let legal = matches!(
                (current, next),
                (0 | 1, None) | (0, Some(1 | 3)) | (1, Some(3))
            );
            let expected = if legal {
                LoginStatus::SUCCESS
            } else {
                LoginStatus::INITIATOR_ERROR
            };
            assert_eq!(response.header.status, expected, "{current} {next:?}");
            assert_eq!(bench.closed, !legal);
            assert_eq!(bench.established.is_some(), legal && next == Some(3));
            assert_eq!(response.header.transit, legal && next.is_some());
        }
    }
}

/// After each answer only the stage that it leads to is accepted.
#[test]
fn later_request_in_another_stage_than_the_logins_is_refused() {
    let names = names();
    let table = [
        (request(SECURITY, None), SECURITY),
        (request(SECURITY, Some(OPERATIONAL)), OPERATIONAL),
        (request(OPERATIONAL, None), OPERATIONAL),
    ];
    for (first, stage) in table {
        for current in 0..4u8 {
            let mut bench = Bench::open();
            bench.send(first, &named(&names, &[]));
            let response = bench.send(request(Stage::from(current), None), &[]);
            let expected = if Stage::from(current) == stage {
                LoginStatus::SUCCESS
            } else {
                LoginStatus::INITIATOR_ERROR
            };
            assert_eq!(response.header.status, expected, "{stage:?} {current}");
        }
    }
}

#[test]
fn next_stage_without_transit_is_ignored() {
    let mut bench = Bench::open();
    let names = names();
    let odd = LoginRequest {
        next_stage: Stage::Other(2),
        ..request(OPERATIONAL, None)
    };
    let response = bench.send(odd, &named(&names, &[]));
    assert!(response.header.status.is_success() && !response.header.transit);
}

#[test]
fn security_stage_goes_on_until_transit_is_asked_for() {
    let mut bench = Bench::open();
    let names = names();
    bench.send(request(SECURITY, None), &named(&names, &[]));
    let response = bench.send(request(SECURITY, None), &["AuthMethod=None"]);
    assert_eq!(response.text(), ["AuthMethod=None"]);
    assert!(!bench.send(request(SECURITY, None), &[]).header.transit);
    assert!(
        bench
            .send(request(SECURITY, Some(OPERATIONAL)), &[])
            .header
            .transit
    );
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &[]);
    assert_eq!(response.text(), ["MaxRecvDataSegmentLength=262144"]);
    assert!(bench.established.is_some());
}

/// After CHAP is done the stage need not be left at once, and authentication is not repeated.
#[test]
fn security_stage_after_chap_waits_for_transit() {
    let mut bench = Bench::new(chap());
    let names = names();
    bench.send(
        request(SECURITY, None),
        &named(&names, &["AuthMethod=CHAP"]),
    );
    let challenge = bench.send(request(SECURITY, None), &["CHAP_A=7"]);
    let [name, proof] = proof(&challenge, USER_SECRET);
    let response = bench.send(request(SECURITY, None), &[&name, &proof]);
    assert!(!response.header.transit);
    assert!(bench.commit_requests.is_empty());
    bench.send(request(SECURITY, Some(FULL_FEATURE)), &[]);
    let established = bench.established.expect("a session");
    assert_eq!(established.authenticated_as.as_deref(), Some("labuser"));
}

#[test]
fn fields_that_must_stay_the_same_end_the_login_when_they_change() {
    let first = request(SECURITY, None);
    let same = request(SECURITY, None);
    let table = [
        (
            LoginRequest {
                itt: Itt(1),
                ..same
            },
            false,
        ),
        (
            LoginRequest {
                isid: Isid([1; 6]),
                ..same
            },
            false,
        ),
        (
            LoginRequest {
                tsih: Tsih(1),
                ..same
            },
            false,
        ),
        (
            LoginRequest {
                cid: Cid(9),
                ..same
            },
            false,
        ),
        (
            LoginRequest {
                version_max: 1,
                ..same
            },
            false,
        ),
        // The StatSN acknowledged and the CmdSN are looked at in full feature phase only.
        (
            LoginRequest {
                exp_stat_sn: SerialNumber(5),
                ..same
            },
            true,
        ),
        (
            LoginRequest {
                cmd_sn: SerialNumber(5),
                ..same
            },
            true,
        ),
    ];
    for (second, accepted) in table {
        let mut bench = Bench::open();
        let names = names();
        bench.send(first, &named(&names, &[]));
        let response = bench.send(second, &[]);
        assert_eq!(response.header.status.is_success(), accepted, "{second:?}");
        // Only the first CmdSN counts.
        assert_eq!(response.header.exp_cmd_sn, first.cmd_sn);
        let expected = if accepted {
            None
        } else {
            Some(LoginStatus::INITIATOR_ERROR)
        };
        assert_eq!(
            Some(response.header.status).filter(|it| !it.is_success()),
            expected
        );
    }
}

#[test]
fn answers_nobody_asked_for_are_ignored() {
    let mut bench = Bench::open();
    bench.login.resolved(Err(LoginStatus::NOT_FOUND));
    bench.login.policy_is(None);
    bench.login.verdict_is(None);
    assert_eq!(bench.login.poll_event(), None);
    let names = names();
    bench.send(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &named(&names, &[]),
    );
    bench.login.policy_is(None);
    bench.login.verdict_is(Some(Verdict::Allow {
        mutual: None,
        acl: None,
    }));
    bench.login.refuse(LoginStatus::TARGET_REMOVED);
    assert_eq!(bench.login.poll_event(), None);
    assert_eq!(bench.login.error(), None);
    assert!(!bench.login.is_committing());
}

#[test]
fn bytes_behind_the_last_request_are_left_for_the_session() {
    let names = names();
    let last = pdu(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &text(&named(&names, &["InitialR2T=No"])),
    );
    let mut stream = last.clone();
    stream.extend_from_slice(&[0x01; 100]);
    let mut bench = Bench::open();
    assert_eq!(bench.feed(&stream), last.len());
    assert!(bench.established.is_some());
    assert_eq!(bench.login.handle_received(Duration::ZERO, &[1; 48]), 0);
}

#[test]
fn no_bytes_are_taken_while_a_question_is_open() {
    let names = names();
    let bytes = pdu(request(OPERATIONAL, None), &text(&named(&names, &[])));
    let more = [bytes.as_slice(), &pdu(request(OPERATIONAL, None), &[])].concat();
    let mut login = Bench::open().login;
    assert_eq!(login.handle_received(Duration::ZERO, &more), bytes.len());
    assert_eq!(
        login.handle_received(Duration::ZERO, &more[bytes.len()..]),
        0
    );
    let Some(LoginEvent::Resolve(identity)) = login.poll_event() else {
        panic!("the target is asked for first");
    };
    assert_eq!(identity.initiator_name.as_str(), INITIATOR);
    assert_eq!(
        login.handle_received(Duration::ZERO, &more[bytes.len()..]),
        0
    );
    let mut out = Vec::new();
    login.poll_transmit(&mut out);
    assert!(out.is_empty());
    login.resolved(Ok(offer()));
    assert!(matches!(login.poll_event(), Some(LoginEvent::Policy(_))));
    login.policy_is(Some(auth::Policy::Open));
    assert_eq!(
        login.handle_received(Duration::ZERO, &more[bytes.len()..]),
        48
    );
    login.poll_transmit(&mut out);
    assert!(out.len() > 2 * BHS_BYTES);
}

#[test]
fn debug_of_a_login_shows_neither_challenge_nor_response() {
    let mut bench = Bench::new(chap());
    let names = names();
    bench.send(
        request(SECURITY, None),
        &named(&names, &["AuthMethod=CHAP"]),
    );
    let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
    let [name, proof] = proof(&challenge, USER_SECRET);
    let bytes = pdu(request(SECURITY, None), &text(&[&name, &proof]));
    bench.login.handle_received(Duration::ZERO, &bytes);
    let shown = format!("{:?}", bench.login);
    let challenge = format!("{:?}", unhex(&challenge.value("CHAP_C")));
    let response = format!("{:?}", unhex(&proof["CHAP_R=".len()..]));
    assert!(shown.contains("labuser"), "{shown}");
    for secret in [
        challenge.trim_matches(['[', ']']),
        response.trim_matches(['[', ']']),
        &proof,
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
