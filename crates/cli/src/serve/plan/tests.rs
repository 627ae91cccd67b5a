use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use clap::Parser;
use model::{Backing, Backstore, Credentials, LogicalUnitNumber, ObjectId, PortalGroup};
use reactor::DriverChoice;

use super::changes::GROUP_TAG;
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
    Line::try_parse_from(["serve"].iter().chain(words)).map(|line| line.args)
}

fn plan(words: &[&str]) -> Result<Plan> {
    Plan::new(&parsed(words).expect("usage"), "host")
}

fn refusal(words: &[&str]) -> String {
    format!("{:#}", plan(words).unwrap_err())
}

fn only_group(plan: &Plan) -> Arc<PortalGroup> {
    let group = plan.tree.group(&plan.target, GROUP_TAG);
    Arc::clone(group.expect("the target has its group"))
}

/// The backstores behind the LUNs, in the order of these.
fn by_lun(plan: &Plan) -> Vec<Arc<Backstore>> {
    let group = only_group(plan);
    let behind = |lun: &Arc<model::Lun>| plan.tree.backstore_by_id(lun.backstore).cloned();
    group.luns.values().filter_map(behind).collect()
}

fn any_admitted(plan: &Plan) -> model::Requirement {
    plan.tree.requirement(&only_group(plan), None)
}

fn secret_file(folder: &Path, name: &str, secret: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn plan_of_one_file_is_open_to_all_on_loopback_at_lun_0() {
    let plan = plan(&["/nonexistent/disk.img", "--size", "1GiB"]).unwrap();
    assert_eq!(plan.target.as_str(), "iqn.2026-11.org.quintain.host:disk");
    let group = only_group(&plan);
    let portals: Vec<String> = group.portals.keys().map(ToString::to_string).collect();
    assert_eq!(portals, ["127.0.0.1:3260"]);
    assert!(group.generate_node_acls() && group.acls.is_empty() && group.enabled());
    assert!(!any_admitted(&plan).required && !plan.tree.discovery_requirement().required);
    let backstore = &by_lun(&plan)[0];
    assert_eq!(
        backstore.backing(),
        Backing::File {
            path: "/nonexistent/disk.img".into(),
            create_bytes: Some(1 << 30),
            direct: false
        }
    );
    assert!(backstore.write_cache() && backstore.thin() && !backstore.read_only());
    assert_eq!(
        (backstore.block_size_bytes(), backstore.serial()),
        (512, None)
    );
}

#[test]
fn plan_of_several_disks_numbers_paths_first_then_ram() {
    let words = [
        "--ram",
        "1MiB",
        "a.img",
        "--ram",
        "2MiB",
        "b.img",
        "--block-size",
        "4096",
        "--read-only",
    ];
    let plan = plan(&words).unwrap();
    let expected = [
        Disk::Path("a.img".into()),
        Disk::Path("b.img".into()),
        Disk::Ram { bytes: 1 << 20 },
        Disk::Ram { bytes: 2 << 20 },
    ];
    assert_eq!(plan.disks, expected);
    let stores = by_lun(&plan);
    // The engine reports units in the order they were made: it has to be that of the LUNs.
    let mut in_order: Vec<ObjectId> = stores.iter().map(|store| store.id).collect();
    assert_eq!(in_order.len(), 4);
    in_order.sort_unstable();
    assert!(in_order.iter().eq(stores.iter().map(|store| &store.id)));
    let backings: Vec<Backing> = stores.iter().map(|store| store.backing()).collect();
    let file = |path: &str| Backing::File {
        path: path.into(),
        create_bytes: None,
        direct: false,
    };
    let ram = |bytes| Backing::Ram { bytes };
    assert_eq!(
        backings,
        [file("a.img"), file("b.img"), ram(1 << 20), ram(2 << 20)]
    );
    assert!(
        stores
            .iter()
            .all(|store| store.block_size_bytes() == 4096 && store.read_only())
    );
    assert!(
        only_group(&plan)
            .luns
            .values()
            .all(|lun| lun.write_protect())
    );
}

#[test]
fn plan_gives_every_object_an_id_of_its_own() {
    let plan = plan(&[
        "a.img",
        "--ram",
        "1M",
        "--initiator",
        "iqn.a:1",
        "--initiator",
        "iqn.a:2",
    ])
    .unwrap();
    let group = only_group(&plan);
    let mut ids: Vec<ObjectId> = plan.tree.backstores().map(|store| store.id).collect();
    ids.extend(plan.tree.targets().map(|target| target.id));
    ids.push(group.id);
    ids.extend(group.luns.values().map(|lun| lun.id));
    ids.extend(group.acls.values().map(|acl| acl.id));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count), (8, 8));
}

