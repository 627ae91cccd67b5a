//! Many sessions that recover (RFC 7143 §7) on one worker with little memory, behind proxies that do harm: a short form of
//! `recovery --soak`, in one process with the engine, whose memory is set there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engine::{Engine, EngineConfig};
use interop::recovery::soak::Soak;
use interop::target::TARGET_NAME;
use model::{Change, ObjectPath, Tree};
use reactor::DriverChoice;

const SESSIONS: u8 = 32;
/// What the tasks of all sessions may hold together; a session at level 1 keeps up to 64 KiB of each of 16 commands.
const MEMORY_BYTES: usize = 6 << 20;

fn tree(level: u8) -> Tree {
    let path = |text: &str| text.parse::<ObjectPath>().expect("a path");
    let target = format!("/targets/{TARGET_NAME}");
    let group = format!("{target}/tpgs/1");
    let level = level.to_string();
    let changes = [
        Change::create(path("/backstores/ram/disk"), [("size", "64MiB".into())]),
        Change::create(path(&target), []),
        Change::create(
            path(&group),
            [
                ("generate_node_acls", true.into()),
                ("param.ErrorRecoveryLevel", level.as_str().into()),
                ("param.MaxConnections", "4".into()),
                ("param.DefaultTime2Wait", "0".into()),
                ("param.MaxRecvDataSegmentLength", "4096".into()),
            ],
        ),
        Change::create(path(&format!("{group}/portals/127.0.0.1:0")), []),
        Change::create(
            path(&format!("{group}/luns/0")),
            [("backstore", "ram/disk".into())],
        ),
    ];
    Tree::default().plan(&changes).expect("legal changes").tree
}

/// With an engine of one worker; afterwards nothing of the sessions is left.
fn with_engine(level: u8, act: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let config = EngineConfig {
        workers: Some(1),
        driver: DriverChoice::Epoll,
        memory_budget_bytes: MEMORY_BYTES,
        ..EngineConfig::default()
    };
    let engine = Engine::start(config, tree(level))?;
    let acted = act(engine.portals()[0]);
    engine.start_drain(Duration::from_millis(200));
    let start = Instant::now();
    while !engine.is_drained() {
        ensure!(
            start.elapsed() < Duration::from_secs(30),
            "the drain does not end: {:?}",
            engine.counters()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let counters = engine.counters();
    engine.join();
    acted?;
    ensure!(
        (counters.sessions, counters.panics) == (0, 0),
        "{counters:?}"
    );
    Ok(())
}

/// Rounds of each session: a few, unless the environment says how many.
fn rounds() -> Result<usize> {
    const FEW: usize = 3;
    match std::env::var("QUINTAIN_SOAK_ROUNDS") {
        Ok(rounds) => Ok(rounds.parse()?),
        Err(_) => Ok(FEW),
    }
}

fn soak(level: u8, connections: u16) -> Result<()> {
    let rounds = rounds()?;
    with_engine(level, |portal| {
        let soak = Soak {
            portal,
            target: TARGET_NAME.to_owned(),
            level,
            connections,
            sessions: SESSIONS,
            rounds,
            seed: 1,
        };
        let endured = soak.run()?;
        ensure!(endured.faults > 0, "{endured:?}");
        Ok(())
    })
}

#[test]
fn many_sessions_of_level_1_in_little_memory_lose_nothing() -> Result<()> {
    soak(1, 1)
}

#[test]
fn many_sessions_of_level_2_in_little_memory_lose_nothing() -> Result<()> {
    soak(2, 1)?;
    soak(2, 3)
}
