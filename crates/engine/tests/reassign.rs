//! Tasks that outlive their connection, over real sockets (RFC 7143 §7.1.4.3, §7.2.2): ErrorRecoveryLevel 2.

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use engine::{ConnectionState, Engine};
use initiator::{Config, Delivery, Event};
use iscsi_wire::{Cid, Itt, LoginStatus, LogoutReason, LogoutResponseCode};
use model::Tree;
use support::many::Many;
use support::{
    Client, HOST, PATIENCE, TARGET, asc, changed, delete, group, on_each_driver_with, path,
    pattern, ram, read10, sense_key, set, tpg, transact, tree, write10,
};

const LEAD: Cid = Cid(0);
const OTHER: Cid = Cid(1);
const BLOCK: usize = 512;

/// A target whose sessions recover connections, of which each may have so many.
fn target(connections: &str) -> Tree {
    let keys = [
        ("param.MaxConnections", connections),
        ("param.ErrorRecoveryLevel", "2"),
    ];
    changed(&tree(vec![ram(32 << 20)]), &[set(group(), &keys)])
}

fn config() -> Config {
    Config::normal(HOST, TARGET)
        .with_key("MaxConnections", "4")
        .with_key("ErrorRecoveryLevel", "2")
        .with_key("DefaultTime2Wait", "0")
        .with_key("DefaultTime2Retain", "20")
}

fn session(portal: SocketAddr, connections: u16, config: Config) -> Many {
    let mut many = Many::login(portal, config);
    assert_eq!(many.peer.params().error_recovery_level, 2);
    for cid in 1..connections {
        assert_eq!(many.join(Cid(cid)), Ok(()));
    }
    many
}

fn on_each(connections: &str, test: impl Fn(SocketAddr, &Engine)) {
    on_each_driver_with(2, || target(connections), test);
}

/// Commands under way: writes with what they write, and reads.
struct Load {
    writes: Vec<(Itt, u32, Vec<u8>)>,
    reads: Vec<(Itt, u32, usize)>,
}

/// The first blocks of the disk, which the reads below read and no write changes.
const READ_BYTES: usize = 2 << 20;

impl Load {
    /// Starts commands of all lengths on one connection.
    fn start(many: &mut Many, cid: Cid, round: u64) -> Self {
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        let mut lba = 8192;
        for (n, blocks) in [1, 16, 200, 3000].into_iter().enumerate() {
            let data = pattern(round * 16 + n as u64, blocks * BLOCK);
            let itt = many.start(cid, 0, &write10(lba, data.len()), &data, 0);
            writes.push((itt, lba, data));
            lba += u32::try_from(blocks).expect("few");
            let at = u32::try_from(n).expect("few") * 7;
            let bytes = (blocks * BLOCK).min(READ_BYTES - 64 * BLOCK);
            let length = u32::try_from(bytes).expect("few");
            let itt = many.start(cid, 0, &read10(at, bytes), &[], length);
            reads.push((itt, at, bytes));
        }
        Self { writes, reads }
    }

    /// Every command ends well, and with the right data.
    fn check(self, many: &mut Many, over: Cid, disk: &[u8]) {
        for (itt, lba, bytes) in self.reads {
            let (_, done) = many.done(itt);
            assert_eq!(done.status, 0, "sense {:02x?}", done.sense);
            let at = lba as usize * BLOCK;
            assert!(done.data == disk[at..at + bytes], "read of {bytes} bytes");
        }
        for (itt, lba, data) in self.writes {
            let (_, done) = many.done(itt);
            assert_eq!(done.status, 0, "sense {:02x?}", done.sense);
            assert!(
                many.read(over, lba, data.len()) == data,
                "write of {} bytes",
                data.len()
            );
        }
    }
}

