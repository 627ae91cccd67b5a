//! The stream of events. A thread of its own waits for the daemon's next event and hands it to the connection through a
//! bounded queue: a reader that lets the queue fill is dropped, not waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use control_api::{Event, Problem};
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;

use super::super::answer::{self, Answer, EVENT_STREAM};
use super::Shared;

/// How often the thread looks whether reader or daemon are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often a silent stream says that it is there.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// Everything that happens from now on, as server-sent events
///
/// Each event has its name in `event` and a JSON document in `data`. The stream ends when the daemon stops, or when the
/// reader is too slow: then look at the tree again.
#[utoipa::path(get, path = "/v1/events", tag = "daemon",
    responses((status = 200, body = Event, content_type = "text/event-stream")))]
pub(super) async fn events(State(face): Shared) -> Answer {
    let permit = Arc::clone(&face.watchers)
        .try_acquire_owned()
        .map_err(|_| {
            Problem::new(
                503,
                "too_many_watchers",
                "too many watch the events already",
            )
        })?;
    let events = face.calls.look(|control| control.subscribe()).await?;
    let (waiting, lines) = mpsc::channel(face.limits.waiting_events.max(2));
    let bridge = Bridge {
        events,
        waiting,
        is_stopping: Arc::clone(&face.is_stopping),
        _permit: permit,
    };
    std::thread::Builder::new()
        .name("api-events".to_owned())
        .spawn(move || bridge.run())
        .map_err(|error| Problem::internal(format!("the stream cannot start: {error}")))?;
    Ok(answer::response(
        StatusCode::OK,
        EVENT_STREAM,
        Body::new(Lines(lines)),
    ))
}

struct Bridge {
    events: Receiver<Event>,
    waiting: mpsc::Sender<Bytes>,
    is_stopping: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Bridge {
    fn run(self) {
        // The first comment tells the reader that it is subscribed.
        let mut is_open = self.send(Bytes::from_static(b": watching\n\n"));
        let mut last = Instant::now();
        while is_open && !self.is_stopping.load(Ordering::Acquire) && !self.waiting.is_closed() {
            match self.events.recv_timeout(LOOK_INTERVAL) {
                Ok(event) => {
                    is_open = self.send(emit(&event));
                    last = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) if last.elapsed() >= COMMENT_INTERVAL => {
                    is_open = self.send(Bytes::from_static(b":\n\n"));
                    last = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn send(&self, lines: Bytes) -> bool {
        self.waiting.try_send(lines).is_ok()
    }
}

/// One event. JSON has no raw line ends, so that one `data` line holds it.
fn emit(event: &Event) -> Bytes {
    // An event is strings and numbers: writing it cannot fail.
    let data = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!("event: {}\ndata: {data}\n\n", event.name()))
}

/// What waits, as a body.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|lines| lines.map(|lines| Ok(Frame::data(lines))))
    }
}
