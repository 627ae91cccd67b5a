//! REPORT and SET IDENTIFYING INFORMATION.

use scsi::{Sense, Status};

use crate::rig::{Data, Rig, Run, TWO, caps, snapshot};

const DEVICE: u8 = 0x00;
const TEXT: u8 = 0x02;
const SUPPORTED: u8 = 0x7f;

fn rig() -> Rig {
    let mut snapshot = snapshot(caps(512, 64));
    snapshot.ptpl_capable = true;
    Rig::with_snapshot(snapshot)
}

fn report(rig: &mut Rig, of_type: u8) -> Run {
    let cdb = [0xa3, 0x05, 0, 0, 0, 0, 0, 0, 4, 0, of_type << 1, 0];
    rig.run(&cdb, Data::In(1024))
}

fn set(rig: &mut Rig, of_type: u8, information: &[u8]) -> Run {
    let [high, low] = (information.len() as u16).to_be_bytes();
    let cdb = [0xa4, 0x06, 0, 0, 0, 0, 0, 0, high, low, of_type << 1, 0];
    rig.run(&cdb, Data::Out(information))
}

#[test]
fn identifying_information_that_is_set_is_reported_and_outlasts_the_process() {
    let mut rig = rig();
    assert_eq!(report(&mut rig, DEVICE).data_in, [0; 4]);
    assert_eq!(set(&mut rig, DEVICE, &[7; 512]).done.status, Status::Good);
    let attention = Sense::unit_attention(0x3f, 0x05);
    rig.run_as(TWO, &[0; 6], Data::None).check(attention);
    let text = "Schr\u{e4}nke 3".as_bytes();
    let run = set(&mut rig, TEXT, text);
    assert_eq!(run.done.transfer_bytes, 11);
    rig.run_as(TWO, &[0; 6], Data::None).check(attention);
    let saved = rig.saves[1].clone().unwrap();
    let kept = (**rig.home.snapshot()).clone();
    let fresh = scsi::LuSnapshot {
        identifying: std::sync::Arc::default(),
        ..kept
    };
    let mut again = Rig::with_snapshot(fresh.with_saved_settings(&saved).unwrap());
    for rig in [&mut rig, &mut again] {
        let device = report(rig, DEVICE).data_in;
        assert_eq!(
            (&device[..4], &device[4..]),
            (&[0, 0, 2, 0][..], &[7; 512][..])
        );
        assert_eq!(report(rig, TEXT).data_in[4..], *text);
    }
    // Nothing takes its place.
    set(&mut rig, DEVICE, &[]);
    set(&mut rig, TEXT, &[]);
    assert_eq!(report(&mut rig, DEVICE).data_in, [0; 4]);
    assert_eq!(rig.saves.last(), Some(&None));
}

#[test]
fn report_of_what_is_supported_has_each_type_with_its_longest() {
    let wanted = [0, 0, 0, 8, 0, 0, 2, 0, 4, 0, 1, 0];
    assert_eq!(report(&mut rig(), SUPPORTED).data_in, wanted);
}

#[test]
fn identifying_information_with_a_fault_is_refused_with_its_place() {
    let mut rig = rig();
    report(&mut rig, 0x01).refused(Sense::cdb_bit(10, 7));
    set(&mut rig, SUPPORTED, &[1]).refused(Sense::cdb_bit(10, 7));
    set(&mut rig, DEVICE, &[0; 513]).refused(Sense::cdb_byte(6));
    set(&mut rig, TEXT, &[b'a'; 257]).refused(Sense::cdb_byte(6));
    set(&mut rig, TEXT, &[b'a', b'b', 0xff]).check(Sense::parameter_byte(2));
    let cdb = [0xa4, 0x06, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    rig.run(&cdb, Data::Out(&[0; 7]))
        .refused(Sense::PARAMETER_LIST_LENGTH_ERROR.pointing(true, 6, None));
    rig.fail_saves = true;
    set(&mut rig, DEVICE, &[1]).check(Sense::INTERNAL_TARGET_FAILURE);
    assert_eq!(report(&mut rig, DEVICE).data_in, [0; 4]);
    // Without a place to keep it there is none.
    report(&mut Rig::new(), DEVICE).refused(Sense::cdb_bit(1, 4));
}
