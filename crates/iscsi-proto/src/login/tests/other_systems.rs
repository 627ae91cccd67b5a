//! Logins of initiators that are not at hand, put together from what is public of them: each test says from what. Of those
//! that are at hand (open-iscsi, libiscsi) `transcripts` has captures, and `tests/interop` and `tests/guest` the programs.

use super::*;
use crate::negotiate::NegotiatedParams;

/// Logs in through both stages, each request in these pieces, and gives the responses and the session.
fn two_stages(
    first: (LoginRequest, &[&str]),
    second: (LoginRequest, &[&str]),
    cut: impl Fn(&[u8]) -> Vec<usize>,
) -> (Vec<Response>, Established) {
    let mut bench = Bench::open();
    for (request, pairs) in [first, second] {
        let bytes = pdu(request, &text(pairs));
        let mut at = 0;
        for end in cut(&bytes) {
            assert_eq!(bench.feed(&bytes[at..end]), end - at);
            at = end;
        }
    }
    (bench.responses, bench.established.expect("a session"))
}

/// A PDU in one piece.
fn whole(bytes: &[u8]) -> Vec<usize> {
    vec![bytes.len()]
}

/// A PDU whose header and text are sent one after the other, as two calls of `send` do.
fn header_first(bytes: &[u8]) -> Vec<usize> {
    vec![BHS_BYTES, bytes.len()]
}

/// What an initiator that asks for the RFC's values gets.
fn of_the_rfc() -> NegotiatedParams {
    NegotiatedParams {
        max_recv_data_segment_length: 262_144,
        ..NegotiatedParams::default()
    }
}

/// The open initiator for macOS (iscsi-osx/iSCSIInitiator, 2023): keys and values of its iSCSIAuth.c and iSCSISession.c;
/// ISID, tag and stages of the capture in its issue 85. It gives up where the first response has no TargetPortalGroupTag.
#[test]
fn macos_login_is_told_the_group_tag_and_gets_its_values() {
    let ours = |request| LoginRequest {
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        itt: Itt(0),
        cid: Cid(0),
        cmd_sn: SerialNumber(0),
        ..request
    };
    let names = names();
    for (method, answer) in [("None", "None"), ("None,CHAP", "None")] {
        let method = format!("AuthMethod={method}");
        let mut first = vec!["SessionType=Normal", names[1].as_str(), names[0].as_str()];
        first.extend(["InitiatorAlias=localhost", &method]);
        let second = [
            "MaxConnections=1",
            "InitialR2T=Yes",
            "ImmediateData=Yes",
            "MaxBurstLength=262144",
            "FirstBurstLength=65536",
            "MaxOutstandingR2T=1",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=20",
            "ErrorRecoveryLevel=0",
            "DataDigest=None",
            "HeaderDigest=None",
            "MaxRecvDataSegmentLength=8192",
        ];
        let (responses, session) = two_stages(
            (ours(request(SECURITY, Some(OPERATIONAL))), &first),
            (ours(request(OPERATIONAL, Some(FULL_FEATURE))), &second),
            whole,
        );
        assert_eq!(responses[0].value("TargetPortalGroupTag"), "7");
        assert_eq!(responses[0].value("AuthMethod"), answer);
        assert_eq!(session.params, of_the_rfc());
        assert_eq!(session.exp_cmd_sn, SerialNumber(0));
    }
}

