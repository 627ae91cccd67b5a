use control_api::AttributeMap;
use serde_json::json;

use super::*;

fn rules(folder: &tempfile::TempDir) -> RoleRules {
    let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
    let users = "root:x:0:0::/root:/bin/sh\n# comment\nbroken\nann:x:1001:1001::/:/bin/sh\n\
                 bob:x:1002:1002::/:/bin/sh\ncarl:x:1003:70::/:/bin/sh\n";
    std::fs::write(&passwd, users).unwrap();
    let groups = "root:x:0:\nsan-ops:x:70:ann,bobby\nsan-view:x:71:bob,ann\nbad:x:notanumber:bob\n";
    std::fs::write(&group, groups).unwrap();
    let rules = RoleRules::new(990).with_files(passwd, group);
    rules
        .with_operators("san-ops")
        .unwrap()
        .with_viewers("71")
        .unwrap()
}

#[test]
fn role_of_each_kind_of_peer_is_the_highest_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let rules = rules(&folder);
    let table = [
        (0, 0, Some(Role::Admin), "root"),
        (990, 990, Some(Role::Admin), "the daemon's user"),
        (1001, 1001, Some(Role::Operator), "listed in both groups"),
        (
            1002,
            1002,
            Some(Role::Viewer),
            "listed as viewer; bobby is somebody else",
        ),
        (1003, 70, Some(Role::Operator), "primary group"),
        (4242, 71, Some(Role::Viewer), "unknown user, primary group"),
        (1004, 1004, None, "unknown user"),
        (65534, 0, None, "root's group is not root"),
    ];
    for (uid, gid, role, what) in table {
        assert_eq!(rules.role(uid, gid), role, "{what}");
    }
}

#[test]
fn role_without_groups_is_admin_or_none() {
    let rules = RoleRules::new(990).with_files("/nonexistent/passwd", "/nonexistent/group");
    assert_eq!(rules.role(990, 1), Some(Role::Admin));
    assert_eq!(rules.role(991, 990), None);
    let error = rules.clone().with_operators("wheel").unwrap_err();
    assert_eq!(
        error,
        GroupError {
            group: "wheel".to_owned()
        }
    );
    let rules = rules.with_operators("5").unwrap();
    assert_eq!(rules.role(991, 5), Some(Role::Operator));
    assert_eq!(rules.role(991, 6), None, "the files cannot be read");
}

/// A URL for each row.
fn example(path: &str) -> String {
    path.replace("{path}", "targets/iqn.2026-11.org.example:a/tpgs/1")
        .replace("{id}", "7")
        .replace("{generation}", "7")
}

#[test]
fn each_route_admits_its_role_and_none_below() {
    for route in ROUTES {
        let url = example(route.path);
        assert!(check_route(None, route.method, &url).is_err(), "{route:?}");
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            let checked = check_route(Some(role), route.method, &url);
            assert_eq!(checked.is_ok(), role >= route.role, "{role} at {route:?}");
            assert!(checked.err().is_none_or(|problem| problem.status == 403));
        }
    }
}

#[test]
fn routes_that_change_need_more_than_a_viewer() {
    for route in ROUTES {
        assert_eq!(
            route.method == "GET",
            route.role == Role::Viewer,
            "{route:?}"
        );
    }
    assert!(check_route(Some(Role::Viewer), "HEAD", "/v1/status").is_ok());
    let status = |role, method, url| check_route(role, method, url).unwrap_err().status;
    assert_eq!(
        status(None, "GET", "/nowhere"),
        403,
        "nobody learns which routes there are"
    );
    assert_eq!(status(Some(Role::Admin), "GET", "/nowhere"), 404);
    assert_eq!(status(Some(Role::Admin), "POST", "/v1/status"), 405);
    assert_eq!(methods_of("/v1/tree/targets"), "GET, PATCH, PUT, DELETE");
}

#[test]
fn patterns_match_whole_urls() {
    let table = [
        ("/v1/tree", "/v1/tree", true),
        ("/v1/tree", "/v1/tree/", false),
        ("/v1/tree/{path}", "/v1/tree", false),
        ("/v1/tree/{path}", "/v1/tree/a/b", true),
        ("/v1/sessions/{id}", "/v1/sessions/1", true),
        ("/v1/sessions/{id}", "/v1/sessions/1/2", false),
        ("/v1/sessions", "/v1/sessionsx", false),
    ];
    for (pattern, url, matched) in table {
        assert_eq!(matches(pattern, url), matched, "{pattern} {url}");
    }
}

#[test]
fn operators_set_enabled_and_size_and_nothing_else() {
    let set = |attributes: serde_json::Value| Change::Set {
        path: "/backstores/ram/a".to_owned(),
        attributes: serde_json::from_value::<AttributeMap>(attributes).unwrap(),
    };
    let allowed = [
        set(json!({"enabled": false})),
        set(json!({"size": "2GiB"})),
        set(json!({})),
    ];
    let refused = [
        set(json!({"enabled": true, "authentication": "none"})),
        Change::Create {
            path: "/x".to_owned(),
            attributes: AttributeMap::new(),
        },
        Change::Delete {
            path: "/x".to_owned(),
            cascade: false,
        },
    ];
    assert!(check_changes(Role::Operator, &allowed).is_ok());
    assert!(check_changes(Role::Viewer, &allowed).is_err());
    assert!(check_changes(Role::Viewer, &[]).is_err());
    for change in refused {
        let mixed = [allowed[0].clone(), change.clone()];
        let problem = check_changes(Role::Operator, &mixed).unwrap_err();
        assert_eq!(
            (problem.status, problem.path.as_deref()),
            (403, Some(change.path()))
        );
        assert!(check_changes(Role::Admin, &mixed).is_ok());
    }
    let problem = check_secrets(Role::Operator).unwrap_err();
    assert_eq!(
        problem.detail,
        "an export with secrets needs an admin; you are an operator"
    );
    assert!(check_secrets(Role::Admin).is_ok());
}
