//! Logins as initiators in the field send them.

use super::*;
use crate::negotiate::NegotiatedParams;

const OPEN_ISCSI_OPERATIONAL: [&str; 15] = [
    "HeaderDigest=None",
    "DataDigest=None",
    "DefaultTime2Wait=2",
    "DefaultTime2Retain=0",
    "IFMarker=No",
    "OFMarker=No",
    "ErrorRecoveryLevel=0",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxBurstLength=16776192",
    "FirstBurstLength=262144",
    "MaxOutstandingR2T=1",
    "MaxConnections=1",
    "DataPDUInOrder=Yes",
    "DataSequenceInOrder=Yes",
];

const OPEN_ISCSI_ANSWER: [&str; 16] = [
    "HeaderDigest=None",
    "DataDigest=None",
    "DefaultTime2Wait=2",
    "DefaultTime2Retain=0",
    "IFMarker=No",
    "OFMarker=No",
    "ErrorRecoveryLevel=0",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxBurstLength=1048576",
    "MaxOutstandingR2T=1",
    "MaxConnections=1",
    "DataPDUInOrder=Yes",
    "DataSequenceInOrder=Yes",
    "FirstBurstLength=262144",
    "MaxRecvDataSegmentLength=262144",
];

fn open_iscsi_params() -> NegotiatedParams {
    NegotiatedParams {
        initial_r2t: false,
        max_send_data_segment_length: 262_144,
        max_recv_data_segment_length: 262_144,
        max_burst_length: 1_048_576,
        first_burst_length: 262_144,
        default_time2retain: 0,
        ..NegotiatedParams::default()
    }
}

#[test]
fn open_iscsi_plain_login_is_answered_in_one_response() {
    let mut bench = Bench::open();
    let names = names();
    let mut pairs = named(&names, &["InitiatorAlias=lab"]);
    pairs.extend(OPEN_ISCSI_OPERATIONAL);
    pairs.push("MaxRecvDataSegmentLength=262144");
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
    let mut expected = vec!["TargetAlias=a disk", "TargetPortalGroupTag=7"];
    expected.extend(OPEN_ISCSI_ANSWER);
    assert_eq!(response.text(), expected);
    let header = LoginResponse {
        transit: true,
        current_stage: OPERATIONAL,
        next_stage: FULL_FEATURE,
        data_segment_length: response.header.data_segment_length,
        isid: Isid([0x40, 0, 1, 0x37, 0, 9]),
        tsih: TSIH,
        itt: Itt(0x2a),
        stat_sn: SerialNumber(0xffff_fffe),
        exp_cmd_sn: SerialNumber(0xffff_ffff),
        max_cmd_sn: SerialNumber(0xffff_ffff),
        ..LoginResponse::default()
    };
    assert_eq!(response.header, header);
    let established = bench.established.expect("a session");
    assert_eq!(established.params, open_iscsi_params());
    assert_eq!(established.exp_cmd_sn, SerialNumber(0xffff_ffff));
    assert_eq!(established.stat_sn, SerialNumber(0xffff_ffff));
    assert_eq!(
        (established.tsih, established.portal_group_tag),
        (TSIH, Some(7))
    );
    assert_eq!(established.authenticated_as, None);
    let identity = &established.identity;
    assert_eq!(identity.initiator_name.as_str(), INITIATOR);
    assert_eq!(identity.initiator_alias.as_deref(), Some("lab"));
    assert_eq!(
        identity.target_name.as_ref().map(|name| name.as_str()),
        Some(TARGET)
    );
    assert_eq!(
        (identity.session_type, identity.cid),
        (SessionType::Normal, Cid(3))
    );
    assert_eq!(bench.questions, ["resolve", "policy", "commit"]);
}

/// RFC 7143 §6.3.1, §13.9: in a discovery session too, where it names a target.
#[test]
fn discovery_that_names_a_target_is_told_its_group() {
    let mut bench = Bench::open();
    let initiator = format!("InitiatorName={INITIATOR}");
    let target = format!("TargetName={TARGET}");
    let pairs = [&initiator, &target, "SessionType=Discovery"];
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
    let told = response
        .text()
        .iter()
        .any(|pair| pair == "TargetPortalGroupTag=7");
    assert!(told, "{:?}", response.text());
    let established = bench.established.expect("a session");
    assert_eq!(established.portal_group_tag, Some(7));
    assert_eq!(established.identity.session_type, SessionType::Discovery);
}

