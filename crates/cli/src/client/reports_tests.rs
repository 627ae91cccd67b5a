use std::collections::BTreeMap;

use control_api::{ConnectionState, ExplainLun, ExplainStep, SessionConnection, SessionCounters};

use super::*;

fn session(id: u64, kind: SessionKind) -> Session {
    Session {
        id,
        initiator: "iqn.2026-11.org.example:host1".to_owned(),
        initiator_alias: Some("host\x1b[31m1".to_owned()),
        isid: "00023d000001".to_owned(),
        tsih: 7,
        target: "iqn.2026-11.org.example:t".to_owned(),
        tpg: 1,
        kind,
        worker: 0,
        connections: vec![SessionConnection {
            cid: 0,
            local: "10.0.0.1:3260".to_owned(),
            peer: "10.0.0.2:50000".to_owned(),
            portal: "0.0.0.0:3260".to_owned(),
            state: ConnectionState::FullFeature,
        }],
        parameters: BTreeMap::from([("InitialR2T".to_owned(), "No".to_owned())]),
        authentication: SessionAuthentication::ChapMutual,
        luns: 2,
        since_s: 3_700,
        counters: SessionCounters {
            commands: 12,
            read_bytes: 512,
            written_bytes: 0,
            more: BTreeMap::from([("nops".to_owned(), 3)]),
        },
        state: SessionState::FullFeature,
    }
}

#[test]
fn sessions_are_aligned_lines_with_the_first_connection() {
    let text = sessions(&[
        session(3, SessionKind::Normal),
        session(12, SessionKind::Discovery),
    ]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID  INITIATOR"));
    assert!(lines[1].starts_with("3   iqn.2026-11.org.example:host1  iqn.2026-11.org.example:t"));
    assert!(
        lines[1].contains("10.0.0.2:50000")
            && lines[1].ends_with("chap+mutual  2     12        1h01m")
    );
    assert!(lines[2].contains("(discovery)"));
    assert_eq!(sessions(&[]), "no sessions\n");
}

#[test]
fn sessions_of_several_connections_tell_how_many_serve() {
    let mut many = session(3, SessionKind::Normal);
    let states = [
        ConnectionState::Lost,
        ConnectionState::FullFeature,
        ConnectionState::FullFeature,
        ConnectionState::Closing,
    ];
    let first = many.connections[0].clone();
    let connections = states.into_iter().zip(0u16..).map(|(state, cid)| {
        let peer = format!("10.0.0.2:5000{cid}");
        SessionConnection {
            cid,
            peer,
            state,
            ..first.clone()
        }
    });
    many.connections = connections.collect();
    assert!(sessions(&[many.clone()]).contains("  10.0.0.2:50001 +1  "));
    let details = session_details(&[many.clone()]);
    for line in [
        "    connection 0: from 10.0.0.2:50000 to 10.0.0.1:3260 (portal 0.0.0.0:3260), lost and kept for recovery\n",
        "    connection 1: from 10.0.0.2:50001 to 10.0.0.1:3260 (portal 0.0.0.0:3260)\n",
        "    connection 3: from 10.0.0.2:50003 to 10.0.0.1:3260 (portal 0.0.0.0:3260), closing\n",
    ] {
        assert!(details.contains(line), "{details}");
    }
    many.connections.truncate(1);
    assert!(sessions(&[many]).contains("  -  "));
}

#[test]
fn session_details_tell_keys_and_counters_and_no_control_characters() {
    let text = session_details(&[session(3, SessionKind::Normal)]);
    for line in [
        "session 3: iqn.2026-11.org.example:host1 (host\\u{1b}[31m1)",
        "    state: serving, authenticated by chap+mutual, for 1h01m, worker 0",
        "    connection 0: from 10.0.0.2:50000 to 10.0.0.1:3260 (portal 0.0.0.0:3260)",
        "    commands: 12, read: 512 bytes, written: 0 bytes",
        "    nops: 3",
        "    InitialR2T=No",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}:\n{text}");
    }
}

#[test]
fn duration_is_its_two_largest_units() {
    let table = [
        (0, "0s"),
        (59, "59s"),
        (61, "1m01s"),
        (3_599, "59m59s"),
        (7_260, "2h01m"),
        (86_400, "1d00h"),
        (u64::MAX, "213503982334601d07h"),
    ];
    for (seconds, text) in table {
        assert_eq!(duration(seconds), text);
    }
}

#[test]
fn explanation_tells_each_rule_and_the_verdict() {
    let step = |rule: &str, outcome, path: Option<&str>| ExplainStep {
        rule: rule.to_owned(),
        path: path.map(ToOwned::to_owned),
        outcome,
        text: "because".to_owned(),
    };
    let mut found = Explanation {
        admitted: false,
        login_status: Some("0202h not authorized".to_owned()),
        steps: vec![
            step("portal", ExplainOutcome::Decides, Some("/targets/t/tpgs/1")),
            step("acl", ExplainOutcome::Refuses, None),
        ],
        luns: Vec::new(),
    };
    assert_eq!(
        explanation(&found),
        "RULE    SAYS     WHERE              WHY\n\
         portal  decides  /targets/t/tpgs/1  because\n\
         acl     refuses  -                  because\n\
         the login is refused: 0202h not authorized\n"
    );
    found.admitted = true;
    found.luns = vec![ExplainLun {
        lun: 0,
        backstore: "file/a".to_owned(),
        write_protect: true,
    }];
    let text = explanation(&found);
    assert!(text.contains("the login works"), "{text}");
    assert!(
        text.ends_with("LUN  BACKSTORE  ACCESS\n0    file/a     read\n"),
        "{text}"
    );
}

#[test]
fn refused_and_history_and_status_are_told() {
    let refusal = Refusal {
        unix_time_ms: 0,
        peer: "10.0.0.2:1".to_owned(),
        local: "10.0.0.1:3260".to_owned(),
        initiator: String::new(),
        target: "iqn.t".to_owned(),
        status: "0202h".to_owned(),
        rule: "acl".to_owned(),
        text: "no ACL names it\nand more".to_owned(),
    };
    let text = refused(&[refusal]);
    assert!(text.ends_with("1970-01-01 00:00:00Z  10.0.0.2:1  10.0.0.1:3260  -          iqn.t   0202h   acl   no ACL names it; and more\n"), "{text}");
    let entry = HistoryEntry {
        generation: 4,
        unix_time_ms: 1_000,
        who: "uid 0 (pid 7)".to_owned(),
        what: vec!["create /a".to_owned(), "set /b".to_owned()],
    };
    let text = history(&[entry]);
    assert!(
        text.ends_with("4           1970-01-01 00:00:01Z  uid 0 (pid 7)  create /a; set /b\n"),
        "{text}"
    );
    let text = status(&Status {
        degraded: vec!["/backstores/block/sdb".to_owned()],
        remnants: vec!["file/a".to_owned()],
        ..Status::default()
    });
    assert!(
        text.contains("ready: no\n") && text.contains("portals: none\n"),
        "{text}"
    );
    assert!(
        text.ends_with("degraded: /backstores/block/sdb\nremnant: file/a\n"),
        "{text}"
    );
    for text in [refused(&[]), history(&[]), attributes(&[])] {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
