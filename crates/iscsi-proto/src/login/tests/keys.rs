//! Offers and their answers, through a whole login.

use super::*;
use crate::negotiate::{DigestChoice, NegotiatedParams};

/// Answers to one more key in an operational request, and the parameters after it.
fn negotiate(offer: TargetOffer, pairs: &[&str]) -> (Vec<String>, Option<NegotiatedParams>) {
    let mut bench = Bench::open();
    bench.target = Ok(offer);
    let names = names();
    let response = bench.send(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &named(&names, pairs),
    );
    let ours = [
        "TargetAlias=",
        "TargetPortalGroupTag=",
        "MaxRecvDataSegmentLength=",
    ];
    let mut text = response.text();
    text.retain(|pair| !ours.iter().any(|ours| pair.starts_with(ours)));
    (
        text,
        bench.established.map(|established| established.params),
    )
}

#[test]
fn offers_of_each_key_get_their_answers() {
    let table: &[(&str, &str)] = &[
        ("HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C"),
        ("HeaderDigest=X-com.example.hash,None", "HeaderDigest=None"),
        ("DataDigest=X-com.example.hash", "DataDigest=Reject"),
        ("DataDigest=", "DataDigest=Reject"),
        ("DataDigest=crc32c", "DataDigest=Reject"),
        ("MaxConnections=8", "MaxConnections=1"),
        ("MaxConnections=0", "MaxConnections=Reject"),
        ("MaxConnections=65536", "MaxConnections=Reject"),
        ("InitialR2T=Yes", "InitialR2T=Yes"),
        ("InitialR2T=No", "InitialR2T=No"),
        ("InitialR2T=no", "InitialR2T=Reject"),
        ("ImmediateData=Yes", "ImmediateData=Yes"),
        ("ImmediateData=No", "ImmediateData=No"),
        ("ImmediateData=1", "ImmediateData=Reject"),
        ("MaxBurstLength=16777215", "MaxBurstLength=1048576"),
        ("MaxBurstLength=0x20000", "MaxBurstLength=131072"),
        ("MaxBurstLength=0X200", "MaxBurstLength=512"),
        ("MaxBurstLength=511", "MaxBurstLength=Reject"),
        ("MaxBurstLength=16777216", "MaxBurstLength=Reject"),
        ("MaxBurstLength=-1", "MaxBurstLength=Reject"),
        (
            "MaxBurstLength=18446744073709551616",
            "MaxBurstLength=Reject",
        ),
        ("MaxBurstLength=", "MaxBurstLength=Reject"),
        ("FirstBurstLength=65536", "FirstBurstLength=65536"),
        ("FirstBurstLength=16777215", "FirstBurstLength=262144"),
        ("DefaultTime2Wait=0", "DefaultTime2Wait=2"),
        ("DefaultTime2Wait=3600", "DefaultTime2Wait=3600"),
        ("DefaultTime2Wait=3601", "DefaultTime2Wait=Reject"),
        ("DefaultTime2Retain=3600", "DefaultTime2Retain=20"),
        ("DefaultTime2Retain=0", "DefaultTime2Retain=0"),
        ("MaxOutstandingR2T=65535", "MaxOutstandingR2T=8"),
        ("MaxOutstandingR2T=1", "MaxOutstandingR2T=1"),
        ("DataPDUInOrder=No", "DataPDUInOrder=Yes"),
        ("DataSequenceInOrder=No", "DataSequenceInOrder=Yes"),
        ("ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0"),
        ("ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject"),
        ("TaskReporting=FastAbort,RFC3720", "TaskReporting=FastAbort"),
        (
            "TaskReporting=RFC3720,ResponseFence",
            "TaskReporting=RFC3720",
        ),
        (
            "TaskReporting=other,ResponseFence,RFC3720",
            "TaskReporting=ResponseFence",
        ),
        ("TaskReporting=other", "TaskReporting=Reject"),
        ("iSCSIProtocolLevel=2", "iSCSIProtocolLevel=2"),
        ("iSCSIProtocolLevel=1", "iSCSIProtocolLevel=1"),
        ("iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0"),
        ("iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject"),
        ("IFMarker=Yes", "IFMarker=No"),
        ("OFMarker=Yes", "OFMarker=No"),
        ("IFMarkInt=2048~8192", "IFMarkInt=Reject"),
        ("OFMarkInt=2048~8192", "OFMarkInt=Reject"),
        ("RDMAExtensions=Yes", "RDMAExtensions=No"),
        (
            "TargetRecvDataSegmentLength=8192",
            "TargetRecvDataSegmentLength=Irrelevant",
        ),
        (
            "InitiatorRecvDataSegmentLength=8192",
            "InitiatorRecvDataSegmentLength=Irrelevant",
        ),
        (
            "X-com.example.flow=control",
            "X-com.example.flow=NotUnderstood",
        ),
        ("NoSuchKey=", "NoSuchKey=NotUnderstood"),
        ("headerdigest=None", "headerdigest=NotUnderstood"),
    ];
    for (offered, answer) in table {
        let (text, params) = negotiate(offer(), &[offered]);
        assert_eq!(text, [*answer], "{offered}");
        assert!(params.is_some(), "{offered}");
    }
}

