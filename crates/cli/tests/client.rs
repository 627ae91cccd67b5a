//! The client commands as processes against a real daemon: what each does, what each refuses, how each ends.

mod support;

use std::os::unix::process::CommandExt;

use initiator::Config;
use serde_json::Value;
use support::host::{Host, discover, with_chap};
use support::{Bench, ended, refusal};

const TARGET: &str = "iqn.2026-11.org.example:disk";
const GROUP: &str = "/targets/iqn.2026-11.org.example:disk/tpgs/1";
const HOST: &str = "iqn.2026-11.org.example:host1";
const SECRET: &str = "thirteen-bytes-or-more";

/// A disk behind a portal on loopback, for one initiator.
fn with_disk() -> Bench {
    let bench = Bench::new();
    let acl = format!("{GROUP}/acls/{HOST}");
    for words in [
        &[
            "create",
            "/backstores/file/disk",
            "path=disk.img",
            "size=8MiB",
        ][..],
        &["create", &format!("/targets/{TARGET}")],
        &["create", GROUP],
        &["create", &format!("{GROUP}/luns/0"), "backstore=disk"],
        &["create", &acl],
        &["create", &format!("{GROUP}/portals/127.0.0.1:0")],
    ] {
        bench.ok(words);
    }
    bench
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn commands_from_nothing_make_a_disk_that_discovery_finds_and_a_host_uses() {
    let bench = with_disk();
    let portal = bench.portal();
    assert_eq!(
        discover(portal, HOST),
        [(TARGET.to_owned(), vec![format!("{portal},1")])]
    );
    assert_eq!(discover(portal, "iqn.2026-11.org.example:nobody"), []);
    let mut host = Host::login(portal, Config::normal(HOST, TARGET))
        .ok()
        .unwrap();
    host.write_and_read(7);
    assert_eq!(host.blocks(), (8 << 20) / 512);

    let sessions = bench.ok(&["sessions"]);
    assert!(
        sessions.contains(HOST) && sessions.contains(TARGET),
        "{sessions}"
    );
    let session = &json(&bench.ok(&["sessions", "--json"]))[0];
    assert_eq!(
        (&session["initiator"], &session["luns"]),
        (&HOST.into(), &1.into())
    );
    let detail = bench.ok(&["sessions", "--detail"]);
    assert!(
        detail.contains("MaxBurstLength=") && detail.contains("written: 512 bytes"),
        "{detail}"
    );

    bench.ok(&["resize", "/backstores/file/disk", "16MiB"]);
    assert_eq!(host.blocks(), (16 << 20) / 512);
    assert_eq!(
        bench.ok(&["get", "/backstores/file/disk", "size"]),
        "16777216\n"
    );

    let planned = bench.run(&["disable", GROUP, "--dry-run"]);
    assert_eq!(planned.code, Some(3), "{planned:?}");
    assert!(
        planned.stdout.contains("is asked to log out"),
        "{planned:?}"
    );
    drop(host);
    bench.ok(&["disable", &format!("/iscsi/{TARGET}")]);
    assert!(Host::login(portal, Config::normal(HOST, TARGET)).is_err());
    bench.ok(&["enable", GROUP]);
    assert!(Host::login(portal, Config::normal(HOST, TARGET)).is_ok());

    let in_use = bench.refused(&["delete", "/backstores/file/disk"]);
    assert!(in_use[0].contains("luns/0 shows it"), "{in_use:?}");
    let deleted = bench.ok(&["delete", "/backstores/file/disk", "--cascade"]);
    assert!(
        deleted.contains(&format!("deleted {GROUP}/luns/0")),
        "{deleted}"
    );
    assert!(
        bench.path("disk.img").exists(),
        "the data is nobody's to remove"
    );
}

#[test]
fn looks_print_text_values_or_json_and_refuse_names_that_are_not_there() {
    let bench = with_disk();
    let tree = bench.ok(&["ls", "/", "--depth", "9"]);
    for part in ["disk.img, 8 MiB", TARGET, HOST, "file/disk", "127.0.0.1:"] {
        assert!(tree.contains(part), "{part}: {tree}");
    }
    let answer = json(&bench.ok(&["ls", "/backstores/fileio/disk", "--json"]));
    assert_eq!(answer["object"]["path"], "/backstores/file/disk");
    assert_eq!(answer["generation"], bench.generation());
    let two = bench.ok(&["get", GROUP, "enabled", "param.InitialR2T"]);
    assert_eq!(two, "enabled=true\nparam.InitialR2T=No\n");
    let values = json(&bench.ok(&["get", GROUP, "enabled", "--json"]));
    assert_eq!(values, serde_json::json!({"enabled": true}));
    let all = bench.ok(&["get", "/"]);
    assert!(all.contains("drain_timeout_s"), "{all}");
    assert!(bench.ok(&["status"]).contains("ready: yes"));
    assert_eq!(json(&bench.ok(&["status", "--json"]))["ready"], true);
    assert!(
        bench
            .ok(&["attributes", "tpg"])
            .contains("param.MaxBurstLength")
    );

    for (words, said) in [
        (&["ls", "/backstores/file/dusk"][..], "did you mean disk?"),
        (
            &["get", "/backstores/file/disk", "sise"],
            "did you mean size?",
        ),
        (
            &["get", "/backstores/file/disk", "emulate_tpu"],
            "did you mean thin?",
        ),
        (
            &["ls", "/targets/iqn.2026-11.org.example:dish"],
            "did you mean iqn.2026-11.org.example:disk?",
        ),
        (
            &["ls", "/targets/iqn.2026-11.org.example:dish/tpgs/1"],
            "there is no /targets/iqn.2026-11.org.example:dish either",
        ),
        (&["ls", "/nowhere/x"], "names no object"),
    ] {
        let lines = bench.refused(words);
        assert!(
            lines.len() == 1 && lines[0].contains(said),
            "{words:?}: {lines:?}"
        );
    }
    for words in [
        &["frobnicate"][..],
        &["ls", "--depth", "deep"],
        &["rollback", "yesterday"],
        &["export", "--format", "xml"],
        &["log"],
        &["set", "/"],
    ] {
        let ended = bench.run(words);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{words:?}"
        );
        assert!(ended.stderr.contains("--help"), "{words:?}: {ended:?}");
    }
}

