//! Logins that break the rules, each with the end that RFC 7143 §6.3 and §11.13.5 give it.

use std::io::Write;
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use interop::peer::{LoginFate, login_fate, login_response};
use interop::target::TARGET_NAME;
use interop::{Driver, Siege, on_each_driver};
use iscsi_wire::{Cid, Isid, Itt, LoginRequest, LoginStatus, Stage, Tsih};

on_each_driver! {
    login_against_the_rules_ends_as_they_say,
    login_text_without_end_is_refused_at_its_bound,
}

const INITIATOR: &str = "InitiatorName=iqn.2026-11.org.example:peer0";

fn target() -> String {
    format!("TargetName={TARGET_NAME}")
}

fn text(pairs: &[&str]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|pair| pair.bytes().chain([0]))
        .collect()
}

/// The text of a first request that is right.
fn right_text() -> Vec<u8> {
    text(&[
        INITIATOR,
        &target(),
        "SessionType=Normal",
        "AuthMethod=None",
    ])
}

/// The header of a first request that is right: from security to the operational stage.
fn right() -> LoginRequest {
    LoginRequest {
        transit: true,
        current_stage: Stage::Security,
        next_stage: Stage::Operational,
        isid: Isid([0x80, 0, 0, 1, 0, 0]),
        itt: Itt(1),
        ..LoginRequest::default()
    }
}

