//! Helpers for the tests: one that answers from a [`ChapStore`], and whatever a test scripts.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use auth::{
    ChapAlgorithm, ChapStore, Mutual, MutualChallenge, Policy, PolicyRequest, Refusal, Verdict,
    VerifyRequest,
};
use iscsi_wire::{IscsiName, Redirection};
use serde_json::{Value, json};

use crate::ask;

pub(crate) const ALGORITHMS: [(&str, ChapAlgorithm); 4] = [
    ("md5", ChapAlgorithm::Md5),
    ("sha1", ChapAlgorithm::Sha1),
    ("sha256", ChapAlgorithm::Sha256),
    ("sha3-256", ChapAlgorithm::Sha3_256),
];

/// A helper that listens; each connection runs the script on a thread of its own. Dropped, it is gone.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
    running: Option<Running>,
}

struct Running {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<UnixStream>>,
}

/// One connection's script: what it gets are the number of the connection, from 0, and its lines.
pub(crate) trait Script: Fn(usize, &mut Lines) + Send + Sync + 'static {}

impl<F: Fn(usize, &mut Lines) + Send + Sync + 'static> Script for F {}

/// A helper's end of a connection.
pub(crate) struct Lines {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Server {
    /// A place for a helper, which does not listen yet.
    pub(crate) fn absent() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            connections: Arc::default(),
            running: None,
        }
    }

    pub(crate) fn start(script: impl Script) -> Self {
        let mut server = Self::absent();
        server.listen(script);
        server
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("helper.sock")
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn listen(&mut self, script: impl Script) {
        let listener = UnixListener::bind(self.socket()).expect("a free path");
        let ended = Arc::new(AtomicBool::new(false));
        let script = Arc::new(script);
        let (connections, stop) = (Arc::clone(&self.connections), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.expect("a connection");
                open.push(stream.try_clone().expect("a descriptor"));
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
                    let mut lines = Lines { reader, stream };
                    script(number, &mut lines);
                    // The other descriptor would keep it open.
                    let _gone = lines.stream.shutdown(std::net::Shutdown::Both);
                });
            }
            open
        });
        self.running = Some(Running { ended, thread });
    }

    /// Ends as a killed helper does: the socket's file stays, and nobody listens.
    pub(crate) fn die(&mut self) {
        if let Some(running) = self.running.take() {
            running.ended.store(true, Ordering::SeqCst);
            // Wakes it.
            let _woken = UnixStream::connect(self.socket());
            for stream in running.thread.join().expect("no panic") {
                let _closed = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    pub(crate) fn restart(&mut self, script: impl Script) {
        self.die();
        std::fs::remove_file(self.socket()).expect("the socket's file");
        self.listen(script);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
    }
}

impl Lines {
    /// The next line; `None` when the connection is closed.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(1..) => Some(serde_json::from_str(&line).expect("we write JSON")),
            _ => None,
        }
    }

    /// Nothing is said if the other end has gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _gone = self.stream.write_all(bytes);
    }

    pub(crate) fn say(&mut self, line: &Value) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Takes the hello and answers with this one.
    pub(crate) fn greet(&mut self, hello: &Value) {
        let ours = self.next().expect("a hello comes first");
        assert_eq!(ours["hello"]["protocol"], 1);
        self.say(&json!({ "hello": hello }));
    }

    /// With all that a helper can.
    pub(crate) fn greet_as_usual(&mut self) {
        self.greet(&usual_hello());
    }

    /// Until the other end closes.
    pub(crate) fn stay(&mut self) {
        while self.next().is_some() {}
    }
}

pub(crate) fn usual_hello() -> Value {
    let algorithms = ALGORITHMS.map(|(name, _)| name);
    json!({"protocol": 1, "algorithms": algorithms, "mutual": true, "cache": true})
}

/// A helper with the whole of a store, or one that leaves the proof of the target to others.
pub(crate) fn store_script(store: ChapStore, mutual: bool) -> impl Script {
    move |_, lines: &mut Lines| {
        let mut hello = usual_hello();
        hello["mutual"] = mutual.into();
        lines.greet(&hello);
        while let Some(line) = lines.next() {
            lines.say(&answer(&store, mutual, &line));
        }
    }
}

