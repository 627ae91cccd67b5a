//! Task sets over nexuses and workers: ACA, what the Control mode page says of CHECK CONDITION and of aborts, and what task
//! management tells whom (SAM-5 "Auto contingent allegiance"; SPC-5 "Control mode page"; RFC 7143 §4.2.3.4, §11.9).

mod support;

use std::net::SocketAddr;

use engine::Engine;
use initiator::{Config, Delivery, Event, Request};
use iscsi_wire::{
    AsyncEvent, Cid, Itt, ReadyToTransfer, TaskAttribute, TaskManagementFunction as Function,
    TaskManagementResponseCode as Code,
};
use support::many::Many;
use support::{
    Client, HOST, TARGET, asc, changed, group, on_each_driver, on_each_driver_with, path, ram,
    read10, ready, set, settle, transact, tree, wire_lun, write10,
};

const OTHER: &str = "iqn.2026-11.org.example:other";
const LAST: u32 = 2048;
const NACA: u8 = 0x04;

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const ACA_ACTIVE: u8 = 0x30;
const TASK_ABORTED: u8 = 0x40;

/// A target with one disk of 2048 blocks and several workers, so that two sessions are on two of them.
fn on_two_workers(test: impl Fn(SocketAddr, &Engine)) {
    on_each_driver(2, || vec![ram(1 << 20)], test);
}

/// Two initiators past their first unit attention.
fn two(portal: SocketAddr) -> (Client, Client) {
    let mut both = [HOST, OTHER].map(|host| Client::login_as(portal, host));
    both.iter_mut().for_each(|client| settle(client, 0));
    let [one, other] = both;
    (one, other)
}

fn status(client: &mut Client, cdb: &[u8]) -> u8 {
    let itt = client.initiator.command(wire_lun(0), cdb, Vec::new(), 0);
    client.done(itt).status
}

/// Ends a read beyond the last block in CHECK CONDITION, with NACA.
fn fault(client: &mut Client) {
    let mut cdb = read10(LAST, 512);
    cdb[9] = NACA;
    let itt = client.initiator.command(wire_lun(0), &cdb, Vec::new(), 512);
    let done = client.done(itt);
    assert_eq!(
        (done.status, asc(&done.sense)),
        (CHECK_CONDITION, (0x21, 0))
    );
}

fn manage(client: &mut Client, function: Function, delivery: Delivery) -> Code {
    let itt = client
        .initiator
        .task_management(function, wire_lun(0), None, delivery);
    match client.next(|e| matches!(e, Event::TaskManaged { itt: of, .. } if *of == itt)) {
        Event::TaskManaged { response, .. } => response,
        other => unreachable!("{other:?}"),
    }
}

/// Logs in without ever answering an R2T.
fn slow(portal: SocketAddr, host: &str, keys: &[(&str, &str)]) -> Client {
    let config = Config {
        answer_r2ts: false,
        use_immediate_data: false,
        use_unsolicited_data: false,
        ..Config::normal(host, TARGET)
    };
    let config = keys
        .iter()
        .fold(config, |config, (key, value)| config.with_key(key, value));
    let mut client = Client::login(portal, config);
    settle(&mut client, 0);
    client
}

/// Begins a write whose data nobody sends, and sees that it is in the task set.
fn begin_write(client: &mut Client) -> (Itt, ReadyToTransfer) {
    let data = vec![7; 4096];
    let itt = client
        .initiator
        .command(wire_lun(0), &write10(0, data.len()), data, 0);
    match client.next(|e| matches!(e, Event::R2t(_))) {
        Event::R2t(r2t) => (itt, r2t),
        other => unreachable!("{other:?}"),
    }
}

/// The status of a write that was aborted: an initiator that was not told otherwise goes on with its data first (RFC 7143
/// §11.4.2).
fn aborted((itt, r2t): (Itt, ReadyToTransfer), client: &mut Client) -> u8 {
    client.initiator.answer_r2t(&r2t);
    client.done(itt).status
}

#[test]
fn aca_holds_over_workers_until_it_is_cleared_by_the_faulted_nexus() {
    on_two_workers(|portal, _| {
        let (mut one, mut other) = two(portal);
        fault(&mut one);
        for _ in 0..2 {
            assert_eq!(status(&mut one, &[0; 6]), ACA_ACTIVE);
            assert_eq!(status(&mut other, &[0; 6]), BUSY);
            assert_eq!(status(&mut other, &[0, 0, 0, 0, 0, NACA]), ACA_ACTIVE);
            let cleared = manage(&mut other, Function::ClearAca, Delivery::Immediate);
            assert_eq!(cleared, Code::FunctionComplete);
        }
        let itt = one.initiator.submit(Request {
            lun: wire_lun(0),
            cdb: read10(0, 512).to_vec(),
            attribute: TaskAttribute::Aca,
            data_in_bytes: 512,
            ..Request::default()
        });
        assert_eq!(one.done(itt).status, GOOD);
        let cleared = manage(&mut one, Function::ClearAca, Delivery::Immediate);
        assert_eq!(cleared, Code::FunctionComplete);
        for client in [&mut one, &mut other] {
            assert_eq!(status(client, &[0; 6]), GOOD);
        }
    });
}

