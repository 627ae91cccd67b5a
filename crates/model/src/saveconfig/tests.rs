use std::path::Path;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::{Change, Desired, FileError, Tree};

const NEWEST: &str = include_str!("tests/rtslib-2.2.4.json");
const DEBIAN_12: &str = include_str!("tests/rtslib-2.1.53.json");
/// As of enterprise distributions of ten years ago, and edited by hand since.
const OLD: &str = include_str!("tests/old.json");

fn read(text: &str) -> Desired {
    parse(text).expect("a legal file")
}

fn tree_of(desired: &Desired) -> Tree {
    let plan = Tree::default().plan(&desired.changes);
    plan.map_err(|mistakes| desired.locate(mistakes))
        .expect("it can be planned")
        .tree
}

/// The file's values, without what says nothing.
fn as_json(text: &str) -> Json {
    let mut json: Json = serde_json::from_str(text).expect("JSON");
    for object in json["storage_objects"].as_array_mut().expect("a list") {
        let object = object.as_object_mut().expect("an object");
        // The default, and older versions of rtslib refuse it.
        if object.get("exclusive") == Some(&Json::Bool(true)) {
            object.remove("exclusive");
        }
    }
    // rtslib lists LUNs as the directory has them.
    for target in json["targets"].as_array_mut().expect("a list") {
        for group in target["tpgs"].as_array_mut().expect("a list") {
            let by_index = |list: &mut Json| {
                let list = list.as_array_mut().expect("a list");
                list.sort_by_key(|lun| lun["index"].as_u64());
            };
            by_index(&mut group["luns"]);
            for acl in group["node_acls"].as_array_mut().expect("a list") {
                by_index(&mut acl["mapped_luns"]);
            }
        }
    }
    let by_name =
        |key: &'static str| move |one: &Json| (one["plugin"].to_string(), one[key].to_string());
    json["storage_objects"]
        .as_array_mut()
        .expect("a list")
        .sort_by_key(by_name("name"));
    json["targets"]
        .as_array_mut()
        .expect("a list")
        .sort_by_key(by_name("wwn"));
    json
}

#[test]
fn newest_file_read_and_written_is_the_same_file() {
    let desired = read(NEWEST);
    assert_eq!(desired.warnings, [""; 0]);
    let written = write(&tree_of(&desired), true);
    assert_eq!(as_json(&written), as_json(NEWEST));
    // And so is what is read from that.
    let again = tree_of(&read(&written));
    assert_eq!(again.changes_to(&read(NEWEST).changes), []);
}

#[test]
fn newest_file_keeps_what_decides_a_login() {
    let tree = tree_of(&read(NEWEST));
    let (demo, strict): (Vec<_>, Vec<_>) = tree
        .groups()
        .map(|(_, group)| group)
        .partition(|group| group.generate_node_acls());
    assert!(!tree.requirement(demo[0], None).required);
    let group = strict[0];
    assert!(tree.requirement(group, None).required);
    let acl = group.acls.values().next().expect("an ACL");
    let requirement = tree.requirement(group, Some(acl));
    let credentials = requirement.credentials.expect("it has some");
    assert_eq!(credentials.chap.user, "user1");
    assert_eq!(
        credentials.mutual.expect("mutual too").secret.expose(),
        b"msecret1234567"
    );
    assert!(tree.discovery_requirement().required);
    // Written because rtslib writes every key, and not because anybody meant it; this one somebody did.
    let settings = group.settings(None);
    assert_eq!(settings.max_recv_data_segment_length, 262_144);
    assert_eq!(settings.max_burst_length, 1_048_576);
    assert!(!settings.immediate_data);
    let second = group.acls.values().nth(1).expect("another");
    let seen: Vec<(u16, u16, bool)> = crate::visible_luns(group, Some(second))
        .iter()
        .map(|lun| (lun.number.0, lun.lun.0, lun.write_protect))
        .collect();
    assert_eq!(seen, [(0, 0, false), (1, 1, false), (7, 5, true)]);
    let disk = tree.resolve("file/disk1").expect("a disk");
    assert_eq!(disk.serial(), Some("5b556b8e-6394-481e-9f90-d68ec9cadd54"));
    assert!(disk.write_cache() && !tree.resolve("disk2").expect("a disk").write_cache());
    assert!(tree.resolve("block/blk1").expect("a disk").write_cache());
    assert_eq!(disk.inquiry_text("vendor"), "LIO-ORG");
    assert_eq!(disk.inquiry_text("product"), "disk1");
}

