use std::sync::Arc;
use std::time::Duration;

use block::{Geometry, IoErrorKind, IoOpKind, Lba};
use reactor::Token;

use super::*;
use crate::api::{Backstore, IoDone, IoRequest, StoreIo};
use crate::identity::Identity;
use crate::testing::{Bench, ScriptedDriver};
use crate::{NullStore, RamStore};

const GEOMETRY: Geometry = Geometry {
    block_size_bytes: 512,
    capacity_blocks: 64,
};

fn ram() -> Arc<dyn Backstore> {
    let identity = Identity::from_serial("ram").unwrap();
    Arc::new(RamStore::new("ram".to_owned(), GEOMETRY, identity).unwrap())
}

fn null() -> Arc<dyn Backstore> {
    let identity = Identity::from_serial("null").unwrap();
    Arc::new(NullStore::new("null".to_owned(), GEOMETRY, identity))
}

fn attach(store: Arc<dyn Backstore>) -> Bench {
    Bench::new(store.attach(&mut ScriptedDriver::default()), 0)
}

/// Hands the one deferred request in again, and tells its delay.
fn again(bench: &mut Bench) -> Duration {
    assert_eq!(bench.port.deferred.len(), 1);
    let (delay, request) = bench.port.deferred.pop().unwrap();
    bench.store.submit(request, &mut bench.port);
    delay
}

fn taken(bench: &mut Bench) -> Option<IoDone> {
    assert!(bench.port.done.len() <= 1);
    bench.port.done.pop()
}

fn read(bench: &Bench) -> IoRequest {
    IoRequest {
        token: Token(7),
        io: StoreIo::Read {
            lba: Lba(0),
            blocks: 1,
        },
        memory: Some(bench.buffer(512, 9)),
        passes: 0,
    }
}

fn submit_read(bench: &mut Bench) {
    let request = read(bench);
    bench.store.submit(request, &mut bench.port);
}

#[test]
fn delay_defers_once_and_only_what_it_concerns() {
    let delay = Duration::from_secs(3);
    let concerns = Concerns::Only(IoOpKind::Read);
    let mut bench = attach(Arc::new(DelayFilter::new(null(), concerns, delay)));
    assert_eq!(bench.call(StoreIo::Flush, None).result, Ok(()));
    submit_read(&mut bench);
    assert!(taken(&mut bench).is_none());
    assert_eq!(again(&mut bench), delay);
    assert_eq!(taken(&mut bench).unwrap().result, Ok(()));
    assert!(bench.port.deferred.is_empty());
}

#[test]
fn delays_stacked_add_up() {
    let inner = DelayFilter::new(null(), Concerns::All, Duration::from_secs(1));
    let middle = ReadOnlyFilter::new(Arc::new(inner));
    let outer = DelayFilter::new(Arc::new(middle), Concerns::All, Duration::from_secs(5));
    let mut bench = attach(Arc::new(outer));
    submit_read(&mut bench);
    assert_eq!(again(&mut bench), Duration::from_secs(5));
    assert!(taken(&mut bench).is_none());
    assert_eq!(again(&mut bench), Duration::from_secs(1));
    assert!(taken(&mut bench).is_some());
}

#[test]
fn hold_keeps_requests_until_released_and_counts_each_once() {
    let hold = Arc::new(HoldFilter::new(null(), Concerns::All));
    let mut bench = attach(hold.clone());
    submit_read(&mut bench);
    assert!(taken(&mut bench).is_some(), "nothing is held at first");
    hold.hold();
    submit_read(&mut bench);
    for _ in 0..3 {
        again(&mut bench);
        assert!(taken(&mut bench).is_none());
    }
    assert_eq!(hold.held(), 1);
    hold.release();
    again(&mut bench);
    assert!(taken(&mut bench).is_some());
    assert!(bench.port.deferred.is_empty());
}

#[test]
fn hold_does_not_catch_again_what_a_filter_inside_defers() {
    let delay = DelayFilter::new(null(), Concerns::All, Duration::from_secs(1));
    let hold = Arc::new(HoldFilter::new(Arc::new(delay), Concerns::All));
    let mut bench = attach(hold.clone());
    submit_read(&mut bench);
    hold.hold();
    again(&mut bench);
    assert!(taken(&mut bench).is_some());
    assert_eq!(hold.held(), 0);
}