/// The request on the wire, its DataSegmentLength that of the text.
fn wire(request: LoginRequest, text: &[u8]) -> Result<Vec<u8>> {
    let request = LoginRequest {
        data_segment_length: u32::try_from(text.len())?,
        ..request
    };
    let mut bytes = request.emit().0.to_vec();
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// Headers that break the rules, sent with text that is right.
fn wrong_headers() -> [(&'static str, LoginRequest, LoginStatus); 8] {
    let initiator_error = LoginStatus::INITIATOR_ERROR;
    let stages = |current_stage, next_stage| LoginRequest {
        current_stage,
        next_stage,
        ..right()
    };
    let begins_in_full_feature = stages(Stage::FullFeature, Stage::FullFeature);
    [
        (
            "from security to security",
            stages(Stage::Security, Stage::Security),
            initiator_error,
        ),
        (
            "back to security",
            stages(Stage::Operational, Stage::Security),
            initiator_error,
        ),
        (
            "stays operational with T",
            stages(Stage::Operational, Stage::Operational),
            initiator_error,
        ),
        (
            "begins in full feature",
            begins_in_full_feature,
            initiator_error,
        ),
        (
            "C and T",
            LoginRequest {
                r#continue: true,
                ..right()
            },
            initiator_error,
        ),
        (
            "a version of the future",
            LoginRequest {
                version_min: 1,
                version_max: 1,
                ..right()
            },
            LoginStatus::UNSUPPORTED_VERSION,
        ),
        (
            "a session that is not there",
            LoginRequest {
                tsih: Tsih(0x7777),
                ..right()
            },
            LoginStatus::SESSION_DOES_NOT_EXIST,
        ),
        (
            "from the reserved stage",
            stages(Stage::Other(2), Stage::FullFeature),
            initiator_error,
        ),
    ]
}

/// Text that breaks the rules, in a request that is right.
fn wrong_texts() -> Result<Vec<(&'static str, Vec<u8>, LoginStatus)>> {
    let initiator_error = LoginStatus::INITIATOR_ERROR;
    let missing = LoginStatus::MISSING_PARAMETER;
    let target = target();
    let with = |more: &[&str]| text(&[&[INITIATOR, &target], more].concat());
    let long_key = format!("{}=1", "k".repeat(64));
    let many: Vec<String> = (0..400).map(|n| format!("X-{n}=1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    ensure!(
        with(&many).len() <= 8192,
        "it would be refused for its length"
    );
    Ok(vec![
        ("nothing", Vec::new(), missing),
        ("no InitiatorName", text(&[&target]), missing),
        ("no TargetName", text(&[INITIATOR]), missing),
        (
            "an InitiatorName that is none",
            text(&["InitiatorName=a b", &target]),
            initiator_error,
        ),
        (
            "a target that is not here",
            text(&[INITIATOR, "TargetName=iqn.2026-11.org.example:nowhere"]),
            LoginStatus::NOT_FOUND,
        ),
        (
            "a session of no type",
            with(&["SessionType=Other"]),
            LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
        ),
        ("no equals sign", with(&["AuthMethod"]), initiator_error),
        ("a key without a name", with(&["=1"]), initiator_error),
        (
            "a key twice",
            with(&["SessionType=Normal", "SessionType=Normal"]),
            initiator_error,
        ),
        ("a key of 64 bytes", with(&[&long_key]), initiator_error),
        ("400 keys", with(&many), initiator_error),
        (
            "the end cut off",
            right_text()[..60].to_vec(),
            initiator_error,
        ),
        (
            "bytes that are no text",
            [&right_text()[..], &[0xff; 40], &[0]].concat(),
            initiator_error,
        ),
    ])
}

fn login_against_the_rules_ends_as_they_say(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let ends = |case: &str, bytes: &[u8], expected: LoginFate| -> Result<()> {
        let fate = login_fate(siege.portal(), bytes).with_context(|| case.to_owned())?;
        ensure!(fate == expected, "{case}: {fate:?}, not {expected:?}");
        Ok(())
    };
    for (case, request, status) in wrong_headers() {
        let bytes = wire(request, &right_text())?;
        ends(case, &bytes, LoginFate::Refused(status))?;
    }
    for (case, text, status) in wrong_texts()? {
        ends(case, &wire(right(), &text)?, LoginFate::Refused(status))?;
    }
    let refused = LoginFate::Refused(LoginStatus::INITIATOR_ERROR);
    // RFC 7143 §13.12: 8192 bytes are the most before a login is over. Nothing of the data is waited for.
    for bytes in [8193, 0x00ff_ffff] {
        let header = LoginRequest {
            data_segment_length: bytes,
            ..right()
        }
        .emit();
        ends("a data segment that is too long", &header.0, refused)?;
    }
    let mut header = right().emit();
    header.0[4] = 0xff;
    ends("additional headers", &header.0, refused)?;
    // RFC 7143 §6.3: anything else before the first Login Request ends the connection at once.
    for opcode in [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x1f, 0x23, 0x3f] {
        let mut bytes = vec![0; 48];
        (bytes[0], bytes[1]) = (0x40 | opcode, 0x80);
        ends("another PDU", &bytes, LoginFate::Dropped)?;
    }
    ends("zeroes", &[0; 1000], LoginFate::Dropped)?;
    for (case, second, status) in wrong_second_requests()? {
        let found = second_fate(&siege, &second).context(case)?;
        ensure!(found == Some(status), "{case}: {found:?}, not {status:?}");
    }
    siege.lift()
}

/// What may not follow the first request, which left the login in the operational stage.
fn wrong_second_requests() -> Result<Vec<(&'static str, Vec<u8>, LoginStatus)>> {
    let initiator_error = LoginStatus::INITIATOR_ERROR;
    let second = LoginRequest {
        current_stage: Stage::Operational,
        next_stage: Stage::FullFeature,
        ..right()
    };
    let changed = |request| wire(request, &[]);
    let mut command = vec![0; 48];
    (command[0], command[1]) = (0x01, 0x80);
    Ok(vec![
        ("a SCSI command", command, LoginStatus::INVALID_DURING_LOGIN),
        (
            "the security stage again",
            wire(right(), &[])?,
            initiator_error,
        ),
        (
            "another ISID",
            changed(LoginRequest {
                isid: Isid([0x80, 9, 9, 9, 9, 9]),
                ..second
            })?,
            initiator_error,
        ),
        (
            "another tag",
            changed(LoginRequest {
                itt: Itt(9),
                ..second
            })?,
            initiator_error,
        ),
        (
            "another CID",
            changed(LoginRequest {
                cid: Cid(9),
                ..second
            })?,
            initiator_error,
        ),
        (
            "a handle",
            changed(LoginRequest {
                tsih: Tsih(9),
                ..second
            })?,
            initiator_error,
        ),
        (
            "a key of the security stage",
            wire(second, &text(&["AuthMethod=None"]))?,
            initiator_error,
        ),
        (
            "a key that was settled",
            wire(second, &text(&["HeaderDigest=None", "HeaderDigest=CRC32C"]))?,
            initiator_error,
        ),
    ])
}

/// The status that this second request gets, `None` where the connection is closed without one.
fn second_fate(siege: &Siege, second: &[u8]) -> Result<Option<LoginStatus>> {
    let mut stream = TcpStream::connect(siege.portal())?;
    stream.write_all(&wire(right(), &right_text())?)?;
    let Some((first, _)) = login_response(&mut stream)? else {
        bail!("closed after the first request");
    };
    ensure!(first.status.is_success() && first.transit, "{first:?}");
    stream.write_all(second)?;
    Ok(login_response(&mut stream)?.map(|(response, _)| response.status))
}

/// RFC 7143 §6.2: 64 KiB of text must be possible. Here that is also the most, and so are 256 requests.
fn login_text_without_end_is_refused_at_its_bound(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    for (bytes, least, most) in [(8192, 7, 9), (8, 200, 256)] {
        let mut stream = TcpStream::connect(siege.portal())?;
        let request = LoginRequest {
            transit: false,
            r#continue: true,
            ..right()
        };
        let bytes = wire(request, &vec![b'x'; bytes])?;
        let mut answered = 0;
        let status = loop {
            stream.write_all(&bytes)?;
            let Some((response, text)) = login_response(&mut stream)? else {
                bail!("closed without an answer");
            };
            if !response.status.is_success() {
                break response.status;
            }
            // RFC 7143 §11.12.2: a request with C is answered by an empty response.
            ensure!(text.is_empty() && !response.transit, "{response:?}");
            answered += 1;
            ensure!(answered <= most, "no end after {answered} requests");
        };
        ensure!(status == LoginStatus::INITIATOR_ERROR, "{status}");
        ensure!(answered >= least, "refused after {answered} requests");
    }
    siege.lift()
}
