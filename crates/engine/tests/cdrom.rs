//! CD and DVD drives of the tree, as an initiator meets them.

mod support;

use std::path::Path;

use support::{
    Client, HOST, asc, create, on_each_driver, path, ram, ready, set, settle, tpg, transact,
};

const BLOCK: usize = 2048;

/// An image whose blocks hold `byte`.
fn image(folder: &Path, name: &str, blocks: usize, byte: u8) -> String {
    let image = folder.join(name);
    std::fs::write(&image, vec![byte; blocks * BLOCK]).unwrap();
    image.to_str().unwrap().to_owned()
}

fn read(client: &mut Client, lba: u8) -> Vec<u8> {
    client.good(1, &[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], &[], 2048)
}

fn media_event(client: &mut Client) -> Vec<u8> {
    client.good(1, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0], &[], 8)[4..6].to_vec()
}

#[test]
fn disc_is_read_ejected_by_the_operator_and_changed_while_initiators_look() {
    let folder = tempfile::tempdir().unwrap();
    let first = image(folder.path(), "first.iso", 100, 1);
    let second = image(folder.path(), "second.iso", 200, 2);
    on_each_driver(
        2,
        || vec![ram(16 << 20)],
        |portal, engine| {
            let drive = || path("/backstores/file/drive");
            let attributes = [("path", first.as_str()), ("device_type", "cdrom")];
            let lun = create(tpg("/luns/1"), &[("backstore", "file/drive")]);
            transact(engine, &[create(drive(), &attributes), lun]);
            let mut one = Client::login_as(portal, &format!("{HOST}-one"));
            let mut two = Client::login_as(portal, &format!("{HOST}-two"));
            for client in [&mut one, &mut two] {
                settle(client, 1);
                assert_eq!(media_event(client), [0, 2]);
            }
            let inquiry = one.good(1, &[0x12, 0, 0, 0, 96, 0], &[], 96);
            assert_eq!(inquiry[..2], [0x05, 0x80]);
            assert_eq!(&inquiry[16..32], b"VIRTUAL-CDROM   ");
            let serial = |client: &mut Client| client.good(1, &[0x12, 1, 0x80, 0, 96, 0], &[], 96);
            let serial_before = serial(&mut one);
            assert_eq!(read(&mut one, 99), [1; BLOCK]);
            let write = one.run(1, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; BLOCK], 0);
            assert_eq!((write.status, asc(&write.sense)), (2, (0x20, 0)));

            transact(engine, &[set(drive(), &[("ejected", "1")])]);
            for client in [&mut one, &mut two] {
                assert_eq!(ready(client, 1), Some((2, (0x3a, 0x01))));
                assert_eq!(media_event(client), [3, 0]);
            }
            // Another disc, and in again.
            transact(engine, &[set(drive(), &[("path", &second)])]);
            assert_eq!(ready(&mut one, 1), Some((2, (0x3a, 0x01))));
            transact(engine, &[set(drive(), &[("ejected", "0")])]);
            for client in [&mut one, &mut two] {
                assert_eq!(media_event(client), [2, 2]);
                assert_eq!(ready(client, 1), Some((6, (0x28, 0x00))));
                assert_eq!(read(client, 199), [2; BLOCK]);
            }
            assert_eq!(serial(&mut one), serial_before);
            // From one to the other at once.
            transact(engine, &[set(drive(), &[("path", &first)])]);
            assert_eq!(ready(&mut two, 1), Some((6, (0x28, 0x00))));
            assert_eq!(read(&mut two, 99), [1; BLOCK]);
            assert_eq!(ready(&mut one, 1), Some((6, (0x28, 0x00))));
            // What an initiator ejects comes back when its session ends.

            one.good(1, &[0x1b, 0, 0, 0, 2, 0], &[], 0);
            assert_eq!(ready(&mut two, 1), Some((2, (0x3a, 0x02))));
            drop(one);
            while ready(&mut two, 1) == Some((2, (0x3a, 0x02))) {}
            assert_eq!(read(&mut two, 0), [1; BLOCK]);
        },
    );
}
