use std::fmt::Write as _;
use std::path::Path;

use auth::Secret;
use proptest::prelude::*;

use super::*;
use crate::testing::{plan, tree_of};
use crate::{Change, ConfigCode, Tree};

/// The file that the reference shows, with everything in it.
const EXAMPLE: &str = r#"
[[target]]
name = "iqn.2026-11.org.example:vm1"

[[target.tpg]]
portals = ["127.0.0.1:3260", { address = "[::1]:3260", advertise = "san.example.org:3260" }]
luns = [ { lun = 0, backstore = "vm1" }, { lun = 1, backstore = "ram/r", write_protect = true } ]
param = { MaxRecvDataSegmentLength = 65536, InitialR2T = "Yes" }
attrib = { default_cmdsn_depth = 64, login_timeout = 20 }

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:host1"
chap = { user = "host1", secret_file = "host1.secret" }
mutual_chap = { user = "target1", secret = "another-secret-here" }
luns = [ { mapped_lun = 7, lun = 0, write_protect = true }, { lun = 1 } ]

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:host2"

[[target.tpg]]
tag = 2
defaults = "lio"
enabled = false

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:host3"

[[backstore]]
name = "vm1"
type = "file"
path = "vm1.img"
size = "10GiB"
write_cache = false
attrib = { emulate_model_alias = true }

[[backstore.alua]]
name = "gp"
tg_pt_gp_id = 3

[[backstore]]
name = "r"
type = "ram"
size = 1048576

[discovery]
chap = { user = "d", secret = "discovery-secret" }

[daemon]
drain_timeout_s = 3
"#;

/// The objects and attributes of changes, secrets by their length.
fn shown(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{change:?}")).collect()
}

fn planned(desired: &Desired) -> Tree {
    let plan = Tree::default().plan(&desired.changes);
    plan.map_err(|mistakes| desired.locate(mistakes))
        .expect("it can be planned")
        .tree
}

fn read(text: &str) -> Desired {
    parse_toml(text, Path::new("/etc/quintain")).expect("a legal file")
}

/// Mistakes as `line:column reason`.
fn mistakes(text: &str) -> Vec<String> {
    let errors = parse_toml(text, Path::new("/")).expect_err("mistakes");
    let line = |error: &FileError| {
        assert!(!error.hint.is_empty(), "{error}");
        format!(
            "{}:{} {}; {}",
            error.line.unwrap_or(0),
            error.column.unwrap_or(0),
            error.reason,
            error.hint
        )
    };
    errors.iter().map(line).collect()
}

#[test]
fn toml_of_everything_makes_the_tree_that_it_says() {
    let mut desired = read(EXAMPLE);
    assert_eq!(desired.secrets.len(), 1);
    assert_eq!(
        desired.secrets[0].path,
        Path::new("/etc/quintain/host1.secret")
    );
    assert_eq!(desired.secrets[0].attribute, "chap.secret");
    assert_eq!(desired.secrets[0].line, 13);
    // Until it is filled in, nothing can be planned.
    let early = Tree::default()
        .plan(&desired.changes)
        .expect_err("a secret is missing");
    let located = desired.locate(early);
    assert_eq!((located[0].line, located[0].column), (Some(13), Some(40)));
    desired.fill(0, Secret::new(b"twelve-bytes-or-more".to_vec()));
    const T: &str = "/targets/iqn.2026-11.org.example:vm1";
    const H: &str = "iqn.2026-11.org.example:host";
    let expected = tree_of(&[
        "set / drain_timeout_s=3".to_owned(),
        "set /discovery chap.user=d chap.secret=discovery-secret".to_owned(),
        "create /backstores/file/vm1 path=/etc/quintain/vm1.img size=10GiB write_cache=0 attrib.emulate_model_alias=1".to_owned(),
        "create /backstores/file/vm1/alua/gp tg_pt_gp_id=3".to_owned(),
        "create /backstores/ram/r size=1MiB".to_owned(),
        format!("create {T}"),
        format!("create {T}/tpgs/1 param.MaxRecvDataSegmentLength=65536 param.InitialR2T=Yes attrib.default_cmdsn_depth=64 attrib.login_timeout=20 authentication=chap"),
        format!("create {T}/tpgs/1/portals/127.0.0.1:3260"),
        format!("create {T}/tpgs/1/portals/[::1]:3260 advertise=san.example.org:3260"),
        format!("create {T}/tpgs/1/luns/0 backstore=file/vm1"),
        format!("create {T}/tpgs/1/luns/1 backstore=ram/r write_protect=1"),
        format!("create {T}/tpgs/1/acls/{H}1 chap.user=host1 chap.secret=twelve-bytes-or-more mutual_chap.user=target1 mutual_chap.secret=another-secret-here"),
        format!("create {T}/tpgs/1/acls/{H}1/luns/7 lun=0 write_protect=1"),
        format!("create {T}/tpgs/1/acls/{H}1/luns/1 lun=1"),
        format!("create {T}/tpgs/1/acls/{H}2"),
        format!("create {T}/tpgs/2 defaults=lio enabled=0"),
        format!("create {T}/tpgs/2/acls/{H}3 default_luns=1"),
    ]);
    // Ports are found from ids, and these come in another order.
    let without_ports = |tree: &Tree| -> Vec<String> {
        let mut changes = tree.as_desired();
        for change in &mut changes {
            if let Change::Create { attributes, .. } = change {
                attributes.remove("relative_target_port");
            }
        }
        shown(&changes)
    };
    assert_eq!(without_ports(&planned(&desired)), without_ports(&expected));
}

