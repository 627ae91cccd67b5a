//! Reads that go on over another connection (RFC 7143 §7.2.2, §11.5.6), with what is kept of them.

use core::time::Duration;

use iscsi_wire::{
    Cid, InitiatorPdu, Itt, SerialNumber, SnackRequest, SnackType, TargetPdu,
    TaskManagementFunction, TaskManagementRequest, Ttt,
};

use super::super::golden::{exchange, read, unwire, wire};
use super::super::target::{Target, Way};
use super::{ask, params, snack};
use crate::login::SessionType;
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, established, session};

#[test]
fn read_that_is_reassigned_begins_where_the_initiator_says_with_no_snack_tag() {
    // What the initiator says that it has; where the data begins, and the DataSN of that. What cannot be says nothing.
    for (exp_data_sn, offset, data_sn) in [(4, 2048, 4), (0, 0, 0), (99, 0, 0)] {
        let params = NegotiatedParams {
            error_recovery_level: 2,
            max_connections: 2,
            ..params()
        };
        let mut target = Target::new(session(params.clone()));
        let command = (InitiatorPdu::ScsiCommand(read(1, 5000)), &[][..]);
        assert_eq!(exchange(&mut target, &[command]).len(), 11);
        let tagged = SnackRequest {
            itt: Itt(1),
            ttt: Ttt(9),
            ..snack(SnackType::RData, 0, 0)
        };
        assert_eq!(ask(&mut target, tagged).len(), 11);
        let mut other = established(
            SessionType::Normal,
            NegotiatedParams {
                max_send_data_segment_length: 1024,
                ..params
            },
        );
        other.identity.cid = Cid(8);
        let c1 = target.session.join(&other, Duration::ZERO).unwrap();
        assert_eq!(target.session.lose_connection(C0, Duration::ZERO), []);
        target.session.end_allegiance(C0, Duration::ZERO);
        let reassign = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::TaskReassign,
            itt: Itt(50),
            referenced_task_tag: Itt(1),
            cmd_sn: SerialNumber(2),
            exp_stat_sn: SerialNumber(1),
            exp_data_sn,
            ..TaskManagementRequest::default()
        };
        let reassign = wire(&[(InitiatorPdu::TaskManagementRequest(reassign), &[])]);
        target.receive_on(c1, &reassign, Way::Staging(usize::MAX));
        let answer = unwire(&target.send_on(c1));
        let [
            (TargetPdu::TaskManagementResponse(managed), _),
            data @ ..,
            (last, _),
        ] = &answer[..]
        else {
            panic!("the response goes first: {answer:?}");
        };
        let TargetPdu::ScsiResponse(response) = last else {
            panic!("the status goes last: {last:?}");
        };
        assert_eq!((managed.stat_sn.0, response.stat_sn.0), (1, 2));
        assert_eq!(response.snack_tag, 0);
        let (mut next, mut bytes) = (data_sn, Vec::<u8>::new());
        for (pdu, data) in data {
            let TargetPdu::DataIn(pdu) = pdu else {
                panic!("data: {pdu:?}");
            };
            assert_eq!(pdu.data_sn, next);
            next += 1;
            bytes.extend(data);
        }
        assert_eq!(
            (response.exp_data_sn, data.len()),
            (next, (5000 - offset as usize).div_ceil(1024))
        );
        assert!(bytes == target.disk[offset as usize..5000]);
    }
}