#[test]
fn open_iscsi_discovery_is_answered_without_a_target() {
    let mut bench = Bench::open();
    let initiator = format!("InitiatorName={INITIATOR}");
    let pairs = [
        &initiator,
        "InitiatorAlias=lab",
        "SessionType=Discovery",
        "HeaderDigest=None",
        "DataDigest=None",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "ErrorRecoveryLevel=0",
        "MaxRecvDataSegmentLength=32768",
    ];
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
    let expected = [
        "HeaderDigest=None",
        "DataDigest=None",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "ErrorRecoveryLevel=0",
        "MaxRecvDataSegmentLength=262144",
    ];
    assert_eq!(response.text(), expected);
    let established = bench.established.expect("a session");
    assert_eq!(established.identity.session_type, SessionType::Discovery);
    assert_eq!(established.identity.target_name, None);
    assert_eq!(established.params.max_send_data_segment_length, 32_768);
}

#[test]
fn open_iscsi_digests_are_taken_in_its_order() {
    for (offered, crc32c) in [
        ("CRC32C,None", true),
        ("None,CRC32C", false),
        ("CRC32C", true),
    ] {
        let mut bench = Bench::open();
        let (header, data) = (
            format!("HeaderDigest={offered}"),
            format!("DataDigest={offered}"),
        );
        let names = names();
        let pairs = named(&names, &[&header, &data]);
        let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
        let expected = if crc32c { "CRC32C" } else { "None" };
        assert_eq!(response.value("HeaderDigest"), expected);
        assert_eq!(response.value("DataDigest"), expected);
        let params = bench.established.expect("a session").params;
        assert_eq!((params.header_digest, params.data_digest), (crc32c, crc32c));
    }
}

/// CHAP with the target proving itself too, in the three steps of open-iscsi, for each algorithm.
#[test]
fn open_iscsi_mutual_chap_proves_both_sides() {
    for algorithm in ChapAlgorithm::ALL {
        let mut bench = Bench::new(chap());
        let names = names();
        let first = named(&names, &["AuthMethod=CHAP"]);
        let response = bench.send(request(SECURITY, None), &first);
        let expected = [
            "TargetAlias=a disk",
            "TargetPortalGroupTag=7",
            "AuthMethod=CHAP",
        ];
        assert_eq!(response.text(), expected);

        let list = format!("CHAP_A={}", algorithm.number());
        let challenge = bench.send(request(SECURITY, None), &[&list]);
        assert_eq!(challenge.value("CHAP_A"), algorithm.number().to_string());
        assert_eq!(unhex(&challenge.value("CHAP_C")).len(), 32);

        let [name, proof] = proof(&challenge, USER_SECRET);
        let own = "CHAP_C=0xab292e94d0d895cc74074613671fb0d0";
        let third = [&name, &proof, "CHAP_I=123", own];
        let response = bench.send(request(SECURITY, Some(OPERATIONAL)), &third);
        let secret = Secret::new(TARGET_SECRET.to_vec());
        let answer = auth::chap::response(algorithm, 123, &secret, &unhex(&own[7..]));
        let answer = iscsi_wire::number::encode_hex(&answer);
        assert_eq!(
            response.text(),
            ["CHAP_N=labtgt".to_owned(), format!("CHAP_R={answer}")]
        );
        assert!(response.header.transit);
        assert_eq!(response.header.next_stage, OPERATIONAL);
        assert_eq!(response.header.tsih, Tsih(0));

        let mut pairs = OPEN_ISCSI_OPERATIONAL.to_vec();
        pairs.push("MaxRecvDataSegmentLength=262144");
        let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
        assert_eq!(response.text(), OPEN_ISCSI_ANSWER);
        assert_eq!(response.header.stat_sn, SerialNumber(1));
        let established = bench.established.expect("a session");
        assert_eq!(established.authenticated_as.as_deref(), Some("labuser"));
        assert_eq!(established.params, open_iscsi_params());
        assert_eq!(bench.questions, ["resolve", "policy", "verify", "commit"]);
    }
}

