//! `quintain check` and `quintain import` as processes.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Ended, ended};

fn quintain(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quintain"));
    command.args(arguments).current_dir(folder);
    ended(command, "")
}

const LEGAL: &str = r#"
[[backstore]]
name = "vm1"
type = "file"
path = "vm1.img"
size = "1MiB"

[[target]]
name = "iqn.2026-11.org.example:vm1"

[[target.tpg]]
luns = [{ lun = 0, backstore = "vm1" }]

[[target.tpg.acl]]
initiator = "iqn.2026-11.org.example:host1"
chap = { user = "host1", secret_file = "host1.secret" }
"#;

const SAVED: &str = r#"{
  "storage_objects": [
    {"plugin": "fileio", "name": "d", "dev": "/srv/d.img", "size": 1048576, "wwn": "serial-of-d"},
    {"plugin": "pscsi", "name": "tape", "dev": "/dev/st0"}
  ],
  "targets": [
    {"fabric": "iscsi", "wwn": "iqn.2026-01.org.example:t", "tpgs": [
      {"tag": 1, "luns": [{"index": 0, "storage_object": "/backstores/fileio/d"}],
       "node_acls": [{"node_wwn": "iqn.2026-01.org.example:h", "chap_userid": "u",
                      "chap_password": "a-secret-of-16-b", "mapped_luns": [{"index": 0, "tpg_lun": 0}]}]}]}
  ]
}
"#;

#[test]
fn check_of_a_legal_file_reads_its_secrets_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), LEGAL).unwrap();
    let secret = folder.path().join("host1.secret");
    fs::write(&secret, "short\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let output = quintain(folder.path(), &["check", "a.toml"]);
    let notes = output.stderr;
    assert_eq!(output.code, Some(0), "{notes}");
    assert_eq!(
        output.stdout,
        "a.toml: no mistakes: 1 backstores, 1 targets\n"
    );
    assert!(
        notes.contains("shorter than 12 bytes") && !notes.contains("short\n"),
        "{notes}"
    );

    fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
    let output = quintain(folder.path(), &["check", "a.toml"]);
    let lines = output.stderr;
    assert_eq!(output.code, Some(1));
    assert!(
        lines.starts_with("a.toml:16: chap.secret: ") && lines.contains("chmod 600"),
        "{lines}"
    );

    fs::remove_file(&secret).unwrap();
    let output = quintain(folder.path(), &["check", "a.toml"]);
    assert!(output.stderr.contains("a.toml:16: chap.secret: "));
    assert_eq!(output.code, Some(1));
}

#[test]
fn check_of_a_file_with_mistakes_tells_each_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = LEGAL
        .replace("size =", "sise =")
        .replace("lun = 0", "lun = 99999");
    fs::write(folder.path().join("a.toml"), wrong).unwrap();
    let output = quintain(folder.path(), &["check", "a.toml"]);
    let errors = output.stderr;
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(output.code, Some(1));
    assert_eq!(
        lines,
        [
            "a.toml:6: sise is no key here; did you mean size?",
            "a.toml:12: 99999 is no LUN; use 0 to 16383",
            "quintain: a.toml: 2 mistakes; nothing was changed",
        ]
    );
    let output = quintain(folder.path(), &["check", "missing.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("there is no such file"));
}

#[test]
fn import_of_saveconfig_is_a_file_that_check_takes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("saveconfig.json"), SAVED).unwrap();
    let output = quintain(folder.path(), &["import", "saveconfig.json"]);
    let notes = output.stderr;
    assert_eq!(output.code, Some(0), "{notes}");
    assert!(
        notes.contains("the plugin pscsi has no counterpart"),
        "{notes}"
    );
    let toml = output.stdout;
    assert!(
        toml.contains("serial = \"serial-of-d\"") && toml.contains("a-secret-of-16-b"),
        "{toml}"
    );
    fs::write(folder.path().join("b.toml"), &toml).unwrap();
    for file in ["b.toml", "saveconfig.json"] {
        let output = quintain(folder.path(), &["check", file]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }
    let output = quintain(folder.path(), &["import", "b.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("needs no import"));
}
