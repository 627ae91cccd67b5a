use crate::testing::{change, parse, plan, tree_of};
use crate::{Change, ConfigCode, Digests, LoadError, Tree};

const T: &str = "/targets/iqn.2026-11.org.example:t";
const H: &str = "iqn.2026-11.org.example:h";

fn disk() -> Tree {
    tree_of(&[
        "create /backstores/ram/a size=1MiB".to_owned(),
        "create /backstores/file/b path=/b.img size=1MiB".to_owned(),
        format!("create {T} alias=x"),
        format!("create {T}/tpgs/1"),
        format!("create {T}/tpgs/1/portals/127.0.0.1:3260"),
        format!("create {T}/tpgs/1/luns/0 backstore=a"),
        format!("create {T}/tpgs/1/luns/1 backstore=file/b"),
        format!("create {T}/tpgs/1/acls/{H} chap.user=u chap.secret=twelve-bytes-or-more"),
        format!("create {T}/tpgs/1/acls/{H}/luns/5 lun=1"),
    ])
}

/// Everything that was set, as text.
fn shown(tree: &Tree) -> Vec<String> {
    let line = |change: Change| format!("{change:?}");
    tree.as_desired().into_iter().map(line).collect()
}

fn code_of(line: &str) -> ConfigCode {
    let mistakes = plan(&disk(), &[line]).expect_err(line);
    assert_eq!(mistakes.len(), 1, "{line}: {mistakes:?}");
    assert!(!mistakes[0].error.hint.is_empty());
    assert_eq!(mistakes[0].change, Some(0));
    mistakes[0].error.code
}

#[test]
fn plan_each_mistake_is_refused_with_its_code() {
    use ConfigCode as C;
    let lines: &[(String, C)] = &[
        ("create /backstores/ram/a size=1MiB".into(), C::Exists),
        ("create /backstores/ram/c".into(), C::Missing),
        ("create /backstores/file/c".into(), C::Missing),
        ("create /backstores/ram/c size=1000".into(), C::OutOfRange),
        (
            "create /backstores/ram/c size=4096 block_size=1024".into(),
            C::OutOfRange,
        ),
        (
            "create /backstores/ram/c size=1MiB colour=red".into(),
            C::UnknownAttribute,
        ),
        ("set /backstores/ram/a size=512KiB".into(), C::WouldShrink),
        ("set /backstores/ram/a block_size=4096".into(), C::Fixed),
        (
            "set /backstores/ram/a write_cache=perhaps".into(),
            C::BadValue,
        ),
        (
            "set /backstores/ram/z write_cache=1".into(),
            C::NoSuchObject,
        ),
        ("delete /backstores/ram/a".into(), C::InUse),
        (
            format!("create {T}/tpgs/2/luns/0 backstore=a"),
            C::NoSuchObject,
        ),
        (
            format!("create {T}/tpgs/1/luns/9 backstore=z"),
            C::NoSuchObject,
        ),
        (format!("create {T}/tpgs/1/luns/9"), C::Missing),
        (
            format!("create {T}/tpgs/1/acls/{H}/luns/9 lun=9"),
            C::NoSuchObject,
        ),
        (
            format!("set {T}/tpgs/1 attrib.login_timeout=99"),
            C::OutOfRange,
        ),
        (
            format!("set {T}/tpgs/1 param.InitialR2T=Perhaps"),
            C::BadValue,
        ),
        (
            format!(
                "set {T}/tpgs/1/acls/{H} mutual_chap.user=t mutual_chap.secret=twelve-bytes-or-more"
            ),
            C::Conflict,
        ),
    ];
    for (line, code) in lines {
        assert_eq!(code_of(line), *code, "{line}");
    }
    let two = plan(
        &disk(),
        &[
            format!("create {T}/tpgs/2 relative_target_port=77"),
            format!("create {T}/tpgs/2/portals/0.0.0.0:3260"),
            format!("create {T}/tpgs/3 relative_target_port=77"),
        ],
    );
    let codes: Vec<_> = two
        .expect_err("conflicts")
        .into_iter()
        .map(|m| m.error.code)
        .collect();
    assert_eq!(codes, [ConfigCode::Conflict, ConfigCode::Conflict]);
}

