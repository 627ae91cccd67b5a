//! The HTTP face over a real socket, in front of a control that lives in memory.
#![cfg(feature = "api")]

mod changes;
mod document;
mod events;
mod fake;
mod load;
mod looks;
mod raw;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control_api::{Client, ClientError, Problem};
use daemon::api::{ApiServer, Limits, RoleRules};

use fake::Fake;

/// Long enough for any machine; nothing waits for it where all is well.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short enough to be waited for.
const SOON: Duration = Duration::from_millis(200);

/// A server, its control, and where it listens.
struct Rig {
    fake: Arc<Fake>,
    server: ApiServer,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control");
        let listener = UnixListener::bind(&socket).unwrap();
        let fake = Arc::new(Fake::default());
        let roles = RoleRules::new(rustix::process::getuid().as_raw());
        let control = Arc::clone(&fake) as Arc<dyn daemon::control::Control>;
        let server = ApiServer::start_with(listener, control, roles, limits).unwrap();
        Self {
            fake,
            server,
            socket,
            _folder: folder,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket).with_timeouts(PATIENCE, PATIENCE)
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One request on a connection of its own, and everything that comes back.
    fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // The server may refuse and close before it has read all.
        drop(stream.write_all(request.as_ref()));
        read_to_end(&mut stream)
    }

    /// The problem that a request is refused with.
    fn refused(&self, request: impl AsRef<[u8]>) -> Problem {
        let answer = self.raw(request);
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{answer:?}"));
        assert!(head.contains("application/problem+json"), "{answer}");
        let problem: Problem = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer:?}"));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {} ", problem.status)),
            "{answer}"
        );
        problem
    }
}

/// All that comes until the other end closes. A reset after the last byte is an end too.
fn read_to_end(stream: &mut UnixStream) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }
    String::from_utf8(all).unwrap()
}

/// A request that closes its connection.
fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Tries until it works: what it waits for is certain to come.
fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn problem_of<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Problem {
    match result {
        Err(ClientError::Problem(problem)) => problem,
        other => panic!("not refused: {other:?}"),
    }
}