/// Solaris and illumos: the keys in the order of iscsi_login.c, by which it goes straight to the operational stage where
/// nothing is set up for authentication. Another group tag than discovery told, or a key that it does not know in a
/// response, ends its login.
#[test]
fn illumos_login_gets_answers_to_its_keys_and_no_others() {
    let mut bench = Bench::open();
    let names = names();
    let offered = [
        "HeaderDigest=None",
        "DataDigest=None",
        "MaxRecvDataSegmentLength=65536",
        "DefaultTime2Wait=2",
        "DefaultTime2Retain=20",
        "ErrorRecoveryLevel=0",
        "IFMarker=No",
        "OFMarker=No",
        "InitialR2T=Yes",
        "ImmediateData=Yes",
        "MaxBurstLength=262144",
        "FirstBurstLength=65536",
        "MaxOutstandingR2T=1",
        "MaxConnections=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
    ];
    let mut pairs = vec![
        names[0].as_str(),
        "InitiatorAlias=solaris",
        names[1].as_str(),
    ];
    pairs.push("SessionType=Normal");
    pairs.extend(offered);
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &pairs);
    let key = |pair: &str| pair.split_once('=').expect("key=value").0.to_owned();
    let mut told: Vec<String> = response.text().iter().map(|pair| key(pair)).collect();
    let mut expected: Vec<String> = offered.iter().map(|pair| key(pair)).collect();
    expected.extend(["TargetAlias", "TargetPortalGroupTag"].map(str::to_owned));
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let params = bench.established.expect("a session").params;
    let expected = NegotiatedParams {
        max_send_data_segment_length: 65_536,
        ..of_the_rfc()
    };
    assert_eq!(params, expected);
}

/// iPXE: strings and stages of its iscsi.c (2026), which sends header, text and padding each by itself. With a user it
/// offers CHAP and None, and only MD5.
#[test]
fn ipxe_login_comes_in_three_pieces_and_needs_md5() {
    let names = names();
    let mut first: Vec<&str> = names.iter().map(String::as_str).collect();
    first.push("AuthMethod=None");
    let second = [
        "HeaderDigest=None",
        "DataDigest=None",
        "MaxConnections=1",
        "InitialR2T=Yes",
        "ImmediateData=No",
        "MaxRecvDataSegmentLength=8192",
        "MaxBurstLength=262144",
        "FirstBurstLength=65536",
        "DefaultTime2Wait=0",
        "DefaultTime2Retain=0",
        "MaxOutstandingR2T=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "ErrorRecoveryLevel=0",
    ];
    let three = |bytes: &[u8]| {
        let header = Bhs(bytes[..BHS_BYTES].try_into().expect("48 bytes"));
        let text = BHS_BYTES + header.data_segment_length() as usize;
        vec![BHS_BYTES, text, bytes.len()]
    };
    let (_, session) = two_stages(
        (request(SECURITY, Some(OPERATIONAL)), &first),
        (request(OPERATIONAL, Some(FULL_FEATURE)), &second),
        three,
    );
    let expected = NegotiatedParams {
        immediate_data: false,
        default_time2retain: 0,
        ..of_the_rfc()
    };
    assert_eq!(session.params, expected);

    let mut bench = Bench::new(chap());
    let pairs = named(&names, &["AuthMethod=CHAP,None"]);
    let chosen = bench.send(request(SECURITY, Some(OPERATIONAL)), &pairs);
    assert_eq!(chosen.value("AuthMethod"), "CHAP");
    let challenge = bench.send(request(SECURITY, Some(OPERATIONAL)), &["CHAP_A=5"]);
    assert_eq!(challenge.value("CHAP_A"), "5");
    assert!(
        challenge.value("CHAP_C").starts_with("0x"),
        "it reads no base64"
    );
    let [name, proof] = proof(&challenge, USER_SECRET);
    let last = bench.send(request(SECURITY, Some(OPERATIONAL)), &[&name, &proof]);
    assert!(last.header.transit);
}

