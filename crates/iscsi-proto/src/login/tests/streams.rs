//! Text split over PDUs both ways, streams cut at every byte, and the limits.

use super::*;

const MANY: LoginLimits = LoginLimits {
    max_text_bytes: 65_536,
    max_pdus: 10_000,
    max_keys: 256,
};

/// Sends text in pieces of `size` bytes with the C bit; the answer to the last.
fn send_in_pieces(bench: &mut Bench, last: LoginRequest, text: &[u8], size: usize) -> Response {
    let mut pieces = text.chunks(size).peekable();
    while let Some(piece) = pieces.next() {
        let more = pieces.peek().is_some();
        let header = if more {
            LoginRequest {
                r#continue: true,
                transit: false,
                next_stage: SECURITY,
                ..last
            }
        } else {
            last
        };
        bench.feed(&pdu(header, piece));
        let answer = bench.responses.last().expect("an answer to each").clone();
        if !more {
            return answer;
        }
        // RFC 7143 §11.12.2: no text, no transition, no end.
        assert!(answer.bytes.is_empty() && !answer.header.transit && !answer.header.r#continue);
        assert!(answer.header.status.is_success());
    }
    panic!("no text");
}

#[test]
fn text_split_at_every_size_is_the_same_text() {
    let names = names();
    let pairs = named(
        &names,
        &["InitialR2T=No", "MaxBurstLength=65536", "X-long=yes"],
    );
    let whole = text(&pairs);
    let last = request(OPERATIONAL, Some(FULL_FEATURE));
    let mut reference = Bench::open();
    let expected = reference.send(last, &pairs);
    for size in 1..=whole.len() {
        let mut bench = Bench::with_limits(Rule::Open, MANY);
        let answer = send_in_pieces(&mut bench, last, &whole, size);
        assert_eq!(answer.text(), expected.text(), "{size}");
        assert_eq!(bench.responses.len(), whole.len().div_ceil(size));
        let sequence = bench.responses.iter().map(|it| it.header.stat_sn);
        let numbers = (0..).map(|step| SerialNumber(0xffff_fffe).add(step));
        assert!(
            sequence.zip(numbers).all(|(is, should)| is == should),
            "{size}"
        );
        assert!(bench.established.is_some());
    }
}

#[test]
fn stream_cut_at_every_byte_is_the_same_login() {
    let names = names();
    let requests = [
        pdu(
            request(SECURITY, Some(OPERATIONAL)),
            &text(&named(&names, &["AuthMethod=None"])),
        ),
        pdu(request(OPERATIONAL, None), &text(&["InitialR2T=No"])),
        pdu(
            request(OPERATIONAL, Some(FULL_FEATURE)),
            &text(&["MaxRecvDataSegmentLength=65536"]),
        ),
    ];
    let stream = requests.concat();
    let mut reference = Bench::open();
    assert_eq!(reference.feed(&stream), stream.len());
    assert!(reference.established.is_some());
    for cut in 0..=stream.len() {
        let mut bench = Bench::open();
        assert_eq!(bench.feed(&stream[..cut]), cut);
        assert_eq!(bench.feed(&stream[cut..]), stream.len() - cut);
        assert_eq!(bench.responses, reference.responses, "{cut}");
        assert_eq!(bench.established, reference.established, "{cut}");
    }
    let mut bench = Bench::open();
    for byte in &stream {
        assert_eq!(bench.feed(&[*byte]), 1);
    }
    assert_eq!(bench.responses, reference.responses);
}

/// The answer is longer than the initiator takes at once: it comes in pieces, each asked for by an empty request.
#[test]
fn answer_beyond_the_initiators_limit_comes_in_pieces() {
    let unknown: Vec<String> = (0..100)
        .map(|at| format!("X-com.example.key-{at}=1"))
        .collect();
    let names = names();
    let mut pairs = named(&names, &["MaxRecvDataSegmentLength=512"]);
    pairs.extend(unknown.iter().map(String::as_str));
    let first = request(OPERATIONAL, None);
    for transit in [false, true] {
        let mut bench = Bench::open();
        let asking = if transit {
            request(OPERATIONAL, Some(FULL_FEATURE))
        } else {
            first
        };
        let mut answer = bench.send(asking, &pairs);
        let mut gathered = Vec::new();
        let mut pieces = 1;
        while answer.header.r#continue {
            assert_eq!(answer.bytes.len(), 512);
            assert!(!answer.header.transit && bench.commit_requests.is_empty());
            gathered.extend_from_slice(&answer.bytes);
            answer = bench.send(asking, &[]);
            pieces += 1;
        }
        gathered.extend_from_slice(&answer.bytes);
        assert!(answer.bytes.len() <= 512);
        assert_eq!(answer.header.transit, transit);
        let whole = Response {
            bytes: gathered,
            ..answer
        };
        assert_eq!(whole.bytes.len().div_ceil(512), pieces);
        assert_eq!(whole.text().len(), 103);
        assert!(
            whole
                .text()
                .contains(&"X-com.example.key-99=NotUnderstood".to_owned())
        );
        assert_eq!(bench.established.is_some(), transit);
        if !transit {
            // The last piece went without T, so that the initiator has to ask again.
            bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &[]);
            assert!(bench.established.is_some());
        }
    }
}