#[test]
fn declarations_are_not_answered() {
    for pair in [
        "InitiatorAlias=x",
        "MaxRecvDataSegmentLength=0x10000",
        "MaxOutstandingUnexpectedPDUs=4",
        "X#NodeArchitecture=os/linux",
        // What the initiator did not understand of our declarations.
        "TargetAlias=NotUnderstood",
    ] {
        let (text, params) = negotiate(offer(), &[pair]);
        assert!(text.is_empty(), "{pair}: {text:?}");
        assert!(params.is_some(), "{pair}");
    }
}

#[test]
fn rejected_offer_leaves_the_default() {
    let pairs = [
        "MaxBurstLength=1",
        "ErrorRecoveryLevel=9",
        "InitialR2T=maybe",
    ];
    let (_, params) = negotiate(offer(), &pairs);
    let params = params.expect("a session");
    assert_eq!(
        (params.max_burst_length, params.error_recovery_level),
        (262_144, 0)
    );
    assert!(params.initial_r2t);
}

#[test]
fn first_burst_never_exceeds_max_burst() {
    let table: &[(&[&str], Option<&str>, u32)] = &[
        (
            &["FirstBurstLength=262144", "MaxBurstLength=65536"],
            Some("65536"),
            65_536,
        ),
        (
            &["MaxBurstLength=65536", "FirstBurstLength=262144"],
            Some("65536"),
            65_536,
        ),
        (&["MaxBurstLength=4096"], None, 4096),
        (&["FirstBurstLength=16777215"], Some("262144"), 262_144),
        (&["MaxBurstLength=1048576"], None, 65_536),
    ];
    for (pairs, answer, first_burst) in table {
        let (text, params) = negotiate(offer(), pairs);
        let answered = text
            .iter()
            .find_map(|pair| pair.strip_prefix("FirstBurstLength="));
        assert_eq!(answered, *answer, "{pairs:?}");
        let params = params.expect("a session");
        assert_eq!(params.first_burst_length, *first_burst, "{pairs:?}");
        assert!(params.first_burst_length <= params.max_burst_length);
    }
}

#[test]
fn max_burst_below_an_agreed_first_burst_ends_the_login() {
    let mut bench = Bench::open();
    let names = names();
    bench.send(
        request(OPERATIONAL, None),
        &named(&names, &["FirstBurstLength=65536"]),
    );
    let response = bench.send(
        request(OPERATIONAL, Some(FULL_FEATURE)),
        &["MaxBurstLength=4096"],
    );
    assert_eq!(response.header.status, LoginStatus::INITIATOR_ERROR);
    assert!(bench.established.is_none());
}

#[test]
fn offers_of_the_target_beyond_the_table_are_brought_within_it() {
    let params = OfferedParams {
        max_connections: 0,
        max_recv_data_segment_length: u32::MAX,
        max_burst_length: 1,
        first_burst_length: 9,
        default_time2wait: u16::MAX,
        error_recovery_level: 200,
        iscsi_protocol_level: 200,
        max_outstanding_r2t: 0,
        ..OfferedParams::default()
    };
    let wild = TargetOffer { params, ..offer() };
    let pairs = [
        "MaxConnections=9",
        "MaxBurstLength=65536",
        "FirstBurstLength=65536",
        "DefaultTime2Wait=1",
        "ErrorRecoveryLevel=2",
        "iSCSIProtocolLevel=31",
        "MaxOutstandingR2T=5",
    ];
    let (text, params) = negotiate(wild, &pairs);
    let expected = [
        "MaxConnections=1",
        "MaxBurstLength=512",
        "DefaultTime2Wait=3600",
        "ErrorRecoveryLevel=2",
        "iSCSIProtocolLevel=31",
        "FirstBurstLength=512",
        "MaxOutstandingR2T=1",
    ];
    assert_eq!(text, expected);
    assert_eq!(
        params.expect("a session").max_recv_data_segment_length,
        0x00ff_ffff
    );
}