#[test]
fn plan_with_initiators_admits_these_alone() {
    let plan = plan(&[
        "--ram",
        "1M",
        "--initiator",
        "IQN.A:1",
        "--initiator",
        "iqn.a:host_2",
        "--initiator",
        "iqn.a:1",
    ])
    .unwrap();
    let names: Vec<&str> = plan.initiators.iter().map(IscsiName::as_str).collect();
    assert_eq!(names, ["iqn.a:1", "iqn.a:host_2"]);
    let group = only_group(&plan);
    assert!(!group.generate_node_acls());
    assert_eq!(group.acls.len(), 2);
    for acl in group.acls.values() {
        assert!(group.shows_every_lun(acl));
        let asked = plan.tree.requirement(&group, Some(acl));
        assert!(!asked.required && asked.credentials.is_none());
    }
}

#[test]
fn plan_with_chap_requires_it_of_sessions_and_where_asked_of_discovery() {
    let folder = tempfile::tempdir().unwrap();
    let own = secret_file(folder.path(), "own", "the-secret-of-alice\n");
    let target = secret_file(folder.path(), "target", "the-secret-of-disks");
    let words = [
        "--ram",
        "1M",
        "--chap",
        "alice",
        "--chap-secret-file",
        &own,
        "--mutual-chap",
        "disks",
        "--mutual-chap-secret-file",
        &target,
    ];
    let without = plan(&words).unwrap();
    let expected = Credentials {
        chap: ChapCredential {
            user: "alice".to_owned(),
            secret: Secret::new(b"the-secret-of-alice".to_vec()),
        },
        mutual: Some(ChapCredential {
            user: "disks".to_owned(),
            secret: Secret::new(b"the-secret-of-disks".to_vec()),
        }),
    };
    let asked = any_admitted(&without);
    assert!(asked.required && !without.tree.discovery_requirement().required);
    assert_eq!(asked.credentials.as_ref(), Some(&expected));
    assert_eq!(without.notes, Vec::<String>::new());
    let with = plan(&[words.as_slice(), &["--discovery-chap"]].concat()).unwrap();
    let discovery = with.tree.discovery_requirement();
    assert!(discovery.required);
    assert_eq!(discovery.credentials.as_ref(), Some(&expected));
    // An initiator that is named is asked for the same by its own ACL.
    let named = plan(&[words.as_slice(), &["--initiator", "iqn.a:1"]].concat()).unwrap();
    let group = only_group(&named);
    let acl = group.acls.values().next().expect("the ACL");
    let asked = named.tree.requirement(&group, Some(acl));
    assert!(asked.required);
    assert_eq!(asked.credentials.as_ref(), Some(&expected));
    assert!(
        !format!("{with:?}").contains("secret-of-alice"),
        "a secret can be printed"
    );
}

#[test]
fn plan_with_a_name_or_secret_that_chap_cannot_carry_names_the_flag_or_file() {
    let folder = tempfile::tempdir().unwrap();
    let own = secret_file(folder.path(), "own", "the-secret-of-alice");
    let long = secret_file(folder.path(), "long", &"x".repeat(256));
    let words = |user, file| {
        let words = ["--ram", "1M", "--chap", user, "--chap-secret-file", file];
        refusal(&words)
    };
    let error = words("a\tb", &own);
    assert!(error.starts_with("--chap: "), "{error}");
    let error = words("alice", &long);
    assert!(error.starts_with(&long) && error.contains("255"), "{error}");
}