#[test]
fn invalid_changes_are_refused_with_path_reason_legal_values_and_nearest_name() {
    let bench = with_disk();
    let before = bench.generation();
    let table: [(&[&str], &[&str]); 12] = [
        (
            &["set", GROUP, "enabled=perhaps"],
            &["/tpgs/1: enabled: \"perhaps\" cannot be its value; use true or false"],
        ),
        (
            &[
                "set",
                GROUP,
                "param.MaxBurstLength=7",
                "param.InitialR2t=No",
            ],
            &[
                "param.MaxBurstLength: 7 cannot be its value; use a number from 512 to 16777215",
                "no attribute param.InitialR2t; did you mean param.InitialR2T?",
            ],
        ),
        (
            &[
                "set",
                &format!("{GROUP}/acls/{HOST}"),
                "password_file=/dev/null",
            ],
            &["an acl has no attribute password_file"],
        ),
        (
            &["create", "/backstores/fil/x", "path=x"],
            &["fil is no type of backstore; use file, block, ram or null"],
        ),
        (
            &["create", "/backstores/file/x", "path=missing.img"],
            &["missing.img: there is no such file; give it a size"],
        ),
        (
            &["create", "/backstores/ram/x"],
            &["a ram backstore needs its size; give size="],
        ),
        (
            &[
                "create",
                "/backstores/file/disk",
                "path=other.img",
                "size=1MiB",
            ],
            &["/backstores/file/disk: it exists"],
        ),
        (
            &["create", &format!("{GROUP}/luns/1"), "backstore=file/dusk"],
            &["there is no one backstore file/dusk; did you mean file/disk?"],
        ),
        (
            &["resize", "/backstores/file/disk", "1MiB"],
            &["it would shrink from 8388608 to 1048576 bytes"],
        ),
        (&["resize", GROUP, "1MiB"], &["only backstores have a size"]),
        (
            &["delete", "/backstores/file/dusk"],
            &["there is no object /backstores/file/dusk; did you mean disk?"],
        ),
        (
            &["enable", "/backstores/file/disk"],
            &["only targets and portal groups are enabled and disabled"],
        ),
    ];
    for (words, said) in table {
        let lines = bench.refused(words);
        assert_eq!(lines.len(), said.len(), "{words:?}: {lines:?}");
        for part in said {
            assert!(
                lines.iter().any(|line| line.contains(part)),
                "{words:?}: {lines:?}"
            );
        }
    }
    assert_eq!(
        bench.generation(),
        before,
        "something was changed all the same"
    );
}

