//! The client against a daemon that is none: every answer a byte stream can hold.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::event::Event;

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(150);

/// A daemon that reads each request's head and then does what it is told, in a thread that ends with the test.
struct Impostor {
    client: Client,
    _folder: tempfile::TempDir,
}

impl Impostor {
    fn new(mut act: impl FnMut(&mut UnixStream, &str) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = read_head(&mut stream);
                act(&mut stream, &head);
            }
        });
        Self {
            client: Client::new(socket).with_timeouts(PATIENCE, PATIENCE),
            _folder: folder,
        }
    }

    fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |stream, _| drop(stream.write_all(&answer)))
    }
}

fn read_head(stream: &mut UnixStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{rest}")
}

fn fault<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProtocolFault {
    match result {
        Err(ClientError::Protocol(fault)) => fault,
        other => panic!("no protocol fault: {other:?}"),
    }
}

#[test]
fn answers_that_are_wrong_are_faults_and_never_data() {
    use ProtocolFault::{Body, Chunk, Header, Length, Status, StatusLine, TooLong, Truncated};
    let chunked = |rest: &str| ok(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"));
    let long_line = "x".repeat(20 << 10);
    let table = [
        (String::new(), Truncated),
        ("HTTP/1.1 200".to_owned(), Truncated),
        ("HTTP/1.0 200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 +99 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), StatusLine),
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), StatusLine),
        (ok("Content-Length: 2\r\n"), Truncated),
        (ok("no colon\r\n\r\n"), Header),
        (ok("Two Words: x\r\n\r\n"), Header),
        (ok(" folded: x\r\n\r\n"), Header),
        (ok(&format!("X: {long_line}\r\n\r\n")), Header),
        (ok(&"X: y\r\n".repeat(10_000)), Header),
        (ok("\r\nok"), Length),
        (ok("Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), Length),
        (ok("Content-Length: +2\r\n\r\nok"), Length),
        (ok("Content-Length: \r\n\r\nok"), Length),
        (ok("Content-Length: 18446744073709551616\r\n\r\nok"), Length),
        (ok("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Length),
        (ok("Transfer-Encoding: gzip\r\n\r\nok"), Length),
        (ok("Content-Length: 18446744073709551615\r\n\r\nok"), TooLong),
        (ok("Content-Length: 3\r\n\r\nok"), Truncated),
        (ok("Content-Length: 4\r\n\r\n\u{ff}\u{fe}"), Body),
        (chunked(""), Truncated),
        (chunked("2\r\nok"), Truncated),
        (chunked("2\r\nokay\r\n0\r\n\r\n"), Chunk),
        (chunked("\r\n"), Chunk),
        (chunked("-2\r\nok\r\n"), Chunk),
        (chunked("0x2\r\nok\r\n"), Chunk),
        (chunked("10000000000000000\r\n"), Chunk),
        (chunked(&format!("2;{long_line}\r\n")), Chunk),
        (chunked(&format!("0\r\n{}", "T: x\r\n".repeat(10_000))), Chunk),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(), Status(500)),
        ("HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(), Status(302)),
        (
            "HTTP/1.1 404 No\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n[]".to_owned(),
            Body,
        ),
    ];
    for (answer, wanted) in table {
        let impostor = Impostor::saying(answer.clone());
        let got = impostor.client.look::<Value>("/".to_owned());
        assert_eq!(fault(got), wanted, "{}", &answer[..answer.len().min(200)]);
    }
}

#[test]
fn answers_that_are_right_are_read_however_they_are_cut() {
    let table = [
        ok("content-length: 15\r\n\r\n{\"a\": [1, 2, 3]}").replace("15", "16"),
        ok(
            "Transfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n00f;x=y\r\n\"a\": [1, 2, 3]}\r\n0\r\nT: x\r\n\r\n",
        ),
        "HTTP/1.1 299 \r\nX:\t y \r\nContent-Length:\t016\r\n\r\n{\"a\": [1, 2, 3]} and more"
            .to_owned(),
    ];
    for answer in table {
        for step in [1, 2, 3, 7, answer.len()] {
            let pieces: Vec<Vec<u8>> = answer.as_bytes().chunks(step).map(<[u8]>::to_vec).collect();
            let impostor = Impostor::new(move |stream, _| {
                for piece in &pieces {
                    drop(stream.write_all(piece));
                }
            });
            let value: Value = impostor.client.look("/".to_owned()).unwrap();
            assert_eq!(
                value,
                serde_json::json!({"a": [1, 2, 3]}),
                "{answer} in steps of {step}"
            );
        }
    }
}

#[test]
fn endless_header_and_endless_chunks_end() {
    let endless = Impostor::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        while stream.write_all(b"X: and more\r\n").is_ok() {}
    });
    assert_eq!(fault(endless.client.status()), ProtocolFault::Header);
    let endless = Impostor::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"));
        while stream.write_all(b"X: and more\r\n").is_ok() {}
    });
    assert_eq!(fault(endless.client.status()), ProtocolFault::Chunk);
    let endless = Impostor::new(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
        drop(stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n"));
        while stream.write_all(b"10000\r\n").is_ok()
            && stream.write_all(&[b'x'; 0x10000]).is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {}
    });
    let mut events = endless.client.events().unwrap();
    assert_eq!(fault(events.next().unwrap()), ProtocolFault::TooLong);
    assert!(events.next().is_none(), "after a fault nothing more comes");
}