/// A disk that begins with known data.
fn known_disk(many: &mut Many) -> Vec<u8> {
    let disk = pattern(99, READ_BYTES);
    for (chunk, at) in disk.chunks(256 << 10).zip((0u32..).step_by(512)) {
        many.write(LEAD, at, chunk);
    }
    disk
}

#[test]
fn connection_that_is_cut_under_load_leaves_its_tasks_to_another() {
    on_each("4", |portal, engine| {
        let mut many = session(portal, 2, config());
        let disk = known_disk(&mut many);
        many.read(OTHER, 0, BLOCK);
        for round in 0..8 {
            let load = Load::start(&mut many, OTHER, round);
            for _ in 0..round {
                many.turn();
            }
            many.lose(OTHER);
            many.peer.recover(LEAD, OTHER);
            let (_, event) = many.next(|_, e| matches!(e, Event::LoggedOut(_)));
            let Event::LoggedOut(response) = event else {
                unreachable!()
            };
            assert_eq!(response.response, LogoutResponseCode::Closed);
            load.check(&mut many, LEAD, &disk);
            assert_eq!(many.join(OTHER), Ok(()));
        }
        assert_eq!(engine.sessions().len(), 1);
        assert_eq!(engine.sessions()[0].connected(), 2);
    });
}

#[test]
fn login_with_the_cid_of_the_cut_connection_takes_its_tasks_over() {
    for connections in ["1", "4"] {
        on_each(connections, |portal, engine| {
            let mut many = session(portal, 1, config());
            let disk = known_disk(&mut many);
            let before = engine.sessions()[0].id;
            for round in 0..8 {
                let load = Load::start(&mut many, LEAD, round);
                for _ in 0..round {
                    many.turn();
                }
                many.lose(LEAD);
                assert_eq!(many.join(LEAD), Ok(()));
                load.check(&mut many, LEAD, &disk);
            }
            assert_eq!(engine.sessions()[0].id, before, "the session went on");
        });
    }
}

#[test]
fn second_connection_of_a_session_that_may_have_one_cleans_the_first_up() {
    on_each("1", |portal, engine| {
        let mut many = session(portal, 1, config());
        let disk = known_disk(&mut many);
        let load = Load::start(&mut many, LEAD, 1);
        many.turn();
        // The target may have seen that the first is gone, or not.
        many.lose(LEAD);
        assert_eq!(many.join(Cid(9)), Ok(()));
        many.peer.recover(Cid(9), LEAD);
        load.check(&mut many, Cid(9), &disk);
        assert_eq!(engine.sessions()[0].connected(), 1);
        assert_eq!(many.join(Cid(10)), Ok(()));
        assert_eq!(many.join(Cid(11)), Err(LoginStatus::TOO_MANY_CONNECTIONS));
    });
}

#[test]
fn connection_that_lives_and_is_removed_is_closed_and_leaves_its_tasks_to_another() {
    on_each("4", |portal, _| {
        let mut many = session(portal, 2, config());
        let disk = known_disk(&mut many);
        many.read(OTHER, 0, BLOCK);
        for round in 0..4 {
            let load = Load::start(&mut many, OTHER, round);
            many.turn();
            let mut stream = many.leave(OTHER);
            many.peer.recover(LEAD, OTHER);
            load.check(&mut many, LEAD, &disk);
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            let _rest = std::io::copy(&mut stream, &mut std::io::sink());
            assert_eq!(many.join(OTHER), Ok(()));
        }
    });
}

#[test]
fn last_connection_that_removes_itself_leaves_a_session_that_may_be_continued() {
    on_each("1", |portal, engine| {
        let mut many = session(portal, 1, config());
        many.read(LEAD, 0, BLOCK);
        let before = engine.sessions()[0].id;
        let reason = LogoutReason::RemoveConnectionForRecovery;
        many.peer
            .on(LEAD, |one| one.logout(reason, Delivery::Immediate));
        many.wait_closed(LEAD);
        wait_until(|| engine.sessions()[0].connections.is_empty());
        assert_eq!(many.join(Cid(5)), Ok(()));
        many.read(Cid(5), 0, BLOCK);
        assert_eq!(engine.sessions()[0].id, before);
    });
}