#[test]
fn aca_blocks_a_write_under_way_and_lets_it_end_after() {
    on_two_workers(|portal, _| {
        let mut other = slow(portal, OTHER, &[]);
        let mut one = Client::login_as(portal, HOST);
        settle(&mut one, 0);
        let (write, _) = begin_write(&mut other);
        let r2t = |e: &Event| matches!(e, Event::R2t(_));
        fault(&mut one);
        let data = vec![7; 4096];
        let itt = other
            .initiator
            .command(wire_lun(0), &write10(8, data.len()), data, 0);
        assert_eq!(other.done(itt).status, BUSY);
        assert!(!other.events.iter().any(r2t));
        manage(&mut one, Function::ClearAca, Delivery::Immediate);
        // It has to be aborted now, since its data will never come.
        let aborted = manage(&mut other, Function::AbortTaskSet, Delivery::Immediate);
        assert_eq!(aborted, Code::FunctionComplete);
        assert!(
            !other
                .events
                .iter()
                .any(|e| matches!(e, Event::CommandDone(done) if done.itt == write))
        );
        assert_eq!(status(&mut other, &[0; 6]), GOOD);
    });
}

#[test]
fn aca_ends_with_the_session_of_the_faulted_nexus() {
    on_two_workers(|portal, _| {
        let (mut one, mut other) = two(portal);
        fault(&mut one);
        assert_eq!(status(&mut other, &[0; 6]), BUSY);
        drop(one);
        while status(&mut other, &[0; 6]) == BUSY {}
        assert_eq!(status(&mut other, &[0; 6]), GOOD);
    });
}

#[test]
fn clear_task_set_ends_the_command_of_another_with_task_aborted_or_with_a_unit_attention() {
    on_two_workers(|portal, engine| {
        for (tas, delivery) in [("1", Delivery::Immediate), ("0", Delivery::Ordered)] {
            transact(
                engine,
                &[set(
                    path("/backstores/ram/disk0"),
                    &[("attrib.emulate_tas", tas)],
                )],
            );
            let mut other = slow(portal, OTHER, &[]);
            let mut one = Client::login_as(portal, HOST);
            settle(&mut one, 0);
            let write = begin_write(&mut other);
            let cleared = manage(&mut one, Function::ClearTaskSet, delivery);
            assert_eq!(cleared, Code::FunctionComplete);
            if tas == "1" {
                assert_eq!(aborted(write, &mut other), TASK_ABORTED);
                assert_eq!(ready(&mut other, 0), None);
            } else {
                assert_eq!(ready(&mut other, 0), Some((6, (0x2f, 0x00))));
                assert_eq!(ready(&mut other, 0), None);
                let ended = |e: &Event| matches!(e, Event::CommandDone(_));
                assert!(!other.events.iter().any(ended));
            }
        }
    });
}

#[test]
fn qerr_set_by_mode_select_aborts_the_commands_of_another_worker() {
    on_two_workers(|portal, _| {
        let mut other = slow(portal, OTHER, &[]);
        let mut one = Client::login_as(portal, HOST);
        settle(&mut one, 0);
        // The Control mode page: GLTSD, QUEUE ALGORITHM MODIFIER 1, QERR 01b, TAS.
        let list = [
            0, 0, 0, 0, 0x0a, 0x0a, 0x02, 0x12, 0, 0x40, 0, 0, 0xff, 0xff, 0, 0,
        ];
        one.good(0, &[0x15, 0x10, 0, 0, 16, 0], &list, 0);
        settle(&mut other, 0);
        let write = begin_write(&mut other);
        let done = one.run(0, &read10(LAST, 512), &[], 512);
        assert_eq!(done.status, CHECK_CONDITION);
        assert_eq!(aborted(write, &mut other), TASK_ABORTED);
        assert_eq!(ready(&mut other, 0), None);
        assert_eq!(ready(&mut one, 0), None);
    });
}

#[test]
fn fast_abort_tells_the_other_session_once_and_a_session_without_it_nothing() {
    let keys = [("TaskReporting", "FastAbort,ResponseFence,RFC3720")];
    let is_async = |e: &Event| matches!(e, Event::Async { .. });
    on_two_workers(|portal, _| {
        for (keys, told) in [(&keys[..], 1), (&[], 0)] {
            for function in [Function::ClearTaskSet, Function::LogicalUnitReset] {
                let mut other = slow(portal, OTHER, keys);
                let mut one = slow(portal, HOST, keys);
                let writes = [begin_write(&mut other), begin_write(&mut other)];
                begin_write(&mut one);
                let managed = manage(&mut one, function, Delivery::Immediate);
                assert_eq!(managed, Code::FunctionComplete);
                for write in writes {
                    // With FastAbort no more data is sent, and none is waited for.
                    let status = match told {
                        1 => other.done(write.0).status,
                        _ => aborted(write, &mut other),
                    };
                    assert_eq!(status, TASK_ABORTED);
                }
                settle(&mut other, 0);
                let count = other.events.iter().filter(|e| is_async(e)).count();
                assert_eq!(count, told, "{function:?}");
                if let Some(Event::Async { message, .. }) =
                    other.events.iter().find(|e| is_async(e))
                {
                    assert_eq!(message.async_event, AsyncEvent::TasksTerminated);
                    assert_eq!(message.lun, wire_lun(0));
                }
                // The issuing connection is not told, and its task has no status.
                settle(&mut one, 0);
                let more = |e: &Event| is_async(e) || matches!(e, Event::CommandDone(_));
                assert!(!one.events.iter().any(more), "{:?}", one.events);
            }
        }
    });
}

