//! Connections that cost a slot and no more: many at once, silent ones, slow ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use initiator::Event;
use interop::client::{LoginEnd, try_login};
use interop::peer::{Heard, login_response};
use interop::{Client, Driver, Peer, Siege, on_each_driver};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::rubbish::login_request;

on_each_driver! {
    many_connections_at_once_keep_nobody_out,
    source_that_takes_all_its_login_slots_keeps_no_other_out,
    logins_of_one_nexus_at_once_leave_one_session_at_most,
    login_byte_by_byte_is_as_good_as_any,
    silent_and_slow_logins_end_by_the_timer,
}

/// More than the timer of a login, which is 15 s.
const PATIENCE: Duration = Duration::from_secs(60);

fn many_connections_at_once_keep_nobody_out(driver: Driver) -> Result<()> {
    const COUNT: usize = 500;
    let siege = Siege::begin(driver, 2)?;
    for _ in 0..2 {
        let mut held = Vec::new();
        for index in 0..COUNT {
            let mut stream = TcpStream::connect(siege.portal())?;
            // A third is silent, a third stops within a header, a third within the text.
            let bytes = login_request();
            let end = [0, 20, 60][index % 3];
            stream.write_all(&bytes[..end])?;
            held.push(stream);
        }
        Client::login(siege.portal(), 2, &[])?.logout()?;
        siege.witness_goes_on(100)?;
        siege.has_grown_at_most(interop::siege::KEPT_BYTES)?;
    }
    siege.lift()
}

/// Logins under way are counted by source address: 1024 of one, 4096 of all.
fn source_that_takes_all_its_login_slots_keeps_no_other_out(driver: Driver) -> Result<()> {
    const SLOTS: usize = 1024;
    const COUNT: usize = SLOTS + 200;
    let limits = getrlimit(Resource::Nofile);
    let needed = 2 * COUNT as u64;
    if limits.maximum.is_some_and(|most| most < needed) {
        eprintln!("skipped: no process may have {needed} descriptors here (ulimit -Hn)");
        return Ok(());
    }
    let raised = Rlimit {
        current: limits.current.map(|now| now.max(needed)),
        ..limits
    };
    // The target inherits it.
    setrlimit(Resource::Nofile, raised)?;
    let siege = Siege::begin(driver, 2)?;
    let mut held = Vec::new();
    for _ in 0..COUNT {
        held.push(Peer::connect(siege.portal(), Peer::config(6))?);
    }
    // The last of this source finds no slot, and is closed at once.
    let crowded_out = held.pop().and_then(|mut last| last.listen().ok());
    ensure!(crowded_out == Some(Heard::Closed), "{crowded_out:?}");
    let beside: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    let mut other = Peer::connect_from(beside, siege.portal(), Peer::config(7))?;
    other.log_in()?;
    other.goes_on()?;
    siege.witness_goes_on(100)?;
    siege.has_grown_at_most(interop::siege::KEPT_BYTES)?;
    drop((held, other));
    siege.lift()
}

/// RFC 7143 §6.3.5: the newest login ends the session before it, or is told to come again, or is itself overtaken by a newer one
/// and dropped.
fn logins_of_one_nexus_at_once_leave_one_session_at_most(driver: Driver) -> Result<()> {
    const THREADS: usize = 8;
    const EACH: usize = 25;
    let siege = Siege::begin(driver, 2)?;
    let portal = siege.portal();
    let storm = || -> Result<usize> {
        let mut accepted = 0;
        for _ in 0..EACH {
            match try_login(portal, Peer::config(8))? {
                LoginEnd::LoggedIn => accepted += 1,
                LoginEnd::Dropped => {}
                // Class 03h: come again.
                LoginEnd::Refused(status) => ensure!(status.class == 3, "{status}"),
            }
        }
        Ok(accepted)
    };
    let accepted = std::thread::scope(|scope| -> Result<usize> {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(storm)).collect();
        let mut sum = 0;
        for thread in threads {
            sum += thread.join().map_err(|_| anyhow!("a peer panicked"))??;
        }
        Ok(sum)
    })?;
    ensure!(accepted > 0, "none became a session");
    let mut first = Peer::login(portal, Peer::config(8))?;
    first.goes_on()?;
    let mut second = Peer::login(portal, Peer::config(8))?;
    first.hear_end()?;
    second.goes_on()?;
    drop(second);
    siege.lift()
}

fn login_byte_by_byte_is_as_good_as_any(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let mut peer = Peer::connect(siege.portal(), Peer::config(6))?;
    peer.initiator.start_login();
    while !peer.initiator.is_full_feature() {
        for byte in peer.initiator.take_output() {
            peer.send_bytes(&[byte]);
        }
        match peer.initiator_turn()? {
            None => {}
            Some(Event::LoggedIn) => break,
            Some(other) => bail!("{other:?}"),
        }
    }
    peer.goes_on()?;
    drop(peer);
    siege.lift()
}

/// Sends text without end, a byte at a time, until the target closes the connection.
fn drip(mut stream: TcpStream) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        let mut request = login_request();
        request[1] = (request[1] & 0x0c) | 0x40;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let end = Instant::now() + PATIENCE;
        for byte in request.iter().cycle() {
            ensure!(Instant::now() < end, "a slow peer is served for ever");
            if stream.write_all(&[*byte]).is_err() {
                return Ok(());
            }
            // The pace, and whether it has been closed.
            match stream.read(&mut [0; 512]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

/// One timer runs over the whole login, whatever comes meanwhile. RFC 7143 §6.3 leaves its length to the target.
fn silent_and_slow_logins_end_by_the_timer(driver: Driver) -> Result<()> {
    let siege = Siege::begin(driver, 2)?;
    let slow = drip(TcpStream::connect(siege.portal())?);
    let mut silent = Vec::new();
    for bytes in [0, 1, 47, 48, 60] {
        let peer = Peer::connect(siege.portal(), Peer::config(6))?;
        peer.stream().write_all(&login_request()[..bytes])?;
        silent.push(peer);
    }
    // One that has been answered, and now says nothing more.
    let mut request = login_request();
    request[1] = (request[1] & 0x0c) | 0x40;
    let mut answered = TcpStream::connect(siege.portal())?;
    answered.write_all(&request)?;
    let first = login_response(&mut answered)?;
    ensure!(
        first.is_some_and(|(first, _)| first.status.is_success()),
        "refused"
    );

    // All of them are still there, and cost nobody anything.
    siege.witness_goes_on(300)?;
    Client::login(siege.portal(), 2, &[])?.logout()?;
    for mut peer in silent {
        ensure!(
            peer.listen()? == Heard::Closed,
            "an answer to half a request"
        );
    }
    answered.set_read_timeout(Some(PATIENCE))?;
    ensure!(
        login_response(&mut answered)?.is_none(),
        "an answer to nothing"
    );
    slow.join()
        .map_err(|_| anyhow!("the slow peer panicked"))??;
    siege.lift()
}
