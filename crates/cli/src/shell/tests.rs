//! Whole lines against a control plane in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use super::complete::{View, complete};
use super::*;
use crate::client::fake::Fake;

const T: &str = "/targets/iqn.2026-11.org.example:t";
const HOST: &str = "iqn.1993-08.org.debian:01:abc";

/// A shell, and the plane behind it.
struct Bench {
    shell: Shell,
    fake: Rc<Fake>,
    secrets: Rc<RefCell<VecDeque<String>>>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::over(Fake::default(), false)
    }

    fn over(fake: Fake, public: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Rc::new(fake);
        let secrets = Rc::new(RefCell::new(VecDeque::<String>::new()));
        let typed = Rc::clone(&secrets);
        let surroundings = Surroundings {
            folder: folder.path().to_owned(),
            new_target: Box::new(|| new_target(&mut [1, 2, 3, 4, 5, 6].into_iter())),
            read_secret: Box::new(move |name| {
                let secret = typed.borrow_mut().pop_front();
                secret.ok_or_else(|| anyhow::anyhow!("{name}: none was typed"))
            }),
            public,
        };
        let state = State::load(Some(folder.path().join("state"))).unwrap();
        Self {
            shell: Shell::new(
                Rc::clone(&fake) as Rc<dyn crate::client::plane::Plane>,
                state,
                surroundings,
            ),
            fake,
            secrets,
            folder,
        }
    }

    /// With a target as targetcli makes one.
    fn with_target() -> Self {
        let mut bench = Self::new();
        bench.run("/backstores/ramdisk create r 1G");
        bench.run("/iscsi create iqn.2026-11.org.example:t");
        bench
    }

    fn run(&mut self, line: &str) -> String {
        let done = self.shell.run(line);
        done.unwrap_or_else(|error| panic!("{line}: {error:#}"))
            .text
    }

    fn refusal(&mut self, line: &str) -> String {
        let error = self.shell.run(line).map(|done| done.text).expect_err(line);
        lines_of(&error).join("\n")
    }

    fn value(&self, path: &str, name: &str) -> Option<String> {
        self.fake.value(path, name)
    }

    fn completed(&self, line: &str) -> Vec<String> {
        let view = View {
            plane: &*self.fake,
            current: &self.shell.current,
            bookmarks: &self.shell.state.bookmarks,
            folder: self.folder.path(),
        };
        let (at, candidates) = complete(line, &view);
        let whole = |candidate: &complete::Candidate| format!("{}{}", &line[..at], candidate.text);
        candidates.iter().map(whole).collect()
    }
}

#[test]
fn targetclis_session_as_typed_makes_a_target() {
    let mut bench = Bench::new();
    let secret = "a secret of 16 b";
    for line in [
        "/backstores/fileio create disk0 disk0.img 1G",
        "/backstores/ramdisk create name=r size=512M",
        "cd /iscsi",
        "create iqn.2026-11.org.example:t",
        "cd iqn.2026-11.org.example:t/tpg1",
        "luns/ create /backstores/fileio/disk0",
        "acls/ create iqn.1993-08.org.debian:01:abc",
        "luns/create /backstores/ramdisk/r",
        "acls/iqn.1993-08.org.debian:01:abc create 7 lun1 1",
        "portals/ delete 0.0.0.0 3260",
        "portals/ create 10.0.0.1",
        "set attribute authentication=1 generate_node_acls=0 login_timeout=20",
        "set parameter MaxBurstLength=65536",
        &format!("acls/iqn.1993-08.org.debian:01:abc set auth userid=u 'password={secret}'"),
        "cd /",
        "/iscsi set discovery_auth enable=1 userid=d password=another_secret",
        "/backstores/fileio/disk0 set attribute emulate_write_cache=0",
    ] {
        bench.run(line);
    }
    let tpg = format!("{T}/tpgs/1");
    let acl = format!("{tpg}/acls/{HOST}");
    for (path, name, value) in [
        ("/backstores/file/disk0", "size", "1073741824"),
        ("/backstores/file/disk0", "write_cache", "false"),
        ("/backstores/file/disk0", "defaults", "lio"),
        (&tpg, "authentication", "chap"),
        (&tpg, "attrib.login_timeout", "20"),
        (&tpg, "param.MaxBurstLength", "65536"),
        (&tpg, "defaults", "lio"),
        (&format!("{tpg}/luns/0"), "backstore", "file/disk0"),
        (&format!("{tpg}/luns/1"), "backstore", "ram/r"),
        (&format!("{acl}/luns/0"), "lun", "0"),
        (&format!("{acl}/luns/1"), "lun", "1"),
        (&format!("{acl}/luns/7"), "lun", "1"),
        (&format!("{acl}/luns/7"), "write_protect", "true"),
        (&acl, "chap.user", "u"),
        (&acl, "chap.secret", secret),
        ("/discovery", "enforce", "true"),
        ("/discovery", "chap.secret", "another_secret"),
    ] {
        assert_eq!(
            bench.value(path, name).as_deref(),
            Some(value),
            "{path} {name}"
        );
    }
    let paths = bench.fake.paths();
    assert!(paths.contains(&format!("{tpg}/portals/10.0.0.1:3260")));
    assert!(!paths.contains(&format!("{tpg}/portals/0.0.0.0:3260")));
    let image = bench.folder.path().join("disk0.img");
    assert_eq!(
        bench.value("/backstores/file/disk0", "path").as_deref(),
        image.to_str()
    );

    bench.run("/iscsi delete iqn.2026-11.org.example:t");
    bench.run("/backstores/fileio delete disk0");
    assert_eq!(bench.fake.paths(), ["/", "/discovery", "/backstores/ram/r"]);
}

