//! The OpenAPI document, the table of roles, the router and the page for people tell of the same routes.

use std::collections::BTreeSet;

use daemon::api::{ROUTES, openapi_json};
use serde_json::Value;

use super::{Rig, request};

const PAGE: &str = include_str!("../../../../docs/reference/api.md");

fn document() -> Value {
    serde_json::from_str(&openapi_json()).unwrap()
}

fn table() -> BTreeSet<(String, String)> {
    ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect()
}

#[test]
fn document_lists_every_route_and_no_other() {
    let document = document();
    let (mut routes, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(
                routes.insert((method.to_uppercase(), path.clone())),
                "{what}"
            );
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: {id} stands twice");
            let content = &operation["responses"]["default"]["content"];
            let problem = &content["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{what}");
            assert!(
                operation["description"]
                    .as_str()
                    .unwrap()
                    .contains("Role: "),
                "{what}"
            );
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{what}"
            );
        }
    }
    assert_eq!(routes, table());
    assert_eq!(ROUTES.len(), table().len(), "no row stands twice");
}

#[test]
fn router_has_every_route() {
    let rig = Rig::new();
    for route in ROUTES {
        if route.path == "/v1/events" {
            continue; // It answers for as long as it is listened to: the tests of events ask it.
        }
        let target = route
            .path
            .replace("{path}", "targets/x")
            .replace("{id}", "1")
            .replace("{generation}", "1");
        let answer = rig.raw(request(route.method, &target, "", ""));
        assert!(!answer.contains("no_such_route"), "{route:?}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 405 "), "{route:?}: {answer}");
    }
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference);
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn document_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    for name in [
        "TreeAnswer",
        "TreeObject",
        "Transaction",
        "Change",
        "Outcome",
        "Session",
        "Event",
    ] {
        assert!(
            found.contains(format!("#/components/schemas/{name}").as_str()),
            "{name}"
        );
    }
    let object = &document["components"]["schemas"]["TreeObject"];
    let items = &object["properties"]["children"]["items"]["$ref"];
    assert_eq!(items, "#/components/schemas/TreeObject");
}

#[test]
fn page_tells_of_every_route_with_its_role() {
    for route in ROUTES {
        let row = PAGE.lines().find(|line| {
            line.starts_with("| `") && line.contains(&format!("`{} {}", route.method, route.path))
        });
        let row = row.unwrap_or_else(|| panic!("{} {} is missing", route.method, route.path));
        assert!(row.contains(&route.role.to_string()), "{row}");
    }
}