const FILE: &str = r#"[[backstore]]
name = "disk"
type = "file"
path = "disk.img"
size = "8MiB"

[[target]]
name = "iqn.2026-11.org.example:disk"

[[target.tpg]]
portals = ["127.0.0.1:0"]
luns = [{ lun = 0, backstore = "disk" }]

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:host1"
"#;

#[test]
fn file_with_mistakes_is_refused_whole_with_each_at_its_line() {
    let bench = Bench::new();
    bench.write("good.toml", FILE);
    let bad = FILE
        .replace("\"8MiB\"", "\"8MuB\"")
        .replace("portals", "portlas")
        .replace("backstore = \"disk\"", "backstore = \"dusk\"");
    bench.write("bad.toml", &bad);
    let expected = [
        "bad.toml:5: /backstores/file/disk: size: \"8MuB\" cannot be its value",
        "bad.toml:11: portlas is no key here; did you mean portals?",
        "bad.toml:12: ",
    ];
    for command in ["plan", "apply"] {
        let lines = bench.refused(&[command, "bad.toml"]);
        assert_eq!(lines.len(), expected.len(), "{command}: {lines:?}");
        for (line, start) in lines.iter().zip(expected) {
            assert!(line.starts_with(start), "{command}: {line}");
        }
    }
    let checked = bench.run(&["check", "bad.toml"]);
    assert_eq!(checked.code, Some(1));
    for start in expected {
        assert!(
            checked.stderr.lines().any(|line| line.starts_with(start)),
            "{checked:?}"
        );
    }
    assert_eq!(
        (bench.generation(), bench.path("disk.img").exists()),
        (0, false)
    );

    // What only the running tree forbids is told at its line too.
    bench.ok(&["apply", "good.toml"]);
    bench.write("less.toml", &FILE.replace("\"8MiB\"", "\"1MiB\""));
    let lines = bench.refused(&["plan", "less.toml"]);
    assert!(
        lines[0].starts_with("less.toml:1: /backstores/file/disk: it would shrink"),
        "{lines:?}"
    );
    bench.write(
        "other.toml",
        &FILE.replace("size = \"8MiB\"", "size = \"8MiB\"\nblock_size = 4096"),
    );
    let lines = bench.refused(&["plan", "other.toml"]);
    assert!(
        lines[0].starts_with("other.toml:6: /backstores/file/disk: block_size is fixed"),
        "{lines:?}"
    );
    // So is what the machine does not have.
    let absent = FILE.replace(
        "path = \"disk.img\"\nsize",
        "path = \"/nowhere/x.img\"\nsize",
    );
    bench.write(
        "absent.toml",
        &absent
            .replace("name = \"disk\"", "name = \"other\"")
            .replace("backstore = \"disk\"", "backstore = \"other\""),
    );
    let lines = bench.refused(&["apply", "absent.toml"]);
    assert!(
        lines.len() == 1
            && lines[0].starts_with("absent.toml:1: /backstores/file/other: ")
            && lines[0].contains("create the folder first"),
        "{lines:?}"
    );
    // TEST-NET-1 (RFC 5737): no machine's own.
    bench.write("away.toml", &FILE.replace("127.0.0.1:0", "192.0.2.1:3260"));
    let lines = bench.refused(&["apply", "away.toml"]);
    assert!(
        lines.len() == 1
            && lines[0].starts_with("away.toml:11: ")
            && lines[0].contains("no such address"),
        "{lines:?}"
    );
    let lines = bench.refused(&["apply", "nowhere.toml"]);
    assert!(
        lines[0].starts_with("nowhere.toml: there is no such file"),
        "{lines:?}"
    );
}

