//! Third-party copies between logical units, from the wire to two stores, on each driver.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use initiator::Request;
use iscsi_wire::TaskAttribute;
use support::{
    Client, HOST, asc, file, on_each_driver, path, pattern, ram, sense_key, set, transact,
};

const MIB: usize = 1 << 20;

/// The NAA designator of a LUN, as the Device Identification page has it first.
fn naa(client: &mut Client, lun: u16) -> Vec<u8> {
    let page = client.good(lun, &[0x12, 1, 0x83, 1, 0, 0], &[], 256);
    assert_eq!(page[4..6], [0x01, 0x03]);
    page[8..8 + usize::from(page[7])].to_vec()
}

/// The parameter list of a copy of `blocks` blocks of 512 bytes, for EXTENDED COPY(LID1).
fn list(ends: [&[u8]; 2], blocks: &[u16], lbas: [u64; 2]) -> Vec<u8> {
    let mut list = vec![1, 0, 0, 64, 0, 0, 0, 0];
    list.extend(u32::try_from(blocks.len() * 28).unwrap().to_be_bytes());
    list.extend([0; 4]);
    for naa in ends {
        let mut cscd = [0; 32];
        cscd[0] = 0xe4;
        cscd[4] = 0x01;
        cscd[5] = 0x03;
        cscd[7] = u8::try_from(naa.len()).unwrap();
        cscd[8..8 + naa.len()].copy_from_slice(naa);
        list.extend(cscd);
    }
    let mut done = 0;
    for blocks in blocks {
        list.extend([0x02, 0, 0, 0x18, 0, 0, 0, 1, 0, 0]);
        list.extend(blocks.to_be_bytes());
        for lba in lbas {
            list.extend((lba + done).to_be_bytes());
        }
        done += u64::from(*blocks);
    }
    list
}

fn copy_cdb(list: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
    cdb
}

fn ready(client: &mut Client, luns: u16) {
    (0..luns).for_each(|lun| support::settle(client, lun));
}

#[test]
fn extended_copy_between_a_file_and_memory_copies_every_block_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    on_each_driver(
        2,
        || {
            let path = dir.path().join("disk.img");
            let _absent = std::fs::remove_file(&path);
            vec![file(path, 64 << 20), ram(64 << 20)]
        },
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            ready(&mut client, 2);
            let names = [naa(&mut client, 0), naa(&mut client, 1)];
            let data = pattern(1, 20 * MIB);
            for (at, part) in data.chunks(MIB).enumerate() {
                client.write(0, u32::try_from(at * 2048).unwrap(), part);
            }
            // To LUN 1, asked of LUN 1; back to another place of LUN 0, asked of LUN 1 again.
            let blocks = [20_000, 20_960];
            let there = list([&names[0], &names[1]], &blocks, [0, 100]);
            client.good(1, &copy_cdb(&there), &there, 0);
            let back = list([&names[1], &names[0]], &blocks, [100, 80_000]);
            client.good(1, &copy_cdb(&back), &back, 0);
            for (at, part) in data.chunks(MIB).enumerate() {
                let lba = u32::try_from(at * 2048).unwrap();
                assert!(client.read(1, lba + 100, MIB) == part, "LUN 1 at {at} MiB");
                assert!(
                    client.read(0, lba + 80_000, MIB) == part,
                    "LUN 0 at {at} MiB"
                );
            }
        },
    );
}

/// Copies between two units in both directions at once, some of them alone in their task sets: nobody waits for ever, and plain I/O
/// goes on.
#[test]
fn extended_copies_of_many_initiators_across_two_units_all_end() {
    on_each_driver(
        3,
        || vec![ram(32 << 20), ram(32 << 20)],
        |portal, _| {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let stop = &stop;
                let copiers: Vec<_> = (0..6_u16)
                    .map(|who| {
                        scope.spawn(move || {
                            let mut client = Client::login_as(portal, &format!("{HOST}-copy{who}"));
                            ready(&mut client, 2);
                            let names = [naa(&mut client, 0), naa(&mut client, 1)];
                            let (from, to) = (usize::from(who % 2), usize::from(1 - who % 2));
                            let list = list([&names[from], &names[to]], &[5000], [0, 6000]);
                            let attribute = if who < 4 {
                                TaskAttribute::Ordered
                            } else {
                                TaskAttribute::Simple
                            };
                            for _ in 0..10 {
                                let itt = client.initiator.submit(Request {
                                    lun: support::wire_lun(who % 2),
                                    cdb: copy_cdb(&list).to_vec(),
                                    attribute,
                                    data_out: list.clone(),
                                    ..Request::default()
                                });
                                assert_eq!(client.done(itt).status, 0);
                            }
                        })
                    })
                    .collect();
                let _writer = scope.spawn(move || {
                    let mut client = Client::login_as(portal, &format!("{HOST}-plain"));
                    ready(&mut client, 2);
                    while !stop.load(Ordering::Relaxed) {
                        client.write(0, 20_000, &[1; 8192]);
                        client.write(1, 6_000, &[2; 8192]);
                    }
                });
                let ended: Vec<bool> = copiers
                    .into_iter()
                    .map(|copier| copier.join().is_ok())
                    .collect();
                stop.store(true, Ordering::Relaxed);
                assert!(ended.iter().all(|ended| *ended));
            });
        },
    );
}