#[test]
fn cd_walks_back_and_forth_and_stays_where_nothing_is() {
    let mut bench = Bench::with_target();
    for (line, there) in [
        ("cd targets", "/targets"),
        ("iqn.2026-11.org.example:t/", T),
        ("cd tpg1/luns", &format!("{T}/tpgs/1/luns")),
        ("cd <", T),
        ("cd <", "/targets"),
        ("cd >", T),
        ("cd ../..", "/"),
        ("cd <", T),
        ("/backstores/ramdisk", "/backstores/ram"),
        ("..", "/backstores"),
        ("cd", "/"),
        (".", "/"),
    ] {
        bench.run(line);
        assert_eq!(bench.shell.current, there, "{line}");
        assert_eq!(bench.run("pwd"), format!("{there}\n"));
    }
    for line in [
        "cd /targets/iqn.a.b:none",
        "cd nowhere",
        "cd >",
        "cd @none",
        "cd a b",
    ] {
        bench.refusal(line);
        assert_eq!(bench.shell.current, "/", "{line}");
    }
}

#[test]
fn delete_of_where_the_shell_stands_leaves_to_what_is_there() {
    let mut bench = Bench::with_target();
    bench.run(&format!("cd {T}/tpgs/1/portals/0.0.0.0:3260"));
    bench.run("delete");
    assert_eq!(bench.shell.current, format!("{T}/tpgs/1/portals"));
    bench.run(&format!("delete {T}"));
    assert_eq!(bench.shell.current, "/targets");
    bench.run("cd /backstores/ram/r");
    bench.run("/backstores/ramdisk delete r");
    assert_eq!(bench.shell.current, "/backstores/ram");
    assert!(bench.refusal("/backstores delete").contains("delete PATH"));
}

#[test]
fn our_own_forms_make_and_change_single_objects() {
    let mut bench = Bench::new();
    bench.run(&format!("create {T} alias=one"));
    bench.run(&format!("create {T}/tpgs/4 enabled=false"));
    assert_eq!(
        bench.fake.paths(),
        ["/", "/discovery", T, &format!("{T}/tpgs/4")]
    );
    let tpg = format!("{T}/tpgs/4");
    assert_eq!(bench.value(&tpg, "defaults"), None);
    bench.run(&format!("{tpg} set param.InitialR2T=Yes enabled=yes"));
    assert_eq!(
        bench.value(&tpg, "param.InitialR2T").as_deref(),
        Some("Yes")
    );
    bench.run(&format!("{tpg} unset param.InitialR2T"));
    assert_eq!(bench.value(&tpg, "param.InitialR2T"), None);
    bench.run(&format!("{tpg} disable"));
    assert_eq!(bench.value(&tpg, "enabled").as_deref(), Some("false"));
    bench.run(&format!("{T} enable"));
    assert_eq!(bench.value(&tpg, "enabled").as_deref(), Some("true"));
    bench.run("create /backstores/file/a path=a.img size=1G");
    let image = bench.folder.path().join("a.img");
    assert_eq!(
        bench.value("/backstores/file/a", "path").as_deref(),
        image.to_str()
    );
    bench.run("/backstores/file/a resize 2G");
    assert_eq!(
        bench.value("/backstores/file/a", "size").as_deref(),
        Some("2147483648")
    );
    bench.run("set drain_timeout_s=3");
    assert_eq!(bench.value("/", "drain_timeout_s").as_deref(), Some("3"));
    assert_eq!(bench.run("get drain_timeout_s"), "drain_timeout_s=3\n");
}