#[test]
fn read_only_refuses_changes_and_lends_no_pin() {
    let store = Arc::new(ReadOnlyFilter::new(ram()));
    assert!(store.caps().read_only);
    assert!(!store.caps().unmap);
    let mut bench = attach(store);
    let unmap = StoreIo::Unmap {
        lba: Lba(4),
        blocks: 1,
    };
    let error = bench.call(unmap, None).result.unwrap_err();
    assert_eq!(
        (error.kind, error.op),
        (IoErrorKind::ReadOnly, IoOpKind::Unmap)
    );
    assert_eq!(error.lba, Some(Lba(4)));
    assert_eq!(bench.call(StoreIo::Flush, None).result, Ok(()));
    submit_read(&mut bench);
    assert_eq!(taken(&mut bench).unwrap().result, Ok(()));
    assert!(bench.store.pin(Lba(0), 1).is_none());
}

#[test]
fn error_strikes_the_requests_it_was_told_to() {
    let filter = Arc::new(ErrorFilter::new(null()));
    let mut bench = attach(filter.clone());
    let flushes = |bench: &mut Bench| -> Vec<Option<IoErrorKind>> {
        let kind = |done: IoDone| done.result.err().map(|error| error.kind);
        (0..4)
            .map(|_| kind(bench.call(StoreIo::Flush, None)))
            .collect()
    };
    assert_eq!(flushes(&mut bench), [None; 4]);
    filter.set_fault(Some(Fault {
        concerns: Concerns::Only(IoOpKind::Flush),
        nth: 2,
        count: 2,
        kind: IoErrorKind::Gone,
    }));
    submit_read(&mut bench);
    let done = taken(&mut bench).unwrap();
    assert_eq!(done.result, Ok(()));
    let gone = Some(IoErrorKind::Gone);
    assert_eq!(flushes(&mut bench), [None, gone, gone, None]);
    assert_eq!(filter.seen(), 4);
    filter.set_fault(Some(Fault {
        concerns: Concerns::All,
        nth: 1,
        count: u64::MAX,
        kind: IoErrorKind::Medium,
    }));
    submit_read(&mut bench);
    let done = taken(&mut bench).unwrap();
    assert_eq!(done.result.unwrap_err().kind, IoErrorKind::Medium);
    assert!(done.memory.is_some());
}

#[test]
fn stats_count_by_kind_over_all_workers() {
    let stats = Arc::new(StatsFilter::new(ram()));
    let (mut one, mut two) = (attach(stats.clone()), attach(stats.clone()));
    for bench in [&mut one, &mut two] {
        submit_read(bench);
        let memory = bench.buffer(1024, 1);
        let write = StoreIo::Write {
            lba: Lba(0),
            blocks: 2,
            durable: false,
        };
        bench.submit(write, Some(memory));
        bench.submit(StoreIo::Flush, None);
        let unmap = StoreIo::Unmap {
            lba: Lba(64),
            blocks: 1,
        };
        bench.submit(unmap, None);
    }
    let map = StoreIo::Map {
        lba: Lba(0),
        blocks: 1,
    };
    let memory = one.buffer(8, 0);
    one.submit(map, Some(memory));
    assert!(one.store.pin(Lba(0), 1).is_some());
    assert!(one.store.pin(Lba(64), 1).is_none());
    let expected = StoreStats {
        reads: 2,
        writes: 2,
        flushes: 2,
        unmaps: 2,
        zeroes: 0,
        maps: 1,
        read_blocks: 2,
        written_blocks: 4,
        completed: 9,
        failed: 2,
        pins: 1,
    };
    assert_eq!(stats.stats(), expected);
}

#[test]
fn filters_hand_on_name_identity_and_control() {
    let inner = ram();
    let stack: [Arc<dyn Backstore>; 5] = [
        Arc::new(DelayFilter::new(
            inner.clone(),
            Concerns::All,
            Duration::ZERO,
        )),
        Arc::new(ErrorFilter::new(inner.clone())),
        Arc::new(HoldFilter::new(inner.clone(), Concerns::All)),
        Arc::new(ReadOnlyFilter::new(inner.clone())),
        Arc::new(StatsFilter::new(inner.clone())),
    ];
    for (number, filter) in stack.iter().enumerate() {
        assert_eq!(filter.name(), "ram");
        assert_eq!(filter.identity(), inner.identity());
        let on = number % 2 == 0;
        filter.set_write_cache(on);
        filter.reset();
        assert_eq!(inner.caps().write_cache, on);
        assert_eq!(filter.caps().write_cache, on);
    }
}