#[test]
fn extended_copy_of_a_lun_that_goes_ends_as_if_it_had_never_been() {
    on_each_driver(
        2,
        || vec![ram(16 << 20), ram(16 << 20)],
        |portal, engine| {
            let mut client = Client::login_as(portal, HOST);
            ready(&mut client, 2);
            let names = [naa(&mut client, 0), naa(&mut client, 1)];
            let list = list([&names[0], &names[1]], &[100], [0, 0]);
            client.write(0, 0, &pattern(3, 51_200));
            client.good(0, &copy_cdb(&list), &list, 0);
            transact(engine, &[support::delete(support::tpg("/luns/1"))]);
            support::settle(&mut client, 0);
            let done = client.run(0, &copy_cdb(&list), &list, 0);
            assert_eq!((done.status, sense_key(&done.sense)), (2, 0x0a));
            assert_eq!(asc(&done.sense), (0x0d, 0x02));
        },
    );
}

#[test]
fn emulate_3pc_off_takes_the_commands_away_and_tells() {
    on_each_driver(
        1,
        || vec![ram(16 << 20)],
        |portal, engine| {
            let mut client = Client::login_as(portal, HOST);
            ready(&mut client, 1);
            let inquiry = [0x12, 0, 0, 0, 96, 0];
            assert_eq!(client.good(0, &inquiry, &[], 96)[5] & 0x08, 0x08);
            let store = path("/backstores/ram/disk0");
            transact(engine, &[set(store, &[("attrib.emulate_3pc", "0")])]);
            // INQUIRY DATA HAS CHANGED.
            let told = support::ready(&mut client, 0);
            assert_eq!(told, Some((6, (0x3f, 0x03))));
            assert_eq!(client.good(0, &inquiry, &[], 96)[5] & 0x08, 0);
            let done = client.run(0, &copy_cdb(&[]), &[], 0);
            assert_eq!((done.status, asc(&done.sense)), (2, (0x20, 0)));
        },
    );
}

/// A token made by one initiator on one worker is used by another on another, on another unit.
#[test]
fn token_of_one_initiator_is_used_by_another_on_another_unit() {
    on_each_driver(
        2,
        || vec![ram(16 << 20), ram(16 << 20)],
        |portal, _| {
            let mut maker = Client::login_as(portal, &format!("{HOST}-maker"));
            let mut user = Client::login_as(portal, &format!("{HOST}-user"));
            ready(&mut maker, 2);
            ready(&mut user, 2);
            let data = pattern(5, 3 * MIB);
            for (at, part) in data.chunks(MIB).enumerate() {
                maker.write(0, 100 + u32::try_from(at * 2048).unwrap(), part);
            }
            let blocks = 3 * 2048_u32;
            let range = |lba: u64| {
                let mut range = lba.to_be_bytes().to_vec();
                range.extend(blocks.to_be_bytes());
                range.extend([0; 4]);
                range
            };
            let mut list = vec![0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16];
            list.extend(range(100));
            let mut cdb = [0; 16];
            cdb[..2].copy_from_slice(&[0x83, 0x10]);
            cdb[9] = 77;
            cdb[13] = 32;
            maker.good(0, &cdb, &list, 0);
            let mut cdb = [0; 16];
            cdb[..2].copy_from_slice(&[0x84, 0x07]);
            cdb[5] = 77;
            cdb[12] = 4;
            let told = maker.good(0, &cdb, &[], 1024);
            let mut list = vec![0; 536];
            list[..2].copy_from_slice(&550_u16.to_be_bytes());
            list[16..528].copy_from_slice(&told[38..]);
            list[535] = 16;
            list.extend(range(9000));
            let mut cdb = [0; 16];
            cdb[..2].copy_from_slice(&[0x83, 0x11]);
            cdb[9] = 78;
            cdb[10..14].copy_from_slice(&552_u32.to_be_bytes());
            user.good(1, &cdb, &list, 0);
            for (at, part) in data.chunks(MIB).enumerate() {
                let lba = 9000 + u32::try_from(at * 2048).unwrap();
                assert!(user.read(1, lba, MIB) == part, "at {at} MiB");
            }
        },
    );
}