#[test]
fn nexus_reset_is_answered_and_drops_the_session() {
    on_two_workers(|portal, _| {
        let config = Config::normal(HOST, TARGET).with_key("iSCSIProtocolLevel", "2");
        let mut one = Client::login(portal, config);
        settle(&mut one, 0);
        let mut other = Client::login_as(portal, OTHER);
        settle(&mut other, 0);
        one.good(0, &[0x16, 0, 0, 0, 0, 0], &[], 0);
        assert_eq!(status(&mut other, &[0; 6]), 0x18);
        let reset = manage(&mut one, Function::ItNexusReset, Delivery::Ordered);
        assert_eq!(reset, Code::FunctionComplete);
        let dropped = one.next(|e| matches!(e, Event::Async { .. }));
        let Event::Async { message, .. } = dropped else {
            unreachable!("{dropped:?}");
        };
        assert_eq!(message.async_event, AsyncEvent::SessionDropped);
        assert_eq!((message.parameter1, message.parameter3), (0, 0));
        assert_eq!(one.try_next(|_| false), None);
        assert_eq!(status(&mut other, &[0; 6]), GOOD);
    });
}

#[test]
fn inquiry_tells_the_protocol_level_that_was_agreed_on() {
    on_two_workers(|portal, _| {
        for (level, version) in [("0", 0x0960_u16), ("1", 0x0961), ("2", 0x0962)] {
            let config = Config::normal(HOST, TARGET).with_key("iSCSIProtocolLevel", level);
            let mut client = Client::login(portal, config);
            let data = client.good(0, &[0x12, 0, 0, 0, 96, 0], &[], 96);
            let descriptors: Vec<u16> = data[58..74]
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            assert!(
                descriptors.contains(&version),
                "{level}: {descriptors:04x?}"
            );
        }
    });
}

#[test]
fn fast_abort_tells_the_other_connections_of_the_session_that_asks() {
    let target = || {
        let most = set(group(), &[("param.MaxConnections", "4")]);
        changed(&tree(vec![ram(1 << 20)]), &[most])
    };
    on_each_driver_with(2, target, |portal, _| {
        for function in [
            Function::AbortTaskSet,
            Function::ClearTaskSet,
            Function::LogicalUnitReset,
        ] {
            let config = Config {
                answer_r2ts: false,
                use_immediate_data: false,
                use_unsolicited_data: false,
                ..Config::normal(HOST, TARGET)
            };
            let config = config
                .with_key("MaxConnections", "4")
                .with_key("TaskReporting", "FastAbort,ResponseFence,RFC3720");
            let mut many = Many::login(portal, config);
            for cid in [1, 2, 3] {
                assert_eq!(many.join(Cid(cid)), Ok(()));
            }
            many.read(Cid(0), 0, 512);
            // Two on connection 0, one on 1, which asks, and one on 2; none on 3.
            for cid in [0, 0, 1, 2] {
                many.start(Cid(cid), 0, &write10(0, 4096), &[7; 4096], 0);
                many.next(|_, event| matches!(event, Event::R2t(_)));
            }
            many.peer.on(Cid(1), |one| {
                one.task_management(function, wire_lun(0), None, Delivery::Immediate)
            });
            let managed = |event: &Event| matches!(event, Event::TaskManaged { .. });
            let (over, event) = many.next(|_, event| managed(event));
            assert_eq!(over, Cid(1));
            let Event::TaskManaged { response, .. } = event else {
                unreachable!("{event:?}");
            };
            assert_eq!(response, Code::FunctionComplete);
            let is_async = |event: &Event| matches!(event, Event::Async { .. });
            for told in [0, 2] {
                let (_, event) = many.next(|cid, event| cid == Cid(told) && is_async(event));
                let Event::Async { message, .. } = event else {
                    unreachable!("{event:?}");
                };
                assert_eq!(message.async_event, AsyncEvent::TasksTerminated);
                assert_eq!(message.lun, wire_lun(0));
            }
            // Nobody else is told, nobody twice, and no task has a status.
            for cid in 0..4 {
                many.read(Cid(cid), 0, 512);
            }
            let more = |event: &Event| is_async(event) || matches!(event, Event::CommandDone(_));
            let more: Vec<_> = many.events.iter().filter(|(_, e)| more(e)).collect();
            assert!(more.is_empty(), "{function:?}: {more:?}");
        }
    });
}
