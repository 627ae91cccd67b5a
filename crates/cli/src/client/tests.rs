//! Commands against a control plane in memory: what they ask for, and how they end.

use std::path::Path;

use super::fake::Fake;
use super::*;
use control_api::Problem;

const TPG: &str = "/targets/iqn.2026-11.org.example:t/tpgs/1";

#[derive(Debug, clap::Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

fn run(fake: &Fake, words: &[&str]) -> Result<ExitCode> {
    let words = std::iter::once("quintain").chain(words.iter().copied());
    let parsed = <CommandLine as clap::Parser>::try_parse_from(words)?;
    run_with(&parsed.command, fake)
}

/// A command that has to work.
fn done(fake: &Fake, words: &[&str]) {
    let code = run(fake, words).unwrap_or_else(|error| panic!("{words:?}: {error:#}"));
    assert_eq!(code, ExitCode::SUCCESS, "{words:?}");
}

fn refusal(fake: &Fake, words: &[&str]) -> String {
    format!("{:#}", run(fake, words).expect_err("a refusal"))
}

fn with_target() -> Fake {
    let fake = Fake::default();
    done(&fake, &["create", "/backstores/ram/r", "size=1GiB"]);
    done(&fake, &["create", "/targets/iqn.2026-11.org.example:t"]);
    done(&fake, &["create", TPG, "attrib.login_timeout=20"]);
    fake
}

#[test]
fn create_set_and_delete_in_either_spelling_change_the_tree() {
    let fake = with_target();
    let iscsi = "/iscsi/iqn.2026-11.org.example:t/tpg1";
    done(
        &fake,
        &["create", &format!("{iscsi}/luns/lun3"), "backstore=ram/r"],
    );
    assert_eq!(
        fake.value(&format!("{TPG}/luns/3"), "backstore").as_deref(),
        Some("ram/r")
    );
    assert_eq!(
        fake.value(TPG, "attrib.login_timeout").as_deref(),
        Some("20")
    );
    done(
        &fake,
        &[
            "set",
            iscsi,
            "param.InitialR2T=Yes",
            "--default",
            "attrib.login_timeout",
        ],
    );
    assert_eq!(fake.value(TPG, "param.InitialR2T").as_deref(), Some("Yes"));
    assert_eq!(fake.value(TPG, "attrib.login_timeout"), None);
    done(&fake, &["resize", "/backstores/ramdisk/r", "2GiB"]);
    assert_eq!(
        fake.value("/backstores/ram/r", "size").as_deref(),
        Some("2147483648")
    );
    assert!(
        run(&fake, &["delete", "/backstores/ram/r"]).is_err(),
        "a LUN shows it"
    );
    done(&fake, &["delete", "--cascade", "backstores/ram/r"]);
    assert!(!fake.paths().contains(&format!("{TPG}/luns/3")));
}

#[test]
fn create_file_backstore_names_the_file_where_the_caller_is() {
    let folder = Path::new("/somewhere/else");
    let made = |path: &str, file: &str| {
        let attributes = [("path".to_owned(), serde_json::Value::from(file))].into();
        match verbs::create(path.to_owned(), attributes, folder) {
            Change::Create { attributes, .. } => attributes["path"].as_str().map(ToOwned::to_owned),
            other => panic!("{other:?}"),
        }
    };
    let file = "/backstores/file/a";
    assert_eq!(
        made(file, "a.img").as_deref(),
        Some("/somewhere/else/a.img")
    );
    assert_eq!(made(file, "/srv/a.img").as_deref(), Some("/srv/a.img"));
    assert_eq!(made("/targets/t", "a.img").as_deref(), Some("a.img"));
}

#[test]
fn enable_and_disable_of_a_target_are_of_all_its_groups() {
    let fake = with_target();
    done(
        &fake,
        &["create", "/targets/iqn.2026-11.org.example:t/tpgs/2"],
    );
    done(&fake, &["disable", "/targets/iqn.2026-11.org.example:t"]);
    for tag in [1, 2] {
        let path = format!("/targets/iqn.2026-11.org.example:t/tpgs/{tag}");
        assert_eq!(fake.value(&path, "enabled").as_deref(), Some("false"));
    }
    assert_eq!(
        fake.committed.borrow().last().map(Vec::len),
        Some(2),
        "one transaction"
    );
    done(&fake, &["enable", TPG]);
    assert_eq!(fake.value(TPG, "enabled").as_deref(), Some("true"));
    assert!(refusal(&fake, &["enable", "/backstores/ram/r"]).contains("/targets/IQN/tpgs/1"));
    assert!(refusal(&fake, &["resize", TPG, "1G"]).contains("/backstores/file"));
}

