//! Counters and gauges as OpenMetrics text.

use std::fmt::Write;

use engine::Engine;

/// The whole answer, with its end mark.
pub(super) fn metrics(engine: &Engine) -> String {
    let counters = engine.counters();
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# TYPE quintain_{name} {kind}\n# HELP quintain_{name} {help}\nquintain_{name}{suffix} {value}\n"
        );
    };
    put(
        "sessions",
        "gauge",
        "Sessions in full feature phase.",
        counters.sessions,
    );
    put(
        "logins_in_progress",
        "gauge",
        "Connections that are logging in.",
        counters.logins,
    );
    put(
        "logins_accepted",
        "counter",
        "Logins that became a session.",
        counters.logins_accepted,
    );
    put(
        "logins_refused",
        "counter",
        "Logins refused with a status.",
        counters.logins_refused,
    );
    put(
        "commands",
        "counter",
        "SCSI commands begun.",
        counters.commands,
    );
    put(
        "read_bytes",
        "counter",
        "Bytes read by initiators.",
        counters.read_bytes,
    );
    put(
        "written_bytes",
        "counter",
        "Bytes written by initiators.",
        counters.written_bytes,
    );
    put(
        "task_set_full",
        "counter",
        "Commands answered TASK SET FULL for want of memory.",
        counters.task_set_full,
    );
    put(
        "aborted_tasks",
        "counter",
        "Tasks aborted.",
        counters.aborted,
    );
    put(
        "panics",
        "counter",
        "Panics caught at the edge of a connection or a logical unit.",
        counters.panics,
    );
    put(
        "generation",
        "gauge",
        "Generation of the configuration in force.",
        engine.tree().generation,
    );
    put(
        "targets",
        "gauge",
        "Targets there are.",
        engine.tree().target_count() as u64,
    );
    put(
        "degraded_backstores",
        "gauge",
        "Backstores that wait for their device.",
        engine.degraded().len() as u64,
    );
    put(
        "remnants",
        "gauge",
        "Removed backstores that wait for their last I/O.",
        engine.remnants().len() as u64,
    );
    put(
        "workers",
        "gauge",
        "Worker threads.",
        engine.workers() as u64,
    );
    text.push_str("# EOF\n");
    text
}