#[test]
fn toml_mistakes_are_all_told_at_their_places_with_the_nearest_name() {
    let text = r#"colour = 1
[[backstore]]
name = "a"
type = "tape"
[[backstore]]
name = "b"
type = "file"
path = "b.img"
write_cash = true
size = "ten"
block_size = 1024
[[backstore]]
name = "c"
type = "ram"
[target]
"#;
    assert_eq!(
        mistakes(text),
        [
            "1:1 colour is no key here; known are daemon, discovery, backstore, target",
            "4:8 tape is no type of backstore; use file, block, ram or null",
            "5:1 the block size is neither 512 nor 4096; use one of the two",
            "9:1 write_cash is no key here; did you mean write_cache?",
            "10:8 size: \"ten\" cannot be its value; use a size from 512 to 9223372036854775807 bytes, such as 4096, 512MiB or 10GiB",
            "12:1 a ram backstore needs its size; give size=",
            "15:1 target is a table; write a list of tables: [[...]]",
        ]
    );
    let text = r#"
[[target]]
name = "nonsense"
[[target.tpg]]
tag = 0
[[target.tpg]]
enabled = "perhaps"
InitialR2T = "No"
luns = [{ lun = 0, backstore = "x" }, { backstore = "x" }, { lun = 70000, backstore = "x" }]
portals = ["localhost", 5, { advertise = "x:1" }]
param = { initialR2T = "Maybe", MaxBurstLen = 1 }
attrib = 5
[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:h"
chap = { user = "u", secret_file = "f", keep = true, secrt = "x" }
luns = [{ mapped_lun = 0, lun = 9 }, { mapped_lun = 1, lun = 0 }]
"#;
    let found = mistakes(text);
    let places: Vec<&str> = found
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        places,
        [
            "3:8", "5:7", "7:11", "8:1", "9:32", "9:39", "9:68", "10:12", "10:25", "10:28",
            "11:11", "11:33", "12:10", "15:1", "15:54", "16:9"
        ],
        "{found:#?}"
    );
    for part in [
        "did you mean param.InitialR2T?",
        "did you mean MaxBurstLength?",
        "did you mean secret?",
    ] {
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{part}: {found:#?}"
        );
    }
}

#[test]
fn toml_of_an_object_twice_is_refused_at_the_second() {
    let text = "[[backstore]]\nname='a'\ntype='null'\nsize=512\n[[backstore]]\nname='a'\ntype='null'\nsize=512\n";
    assert_eq!(
        mistakes(text),
        ["5:1 it exists; set its attributes, or choose another name"]
    );
}

