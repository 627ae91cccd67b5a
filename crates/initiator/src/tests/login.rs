//! Logins: stages, negotiation, authentication and split text.

use iscsi_wire::{InitiatorPdu, LoginRequest, LoginStatus, Stage, TargetPdu, Tsih};

use super::*;
use crate::{Chap, MutualChap};

const SECURITY: Stage = Stage::Security;
const OPERATIONAL: Stage = Stage::Operational;
const FULL_FEATURE: Stage = Stage::FullFeature;

fn started(config: Config) -> Initiator {
    let mut initiator = Initiator::new(config);
    initiator.start_login();
    initiator
}

/// The one login request in the output, and its text.
fn request(initiator: &mut Initiator) -> (LoginRequest, Vec<String>) {
    match &sent(initiator)[..] {
        [(InitiatorPdu::LoginRequest(request), text)] => (*request, lines(text)),
        other => panic!("{other:?}"),
    }
}

fn flow(request: &LoginRequest) -> (Stage, Option<Stage>) {
    (
        request.current_stage,
        request.transit.then_some(request.next_stage),
    )
}

/// A digest that shows what went into it.
fn digest(algorithm: u8, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    [&[algorithm, identifier], secret, challenge].concat()
}

fn chap(mutual: bool) -> Chap {
    let of_target = || MutualChap {
        name: Some("target".to_owned()),
        secret: b"out".to_vec(),
        identifier: 9,
        challenge: vec![0xcc; 2],
    };
    Chap {
        name: "user".to_owned(),
        secret: b"in".to_vec(),
        algorithms: vec![7, 5],
        digest,
        mutual: mutual.then(of_target),
    }
}

#[test]
fn login_through_both_stages_settles_the_parameters() {
    let mut initiator = started(normal());
    let (first, keys) = request(&mut initiator);
    assert_eq!(flow(&first), (SECURITY, Some(OPERATIONAL)));
    assert_eq!(
        (first.cmd_sn, first.exp_stat_sn),
        (SerialNumber(1), SerialNumber(0))
    );
    let identity = [
        format!("InitiatorName={INITIATOR}"),
        format!("TargetName={TARGET}"),
    ];
    assert_eq!(keys[..2], identity);
    assert_eq!(keys[2..], ["SessionType=Normal", "AuthMethod=None"]);

    assert_eq!(
        answer(
            &mut initiator,
            SECURITY,
            Some(OPERATIONAL),
            &["AuthMethod=None"]
        ),
        []
    );
    let (second, keys) = request(&mut initiator);
    assert_eq!(flow(&second), (OPERATIONAL, Some(FULL_FEATURE)));
    assert_eq!(
        (second.cmd_sn, second.exp_stat_sn),
        (SerialNumber(1), FIRST_STAT_SN.next())
    );
    assert!(
        keys.contains(&"FirstBurstLength=65536".to_owned()),
        "{keys:?}"
    );

    let events = answer(&mut initiator, OPERATIONAL, Some(FULL_FEATURE), &ACCEPTED);
    assert_eq!(events, [Event::LoggedIn]);
    let params = initiator.params();
    assert_eq!(params.max_send_data_segment_length, 1024);
    assert_eq!(params.max_recv_data_segment_length, 262_144);
    assert_eq!(
        (params.max_burst_length, params.first_burst_length),
        (4096, 2048)
    );
    assert!(!params.initial_r2t && params.immediate_data && !params.header_digest);
    assert_eq!(params.target_portal_group_tag, Some(1));
    assert_eq!(params.target_alias.as_deref(), Some("disk"));
    assert_eq!(initiator.tsih(), Tsih(7));
    assert_eq!(initiator.window(), (SerialNumber(1), SerialNumber(32)));
    assert!(initiator.is_full_feature());
}

#[test]
fn login_from_security_straight_to_full_feature_keeps_the_defaults() {
    let mut initiator = started(Config {
        after_security: FULL_FEATURE,
        ..normal()
    });
    assert_eq!(
        flow(&request(&mut initiator).0),
        (SECURITY, Some(FULL_FEATURE))
    );
    let events = answer(
        &mut initiator,
        SECURITY,
        Some(FULL_FEATURE),
        &["AuthMethod=None"],
    );
    assert_eq!(events, [Event::LoggedIn]);
    assert_eq!(*initiator.params(), crate::Params::default());
}