#[test]
fn plan_with_a_mistake_tells_every_one_and_near_names() {
    let mistakes = plan(
        &disk(),
        &[
            "set /backstores/ram/a write_cash=1".to_owned(),
            format!("create {T}/tpgs/1/luns/9 backstore=file/bb"),
        ],
    )
    .expect_err("two mistakes");
    let hints: Vec<&str> = mistakes.iter().map(|m| m.error.hint.as_ref()).collect();
    assert_eq!(hints, ["did you mean write_cache?", "did you mean file/b?"]);
}

#[test]
fn plan_touches_only_what_differs_and_shares_the_rest() {
    let tree = disk();
    let nothing = plan(&tree, &["set /backstores/ram/a write_cache=default"]).expect("legal");
    assert!(nothing.is_empty());
    assert_eq!(nothing.tree.generation, tree.generation);
    let one = plan(&tree, &[format!("set {T}/tpgs/1/luns/0 write_protect=1")]).expect("legal");
    let paths: Vec<String> = one.touched.iter().map(|t| t.path.to_string()).collect();
    assert_eq!(paths, [format!("{T}/tpgs/1/luns/0")]);
    assert_eq!(one.tree.generation, tree.generation + 1);
    assert_eq!(
        one.touched[0].changed().into_iter().collect::<Vec<_>>(),
        ["write_protect"]
    );
}

#[test]
fn plan_delete_of_a_target_touches_all_below_it_and_every_index() {
    let gone = plan(&disk(), &[format!("delete {T}")]).expect("legal");
    assert_eq!(gone.touched.len(), 7);
    assert!(gone.touched.iter().all(|t| t.after.is_none()));
    assert_eq!(gone.tree.portal_addresses().count(), 0);
    let free = plan(&gone.tree, &["delete /backstores/ram/a"]).expect("nothing shows it any more");
    assert_eq!(free.tree.backstores().count(), 1);
}

#[test]
fn plan_delete_of_a_backstore_in_cascade_takes_luns_and_mappings_along() {
    let plan = plan(&disk(), &["delete /backstores/file/b cascade"]).expect("legal");
    let gone: Vec<String> = plan.touched.iter().map(|t| t.path.to_string()).collect();
    assert_eq!(
        gone,
        [
            "/backstores/file/b".to_owned(),
            format!("{T}/tpgs/1/luns/1"),
            format!("{T}/tpgs/1/acls/{H}/luns/5"),
        ]
    );
}

#[test]
fn plan_backstore_made_anew_under_a_lun_that_stays_is_refused() {
    let lines = [
        "delete /backstores/ram/a",
        "create /backstores/ram/a size=2MiB",
    ];
    let mistakes = plan(&disk(), &lines).expect_err("a LUN shows the old one");
    assert_eq!(mistakes[0].error.code, ConfigCode::InUse);
}

#[test]
fn plan_group_that_names_a_secret_asks_for_chap_and_keeps_asking() {
    let lines = |secret: &str| {
        [
            format!("create {T}"),
            format!("create {T}/tpgs/1"),
            format!("create {T}/tpgs/1/acls/{H} chap.user=u {secret}"),
        ]
    };
    let authentication = |tree: &Tree| {
        let name = crate::testing::name("iqn.2026-11.org.example:t");
        let group = tree.group(&name, 1).expect("it exists");
        tree.requirement(group, group.acls.values().next().map(AsRef::as_ref))
            .required
    };
    assert!(!authentication(&tree_of(&lines(""))));
    let asks = tree_of(&lines("chap.secret=twelve-bytes-or-more"));
    assert!(authentication(&asks));
    let taken = change(
        &asks,
        &[format!("set {T}/tpgs/1/acls/{H} chap.secret=default")],
    );
    assert!(authentication(&taken), "taking a secret away opens nothing");
    let lio = tree_of(&[
        format!("create {T}"),
        format!("create {T}/tpgs/1 defaults=lio"),
        format!("create {T}/tpgs/1/acls/{H}"),
    ]);
    assert!(authentication(&lio));
    let not_here = change(
        &lio,
        &[format!("set {T}/tpgs/1/acls/{H} attrib.authentication=0")],
    );
    assert!(!authentication(&not_here));
}