#[test]
fn dry_run_changes_nothing_and_exits_with_3_where_something_would() {
    let fake = with_target();
    let before = fake.paths();
    let code = run(&fake, &["delete", TPG, "--dry-run"]).unwrap();
    assert_eq!(code, ExitCode::from(3));
    let code = run(&fake, &["set", TPG, "attrib.login_timeout=20", "--dry-run"]).unwrap();
    assert_eq!(code, ExitCode::SUCCESS, "it is so already");
    assert_eq!(fake.paths(), before);
}

#[test]
fn plan_and_apply_send_the_text_with_the_folder_of_the_file() {
    let fake = Fake::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "# nothing\n").unwrap();
    let name = file.to_str().unwrap();
    assert_eq!(run(&fake, &["plan", name]).unwrap(), ExitCode::from(3));
    assert_eq!(
        run(&fake, &["apply", name, "--dry-run"]).unwrap(),
        ExitCode::from(3)
    );
    done(&fake, &["apply", name]);
    let calls = fake.applied.borrow();
    let base = Some(folder.path().to_owned());
    let call = |dry_run| ("# nothing\n".to_owned(), base.clone(), dry_run);
    assert_eq!(*calls, [call(true), call(true), call(false)]);
    let missing = refusal(&fake, &["plan", "/nonexistent/a.toml"]);
    assert!(
        missing.contains("/nonexistent/a.toml") && missing.contains("name a"),
        "{missing}"
    );
}

#[test]
fn unknown_name_got_tells_the_nearest() {
    let fake = with_target();
    done(&fake, &["get", TPG]);
    done(&fake, &["get", TPG, "enabled", "chap.user"]);
    done(&fake, &["get", TPG, "enabled", "--json"]);
    let error = refusal(&fake, &["get", TPG, "param.InitialR2"]);
    assert!(error.contains("did you mean param.InitialR2T?"), "{error}");
    let error = refusal(&fake, &["get", TPG, "xyzzyxyzzyxyzzy"]);
    assert!(error.contains("quintain attributes tpg"), "{error}");
    let answer = fake.tree(TPG, 0).unwrap();
    let text = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        verbs::values_text(&fake, &answer.object, &names).unwrap()
    };
    assert_eq!(text(&["enabled"]), "true\n");
    assert_eq!(
        text(&["enabled", "chap.user"]),
        "enabled=true\nchap.user=\n"
    );
}

#[test]
fn every_report_works_as_text_and_as_json() {
    let fake = with_target();
    let login = ["--initiator", "iqn.a.b:c", "--target", "iqn.a.b:d"];
    let table: [&[&str]; 9] = [
        &["ls"],
        &["ls", "/targets", "--depth", "9"],
        &["history"],
        &["sessions"],
        &["sessions", "--detail"],
        &["log", "--refused"],
        &["status"],
        &["attributes"],
        &["attributes", "tpg"],
    ];
    for words in table {
        done(&fake, words);
        done(&fake, &[words, &["--json"]].concat());
    }
    done(&fake, &[&["explain"], &login[..]].concat());
    done(
        &fake,
        &["export", "--format", "saveconfig", "--with-secrets"],
    );
    done(&fake, &["rollback", "1"]);
    for words in [
        &["log"][..],
        &["explain", "--target", "x"],
        &["set", "/"],
        &["export", "--format", "ini"],
    ] {
        let error = run(&fake, words)
            .expect_err("usage")
            .downcast::<clap::Error>();
        assert_eq!(error.expect("usage").exit_code(), 2, "{words:?}");
    }
}

#[test]
fn refused_command_tells_the_daemons_lines() {
    let problem = Problem::forbidden("this needs the role admin").with_hint("ask as root");
    let fake = Fake {
        broken: Some(problem),
        ..Fake::default()
    };
    for words in [
        &["ls"][..],
        &["get", "/"],
        &["set", "/", "drain_timeout_s=3"],
        &["create", "/targets/iqn.2026-11.org.example:t"],
        &["delete", TPG],
        &["enable", TPG],
        &["disable", "/targets/iqn.2026-11.org.example:t"],
        &["history"],
        &["rollback", "1"],
        &["export"],
        &["status"],
    ] {
        let error = run(&fake, words).expect_err("a refusal");
        let refused = error.downcast_ref::<Refused>().expect("the daemon's");
        assert_eq!(
            refused.0,
            ["this needs the role admin; ask as root"],
            "{words:?}"
        );
    }
}