#[test]
fn login_with_mutual_chap_proves_both_sides() {
    let mut initiator = started(normal().with_chap(chap(true)));
    let (first, keys) = request(&mut initiator);
    assert_eq!(flow(&first), (SECURITY, None));
    assert_eq!(keys[3], "AuthMethod=CHAP,None");
    let keys = ["AuthMethod=CHAP", "TargetPortalGroupTag=1"];
    assert_eq!(answer(&mut initiator, SECURITY, None, &keys), []);
    assert_eq!(request(&mut initiator).1, ["CHAP_A=7,5"]);
    let keys = ["CHAP_A=5", "CHAP_I=3", "CHAP_C=0bAQID"];
    assert_eq!(answer(&mut initiator, SECURITY, None, &keys), []);
    let (third, keys) = request(&mut initiator);
    assert_eq!(flow(&third), (SECURITY, Some(OPERATIONAL)));
    let expected = [
        "CHAP_N=user",
        "CHAP_R=0x0503696e010203",
        "CHAP_I=9",
        "CHAP_C=0xcccc",
    ];
    assert_eq!(keys, expected);
    let keys = ["CHAP_N=target", "CHAP_R=0x05096f7574cccc"];
    assert_eq!(
        answer(&mut initiator, SECURITY, Some(OPERATIONAL), &keys),
        []
    );
    assert_eq!(
        flow(&request(&mut initiator).0),
        (OPERATIONAL, Some(FULL_FEATURE))
    );
}

#[test]
fn login_with_mutual_chap_ends_where_the_target_proves_nothing() {
    let table: [(&[&str], &str); 4] = [
        (
            &["CHAP_N=target", "CHAP_R=0x00"],
            "target has the wrong CHAP_R",
        ),
        (
            &["CHAP_N=else", "CHAP_R=0x05096f7574cccc"],
            "target has another CHAP_N",
        ),
        (&["CHAP_R=0x05096f7574cccc"], "target has no CHAP_N"),
        (&[], "target has no CHAP_N"),
    ];
    for (keys, reason) in table {
        let mut initiator = started(normal().with_chap(chap(true)));
        answer(&mut initiator, SECURITY, None, &["AuthMethod=CHAP"]);
        answer(
            &mut initiator,
            SECURITY,
            None,
            &["CHAP_A=5", "CHAP_I=3", "CHAP_C=0x01"],
        );
        let events = answer(&mut initiator, SECURITY, Some(OPERATIONAL), keys);
        assert_eq!(
            events,
            [Event::Violation(Violation::Authentication(reason))]
        );
        assert!(initiator.is_closed());
    }
}

#[test]
fn login_with_chap_offered_goes_on_where_the_target_wants_none() {
    let mut initiator = started(normal().with_chap(chap(false)));
    assert_eq!(
        answer(&mut initiator, SECURITY, None, &["AuthMethod=None"]),
        []
    );
    let mut requests = sent(&mut initiator);
    let Some((InitiatorPdu::LoginRequest(last), text)) = requests.pop() else {
        panic!()
    };
    assert_eq!(
        (flow(&last), text.len()),
        ((SECURITY, Some(OPERATIONAL)), 0)
    );
}

#[test]
fn login_refused_tells_status_and_keys() {
    let mut initiator = started(normal());
    let data = text(&["TargetAddress=10.0.0.2:3260"]);
    let mut response = login_response(&initiator, SECURITY, &data);
    response.status = LoginStatus::TARGET_MOVED_TEMPORARILY;
    let events = receive(&mut initiator, TargetPdu::LoginResponse(response), &data);
    let pairs = vec![("TargetAddress".to_owned(), "10.0.0.2:3260".to_owned())];
    let status = LoginStatus::TARGET_MOVED_TEMPORARILY;
    assert_eq!(events, [Event::LoginFailed { status, pairs }]);
    assert!(initiator.is_closed());
    assert_eq!(
        initiator.handle_bytes(&[0; 48]),
        [],
        "nothing is read after the end"
    );
}

