//! The listener, its connections, and how they end.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use control_api::Problem;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::PROBLEM;
use super::roles::no_role;
use super::routes;
use super::stream::TimedStream;
use super::{Face, Limits, RoleRules};
use crate::control::{Caller, Control, Role};

/// A request's head, buffered whole.
const HEAD_BYTES: usize = 64 << 10;
/// Header lines of a request.
const HEADERS: usize = 64;
/// One connection of so many is kept for admins, so that no crowd of viewers locks them out.
const KEPT_PART: usize = 8;
/// How long to wait before accepting again where descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Calls beyond these: a stream's subscription, and slack.
const SPARE_THREADS: usize = 2;

/// The HTTP server. Dropping it stops it at once: changes that were begun go on, their callers get no answer.
#[derive(Debug)]
pub struct ApiServer {
    stop: watch::Sender<Option<Duration>>,
    thread: Option<JoinHandle<Stopped>>,
}

/// How a stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every request that had begun got its answer.
    Clean,
    /// Some had not at the deadline; so many connections were cut.
    Cut(usize),
}

/// What each connection is served with.
#[derive(Clone)]
struct Host {
    router: Router,
    roles: Arc<RoleRules>,
    limits: Arc<Limits>,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<Option<Duration>>,
}

impl ApiServer {
    /// As [`ApiServer::start`], with other bounds.
    ///
    /// # Errors
    /// The runtime, the thread or the listener cannot be set up.
    pub fn start_with(
        listener: UnixListener,
        control: Arc<dyn Control>,
        roles: RoleRules,
        limits: Limits,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits.looks + limits.changes + SPARE_THREADS)
            .build()?;
        let (stop, stopping) = watch::channel(None);
        let face = Arc::new(Face::new(control, limits.clone()));
        let host = Host {
            router: routes::service(&face),
            roles: Arc::new(roles),
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits: Arc::new(limits),
            stop: stopping,
        };
        let listener = {
            let _guard = runtime.enter();
            tokio::net::UnixListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || run(runtime, listener, host, &face))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Accepts no more, lets the requests that have begun end, and returns at the deadline at the latest.
    #[must_use]
    pub fn stop(mut self, deadline: Duration) -> Stopped {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Duration) -> Stopped {
        self.stop.send_replace(Some(deadline));
        // The thread's own panic was logged by the hook; there is nothing left to wait for.
        self.thread.take().map_or(Stopped::Clean, |thread| {
            thread.join().unwrap_or(Stopped::Cut(0))
        })
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn run(runtime: Runtime, listener: tokio::net::UnixListener, host: Host, face: &Face) -> Stopped {
    let stopped = runtime.block_on(serve(listener, host, face));
    // A call that blocks still cannot be taken back: its thread ends with it, and nobody waits.
    runtime.shutdown_background();
    stopped
}

async fn serve(listener: tokio::net::UnixListener, mut host: Host, face: &Face) -> Stopped {
    let patience = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => host.accept(stream),
                Err(error) => {
                    tracing::warn!(%error, "the control socket accepts nobody for a moment");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = host.stop.changed() => break host.stop.borrow().unwrap_or_default(),
        }
    };
    face.is_stopping.store(true, Ordering::Release);
    drop(listener);
    // Every connection holds one permit: having all of them means that none is left.
    let all = u32::try_from(host.limits.connections).unwrap_or(u32::MAX);
    match timeout_at(
        Instant::now() + patience,
        host.connections.acquire_many(all),
    )
    .await
    {
        Ok(_) => Stopped::Clean,
        Err(_) => {
            let left = host.limits.connections - host.connections.available_permits();
            tracing::warn!(left, "control connections are cut at the deadline");
            Stopped::Cut(left)
        }
    }
}

impl Host {
    fn accept(&self, stream: UnixStream) {
        // Who has no role holds no place, however often it knocks.
        let Some(caller) = self.caller(&stream) else {
            return refuse_connection(&stream, &no_role());
        };
        let is_kept = self.connections.available_permits() <= self.limits.connections / KEPT_PART;
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        match permit {
            Ok(permit) if caller.role == Role::Admin || !is_kept => {
                let host = self.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    host.serve_connection(stream, caller).await;
                });
            }
            _ => {
                let detail = "the control socket is crowded";
                let problem = Problem::new(503, "too_many_connections", detail)
                    .with_hint("close connections that are not used");
                refuse_connection(&stream, &problem);
            }
        }
    }

    fn caller(&self, stream: &UnixStream) -> Option<Caller> {
        let peer = stream.peer_cred().ok()?;
        let (uid, gid, pid) = (peer.uid(), peer.gid(), peer.pid().unwrap_or(0));
        let role = self.roles.role(uid, gid)?;
        Some(Caller {
            uid,
            gid,
            pid,
            role,
        })
    }

    async fn serve_connection(mut self, stream: UnixStream, caller: Caller) {
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request| {
            request.extensions_mut().insert(caller);
            router.call(request)
        });
        let stream = TimedStream::new(stream, self.limits.write_timeout);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.stop.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a control connection ended early");
        }
    }
}

/// As much of an answer as fits into the socket's buffer, which is all of it.
fn refuse_connection(stream: &UnixStream, problem: &Problem) {
    let body = serde_json::to_string(problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {PROBLEM}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        problem.status,
        problem.title,
        body.len()
    );
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        tracing::debug!(%error, "a refused connection was gone already");
    }
}