/// ESXi's software initiator has open-iscsi's ISID (spdk/spdk#405) and sends a login's header and its text one after the
/// other (the capture at elatov.github.io, "iSCSI login packet capture", whose first login PDU is a packet of 48 bytes). Its
/// keys are taken to be open-iscsi's, the lengths to be the defaults of its settings: no capture of these was at hand.
#[test]
fn esxi_login_comes_header_first() {
    let ours = |request| LoginRequest {
        isid: Isid([0x00, 0x02, 0x3d, 0, 0, 1]),
        cid: Cid(0),
        cmd_sn: SerialNumber(0),
        ..request
    };
    let names = [
        "InitiatorName=iqn.1998-01.com.vmware:host-019b6a5a".to_owned(),
        format!("TargetName={TARGET}"),
    ];
    let first = [
        names[0].as_str(),
        &names[1],
        "SessionType=Normal",
        "AuthMethod=CHAP,None",
    ];
    let second = [
        "HeaderDigest=None",
        "DataDigest=None",
        "DefaultTime2Wait=0",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "ErrorRecoveryLevel=0",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=262144",
        "FirstBurstLength=262144",
        "MaxOutstandingR2T=1",
        "MaxConnections=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "MaxRecvDataSegmentLength=131072",
    ];
    let (responses, session) = two_stages(
        (ours(request(SECURITY, Some(OPERATIONAL))), &first),
        (ours(request(OPERATIONAL, Some(FULL_FEATURE))), &second),
        header_first,
    );
    assert_eq!(responses[0].value("AuthMethod"), "None");
    let expected = NegotiatedParams {
        initial_r2t: false,
        first_burst_length: 262_144,
        max_send_data_segment_length: 131_072,
        default_time2retain: 0,
        ..of_the_rfc()
    };
    assert_eq!(session.params, expected);
    assert_eq!(session.identity.isid, Isid([0x00, 0x02, 0x3d, 0, 0, 1]));
}

const WINDOWS: [&str; 14] = [
    "HeaderDigest=None,CRC32C",
    "DataDigest=None,CRC32C",
    "ErrorRecoveryLevel=2",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxRecvDataSegmentLength=65536",
    "MaxBurstLength=262144",
    "FirstBurstLength=65536",
    "MaxConnections=1",
    "DataPDUInOrder=Yes",
    "DataSequenceInOrder=Yes",
    "DefaultTime2Wait=0",
    "DefaultTime2Retain=60",
    "MaxOutstandingR2T=16",
];

/// The initiator of Windows: its ISID (40 00 01 37 ...) and names are those that targets show of it, its values what
/// the driver's parameters are taken to stand at, for no capture was at hand. In which order its keys come is not public: so they come
/// in each order that a turn of the list makes, with a name as long as a name may be, and the text cut in two with the C bit
/// at each byte.
#[test]
fn windows_login_in_any_order_and_cut_anywhere_gets_its_values() {
    let host = "iqn.1991-05.com.microsoft:";
    let long = format!("InitiatorName={host}{}", "a".repeat(223 - host.len()));
    let target = format!("TargetName={TARGET}");
    let first = [&long, "SessionType=Normal", &target, "AuthMethod=None"];
    let expected = NegotiatedParams {
        initial_r2t: false,
        max_send_data_segment_length: 65_536,
        max_outstanding_r2t: 8,
        ..of_the_rfc()
    };
    let last = request(OPERATIONAL, Some(FULL_FEATURE));
    for turn in 0..WINDOWS.len() {
        let mut keys = WINDOWS;
        keys.rotate_left(turn);
        let (responses, session) = two_stages(
            (request(SECURITY, Some(OPERATIONAL)), &first),
            (last, &keys),
            whole,
        );
        assert_eq!(responses[1].value("ErrorRecoveryLevel"), "0");
        assert_eq!(session.params, expected, "{turn}");
    }
    let whole_text = text(&WINDOWS);
    for cut in 1..whole_text.len() {
        let mut bench = Bench::open();
        bench.send(request(SECURITY, Some(OPERATIONAL)), &first);
        let goes_on = LoginRequest {
            r#continue: true,
            ..request(OPERATIONAL, None)
        };
        bench.feed(&pdu(goes_on, &whole_text[..cut]));
        bench.feed(&pdu(last, &whole_text[cut..]));
        assert!(bench.responses[1].bytes.is_empty(), "{cut}");
        assert_eq!(bench.established.expect("a session").params, expected);
    }
}
