//! ErrorRecoveryLevel 1 over real sockets: what is sent is kept, and what is lost comes again.

mod support;

use std::io::Write;
use std::net::SocketAddr;

use engine::Engine;
use initiator::{Config, Delivery, Event};
use iscsi_wire::{DataIn, InitiatorPdu, Itt, SnackRequest, SnackType, TargetPdu, Ttt};
use model::Backing;
use support::{
    Client, HOST, TARGET, changed, file, group, on_each_driver_with, pattern, ram, read10, set,
    tree, wire_lun, write10,
};

/// Starts engines whose portal group agrees on level 1.
fn on_each(backings: impl Fn() -> Vec<Backing>, test: impl Fn(SocketAddr, &Engine)) {
    let recovers = set(group(), &[("param.ErrorRecoveryLevel", "2")]);
    let tree = || changed(&tree(backings()), std::slice::from_ref(&recovers));
    on_each_driver_with(2, tree, test);
}

fn config() -> Config {
    Config::normal(HOST, TARGET)
        .with_key("ErrorRecoveryLevel", "1")
        .with_key("HeaderDigest", "CRC32C")
        .with_key("DataDigest", "CRC32C")
        .with_key("MaxRecvDataSegmentLength", "65536")
}

fn login(portal: SocketAddr, config: Config) -> Client {
    let mut client = Client::login(portal, config);
    assert_eq!(client.initiator.params().error_recovery_level, 1);
    support::settle(&mut client, 0);
    client
}

/// The Data-In PDUs that have come, in order.
fn data_in(client: &Client) -> Vec<DataIn> {
    let data = client.events.iter().filter_map(|event| match event {
        Event::Received(TargetPdu::DataIn(data)) => Some(*data),
        _ => None,
    });
    data.collect()
}

/// Waits for the answer to a ping: all that was to be sent before it has come by then, and then some.
fn ping(client: &mut Client) {
    let itt = client.initiator.ping(b"?", Delivery::Immediate);
    client.next(|event| matches!(event, Event::Ponged { itt: of, .. } if *of == itt));
}

fn ask(client: &mut Client, snack: SnackRequest) {
    let snack = InitiatorPdu::SnackRequest(snack).emit();
    client.initiator.push_raw(&snack, &[]);
}

#[test]
fn write_and_read_back_of_each_size_at_level_1_is_equal() {
    let dir = tempfile::tempdir().unwrap();
    let disks = || {
        let path = dir.path().join("disk.img");
        let _absent = std::fs::remove_file(&path);
        vec![ram(64 << 20), file(path, 64 << 20)]
    };
    on_each(disks, |portal, _| {
        for digests in ["None", "CRC32C"] {
            let config = config().with_key("DataDigest", digests);
            let mut client = login(portal, config);
            support::settle(&mut client, 1);
            for lun in [0, 1] {
                for blocks in [1_usize, 31, 128, 512, 2048, 12_000] {
                    let data = pattern(blocks as u64, blocks * 512);
                    client.write(lun, 77, &data);
                    assert_eq!(client.read(lun, 77, data.len()), data, "{blocks}");
                }
            }
        }
    });
}

#[test]
fn read_goes_no_further_than_its_windows_without_a_data_ack() {
    const WINDOWS: u32 = 2 << 20;
    on_each(
        || vec![ram(32 << 20)],
        |portal, _| {
            let mut config = config();
            config.acknowledge_data = false;
            config.report_pdus = true;
            let mut client = login(portal, config);
            let bytes = 8 << 20;
            let data = pattern(5, bytes);
            client.write(0, 0, &data);
            client.events.clear();
            let cdb = read10(0, bytes);
            let length = u32::try_from(bytes).unwrap();
            let itt = client
                .initiator
                .command(wire_lun(0), &cdb, Vec::new(), length);
            let reach = |client: &Client| {
                let last = data_in(client).pop();
                last.map_or(0, |last| last.buffer_offset + last.data_segment_length)
            };
            let mut allowed = WINDOWS;
            while allowed < length {
                while reach(&client) < allowed {
                    client.flush();
                    assert!(client.hear());
                }
                for _ in 0..20 {
                    ping(&mut client);
                }
                assert_eq!(reach(&client), allowed);
                // One window is acknowledged: one more comes.
                let through = allowed - WINDOWS / 2;
                let pdus = data_in(&client);
                let end = |pdu: &DataIn| pdu.buffer_offset + pdu.data_segment_length;
                let last = pdus.iter().find(|pdu| end(pdu) == through).unwrap();
                assert!(last.acknowledge, "it asks where a sequence ends");
                ask(
                    &mut client,
                    SnackRequest {
                        r#type: SnackType::DataAck,
                        lun: last.lun,
                        itt: Itt::RESERVED,
                        ttt: last.ttt,
                        beg_run: last.data_sn + 1,
                        ..SnackRequest::default()
                    },
                );
                allowed += WINDOWS / 2;
            }
            assert_eq!(client.done(itt).data, data);
        },
    );
}