#[test]
fn lost_connections_are_listed_until_they_are_recovered() {
    on_each("4", |portal, engine| {
        let mut many = session(portal, 3, config());
        many.read(LEAD, 0, BLOCK);
        let states = || -> Vec<(u16, ConnectionState)> {
            let session = engine.sessions().remove(0);
            let connections = session.connections.iter();
            connections.map(|one| (one.cid.0, one.state)).collect()
        };
        let serves = ConnectionState::FullFeature;
        assert_eq!(states(), [(0, serves), (1, serves), (2, serves)]);
        many.lose(OTHER);
        let lost = [(0, serves), (1, ConnectionState::Lost), (2, serves)];
        wait_until(|| states() == lost);
        many.peer.recover(LEAD, OTHER);
        many.next(|_, e| matches!(e, Event::LoggedOut(_)));
        wait_until(|| states() == [(0, serves), (2, serves)]);
    });
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

/// Has a write wait on a connection for data that never comes, which then is lost.
fn leave_a_write(many: &mut Many, cid: Cid) -> Itt {
    many.read(cid, 0, BLOCK);
    let itt = many.peer.on(cid, |one| {
        let itt = one.allocate_itt();
        let mut cdb = [0; 16];
        cdb[..10].copy_from_slice(&write10(0, 4096));
        let command = iscsi_wire::ScsiCommand {
            r#final: true,
            write: true,
            lun: support::wire_lun(0),
            itt,
            cmd_sn: one.cmd_sn(),
            exp_stat_sn: one.exp_stat_sn(),
            expected_data_transfer_length: 4096,
            cdb,
            ..iscsi_wire::ScsiCommand::default()
        };
        one.push_raw(&command.emit(), &[]);
        one.set_cmd_sn(one.cmd_sn().next());
        itt
    });
    many.peer.on(cid, |one| one.ping(b"", Delivery::Ordered));
    many.next(|_, e| matches!(e, Event::Ponged { .. }));
    many.lose(cid);
    itt
}

/// RFC 7143 §4.2.2.1, §11.14: it was not received, and so nothing was cleared.
#[test]
fn command_that_is_lost_before_its_turn_comes_again_and_no_unit_attention() {
    on_each("4", |portal, _| {
        let mut many = session(portal, 2, config());
        many.read(LEAD, 0, BLOCK);
        many.read(OTHER, 0, BLOCK);
        let first = many.start(LEAD, 0, &read10(0, BLOCK), &[], 512);
        let held_up = many.peer.on(LEAD, initiator::Initiator::take_output);
        let data = pattern(5, 4096);
        let early = many.start(OTHER, 0, &write10(64, data.len()), &data, 0);
        // What is immediate is answered after the write has come.
        many.peer
            .on(OTHER, |one| one.ping(b"", Delivery::Immediate));
        many.next(|_, e| matches!(e, Event::Ponged { .. }));
        many.lose(OTHER);
        many.peer.recover(LEAD, OTHER);
        many.next(|_, e| matches!(e, Event::LoggedOut(_)));
        many.peer.on(LEAD, |one| one.push_bytes(&held_up));
        for itt in [first, early] {
            let (_, done) = many.done(itt);
            assert_eq!(done.status, 0, "sense {:02x?}", done.sense);
        }
        assert!(many.read(LEAD, 64, data.len()) == data);
    });
}

#[test]
fn tasks_that_nobody_takes_over_end_in_time_and_their_unit_says_so() {
    on_each("4", |portal, engine| {
        let config = config().with_key("DefaultTime2Retain", "1");
        let mut many = session(portal, 2, config);
        leave_a_write(&mut many, OTHER);
        let lost = || {
            let session = engine.sessions().remove(0);
            let mut connections = session.connections.into_iter();
            connections.any(|one| one.state == ConnectionState::Lost)
        };
        wait_until(lost);
        wait_until(|| !lost());
        let itt = many.start(LEAD, 0, &read10(0, BLOCK), &[], 512);
        let (_, done) = many.done(itt);
        assert_eq!((done.status, sense_key(&done.sense)), (2, 6));
        // SOME COMMANDS CLEARED BY ISCSI PROTOCOL EVENT.
        assert_eq!(asc(&done.sense), (0x47, 0x7f));
        many.write(LEAD, 0, &pattern(1, 4096));
    });
}

#[test]
fn session_whose_only_connection_is_lost_ends_when_its_time_is_over() {
    on_each("1", |portal, engine| {
        let config = config().with_key("DefaultTime2Retain", "1");
        let mut many = session(portal, 1, config);
        leave_a_write(&mut many, LEAD);
        wait_until(|| engine.sessions().is_empty());
        assert_eq!(many.join(LEAD), Err(LoginStatus::SESSION_DOES_NOT_EXIST));
    });
}

#[test]
fn logout_that_closes_the_last_connection_keeps_what_waits_for_recovery() {
    on_each("4", |portal, engine| {
        let mut many = session(portal, 2, config());
        many.read(OTHER, 0, BLOCK);
        let data = pattern(5, 64 << 10);
        let itt = many.start(OTHER, 0, &write10(0, data.len()), &data, 0);
        many.turn();
        many.lose(OTHER);
        // RFC 7143 §6.3.5: this is no session closure, since a connection waits for its cleanup.
        wait_until(|| engine.sessions()[0].connected() == 1);
        many.peer.on(LEAD, |one| {
            one.logout(LogoutReason::CloseConnection, Delivery::Immediate)
        });
        many.wait_closed(LEAD);
        wait_until(|| engine.sessions()[0].connected() == 0);
        assert_eq!(many.join(OTHER), Ok(()));
        assert_eq!(many.done(itt).1.status, 0);
        assert_eq!(many.read(OTHER, 0, data.len()), data);
    });
}

#[test]
fn reinstatement_ends_a_session_with_tasks_that_have_no_connection() {
    on_each("1", |portal, engine| {
        let mut many = session(portal, 1, config());
        leave_a_write(&mut many, LEAD);
        let before = engine.sessions()[0].id;
        wait_until(|| engine.sessions()[0].connected() == 0);
        let mut again = Client::login(portal, config());
        assert_ne!(engine.sessions()[0].id, before);
        assert_eq!(engine.sessions().len(), 1);
        again.write(0, 0, &pattern(3, 4096));
        assert_eq!(again.read(0, 0, 4096), pattern(3, 4096));
    });
}

#[test]
fn lun_with_tasks_that_have_no_connection_is_removed() {
    on_each("4", |portal, engine| {
        let mut many = session(portal, 2, config());
        leave_a_write(&mut many, OTHER);
        wait_until(|| engine.sessions()[0].connected() == 1);
        transact(engine, &[delete(tpg("/luns/0"))]);
        let itt = many.start(LEAD, 0, &read10(0, BLOCK), &[], 512);
        let done = many.done(itt).1;
        assert_eq!((done.status, asc(&done.sense)), (2, LUN_NOT_SUPPORTED));
    });
}

/// LOGICAL UNIT NOT SUPPORTED.
const LUN_NOT_SUPPORTED: (u8, u8) = (0x25, 0);

#[test]
fn target_with_tasks_that_have_no_connection_is_removed() {
    on_each("1", |portal, engine| {
        let mut many = session(portal, 1, config());
        leave_a_write(&mut many, LEAD);
        wait_until(|| engine.sessions()[0].connected() == 0);
        transact(engine, &[delete(path(&format!("/targets/{TARGET}")))]);
        wait_until(|| engine.sessions().is_empty());
    });
}