#[test]
fn toml_mistake_of_a_backstore_is_not_told_again_of_its_luns() {
    let text = "[[backstore]]\nname='a'\ntype='ram'\nsize=1000\n[[target]]\nname='iqn.2026-11.org.example:t'\n[[target.tpg]]\nluns=[{lun=0,backstore='a'}]\n[[target.tpg.acl]]\ninitiator='iqn.2026-11.org.example:h'\nluns=[{lun=0}]\n";
    assert_eq!(
        mistakes(text),
        ["1:1 the size is not a whole number of blocks; use a multiple of 512 bytes"]
    );
    let text = text.replace("'ram'", "'rum'");
    assert_eq!(
        mistakes(&text),
        ["3:6 rum is no type of backstore; use file, block, ram or null"]
    );
}

#[test]
fn toml_secret_is_in_no_mistake() {
    let secret = "hunter2".repeat(40);
    for text in [
        format!("[discovery]\nchap = {{ user = 'u', secret = '{secret}' }}"),
        format!("[discovery]\nchap = {{ user = 'u', secret = ['{secret}'] }}"),
        format!("[discovery]\nchap = {{ user = 'u', secret_hex = '{secret}' }}"),
        format!("[discovery]\nchap = {{ user = 'u', secret = {secret} }}"),
    ] {
        let errors = parse_toml(&text, Path::new("/")).expect_err("a mistake");
        assert!(!format!("{errors:?}").contains("hunter2"));
        assert_eq!(errors[0].line, Some(2));
    }
}

#[test]
fn written_without_secrets_keeps_what_is_there_and_is_refused_where_nothing_is() {
    let mut desired = read(EXAMPLE);
    desired.fill(0, Secret::new(b"twelve-bytes-or-more".to_vec()));
    let tree = planned(&desired);
    let text = to_toml(&tree, false);
    assert!(
        !text.contains("twelve-bytes") && !text.contains("secret ="),
        "{text}"
    );
    assert!(
        text.contains("# chap.secret is set and not shown"),
        "{text}"
    );
    let again = read(&text);
    assert_eq!(tree.changes_to(&again.changes), []);
    let elsewhere = Tree::default()
        .plan(&again.changes)
        .expect_err("nothing to keep");
    let located = again.locate(elsewhere);
    assert!(
        located
            .iter()
            .all(|error| error.code == ConfigCode::Missing && error.line.is_some()),
        "{located:#?}"
    );
    assert_eq!(located.len(), 3);
}

#[test]
fn written_tree_reads_well() {
    let tree = tree_of(&[
        "create /backstores/file/a path=/a\"b size=3GiB serial=x",
        "create /backstores/ram/b size=1536",
        "create /targets/iqn.2026-11.org.example:t alias=x",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1 authentication=none relative_target_port=1 param.InitialR2T=Yes",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/portals/127.0.0.1:3260",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/luns/0 backstore=a",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/luns/1 backstore=b",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h chap.user=u chap.secret=a-secret-of-16-b attrib.authentication=1",
        "create /targets/iqn.2026-11.org.example:t/tpgs/1/acls/iqn.2026-11.org.example:h/luns/5 lun=1",
    ]);
    let expected = r#"[[backstore]]
name = "a"
type = "file"
path = "/a\"b"
size = "3GiB"
serial = "x"

[[backstore]]
name = "b"
type = "ram"
size = 1536

[[target]]
name = "iqn.2026-11.org.example:t"
alias = "x"

[[target.tpg]]
tag = 1
authentication = "none"
relative_target_port = 1
param = { InitialR2T = "Yes" }
portals = ["127.0.0.1:3260"]
luns = [
    { lun = 0, backstore = "file/a" },
    { lun = 1, backstore = "ram/b" },
]

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:h"
attrib = { authentication = 1 }
chap = { user = "u", secret = "a-secret-of-16-b" }
luns = [{ mapped_lun = 5, lun = 1 }]
"#;
    assert_eq!(to_toml(&tree, true), expected);
}

#[test]
fn written_secret_that_is_no_text_is_read_back() {
    let secret = Secret::new(vec![0, 255, 7, 34, 200, 1, 2, 3, 4, 5, 6, 7]);
    let change = Change::create(
        crate::ObjectPath::Discovery,
        [
            ("chap.user", "u".into()),
            ("chap.secret", crate::Raw::Secret(secret)),
        ],
    );
    let tree = Tree::default().plan(&[change]).expect("legal").tree;
    let text = to_toml(&tree, true);
    assert!(text.contains("secret_hex"), "{text}");
    assert_eq!(tree.changes_to(&read(&text).changes), []);
}