#[test]
fn group_got_shows_lios_names_and_values() {
    let mut bench = Bench::with_target();
    let tpg = format!("{T}/tpgs/1");
    assert_eq!(
        bench.run(&format!(
            "{tpg} get attribute authentication generate_node_acls"
        )),
        "authentication=0\ngenerate_node_acls=0\n"
    );
    let text = bench.run(&format!("{tpg} get parameter"));
    assert!(text.contains("MaxBurstLength=262144\n"), "{text}");
    bench.run(&format!(
        "{tpg} set auth userid=u password=secret_of_16_byt"
    ));
    let text = bench.run(&format!("{tpg} get auth"));
    assert!(
        text.contains("userid=u\n") && text.contains("password=***\n"),
        "{text}"
    );
    assert_eq!(bench.run("/iscsi get discovery_auth enable"), "enable=0\n");
    assert_eq!(bench.run("/iscsi get"), "groups: discovery_auth global\n");
    assert!(bench.run(&format!("{tpg} info")).contains("kind: tpg\n"));
    let error = bench.refusal(&format!("{tpg} get attribute autentication"));
    assert!(error.contains("did you mean authentication?"), "{error}");
    assert!(
        bench
            .run(&format!("{tpg} set attribute"))
            .contains("login_timeout=integer")
    );
    assert!(
        bench
            .refusal(&format!("{tpg} set colours a=b"))
            .contains("groups: attribute parameter auth global")
    );
    assert!(
        bench
            .refusal("/backstores set a=b")
            .contains("has no attributes")
    );
}

#[test]
fn refused_values_tell_what_is_legal() {
    let mut bench = Bench::with_target();
    for (line, what) in [
        (
            format!("{T}/tpgs/1 set attribute login_timeout=99"),
            "5 to 30",
        ),
        (
            format!("{T}/tpgs/1 set attribute login_timeuot=9"),
            "login_timeout",
        ),
        ("/backstores/ramdisk create r 1G".to_owned(), "r"),
        ("/backstores/ramdisk create s 1florin".to_owned(), "10GiB"),
        ("/loopback create".to_owned(), "create PATH"),
        ("frobnicate".to_owned(), "no such command"),
        ("set auth 'a".to_owned(), "not closed"),
    ] {
        let error = bench.refusal(&line);
        assert!(error.contains(what), "{line}: {error}");
    }
}

#[test]
fn change_that_is_overtaken_is_made_again_on_the_tree_as_it_is() {
    let mut bench = Bench::with_target();
    bench.fake.overtaken.set(3);
    bench.run(&format!("{T}/tpgs/1/luns create /backstores/ramdisk/r"));
    assert_eq!(bench.fake.overtaken.get(), 0);
    assert_eq!(
        bench
            .value(&format!("{T}/tpgs/1/luns/0"), "backstore")
            .as_deref(),
        Some("ram/r")
    );
    bench.fake.overtaken.set(1_000);
    let error = bench.refusal(&format!("{T}/tpgs/1/acls create {HOST}"));
    assert!(error.contains("no longer in force"), "{error}");
}

#[test]
fn tags_stand_for_all_acls_that_have_them() {
    let mut bench = Bench::with_target();
    let acls = format!("{T}/tpgs/1/acls");
    bench.run(&format!("cd {acls}"));
    bench.run("create iqn.a.b:1");
    bench.run("create iqn.a.b:2");
    bench.run("tag iqn.a.b:1 web");
    bench.run("tag iqn.a.b:2 web");
    bench.run("web/ create 3 /backstores/ramdisk/r write_protect=1");
    bench.run("web/ set auth userid=both");
    for host in ["iqn.a.b:1", "iqn.a.b:2"] {
        let acl = format!("{acls}/{host}");
        assert_eq!(bench.value(&acl, "tag").as_deref(), Some("web"));
        assert_eq!(bench.value(&acl, "chap.user").as_deref(), Some("both"));
        assert_eq!(
            bench
                .value(&format!("{acl}/luns/3"), "write_protect")
                .as_deref(),
            Some("true")
        );
    }
    assert_eq!(
        bench.run("web/ get auth userid"),
        "userid=both\nuserid=both\n"
    );
    bench.run("web/ delete 3");
    assert!(
        !bench
            .fake
            .paths()
            .iter()
            .any(|path| path.ends_with("/luns/3"))
    );
    bench.run("untag web");
    assert_eq!(bench.value(&format!("{acls}/iqn.a.b:1"), "tag"), None);
    assert!(
        bench
            .refusal("web/ set auth userid=x")
            .contains("no ACL has this tag")
    );
}