#[test]
fn plan_that_begins_to_ask_for_chap_warns_of_whom_it_locks_out() {
    let group = format!("{T}/tpgs/1");
    let acl = |name: &str, rest: &str| {
        format!("create {group}/acls/iqn.2026-11.org.example:{name} {rest}")
    };
    let tree = tree_of(&[
        format!("create {T}"),
        format!("create {group} authentication=none"),
        acl("a", "chap.user=u chap.secret=twelve-bytes-or-more"),
        acl("b", "attrib.authentication=0"),
        acl("c", ""),
    ]);
    let warnings = |tree: &Tree, line: String| plan(tree, &[line]).expect("legal").warnings;
    let asks = format!("set {group} authentication=chap");
    let expected = format!(
        "{group}: CHAP is required now, and its ACL for iqn.2026-11.org.example:c has no credentials: who has none cannot log in"
    );
    assert_eq!(warnings(&tree, asks.clone()), [expected]);
    let two = change(&tree, &[acl("d", "")]);
    assert!(warnings(&two, asks.clone())[0].contains("c and 1 others has"));
    let asking = change(&tree, &[asks]);
    let other = format!("set {group} attrib.login_timeout=20");
    assert_eq!(warnings(&asking, other), Vec::<String>::new());
}

#[test]
fn settings_of_lios_defaults_are_fast_unless_taken_literally() {
    let group = |attributes: &str| {
        let tree = tree_of(&[
            format!("create {T}"),
            format!("create {T}/tpgs/1 {attributes}"),
        ]);
        let name = crate::testing::name("iqn.2026-11.org.example:t");
        tree.group(&name, 1).expect("it exists").settings(None)
    };
    let ours = group("");
    assert_eq!(
        group("defaults=lio param.MaxRecvDataSegmentLength=8192 param.InitialR2T=Yes")
            .max_recv_data_segment_length,
        ours.max_recv_data_segment_length
    );
    assert!(!group("defaults=lio param.InitialR2T=Yes").initial_r2t);
    assert_eq!(
        group("defaults=lio param.MaxRecvDataSegmentLength=16384").max_recv_data_segment_length,
        16_384
    );
    let literal = group("defaults=lio lio_defaults=1");
    assert_eq!(
        (
            literal.max_recv_data_segment_length,
            literal.initial_r2t,
            literal.queue_depth
        ),
        (8_192, true, 64)
    );
    assert_eq!(
        group("param.MaxRecvDataSegmentLength=8192").max_recv_data_segment_length,
        8_192
    );
}

#[test]
fn settings_of_an_acl_are_its_own_literally_and_else_the_groups() {
    let tree = tree_of(&[
        format!("create {T}"),
        format!("create {T}/tpgs/1 defaults=lio param.HeaderDigest=None param.DefaultTime2Wait=7"),
        format!(
            "create {T}/tpgs/1/acls/{H} param.InitialR2T=Yes param.DataDigest=crc32c cmdsn_depth=9"
        ),
    ]);
    let name = crate::testing::name("iqn.2026-11.org.example:t");
    let group = tree.group(&name, 1).expect("it exists");
    let acl = group.acls.values().next().map(AsRef::as_ref);
    let own = group.settings(acl);
    assert_eq!(
        (own.header_digest, own.data_digest, own.initial_r2t),
        (Digests::None, Digests::Crc32c, true)
    );
    assert_eq!((own.default_time2wait, own.default_time2retain), (7, 20));
    assert_eq!(own.queue_depth, 9);
    assert_eq!(group.settings(None).data_digest, Digests::Either);
    assert!(!group.settings(None).initial_r2t);
}

