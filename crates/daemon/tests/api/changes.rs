//! Changes through the client: conditions, dry runs, replacement, refusals.

use control_api::{AttributeMap, Change, EffectAction, Precondition, Rollback, Terms, Transaction};
use daemon::control::Role;
use serde_json::json;

use super::{Rig, problem_of, request};

const TARGET: &str = "/targets/iqn.2026-11.org.example:vm1";

fn attributes(value: serde_json::Value) -> AttributeMap {
    serde_json::from_value(value).unwrap()
}

fn created(rig: &Rig, path: &str, value: serde_json::Value) {
    let outcome = rig
        .client()
        .put(path, &attributes(value), Precondition::Absent, false)
        .unwrap();
    assert_eq!(outcome.effects[0].action, EffectAction::Create);
}

#[test]
fn create_set_and_delete_reach_the_control_as_the_admin_who_asks() {
    let rig = Rig::new();
    let client = rig.client();
    created(&rig, TARGET, json!({"alias": "one"}));
    let outcome = client
        .patch(TARGET, &attributes(json!({"alias": "two"})), None, false)
        .unwrap();
    assert_eq!(
        (outcome.generation, outcome.effects[0].path.as_str()),
        (2, TARGET)
    );
    let answer = client.tree(TARGET, 0).unwrap();
    assert_eq!(
        (answer.generation, &answer.object.attributes["alias"]),
        (2, &json!("two"))
    );
    assert_eq!(
        client
            .delete(TARGET, false, None, false)
            .unwrap()
            .generation,
        3
    );
    assert_eq!(problem_of(client.tree(TARGET, 0)).status, 404);
    let state = rig.fake.state();
    assert_eq!(state.callers.len(), 3);
    for caller in &state.callers {
        assert_eq!(caller.uid, rustix::process::getuid().as_raw());
        assert_eq!(caller.gid, rustix::process::getgid().as_raw());
        assert_eq!(u32::try_from(caller.pid).unwrap(), std::process::id());
        assert_eq!(caller.role, Role::Admin);
    }
}

#[test]
fn names_with_any_letter_arrive_as_they_are() {
    let rig = Rig::new();
    for path in [
        "/backstores/file/my disk%41é?#",
        "/t/portals/[::1]:3260",
        "/t/%2e%2e",
        "/t/..",
    ] {
        created(&rig, path, json!({}));
        assert_eq!(rig.client().tree(path, 0).unwrap().object.path, path);
    }
}

#[test]
fn dry_runs_change_nothing() {
    let rig = Rig::new();
    let client = rig.client();
    created(&rig, TARGET, json!({"alias": "one"}));
    let before = rig.fake.state().objects.clone();
    let other = format!("{TARGET}2");
    let alias = attributes(json!({"alias": "two"}));
    let change = Change::Delete {
        path: TARGET.to_owned(),
        cascade: false,
    };
    let transaction = Transaction {
        changes: vec![change],
        if_generation: None,
    };
    let outcomes = [
        client
            .put(&other, &alias, Precondition::None, true)
            .unwrap(),
        client.patch(TARGET, &alias, None, true).unwrap(),
        client.delete(TARGET, true, None, true).unwrap(),
        client.transact(&transaction, true).unwrap(),
    ];
    for outcome in outcomes {
        assert!(outcome.dry_run && outcome.effects.len() == 1 && outcome.generation == 1);
    }
    let dry = |generation| Rollback {
        terms: Terms::DRY_RUN,
        ..Rollback::to(generation)
    };
    assert!(client.apply("x", None, Terms::DRY_RUN).unwrap().dry_run);
    assert!(client.rollback(dry(2)).unwrap().dry_run);
    assert_eq!(rig.fake.state().objects, before);
    assert_eq!(rig.fake.state().applied, [("x".to_owned(), None, true)]);
}