#[test]
fn recovery_with_sequences_in_order_has_one_r2t_at_a_time() {
    let in_order = |yes| OfferedParams {
        error_recovery_level: 1,
        data_sequence_in_order: yes,
        ..OfferedParams::default()
    };
    let recovers = "ErrorRecoveryLevel=1";
    let table: &[(bool, &[&str], Option<&str>, u16)] = &[
        // RFC 7143 §13.19, whichever of the keys stands first.
        (true, &["MaxOutstandingR2T=4", recovers], Some("1"), 1),
        (true, &[recovers, "MaxOutstandingR2T=4"], Some("1"), 1),
        (true, &[recovers], None, 1),
        (true, &["MaxOutstandingR2T=4"], Some("4"), 4),
        (
            false,
            &["MaxOutstandingR2T=4", recovers, "DataSequenceInOrder=No"],
            Some("4"),
            4,
        ),
    ];
    for (yes, pairs, answer, outstanding) in table {
        let params = in_order(*yes);
        let (text, params) = negotiate(TargetOffer { params, ..offer() }, pairs);
        let mut answers = text.iter();
        let answered = answers.find_map(|pair| pair.strip_prefix("MaxOutstandingR2T="));
        assert_eq!(answered, *answer, "{pairs:?}");
        let params = params.expect("a session");
        assert_eq!(params.max_outstanding_r2t, *outstanding, "{pairs:?}");
    }
}

#[test]
fn required_digest_not_agreed_ends_the_login() {
    let params = OfferedParams {
        header_digest: DigestChoice::Crc32c,
        ..OfferedParams::default()
    };
    let strict = TargetOffer { params, ..offer() };
    let (text, params) = negotiate(strict.clone(), &["HeaderDigest=CRC32C,None"]);
    assert_eq!(text, ["HeaderDigest=CRC32C"]);
    assert!(params.is_some_and(|params| params.header_digest));
    for pairs in [&["HeaderDigest=None"][..], &[]] {
        let (_, params) = negotiate(strict.clone(), pairs);
        assert_eq!(params, None, "{pairs:?}");
    }
    let params = OfferedParams {
        data_digest: DigestChoice::None,
        ..OfferedParams::default()
    };
    let plain = TargetOffer { params, ..offer() };
    let (text, params) = negotiate(plain, &["DataDigest=CRC32C,None"]);
    assert_eq!(text, ["DataDigest=None"]);
    assert!(params.is_some());
}

#[test]
fn discovery_answers_session_keys_irrelevant() {
    let table = [
        ("InitialR2T=No", "InitialR2T=Irrelevant"),
        ("ImmediateData=Yes", "ImmediateData=Irrelevant"),
        ("MaxConnections=1", "MaxConnections=Irrelevant"),
        ("MaxBurstLength=1", "MaxBurstLength=Irrelevant"),
        ("TaskReporting=RFC3720", "TaskReporting=Irrelevant"),
        ("iSCSIProtocolLevel=1", "iSCSIProtocolLevel=Irrelevant"),
        ("ErrorRecoveryLevel=1", "ErrorRecoveryLevel=0"),
        ("HeaderDigest=CRC32C", "HeaderDigest=CRC32C"),
        ("X-y=1", "X-y=NotUnderstood"),
    ];
    let initiator = format!("InitiatorName={INITIATOR}");
    for (offered, answer) in table {
        let mut bench = Bench::open();
        let pairs = [&initiator, "SessionType=Discovery", offered];
        let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
        assert_eq!(
            response.text(),
            [answer, "MaxRecvDataSegmentLength=262144"],
            "{offered}"
        );
    }
}

