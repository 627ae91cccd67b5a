//! The end of the process under load, wanted and unwanted: what was acknowledged is there at the next start.

use anyhow::{Context, Result, anyhow, ensure};
use interop::{Client, Driver, Load, Serve, Target, on_each_driver};
use rustix::process::Signal;

on_each_driver! {
    kill_9_under_load_loses_no_acknowledged_write,
    sigterm_under_load_exits_0_and_keeps_what_was_acknowledged,
}

/// Blocks of a slot: more than a page, so that a write can be torn if something tears it.
const SLOT_BLOCKS: u64 = 24;
const SLOTS: usize = 256;
const SESSIONS: u8 = 2;

fn loads() -> Vec<Load> {
    (0..SESSIONS)
        .map(|session| {
            let first = u64::from(session) * SLOT_BLOCKS * SLOTS as u64;
            Load::new(first, SLOT_BLOCKS, SLOTS, 0xC4A5 + u64::from(session))
        })
        .collect()
}

/// Runs all loads until their connections end, or until the target asks them to leave, where they heed that; after some
/// hundred acknowledged writes `hurt` is done to the target.
fn run_until_hurt(
    target: &Target,
    loads: Vec<Load>,
    heeds: bool,
    hurt: impl FnOnce(&Target) -> Result<()>,
) -> Result<Vec<Load>> {
    let (sender, under_load) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..SESSIONS)
        .zip(loads)
        .map(|(session, mut load)| {
            let (portal, sender) = (target.portal, sender.clone());
            std::thread::spawn(move || -> Result<Load> {
                let mut client = Client::login(portal, session, &[])?;
                let goal = load.acknowledged + 300;
                let ended = load.run(&mut client, 8, |load, client| {
                    if load.acknowledged == goal {
                        // Told once or twice; the first is enough.
                        let _told = sender.send(());
                    }
                    heeds && client.asked_to_leave
                });
                if heeds && ended.is_ok() {
                    client.logout()?;
                }
                Ok(load)
            })
        })
        .collect();
    drop(sender);
    under_load.recv().context("no session got under load")?;
    hurt(target)?;
    threads
        .into_iter()
        .map(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a session's thread panicked"))?
        })
        .collect()
}

fn verify(target: &Target, loads: &[Load]) -> Result<()> {
    let mut client = Client::login(target.portal, 50, &[])?;
    loads.iter().try_for_each(|load| load.verify(&mut client))
}

/// An address that is free, with a port that no connection of another test gets by chance: below those that the kernel hands out.
fn fixed_portal() -> Result<String> {
    let start = 20_000 + u16::try_from(std::process::id() % 8_000)?;
    for port in start..start + 2_000 {
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(format!("127.0.0.1:{port}"));
        }
    }
    anyhow::bail!("no free port")
}

fn kill_9_under_load_loses_no_acknowledged_write(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let serve = Serve::new(folder.path(), driver).file("disk.img", "16MiB");
    let mut loads = loads();
    let portal = fixed_portal()?;
    let mut target = serve.start_at(&portal)?;
    for _ in 0..4 {
        loads = run_until_hurt(&target, loads, false, |target| target.signal(Signal::KILL))?;
        target.kill9().context("waiting for the killed process")?;
        // At once, at the same address: neither the port nor the file's lock may stand in the way.
        target = serve.start_at(&portal)?;
        verify(&target, &loads)?;
    }
    Ok(())
}

fn sigterm_under_load_exits_0_and_keeps_what_was_acknowledged(driver: Driver) -> Result<()> {
    for heeds in [true, false] {
        let folder = tempfile::tempdir()?;
        let serve = Serve::new(folder.path(), driver).file("disk.img", "16MiB");
        let target = serve.start()?;
        let loads = run_until_hurt(&target, loads(), heeds, |target| {
            target.signal(Signal::TERM)
        })?;
        let status = target.wait()?;
        ensure!(
            status.code() == Some(0),
            "initiators that heed: {heeds}: {status}"
        );
        verify(&serve.start()?, &loads)?;
    }
    Ok(())
}