#[test]
fn silence_is_a_timeout_however_it_is_spaced() {
    let silent = Impostor::new(|stream, _| drop(stream.read(&mut [0])));
    let client = silent.client.clone().with_timeouts(SOON, PATIENCE);
    let error = client.status().unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error:?}");
    assert!(error.to_string().contains("in time"), "{error}");
    // A byte now and then does not buy more time.
    let trickle = Impostor::new(|stream, _| {
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(SOON / 10);
        }
    });
    let error = trickle
        .client
        .clone()
        .with_timeouts(SOON, PATIENCE)
        .status()
        .unwrap_err();
    // It is no HTTP either, but no line end ever tells.
    assert!(matches!(error, ClientError::Io(_)), "{error:?}");
}

#[test]
fn refusal_before_the_body_was_read_is_told() {
    let problem = crate::Problem::new(413, "body_too_large", "too long");
    let body = serde_json::to_string(&problem).unwrap();
    let answer = format!(
        "HTTP/1.1 413 x\r\nContent-Type: application/problem+json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let impostor = Impostor::saying(answer);
    let text = "x".repeat(8 << 20);
    let error = impostor
        .client
        .apply(&text, None, Terms::default())
        .unwrap_err();
    assert_eq!(error.problem(), Some(&problem), "{error:?}");
}

#[test]
fn requests_carry_their_conditions_and_encoded_names() {
    let (sender, heads) = std::sync::mpsc::channel();
    let impostor = Impostor::new(move |stream, head| {
        sender.send(head.to_owned()).unwrap();
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"generation\":1}"));
    });
    let client = &impostor.client;
    let none = AttributeMap::new();
    client
        .put("/a b/[::1]:3260", &none, Precondition::Absent, true)
        .unwrap();
    client
        .put("/a", &none, Precondition::Generation(7), false)
        .unwrap();
    client.patch("/a", &none, None, false).unwrap();
    client.delete("/a", true, Some(9), false).unwrap();
    client
        .apply("", Some(Path::new("/é &x")), Terms::DRY_RUN)
        .unwrap();
    let terms = Terms {
        dry_run: false,
        if_generation: Some(11),
    };
    client.apply("", None, terms).unwrap();
    let back = Rollback {
        terms,
        ..Rollback::to(3)
    };
    client.rollback(back).unwrap();
    let heads: Vec<String> = heads.try_iter().collect();
    let table: [(&str, &[&str], &[&str]); 7] = [
        (
            "PUT /v1/tree/a%20b/%5B::1%5D:3260?dry_run=true HTTP/1.1\r\n",
            &["If-None-Match: *\r\n"],
            &["If-Match"],
        ),
        (
            "PUT /v1/tree/a?dry_run=false HTTP/1.1\r\n",
            &["If-Match: \"7\"\r\n"],
            &["If-None-Match"],
        ),
        (
            "PATCH /v1/tree/a?dry_run=false HTTP/1.1\r\n",
            &["Content-Length: 17\r\n"],
            &["If-"],
        ),
        (
            "DELETE /v1/tree/a?cascade=true&dry_run=false HTTP/1.1\r\n",
            &["If-Match: \"9\"\r\n"],
            &["Content-"],
        ),
        (
            "POST /v1/apply?dry_run=true&base=/%C3%A9%20%26x HTTP/1.1\r\n",
            &["Content-Length: 0\r\n"],
            &["If-"],
        ),
        (
            "POST /v1/apply?dry_run=false HTTP/1.1\r\n",
            &["If-Match: \"11\"\r\n"],
            &["If-None-Match"],
        ),
        (
            "POST /v1/rollback/3?dry_run=false&keep_sizes=false HTTP/1.1\r\n",
            &["If-Match: \"11\"\r\n"],
            &["If-None-Match"],
        ),
    ];
    assert_eq!(heads.len(), table.len());
    for (head, (first, with, without)) in heads.iter().zip(table) {
        assert!(head.starts_with(first), "{head}");
        assert!(
            head.contains("Host: ") && head.contains("Connection: close\r\n"),
            "{head}"
        );
        assert!(with.iter().all(|line| head.contains(line)), "{head}");
        assert!(without.iter().all(|line| !head.contains(line)), "{head}");
    }
}

#[test]
fn each_call_is_a_connection_of_its_own() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let impostor = Impostor::new(|stream, _| {
        CALLS.fetch_add(1, Ordering::Relaxed);
        drop(stream.write_all(b"HTTP/1.1 204 None\r\n\r\n"));
    });
    for _ in 0..3 {
        impostor.client.end_session(1).unwrap();
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);
}

#[test]
fn events_end_with_their_stream() {
    let event = "event: restored\ndata: {\"event\":\"restored\",\"path\":\"/a\"}\n\n";
    let answer = ok(&format!("Content-Length: {}\r\n\r\n{event}", event.len()));
    let mut events = Impostor::saying(answer).client.events().unwrap();
    assert_eq!(
        events.next().unwrap().unwrap(),
        Event::Restored {
            path: "/a".to_owned()
        }
    );
    assert!(events.next().is_none());
    let cut = ok(&format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
        event.len()
    ));
    let mut events = Impostor::saying(cut).client.events().unwrap();
    assert!(events.next().unwrap().is_ok());
    assert_eq!(
        fault(events.next().unwrap()),
        ProtocolFault::Truncated,
        "cut, not ended"
    );
}

#[test]
fn what_is_no_daemons_socket_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::new(folder.path()).status().unwrap_err();
    assert!(
        matches!(error, ClientError::NotRunning { .. }),
        "a folder listens to nobody: {error:?}"
    );
    for error in [
        error,
        ClientError::NoAccess {
            socket: folder.path().to_owned(),
        },
    ] {
        let line = error.to_string();
        assert!(
            line.contains(&*folder.path().to_string_lossy()) && !line.contains('\n'),
            "{line}"
        );
    }
}
