//! Protection information from the wire to the store and back, on each driver.
#![allow(clippy::cast_possible_truncation)]

mod support;

use std::os::unix::fs::FileExt;

use model::Backing;
use support::{
    Client, HOST, PATIENCE, asc, changed, file, on_each_driver_with, path, pattern, ram, sense_key,
    tree,
};

const MIB: u64 = 1 << 20;

/// LUNs of these backings, each with protection information of this type.
fn protected(backings: Vec<Backing>, kind: u8) -> model::Tree {
    let plain = tree(Vec::new());
    let mut changes = Vec::new();
    for (index, backing) in backings.into_iter().enumerate() {
        let (place, bytes) = match backing {
            Backing::File { path, .. } => (Some(path), 4 * MIB),
            Backing::Ram { bytes } => (None, bytes),
            other => panic!("{other:?}"),
        };
        let (type_name, mut given) = match place {
            Some(place) => (
                "file",
                vec![("path", place.into_os_string().into_string().unwrap())],
            ),
            None => ("ram", Vec::new()),
        };
        given.push(("size", bytes.to_string()));
        given.push(("attrib.pi_prot_type", kind.to_string()));
        let given: Vec<(&str, &str)> = given.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let store = path(&format!("/backstores/{type_name}/disk{index}"));
        changes.push(support::create(store, &given));
        let reference = format!("{type_name}/disk{index}");
        let lun = support::tpg(&format!("/luns/{index}"));
        changes.push(support::create(lun, &[("backstore", &reference)]));
    }
    changed(&plain, &changes)
}

fn guard(data: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in data {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8bb7
            };
        }
    }
    crc
}

/// Blocks with protection information, on the wire.
fn wire(data: &[u8], application: u16, reference: u32) -> Vec<u8> {
    let blocks = data.chunks(512).zip(reference..);
    blocks
        .flat_map(|(data, reference)| {
            let mut block = data.to_vec();
            block.extend(guard(data).to_be_bytes());
            block.extend(application.to_be_bytes());
            block.extend(reference.to_be_bytes());
            block
        })
        .collect()
}

fn cdb16(opcode: u8, protect: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = protect << 5;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn cdb32(action: u8, protect: u8, lba: u64, blocks: u32, reference: u32) -> [u8; 32] {
    let mut cdb = [0; 32];
    cdb[0] = 0x7f;
    cdb[7] = 0x18;
    cdb[9] = action;
    cdb[10] = protect << 5;
    cdb[12..20].copy_from_slice(&lba.to_be_bytes());
    cdb[20..24].copy_from_slice(&reference.to_be_bytes());
    cdb[28..].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[test]
fn blocks_of_any_number_come_back_with_what_was_sent_behind_each() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let backings = || vec![file(disk.clone(), 4 * MIB), ram(4 * MIB)];
    on_each_driver_with(
        2,
        || protected(backings(), 1),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            for lun in 0..2 {
                for (lba, blocks) in [(0u32, 1u32), (7, 3), (11, 504), (900, 505), (2000, 3000)] {
                    let data = pattern(u64::from(blocks), blocks as usize * 512);
                    let sent = wire(&data, 7, lba);
                    let length = blocks * 520;
                    client.good(lun, &cdb16(0x8a, 1, lba.into(), blocks), &sent, 0);
                    let got = client.good(lun, &cdb16(0x88, 1, lba.into(), blocks), &[], length);
                    assert!(got == sent, "{blocks} blocks with");
                    let got =
                        client.good(lun, &cdb16(0x88, 0, lba.into(), blocks), &[], blocks * 512);
                    assert!(got == data, "{blocks} blocks without");
                    client.good(lun, &cdb16(0x8f, 1, lba.into(), blocks), &[], 0);
                    let mut compare = cdb16(0x8f, 1, lba.into(), blocks);
                    compare[1] |= 2;
                    client.good(lun, &compare, &sent, 0);
                }
                client.good(lun, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0);
            }
        },
    );
    assert!(disk.with_file_name("disk.t10-pi-1").exists());
}

#[test]
fn every_command_on_blocks_leaves_what_a_read_with_checks_takes() {
    on_each_driver_with(
        1,
        || protected(vec![ram(MIB)], 1),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let data = pattern(3, 8 * 512);
            let (first, second) = data.split_at(2048);
            client.good(0, &cdb16(0x8a, 0, 0, 8), &data, 0);
            let mut swap = cdb16(0x89, 1, 0, 0);
            swap[13] = 4;
            let both = [wire(first, 1, 0), wire(second, 2, 0)].concat();
            client.good(0, &swap, &both, 0);
            let got = client.good(0, &cdb16(0x88, 1, 0, 4), &[], 4 * 520);
            assert!(got == wire(second, 2, 0));
            client.good(0, &cdb16(0x8b, 1, 0, 4), &wire(first, 3, 0), 0);
            let or: Vec<u8> = first.iter().zip(second).map(|(a, b)| a | b).collect();
            let got = client.good(0, &cdb16(0x88, 1, 0, 4), &[], 4 * 520);
            assert!(got == wire(&or, 3, 0));
            client.good(
                0,
                &cdb16(0x93, 1, 100, 1500),
                &wire(&data[..512], 9, 100),
                0,
            );
            let got = client.good(0, &cdb16(0x88, 1, 1599, 1), &[], 520);
            assert!(got == wire(&data[..512], 9, 1599));
            client.good(0, &cdb16(0x8e, 1, 40, 8), &wire(&data, 5, 40), 0);
            client.good(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &unmap(41, 2), 0);
            let got = client.good(0, &cdb16(0x88, 1, 40, 3), &[], 3 * 520);
            let hole = [&[0; 512][..], &[0xff; 8]].concat();
            assert!(got == [wire(&data[..512], 5, 40), hole.clone(), hole].concat());
        },
    );
}

