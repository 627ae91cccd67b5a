//! What survives: FUA, WCE, SYNCHRONIZE CACHE.

use block::{IoError, IoErrorKind, IoOpKind, Lba};
use scsi::lu::HomeAction;
use scsi::{Refusal, Sense, Status};

use crate::rig::{BLOCK, Data, Rig, caps, cdb10, cdb16, compare_and_write, unmap, unmap_list};

fn write_through() -> Rig {
    let mut caps = caps(512, 64);
    caps.write_cache = false;
    Rig::with(caps)
}

#[test]
fn write_without_a_write_cache_is_durable() {
    let mut rig = write_through();
    let block = [1; BLOCK];
    rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&block))
        .good(&["data-out 0+512", "write 0+1 at 0 durable"]);
    rig.run(&cdb10(0x41, 0, 0, 2), Data::Out(&block))
        .good(&["data-out 0+512", "write 0+2 pattern 512 durable"]);
    rig.run(&cdb16(0x93, 0x01, 0, 2), Data::None)
        .good(&["zero 0+2", "flush"]);
    let list = unmap_list(&[(3, 2)]);
    rig.run(&unmap(24), Data::Out(&list))
        .good(&["data-out 0+24", "unmap 3+2", "flush"]);
    let list = unmap_list(&[(3, 0)]);
    rig.run(&unmap(24), Data::Out(&list))
        .good(&["data-out 0+24"]);
    let run = rig.run(&compare_and_write(0, 5, 1), Data::Out(&[0; 1024]));
    assert_eq!(run.steps[3], "write 5+1 at 512 durable");
}

#[test]
fn write_with_fua_is_durable_and_read_with_fua_flushes_first() {
    let mut rig = Rig::new();
    let block = [1; BLOCK];
    rig.run(&cdb10(0x2a, 0x18, 0, 1), Data::Out(&block))
        .good(&["data-out 0+512", "write 0+1 at 0 durable"]);
    let run = rig.run(&cdb10(0x28, 0x18, 0, 1), Data::In(512));
    run.good(&["flush", "read 0+1 at 0"]);
    assert_eq!(run.data_in, block);
    // FUA_NV: there is no other non-volatile cache.
    rig.run(&cdb10(0x2a, 0x02, 0, 1), Data::Out(&block))
        .good(&["data-out 0+512", "write 0+1 at 0 durable"]);
    rig.run(&cdb10(0x28, 0x10, 0, 1), Data::In(512))
        .good(&["read 0+1 at 0"]);
}

#[test]
fn synchronize_cache_flushes_whatever_the_range() {
    let mut rig = Rig::new();
    for cdb in [
        cdb10(0x35, 0, 0, 0).to_vec(),
        cdb10(0x35, 0x02, 3, 4).to_vec(),
        cdb16(0x91, 0, 0, 64).to_vec(),
    ] {
        rig.run(&cdb, Data::None).good(&["flush"]);
    }
    rig.run(&cdb10(0x35, 0, 63, 2), Data::None)
        .refused(Sense::LBA_OUT_OF_RANGE.pointing(true, 2, None));
}

#[test]
fn stop_flushes_unless_told_not_to() {
    let mut rig = Rig::new();
    rig.run(&[0x1b, 0, 0, 0, 0x00, 0], Data::None)
        .good(&["flush"]);
    rig.run(&[0x1b, 1, 0, 0, 0x04, 0], Data::None).good(&[]);
    rig.run(&[0x1b, 0, 0, 0, 0x01, 0], Data::None).good(&[]);
    rig.run(&[0x1b, 0, 0, 0, 0x02, 0], Data::None)
        .refused(Sense::cdb_bit(4, 1));
    rig.run(&[0x1b, 0, 0, 0, 0x10, 0], Data::None)
        .refused(Sense::cdb_bit(4, 7));
    rig.run(&[0; 6], Data::None).good(&[]);
}

#[test]
fn each_io_that_fails_ends_the_command_with_its_sense() {
    let fua_read = cdb10(0x28, 0x08, 0, 1);
    let list = unmap_list(&[(0, 1), (5, 1)]);
    let block = [0xee; 2 * BLOCK];
    let cases: &[(&[u8], Data<'_>)] = &[
        (&fua_read, Data::In(512)),
        (&cdb10(0x2e, 0x02, 0, 1), Data::Out(&block[..512])),
        (&cdb10(0x2f, 0, 0, 1), Data::None),
        (&cdb10(0x41, 0, 0, 2), Data::Out(&block[..512])),
        (&unmap(40), Data::Out(&list)),
        (&compare_and_write(0, 0, 1), Data::Out(&[0; 1024])),
        (&cdb10(0x35, 0, 0, 0), Data::None),
    ];
    for (cdb, data) in cases {
        let error = IoError::new(IoErrorKind::Gone, IoOpKind::Read);
        let mut failures = 0;
        for nth in 0.. {
            let mut rig = Rig::new();
            rig.fail = Some((nth, error));
            let run = rig.run(cdb, *data);
            assert!(rig.home.is_quiet());
            if run.done.status == Status::Good {
                break;
            }
            run.check(Sense::NOT_READY);
            failures += 1;
        }
        assert!(failures > 0, "{cdb:x?}");
    }
}

#[test]
fn read_that_fails_on_its_way_tells_what_was_read() {
    let mut rig = Rig::with(caps(4096, 1024));
    let error = IoError::new(IoErrorKind::Medium, IoOpKind::Read).at(Lba(256));
    rig.fail = Some((1, error));
    let run = rig.run(&cdb10(0x28, 0, 0, 512), Data::In(2 << 20));
    run.check(Sense::UNRECOVERED_READ_ERROR.with_information(256));
    assert_eq!(run.done.transfer_bytes, 1 << 20);
    assert_eq!(run.done.data_in_bytes, 1 << 20);
}

#[test]
fn store_without_room_answers_busy() {
    let mut rig = Rig::new();
    rig.fail = Some((0, IoError::new(IoErrorKind::Busy, IoOpKind::Read)));
    let run = rig.run(&cdb10(0x28, 0, 0, 1), Data::In(512));
    assert_eq!((run.done.status, run.done.sense), (Status::Busy, None));
    let refusal = Refusal::Status(Status::Busy);
    assert_ne!(refusal, Refusal::Check(Sense::NOT_READY));
}

#[test]
fn cache_turned_off_while_a_command_waits_makes_its_write_durable() {
    let mut rig = Rig::new();
    let block = [1; BLOCK];
    let (mut live, step) = rig.start(crate::rig::ONE, &cdb10(0x2a, 0, 0, 1), Data::Out(&block));
    rig.act(HomeAction::WriteCache(false));
    let step = rig.take_on(&mut live, step).unwrap();
    let run = rig.finish(live, step);
    run.good(&["data-out 0+512", "write 0+1 at 0 durable"]);
}