/// What the store says to a question.
pub(crate) fn answer(store: &ChapStore, mutual: bool, line: &Value) -> Value {
    let id = &line["id"];
    if line["policy"].is_object() {
        let policy = ask::policy(store, &request_of(&line["policy"]));
        json!({"id": id, "policy": policy_value(policy, mutual)})
    } else {
        let question = question_of(&line["verify"]);
        assert!(mutual || question.mutual.is_none());
        json!({"id": id, "verdict": verdict_value(ask::verify(store, &question))})
    }
}

fn policy_value(policy: Policy, mutual: bool) -> Value {
    match policy {
        Policy::Open => json!({"open": true}),
        Policy::Deny(refusal) => json!({"deny": reason(refusal)}),
        Policy::Redirect(to) => json!({"redirect": redirect_value(&to)}),
        Policy::Chap(chap) => {
            let algorithms: Vec<_> = chap.algorithms.into_iter().map(algorithm_name).collect();
            let mut value = json!({"algorithms": algorithms, "none_allowed": chap.none_allowed});
            if mutual {
                value["mutual"] = match chap.mutual {
                    Mutual::Never => "never",
                    Mutual::Allowed => "allowed",
                    Mutual::Required => "required",
                }
                .into();
            }
            json!({ "chap": value })
        }
    }
}

fn verdict_value(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Deny(refusal) => json!({"deny": reason(refusal)}),
        Verdict::Redirect(to) => json!({"redirect": redirect_value(&to)}),
        Verdict::Allow { mutual, acl } => {
            let mutual =
                mutual.map(|proof| json!({"name": proof.name, "response": hex(&proof.response)}));
            let acl = acl.map(|acl| acl.as_str().to_owned());
            json!({"allow": true, "mutual": mutual, "acl": acl})
        }
    }
}

fn redirect_value(redirection: &Redirection) -> Value {
    json!({"address": redirection.to.to_string(), "permanent": redirection.permanent})
}

pub(crate) fn request_of(value: &Value) -> PolicyRequest {
    let address = |key: &str| -> SocketAddr { text(&value[key]).parse().expect("an address") };
    let tag = value["portal_group_tag"].as_u64();
    PolicyRequest {
        initiator: IscsiName::parse(text(&value["initiator"])).expect("a name"),
        target: value["target"]
            .as_str()
            .map(|name| IscsiName::parse(name).expect("a name")),
        portal_group_tag: tag.map(|tag| u16::try_from(tag).expect("a tag")),
        portal: address("portal"),
        peer: address("peer"),
    }
}

fn question_of(value: &Value) -> VerifyRequest {
    let mutual = &value["mutual"];
    VerifyRequest {
        request: request_of(value),
        algorithm: ALGORITHMS
            .into_iter()
            .find(|(name, _)| *name == value["algorithm"])
            .map(|(_, algorithm)| algorithm)
            .expect("an algorithm"),
        identifier: byte(&value["identifier"]),
        challenge: bytes(&value["challenge"]),
        name: text(&value["name"]).to_owned(),
        response: bytes(&value["response"]),
        mutual: mutual.is_object().then(|| MutualChallenge {
            identifier: byte(&mutual["identifier"]),
            challenge: bytes(&mutual["challenge"]),
        }),
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAuthorized => "not_authorized",
        Refusal::UnknownUser => "unknown_user",
        Refusal::WrongResponse => "wrong_response",
        Refusal::SameSecret => "same_secret",
        Refusal::MutualNotConfigured => "mutual_not_configured",
        Refusal::Unavailable => "unavailable",
    }
}

fn algorithm_name(algorithm: ChapAlgorithm) -> &'static str {
    ALGORITHMS
        .into_iter()
        .find(|(_, known)| *known == algorithm)
        .map(|(name, _)| name)
        .expect("a name")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn byte(value: &Value) -> u8 {
    let number = value.as_u64().expect("a number");
    u8::try_from(number).expect("a byte")
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = text(value);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until something is so, which has to come soon.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not come to be: {what}");
}

/// A path that is as good as any.
pub(crate) fn path_of(server: &Server) -> String {
    let path: &Path = &server.socket();
    path.to_str().expect("a temporary path is text").to_owned()
}
