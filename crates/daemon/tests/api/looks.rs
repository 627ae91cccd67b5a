//! Questions through the client.

use control_api::{ClientError, ExplainQuery, ExportFormat, Rollback};
use daemon::control::Control;
use serde_json::json;

use super::fake::session;
use super::{Rig, problem_of, request};

#[test]
fn every_look_brings_what_the_control_says() {
    let rig = Rig::new();
    let (client, fake) = (rig.client(), &rig.fake);
    assert_eq!(client.status().unwrap(), fake.status());
    assert_eq!(client.tree("/", 0).unwrap(), fake.tree("/", 0).unwrap());
    assert_eq!(client.sessions().unwrap(), fake.sessions());
    assert_eq!(client.session(u64::MAX).unwrap(), session(u64::MAX));
    assert_eq!(client.history().unwrap(), fake.history());
    assert_eq!(client.refused().unwrap(), fake.refused());
    assert_eq!(client.audit().unwrap(), fake.audit());
    assert_eq!(client.metrics().unwrap(), fake.metrics());
    assert_eq!(client.attributes(None).unwrap(), fake.attributes(None));
    let targets = client.attributes(Some("target")).unwrap();
    assert_eq!(targets, fake.attributes(Some("target")));
    assert_eq!(
        client.export(ExportFormat::Toml, false).unwrap(),
        "toml false"
    );
    assert_eq!(
        client.export(ExportFormat::Saveconfig, true).unwrap(),
        "saveconfig true"
    );
    assert_eq!(client.openapi().unwrap()["openapi"], json!("3.1.0"));
}

#[test]
fn explain_carries_names_of_every_letter() {
    let rig = Rig::new();
    let query = ExplainQuery {
        initiator: "iqn.2026-11.org.example:a b&target=x%é".to_owned(),
        target: "iqn.2026-11.org.example:t+1".to_owned(),
        portal: Some("[::1]:3260".to_owned()),
    };
    assert_eq!(
        rig.client().explain(&query).unwrap(),
        rig.fake.explain(&query).unwrap()
    );
    let query = ExplainQuery {
        portal: None,
        ..query
    };
    assert_eq!(
        rig.client().explain(&query).unwrap(),
        rig.fake.explain(&query).unwrap()
    );
}

#[test]
fn health_follows_readiness() {
    let rig = Rig::new();
    assert!(rig.client().is_ready().unwrap());
    rig.fake.state().not_ready = true;
    assert!(!rig.client().is_ready().unwrap());
    assert!(
        rig.raw(request("GET", "/healthz", "", ""))
            .starts_with("HTTP/1.1 503 ")
    );
}

#[test]
fn answers_have_their_content_type_and_are_not_cached() {
    let rig = Rig::new();
    let table = [
        ("/v1/status", "application/json"),
        ("/v1/export", "text/plain; charset=utf-8"),
        ("/v1/export?format=saveconfig", "application/json"),
        (
            "/metrics",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ];
    for (target, content_type) in table {
        let answer = rig.raw(request("GET", target, "", ""));
        assert!(
            answer.contains(&format!("content-type: {content_type}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    }
}

#[test]
fn unknown_object_session_and_generation_are_404() {
    let rig = Rig::new();
    let client = rig.client();
    let problem = problem_of(client.tree("/targets/iqn.2026-11.org.example:no", 1));
    assert!(problem.is("no_such_object"));
    assert_eq!(
        problem.path.as_deref(),
        Some("/targets/iqn.2026-11.org.example:no")
    );
    assert!(problem_of(client.session(3)).is("no_such_session"));
    assert!(problem_of(client.end_session(3)).is("no_such_session"));
    assert!(problem_of(client.rollback(Rollback::to(9))).is("no_such_generation"));
}

#[test]
fn wrong_queries_are_refused_with_a_hint() {
    let rig = Rig::new();
    let table = [
        (
            "GET",
            "/v1/tree?dept=1",
            "unknown_field",
            Some("did you mean `depth`?"),
        ),
        ("GET", "/v1/tree?depth=-1", "bad_body", None),
        (
            "GET",
            "/v1/export?format=tomll",
            "bad_body",
            Some("did you mean `toml`?"),
        ),
        ("GET", "/v1/explain?initiator=a", "bad_body", None),
        ("POST", "/v1/apply?dry_run", "bad_body", None),
        (
            "POST",
            "/v1/apply?dryrun=true",
            "unknown_field",
            Some("did you mean `dry_run`?"),
        ),
        (
            "POST",
            "/v1/apply?base=relative",
            "bad_query",
            Some("the daemon does not know the caller's folder"),
        ),
        ("GET", "/v1/sessions/x", "bad_path", None),
        ("POST", "/v1/rollback/-1", "bad_path", None),
        ("GET", "/v1/tree/targets/%zz", "bad_path", None),
        ("GET", "/v1/tree/targets//x", "bad_path", None),
        ("GET", "/v1/tree/targets/a%2fb", "bad_path", None),
    ];
    for (method, target, code, hint) in table {
        let problem = rig.refused(request(method, target, "", ""));
        assert_eq!(
            (problem.status, problem.code.as_deref()),
            (400, Some(code)),
            "{target}"
        );
        assert_eq!(problem.hint.as_deref(), hint, "{target}: {problem}");
    }
    assert!(
        rig.fake.state().applied.is_empty(),
        "a misspelt dry run is no run"
    );
}

#[test]
fn client_without_daemon_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none");
    let error = control_api::Client::new(&socket).status().unwrap_err();
    assert!(matches!(&error, ClientError::NotRunning { socket: at } if *at == socket));
    assert!(error.to_string().contains("quintain daemon"));
    // A socket whose daemon is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = control_api::Client::new(&socket).status().unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
}
