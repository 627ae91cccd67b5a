//! A logical unit that does not answer takes its session's other units nothing. Needs root and `/dev/fuse` for the file that hangs;
//! without them the test says so.

mod support;

use initiator::Config;
use iscsi_wire::Cid;
use reactor::testing::StuckFile;
use support::many::Many;
use support::{
    Client, HOST, TARGET, create, group, on_each_driver, path, pattern, ram, read10, set, settle,
    tpg, transact, wire_lun, write10,
};

const DEPTH: usize = 8;
const STUCK: u16 = 5;
const TASK_SET_FULL: u8 = 0x28;

#[test]
fn unit_that_hangs_with_the_whole_window_leaves_the_other_units_theirs() {
    if let Some(reason) = StuckFile::missing() {
        return eprintln!("left out: {reason}");
    }
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = StuckFile::mount(folder.path().join("disk.img"), 4 << 20);
            let file = file.expect("root may mount");
            let at = file.path().to_str().expect("UTF-8");
            let depth = DEPTH.to_string();
            transact(
                engine,
                &[
                    set(group(), &[("attrib.default_cmdsn_depth", &depth)]),
                    create(
                        path("/backstores/file/stuck"),
                        &[("path", at), ("serial", "stuck")],
                    ),
                    create(
                        tpg(&format!("/luns/{STUCK}")),
                        &[("backstore", "file/stuck")],
                    ),
                ],
            );
            let mut client = Client::login_as(portal, HOST);
            settle(&mut client, 0);
            settle(&mut client, STUCK);
            let hang = file.stick();
            let hanging: Vec<_> = (0..DEPTH)
                .map(|_| {
                    let read = read10(0, 4096);
                    client
                        .initiator
                        .command(wire_lun(STUCK), &read, Vec::new(), 4096)
                })
                .collect();
            // The initiator holds this back until MaxCmdSN lets it go.
            for round in 0..100 {
                client.write(0, 8, &pattern(round, 4096));
                assert_eq!(client.read(0, 8, 4096), pattern(round, 4096));
            }
            // The slow one may not have more; what it is asked for is to be asked again.
            for cdb in [read10(0, 512), write10(0, 512)] {
                let data = if cdb[0] == 0x2a {
                    pattern(1, 512)
                } else {
                    Vec::new()
                };
                let data_in = if data.is_empty() { 512 } else { 0 };
                let done = client.run(STUCK, &cdb, &data, data_in);
                assert_eq!(done.status, TASK_SET_FULL);
            }
            drop(hang);
            for itt in hanging {
                assert_eq!(client.done(itt).status, 0);
            }
            // It has answered: it is served again, soon.
            let start = std::time::Instant::now();
            while client.run(STUCK, &read10(0, 512), &[], 512).status != 0 {
                assert!(start.elapsed() < support::PATIENCE);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            // And it may fill the window again, which is as wide as before.
            let all: Vec<_> = (0..3 * DEPTH)
                .map(|_| {
                    let read = read10(0, 4096);
                    client
                        .initiator
                        .command(wire_lun(STUCK), &read, Vec::new(), 4096)
                })
                .collect();
            assert!(client.initiator.held_back() >= DEPTH);
            for itt in all {
                assert_eq!(client.done(itt).status, 0);
            }
        },
    );
}

#[test]
fn unit_that_hangs_with_a_window_that_several_connections_share_leaves_all_of_them_the_others() {
    if let Some(reason) = StuckFile::missing() {
        return eprintln!("left out: {reason}");
    }
    on_each_driver(
        2,
        || vec![ram(1 << 20)],
        |portal, engine| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = StuckFile::mount(folder.path().join("disk.img"), 4 << 20);
            let file = file.expect("root may mount");
            let at = file.path().to_str().expect("UTF-8");
            let depth = DEPTH.to_string();
            let keys = [
                ("attrib.default_cmdsn_depth", depth.as_str()),
                ("param.MaxConnections", "4"),
            ];
            transact(
                engine,
                &[
                    set(group(), &keys),
                    create(
                        path("/backstores/file/stuck"),
                        &[("path", at), ("serial", "stuck")],
                    ),
                    create(
                        tpg(&format!("/luns/{STUCK}")),
                        &[("backstore", "file/stuck")],
                    ),
                ],
            );
            let config = Config::normal(HOST, TARGET).with_key("MaxConnections", "4");
            let mut many = Many::login(portal, config);
            for cid in 1..4 {
                assert_eq!(many.join(Cid(cid)), Ok(()));
            }
            many.read(Cid(0), 0, 512);
            let settle = many.start(Cid(0), STUCK, &[0; 6], &[], 0);
            many.done(settle);
            let hang = file.stick();
            let hanging: Vec<_> = (0u16..)
                .take(DEPTH)
                .map(|n| many.start(Cid(n % 4), STUCK, &read10(0, 4096), &[], 4096))
                .collect();
            // The window is the session's: every connection has its part in what is left of it.
            for round in 0..40u16 {
                let data = pattern(round.into(), 4096);
                many.write(Cid(round % 4), 8, &data);
                assert_eq!(many.read(Cid((round + 1) % 4), 8, 4096), data);
            }
            let more = many.start(Cid(3), STUCK, &read10(0, 512), &[], 512);
            assert_eq!(many.done(more).1.status, TASK_SET_FULL);
            drop(hang);
            for itt in hanging {
                assert_eq!(many.done(itt).1.status, 0);
            }
        },
    );
}