#[test]
fn plan_and_apply_of_a_file_are_told_by_their_exit_codes() {
    let bench = Bench::new();
    bench.write("q.toml", FILE);
    let planned = bench.run(&["plan", "q.toml"]);
    assert_eq!(planned.code, Some(3), "{planned:?}");
    assert!(
        planned
            .stdout
            .contains("would create /backstores/file/disk"),
        "{planned:?}"
    );
    assert!(!bench.path("disk.img").exists(), "a plan made something");
    let dry = bench.run(&["apply", "q.toml", "--dry-run", "--json"]);
    assert_eq!(
        (dry.code, &json(&dry.stdout)["dry_run"]),
        (Some(3), &true.into())
    );
    let applied = bench.ok_with(&["apply", "-"], FILE);
    assert!(applied.ends_with("generation 1 is in force\n"), "{applied}");
    assert!(Host::login(bench.portal(), Config::normal(HOST, TARGET)).is_ok());
    // The port that was chosen is no difference worth a change of its own: the file asks for any.
    let text = FILE.replace("127.0.0.1:0", &bench.portal().to_string());
    bench.write("q.toml", &text);
    let again = bench.ok(&["plan", "q.toml"]);
    assert_eq!(again, "nothing would change in generation 1\n");
    assert_eq!(
        bench.ok(&["apply", "q.toml"]),
        "nothing to change; generation 1 is in force\n"
    );
}

#[test]
fn export_in_either_format_is_applied_again_and_changes_nothing() {
    let bench = with_disk();
    bench.write_secret("secret", SECRET);
    let acl = format!("{GROUP}/acls/{HOST}");
    bench.ok(&["set", &acl, "chap.user=u", "chap.secret_file=secret"]);
    for (format, secrets) in [
        ("toml", false),
        ("toml", true),
        ("saveconfig", false),
        ("saveconfig", true),
    ] {
        let mut words = vec!["export", "--format", format];
        words.extend(secrets.then_some("--with-secrets"));
        let text = bench.ok(&words);
        assert_eq!(text.contains(SECRET), secrets, "{words:?}");
        let plan = bench.run_with(&["plan", "-"], &text);
        assert_eq!(
            (plan.code, plan.stdout.starts_with("nothing would change")),
            (Some(0), true),
            "{words:?}: {plan:?}"
        );
    }
}

#[test]
fn stale_generation_gets_a_conflict_with_the_current_one() {
    let bench = with_disk();
    bench.write("q.toml", FILE);
    let now = bench.generation();
    let stale = (now - 1).to_string();
    let disk = "/backstores/file/disk";
    for words in [
        &["set", GROUP, "enabled=false"][..],
        &["create", "/backstores/ram/x", "size=1MiB"],
        &["delete", GROUP],
        &["disable", GROUP],
        &["enable", GROUP],
        &["resize", disk, "16MiB"],
        &["apply", "q.toml"],
        &["rollback", "1"],
    ] {
        let mut with = words.to_vec();
        with.extend(["--if-generation", &stale]);
        let lines = bench.refused(&with);
        assert_eq!(
            lines,
            [format!(
                "generation {stale} is no longer in force: {now} is; look at the tree again and repeat the change on what it is now"
            )],
            "{words:?}"
        );
    }
    let current = now.to_string();
    bench.ok(&["resize", disk, "16MiB", "--if-generation", &current]);
    assert_eq!(bench.generation(), now + 1);
}

