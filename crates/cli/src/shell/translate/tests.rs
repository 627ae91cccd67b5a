//! What a command of targetcli's asks for, case by case.

use control_api::Object;
use serde_json::json;

use super::*;
use crate::shell::commands::{create_parameters, delete_parameters, is_command};
use crate::shell::grammar::parse;

const T: &str = "/targets/iqn.2026-11.org.example:t";

fn probe(file: &Path) -> FileFact {
    match file.to_str() {
        Some("/srv/old.img") => FileFact::Regular,
        Some("/dev/sdb") => FileFact::BlockDevice,
        Some("/srv") => FileFact::Other,
        _ => FileFact::Absent,
    }
}

fn bind(path: &str, text: &str) -> Result<Bound> {
    let line = parse(text, is_command)?.expect("a line");
    let parameters = match line.command.as_deref() {
        Some("create") => create_parameters(path),
        _ => delete_parameters(path),
    };
    Bound::bind("it", parameters.expect("by name"), &line)
}

fn translated(path: &str, text: &str, tree: &Snapshot, preferences: &Preferences) -> Result<Wish> {
    let setting = Setting {
        folder: Path::new("/srv/here"),
        probe: &probe,
        new_target: &|| "iqn.2026-11.org.example:made".to_owned(),
        preferences,
    };
    create(path, &bind(path, text)?, tree, &setting)
}

/// The changes that a `create` asks for, as `PATH {attributes}`.
fn asked(path: &str, text: &str, tree: &Snapshot) -> Vec<String> {
    let wish = translated(path, text, tree, &Preferences::default());
    shown(&wish.unwrap_or_else(|error| panic!("{text}: {error:#}")))
}

fn shown(wish: &Wish) -> Vec<String> {
    let show = |change: &Change| match change {
        Change::Create { path, attributes } => format!("{path} {}", json!(attributes)),
        Change::Set { path, attributes } => format!("set {path} {}", json!(attributes)),
        Change::Delete { path, cascade } => format!("delete {path} {cascade}"),
    };
    wish.changes.iter().map(show).collect()
}

fn object(path: &str, attributes: Value, children: Vec<Object>) -> Object {
    let attributes: AttributeMap = serde_json::from_value(attributes).unwrap();
    Object {
        path: path.to_owned(),
        set: attributes.keys().cloned().collect(),
        attributes,
        child_count: children.len(),
        children,
        ..Object::default()
    }
}

/// A group with LUNs 0 and 2, and these ACLs.
fn group(defaults: &str, acls: Vec<Object>) -> Snapshot {
    let at = |path: &str| format!("{T}/tpgs/1{path}");
    let lun = |number: u32, store: &str| {
        object(
            &at(&format!("/luns/{number}")),
            json!({"backstore": store}),
            Vec::new(),
        )
    };
    let luns = vec![lun(0, "file/a"), lun(2, "block/sdx")];
    let portals = vec![object(&at("/portals/10.0.0.1:3260"), json!({}), Vec::new())];
    let children = vec![
        object(&at("/portals"), json!({}), portals),
        object(&at("/luns"), json!({}), luns),
        object(&at("/acls"), json!({}), acls),
    ];
    Snapshot {
        objects: vec![object(&at(""), json!({"defaults": defaults}), children)],
    }
}

fn acl(name: &str, attributes: Value, mapped: &[(u64, u64)]) -> Object {
    let path = format!("{T}/tpgs/1/acls/{name}");
    let mapping = |(at, lun): &(u64, u64)| {
        object(
            &format!("{path}/luns/{at}"),
            json!({"lun": lun, "write_protect": false}),
            Vec::new(),
        )
    };
    let luns = object(
        &format!("{path}/luns"),
        json!({}),
        mapped.iter().map(mapping).collect(),
    );
    object(&path, attributes, vec![luns])
}