fn unmap(lba: u64, blocks: u32) -> Vec<u8> {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(lba.to_be_bytes());
    list.extend(blocks.to_be_bytes());
    list.extend([0; 4]);
    list
}

#[test]
fn commands_of_32_bytes_come_whole_and_check_what_they_say() {
    on_each_driver_with(
        1,
        || protected(vec![ram(MIB)], 2),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let data = pattern(5, 20 * 512);
            let sent = wire(&data, 1, 5000);
            client.good(0, &cdb32(0x0b, 1, 30, 20, 5000), &sent, 0);
            let got = client.good(0, &cdb32(0x09, 1, 30, 20, 5000), &[], 20 * 520);
            assert!(got == sent);
            let done = client.run(0, &cdb32(0x09, 1, 30, 20, 5001), &[], 20 * 520);
            assert_eq!(
                (done.status, sense_key(&done.sense), asc(&done.sense)),
                (2, 0x0b, (0x10, 3))
            );
            assert_eq!(done.sense[3..7], [0, 0, 0, 30]);
        },
    );
}

#[test]
fn damage_done_to_the_file_is_found_and_what_is_reopened_has_its_tuples() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let data = pattern(9, 64 * 512);
    let kept = wire(&data, 4, 10);
    let backings = || vec![file(disk.clone(), 4 * MIB)];
    let first = std::cell::Cell::new(true);
    on_each_driver_with(
        1,
        || protected(backings(), 1),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            if first.replace(false) {
                client.good(0, &cdb16(0x8a, 1, 10, 64), &kept, 0);
            }
            let got = client.good(0, &cdb16(0x88, 1, 10, 64), &[], 64 * 520);
            assert!(got == kept, "as before the engine started");
            let raw = std::fs::File::options().write(true).open(&disk).unwrap();
            let turn = |byte: u8| raw.write_all_at(&[byte], 40 * 512 + 99).unwrap();
            let sound = data[30 * 512 + 99];
            turn(!sound);
            for (protect, length) in [(0, 512), (1, 520), (4, 520)] {
                let done = client.run(0, &cdb16(0x88, protect, 40, 2), &[], 2 * length);
                let told = (done.status, sense_key(&done.sense), asc(&done.sense));
                assert_eq!(told, (2, 0x0b, (0x10, 1)), "{protect}");
                assert_eq!(done.sense[3..7], [0, 0, 0, 40]);
            }
            turn(sound);
            client.good(0, &cdb16(0x88, 0, 40, 2), &[], 1024);
        },
    );
    // Another type, or none, and what is there is not taken for its own.
    on_each_driver_with(
        1,
        || protected(backings(), 3),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let got = client.good(0, &cdb16(0x88, 1, 10, 1), &[], 520);
            assert_eq!(got[512..], [0xff; 8]);
            assert!(got[..512] == data[..512]);
        },
    );
    assert!(!disk.with_file_name("disk.t10-pi-1").exists());
    on_each_driver_with(1, || tree(backings()), |_, _| {});
    assert!(!disk.with_file_name("disk.t10-pi-3").exists());
}

/// Writers and readers on workers of their own: what a reader sees is one writer's, with its own tuples.
#[test]
fn readers_beside_writers_never_see_a_block_with_the_tuple_of_another() {
    on_each_driver_with(
        3,
        || protected(vec![ram(MIB)], 1),
        |portal, _| {
            let start = std::time::Instant::now();
            std::thread::scope(|scope| {
                for worker in 0..6u64 {
                    scope.spawn(move || {
                        let host = format!("{HOST}{worker}");
                        let mut client = Client::login_as(portal, &host);
                        for turn in 0..60u64 {
                            assert!(start.elapsed() < PATIENCE);
                            let (lba, blocks) = (turn % 7, 16 + turn % 5);
                            let (at, blocks) = (lba as u32, blocks as u32);
                            if worker % 2 == 0 {
                                let data = pattern(worker * 1000 + turn, blocks as usize * 512);
                                let sent = wire(&data, worker as u16, at);
                                client.good(0, &cdb16(0x8a, 1, lba, blocks), &sent, 0);
                            } else if turn % 10 == 9 {
                                let list = unmap(lba, blocks);
                                client.good(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
                            } else {
                                let length = blocks * 520;
                                let got = client.good(0, &cdb16(0x88, 1, lba, blocks), &[], length);
                                for block in got.chunks(520) {
                                    let (data, tuple) = block.split_at(512);
                                    let hole = tuple == [0xff; 8];
                                    assert!(hole || guard(data).to_be_bytes() == tuple[..2]);
                                    assert!(!hole || data == [0; 512]);
                                }
                            }
                        }
                    });
                }
            });
        },
    );
}