#[test]
fn secrets_come_from_files_and_input_and_are_never_told() {
    let mut bench = with_disk();
    let acl = format!("{GROUP}/acls/{HOST}");
    let literal = format!("chap.secret={SECRET}");
    for words in [
        &["set", &acl, &literal][..],
        &[
            "create",
            &format!("{GROUP}/acls/iqn.2026-11.org.example:h2"),
            &literal,
        ],
        &["set", "/discovery", &format!("mutual_chap.secret={SECRET}")],
        &["shell", &acl, "set", "auth", &format!("password={SECRET}")],
    ] {
        let lines = bench.refused(words);
        assert!(lines[0].contains("can be read by every user"), "{lines:?}");
        assert!(!lines[0].contains(SECRET), "{lines:?}");
    }
    bench.write_secret("secret", &format!("{SECRET}\n"));
    bench.ok(&["set", GROUP, "authentication=chap"]);
    bench.ok(&["set", &acl, "chap.user=u", "chap.secret_file=secret"]);
    let portal = bench.portal();
    let login = |secret| Host::login(portal, with_chap(Config::normal(HOST, TARGET), "u", secret));
    assert!(
        login(SECRET).is_ok(),
        "the file's line break is none of the secret"
    );
    assert!(login("another-secret-16").is_err());
    let other = "one-more-secret-of-many";
    bench.ok_with(&["set", &acl, "chap.secret=-"], &format!("{other}\n"));
    assert!(login(SECRET).is_err() && login(other).is_ok());

    let long = "x".repeat(300);
    let refused = bench.run_with(&["set", &acl, "chap.secret=-"], &long);
    let lines = refusal(&refused, "a secret that is too long");
    assert!(!lines[0].contains("xxx"), "{lines:?}");
    let bad = FILE.replace(
        "initiator = ",
        &format!("chap = {{ user = \"u\", secret = \"{SECRET}\", colour = 1 }}\ninitiator = "),
    );
    bench.write("bad.toml", &bad.replace("8MiB", "8MuB"));
    let mut told = bench.run(&["check", "bad.toml"]).stderr;
    for (words, code) in [
        (&["plan", "bad.toml"][..], 1),
        (&["get", &acl], 0),
        (&["get", &acl, "chap.secret", "--json"], 0),
        (&["ls", "/", "--depth", "9"], 0),
        (&["ls", "/", "--depth", "9", "--json"], 0),
        (&["export"], 0),
        (&["export", "--format", "saveconfig"], 0),
        (&["history"], 0),
        (&["history", "--json"], 0),
        (&["explain", "--initiator", HOST, "--target", TARGET], 0),
        (&["log", "--refused"], 0),
        (&["log", "--refused", "--json"], 0),
        (&["sessions", "--json"], 0),
        (&["rollback", "2", "--dry-run"], 3),
        (&["shell", &acl, "info"], 0),
        (&["shell", &acl, "get", "auth"], 0),
    ] {
        let ended = bench.run(words);
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        told.push_str(&ended.stdout);
        told.push_str(&ended.stderr);
    }
    assert_eq!(bench.ok(&["get", &acl, "chap.secret"]), "***\n");
    told.push_str(&bench.daemon_told());
    for secret in [SECRET, other, "xxx"] {
        assert!(!told.contains(secret), "{secret} is in what was told");
    }
    use std::os::unix::fs::MetadataExt;
    for file in std::fs::read_dir(bench.path("state")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().mode();
        assert_eq!(
            mode & 0o077,
            0,
            "{}: others may read it",
            file.path().display()
        );
    }
}

#[test]
fn refused_login_is_explained_and_listed_by_the_same_rule() {
    let mut bench = with_disk();
    let portal = bench.portal().to_string();
    let stranger = "iqn.2026-11.org.example:stranger";
    assert_eq!(bench.ok(&["log", "--refused"]), "no login was refused\n");
    let status = Host::login(bench.portal(), Config::normal(stranger, TARGET))
        .err()
        .unwrap();
    assert!(status.is_some(), "refused without a status");
    let refused = json(&bench.ok(&["log", "--refused", "--json"]));
    assert_eq!(refused[0]["rule"], "no_acl", "{refused}");
    assert_eq!(refused[0]["initiator"], stranger);
    let explain = [
        "explain",
        "--initiator",
        stranger,
        "--target",
        TARGET,
        "--portal",
        &portal,
    ];
    let told = bench.ok(&explain);
    assert!(
        told.contains("no_acl") && told.contains("the login is refused: 0202h"),
        "{told}"
    );
    let explained = json(&bench.ok(&[&explain[..], &["--json"]].concat()));
    assert_eq!(explained["admitted"], false);
    let log = bench.ok(&["log", "--refused"]);
    assert!(log.contains("no_acl") && log.contains(stranger), "{log}");

    let told = bench.ok(&["explain", "--initiator", HOST, "--target", TARGET]);
    assert!(
        told.contains("the login works") && told.contains("file/disk"),
        "{told}"
    );
    for (word, said) in [
        ("1.2.3.4", "no address and port"),
        ("x:y", "no address and port"),
    ] {
        let words = [
            "explain",
            "--initiator",
            HOST,
            "--target",
            TARGET,
            "--portal",
            word,
        ];
        let lines = bench.refused(&words);
        assert!(lines[0].contains(said), "{lines:?}");
    }
    // One clear line in the log, with the rule.
    let log = bench.daemon_told();
    let of_stranger: Vec<&str> = log.lines().filter(|line| line.contains(stranger)).collect();
    assert!(
        of_stranger.len() == 1 && of_stranger[0].contains("no_acl"),
        "{log}"
    );
}