/// A target whose every response has one byte of its text, to an initiator whose every request has one of its own.
/// Gives what the initiator asked in all, and the events.
fn login_byte_by_byte(config: Config) -> (Vec<u8>, Vec<Event>, Initiator) {
    let mut initiator = started(Config {
        login_segment_bytes: 1,
        ..config
    });
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    let mut stage = SECURITY;
    let mut untold = text(&["AuthMethod=None"]);
    while !initiator.is_full_feature() {
        let (pdu, data) = sent(&mut initiator).pop().expect("a request is sent");
        let InitiatorPdu::LoginRequest(request) = pdu else {
            panic!("{pdu:?}")
        };
        assert!(data.len() <= 1 && !(request.r#continue && request.transit));
        asked.extend(data);
        let now = if request.r#continue {
            0
        } else {
            untold.len().min(1)
        };
        let data: Vec<_> = untold.drain(..now).collect();
        let mut response = login_response(&initiator, stage, &data);
        response.r#continue = !request.r#continue && !untold.is_empty();
        response.transit = request.transit && untold.is_empty();
        if response.transit {
            response.next_stage = request.next_stage;
            response.tsih = Tsih(7);
            stage = request.next_stage;
            untold = text(&ACCEPTED);
        }
        told.extend(receive(
            &mut initiator,
            TargetPdu::LoginResponse(response),
            &data,
        ));
    }
    (asked, told, initiator)
}

#[test]
fn login_text_split_at_every_byte_both_ways_gives_the_same_result() {
    for transit_while_target_goes_on in [true, false] {
        let config = Config {
            transit_while_target_goes_on,
            ..normal()
        };
        let (asked, told, initiator) = login_byte_by_byte(config);
        assert_eq!(told, [Event::LoggedIn]);
        assert_eq!(initiator.params().max_burst_length, 4096);
        let asked = lines(&asked);
        assert_eq!(asked[3], "AuthMethod=None");
        assert_eq!(asked.len(), 4 + normal().operational.len());
    }
}

#[test]
fn login_target_offers_get_answers() {
    let mut initiator = started(Config {
        first_stage: OPERATIONAL,
        ..normal()
    });
    let _ = initiator.take_output();
    let offers = [
        "X-com.example=1",
        "TaskReporting=FastAbort,RFC3720",
        "IFMarker=Yes",
    ];
    assert_eq!(answer(&mut initiator, OPERATIONAL, None, &offers), []);
    let (next, keys) = request(&mut initiator);
    assert_eq!(
        keys,
        [
            "X-com.example=NotUnderstood",
            "TaskReporting=RFC3720",
            "IFMarker=Reject"
        ]
    );
    assert_eq!(flow(&next), (OPERATIONAL, Some(FULL_FEATURE)));
}

#[test]
fn login_illegal_answers_are_violations_and_the_login_goes_on() {
    let table = [
        "MaxBurstLength=524288",
        "MaxBurstLength=511",
        "DefaultTime2Wait=1",
        "HeaderDigest=CRC32C",
        "MaxConnections=2",
        "ErrorRecoveryLevel=NotUnderstood",
        "InitialR2T=Maybe",
        "MaxRecvDataSegmentLength=16777216",
    ];
    for line in table {
        let mut initiator = started(Config {
            first_stage: OPERATIONAL,
            ..normal()
        });
        let next = Some(FULL_FEATURE);
        let events = answer(&mut initiator, OPERATIONAL, next, &accepted(&[line]));
        let (key, value) = line.split_once('=').expect("a pair");
        let (key, value) = (key.to_owned(), value.to_owned());
        let expected = [
            Event::Violation(Violation::Answer { key, value }),
            Event::LoggedIn,
        ];
        assert_eq!(events, expected, "{line}");
    }
}

// RFC 7143 §6.2.2: Yes to an OR and No to an AND are the result by themselves.
#[test]
fn login_offers_that_settle_themselves_need_no_answer() {
    let config = normal().with_key("ImmediateData", "No");
    let mut initiator = started(Config {
        first_stage: OPERATIONAL,
        ..config.with_key("InitialR2T", "Yes")
    });
    let optional = [
        "DataPDUInOrder",
        "DataSequenceInOrder",
        "ImmediateData",
        "InitialR2T",
    ];
    let keys: Vec<_> = ACCEPTED
        .into_iter()
        .filter(|line| !optional.iter().any(|key| line.starts_with(key)))
        .collect();
    let events = answer(&mut initiator, OPERATIONAL, Some(FULL_FEATURE), &keys);
    assert_eq!(events, [Event::LoggedIn]);
    let params = initiator.params();
    assert!(params.initial_r2t && !params.immediate_data);
}

#[test]
fn login_answers_missing_or_twice_are_violations() {
    let mut initiator = started(Config {
        first_stage: OPERATIONAL,
        ..normal()
    });
    let keys: Vec<_> = ACCEPTED
        .into_iter()
        .filter(|line| !line.starts_with("MaxConnections"))
        .collect();
    let events = answer(&mut initiator, OPERATIONAL, Some(FULL_FEATURE), &keys);
    let key = "MaxConnections".to_owned();
    assert_eq!(events[0], Event::Violation(Violation::Unanswered { key }));

    let mut initiator = started(Config {
        first_stage: OPERATIONAL,
        ..normal()
    });
    let keys = ["MaxConnections=1", "MaxConnections=1"];
    let events = answer(&mut initiator, OPERATIONAL, None, &keys);
    assert!(
        matches!(violations(&events)[..], [Violation::Answer { .. }]),
        "{events:?}"
    );
}

#[test]
fn login_response_header_faults_end_the_connection() {
    type Fault = (&'static str, fn(&mut LoginResponse));
    let table: [Fault; 8] = [
        ("ISID", |r| r.isid.0[0] ^= 1),
        ("ITT", |r| r.itt.0 += 1),
        ("CSG", |r| r.current_stage = OPERATIONAL),
        ("Version-active", |r| r.version_active = 1),
        ("NSG", |r| r.next_stage = FULL_FEATURE),
        ("C", |r| r.r#continue = true),
        ("T", |r| (r.transit, r.current_stage) = (true, SECURITY)),
        ("TSIH", |r| (r.next_stage, r.tsih) = (FULL_FEATURE, Tsih(0))),
    ];
    for (field, fault) in table {
        let config = match field {
            "T" => normal().with_chap(chap(false)),
            "TSIH" => Config {
                after_security: FULL_FEATURE,
                ..normal()
            },
            _ => normal(),
        };
        let mut initiator = started(config);
        let data = text(&["AuthMethod=None"]);
        let mut response = login_response(&initiator, SECURITY, &data);
        (response.transit, response.next_stage) = (true, OPERATIONAL);
        fault(&mut response);
        let events = receive(&mut initiator, TargetPdu::LoginResponse(response), &data);
        assert_eq!(
            events,
            [Event::Violation(Violation::LoginField(field))],
            "{field}"
        );
        assert!(initiator.is_closed());
    }
}

#[test]
fn login_that_the_target_never_moves_on_ends() {
    let mut initiator = started(normal());
    let mut events = answer(&mut initiator, SECURITY, None, &["AuthMethod=None"]);
    let mut rounds = 0;
    while events.is_empty() {
        events = answer(&mut initiator, SECURITY, None, &[]);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(events, [Event::Violation(Violation::LoginField("T"))]);
}

#[test]
fn login_response_longer_than_the_default_segment_ends_the_connection() {
    let mut initiator = started(normal());
    let data = vec![b'x'; 8193];
    let response = login_response(&initiator, SECURITY, &data);
    let events = receive(&mut initiator, TargetPdu::LoginResponse(response), &data);
    let violation = Violation::SegmentTooLong {
        bytes: 8193,
        limit: 8192,
    };
    assert_eq!(events, [Event::Violation(violation)]);
}
