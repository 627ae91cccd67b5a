//! Each type's JSON: it comes back as it went, and its shape is the documented one.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// The value has this shape and comes back from it.
fn assert_shape<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, shape: Value) {
    assert_eq!(serde_json::to_value(value).unwrap(), shape);
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
}

/// The least that a later or an earlier daemon may send.
fn assert_reads<T: DeserializeOwned + PartialEq + Debug>(shape: Value, value: &T) {
    assert_eq!(&serde_json::from_value::<T>(shape).unwrap(), value);
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn tree_keeps_its_shape() {
    let lun = Object {
        path: text("/t/luns/0"),
        kind: text("lun"),
        child_count: 0,
        ..Object::default()
    };
    let object = Object {
        path: text("/t"),
        kind: text("tpg"),
        id: Some(u64::MAX),
        attributes: [
            (text("enabled"), json!(true)),
            (text("chap.secret"), json!(SECRET_MARK)),
        ]
        .into(),
        set: vec![text("enabled")],
        state: [(text("sessions"), json!(3))].into(),
        children: vec![lun],
        child_count: 1,
    };
    let lun = json!({"path": "/t/luns/0", "kind": "lun", "attributes": {}, "set": [], "state": {},
                     "children": [], "child_count": 0});
    assert_shape(
        &TreeAnswer {
            generation: 17,
            object,
        },
        json!({"generation": 17, "object": {
            "path": "/t", "kind": "tpg", "id": u64::MAX,
            "attributes": {"enabled": true, "chap.secret": "***"}, "set": ["enabled"],
            "state": {"sessions": 3}, "children": [lun], "child_count": 1}}),
    );
    let least = Object {
        path: text("/"),
        kind: text("daemon"),
        ..Object::default()
    };
    assert_reads(
        json!({"path": "/", "kind": "daemon", "of_tomorrow": [1]}),
        &least,
    );
}

#[test]
fn changes_keep_their_shape() {
    let attributes: AttributeMap =
        [(text("size"), json!("1GiB")), (text("thin"), Value::Null)].into();
    let changes = vec![
        Change::Create {
            path: text("/a"),
            attributes: AttributeMap::new(),
        },
        Change::Set {
            path: text("/b"),
            attributes,
        },
        Change::Delete {
            path: text("/c"),
            cascade: true,
        },
    ];
    assert_eq!(
        changes.iter().map(Change::path).collect::<String>(),
        "/a/b/c"
    );
    assert_shape(
        &Transaction {
            changes,
            if_generation: Some(3),
        },
        json!({"if_generation": 3, "changes": [
            {"op": "create", "path": "/a", "attributes": {}},
            {"op": "set", "path": "/b", "attributes": {"size": "1GiB", "thin": null}},
            {"op": "delete", "path": "/c", "cascade": true}]}),
    );
    assert_shape(&Transaction::default(), json!({"changes": []}));
    assert_shape(&Attributes::default(), json!({"attributes": {}}));
    let delete = Change::Delete {
        path: text("/c"),
        cascade: false,
    };
    assert_reads(json!({"op": "delete", "path": "/c"}), &delete);
}

#[test]
fn requests_with_unknown_names_are_refused() {
    let table = [
        json!({"op": "delete", "path": "/c", "recursive": true}),
        json!({"op": "set", "path": "/c"}),
        json!({"op": "rename", "path": "/c"}),
        json!({"path": "/c"}),
    ];
    for change in table {
        assert!(
            serde_json::from_value::<Change>(change.clone()).is_err(),
            "{change}"
        );
    }
    assert!(
        serde_json::from_value::<Transaction>(json!({"changes": [], "dry_run": true})).is_err()
    );
    assert!(serde_json::from_value::<Attributes>(json!({"attribute": {}})).is_err());
    assert!(
        serde_json::from_value::<ExplainQuery>(json!({"initiator": "", "target": "", "x": 1}))
            .is_err()
    );
}

#[test]
fn outcome_keeps_its_shape() {
    let brief = SessionBrief {
        id: 4,
        initiator: text("i"),
        target: text("t"),
        tpg: 1,
        what: text("is asked to log out"),
    };
    let effect = |action| Effect {
        path: text("/a"),
        action,
        attributes: vec![text("size")],
    };
    let outcome = Outcome {
        generation: 9,
        dry_run: true,
        effects: [
            EffectAction::Create,
            EffectAction::Modify,
            EffectAction::Delete,
        ]
        .map(effect)
        .into(),
        sessions: vec![brief],
        warnings: vec![text("w")],
        remnants: vec![text("r")],
    };
    let effect = |action: &str| json!({"path": "/a", "action": action, "attributes": ["size"]});
    assert_shape(
        &outcome,
        json!({"generation": 9, "dry_run": true,
               "effects": [effect("create"), effect("modify"), effect("delete")],
               "sessions": [{"id": 4, "initiator": "i", "target": "t", "tpg": 1,
                             "what": "is asked to log out"}],
               "warnings": ["w"], "remnants": ["r"]}),
    );
    assert_reads(
        json!({"generation": 9}),
        &Outcome {
            generation: 9,
            ..Outcome::default()
        },
    );
}

#[test]
fn session_keeps_its_shape() {
    let session = Session {
        id: 1,
        initiator: text("i"),
        initiator_alias: Some(text("alias")),
        isid: text("400001370000"),
        tsih: 2,
        target: text("t"),
        tpg: 1,
        kind: SessionKind::Normal,
        worker: 3,
        connections: vec![SessionConnection {
            cid: 0,
            local: text("l"),
            peer: text("p"),
            portal: text("o"),
            state: ConnectionState::Lost,
        }],
        parameters: [(text("InitialR2T"), text("No"))].into(),
        authentication: SessionAuthentication::ChapMutual,
        luns: 4,
        since_s: 5,
        counters: SessionCounters {
            commands: 6,
            read_bytes: 7,
            written_bytes: 8,
            more: [(text("rejects"), 9)].into(),
        },
        state: SessionState::FullFeature,
    };
    assert_shape(
        &session,
        json!({"id": 1, "initiator": "i", "initiator_alias": "alias", "isid": "400001370000", "tsih": 2,
               "target": "t", "tpg": 1, "kind": "normal", "worker": 3,
               "connections": [{"cid": 0, "local": "l", "peer": "p", "portal": "o", "state": "lost"}],
               "parameters": {"InitialR2T": "No"}, "authentication": "chap+mutual", "luns": 4, "since_s": 5,
               "counters": {"commands": 6, "read_bytes": 7, "written_bytes": 8, "rejects": 9},
               "state": "full_feature"}),
    );
    assert_shape(&SessionKind::Discovery, json!("discovery"));
    assert_shape(&SessionState::Draining, json!("draining"));
    assert_shape(&SessionAuthentication::None, json!("none"));
    assert_shape(&SessionAuthentication::Chap, json!("chap"));
}

#[test]
fn explanation_keeps_its_shape() {
    let step = |outcome| ExplainStep {
        rule: text("acl"),
        path: Some(text("/a")),
        outcome,
        text: text("x"),
    };
    let outcomes = [
        ExplainOutcome::Passes,
        ExplainOutcome::Decides,
        ExplainOutcome::Refuses,
    ];
    let explanation = Explanation {
        admitted: false,
        login_status: Some(text("0202h")),
        steps: outcomes.map(step).into(),
        luns: vec![ExplainLun {
            lun: 1,
            backstore: text("ram/a"),
            write_protect: true,
        }],
    };
    let step =
        |outcome: &str| json!({"rule": "acl", "path": "/a", "outcome": outcome, "text": "x"});
    assert_shape(
        &explanation,
        json!({"admitted": false, "login_status": "0202h",
               "steps": [step("passes"), step("decides"), step("refuses")],
               "luns": [{"lun": 1, "backstore": "ram/a", "write_protect": true}]}),
    );
    let query = ExplainQuery {
        initiator: text("i"),
        target: text("t"),
        portal: None,
    };
    assert_shape(&query, json!({"initiator": "i", "target": "t"}));
}

#[test]
fn records_keep_their_shape() {
    assert_shape(
        &HistoryEntry {
            generation: 3,
            unix_time_ms: 4,
            who: text("boot"),
            what: vec![text("w")],
        },
        json!({"generation": 3, "unix_time_ms": 4, "who": "boot", "what": ["w"]}),
    );
    let paths = vec![text("/a")];
    let (who, action) = (text("uid 0"), text("apply"));
    assert_shape(
        &AuditEntry {
            unix_time_ms: 4,
            who,
            generation: 3,
            action,
            paths,
        },
        json!({"unix_time_ms": 4, "who": "uid 0", "generation": 3, "action": "apply", "paths": ["/a"]}),
    );
    for format in [ExportFormat::Toml, ExportFormat::Saveconfig] {
        assert_shape(&format, json!(format.as_str()));
    }
    assert_shape(
        &Status {
            version: text("1"),
            driver: text("uring"),
            workers: 2,
            ..Status::default()
        },
        json!({"version": "1", "generation": 0, "ready": false, "portals": [], "sessions": 0, "degraded": [],
               "remnants": [], "driver": "uring", "workers": 2}),
    );
}

#[test]
fn attribute_keeps_its_shape() {
    let info = AttributeInfo {
        kind: text("tpg"),
        name: text("attrib.login_timeout"),
        value_type: text("integer"),
        range: Some(text("5..=30")),
        choices: vec![text("a")],
        default: json!(15),
        lio_default: Some(json!(15)),
        help: text("h"),
        origin: text("LIO"),
        secret: false,
        create_only: true,
        effective: true,
    };
    assert_shape(
        &info,
        json!({"kind": "tpg", "name": "attrib.login_timeout", "value_type": "integer", "range": "5..=30",
               "choices": ["a"], "default": 15, "lio_default": 15, "help": "h", "origin": "LIO",
               "secret": false, "create_only": true, "effective": true}),
    );
}

#[test]
fn events_keep_their_shape_and_name() {
    let refusal = Refusal {
        unix_time_ms: 1,
        peer: text("p"),
        local: text("l"),
        initiator: text("i"),
        target: text("t"),
        status: text("0202h"),
        rule: text("acl"),
        text: text("x"),
    };
    let (initiator, target) = (text("i"), text("t"));
    let start = SessionStart {
        id: 1,
        initiator: text("i"),
        target: text("t"),
        tpg: 2,
        peer: text("p"),
    };
    let end = SessionEnd {
        id: 1,
        initiator,
        target,
        tpg: 2,
        reason: text("r"),
    };
    let table = [
        (
            Event::Committed {
                generation: 1,
                who: text("w"),
                effects: Vec::new(),
            },
            json!({"event": "committed", "generation": 1, "who": "w", "effects": []}),
        ),
        (
            Event::Drained {
                generation: 1,
                remnants: vec![text("r")],
            },
            json!({"event": "drained", "generation": 1, "remnants": ["r"]}),
        ),
        (
            Event::LoginRefused(refusal),
            json!({"event": "login_refused", "unix_time_ms": 1, "peer": "p", "local": "l", "initiator": "i",
                   "target": "t", "status": "0202h", "rule": "acl", "text": "x"}),
        ),
        (
            Event::SessionStarted(start),
            json!({"event": "session_started", "id": 1, "initiator": "i", "target": "t", "tpg": 2, "peer": "p"}),
        ),
        (
            Event::SessionEnded(end),
            json!({"event": "session_ended", "id": 1, "initiator": "i", "target": "t", "tpg": 2, "reason": "r"}),
        ),
        (
            Event::Degraded {
                path: text("/a"),
                reason: text("r"),
            },
            json!({"event": "degraded", "path": "/a", "reason": "r"}),
        ),
        (
            Event::Restored { path: text("/a") },
            json!({"event": "restored", "path": "/a"}),
        ),
    ];
    for (event, shape) in table {
        assert_eq!(shape["event"], event.name());
        assert_shape(&event, shape);
    }
}

#[test]
fn problems_keep_their_shape() {
    let problem = Problem::stale_generation(3, 4);
    assert_shape(
        &problem,
        json!({"type": "https://example.org/quintain/problems/stale_generation", "title": "Conflict",
               "status": 409, "detail": "generation 3 is no longer in force: 4 is",
               "code": "stale_generation", "generation": 4,
               "hint": "look at the tree again and repeat the change on what it is now"}),
    );
    let item = ProblemItem {
        path: text("target.tpg"),
        code: text("unknown_key"),
        reason: text("there is no key alais"),
        hint: text("did you mean alias?"),
        line: Some(7),
        file: Some(text("a.toml")),
    };
    let line = "a.toml:7: target.tpg: there is no key alais; did you mean alias?";
    assert_eq!(item.to_string(), line);
    let one = Problem::invalid(vec![item.clone()]);
    assert_eq!(
        one.to_string(),
        line,
        "neither reason nor hint stands twice"
    );
    assert_eq!((one.status, one.path.as_deref()), (422, Some("target.tpg")));
    let two = Problem::invalid(vec![
        item,
        ProblemItem {
            path: text("b"),
            ..ProblemItem::default()
        },
    ]);
    assert_eq!(two.to_string(), format!("{line} (and 1 more)"));
    assert_eq!(
        serde_json::from_value::<Problem>(serde_json::to_value(&two).unwrap()).unwrap(),
        two
    );
}

#[test]
fn problem_in_one_line_says_what_why_and_what_to_do() {
    let problem = Problem::new(400, "x", "no")
        .with_path("/a")
        .with_reason("because")
        .with_hint("do");
    assert_eq!(problem.to_string(), "no: because; do");
    assert!(problem.is("x") && !problem.is("y"));
    for status in [400, 403, 404, 405, 408, 409, 412, 413, 422, 500, 503] {
        assert_ne!(
            Problem::new(status, "x", "").title,
            "Error",
            "{status} has a title"
        );
    }
}