/// libiscsi asks for the next stage with its first request already, where it offers no authentication too.
#[test]
fn libiscsi_style_login_offers_chap_and_none() {
    let names = names();
    let first = named(&names, &["InitiatorAlias=qemu", "AuthMethod=CHAP,None"]);
    let operational = [
        "HeaderDigest=None,CRC32C",
        "DataDigest=None",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=262144",
        "FirstBurstLength=262144",
        "MaxRecvDataSegmentLength=262144",
        "DataPDUInOrder=Yes",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "MaxOutstandingR2T=1",
        "ErrorRecoveryLevel=0",
        "DataSequenceInOrder=Yes",
        "MaxConnections=1",
        "TaskReporting=ResponseFence,FastAbort,RFC3720",
    ];

    let mut bench = Bench::open();
    let response = bench.send(request(SECURITY, Some(OPERATIONAL)), &first);
    assert_eq!(response.value("AuthMethod"), "None");
    assert!(response.header.transit);
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &operational);
    assert_eq!(response.value("TaskReporting"), "ResponseFence");
    let params = bench.established.expect("a session").params;
    assert_eq!(
        (params.initial_r2t, params.first_burst_length),
        (false, 262_144)
    );

    let mut bench = Bench::new(chap());
    let response = bench.send(request(SECURITY, Some(OPERATIONAL)), &first);
    assert_eq!(response.value("AuthMethod"), "CHAP");
    assert!(!response.header.transit, "the exchange is still to come");
    let challenge = bench.send(request(SECURITY, None), &["CHAP_A=5"]);
    let [name, proof] = proof(&challenge, USER_SECRET);
    let response = bench.send(request(SECURITY, Some(OPERATIONAL)), &[&name, &proof]);
    assert!(response.header.transit && response.text().is_empty());
    bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &operational);
    assert!(bench.established.is_some());
}

/// An initiator that negotiates nothing gets the RFC's defaults, straight from the security stage.
#[test]
fn security_straight_to_full_feature_has_the_defaults() {
    let mut bench = Bench::open();
    let names = names();
    let pairs = named(&names, &["AuthMethod=None"]);
    let response = bench.send(request(SECURITY, Some(FULL_FEATURE)), &pairs);
    let expected = [
        "TargetAlias=a disk",
        "TargetPortalGroupTag=7",
        "AuthMethod=None",
    ];
    assert_eq!(response.text(), expected);
    assert_eq!(
        (response.header.current_stage, response.header.next_stage),
        (SECURITY, FULL_FEATURE)
    );
    assert_eq!(
        bench.established.expect("a session").params,
        NegotiatedParams::default()
    );
}

#[test]
fn operational_stage_in_several_requests_declares_once() {
    let mut bench = Bench::open();
    let names = names();
    let first = bench.send(
        request(OPERATIONAL, None),
        &named(&names, &["InitialR2T=No"]),
    );
    assert_eq!(first.value("MaxRecvDataSegmentLength"), "262144");
    let second = bench.send(request(OPERATIONAL, None), &["ImmediateData=No"]);
    assert_eq!(second.text(), ["ImmediateData=No"]);
    let third = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &[]);
    assert!(third.text().is_empty() && third.header.transit);
    let sequence: Vec<_> = bench
        .responses
        .iter()
        .map(|it| it.header.stat_sn.0)
        .collect();
    assert_eq!(sequence, [0xffff_fffe, 0xffff_ffff, 0]);
    let params = bench.established.expect("a session").params;
    assert_eq!((params.initial_r2t, params.immediate_data), (false, false));
}

#[test]
fn later_connection_of_a_session_keeps_its_tsih_and_is_told_the_group_tag() {
    let mut bench = Bench::open();
    let names = names();
    let joining = LoginRequest {
        tsih: TSIH,
        ..request(OPERATIONAL, Some(FULL_FEATURE))
    };
    let response = bench.send(joining, &named(&names, &["HeaderDigest=CRC32C"]));
    let expected = [
        "TargetAlias=a disk",
        "TargetPortalGroupTag=7",
        "HeaderDigest=CRC32C",
        "MaxRecvDataSegmentLength=262144",
    ];
    assert_eq!(response.text(), expected);
    assert_eq!(response.header.tsih, TSIH);
}

/// As captured from libiscsi with a user configured, at a target that asks for no authentication: it repeats the names.
#[test]
fn libiscsi_with_a_user_at_an_open_target_repeats_the_names() {
    let names = names();
    let mut bench = Bench::open();
    let first = named(&names, &["AuthMethod=CHAP,None"]);
    let response = bench.send(request(SECURITY, Some(OPERATIONAL)), &first);
    assert_eq!(response.value("AuthMethod"), "None");
    let again = named(&names, &["HeaderDigest=None,CRC32C", "InitialR2T=No"]);
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &again);
    let expected = [
        "HeaderDigest=None",
        "InitialR2T=No",
        "MaxRecvDataSegmentLength=262144",
    ];
    assert_eq!(response.text(), expected);
    assert!(bench.established.is_some());
}
