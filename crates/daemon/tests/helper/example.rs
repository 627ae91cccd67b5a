//! The example helper of the documentation, as it stands there.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auth::{ChapAlgorithm, ChapError, Policy, Refusal, Secret, Verdict, VerifyRequest, chap};
use daemon::helper::{HelperAuthenticator, HelperConfig};
use serde_json::{Value, json};

use crate::ask::{name, policy, request, verify};
use crate::server::eventually;
use crate::suite::{ALICE, BOB, End, LOGIN, Login, TARGET, log_in};

/// The program, and its files. Dropped, it is killed.
struct Example {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Example {
    fn start(users: &Value) -> Self {
        let mut example = Self {
            folder: tempfile::tempdir().expect("a folder"),
            child: None,
        };
        example.write(&users.to_string(), 0o600);
        example.run();
        example
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("helper.sock")
    }

    fn users(&self) -> PathBuf {
        self.folder.path().join("users.json")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Another file takes the place of the one before, as an editor does it.
    fn write(&self, text: &str, mode: u32) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, text).expect("a file");
        std::fs::set_permissions(&fresh, Permissions::from_mode(mode)).expect("an own file");
        std::fs::rename(fresh, self.users()).expect("a file");
    }

    fn command(&self) -> Command {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/auth-helper.py");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a file");
        let mut command = Command::new("python3");
        command
            .arg(program)
            .args([self.socket(), self.users()])
            .stdin(Stdio::null())
            .stderr(log);
        command
    }

    fn run(&mut self) {
        self.child = Some(self.command().spawn().expect("python3 is there"));
        eventually("the helper listens", || {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("a child");
            assert_eq!(
                ended,
                None,
                "{}",
                std::fs::read_to_string(self.log()).unwrap_or_default()
            );
            UnixStream::connect(self.socket()).is_ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }

    fn helper(&self) -> HelperAuthenticator {
        let config = HelperConfig {
            // A machine under load takes its time to start an interpreter's thread.
            timeout: Duration::from_secs(30),
            ..HelperConfig::new(self.socket())
        };
        HelperAuthenticator::start(config, None).expect("a thread")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.kill();
    }
}

fn full(text: &str) -> String {
    name(text).as_str().to_owned()
}

fn users() -> Value {
    json!({
        "users": {
            ALICE.0: {"secret": ALICE.1},
            BOB.0: {"secret_hex": "626f622773206c6f6e6720736563726574",
                    "targets": [full("bobs")], "acl": full("template")},
        },
        "target": {"name": TARGET.0, "secret": TARGET.1},
        "open": [full("installer")],
        "deny": [full("stolen")],
    })
}

#[test]
fn example_every_row_ends_as_it_should() {
    use ChapAlgorithm::{Md5, Sha1, Sha3_256, Sha256};
    let example = Example::start(&users());
    let helper = example.helper();
    let failed = |refusal| End::Failed(ChapError::Denied(refusal));
    let wrong = |user| Login { user, ..LOGIN };
    let mut table = vec![
        (LOGIN, End::In("alice", Sha3_256, false)),
        (
            Login {
                target: None,
                ..LOGIN
            },
            End::In("alice", Sha3_256, false),
        ),
        (wrong(("alice", BOB.1)), failed(Refusal::WrongResponse)),
        (wrong(("carol", ALICE.1)), failed(Refusal::UnknownUser)),
        (wrong(("alice", TARGET.1)), failed(Refusal::SameSecret)),
        (wrong(BOB), failed(Refusal::NotAuthorized)),
        (
            Login {
                user: BOB,
                target: None,
                ..LOGIN
            },
            failed(Refusal::NotAuthorized),
        ),
        (
            Login {
                user: BOB,
                target: Some("bobs"),
                ..LOGIN
            },
            End::In("bob", Sha3_256, false),
        ),
        (
            Login {
                asks_for_proof: true,
                reflects: true,
                ..LOGIN
            },
            End::Failed(ChapError::ReflectedChallenge),
        ),
        (
            Login {
                initiator: "installer",
                ..LOGIN
            },
            End::Open,
        ),
        (
            Login {
                initiator: "stolen",
                ..LOGIN
            },
            End::Denied(Refusal::NotAuthorized),
        ),
    ];
    for (algorithms, algorithm) in [("5", Md5), ("6", Sha1), ("7", Sha256), ("8", Sha3_256)] {
        let login = Login {
            algorithms,
            asks_for_proof: true,
            ..LOGIN
        };
        table.push((login, End::In("alice", algorithm, true)));
    }
    for (login, end) in table {
        assert_eq!(log_in(&login, &helper), end, "{login:?}");
    }
}

#[test]
fn example_names_the_acl_of_its_file_and_takes_any_name() {
    let example = Example::start(&users());
    let helper = example.helper();
    let secret = Secret::new(BOB.1.as_bytes().to_vec());
    let question = VerifyRequest {
        request: request("host1", Some("bobs")),
        algorithm: ChapAlgorithm::Md5,
        identifier: 1,
        challenge: vec![1; 32],
        name: BOB.0.to_owned(),
        response: chap::response(ChapAlgorithm::Md5, 1, &secret, &[1; 32]),
        mutual: None,
    };
    let acl = Some(name("template"));
    assert_eq!(
        verify(&helper, &question),
        Verdict::Allow { mutual: None, acl }
    );
    for odd in ["b\"ob\\", "\u{1f980}\u{2028}", "{}", "__class__"] {
        let odd = VerifyRequest {
            name: odd.to_owned(),
            ..question.clone()
        };
        assert_eq!(verify(&helper, &odd), Verdict::Deny(Refusal::UnknownUser));
    }
}

#[test]
fn example_with_a_file_that_changes_answers_by_the_file() {
    let mut example = Example::start(&json!({"users": {}}));
    let helper = example.helper();
    let ask = |helper: &HelperAuthenticator| policy(helper, &request("installer", None));
    assert!(matches!(ask(&helper), Policy::Chap(_)));
    example.write(&users().to_string(), 0o600);
    assert_eq!(ask(&helper), Policy::Open);
    let unavailable = Policy::Deny(Refusal::Unavailable);
    let text = users().to_string();
    for (text, mode) in [
        (&*text, 0o640),
        (&*text, 0o604),
        ("{", 0o600),
        ("{}", 0o600),
        (r#"{"users": {"a": {}}}"#, 0o600),
        (r#"{"users": {"a": {"secret": ""}}}"#, 0o600),
        (
            r#"{"users": {"a": {"secret_hex": "a secret in a wrong place"}}}"#,
            0o600,
        ),
        ("[]", 0o600),
    ] {
        example.write(text, mode);
        assert_eq!(ask(&helper), unavailable, "{text} {mode:o}");
    }
    let told = std::fs::read_to_string(example.log()).expect("its log");
    assert!(told.contains("chmod 600"), "{told}");
    assert!(!told.contains("secret in a wrong place"), "{told}");
    example.write(&text, 0o600);
    assert_eq!(ask(&helper), Policy::Open);
    // Killed, it leaves its socket behind, which the next one replaces.
    example.kill();
    eventually("a refusal", || ask(&helper) == unavailable);
    example.run();
    eventually("an answer", || ask(&helper) == Policy::Open);
    let mode = std::fs::metadata(example.socket())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second one does not take its place.
    let second = example.command().status().expect("python3 is there");
    assert!(!second.success());
    assert_eq!(ask(&helper), Policy::Open);
}
