//! What the target says unasked, where its portal group says so: unit attentions as they come (RFC 7143 §11.9.1, event 0), and that
//! there is something to negotiate (event 4).

mod support;

use std::net::SocketAddr;

use engine::Engine;
use initiator::{Config, Delivery, Event};
use iscsi_wire::{AsyncEvent, AsyncMessage, TaskManagementFunction};
use support::{
    Client, HOST, TARGET, changed, create, group, on_each_driver_with, pattern, ram, read10, ready,
    set, settle, tpg, transact, tree, wire_lun,
};

const OTHER: &str = "iqn.2026-11.org.example:other";

fn with(attributes: &'static [(&'static str, &'static str)], test: impl Fn(SocketAddr, &Engine)) {
    let tree = || {
        let disks = vec![ram(4 << 20), ram(1 << 20)];
        changed(&tree(disks), &[set(group(), attributes)])
    };
    on_each_driver_with(2, tree, test);
}

/// The next asynchronous message.
fn told(client: &mut Client) -> (AsyncMessage, Vec<u8>) {
    match client.next(|event| matches!(event, Event::Async { .. })) {
        Event::Async { message, data } => (message, data),
        other => unreachable!("{other:?}"),
    }
}

/// What was to be told before the answer to a ping has come with it.
fn is_told_nothing(client: &mut Client) -> bool {
    let itt = client.initiator.ping(b"?", Delivery::Immediate);
    client.next(|event| matches!(event, Event::Ponged { itt: of, .. } if *of == itt));
    let told = |event: &Event| matches!(event, Event::Async { .. });
    !client.events.iter().any(told)
}

fn reset_by_another(portal: SocketAddr) {
    let mut other = Client::login_as(portal, OTHER);
    settle(&mut other, 0);
    let reset = TaskManagementFunction::LogicalUnitReset;
    other
        .initiator
        .task_management(reset, wire_lun(0), None, Delivery::Immediate);
    other.next(|event| matches!(event, Event::TaskManaged { .. }));
}

#[test]
fn unit_attention_is_reported_as_it_comes_and_stays_pending() {
    with(&[("report_unit_attentions", "true")], |portal, engine| {
        let mut client = Client::login_as(portal, HOST);
        settle(&mut client, 0);
        // That of its own login is not news.
        assert!(is_told_nothing(&mut client));
        reset_by_another(portal);
        let (message, data) = told(&mut client);
        assert_eq!(message.async_event, AsyncEvent::ScsiEvent);
        assert_eq!(message.lun, wire_lun(0));
        // RFC 7143 §11.9.4: SenseLength, then sense data.
        let sense = &data[2..];
        assert_eq!(
            usize::from(u16::from_be_bytes([data[0], data[1]])),
            sense.len()
        );
        let found = (support::sense_key(sense), support::asc(sense));
        assert_eq!(found, (6, (0x29, 0x03)));
        assert_eq!(ready(&mut client, 0), Some((6, (0x29, 0x03))));
        assert_eq!(ready(&mut client, 0), None);
        // Other LUNs: told by each that the session uses.
        let lun = create(tpg("/luns/7"), &[("backstore", "ram/disk1")]);
        transact(engine, &[lun]);
        let (message, data) = told(&mut client);
        assert_eq!(message.async_event, AsyncEvent::ScsiEvent);
        assert_eq!(support::asc(&data[2..]), (0x3f, 0x0e));
    });
}

#[test]
fn unit_attention_is_not_reported_unless_the_group_says_so() {
    with(&[], |portal, _| {
        let mut client = Client::login_as(portal, HOST);
        settle(&mut client, 0);
        reset_by_another(portal);
        assert!(is_told_nothing(&mut client));
        assert_eq!(ready(&mut client, 0), Some((6, (0x29, 0x03))));
    });
}

#[test]
fn session_is_asked_to_negotiate_when_the_length_of_segments_changes() {
    const KEY: &str = "param.MaxRecvDataSegmentLength";
    with(&[("ask_to_negotiate", "true")], |portal, engine| {
        let mut client = Client::login_as(portal, HOST);
        settle(&mut client, 0);
        transact(engine, &[set(group(), &[(KEY, "524288")])]);
        let (message, _) = told(&mut client);
        assert_eq!(message.async_event, AsyncEvent::NegotiationRequested);
        assert!(message.parameter3 > 0);
        let itt = client.initiator.text(&[], Delivery::Ordered);
        let answer = client.next(|e| matches!(e, Event::TextDone { itt: of, .. } if *of == itt));
        let Event::TextDone { pairs, .. } = answer else {
            unreachable!()
        };
        let declared = ("MaxRecvDataSegmentLength".to_owned(), "524288".to_owned());
        assert_eq!(pairs, [declared]);
        // What else a group negotiates waits for the next login.
        transact(
            engine,
            &[set(group(), &[("param.MaxBurstLength", "65536")])],
        );
        assert!(is_told_nothing(&mut client));
        transact(engine, &[set(group(), &[("ask_to_negotiate", "false")])]);
        transact(engine, &[set(group(), &[(KEY, "65536")])]);
        assert!(is_told_nothing(&mut client));
    });
}

/// RFC 7143 §13.12: the initiator declares, in the full feature phase too.
#[test]
fn segments_are_as_long_as_the_initiator_declared_last() {
    with(&[], |portal, _| {
        let mut config = Config::normal(HOST, TARGET).with_key("MaxRecvDataSegmentLength", "65536");
        config.report_pdus = true;
        let mut client = Client::login(portal, config);
        settle(&mut client, 0);
        let data = pattern(3, 256 << 10);
        client.write(0, 0, &data);
        for most in [65_536, 4096, 262_144] {
            if most != 65_536 {
                let itt = client.initiator.declare_max_recv_data_segment_length(most);
                client.next(|e| matches!(e, Event::TextDone { itt: of, .. } if *of == itt));
            }
            client.events.clear();
            let itt = client.initiator.command(
                wire_lun(0),
                &read10(0, data.len()),
                Vec::new(),
                256 << 10,
            );
            assert_eq!(client.done(itt).data, data);
            let lengths = client.events.iter().filter_map(|event| match event {
                Event::Received(iscsi_wire::TargetPdu::DataIn(pdu)) => {
                    Some(pdu.data_segment_length)
                }
                _ => None,
            });
            assert_eq!(lengths.max(), Some(most));
        }
    });
}