#[test]
fn data_in_that_a_snack_asks_for_comes_again_until_its_status_is_acknowledged() {
    on_each(
        || vec![ram(8 << 20)],
        |portal, _| {
            let mut config = config();
            config.report_pdus = true;
            let mut client = login(portal, config);
            let data = pattern(9, 256 << 10);
            client.write(0, 0, &data);
            client.events.clear();
            let cdb = read10(0, data.len());
            let itt = client
                .initiator
                .command(wire_lun(0), &cdb, Vec::new(), 256 << 10);
            let wanted = |event: &Event| matches!(event, Event::Received(TargetPdu::DataIn(pdu)) if pdu.data_sn == 1);
            let place = |event: Event| match event {
                Event::Received(TargetPdu::DataIn(pdu)) => {
                    (pdu.data_sn, pdu.buffer_offset, pdu.data_segment_length)
                }
                other => panic!("{other:?}"),
            };
            let first = client.next(wanted);
            // Behind the read, and before anything that acknowledges its status.
            ask(
                &mut client,
                SnackRequest {
                    itt,
                    ttt: Ttt::RESERVED,
                    beg_run: 1,
                    run_length: 1,
                    ..SnackRequest::default()
                },
            );
            assert_eq!(place(client.next(wanted)), place(first));
            assert_eq!(client.done(itt).data, data);
        },
    );
}

#[test]
fn data_that_comes_damaged_is_asked_for_again() {
    on_each(
        || vec![ram(8 << 20)],
        |portal, _| {
            for (immediate, initial_r2t) in [("Yes", "No"), ("No", "No"), ("No", "Yes")] {
                let config = config()
                    .with_key("ImmediateData", immediate)
                    .with_key("InitialR2T", initial_r2t);
                let mut client = login(portal, config);
                let data = pattern(11, 48 << 10);
                let cdb = write10(64, data.len());
                let itt = client.initiator.command(wire_lun(0), &cdb, data.clone(), 0);
                if initial_r2t == "Yes" {
                    client.flush();
                    let mut out = Vec::new();
                    while out.is_empty() {
                        assert!(client.hear());
                        out = client.initiator.take_output();
                    }
                    send_damaged(&mut client, out);
                } else {
                    let out = client.initiator.take_output();
                    send_damaged(&mut client, out);
                }
                assert_eq!(client.done(itt).status, 0);
                let rejected = |event: &Event| matches!(event, Event::Rejected { .. });
                assert!(client.events.iter().any(rejected));
                assert_eq!(client.read(0, 64, data.len()), data);
            }
        },
    );
}

/// Sends this with the data digest of its last PDU wrong.
fn send_damaged(client: &mut Client, mut bytes: Vec<u8>) {
    let last = bytes.last_mut().unwrap();
    *last ^= 1;
    client.stream.write_all(&bytes).unwrap();
}

#[test]
fn lun_is_removed_although_its_last_status_is_not_acknowledged() {
    on_each(
        || vec![ram(8 << 20), ram(8 << 20)],
        |portal, engine| {
            let mut client = login(portal, config());
            support::settle(&mut client, 1);
            let data = pattern(13, 1 << 20);
            client.write(1, 0, &data);
            assert_eq!(client.read(1, 0, data.len()), data);
            support::transact(engine, &[support::delete(support::tpg("/luns/1"))]);
            assert_eq!(client.read(0, 0, 512), vec![0; 512]);
        },
    );
}
