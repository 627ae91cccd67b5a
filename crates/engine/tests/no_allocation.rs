//! The warm path of a plain READ and WRITE allocates nothing, from the socket to the store and back.

mod support;

use engine::Engine;
use initiator::Initiator;
use reactor::DriverChoice;
use reactor::testing::CountingAllocator;
use support::{Client, HOST, config, pattern, ram, read10, tree, wire_lun, write10};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const DEPTH: u32 = 32;

/// Rounds of [`DEPTH`] commands each.
const WARM_UP: u32 = 60;
const MEASURED: u32 = 1600;

/// Sends one round and waits until all of it is answered.
fn round(client: &mut Client, command: impl Fn(&mut Initiator, u32)) {
    for i in 0..DEPTH {
        command(&mut client.initiator, i);
    }
    for _ in 0..DEPTH {
        let event = client.next(|e| matches!(e, initiator::Event::CommandDone(_)));
        let initiator::Event::CommandDone(done) = event else {
            unreachable!("asked for just this")
        };
        assert_eq!(done.status, 0, "{:02x?}", done.sense);
    }
}

#[test]
fn plain_reads_and_writes_allocate_nothing() {
    ALLOCATOR.exempt_this_thread();
    let data = pattern(7, 4096);
    for driver in [DriverChoice::Epoll, DriverChoice::Mixed] {
        let engine = match Engine::start(config(driver, 1), tree(vec![ram(16 << 20)])) {
            Ok(engine) => engine,
            Err(error) if driver == DriverChoice::Mixed => {
                eprintln!("left out on {driver:?}: {error}");
                continue;
            }
            Err(error) => panic!("{driver:?}: {error}"),
        };
        let mut client = Client::login_as(engine.portals()[0], HOST);
        client.good(0, &[0; 6], &[], 0);
        let write = |initiator: &mut Initiator, i: u32| {
            initiator.command(wire_lun(0), &write10(i * 8, 4096), data.clone(), 0);
        };
        let read = |initiator: &mut Initiator, i: u32| {
            initiator.command(wire_lun(0), &read10(i * 8, 4096), Vec::new(), 4096);
        };
        for _ in 0..WARM_UP {
            round(&mut client, write);
            round(&mut client, read);
        }
        // Tables grow to the largest batch that timing makes, and then no more.
        let mut counted = Vec::new();
        while counted.last() != Some(&0) && counted.len() < 4 {
            let before = ALLOCATOR.allocations();
            for _ in 0..MEASURED {
                round(&mut client, write);
                round(&mut client, read);
            }
            counted.push(ALLOCATOR.allocations() - before);
        }
        let commands = 2 * MEASURED * DEPTH;
        assert_eq!(
            counted.last(),
            Some(&0),
            "{driver:?}: per {commands} commands: {counted:?}"
        );
        support::drain(engine);
    }
}