#[test]
fn stale_generations_get_a_conflict_with_the_current_one() {
    let rig = Rig::new();
    let client = rig.client();
    created(&rig, TARGET, json!({}));
    created(&rig, "/other", json!({}));
    let none = AttributeMap::new();
    let transaction = Transaction {
        changes: vec![Change::Set {
            path: TARGET.to_owned(),
            attributes: none.clone(),
        }],
        if_generation: Some(1),
    };
    let stale = Terms {
        if_generation: Some(1),
        ..Terms::default()
    };
    let conflicts = [
        problem_of(client.put(TARGET, &none, Precondition::Generation(1), false)),
        problem_of(client.put("/new", &none, Precondition::Generation(1), false)),
        problem_of(client.patch(TARGET, &none, Some(1), false)),
        problem_of(client.delete(TARGET, false, Some(1), false)),
        problem_of(client.transact(&transaction, false)),
        problem_of(client.apply("x", None, stale)),
        problem_of(client.rollback(Rollback {
            terms: stale,
            ..Rollback::to(1)
        })),
    ];
    for problem in conflicts {
        assert_eq!(
            (problem.status, problem.generation),
            (409, Some(2)),
            "{problem}"
        );
        assert!(problem.is("stale_generation"));
    }
    assert_eq!(rig.fake.state().generation, 2);
    assert_eq!(
        client
            .patch(TARGET, &none, Some(2), false)
            .unwrap()
            .generation,
        3
    );
    let etag = rig.raw(request("GET", "/v1/tree", "", ""));
    assert!(etag.contains("etag: \"3\"\r\n"), "{etag}");
    let answer = rig.raw(request("PUT", "/v1/tree/new", "If-Match: \"3\"\r\n", ""));
    assert!(
        answer.starts_with("HTTP/1.1 201 ") && answer.contains("etag: \"4\"\r\n"),
        "{answer}"
    );
}