#[test]
fn preferences_and_bookmarks_are_kept_and_obeyed() {
    let mut bench = Bench::new();
    bench.run(
        "set global auto_cd_after_create=true auto_add_default_portal=no loglevel_console=info",
    );
    bench.run("/iscsi create iqn.2026-11.org.example:t");
    assert_eq!(bench.shell.current, T);
    assert!(
        !bench
            .fake
            .paths()
            .iter()
            .any(|path| path.contains("portals"))
    );
    bench.run("bookmarks add t");
    assert_eq!(bench.run("bookmarks show"), format!("@t  {T}\n"));
    bench.run("cd /");
    bench.run("@t/tpg1 set attribute authentication=1");
    assert_eq!(
        bench
            .value(&format!("{T}/tpgs/1"), "authentication")
            .as_deref(),
        Some("chap")
    );
    assert!(bench.run("ls @t").contains("enabled, CHAP"));
    bench.run("bookmarks go t");
    assert_eq!(bench.shell.current, T);
    let kept = State::load(Some(bench.folder.path().join("state"))).unwrap();
    assert_eq!(
        kept.bookmarks,
        BTreeMap::from([("t".to_owned(), T.to_owned())])
    );
    assert!(kept.preferences.is("auto_cd_after_create"));
    assert_eq!(
        bench.run("get global auto_cd_after_create"),
        "auto_cd_after_create=true\n"
    );
    bench.run("bookmarks del t");
    for line in [
        "bookmarks go t",
        "bookmarks del t",
        "bookmarks add a/b",
        "bookmarks",
        "set global a=b",
    ] {
        if line != "bookmarks" {
            bench.refusal(line);
        }
    }
}

#[test]
fn secrets_come_from_files_and_unseen_and_never_from_a_public_line() {
    let mut bench = Bench::with_target();
    let tpg = format!("{T}/tpgs/1");
    bench
        .secrets
        .borrow_mut()
        .push_back("typed unseen 16b".to_owned());
    bench.run(&format!("{tpg} set auth userid=u password=-"));
    assert_eq!(
        bench.value(&tpg, "chap.secret").as_deref(),
        Some("typed unseen 16b")
    );
    std::fs::write(bench.folder.path().join("s"), "from a file 16 b\n").unwrap();
    bench.run(&format!(
        "{tpg} set auth mutual_password_file=s mutual_userid=m"
    ));
    assert_eq!(
        bench.value(&tpg, "mutual_chap.secret").as_deref(),
        Some("from a file 16 b")
    );

    let mut public = Bench::over(Fake::default(), true);
    public.run("/iscsi create iqn.2026-11.org.example:t");
    for line in [
        "set auth password=hunter2",
        "set chap.secret=hunter2",
        "set auth mutual_password=hunter2",
    ] {
        let error = public.refusal(&format!("{tpg} {line}"));
        assert!(
            !error.contains("hunter2") && error.contains("_file=FILE"),
            "{error}"
        );
    }
    public.run(&format!("{tpg} set auth password="));
}

