//! Commands of a disk beside READ and WRITE, from the wire to a store and back, on each driver.

mod support;

use support::{Client, HOST, asc, file, on_each_driver, pattern, ram};

const MIB: usize = 1 << 20;

fn cdb16(opcode: u8, action: u8, lba: u64, length: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[opcode, action]);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// First block, number of blocks and provisioning status of each descriptor of GET LBA STATUS.
fn lba_status(client: &mut Client, lun: u16, lba: u64) -> Vec<(u64, u32, u8)> {
    let data = client.good(lun, &cdb16(0x9e, 0x12, lba, 4096), &[], 4096);
    let length = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
    assert_eq!(data.len(), length + 4);
    let descriptor = |bytes: &[u8]| {
        let lba = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        let blocks = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
        (lba, blocks, bytes[12])
    };
    data[8..].chunks(16).map(descriptor).collect()
}

/// LUN 0 on a new file in the folder, LUN 1 in memory.
fn new_disks(folder: &std::path::Path) -> Vec<model::Backing> {
    let path = folder.join("disk.img");
    let _absent = std::fs::remove_file(&path);
    vec![file(path, 16 << 20), ram(16 << 20)]
}

#[test]
fn lba_status_of_a_file_and_of_memory_follows_writes_and_unmaps() {
    // Where a hole is a page, and data stays where it was put.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    on_each_driver(
        1,
        || new_disks(dir.path()),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            for lun in [0, 1] {
                client.good(lun, &[0; 6], &[], 0);
                assert_eq!(lba_status(&mut client, lun, 0), [(0, 32_768, 1)]);
                client.write(lun, 64, &pattern(1, 128 * 512));
                let told = [(64, 128, 0), (192, 32_576, 1)];
                assert_eq!(lba_status(&mut client, lun, 64), told);
                assert_eq!(lba_status(&mut client, lun, 191)[0], (191, 1, 0));
                let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
                list.extend(96u64.to_be_bytes());
                list.extend(32u32.to_be_bytes());
                list.extend([0; 4]);
                client.good(lun, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
                let told = [(0, 64, 1), (64, 32, 0), (96, 32, 1), (128, 64, 0)];
                assert_eq!(lba_status(&mut client, lun, 0)[..4], told);
                // FORMAT UNIT gives all of it back.
                client.good(lun, &[0x04, 0, 0, 0, 0, 0], &[], 0);
                assert_eq!(lba_status(&mut client, lun, 0), [(0, 32_768, 1)]);
                assert_eq!(client.read(lun, 64, 512), [0; 512]);
            }
        },
    );
}

#[test]
fn or_write_of_several_windows_sets_the_bits_of_all() {
    let dir = tempfile::tempdir().unwrap();
    on_each_driver(
        2,
        || new_disks(dir.path()),
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            for lun in [0, 1] {
                client.good(lun, &[0; 6], &[], 0);
                let (old, new) = (pattern(1, 3 * MIB), pattern(2, 3 * MIB - 512));
                client.write(lun, 8, &old);
                let blocks = u32::try_from(new.len() / 512).unwrap();
                client.good(lun, &cdb16(0x8b, 0, 8, blocks), &new, 0);
                let mut wanted = old;
                for (byte, more) in wanted.iter_mut().zip(&new) {
                    *byte |= more;
                }
                assert!(client.read(lun, 8, 3 * MIB) == wanted, "LUN {lun}");
            }
        },
    );
}

#[test]
fn log_sense_adds_up_what_all_workers_did() {
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, _| {
            // More sessions than workers, so that each worker has some.
            let mut clients: Vec<Client> = (0..4)
                .map(|n| Client::login_as(portal, &format!("{HOST}{n}")))
                .collect();
            for client in &mut clients {
                client.good(0, &[0; 6], &[], 0);
                client.write(0, 0, &[7; 4096]);
                for _ in 0..3 {
                    client.read(0, 0, 8192);
                }
            }
            let statistics = [0x4d, 0, 0x59, 0, 0, 0, 0, 1, 0, 0];
            let data = clients[0].good(0, &statistics, &[], 256);
            let number = |at: usize| {
                let at = 8 + at * 8;
                u64::from_be_bytes(data[at..at + 8].try_into().unwrap())
            };
            // Reads and writes, then blocks received and transmitted.
            let numbers = [number(0), number(1), number(2), number(3)];
            assert_eq!(numbers, [12, 4, 32, 192]);
        },
    );
}

#[test]
fn cdb_of_32_bytes_is_refused_and_the_session_goes_on() {
    on_each_driver(
        1,
        || vec![ram(16 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            client.good(0, &[0; 6], &[], 0);
            let mut read32 = [0; 32];
            read32[..10].copy_from_slice(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x09]);
            let done = client.run(0, &read32, &[], 512);
            assert_eq!((done.status, asc(&done.sense)), (2, (0x20, 0)));
            client.write(0, 0, &[9; 512]);
            assert_eq!(client.read(0, 0, 512), [9; 512]);
        },
    );
}