#[test]
fn inquiry_texts_follow_the_column_of_defaults_and_the_model_alias() {
    let tree = tree_of(&[
        "create /backstores/ram/a size=1MiB",
        "create /backstores/ram/b size=1MiB defaults=lio",
        "create /backstores/file/c path=/c defaults=lio",
        "create /backstores/file/a-name-of-more-than-15 path=/d attrib.emulate_model_alias=1",
        "create /backstores/file/e path=/e attrib.emulate_model_alias=1 product=mine",
    ]);
    let texts: Vec<[String; 3]> = tree
        .backstores()
        .map(|store| ["vendor", "product", "revision"].map(|name| store.inquiry_text(name)))
        .collect();
    assert_eq!(
        texts,
        [
            ["QUINTAIN", "a-name-of-more-", "0001"],
            ["LIO-ORG", "FILEIO", "4.0"],
            ["QUINTAIN", "mine", "0001"],
            ["QUINTAIN", "VIRTUAL-DISK", "0001"],
            ["LIO-ORG", "RAMDISK-MCP", "4.0"],
        ]
    );
    assert!(
        tree.backstores()
            .all(|store| store.thin() != (store.column() == crate::attributes::Column::Lio))
    );
}

#[test]
fn changes_to_what_is_there_are_none_and_to_another_state_lead_there() {
    let (full, empty) = (disk(), Tree::default());
    assert_eq!(full.changes_to(&full.as_desired()), []);
    let lead = |from: &Tree, to: &Tree| {
        let changes = from.changes_to(&to.as_desired());
        from.plan(&changes).expect("it leads there").tree
    };
    assert_eq!(shown(&lead(&empty, &full)), shown(&full));
    assert_eq!(shown(&lead(&full, &empty)), shown(&empty));
    let other = change(
        &full,
        &[
            format!("delete {T}/tpgs/1/luns/1"),
            format!("create {T}/tpgs/1/luns/2 backstore=file/b"),
            format!("set {T} alias=default"),
            "create /backstores/ram/c size=1MiB".to_owned(),
            format!("set {T}/tpgs/1/luns/0 backstore=ram/c"),
            "delete /backstores/ram/a".to_owned(),
            "set / drain_timeout_s=3".to_owned(),
        ],
    );
    assert_eq!(shown(&lead(&full, &other)), shown(&other));
    assert_eq!(shown(&lead(&other, &full)), shown(&full));
}

#[test]
fn saved_whole_and_by_records_is_the_same_tree() {
    let mut base = Tree::default();
    let mut followed = Tree::default();
    let steps: &[&[String]] = &[
        &[
            "create /backstores/ram/a size=1MiB".to_owned(),
            format!("create {T}"),
            format!("create {T}/tpgs/1"),
        ],
        &[
            format!("create {T}/tpgs/1/luns/0 backstore=a"),
            "set /discovery chap.user=d chap.secret=a-secret-of-discovery".to_owned(),
        ],
        &[
            format!("create {T}/tpgs/1/acls/{H}"),
            format!("create {T}/tpgs/1/acls/{H}/luns/3 lun=0"),
        ],
        &[format!("delete {T}"), format!("create {T} alias=again")],
        &["delete /backstores/ram/a".to_owned()],
    ];
    for lines in steps {
        let plan = plan(&base, lines).expect("legal");
        followed.replay(&plan.record()).expect("the next record");
        base = plan.tree;
        let loaded = Tree::load(&base.save()).expect("what was saved");
        for other in [&followed, &loaded] {
            assert_eq!(shown(other), shown(&base));
            assert_eq!(other.generation, base.generation);
            assert_eq!(other.last_id, base.last_id);
            let ids = |tree: &Tree| -> Vec<_> {
                tree.paths()
                    .iter()
                    .map(|path| tree.find(path).and_then(|n| n.id()))
                    .collect()
            };
            assert_eq!(ids(other), ids(&base));
        }
    }
    let again = plan(&base, &["create /backstores/ram/q size=1MiB"])
        .expect("legal")
        .record();
    let mut early = Tree::default();
    assert_eq!(
        early.replay(&again),
        Err(LoadError::Generation {
            expected: 1,
            found: base.generation + 1
        })
    );
    assert!(matches!(Tree::load(b"{"), Err(LoadError::Syntax(_))));
}