/// RFC 7143 §6.2: what has no answer ends the login.
#[test]
fn keys_that_may_not_come_end_the_login() {
    let (operational, security) = (request(OPERATIONAL, None), request(SECURITY, None));
    let table = [
        (operational, "HeaderDigest=None", "HeaderDigest=CRC32C"),
        (operational, "X-a=1", "X-a=1"),
        (operational, "InitiatorAlias=a", "InitiatorAlias=a"),
        (operational, "MaxRecvDataSegmentLength=511", ""),
        (operational, "MaxRecvDataSegmentLength=many", ""),
        (operational, "MaxRecvDataSegmentLength=16777216", ""),
        (operational, "HeaderDigest=Reject", ""),
        (operational, "InitialR2T=Irrelevant", ""),
        (operational, "MaxBurstLength=NotUnderstood", ""),
        (operational, "SendTargets=All", ""),
        (operational, "AuthMethod=None", ""),
        (operational, "CHAP_A=5", ""),
        (operational, "TargetAlias=mine", ""),
        (operational, "TargetPortalGroupTag=1", ""),
        (operational, "TargetAddress=10.0.0.1", ""),
        (security, "InitialR2T=No", ""),
        (security, "HeaderDigest=None", ""),
        (security, "AuthMethod=Reject", ""),
    ];
    for (request, first, second) in table {
        for together in [true, false] {
            let mut bench = Bench::open();
            let names = names();
            let mut pairs = named(&names, &[first]);
            if !second.is_empty() && together {
                pairs.push(second);
            }
            bench.send(request, &pairs);
            if !second.is_empty() && !together {
                bench.send(request, &[second]);
            }
            assert_eq!(
                bench.last_status(),
                Some(LoginStatus::INITIATOR_ERROR),
                "{first} {second}"
            );
            assert!(bench.closed && bench.commit_requests.is_empty());
        }
    }
}

#[test]
fn other_names_after_the_first_request_end_the_login() {
    let initiator = format!("InitiatorName={INITIATOR}");
    let table = [
        ("InitiatorName=iqn.x", true),
        ("TargetName=iqn.x", true),
        // Normal by default, but not said.
        ("SessionType=Normal", true),
        ("SessionType=Discovery", true),
        (initiator.as_str(), false),
    ];
    for (pair, ends) in table {
        let mut bench = Bench::open();
        let first = [initiator.clone(), format!("TargetName={TARGET}")];
        bench.send(request(OPERATIONAL, None), &named(&first, &[]));
        let response = bench.send(request(OPERATIONAL, None), &[pair]);
        let expected = if ends {
            LoginStatus::INITIATOR_ERROR
        } else {
            LoginStatus::SUCCESS
        };
        assert_eq!(response.header.status, expected, "{pair}");
    }
    // Twice in the first request is twice.
    let mut bench = Bench::open();
    let names = names();
    bench.send(request(OPERATIONAL, None), &named(&names, &[&initiator]));
    assert_eq!(bench.last_status(), Some(LoginStatus::INITIATOR_ERROR));
}

#[test]
fn leading_only_keys_on_a_later_connection_end_the_login() {
    for (pair, ends) in [
        ("MaxConnections=1", true),
        ("InitialR2T=No", true),
        ("ErrorRecoveryLevel=0", true),
        ("DataDigest=None", false),
        ("MaxRecvDataSegmentLength=8192", false),
    ] {
        let mut bench = Bench::open();
        let joining = LoginRequest {
            tsih: TSIH,
            ..request(OPERATIONAL, Some(FULL_FEATURE))
        };
        let names = names();
        let response = bench.send(joining, &named(&names, &[pair]));
        assert_eq!(!response.header.status.is_success(), ends, "{pair}");
    }
}

/// Also where the target's own level is higher.
#[test]
fn discovery_answers_error_recovery_level_zero_whatever_is_offered() {
    let initiator = format!("InitiatorName={INITIATOR}");
    for ours in 0..=2 {
        let mut bench = Bench::open();
        let params = OfferedParams {
            error_recovery_level: ours,
            ..OfferedParams::default()
        };
        bench.target = Ok(TargetOffer { params, ..offer() });
        let pairs = [&initiator, "SessionType=Discovery", "ErrorRecoveryLevel=2"];
        let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
        assert_eq!(response.value("ErrorRecoveryLevel"), "0", "{ours}");
        let params = bench.established.expect("a session").params;
        assert_eq!(params.error_recovery_level, 0);
    }
}