#[test]
fn files_are_saved_restored_and_cleared_as_asked() {
    let mut bench = Bench::with_target();
    let saved = bench.folder.path().join("save.json");
    assert!(bench.run("saveconfig").contains("is saved"));
    bench.run("saveconfig save.json");
    assert_eq!(
        std::fs::read_to_string(&saved).unwrap(),
        "saveconfig true\n"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&saved).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");

    assert!(
        bench
            .refusal("restoreconfig save.json")
            .contains("clear_existing=true")
    );
    bench.run("restoreconfig save.json clear_existing=true");
    bench.run("plan save.json");
    bench.run("apply savefile=save.json");
    let dry_runs: Vec<bool> = bench
        .fake
        .applied
        .borrow()
        .iter()
        .map(|(_, _, dry)| *dry)
        .collect();
    assert_eq!(dry_runs, [false, true, false]);
    assert_eq!(
        bench.fake.applied.borrow()[0].1.as_deref(),
        Some(bench.folder.path())
    );
    assert!(
        bench
            .refusal("restoreconfig save.json clear_existing=true target=t")
            .contains("whole")
    );
    assert!(bench.refusal("restoreconfig").contains("clear_existing"));

    bench.run("/iscsi set discovery_auth userid=d");
    bench.run("cd /backstores/ram/r");
    assert!(bench.refusal("clearconfig").contains("confirm=True"));
    bench.refusal("clearconfig confirm=False");
    bench.run("clearconfig confirm=True");
    assert_eq!(bench.fake.paths(), ["/", "/discovery"]);
    assert_eq!(bench.value("/discovery", "chap.user"), None);
    assert_eq!(bench.shell.current, "/");
    bench.run("restoreconfig save.json");
}

#[test]
fn looks_tell_what_they_are_asked() {
    let mut bench = Bench::with_target();
    let all = bench.run("ls");
    for name in [
        "/\n",
        "  targets",
        "          0.0.0.0:3260",
        "enabled, no authentication",
        "1 GiB",
    ] {
        assert!(all.contains(name), "{name}:\n{all}");
    }
    assert_eq!(bench.run("ls / 1").lines().count(), 4);
    assert!(
        bench
            .run("/iscsi ls iqn.2026-11.org.example:t 1")
            .starts_with("iqn.2026-11.org.example:t")
    );
    assert_eq!(bench.run("version"), "quintain 1.2.3\n");
    assert!(bench.run("status").contains("generation: 2\n"));
    assert!(bench.run("history").contains("/backstores/ram/r"));
    assert_eq!(bench.run("refresh"), "");
    assert_eq!(bench.run("refused"), "no login was refused\n");
    assert_eq!(bench.run("sessions"), "no sessions\n");
    assert!(bench.refusal("sessions list 3").contains("no such session"));
    bench.run("sessions end 3");
    assert_eq!(*bench.fake.ended.borrow(), [3]);
    assert!(
        bench
            .run("explain initiator=iqn.a.b:c target=iqn.a.b:d")
            .contains("0203h iqn.a.b:c iqn.a.b:d None")
    );
    assert!(bench.run("rollback 2").contains("generation 102"));
    assert!(bench.run("attributes acl").contains("chap.user"));
    assert!(
        bench
            .run("help")
            .contains("create PATH [ATTRIBUTE=VALUE ...]")
    );
    assert!(
        bench
            .run("/backstores/fileio help create")
            .starts_with("create name file_or_dev [size] [write_back]")
    );
    let help = bench.run(&format!("{T}/tpgs/1 help authentication"));
    assert!(help.contains("values: none|chap"), "{help}");
    let help = bench.run("/backstores/ram/r help emulate_write_cache");
    assert!(help.contains("our name: write_cache"), "{help}");
    assert!(
        bench
            .refusal("help autentication")
            .contains("no such command or attribute")
    );
    assert!(bench.shell.run("exit").unwrap().exit);
}

#[test]
fn words_of_a_command_line_are_a_line_and_so_is_one_quoted_word() {
    let mut bench = Bench::new();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    bench
        .shell
        .run_words(&words(&["/backstores/ramdisk", "create", "a", "1G"]))
        .unwrap();
    bench
        .shell
        .run_words(&words(&["/backstores/ramdisk create b 1G"]))
        .unwrap();
    assert_eq!(
        bench.fake.paths()[2..],
        ["/backstores/ram/a", "/backstores/ram/b"]
    );
}