#[test]
fn rollback_leads_back_and_history_tells_who_did_what() {
    let bench = with_disk();
    let before = bench.generation();
    bench.ok(&["set", GROUP, "enabled=false"]);
    let planned = bench.run(&["rollback", &before.to_string(), "--dry-run"]);
    assert_eq!(planned.code, Some(3), "{planned:?}");
    assert!(
        planned
            .stdout
            .contains(&format!("would change {GROUP}: enabled"))
    );
    bench.ok(&["rollback", &before.to_string()]);
    assert_eq!(bench.ok(&["get", GROUP, "enabled"]), "true\n");
    let history = json(&bench.ok(&["history", "--json"]));
    let entries = history.as_array().unwrap();
    assert_eq!(entries.last().unwrap()["generation"], before + 2);
    let text = bench.ok(&["history"]);
    assert!(
        text.contains("uid ") && text.contains(&format!("set {GROUP} enabled")),
        "{text}"
    );
    let lines = bench.refused(&["rollback", "99999"]);
    assert!(
        lines[0].contains("generation 99999 is not remembered"),
        "{lines:?}"
    );
}

#[test]
fn rollback_over_a_resize_is_refused_with_the_way_out_which_works() {
    let bench = with_disk();
    let disk = "/backstores/file/disk";
    let before = bench.generation().to_string();
    bench.ok(&["resize", disk, "16MiB"]);
    bench.ok(&["set", GROUP, "enabled=false"]);
    let lines = bench.refused(&["rollback", &before]);
    assert!(
        lines[0].contains("it would shrink from 16777216 to 8388608")
            && lines[0].contains("--keep-sizes"),
        "{lines:?}"
    );
    assert_eq!(bench.ok(&["get", GROUP, "enabled"]), "false\n");
    let done = bench.ok(&["rollback", &before, "--keep-sizes"]);
    assert!(done.contains(&format!("{disk} keeps its size")), "{done}");
    assert_eq!(bench.ok(&["get", GROUP, "enabled"]), "true\n");
    assert_eq!(bench.ok(&["get", disk, "size"]), "16777216\n");
}

#[test]
fn user_without_the_role_is_refused_and_an_operator_does_what_operators_may() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    let bench = Bench::with(&["--operator-group", "nogroup"]);
    bench.ok(&["create", "/backstores/ram/r", "size=1MiB"]);
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bench.folder.path(), open).unwrap();
    let as_user = |uid: u32, gid: u32, words: &[&str]| {
        let mut command = bench.command();
        command.uid(uid).gid(gid).args(words);
        ended(command, "")
    };
    // The group "nogroup" of Debian; no group at all has the other number.
    let (nobody, operators, strangers) = (65_534, 65_534, 4_242);
    let none = refusal(&as_user(nobody, strangers, &["status"]), "no role");
    assert!(
        none[0].contains("no role") || none[0].contains("may not"),
        "{none:?}"
    );
    let resized = as_user(nobody, operators, &["resize", "/backstores/ram/r", "2MiB"]);
    assert_eq!(resized.code, Some(0), "{resized:?}");
    for words in [
        &["delete", "/backstores/ram/r"][..],
        &["set", "/", "drain_timeout_s=1"],
        &["export", "--with-secrets"],
        &["rollback", "1"],
    ] {
        let lines = refusal(&as_user(nobody, operators, words), words);
        assert!(
            lines[0].contains("needs an admin; you are an operator"),
            "{lines:?}"
        );
    }
    assert_eq!(bench.generation(), 2);
}

#[test]
fn command_without_a_daemon_tells_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quintain"));
    command
        .current_dir(folder.path())
        .args(["status", "--socket", "none.sock"]);
    let lines = refusal(&ended(command, ""), "status");
    assert!(lines[0].contains("none.sock"), "{lines:?}");
}