#[test]
fn debian_12_file_leaves_out_what_is_not_served_and_says_so() {
    let desired = read(DEBIAN_12);
    let warnings = desired.warnings.join("\n");
    for part in [
        "line 65: storage object remote: the plugin user has no counterpart here",
        "netif_timeout is not known here",
        "LUN 1 of iqn.2003-01.org.linux-iscsi.nunki.aarch64:sn.75fcaf1cfc33 is left out",
        "a target of the fabric vhost is left out",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    assert_eq!(desired.warnings.len(), 4, "{warnings}");
    let tree = tree_of(&desired);
    let (_, group) = tree.groups().next().expect("a group");
    assert!(group.generate_node_acls() && !group.demo_mode_write_protect());
    assert_eq!(group.settings(None).header_digest, crate::Digests::Crc32c);
    assert_eq!(group.settings(None).default_time2wait, 4);
    let written: Json = serde_json::from_str(&write(&tree, true)).expect("JSON");
    let parameters = &written["targets"][0]["tpgs"][0]["parameters"];
    assert_eq!(parameters["ErrorRecoveryLevel"], "2");
    assert_eq!(parameters["MaxConnections"], "2");
}

#[test]
fn old_file_is_read_with_what_it_leaves_to_defaults() {
    let desired = read(OLD);
    let warnings = desired.warnings.join("\n");
    for part in [
        "only the fabric iscsi",
        "fabric_max_sectors",
        "999936 are served",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    let tree = tree_of(&desired);
    let block = tree.resolve("block/block02").expect("a device");
    assert!(block.read_only() && block.write_cache());
    let odd = tree.resolve("file/odd").expect("a file");
    assert_eq!((odd.size_bytes(), odd.write_cache()), (Some(999_936), true));
    assert_eq!(
        tree.resolve("null/ram0").and_then(|ram| ram.size_bytes()),
        Some(8 << 20)
    );
    let groups: Vec<_> = tree.groups().collect();
    assert_eq!(groups[0].0.alias(), Some("storage"));
    assert!(groups.iter().all(|(_, group)| group.enabled()));
    // Nobody said that it is open.
    assert!(
        groups
            .iter()
            .all(|(_, group)| tree.requirement(group, None).required)
    );
    let addresses: Vec<String> = tree.portal_addresses().map(|at| at.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.20:3260", "[2001:db8::20]:3261"]);
    let again = tree_of(&read(&write(&tree, true)));
    assert_eq!(again.changes_to(&desired.changes), []);
}

#[test]
fn file_with_mistakes_tells_each_at_its_line() {
    let text = r#"{
 "storage_objects": [
  {"name": "a b", "plugin": "fileio"},
  {"name": "c", "plugin": "fileio"},
  {"name": "d", "plugin": "ramdisk", "size": "big"}],
 "targets": [{"fabric": "iscsi", "wwn": "iqn.2026-01.org.example:t", "tpgs": [
  {"tag": 1, "enable": "perhaps",
   "attributes": {"login_timeout": 99},
   "parameters": {"InitialR2T": "Maybe"},
   "luns": [{"index": 0, "storage_object": "/backstores/fileio/nothing"},
            {"index": 1}],
   "portals": [{"ip_address": "somewhere", "port": 99999}],
   "node_acls": [{"node_wwn": "nonsense!"},
    {"node_wwn": "iqn.2026-01.org.example:h", "mapped_luns": [
      {"index": 0, "tpg_lun": 0}, {"index": 1, "tpg_lun": 5}, {"index": 2}]}]}]}]}"#;
    let errors = parse(text).expect_err("mistakes");
    let lines: Vec<u32> = errors.iter().filter_map(|error| error.line).collect();
    assert_eq!(
        lines,
        [3, 4, 5, 7, 8, 9, 10, 11, 12, 12, 13, 15, 15],
        "{errors:#?}"
    );
    assert!(errors.iter().all(|error| !error.hint.is_empty()));
    assert_eq!(
        parse("{\n \"targets\": [}").expect_err("no JSON")[0].line,
        Some(2)
    );
    assert_eq!(parse("{\"targets\": 5}").expect_err("no list").len(), 1);
}

#[test]
fn file_without_secrets_keeps_what_is_there() {
    let tree = tree_of(&read(NEWEST));
    let text = write(&tree, false);
    for secret in [
        "secret12345678",
        "msecret1234567",
        "tpgsecret12345",
        "dsecret1234567",
    ] {
        assert!(!text.contains(secret));
    }
    assert_eq!(tree.changes_to(&read(&text).changes), []);
}

#[test]
fn written_acl_of_every_lun_maps_each() {
    let tree = crate::testing::tree_of(&[
        "create /backstores/ram/a size=1MiB",
        "create /backstores/null/a size=1MiB",
        "create /targets/iqn.2026-11.org.example:t",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/luns/0 backstore=ram/a",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/luns/3 backstore=null/a write_protect=1",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h",
    ]);
    let text = write(&tree, true);
    let again = tree_of(&read(&text));
    let seen = |tree: &Tree| -> Vec<(u16, bool)> {
        let (_, group) = tree.groups().next().expect("a group");
        let acl = group.acls.values().next().map(AsRef::as_ref);
        let luns = crate::visible_luns(group, acl);
        luns.iter()
            .map(|lun| (lun.number.0, lun.write_protect))
            .collect()
    };
    assert_eq!(seen(&again), seen(&tree));
    assert!(again.resolve("null/a-null").is_some());
}

#[test]
fn imported_file_as_toml_leads_to_the_same_tree() {
    for text in [NEWEST, DEBIAN_12, OLD] {
        let tree = tree_of(&read(text));
        let toml = crate::desired::to_toml(&tree, true);
        let desired = crate::desired::parse_toml(&toml, Path::new("/")).expect("legal");
        assert_eq!(tree.changes_to(&desired.changes), [], "{toml}");
        // What nobody set is not in it.
        assert!(
            !toml.contains("MaxRecvDataSegmentLength") && !toml.contains("dataout_timeout = 3")
        );
    }
}

proptest! {
    /// Any one value of a file made another: nothing panics, and what is refused has a line.
    #[test]
    fn read_of_a_file_with_any_value_changed_never_panics(
        pick in 0..2_000_usize,
        value in prop::sample::select(vec!["null", "true", "-1", "70000", "\"\"", "\"x\"", "[]", "{}", "[null]", "1.5"]),
    ) {
        let mut json: Json = serde_json::from_str(OLD).expect("JSON");
        let count = count(&json);
        replace(&mut json, &mut (pick % count), &serde_json::from_str(value).expect("JSON"));
        let text = serde_json::to_string_pretty(&json).expect("JSON");
        match parse(&text) {
            Ok(desired) => prop_assert!(Tree::default().plan(&desired.changes).is_ok()),
            Err(errors) => prop_assert!(errors.iter().all(|error: &FileError| error.line.is_some())),
        }
    }
}

fn count(json: &Json) -> usize {
    let below: usize = match json {
        Json::Array(items) => items.iter().map(count).sum(),
        Json::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    };
    below + 1
}

/// Puts `with` in the place of the value at `index`, in the order of reading.
fn replace(json: &mut Json, index: &mut usize, with: &Json) -> bool {
    if *index == 0 {
        *json = with.clone();
        return true;
    }
    *index -= 1;
    match json {
        Json::Array(items) => items.iter_mut().any(|item| replace(item, index, with)),
        Json::Object(entries) => entries.values_mut().any(|item| replace(item, index, with)),
        _ => false,
    }
}

#[test]
fn changes_of_a_file_are_all_creations() {
    let desired = read(NEWEST);
    assert!(
        desired
            .changes
            .iter()
            .all(|change| matches!(change, Change::Create { .. }))
    );
    assert!(desired.secrets.is_empty());
}

const TARGET: &str = "/targets/iqn.2026-11.org.example:t";

/// Objects of both columns of defaults, and with what the format has no word for.
fn of_both_columns() -> Tree {
    let group = format!("{TARGET}/tpgs/1");
    let acl = |number: u8| format!("create {group}/acls/iqn.2026-11.org.example:h{number}");
    crate::testing::tree_of(&[
        "set / drain_timeout_s=33".to_owned(),
        "set /discovery chap.user=d chap.secret=discovery-secret".to_owned(),
        "create /backstores/file/ours path=/srv/a size=1MiB vendor=ACME direct=1 read_only=1"
            .to_owned(),
        "create /backstores/block/device path=/dev/sdx".to_owned(),
        "create /backstores/ram/thick size=1MiB thin=0 attrib.emulate_caw=0".to_owned(),
        "create /backstores/null/theirs size=1MiB defaults=lio".to_owned(),
        format!("create {TARGET} alias=one"),
        format!("create {group} param.MaxBurstLength=65536 attrib.login_timeout=30"),
        format!("create {group}/portals/127.0.0.1:3260 advertise=san.example.org:3260"),
        format!("create {group}/luns/0 backstore=file/ours"),
        format!("create {group}/luns/1 backstore=ram/thick write_protect=1"),
        format!(
            "{} chap.user=u chap.secret=secret-of-host-1 cmdsn_depth=17",
            acl(1)
        ),
        acl(2),
        format!("create {group}/acls/iqn.2026-11.org.example:h2/luns/5 lun=1"),
        format!("create {TARGET}/tpgs/2 defaults=lio"),
        format!("create {TARGET}/tpgs/2/luns/0 backstore=null/theirs"),
        format!("create {TARGET}/tpgs/2/acls/iqn.2026-11.org.example:h1"),
    ])
}

/// What a file changes in a tree, as names.
fn changed(tree: &Tree, text: &str) -> Vec<String> {
    let desired = read(text);
    let plan = tree
        .plan(&desired.changes_for(tree))
        .expect("it can be planned");
    let name = |touched: &crate::Touched| format!("{} {:?}", touched.path, touched.changed());
    plan.touched.iter().map(name).collect()
}

#[test]
fn file_written_from_a_tree_changes_nothing_in_it() {
    let tree = of_both_columns();
    for with_secrets in [false, true] {
        let text = write(&tree, with_secrets);
        assert_eq!(changed(&tree, &text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn file_applied_in_place_changes_what_it_says_and_leaves_what_it_cannot_say() {
    let tree = of_both_columns();
    let text = write(&tree, true);
    let group = format!("{TARGET}/tpgs/1");
    for (from, to, expected) in [
        (
            "\"login_timeout\": 30",
            "\"login_timeout\": 15",
            vec![format!("{group} {{\"attrib.login_timeout\"}}")],
        ),
        // LIO's own defaults: a key of the RFC means ours, anything else what it says.
        (
            "\"MaxBurstLength\": \"65536\"",
            "\"MaxBurstLength\": \"262144\"",
            vec![format!("{group} {{\"param.MaxBurstLength\"}}")],
        ),
        (
            "\"default_cmdsn_depth\": 128",
            "\"default_cmdsn_depth\": 64",
            vec![format!("{group} {{\"attrib.default_cmdsn_depth\"}}")],
        ),
        (
            "\"emulate_tpu\": 0",
            "\"emulate_tpu\": 1",
            // Fixed when the object is made: the file is refused.
            Vec::new(),
        ),
    ] {
        assert!(text.contains(from), "{from} is not in the file: {text}");
        let edited = text.replacen(from, to, 1);
        let desired = read(&edited);
        match tree.plan(&desired.changes_for(&tree)) {
            Ok(_) => assert_eq!(changed(&tree, &edited), expected, "{to}"),
            Err(mistakes) => {
                assert_eq!(expected, Vec::<String>::new(), "{to}: {mistakes:?}");
                assert!(mistakes[0].error.reason.contains("fixed"), "{mistakes:?}");
            }
        }
    }
    let plan = tree.plan(
        &read(&text.replacen("\"login_timeout\": 30", "\"login_timeout\": 15", 1))
            .changes_for(&tree),
    );
    let after = plan.expect("it can be planned").tree;
    assert_eq!(
        after.daemon_setting("drain_timeout_s"),
        tree.daemon_setting("drain_timeout_s")
    );
}

#[test]
fn mapped_luns_of_a_file_end_showing_every_lun_only_where_they_differ() {
    let tree = of_both_columns();
    let acl = format!("{TARGET}/tpgs/1/acls/iqn.2026-11.org.example:h1");
    let mut json: Json = serde_json::from_str(&write(&tree, true)).expect("JSON");
    let mapped = &mut json["targets"][0]["tpgs"][0]["node_acls"][0]["mapped_luns"];
    assert_eq!(mapped.as_array().map(Vec::len), Some(2));
    mapped.as_array_mut().expect("a list").pop();
    let changes = changed(&tree, &json.to_string());
    assert_eq!(
        changes,
        [
            format!("{acl} {{\"default_luns\"}}"),
            format!("{acl}/luns/0 {{\"lun\"}}"),
        ]
    );
    // An initiator that only the file names sees what it maps, and no more.
    let acls = json["targets"][0]["tpgs"][0]["node_acls"]
        .as_array_mut()
        .expect("a list");
    acls.push(serde_json::json!({"node_wwn": "iqn.2026-11.org.example:h3", "mapped_luns": []}));
    let desired = read(&json.to_string());
    let plan = tree
        .plan(&desired.changes_for(&tree))
        .expect("it can be planned");
    let name = crate::testing::name;
    let target = name("iqn.2026-11.org.example:t");
    let group = plan.tree.group(&target, 1).expect("it is there");
    let acl = plan
        .tree
        .acl(&target, 1, &name("iqn.2026-11.org.example:h3"));
    assert!(!group.shows_every_lun(acl.expect("it was made")));
}

#[test]
fn cdrom_is_written_under_a_plugin_of_its_own_and_read_again() {
    let before = crate::testing::tree_of(&[
        "create /backstores/file/cd path=/a.iso device_type=cdrom ejected=true",
        "create /backstores/block/dvd path=/dev/sr9 device_type=cdrom",
        "create /targets/iqn.2026-11.org.example:t",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/luns/0 backstore=file/cd",
    ]);
    let desired = read(&write(&before, true));
    assert_eq!(desired.warnings, [] as [&str; 0]);
    let after = tree_of(&desired);
    for name in ["file/cd", "block/dvd"] {
        let (was, is) = (before.resolve(name).unwrap(), after.resolve(name).unwrap());
        assert!(is.is_cdrom());
        assert_eq!(is.is_ejected(), was.is_ejected());
        assert_eq!(is.backing(), was.backing());
    }
    let (_, group) = after.groups().next().unwrap();
    assert_eq!(group.luns.len(), 1);
}
