//! How the tree grows: time to load and to change, answers to initiators, and memory, at three sizes each.
//!
//! `cargo run --release -p model --example scale`; what it printed is in docs/internals/scale.md.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures, and no part of the library"
)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use iscsi_wire::IscsiName;
use model::{Asker, Change, ObjectPath, Raw, Tree, admit, visible_luns, visible_targets};

/// As many changes to one transaction: what is measured as memory is the tree, and not one huge list of changes.
const TRANSACTION: usize = 1_000;
/// How often what is quick is done; the median counts.
const TIMES: usize = 1_001;
/// Bytes of a page, as Linux counts memory on the machines that this is for.
const PAGE_BYTES: u64 = 4096;

/// What there is much of, and how much at first: it is doubled twice.
const SHAPES: [(&str, usize); 3] = [("targets", 10_000), ("acls", 100_000), ("luns", 4_096)];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [shape, count] = arguments.as_slice() {
        return measure(shape, count.parse().map_err(io::Error::other)?);
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| what | how many | made, by {TRANSACTION} | saved | loaded | read as TOML | compared | one change | its record | SendTargets | login | memory | per object |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for (shape, first) in SHAPES {
        for count in [first, 2 * first, 4 * first] {
            // A process of its own, so that its memory is that of this one tree.
            let child = Command::new(std::env::current_exe()?)
                .args([shape, &count.to_string()])
                .output()?;
            out.write_all(&child.stdout)?;
            out.write_all(&child.stderr)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn name(text: &str) -> io::Result<IscsiName> {
    IscsiName::parse(text).map_err(io::Error::other)
}

fn path(text: &str) -> io::Result<ObjectPath> {
    text.parse().map_err(io::Error::other)
}

fn target_of(index: usize) -> String {
    format!("iqn.2026-11.org.example:target-{index}")
}

fn initiator_of(index: usize) -> String {
    format!("iqn.2026-11.org.example:host-{index}")
}

fn create(text: &str, attributes: &[(&str, &str)]) -> io::Result<Change> {
    let raw = attributes
        .iter()
        .map(|(name, value)| (*name, Raw::from(*value)));
    Ok(Change::create(path(text)?, raw))
}

/// A target with everything that one initiator needs.
fn target(index: usize) -> io::Result<Vec<Change>> {
    let (target, initiator) = (target_of(index), initiator_of(index));
    let group = format!("/targets/{target}/tpgs/1");
    Ok(vec![
        create(
            &format!("/backstores/null/disk-{index}"),
            &[("size", "1GiB")],
        )?,
        create(&format!("/targets/{target}"), &[])?,
        create(&group, &[])?,
        create(&format!("{group}/portals/127.0.0.1:3260"), &[])?,
        create(
            &format!("{group}/luns/0"),
            &[("backstore", &format!("null/disk-{index}"))],
        )?,
        create(
            &format!("{group}/acls/{initiator}"),
            &[("chap.user", "host"), ("chap.secret", "a-secret-of-16-b")],
        )?,
    ])
}

/// All changes that make `count` of what `shape` names.
fn changes(shape: &str, count: usize) -> io::Result<Vec<Change>> {
    if shape == "targets" {
        let targets: Vec<Vec<Change>> = (0..count).map(target).collect::<io::Result<_>>()?;
        return Ok(targets.into_iter().flatten().collect());
    }
    let mut changes = target(0)?;
    let group = format!("/targets/{}/tpgs/1", target_of(0));
    for index in 1..count {
        changes.push(match shape {
            "acls" => create(
                &format!("{group}/acls/{}", initiator_of(index)),
                &[("chap.user", "host"), ("chap.secret", "a-secret-of-16-b")],
            )?,
            _ => create(
                &format!("{group}/luns/{index}"),
                &[("backstore", "null/disk-0")],
            )?,
        });
    }
    Ok(changes)
}

fn measure(shape: &str, count: usize) -> io::Result<()> {
    let all = changes(shape, count)?;
    let objects = all.len();
    let chunks: Vec<&[Change]> = all.chunks(TRANSACTION).collect();
    let before = resident_bytes()?;
    let (tree, made) = timed(|| make(&chunks));
    let tree = tree?;
    let memory = resident_bytes()?.saturating_sub(before);
    let (bytes, saved) = timed(|| tree.save());
    let (loaded, load) = timed(|| Tree::load(&bytes));
    let tree = loaded.map_err(io::Error::other)?;
    let toml = model::desired::to_toml(&tree, true);
    let (desired, read) = timed(|| model::desired::parse_toml(&toml, Path::new("/")));
    let desired = desired.map_err(|_| io::Error::other("what was written is legal"))?;
    let (changes, compared) = timed(|| tree.changes_to(&desired.changes));
    if !changes.is_empty() {
        return Err(io::Error::other("what was written is another state"));
    }
    let middle = count / 2;
    let (set, record) = one_change(&tree, shape, middle)?;
    let local: SocketAddr = "127.0.0.1:3260".parse().map_err(io::Error::other)?;
    let of = |index: usize| if shape == "luns" { 0 } else { index };
    let initiator = name(&initiator_of(of(middle)))?;
    let wanted = name(&target_of(if shape == "targets" { middle } else { 0 }))?;
    let asker = Asker {
        initiator: &initiator,
        local,
        group: None,
    };
    let send_targets = median(|| visible_targets(&tree, asker, None).len());
    let login = median(|| {
        let admission = admit(&tree, &initiator, &wanted, local);
        // A session's map of LUNs is made once at its login, and is as long as what it sees.
        admission.map_or(0, |admission| {
            visible_luns(&admission.group, admission.acl.as_deref()).len()
        })
    });
    writeln!(
        io::stdout().lock(),
        "| {shape} | {count} | {} | {} ({} MiB) | {} | {} | {} | {} | {} | {} | {} | {} MiB | {} B |",
        shown(made),
        shown(saved),
        bytes.len() >> 20,
        shown(load),
        shown(read),
        shown(compared),
        shown(set),
        shown(record),
        shown(send_targets),
        shown(login),
        memory >> 20,
        memory / u64::try_from(objects).unwrap_or(u64::MAX).max(1),
    )
}

/// The tree that transaction after transaction makes.
fn make(transactions: &[&[Change]]) -> io::Result<Tree> {
    let mut tree = Tree::default();
    for changes in transactions {
        let plan = tree.plan(changes).map_err(|mistakes| {
            let first = mistakes.first().map(|one| one.error.to_string());
            io::Error::other(first.unwrap_or_default())
        })?;
        tree = plan.tree;
    }
    Ok(tree)
}

/// The times of planning a change of one object in the middle of it all, and of making its record.
fn one_change(tree: &Tree, shape: &str, middle: usize) -> io::Result<(Duration, Duration)> {
    let (object, attribute) = match shape {
        "luns" => (
            format!("/targets/{}/tpgs/1/luns/{middle}", target_of(0)),
            ("write_protect", Raw::from(true)),
        ),
        _ => {
            let target = if shape == "targets" { middle } else { 0 };
            let target = target_of(target);
            let acl = initiator_of(middle);
            (
                format!("/targets/{target}/tpgs/1/acls/{acl}"),
                ("tag", Raw::from("x")),
            )
        }
    };
    let change = [Change::set(path(&object)?, [attribute])];
    let plan = tree
        .plan(&change)
        .map_err(|_| io::Error::other("it is legal"))?;
    let set = median(|| tree.plan(&change).map_or(0, |plan| plan.touched.len()));
    Ok((set, median(|| plan.record().len())))
}

/// What takes long is told by the processor's time: the machine may have other work. Linux counts that in hundredths of a
/// second, so that what is quick is told by the clock.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let (start, processor) = (Instant::now(), processor_time());
    let result = work();
    let elapsed = start.elapsed();
    let used = processor_time().saturating_sub(processor);
    if used < Duration::from_millis(100) {
        (result, elapsed)
    } else {
        (result, used)
    }
}

/// Of this process, in user space and in the kernel.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold blanks; the times are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn median(mut work: impl FnMut() -> usize) -> Duration {
    let mut once = || {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..TIMES).map(|_| once()).collect();
    times.sort();
    times.get(TIMES / 2).copied().unwrap_or_default()
}

/// Seconds, or microseconds where that is more to the point.
fn shown(time: Duration) -> String {
    if time >= Duration::from_millis(10) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{:.1} µs", time.as_secs_f64() * 1e6)
    }
}

fn resident_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.unwrap_or(0) * PAGE_BYTES)
}