#[test]
fn plan_with_one_secret_for_both_directions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let one = secret_file(folder.path(), "one", "the-secret-of-alice\n");
    let two = secret_file(folder.path(), "two", "the-secret-of-alice");
    let error = refusal(&[
        "--ram",
        "1M",
        "--chap",
        "alice",
        "--chap-secret-file",
        &one,
        "--mutual-chap",
        "disks",
        "--mutual-chap-secret-file",
        &two,
    ]);
    assert!(error.contains("a secret of its own"), "{error}");
}

#[test]
fn plan_takes_each_form_of_an_address_once() {
    let listen = |texts: &[&str]| -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        portals(&texts)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        listen(&[
            "127.0.0.1:860",
            "10.0.0.1",
            "::1",
            "[::1]",
            "[fe80::1]:1",
            "0.0.0.0:3260"
        ]),
        [
            "127.0.0.1:860",
            "10.0.0.1:3260",
            "[::1]:3260",
            "[fe80::1]:1",
            "0.0.0.0:3260"
        ]
    );
    assert_eq!(listen(&["127.0.0.1:0", "127.0.0.1:0"]).len(), 2);
}

#[test]
fn plan_of_port_0_twice_at_one_address_has_a_group_more_that_is_the_same() {
    let plan = plan(&[
        "--ram",
        "1M",
        "a.img",
        "--read-only",
        "--initiator",
        "iqn.a:1",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:860",
        "--listen",
        "127.0.0.1:0",
    ])
    .unwrap();
    let of = |tag: u16| Arc::clone(plan.tree.group(&plan.target, tag).expect("a group"));
    let portals =
        |tag: u16| -> Vec<String> { of(tag).portals.keys().map(ToString::to_string).collect() };
    assert_eq!(portals(1), ["127.0.0.1:0", "127.0.0.1:860"]);
    assert_eq!(portals(2), ["127.0.0.1:0"]);
    assert_eq!(plan.tree.groups().count(), 2);
    let shown = |tag: u16| -> Vec<(LogicalUnitNumber, ObjectId, bool)> {
        let group = of(tag);
        let luns = group.luns.values();
        luns.map(|lun| (lun.number, lun.backstore, lun.write_protect()))
            .collect()
    };
    assert_eq!(shown(1).len(), 2);
    assert_eq!(shown(1), shown(2));
    assert!(of(1).acls.keys().eq(of(2).acls.keys()) && of(2).acls.len() == 1);
    assert!(!of(2).generate_node_acls());
    assert_ne!(of(1).relative_target_port(), of(2).relative_target_port());
}

#[test]
fn plan_of_an_existing_file_leaves_its_size_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    std::fs::write(&path, [0; 1024]).unwrap();
    // No whole number of blocks: that matters only where a file is made.
    for size in ["1000", "1GiB"] {
        let plan = plan(&[path.to_str().unwrap(), "--size", size]).unwrap();
        assert_eq!(by_lun(&plan)[0].size_bytes(), None, "{size}");
        assert!(plan.create_bytes.is_some());
    }
}

#[test]
fn plan_of_a_path_that_is_no_text_keeps_every_byte() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let path = Path::new(OsStr::from_bytes(b"a\xff\n b.img"));
    let args = Args {
        disks: vec![path.to_owned()],
        ..parsed(&["x"]).unwrap()
    };
    let plan = Plan::new(&args, "host").unwrap();
    let Backing::File { path: planned, .. } = by_lun(&plan)[0].backing() else {
        panic!("no file");
    };
    assert_eq!(planned, path);
}

#[test]
fn plan_passes_on_driver_and_workers() {
    for (text, driver) in [
        ("auto", DriverChoice::Auto),
        ("uring", DriverChoice::Uring),
        ("epoll", DriverChoice::Epoll),
        ("mixed", DriverChoice::Mixed),
    ] {
        let plan = plan(&["--ram", "1M", "--driver", text, "--workers", "3"]).unwrap();
        assert_eq!((plan.config.driver, plan.config.workers), (driver, Some(3)));
    }
    assert_eq!(plan(&["--ram", "1M"]).unwrap().config.workers, None);
}

