//! Plain I/O through a real engine: what is written is read back, on each driver.

mod support;

use initiator::Config;
use support::{
    Client, HOST, TARGET, file, on_each_driver, pattern, ram, read10, sense_key, write10,
};

#[test]
fn write_and_read_back_of_each_size_is_equal() {
    on_each_driver(
        1,
        || vec![ram(64 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            for (i, blocks) in [1_usize, 7, 8, 31, 64, 128, 129, 512, 1024, 2048, 4000]
                .into_iter()
                .enumerate()
            {
                let data = pattern(i as u64, blocks * 512);
                let lba = u32::try_from(i * 5000).unwrap();
                client.write(0, lba, &data);
                assert_eq!(client.read(0, lba, data.len()), data, "{blocks} blocks");
            }
        },
    );
}

#[test]
fn write_and_read_back_with_digests_and_small_segments_is_equal() {
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, _| {
            for (i, (initial_r2t, immediate)) in
                [("Yes", "Yes"), ("Yes", "No"), ("No", "Yes"), ("No", "No")]
                    .into_iter()
                    .enumerate()
            {
                let config = Config::normal(&format!("{HOST}{i}"), TARGET)
                    .with_key("HeaderDigest", "CRC32C")
                    .with_key("DataDigest", "CRC32C")
                    .with_key("InitialR2T", initial_r2t)
                    .with_key("ImmediateData", immediate)
                    .with_key("MaxRecvDataSegmentLength", "4096")
                    .with_key("FirstBurstLength", "8192")
                    .with_key("MaxBurstLength", "16384")
                    .with_key("MaxOutstandingR2T", "3");
                let mut client = Client::login(portal, config);
                for blocks in [1_usize, 9, 16, 200, 3000] {
                    let data = pattern(blocks as u64, blocks * 512);
                    client.write(0, 11, &data);
                    assert_eq!(client.read(0, 11, data.len()), data, "{blocks} blocks");
                }
            }
        },
    );
}

#[test]
fn write_to_a_file_is_in_the_file_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    on_each_driver(
        1,
        || {
            let path = dir.path().join("disk.img");
            let _absent = std::fs::remove_file(&path);
            vec![file(path, 32 << 20)]
        },
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let data = pattern(3, 3 << 20);
            client.write(0, 128, &data);
            assert_eq!(client.read(0, 128, data.len()), data);
            client.good(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0);
            let on_disk = std::fs::read(dir.path().join("disk.img")).unwrap();
            assert_eq!(&on_disk[128 * 512..128 * 512 + data.len()], &data[..]);
        },
    );
}

#[test]
fn commands_of_a_full_window_all_complete() {
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, engine| {
            let mut client = Client::login_as(portal, HOST);
            client.good(0, &[0; 6], &[], 0);
            let mut tags = Vec::new();
            for i in 0..300_u32 {
                let data = pattern(u64::from(i), 4096);
                let lba = i * 8;
                tags.push(client.initiator.command(
                    support::wire_lun(0),
                    &write10(lba, 4096),
                    data,
                    0,
                ));
            }
            for itt in tags.drain(..) {
                assert_eq!(client.done(itt).status, 0);
            }
            for i in 0..300_u32 {
                tags.push(client.initiator.command(
                    support::wire_lun(0),
                    &read10(i * 8, 4096),
                    Vec::new(),
                    4096,
                ));
            }
            for (i, itt) in tags.into_iter().enumerate() {
                assert_eq!(client.done(itt).data, pattern(i as u64, 4096), "read {i}");
            }
            assert!(engine.counters().written_bytes >= 300 * 4096);
        },
    );
}

#[test]
fn read_beyond_the_end_is_illegal_request_and_the_session_goes_on() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let done = client.run(0, &read10(2048, 512), &[], 512);
            assert_eq!((done.status, sense_key(&done.sense)), (2, 5));
            let done = client.run(0, &write10(2047, 1024), &pattern(1, 1024), 0);
            assert_eq!((done.status, sense_key(&done.sense)), (2, 5));
            assert_eq!(client.read(0, 2047, 512), vec![0; 512]);
        },
    );
}

#[test]
fn inquiry_of_an_unmapped_lun_says_so_and_all_else_is_refused() {
    on_each_driver(
        1,
        || vec![ram(1 << 20)],
        |portal, _| {
            let mut client = Client::login_as(portal, HOST);
            let data = client.good(5, &[0x12, 0, 0, 0, 96, 0], &[], 96);
            assert_eq!(data[0], 0x7f);
            let done = client.run(5, &[0; 6], &[], 0);
            assert_eq!((done.status, support::asc(&done.sense)), (2, (0x25, 0)));
            let luns = client.good(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[], 256);
            assert_eq!(&luns[..4], &8_u32.to_be_bytes());
        },
    );
}

#[test]
fn write_whose_data_comes_in_any_order_is_read_back_equal() {
    let any_order = support::set(
        support::group(),
        &[
            ("param.DataPDUInOrder", "No"),
            ("param.DataSequenceInOrder", "No"),
        ],
    );
    support::on_each_driver_with(
        2,
        || {
            let tree = support::tree(vec![ram(8 << 20)]);
            support::changed(&tree, std::slice::from_ref(&any_order))
        },
        |portal, _| {
            let mut config = initiator::Config::normal(HOST, support::TARGET)
                .with_key("DataPDUInOrder", "No")
                .with_key("DataSequenceInOrder", "No")
                .with_key("MaxBurstLength", "65536")
                .with_key("MaxOutstandingR2T", "8");
            config.scatter_data_out = true;
            let mut client = Client::login(portal, config);
            assert!(!client.initiator.params().data_pdu_in_order);
            for (seed, bytes) in [(1, 512), (2, 65_536), (3, 1 << 20), (4, 4 << 20)] {
                let data = pattern(seed, bytes);
                client.write(0, 0, &data);
                assert_eq!(client.read(0, 0, bytes), data, "{bytes}");
            }
        },
    );
}