#[test]
fn conditions_of_presence_are_held() {
    let rig = Rig::new();
    let client = rig.client();
    created(&rig, TARGET, json!({"alias": "one"}));
    let two = attributes(json!({"alias": "two"}));
    let problem = problem_of(client.put(TARGET, &two, Precondition::Absent, false));
    assert_eq!(
        (problem.status, problem.code.as_deref()),
        (412, Some("precondition_failed"))
    );
    let problem = rig.refused(request("PUT", "/v1/tree/none", "If-Match: *\r\n", ""));
    assert_eq!(problem.status, 412);
    assert_eq!(
        rig.fake.state().objects[TARGET].attributes["alias"],
        json!("one")
    );
    let url = format!("/v1/tree{TARGET}");
    let answer = rig.raw(request("PUT", &url, "If-Match: *\r\n", ""));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn conditions_that_would_go_unheeded_are_refused() {
    let rig = Rig::new();
    let table = [
        ("POST", "/v1/apply", "If-None-Match: *\r\n"),
        ("POST", "/v1/rollback/1", "If-None-Match: *\r\n"),
        ("DELETE", "/v1/sessions/1", "If-Match: *\r\n"),
        ("PATCH", "/v1/tree/x", "If-None-Match: *\r\n"),
        ("DELETE", "/v1/tree/x", "If-Match: 1\r\n"),
        (
            "POST",
            "/v1/transactions",
            "If-Match: \"1\"\r\nIf-Match: \"2\"\r\n",
        ),
    ];
    for (method, target, headers) in table {
        let problem = rig.refused(request(method, target, headers, ""));
        assert_eq!(
            (problem.status, problem.code.as_deref()),
            (400, Some("bad_precondition")),
            "{target}"
        );
    }
    let body = r#"{"changes":[],"if_generation":1}"#;
    let problem = rig.refused(request(
        "POST",
        "/v1/transactions",
        "If-Match: \"2\"\r\n",
        body,
    ));
    assert!(problem.is("bad_precondition"));
    assert!(rig.fake.state().ended.is_empty());
}

#[test]
fn put_on_what_exists_replaces_and_keeps_what_is_fixed_or_secret() {
    let rig = Rig::new();
    let client = rig.client();
    let disk = "/backstores/file/vm1";
    let first = json!({"path": "vm1.img", "serial": "s", "chap.secret": "hush-hush-hush"});
    created(&rig, disk, first);
    let second = attributes(json!({"size": "1GiB", "chap.secret": "***"}));
    let outcome = client
        .put(disk, &second, Precondition::None, false)
        .unwrap();
    assert_eq!(outcome.effects[0].action, EffectAction::Modify);
    let kept = json!({"path": "vm1.img", "size": "1GiB", "chap.secret": "hush-hush-hush"});
    assert_eq!(rig.fake.state().objects[disk].attributes, attributes(kept));
    let body = format!(
        r#"{{"changes":[{{"op":"set","path":"{disk}","attributes":{{"chap.secret":"***"}}}}]}}"#
    );
    let answer = rig.raw(request("POST", "/v1/transactions", "", &body));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(
        rig.fake.state().objects[disk].attributes["chap.secret"],
        json!("hush-hush-hush")
    );
}

#[test]
fn transactions_are_made_whole_or_not_at_all() {
    let rig = Rig::new();
    let create = |path: &str| Change::Create {
        path: path.to_owned(),
        attributes: AttributeMap::new(),
    };
    let delete = |path: &str| Change::Delete {
        path: path.to_owned(),
        cascade: true,
    };
    let both = vec![create(TARGET), create("/x")];
    let outcome = rig
        .client()
        .transact(
            &Transaction {
                changes: both,
                if_generation: Some(0),
            },
            false,
        )
        .unwrap();
    assert_eq!((outcome.generation, outcome.effects.len()), (1, 2));
    let bad = vec![delete(TARGET), delete("/none")];
    let problem = problem_of(rig.client().transact(
        &Transaction {
            changes: bad,
            if_generation: None,
        },
        false,
    ));
    assert!(problem.is("no_such_object"));
    assert!(rig.fake.state().objects.contains_key(TARGET));
}

#[test]
fn invalid_changes_carry_every_mistake() {
    let rig = Rig::new();
    created(&rig, TARGET, json!({}));
    let problem =
        problem_of(
            rig.client()
                .patch(TARGET, &attributes(json!({"alais": 1})), None, false),
        );
    assert_eq!(
        (problem.status, problem.hint.as_deref()),
        (422, Some("did you mean alias?"))
    );
    let problem = problem_of(rig.client().apply("mistake", None, Terms::default()));
    assert_eq!((problem.status, problem.errors.len()), (422, 2));
    assert_eq!(problem.errors[1].line, Some(7));
    assert!(
        problem.detail.starts_with("a.toml:1: target: mistake"),
        "{}",
        problem.detail
    );
}

#[test]
fn apply_carries_text_and_folder_whole() {
    let rig = Rig::new();
    let text = "# é\n".repeat(1 << 20);
    let base = std::path::Path::new("/etc/my target&more");
    rig.client()
        .apply(&text, Some(base), Terms::default())
        .unwrap();
    let state = rig.fake.state();
    assert!(state.applied[0].0 == text, "the text came whole");
    assert_eq!(state.applied[0].1.as_deref(), base.to_str());
}

#[test]
fn end_session_reaches_the_control() {
    let rig = Rig::new();
    rig.client().end_session(u64::MAX).unwrap();
    assert_eq!(rig.fake.state().ended, [u64::MAX]);
    assert!(
        rig.raw(request("DELETE", "/v1/sessions/1", "", ""))
            .starts_with("HTTP/1.1 204 ")
    );
}

#[test]
fn bad_bodies_are_refused_with_their_place() {
    let rig = Rig::new();
    let table: [(&str, &str, &str, &str); 6] = [
        ("POST", "/v1/transactions", "", "bad_json"),
        (
            "POST",
            "/v1/transactions",
            "{\"changes\": [\n{]}",
            "bad_json",
        ),
        (
            "POST",
            "/v1/transactions",
            "{\"chnges\": []}",
            "unknown_field",
        ),
        (
            "PATCH",
            "/v1/tree/x",
            "{\"attribute\": {}}",
            "unknown_field",
        ),
        ("PUT", "/v1/tree/x", "[]", "bad_body"),
        (
            "PUT",
            "/v1/tree/x",
            "{\"attributes\": \"hush\"}",
            "bad_body",
        ),
    ];
    for (method, target, body, code) in table {
        let problem = rig.refused(request(method, target, "", body));
        assert_eq!(
            (problem.status, problem.code.as_deref()),
            (400, Some(code)),
            "{body}"
        );
        assert!(problem.detail.contains("line "), "{body}: {problem}");
        assert!(!problem.to_string().contains("hush"), "{problem}");
    }
    let answer = rig.raw(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\xff\xfe");
    assert!(answer.contains("bad_body"), "{answer}");
    assert_eq!(rig.fake.state().generation, 0);
}
