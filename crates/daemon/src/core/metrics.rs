//! Counters and gauges as OpenMetrics text.

use std::fmt::Write;

use engine::{Counters, Engine};

use crate::isns::IsnsClient;

/// One metric: its name, whether it only grows, what it tells, and where it is read.
struct Row<T>(&'static str, Kind, &'static str, fn(&T) -> u64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

use Kind::{Counter, Gauge};

/// What the workers count.
const COUNTED: &[Row<Counters>] = &[
    Row("sessions", Gauge, "Sessions in full feature phase.", |c| {
        c.sessions
    }),
    Row(
        "logins_in_progress",
        Gauge,
        "Connections that are logging in.",
        |c| c.logins,
    ),
    Row(
        "logins_accepted",
        Counter,
        "Logins that became a session.",
        |c| c.logins_accepted,
    ),
    Row(
        "logins_refused",
        Counter,
        "Logins refused with a status.",
        |c| c.logins_refused,
    ),
    Row(
        "logins_redirected",
        Counter,
        "Logins sent to another address.",
        |c| c.logins_redirected,
    ),
    Row("commands", Counter, "SCSI commands begun.", |c| c.commands),
    Row("read_bytes", Counter, "Bytes read by initiators.", |c| {
        c.read_bytes
    }),
    Row(
        "written_bytes",
        Counter,
        "Bytes written by initiators.",
        |c| c.written_bytes,
    ),
    Row(
        "task_set_full",
        Counter,
        "Commands answered TASK SET FULL for want of memory.",
        |c| c.task_set_full,
    ),
    Row("aborted_tasks", Counter, "Tasks aborted.", |c| c.aborted),
    Row(
        "panics",
        Counter,
        "Panics caught at the edge of a connection or a logical unit.",
        |c| c.panics,
    ),
];

/// What the engine is.
const BEING: &[Row<Engine>] = &[
    Row(
        "generation",
        Gauge,
        "Generation of the configuration in force.",
        |e| e.tree().generation,
    ),
    Row("targets", Gauge, "Targets there are.", |e| {
        e.tree().target_count() as u64
    }),
    Row(
        "degraded_backstores",
        Gauge,
        "Backstores that wait for their device.",
        |e| e.degraded().len() as u64,
    ),
    Row(
        "remnants",
        Gauge,
        "Removed backstores that wait for their last I/O.",
        |e| e.remnants().len() as u64,
    ),
    Row("workers", Gauge, "Worker threads.", |e| e.workers() as u64),
];

/// What is known elsewhere.
const TOLD: &[Row<IsnsClient>] = &[Row(
    "isns_registered_targets",
    Gauge,
    "Targets that the iSNS server was told of.",
    |isns| isns.registered() as u64,
)];

/// The whole answer, with its end mark.
pub(super) fn metrics(engine: &Engine, isns: &IsnsClient) -> String {
    let mut text = String::new();
    put(&mut text, COUNTED, &engine.counters());
    put(&mut text, BEING, engine);
    put(&mut text, TOLD, isns);
    text.push_str("# EOF\n");
    text
}

fn put<T>(text: &mut String, rows: &[Row<T>], of: &T) {
    for Row(name, kind, help, value) in rows {
        let (kind, suffix) = match kind {
            Counter => ("counter", "_total"),
            Gauge => ("gauge", ""),
        };
        let value = value(of);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# TYPE quintain_{name} {kind}\n# HELP quintain_{name} {help}\nquintain_{name}{suffix} {value}\n"
        );
    }
}