#[test]
fn create_backstores_as_targetcli_takes_them() {
    let none = Snapshot::default();
    let alias = r#""attrib.emulate_model_alias":true,"defaults":"lio""#;
    let table = [
        (
            "/backstores/file",
            "create disk0 disk0.img 1G",
            format!(
                r#"/backstores/file/disk0 {{{alias},"path":"/srv/here/disk0.img","size":"1G"}}"#
            ),
        ),
        (
            "/backstores/file",
            "create name=d file_or_dev=/srv/new size=10GiB write_back=false wwn=abc block_size=4096",
            r#"/backstores/file/d {"attrib.emulate_model_alias":true,"block_size":"4096","defaults":"lio","path":"/srv/new","serial":"abc","size":"10GiB","write_cache":false}"#.to_owned(),
        ),
        (
            "/backstores/file",
            "create old /srv/old.img 1G",
            format!(r#"/backstores/file/old {{{alias},"path":"/srv/old.img"}}"#),
        ),
        (
            "/backstores/block",
            "create b /dev/sdb readonly=true",
            format!(r#"/backstores/block/b {{{alias},"path":"/dev/sdb","read_only":true}}"#),
        ),
        (
            "/backstores/ram",
            "create r 512M",
            format!(r#"/backstores/ram/r {{{alias},"size":"512M"}}"#),
        ),
        (
            "/backstores/ram",
            "create r 512M nullio=true",
            format!(r#"/backstores/null/r {{{alias},"size":"512M"}}"#),
        ),
        (
            "/backstores/file/a/alua",
            "create gp1 16",
            r#"/backstores/file/a/alua/gp1 {"tg_pt_gp_id":"16"}"#.to_owned(),
        ),
    ];
    for (path, text, change) in table {
        assert_eq!(asked(path, text, &none), [change], "{text}");
    }
}

#[test]
fn create_backstore_that_cannot_be_is_refused() {
    let table = [
        ("create d /srv/new", "give its size"),
        ("create d /srv 1G", "neither a file nor a block device"),
        ("create d /srv/new 1G perhaps", "true or false"),
        ("create '' /srv/new 1G", "it is empty"),
    ];
    for (text, what) in table {
        let wish = translated(
            "/backstores/file",
            text,
            &Snapshot::default(),
            &Preferences::default(),
        );
        let error = wish.unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn create_target_makes_a_group_with_a_portal_as_targetcli_does() {
    let none = Snapshot::default();
    assert_eq!(
        asked("/targets", "create IQN.2026-11.org.Example:T", &none),
        [
            format!("{T} {{}}"),
            format!(r#"{T}/tpgs/1 {{"authentication":"none","defaults":"lio","enabled":true}}"#),
            format!("{T}/tpgs/1/portals/0.0.0.0:3260 {{}}"),
        ]
    );
    let made = asked("/targets", "create", &none);
    assert_eq!(made[0], "/targets/iqn.2026-11.org.example:made {}");

    let mut preferences = Preferences::default();
    preferences.set("auto_enable_tpgt", "false").unwrap();
    preferences.set("auto_add_default_portal", "false").unwrap();
    preferences.set("defaults", "quintain").unwrap();
    let wish = translated(
        "/targets",
        "create iqn.2026-11.org.example:t alias=x",
        &none,
        &preferences,
    );
    assert_eq!(
        shown(&wish.unwrap()),
        [
            format!(r#"{T} {{"alias":"x"}}"#),
            format!(r#"{T}/tpgs/1 {{"enabled":false}}"#)
        ]
    );
}

#[test]
fn create_group_takes_the_next_tag_and_a_portal_only_where_there_is_room() {
    let tpgs = |groups: Vec<Object>| Snapshot {
        objects: vec![object(
            T,
            json!({}),
            vec![object(&format!("{T}/tpgs"), json!({}), groups)],
        )],
    };
    let attributes = r#"{"authentication":"none","defaults":"lio","enabled":true}"#;
    let alone = tpgs(vec![object(&format!("{T}/tpgs/1"), json!({}), Vec::new())]);
    let expected = [
        format!("{T}/tpgs/2 {attributes}"),
        format!("{T}/tpgs/2/portals/0.0.0.0:3260 {{}}"),
    ];
    assert_eq!(asked(T, "create", &alone), expected);
    for text in ["create 2", "create tpg2", "create tag=2"] {
        assert_eq!(
            asked(&format!("{T}/tpgs"), text, &alone),
            expected,
            "{text}"
        );
    }
    let beside = tpgs(group("lio", Vec::new()).objects);
    let wish = translated(T, "create 7", &beside, &Preferences::default()).unwrap();
    assert_eq!(shown(&wish), [format!("{T}/tpgs/7 {attributes}")]);
    assert_eq!(wish.notes.len(), 1, "it says that there is no portal");
    let error = translated(T, "create first", &alone, &Preferences::default()).unwrap_err();
    assert!(error.to_string().contains("1 to 65535"), "{error}");
}

#[test]
fn create_portal_of_any_spelling_is_an_address_and_a_port() {
    let path = format!("{T}/tpgs/1/portals");
    let table = [
        ("create", "0.0.0.0:3260"),
        ("create 10.0.0.1", "10.0.0.1:3260"),
        ("create 10.0.0.1 3261", "10.0.0.1:3261"),
        ("create 10.0.0.1:3262", "10.0.0.1:3262"),
        ("create ip_port=3263", "0.0.0.0:3263"),
        ("create ::0 3260", "[::]:3260"),
        ("create [fe80::1] 3260", "[fe80::1]:3260"),
        ("create fe80::1", "[fe80::1]:3260"),
    ];
    for (text, name) in table {
        assert_eq!(
            asked(&path, text, &Snapshot::default()),
            [format!("{path}/{name} {{}}")],
            "{text}"
        );
    }
    for (text, what) in [
        ("create san.example.org", "no IP address"),
        ("create 10.0.0.1 http", "no TCP port"),
        ("create 10.0.0.1 65536", "no TCP port"),
    ] {
        let wish = translated(&path, text, &Snapshot::default(), &Preferences::default());
        assert!(wish.unwrap_err().to_string().contains(what), "{text}");
    }
}

#[test]
fn create_lun_maps_it_for_the_acls_that_have_luns_of_their_own() {
    let acls = || {
        vec![
            acl("iqn.a:all", json!({"default_luns": true}), &[]),
            acl("iqn.a:none", json!({"default_luns": false}), &[]),
            acl(
                "iqn.a:zero",
                json!({"default_luns": true}),
                &[(0, 0), (1, 2)],
            ),
        ]
    };
    let tree = group("lio", acls());
    let path = format!("{T}/tpgs/1/luns");
    let mapped = |acl: &str, at: u64, lun: u64| {
        format!(r#"{T}/tpgs/1/acls/{acl}/luns/{at} {{"lun":{lun}}}"#)
    };
    assert_eq!(
        asked(&path, "create /backstores/fileio/b", &tree),
        [
            format!(r#"{path}/1 {{"backstore":"file/b"}}"#),
            mapped("iqn.a:none", 0, 1),
            mapped("iqn.a:zero", 2, 1),
        ]
    );
    assert_eq!(
        asked(&path, "create /backstores/file/b lun5", &tree),
        [
            format!(r#"{path}/5 {{"backstore":"file/b"}}"#),
            mapped("iqn.a:none", 5, 5),
            mapped("iqn.a:zero", 5, 5),
        ]
    );
    let bare = [format!(r#"{path}/1 {{"backstore":"file/b"}}"#)];
    for text in [
        "create file/b add_mapped_luns=false",
        "create fileio/b 1 false",
        "create backstores/fileio/b lun=1 add_mapped_luns=no",
    ] {
        assert_eq!(asked(&path, text, &tree), bare, "{text}");
    }
    for text in ["create file/a", "create a", "create /backstores/fileio/a"] {
        let wish = translated(&path, text, &tree, &Preferences::default());
        assert!(wish.unwrap_err().to_string().contains("LUN 0"), "{text}");
    }
}

#[test]
fn create_lun_of_a_file_or_device_makes_its_backstore_first() {
    let tree = group("lio", Vec::new());
    let path = format!("{T}/tpgs/1/luns");
    assert_eq!(
        asked(&path, "create /srv/old.img", &tree),
        [
            r#"/backstores/file/old.img {"attrib.emulate_model_alias":true,"defaults":"lio","path":"/srv/old.img"}"#.to_owned(),
            format!(r#"{path}/1 {{"backstore":"file/old.img"}}"#),
        ]
    );
    assert!(asked(&path, "create /dev/sdb", &tree)[0].starts_with("/backstores/block/sdb "));
    let wish = translated(
        &path,
        "create /srv/none.img",
        &tree,
        &Preferences::default(),
    );
    assert!(
        wish.unwrap_err()
            .to_string()
            .contains("neither a backstore nor a file")
    );
}

#[test]
fn create_acl_maps_every_lun_where_lios_defaults_hold() {
    let path = format!("{T}/tpgs/1/acls");
    let host = format!("{path}/iqn.1993-08.org.debian:01");
    let (lio, ours) = (group("lio", Vec::new()), group("quintain", Vec::new()));
    let text = "create iqn.1993-08.org.Debian:01";
    let no = "create wwn=iqn.1993-08.org.debian:01 add_mapped_luns=false";
    assert_eq!(
        asked(&path, text, &lio),
        [
            format!("{host} {{}}"),
            format!(r#"{host}/luns/0 {{"lun":0}}"#),
            format!(r#"{host}/luns/2 {{"lun":2}}"#),
        ]
    );
    assert_eq!(asked(&path, no, &lio), [format!("{host} {{}}")]);
    assert_eq!(asked(&path, text, &ours), [format!("{host} {{}}")]);
    assert_eq!(
        asked(&path, no, &ours),
        [format!(r#"{host} {{"default_luns":false}}"#)]
    );
}

#[test]
fn create_mapped_lun_of_a_lun_or_of_a_backstore() {
    let tree = group("lio", vec![acl("iqn.a:b", json!({}), &[(0, 0)])]);
    let path = format!("{T}/tpgs/1/acls/iqn.a:b");
    let mapped = |at: u64, lun: u64| format!(r#"{path}/luns/{at} {{"lun":{lun}}}"#);
    let table = [
        ("create 1 2", vec![mapped(1, 2)]),
        ("create mapped_lun1 lun2", vec![mapped(1, 2)]),
        ("create 1 /backstores/block/sdx", vec![mapped(1, 2)]),
        (
            "create mapped_lun=1 tpg_lun_or_backstore=2 write_protect=1",
            vec![format!(r#"{path}/luns/1 {{"lun":2,"write_protect":true}}"#)],
        ),
        (
            "create 3 /backstores/fileio/new",
            vec![
                format!(r#"{T}/tpgs/1/luns/1 {{"backstore":"file/new"}}"#),
                mapped(3, 1),
            ],
        ),
    ];
    for (text, changes) in table {
        assert_eq!(asked(&path, text, &tree), changes, "{text}");
        assert_eq!(
            asked(&format!("{path}/luns"), text, &tree),
            changes,
            "{text}"
        );
    }
    let wish = translated(&path, "create 4 0", &tree, &Preferences::default()).unwrap();
    assert!(wish.notes[0].contains("mapped for this initiator already, as 0"));
    let wish = translated(&path, "create first 0", &tree, &Preferences::default());
    assert!(wish.unwrap_err().to_string().contains("0 to 16383"));
}

#[test]
fn deleted_by_name_is_the_path_of_what_goes() {
    let tpg = format!("{T}/tpgs/1");
    let table = [
        (
            "/backstores/file".to_owned(),
            "delete disk0",
            "/backstores/file/disk0".to_owned(),
        ),
        (
            "/targets".to_owned(),
            "delete iqn.2026-11.org.Example:t",
            T.to_owned(),
        ),
        (T.to_owned(), "delete tpg1", tpg.clone()),
        (T.to_owned(), "delete 1", tpg.clone()),
        (
            format!("{tpg}/luns"),
            "delete lun=lun3",
            format!("{tpg}/luns/3"),
        ),
        (
            format!("{tpg}/acls"),
            "delete iqn.A:b",
            format!("{tpg}/acls/iqn.a:b"),
        ),
        (
            format!("{tpg}/acls/iqn.a:b"),
            "delete 0",
            format!("{tpg}/acls/iqn.a:b/luns/0"),
        ),
        (
            format!("{tpg}/acls/iqn.a:b/luns"),
            "delete mapped_lun0",
            format!("{tpg}/acls/iqn.a:b/luns/0"),
        ),
        (
            format!("{tpg}/portals"),
            "delete 10.0.0.1 3260",
            format!("{tpg}/portals/10.0.0.1:3260"),
        ),
        (
            format!("{tpg}/portals"),
            "delete [::0]:3260",
            format!("{tpg}/portals/[::]:3260"),
        ),
    ];
    for (path, text, gone) in table {
        assert_eq!(
            deleted(&path, &bind(&path, text).unwrap()).unwrap(),
            gone,
            "{text}"
        );
    }
    // Never something else than what stands there.
    for name in ["..", ".", "a/b", "/"] {
        let bound = bind("/backstores/file", &format!("delete {name}")).unwrap();
        assert!(deleted("/backstores/file", &bound).is_err(), "{name}");
    }
}

#[test]
fn set_groups_of_targetcli_are_our_attributes() {
    let tpg = format!("{T}/tpgs/1");
    let acl = format!("{tpg}/acls/iqn.a:b");
    let table = [
        (
            &*tpg,
            Group::Attribute,
            ("authentication", "1"),
            r#"{"authentication":"chap"}"#,
        ),
        (
            &*tpg,
            Group::Attribute,
            ("generate_node_acls", "1"),
            r#"{"generate_node_acls":"1"}"#,
        ),
        (
            &*tpg,
            Group::Attribute,
            ("login_timeout", "20"),
            r#"{"attrib.login_timeout":"20"}"#,
        ),
        (
            &*tpg,
            Group::Attribute,
            ("colour", "red"),
            r#"{"attrib.colour":"red"}"#,
        ),
        (
            &*tpg,
            Group::Parameter,
            ("MaxBurstLength", "65536"),
            r#"{"param.MaxBurstLength":"65536"}"#,
        ),
        (
            &*tpg,
            Group::Parameter,
            ("HeaderDigest", "CRC32C, None"),
            r#"{"param.HeaderDigest":"CRC32C,None"}"#,
        ),
        (&*tpg, Group::Auth, ("userid", "u"), r#"{"chap.user":"u"}"#),
        (
            &*acl,
            Group::Auth,
            ("mutual_password", "p"),
            r#"{"mutual_chap.secret":"p"}"#,
        ),
        (
            &*acl,
            Group::Auth,
            ("password", ""),
            r#"{"chap.secret":null}"#,
        ),
        (
            &*acl,
            Group::Attribute,
            ("dataout_timeout", "3"),
            r#"{"attrib.dataout_timeout":"3"}"#,
        ),
        (
            "/backstores/file/a",
            Group::Attribute,
            ("emulate_write_cache", "0"),
            r#"{"write_cache":"0"}"#,
        ),
        (
            "/backstores/file/a",
            Group::Attribute,
            ("emulate_tpu", "1"),
            r#"{"thin":"1"}"#,
        ),
        (
            "/backstores/file/a/alua/g",
            Group::Alua,
            ("preferred", "1"),
            r#"{"preferred":"1"}"#,
        ),
        (
            &*format!("{tpg}/luns/0"),
            Group::Alua,
            ("alua_tg_pt_gp_name", "g"),
            r#"{"alua_group":"g"}"#,
        ),
        (
            "/targets",
            Group::DiscoveryAuth,
            ("enable", "1"),
            r#"{"enforce":"1"}"#,
        ),
        (
            "/targets",
            Group::DiscoveryAuth,
            ("mutual_userid", "m"),
            r#"{"mutual_chap.user":"m"}"#,
        ),
    ]
    .map(|(path, group, named, attributes)| (path.to_owned(), group, named, attributes));
    for (path, group, (name, value), attributes) in table {
        let named = [(name.to_owned(), value.to_owned())];
        let changes = set(&path, group, &named).unwrap();
        let object = group.object(&path);
        let wanted = Change::Set {
            path: object,
            attributes: serde_json::from_str(attributes).unwrap(),
        };
        assert_eq!(changes, [wanted], "{name}");
    }
    for group in [Group::Auth, Group::DiscoveryAuth] {
        let error = set("/targets", group, &[("user".to_owned(), "x".to_owned())]).unwrap_err();
        assert!(error.to_string().contains("userid, password"), "{error}");
    }
    let alias = [("TargetAlias".to_owned(), "x".to_owned())];
    let changes = set(&tpg, Group::Parameter, &alias).unwrap();
    assert_eq!(changes[0].path(), T);
}

#[test]
fn tag_that_has_members_gives_the_new_ones_its_luns_and_settings() {
    let tree = group(
        "lio",
        vec![
            acl(
                "iqn.a:model",
                json!({"tag": "web", "param.InitialR2T": "No", "chap.user": "u"}),
                &[(5, 2)],
            ),
            acl("iqn.a:new", json!({"attrib.default_erl": 2}), &[(0, 0)]),
        ],
    );
    let acls = format!("{T}/tpgs/1/acls");
    let wish = tag(&acls, "iqn.a:new", "web", &tree).unwrap();
    assert_eq!(
        shown(&wish),
        [
            format!("delete {acls}/iqn.a:new/luns/0 true"),
            format!(r#"{acls}/iqn.a:new/luns/5 {{"lun":2,"write_protect":false}}"#),
            format!(
                r#"set {acls}/iqn.a:new {{"attrib.default_erl":null,"param.InitialR2T":"No","tag":"web"}}"#
            ),
        ]
    );
    assert!(
        wish.notes[0].contains("keeps its own CHAP"),
        "{:?}",
        wish.notes
    );
    let wish = tag(&acls, "iqn.a:new", "fresh", &tree).unwrap();
    assert_eq!(
        shown(&wish),
        [format!(r#"set {acls}/iqn.a:new {{"tag":"fresh"}}"#)]
    );
    let wish = untag(&acls, "web", &tree).unwrap();
    assert_eq!(
        shown(&wish),
        [format!(r#"set {acls}/iqn.a:model {{"tag":null}}"#)]
    );
    for (name, new_tag) in [
        ("iqn.a:none", "web"),
        ("iqn.a:new", "a.b"),
        ("iqn.a:new", ""),
    ] {
        assert!(
            tag(&acls, name, new_tag, &tree).is_err(),
            "{name} {new_tag}"
        );
    }
    assert!(untag(&acls, "none", &tree).is_err());
}
