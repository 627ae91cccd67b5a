#![allow(clippy::cast_possible_truncation)]

use super::*;

fn memory() -> SharedMemory {
    SharedMemory::new(100_000).unwrap()
}

fn bytes(memory: &SharedMemory, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0xEE; len];
    memory.copy_out(offset, &mut out).unwrap();
    out
}

#[test]
fn new_memory_is_zero_and_holds_what_is_copied_in() {
    let memory = memory();
    assert_eq!(memory.len(), 100_000);
    assert_eq!(bytes(&memory, 0, 100_000), vec![0; 100_000]);
    memory.copy_in(99_997, b"end").unwrap();
    assert_eq!(bytes(&memory, 99_996, 4), b"\0end");
}

#[test]
fn new_of_no_or_far_too_many_bytes_is_an_error() {
    assert_eq!(
        SharedMemory::new(0).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    SharedMemory::new(u64::MAX).unwrap_err();
}

#[test]
fn access_beyond_the_end_is_out_of_range_and_changes_nothing() {
    let memory = memory();
    for offset in [99_998, 100_000, 100_001, u64::MAX] {
        assert_eq!(memory.copy_in(offset, b"abc"), Err(OutOfRange));
        assert_eq!(memory.copy_out(offset, &mut [0; 3]), Err(OutOfRange));
        assert_eq!(
            memory.copy_out_each(offset, &mut [0; 3], |_| {}),
            Err(OutOfRange)
        );
        assert_eq!(memory.fill(offset, 3, 1), Err(OutOfRange));
        assert_eq!(memory.release(offset, 3), Err(OutOfRange));
    }
    assert_eq!(bytes(&memory, 99_990, 10), [0; 10]);
    memory.copy_in(100_000, b"").unwrap();
}

#[test]
fn copy_out_each_shows_exactly_the_bytes_copied_in_order() {
    let memory = memory();
    let pattern = (0..=255).cycle().take(100_000).collect::<Vec<u8>>();
    memory.copy_in(0, &pattern).unwrap();
    let mut out = vec![0; 70_000];
    let mut seen = Vec::new();
    memory
        .copy_out_each(11, &mut out, |piece| seen.extend_from_slice(piece))
        .unwrap();
    assert_eq!(out, pattern[11..70_011]);
    assert_eq!(seen, out);
}

#[test]
fn release_reads_as_zero_and_spares_its_neighbours() {
    for (offset, len) in [
        (0, 100_000),
        (1, 99_998),
        (4096, 4096),
        (5000, 100),
        (4095, 4098),
        (50, 0),
    ] {
        let memory = memory();
        memory.fill(0, 100_000, 7).unwrap();
        memory.release(offset, len).unwrap();
        let all = bytes(&memory, 0, 100_000);
        for (at, byte) in (0..).zip(all) {
            let released = (offset..offset + len).contains(&at);
            assert_eq!(
                byte,
                if released { 0 } else { 7 },
                "byte {at} of {offset}+{len}"
            );
        }
    }
}

#[test]
fn pin_reaches_its_range_only_and_keeps_the_memory() {
    let shared = Arc::new(memory());
    let local = LocalShared::new(shared.clone());
    assert!(local.pin(99_000, 1001).is_none());
    let pin = local.pin(500, 100).unwrap();
    pin.copy_in(90, b"0123456789").unwrap();
    assert_eq!(pin.copy_in(91, b"0123456789"), Err(OutOfRange));
    assert_eq!(pin.copy_in(u32::MAX, b"x"), Err(OutOfRange));
    let part = pin.slice(95..100).unwrap();
    assert!(pin.slice(95..101).is_none());
    let mut out = [0; 5];
    part.copy_out(0, &mut out).unwrap();
    assert_eq!((part.offset(), part.len(), &out), (595, 5, b"56789"));
    assert_eq!(part.copy_out(1, &mut out), Err(OutOfRange));
    drop((local, pin));
    let weak = Arc::downgrade(&shared);
    drop(shared);
    assert!(weak.upgrade().is_some(), "the pin keeps it");
    drop(part);
    assert!(weak.upgrade().is_none());
}

#[test]
fn several_threads_write_their_own_parts() {
    let shared = Arc::new(memory());
    let threads = (0..4_u8).map(|who| {
        let shared = shared.clone();
        std::thread::spawn(move || {
            for _ in 0..50 {
                shared
                    .copy_in(u64::from(who) * 25_000, &vec![who + 1; 25_000])
                    .unwrap();
            }
        })
    });
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    for who in 0..4_u8 {
        assert_eq!(
            bytes(&shared, u64::from(who) * 25_000, 25_000),
            vec![who + 1; 25_000]
        );
    }
}

/// Memory of many segments, and how long it is: each step doubles what is mapped.
fn grown() -> (SharedMemory, u64) {
    let memory = SharedMemory::new(5000).unwrap();
    for len in [20_000, 60_000, 200_000] {
        memory.grow(len).unwrap();
    }
    (memory, 200_000)
}

#[test]
fn grow_adds_zeros_behind_what_was_there_and_never_cuts() {
    let memory = SharedMemory::new(5000).unwrap();
    memory.fill(0, 5000, 7).unwrap();
    for len in [6000, 8192, 8193, 100_000] {
        memory.grow(len).unwrap();
        assert_eq!(memory.len(), len);
        assert_eq!(memory.copy_in(len - 1, b"xy"), Err(OutOfRange));
        assert_eq!(bytes(&memory, 0, 5000), [7; 5000]);
        assert!(
            bytes(&memory, 5000, len as usize - 5000)
                .iter()
                .all(|byte| *byte == 0)
        );
    }
    memory.grow(5).unwrap();
    memory.grow(0).unwrap();
    assert_eq!(memory.len(), 100_000);
    memory.grow(u64::MAX).unwrap_err();
    assert_eq!(memory.len(), 100_000, "a failure changes nothing");
}

#[test]
fn access_across_segments_is_that_of_one_memory() {
    let (memory, len) = grown();
    let pattern = (0..251).cycle().take(len as usize).collect::<Vec<u8>>();
    memory.copy_in(0, &pattern).unwrap();
    assert!(bytes(&memory, 0, len as usize) == pattern);
    let mut model = pattern;
    for (offset, count) in [(4000, 10_000), (8191, 2), (0, 200_000), (150_000, 50_000)] {
        let (start, end) = (offset as usize, (offset + count) as usize);
        memory.fill(offset, count, 0x5a).unwrap();
        model[start..end].fill(0x5a);
        assert!(
            bytes(&memory, 0, len as usize) == model,
            "fill {offset}+{count}"
        );
        memory.release(offset + 1, count - 2).unwrap();
        model[start + 1..end - 1].fill(0);
        assert!(
            bytes(&memory, 0, len as usize) == model,
            "release {offset}+{count}"
        );
    }
}

#[test]
fn pin_across_segments_is_not_lent_and_the_others_stay_where_they_are() {
    let shared = Arc::new(SharedMemory::new(8192).unwrap());
    let local = LocalShared::new(Arc::clone(&shared));
    let before = local.pin(4096, 4096).unwrap();
    let address = before.span().ptr;
    shared.grow(1 << 20).unwrap();
    assert!(local.pin(4096, 4097).is_none());
    assert!(local.pin((1 << 20) - 1, 2).is_none(), "beyond the end");
    let behind = local.pin(8192, 1 << 19).unwrap();
    behind.copy_in(0, b"new").unwrap();
    before.copy_in(4093, b"old").unwrap();
    assert_eq!(before.span().ptr, address);
    assert_eq!(bytes(&shared, 8189, 6), b"oldnew");
}

#[test]
fn grow_in_small_steps_makes_few_segments() {
    let memory = SharedMemory::new(4096).unwrap();
    for pages in 2..=512 {
        memory.grow(pages * 4096).unwrap();
    }
    let segments = std::iter::successors(Some(&memory.first), |one| {
        one.next.get().map(|next| &**next)
    });
    assert_eq!(segments.count(), 10, "4096 bytes doubled nine times");
}

#[test]
fn grow_while_others_write_loses_nothing() {
    let shared = Arc::new(SharedMemory::new(4096).unwrap());
    std::thread::scope(|scope| {
        for who in 1..=2_u8 {
            let shared = &shared;
            scope.spawn(move || {
                for at in 0..256_u64 {
                    // As long as it takes until somebody has made room.
                    while shared.copy_in(at * 4096 + u64::from(who), &[who]).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        for pages in 2..=256 {
            shared.grow(pages * 4096).unwrap();
        }
    });
    for at in 0..256 {
        assert_eq!(bytes(&shared, at * 4096, 4), [0, 1, 2, 0]);
    }
}