#[test]
fn answer_in_pieces_never_exceeds_the_default_while_the_login_lasts() {
    let unknown: Vec<String> = (0..250).map(|at| format!("X-{at:050}=1")).collect();
    let names = names();
    let mut pairs = named(&names, &["MaxRecvDataSegmentLength=262144"]);
    pairs.extend(unknown.iter().map(String::as_str));
    let mut bench = Bench::with_limits(Rule::Open, MANY);
    let last = request(OPERATIONAL, Some(FULL_FEATURE));
    let mut answer = send_in_pieces(&mut bench, last, &text(&pairs), 8192);
    let mut lengths = vec![answer.bytes.len()];
    while answer.header.r#continue {
        answer = bench.send(last, &[]);
        lengths.push(answer.bytes.len());
    }
    assert_eq!(lengths.len(), 3);
    assert_eq!(lengths[..2], [8192, 8192]);
    assert!(lengths[2] <= 8192 && answer.header.transit);
    assert!(bench.established.is_some());
}

#[test]
fn text_instead_of_the_request_for_the_next_piece_ends_the_login() {
    let unknown: Vec<String> = (0..100)
        .map(|at| format!("X-com.example.key-{at}=1"))
        .collect();
    let names = names();
    let mut pairs = named(&names, &["MaxRecvDataSegmentLength=512"]);
    pairs.extend(unknown.iter().map(String::as_str));
    let last = request(OPERATIONAL, Some(FULL_FEATURE));
    let interruptions = [
        pdu(last, &text(&["InitialR2T=No"])),
        pdu(
            LoginRequest {
                r#continue: true,
                ..request(OPERATIONAL, None)
            },
            &[],
        ),
    ];
    for interruption in interruptions {
        let mut bench = Bench::open();
        assert!(bench.send(last, &pairs).header.r#continue);
        bench.feed(&interruption);
        assert_eq!(bench.last_status(), Some(LoginStatus::INITIATOR_ERROR));
        assert!(bench.closed && bench.commit_requests.is_empty());
    }
}

#[test]
fn continue_with_transit_ends_the_login() {
    let mut bench = Bench::open();
    let names = names();
    let both = LoginRequest {
        r#continue: true,
        ..request(OPERATIONAL, Some(FULL_FEATURE))
    };
    let response = bench.send(both, &named(&names, &[]));
    assert_eq!(response.header.status, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn stage_changed_within_a_split_text_ends_the_login() {
    let mut bench = Bench::open();
    let names = names();
    let first = LoginRequest {
        r#continue: true,
        ..request(SECURITY, None)
    };
    bench.send(first, &named(&names, &[]));
    let response = bench.send(request(OPERATIONAL, Some(FULL_FEATURE)), &[]);
    assert_eq!(response.header.status, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn segment_longer_than_8192_is_refused_at_its_header() {
    for (length, refused) in [(8192, false), (8193, true), (0x00ff_ffff, true)] {
        let mut bench = Bench::open();
        let long = LoginRequest {
            data_segment_length: length,
            ..request(OPERATIONAL, None)
        };
        bench.feed(&long.emit().0);
        assert_eq!(bench.closed, refused, "{length}");
        let status = refused.then_some(LoginStatus::INITIATOR_ERROR);
        assert_eq!(bench.last_status(), status, "{length}");
    }
}

#[test]
fn text_requests_and_keys_beyond_the_limits_end_the_login() {
    let limits = LoginLimits {
        max_text_bytes: 1000,
        max_pdus: 5,
        max_keys: 10,
    };
    let piece = LoginRequest {
        r#continue: true,
        ..request(OPERATIONAL, None)
    };

    let mut bench = Bench::with_limits(Rule::Open, limits);
    bench.feed(&pdu(piece, &[b'x'; 600]));
    assert!(!bench.closed);
    bench.feed(&pdu(piece, &[b'x'; 400]));
    assert!(!bench.closed);
    bench.feed(&pdu(piece, b"x"));
    assert_eq!(bench.login.error(), Some(&LoginError::TextTooLong));

    let mut bench = Bench::with_limits(Rule::Open, limits);
    for _ in 0..5 {
        bench.feed(&pdu(piece, &[]));
        assert!(!bench.closed);
    }
    bench.feed(&pdu(piece, &[]));
    assert_eq!(bench.login.error(), Some(&LoginError::TooManyRequests));

    let unknown: Vec<String> = (0..8).map(|at| format!("X-{at}=1")).collect();
    let names = names();
    let more: Vec<&str> = unknown.iter().map(String::as_str).collect();
    let mut bench = Bench::with_limits(Rule::Open, limits);
    bench.send(request(OPERATIONAL, None), &named(&names, &more[..7]));
    assert!(!bench.closed);
    bench.send(request(OPERATIONAL, None), &["Y=1"]);
    assert_eq!(
        bench.login.error(),
        Some(&LoginError::Key(crate::negotiate::KeyError::TooMany))
    );
    assert_eq!(bench.last_status(), Some(LoginStatus::INITIATOR_ERROR));
}
