#![allow(clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;
use crate::Frozen;

const MIB: usize = 1 << 20;

#[test]
fn allocate_of_no_or_too_many_bytes_is_none() {
    let slab = Slab::new(4 * MIB).unwrap();
    assert!(slab.allocate(0).is_none());
    assert!(slab.allocate(MIB + 1).is_none());
    assert!(slab.allocate(usize::MAX).is_none());
    assert_eq!(slab.allocate(MIB).unwrap().len(), MIB);
}

#[test]
fn allocate_counts_by_class_and_aligns_to_a_page() {
    let slab = Slab::new(8 * MIB).unwrap();
    for (len, capacity) in [(1, 4096), (4096, 4096), (4097, 8192), (65_537, 131_072)] {
        let buffer = slab.allocate(len).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (len, capacity));
        assert_eq!(buffer.as_ptr() as usize % 4096, 0);
        assert_eq!(slab.used_bytes(), capacity);
    }
    assert_eq!(slab.used_bytes(), 0);
}

#[test]
fn new_rounds_the_budget_up_to_whole_superblocks() {
    assert_eq!(Slab::new(0).unwrap().budget_bytes(), MIB);
    assert_eq!(Slab::new(MIB + 1).unwrap().budget_bytes(), 2 * MIB);
    assert_eq!(
        Slab::new(usize::MAX).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn budget_spent_is_none_until_something_returns() {
    let slab = Slab::new(2 * MIB).unwrap();
    let mut all = std::iter::from_fn(|| slab.allocate(4096)).collect::<Vec<_>>();
    assert_eq!(all.len(), 512);
    assert_eq!(slab.used_bytes(), slab.budget_bytes());
    let frees = slab.frees();
    assert!(slab.allocate(1).is_none());
    all.pop();
    assert_eq!(slab.frees(), frees + 1);
    all.push(slab.allocate(1).unwrap());
    // An empty superblock serves another class.
    all.clear();
    let big = [slab.allocate(MIB).unwrap(), slab.allocate(MIB).unwrap()];
    assert!(slab.allocate(4096).is_none());
    drop(big);
    assert_eq!(slab.used_bytes(), 0);
}

#[test]
fn trim_gives_empty_superblocks_back_and_their_memory_is_zero_again() {
    let slab = Slab::new(16 * MIB).unwrap();
    let mut all = std::iter::from_fn(|| slab.allocate(MIB)).collect::<Vec<_>>();
    for buffer in &mut all {
        buffer.fill(0xAA);
    }
    assert_eq!(slab.trim(), 0, "nothing is idle");
    all.clear();
    assert_eq!(slab.trim(), 14 * MIB, "all but a small reserve");
    assert_eq!(slab.trim(), 0);
    let all = std::iter::from_fn(|| slab.allocate(MIB)).collect::<Vec<_>>();
    let zero = all
        .iter()
        .filter(|buffer| buffer.iter().all(|byte| *byte == 0))
        .count();
    assert_eq!((all.len(), zero), (16, 14));
}

#[test]
fn set_len_shows_no_more_than_the_class_holds() {
    let slab = Slab::new(MIB).unwrap();
    let mut buffer = slab.allocate(5000).unwrap();
    buffer.set_len(8192);
    assert_eq!(buffer.len(), 8192);
    buffer.set_len(0);
    assert!(buffer.is_empty());
    let grow = std::panic::AssertUnwindSafe(|| buffer.set_len(8193));
    assert!(std::panic::catch_unwind(grow).is_err());
}

#[test]
fn frozen_is_unfrozen_by_its_last_holder_only() {
    let slab = Slab::new(MIB).unwrap();
    let mut buffer = slab.allocate(100).unwrap();
    buffer.fill(3);
    let first = buffer.freeze();
    let second = first.clone();
    let first = first.try_unfreeze().unwrap_err();
    assert_eq!(first[..], [3; 100]);
    drop(second);
    let mut buffer = first.try_unfreeze().unwrap();
    buffer.fill(4);
    assert_eq!(buffer.freeze()[..], [4; 100]);
    assert_eq!(slab.used_bytes(), 0);
}

#[test]
fn buffer_outlives_every_other_handle_of_its_slab() {
    let slab = Slab::new(MIB).unwrap();
    let mut buffer = slab.allocate(MIB).unwrap();
    drop(slab);
    buffer.fill(9);
    let frozen = buffer.freeze();
    assert!(frozen.iter().all(|byte| *byte == 9));
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(usize),
    Free(usize),
    Freeze(usize),
    Clone(usize),
    Drop(usize),
    Unfreeze(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1_usize..20_000, 1_usize..=MIB];
    prop_oneof![
        4 => len.prop_map(Step::Allocate),
        2 => any::<usize>().prop_map(Step::Free),
        2 => any::<usize>().prop_map(Step::Freeze),
        2 => any::<usize>().prop_map(Step::Clone),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::Unfreeze),
        1 => Just(Step::Trim),
    ]
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

proptest! {
    /// Whatever is done in whatever order: no two live buffers overlap, none changes but by its owner, and the
    /// accounting is exact.
    #[test]
    fn random_use_never_overlaps_and_counts_exactly(steps in prop::collection::vec(step(), 1..300)) {
        let slab = Slab::new(6 * MIB).unwrap();
        let mut owned: Vec<(Buffer, u8)> = Vec::new();
        let mut frozen: Vec<(Frozen, u8)> = Vec::new();
        let mut tag = 0_u8;
        for step in steps {
            match step {
                Step::Allocate(len) => {
                    if let Some(mut buffer) = slab.allocate(len) {
                        tag = tag.wrapping_add(1);
                        let capacity = buffer.capacity();
                        buffer.set_len(capacity);
                        buffer.fill(tag);
                        owned.push((buffer, tag));
                    }
                }
                Step::Free(which) => drop(pick(&mut owned, which)),
                Step::Freeze(which) => {
                    frozen.extend(pick(&mut owned, which).map(|(buffer, tag)| (buffer.freeze(), tag)));
                }
                Step::Clone(which) => {
                    if !frozen.is_empty() {
                        let which = which % frozen.len();
                        let clone = frozen[which].clone();
                        frozen.push(clone);
                    }
                }
                Step::Drop(which) => drop(pick(&mut frozen, which)),
                Step::Unfreeze(which) => if let Some((buffer, tag)) = pick(&mut frozen, which) {
                    let holders = frozen.iter().filter(|(other, _)| other.as_ptr() == buffer.as_ptr()).count();
                    match buffer.try_unfreeze() {
                        Ok(buffer) => { prop_assert_eq!(holders, 0); owned.push((buffer, tag)); }
                        Err(buffer) => { prop_assert!(holders > 0); frozen.push((buffer, tag)); }
                    }
                },
                Step::Trim => { slab.trim(); }
            }
            let mut distinct = frozen.iter().map(|(buffer, _)| (buffer.as_ptr(), buffer.len())).collect::<Vec<_>>();
            distinct.sort_unstable();
            distinct.dedup();
            let used = owned.iter().map(|(buffer, _)| buffer.capacity()).sum::<usize>()
                + distinct.iter().map(|(_, len)| len).sum::<usize>();
            prop_assert_eq!(slab.used_bytes(), used);
        }
        for (bytes, tag) in owned.iter().map(|(buffer, tag)| (&**buffer, tag))
            .chain(frozen.iter().map(|(buffer, tag)| (&**buffer, tag)))
        {
            prop_assert!(bytes.iter().all(|byte| byte == tag));
        }
        owned.clear();
        frozen.clear();
        prop_assert_eq!(slab.used_bytes(), 0);
    }
}