/// Lines of changes, some of which cannot be: those that can make a tree.
fn lines() -> impl Strategy<Value = Vec<String>> {
    const T: [&str; 2] = [
        "/targets/iqn.2026-11.org.example:a",
        "/targets/eui.0123456789abcdef",
    ];
    const H: [&str; 2] = ["iqn.2026-11.org.example:h", "iqn.2026-11.org.example:h_2"];
    let line = (0..14_usize, 0..2_usize, 1..3_u16, 0..4_u16, 0..2_usize, any::<bool>()).prop_map(
        |(what, t, tag, n, h, yes)| {
            let (group, acl) = (format!("{}/tpgs/{tag}", T[t]), H[h]);
            match what {
                0 => format!("create /backstores/file/s{n} path=/s{n} size=1GiB attrib.is_nonrot={yes}"),
                1 => format!("create /backstores/ram/s{n} size=1536 product=p{n} write_cache={yes}"),
                2 => format!("create /backstores/ram/s{n}/alua/g{h} tg_pt_gp_id={n}"),
                3 => format!("create {}", T[t]),
                4 => format!("create {group} defaults={} enabled={yes}", if yes { "lio" } else { "quintain" }),
                5 => format!("create {group} chap.user=u chap.secret=secret-of-group-{n} generate_node_acls={yes}"),
                6 => format!("create {group}/portals/127.0.0.1:{}", 3260 + n),
                7 => format!("create {group}/portals/[::1]:326{n} advertise=x:{n}"),
                8 => format!("create {group}/luns/{n} backstore=ram/s{n} write_protect={yes}"),
                9 => format!("create {group}/acls/{acl} tag=t{n} cmdsn_depth={}", n + 1),
                10 => format!("create {group}/acls/{acl} chap.user=u{n} chap.secret=secret-of-acl-\\\"{n} mutual_chap.user=m mutual_chap.secret=secret-of-mutual-{n}"),
                11 => format!("create {group}/acls/{acl}/luns/{n} lun={h} write_protect={yes} alias=l{n}"),
                12 => format!("set {group}/acls/{acl} default_luns={}", ["true", "false", "default"][usize::from(n) % 3]),
                _ => format!("set {} {}", if yes { "/" } else { "/discovery" }, if yes { "drain_timeout_s=7" } else { "mutual_chap.user=d enforce=1" }),
            }
        },
    );
    prop::collection::vec(line, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn written_and_read_is_the_same_tree(lines in lines()) {
        let mut tree = Tree::default();
        for line in lines {
            if let Ok(plan) = plan(&tree, &[line]) {
                tree = plan.tree;
            }
        }
        let text = to_toml(&tree, true);
        let desired = parse_toml(&text, Path::new("/")).map_err(|errors| {
            TestCaseError::fail(format!("{errors:#?}\n{text}"))
        })?;
        prop_assert_eq!(tree.changes_to(&desired.changes), vec![], "{}", text);
        prop_assert_eq!(shown(&planned(&desired).as_desired()), shown(&tree.as_desired()));
        let kept = parse_toml(&to_toml(&tree, false), Path::new("/")).expect("legal too");
        prop_assert_eq!(tree.changes_to(&kept.changes), vec![]);
    }

    #[test]
    fn read_of_any_lines_never_panics(picks in prop::collection::vec((0..60_usize, "[a-z0-9\"=\\[\\]{},. ]{0,6}"), 0..30)) {
        let known: Vec<&str> = EXAMPLE.lines().collect();
        let mut text = String::new();
        for (pick, tail) in picks {
            writeln!(text, "{}{tail}", known.get(pick).unwrap_or(&"")).expect("a string");
        }
        if let Err(errors) = parse(&text, Path::new("/")) {
            prop_assert!(!errors.is_empty());
        }
    }
}

#[test]
fn toml_of_the_reference_page_is_legal() {
    let page = include_str!("../../../../docs/reference/desired-state.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 1);
    for block in blocks {
        let desired = read(block);
        assert_eq!((desired.changes.len(), desired.secrets.len()), (8, 2));
    }
}