#[test]
fn completion_offers_what_could_stand_there() {
    let mut bench = Bench::with_target();
    bench.run(&format!("{T}/tpgs/1/acls create {HOST}"));
    bench.run("bookmarks add home");
    std::fs::write(bench.folder.path().join("a file.img"), "").unwrap();
    let tpg = format!("{T}/tpgs/1");
    let theirs = "/iscsi/iqn.2026-11.org.example:t";
    for (line, offered) in [
        ("res", vec!["restoreconfig".to_owned()]),
        ("/t", vec!["/targets/".to_owned()]),
        ("/i", vec!["/iscsi/".to_owned()]),
        (
            "/backstores/f",
            vec![
                "/backstores/file/".to_owned(),
                "/backstores/fileio/".to_owned(),
            ],
        ),
        (
            "cd /backstores/ram/",
            vec!["cd /backstores/ram/r/".to_owned()],
        ),
        ("/iscsi/iqn", vec![format!("{theirs}/")]),
        (&format!("{theirs}/"), vec![format!("{theirs}/tpg1/")]),
        (
            &format!("{theirs}/tpg1/po"),
            vec![format!("{theirs}/tpg1/portals/")],
        ),
        (&format!("{T}/"), vec![format!("{T}/tpgs/")]),
        (&format!("{T}/tpgs/"), vec![format!("{tpg}/")]),
        (
            &format!("{tpg}/portals/"),
            vec![format!("{tpg}/portals/0.0.0.0:3260")],
        ),
        (&format!("{tpg} ena"), vec![format!("{tpg} enable")]),
        (
            &format!("{tpg} set attribute login_t"),
            vec![format!("{tpg} set attribute login_timeout=")],
        ),
        (
            &format!("{tpg} set au"),
            vec![
                format!("{tpg} set auth"),
                format!("{tpg} set auth_helper="),
                format!("{tpg} set authentication="),
            ],
        ),
        (
            &format!("{tpg} set authentication="),
            vec![
                format!("{tpg} set authentication=chap"),
                format!("{tpg} set authentication=none"),
            ],
        ),
        (
            &format!("{tpg} set enabled=t"),
            vec![format!("{tpg} set enabled=true")],
        ),
        (
            &format!("{tpg} unset param.In"),
            vec![format!("{tpg} unset param.InitialR2T")],
        ),
        (
            &format!("{tpg} get auth mutual_p"),
            vec![format!("{tpg} get auth mutual_password")],
        ),
        (
            &format!("{tpg}/luns create /backstores/ramdisk/"),
            vec![format!("{tpg}/luns create /backstores/ramdisk/r")],
        ),
        (
            &format!("{tpg}/luns create x lun"),
            vec![format!("{tpg}/luns create x lun=")],
        ),
        (
            &format!("{tpg}/acls delete iqn"),
            vec![format!("{tpg}/acls delete {HOST}")],
        ),
        (
            "/backstores/fileio create d a",
            vec!["/backstores/fileio create d a\\ file.img".to_owned()],
        ),
        (
            "/backstores/fileio create d x 1G wr",
            vec!["/backstores/fileio create d x 1G write_back=".to_owned()],
        ),
        (
            "/backstores/fileio create d x write_back=",
            vec![
                "/backstores/fileio create d x write_back=false".to_owned(),
                "/backstores/fileio create d x write_back=true".to_owned(),
            ],
        ),
        ("cd @h", vec!["cd @home".to_owned()]),
        ("bookmarks d", vec!["bookmarks del".to_owned()]),
        ("sessions d", vec!["sessions detail".to_owned()]),
        (
            "set global auto_cd",
            vec!["set global auto_cd_after_create=".to_owned()],
        ),
        (
            "rollback ",
            vec![
                "rollback 1".to_owned(),
                "rollback 2".to_owned(),
                "rollback 3".to_owned(),
            ],
        ),
        ("nonsense ", vec![]),
        ("ls 'open", vec![]),
    ] {
        assert_eq!(bench.completed(line), offered, "{line}");
    }
    assert!(bench.completed("").contains(&"ls".to_owned()));
    assert!(
        !bench.completed("").contains(&"resize".to_owned()),
        "not at /"
    );
}

#[test]
fn completion_without_a_daemon_offers_commands_only() {
    let bench = Bench::over(
        Fake {
            broken: Some(control_api::Problem::shutting_down()),
            ..Fake::default()
        },
        false,
    );
    assert_eq!(bench.completed("res"), ["restoreconfig"]);
    for line in ["/", "/targets/", "set ", "/iscsi delete ", "rollback "] {
        let offered = bench.completed(line);
        assert!(
            offered.iter().all(|text| !text.contains("iqn")),
            "{line}: {offered:?}"
        );
    }
}

#[test]
fn new_target_names_are_legal_and_drawn() {
    let name = new_target(&mut [0xab, 0, 1, 2, 3, 4, 5].into_iter());
    assert!(name.ends_with(":sn-ab0001020304"), "{name}");
    assert!(iscsi_wire::IscsiName::parse(&name).is_ok(), "{name}");
    assert_ne!(
        new_target(&mut random_bytes()),
        new_target(&mut random_bytes())
    );
}