#[test]
fn plan_with_serials_gives_each_disk_its_own() {
    let plan = plan(&["a.img", "b.img", "--serial", "S1", "--serial", "S2"]).unwrap();
    let stores = by_lun(&plan);
    let serials: Vec<_> = stores.iter().map(|store| store.serial()).collect();
    assert_eq!(serials, [Some("S1"), Some("S2")]);
}

#[test]
fn plan_of_a_mistake_is_refused_with_what_and_what_to_do() {
    let table: [(&[&str], &[&str]); 17] = [
        (
            &["a.img", "--size", "10Gib!"],
            &["--size", "10Gib!", "write it as"],
        ),
        (&["a.img", "--size", "0"], &["--size", "no bytes"]),
        (&["--ram", "1Q"], &["--ram", "1Q", "write it as"]),
        (
            &["--ram", "1M", "--name", "disk"],
            &["--name disk", "write it as iqn."],
        ),
        (
            &["--ram", "1M", "--initiator", "a b"],
            &["--initiator a b", "initiatorname.iscsi"],
        ),
        (
            &["--ram", "1M", "--listen", "localhost:3260"],
            &["--listen localhost:3260", "127.0.0.1:3260"],
        ),
        (
            &["--ram", "1M", "--listen", "127.0.0.1:65536"],
            &["--listen 127.0.0.1:65536"],
        ),
        (&["--ram", "1M", "--listen", "::1:3260:x"], &["[::1]:3260"]),
        (&["--ram", "1M", "--listen", ""], &["not an address"]),
        (
            &["a.img", "b.img", "--serial", "S", "--serial", "tab\t"],
            &["b.img: serial", "control characters"],
        ),
        (
            &["a.img", "b.img", "--size", "1000"],
            &["a.img: ", "multiple of 512"],
        ),
        (
            &["a.img", "--ram", "1000"],
            &["RAM disk at LUN 1: ", "multiple of 512"],
        ),
        (&["a.img", "b.img", "--serial", "S"], &["1 for 2 LUNs"]),
        (
            &["a.img", "b.img", "--serial", "S", "--serial", "S"],
            &["--serial S", "twice"],
        ),
        (
            &["/dev/nonexistent-disk", "--size", "1M"],
            &["/dev/nonexistent-disk", "no such device"],
        ),
        (
            &[
                "--ram",
                "1M",
                "--chap",
                "alice",
                "--chap-secret-file",
                "/nonexistent",
            ],
            &["/nonexistent", "no such file"],
        ),
        (
            &[
                "--ram",
                "1M",
                "--chap",
                "",
                "--chap-secret-file",
                "/nonexistent",
            ],
            &["--chap", "empty"],
        ),
    ];
    for (words, expected) in table {
        let error = refusal(words);
        assert!(
            !error.contains("/backstores/") && !error.contains("/targets/"),
            "{error}"
        );
        for part in expected {
            assert!(error.contains(part), "{words:?}: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn command_line_that_leaves_out_half_is_usage() {
    let table: [&[&str]; 11] = [
        &[],
        &["--size", "1M"],
        &["--ram", "1M", "--size", "1M"],
        &["--ram", "1M", "--chap", "alice"],
        &["--ram", "1M", "--chap-secret-file", "f"],
        &[
            "--ram",
            "1M",
            "--mutual-chap",
            "d",
            "--mutual-chap-secret-file",
            "f",
        ],
        &["--ram", "1M", "--discovery-chap"],
        &["--ram", "1M", "--block-size", "1024"],
        &["--ram", "1M", "--driver", "aio"],
        &["--ram", "1M", "--workers", "0"],
        &["--ram", "1M", "--chap-secret", "in-argv"],
    ];
    for words in table {
        let error = parsed(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
}