#[test]
fn changes_show_no_secret_anywhere() {
    let line = format!("create {T}/tpgs/1/acls/{H} chap.user=u chap.secret=hunter2hunter2");
    let change = parse(&line);
    let plan = disk().plan(std::slice::from_ref(&change));
    let text = format!("{change} {change:?} {plan:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn plan_isns_entity_that_no_server_takes_is_refused() {
    for (entity, legal) in [
        ("san1.example.org", true),
        ("ab", false),
        ("SAN1.example.org", false),
        ("isns:0001", false),
        ("s\u{e4}n", false),
    ] {
        let planned = plan(&Tree::default(), &[format!("set / isns.entity={entity}")]);
        assert_eq!(planned.is_ok(), legal, "{entity}");
    }
}

/// RFC 7143 §9.2.1: one of several initiators or targets should not be.
#[test]
fn secret_that_stands_at_several_names_is_warned_of_once_when_it_is_set() {
    const OTHER: &str = "iqn.2026-11.org.example:other";
    let tree = disk();
    let warnings = |lines: &[String]| plan(&tree, lines).expect("legal").warnings;
    let shared = |lines: &[String]| {
        let told = warnings(lines);
        told.iter()
            .filter(|one| one.contains("secret of its own"))
            .count()
    };
    let acl = |initiator: &str, user: &str, secret: &str| {
        format!("create {T}/tpgs/1/acls/{initiator} chap.user={user} chap.secret={secret}")
    };
    // Another initiator with the secret of the first, under whatever name.
    for user in ["u", "v"] {
        assert_eq!(shared(&[acl(OTHER, user, "twelve-bytes-or-more")]), 1);
    }
    assert_eq!(shared(&[acl(OTHER, "v", "another-secret-of-its-own")]), 0);
    // Its own name and secret again, where discovery asks for it.
    let own = "set /discovery chap.user=u chap.secret=twelve-bytes-or-more".to_owned();
    assert_eq!(shared(std::slice::from_ref(&own)), 0);
    let target = "set /discovery mutual_chap.user=t mutual_chap.secret=twelve-bytes-or-more";
    assert_eq!(shared(&[target.to_owned()]), 1);
    // Three initiators in one change are one warning.
    let three: Vec<String> = ["x", "y", "z"]
        .map(|name| acl(&format!("{OTHER}{name}"), name, "the-same-for-the-three"))
        .to_vec();
    let told = warnings(&three);
    assert!(
        told.iter().any(|one| one.contains("and of 1 more")),
        "{told:?}"
    );
    assert_eq!(shared(&three), 1);
    // Whoever changes something else hears nothing.
    let both = change(&tree, &[acl(OTHER, "v", "twelve-bytes-or-more")]);
    let other = plan(&both, &[format!("set {T} alias=y")]).expect("legal");
    assert_eq!(other.warnings, Vec::<String>::new());
}

#[test]
fn cdrom_has_the_blocks_of_a_disc_and_takes_another_disc() {
    let tree = tree_of(&["create /backstores/file/cd path=/a.iso device_type=cdrom"]);
    let store = tree.resolve("cd").unwrap();
    assert_eq!(store.block_size_bytes(), 2048);
    assert!(store.is_cdrom() && store.read_only() && !store.write_cache() && !store.thin());
    assert_eq!(store.inquiry_text("product"), "VIRTUAL-CDROM");
    let other = plan(&tree, &["set /backstores/file/cd path=/b.iso ejected=true"]);
    assert!(other.unwrap().tree.resolve("cd").unwrap().is_ejected());
    for line in [
        "create /backstores/file/c path=/c.iso device_type=cdrom size=1MiB",
        "create /backstores/ram/c size=1MiB device_type=cdrom",
        "create /backstores/ram/c size=1MiB ejected=true",
    ] {
        assert_eq!(code_of(line), ConfigCode::Conflict);
    }
}
