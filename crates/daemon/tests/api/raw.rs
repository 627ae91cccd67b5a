//! The socket as a careless or hostile caller uses it.

use std::io::{Read, Write};

use daemon::api::Limits;

use super::{Rig, SOON, eventually, read_to_end, request};

#[test]
fn unknown_routes_and_methods_are_problems() {
    let rig = Rig::new();
    let table = [
        ("GET", "/", 404),
        ("GET", "/v2/tree", 404),
        ("GET", "/v1/trees", 404),
        ("GET", "/v1/sessions/1/2", 404),
        ("GET", "/v1/%74ree", 404),
        ("POST", "/v1/status", 405),
        ("PUT", "/v1/transactions", 405),
        ("OPTIONS", "/v1/tree", 405),
        ("DELETE", "/v1/tree", 405),
        ("BREW", "/v1/tree/x", 405),
    ];
    for (method, target, status) in table {
        assert_eq!(
            rig.refused(request(method, target, "", "")).status,
            status,
            "{method} {target}"
        );
    }
    let answer = rig.raw(request("BREW", "/v1/sessions/1", "", ""));
    assert!(answer.contains("allow: GET, DELETE\r\n"), "{answer}");
}

#[test]
fn head_is_get_without_its_body() {
    let rig = Rig::new();
    let answer = rig.raw(request("HEAD", "/v1/status", "", ""));
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::new();
    let one = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut all = one("/healthz") + &one("/v1/nothing") + &one("/metrics");
    all.push_str(&request("GET", "/v1/export", "", ""));
    let answer = rig.raw(all);
    let places = ["ready\n", "no_such_route", "# EOF", "toml false"].map(|text| answer.find(text));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 4);
}

#[test]
fn rubbish_closes_its_connection_and_no_other() {
    let rig = Rig::new();
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let table: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n\0\0\0\0",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        long_header.as_bytes(),
        long_target.as_bytes(),
        many.as_bytes(),
    ];
    for rubbish in table {
        let answer = rig.raw(rubbish);
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(is_refused && answer.len() < 1024, "{answer:?}");
        assert!(rig.client().is_ready().unwrap());
    }
}

#[test]
fn half_a_request_is_closed_in_time() {
    let rig = Rig::with(Limits {
        head_timeout: SOON,
        ..Limits::default()
    });
    for half in ["", "GET", "GET /v1/status HTTP/1.1\r\nHost: x\r\n"] {
        assert!(!rig.raw(half).starts_with("HTTP/1.1 2"), "{half}");
    }
    // Between two requests too.
    let answer = rig.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn body_that_does_not_come_or_is_too_long_is_refused() {
    let limits = Limits {
        body_timeout: SOON,
        body_bytes: 100,
        apply_bytes: 200,
        ..Limits::default()
    };
    let rig = Rig::with(limits);
    let head = "POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    assert_eq!(
        rig.refused(format!("{head}Content-Length: 50\r\n\r\nhalf"))
            .status,
        408
    );
    assert_eq!(
        rig.refused(format!("{head}Content-Length: 201\r\n\r\n"))
            .status,
        413
    );
    let chunks = "64\r\n".to_owned() + &"x".repeat(100) + "\r\n";
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}",
        chunks.repeat(3)
    );
    assert_eq!(rig.refused(&chunked).status, 413);
    assert_eq!(
        rig.refused(format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"))
            .status,
        400
    );
    let body = format!("{{\"changes\":[{}]}}", " ".repeat(100));
    assert_eq!(
        rig.refused(request("POST", "/v1/transactions", "", &body))
            .status,
        413
    );
    assert!(rig.fake.state().applied.is_empty());
    let whole = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunks.repeat(2)
    );
    assert!(rig.raw(whole).starts_with("HTTP/1.1 200 "));
}

#[test]
fn connection_beyond_the_limit_gets_503_until_one_closes() {
    let rig = Rig::with(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut kept: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for stream in &mut kept {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert!(rig.refused("").is("too_many_connections"));
    assert!(super::problem_of(rig.client().status()).is("too_many_connections"));
    kept.pop();
    assert!(eventually(|| rig.client().is_ready().ok()));
}

#[test]
fn reader_that_sleeps_loses_its_connection() {
    let limits = Limits {
        connections: 1,
        write_timeout: SOON,
        ..Limits::default()
    };
    let rig = Rig::with(limits);
    rig.fake.state().export_bytes = 32 << 20;
    let mut sleeper = rig.connect();
    sleeper
        .write_all(request("GET", "/v1/export", "", "").as_bytes())
        .unwrap();
    assert!(
        eventually(|| rig.client().is_ready().ok()),
        "its place is free again"
    );
    assert!(read_to_end(&mut sleeper).len() < 32 << 20, "it was cut");
}
