//! Latencies, counted: 32 buckets for each power of two, so that a value is known to 3 %.

use std::time::Duration;

/// Buckets of one power of two, as a power of two.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB * (64 - SUB_BITS as usize + 1);

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            sum_ns: 0,
            max_ns: 0,
        }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(ns)] += 1;
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    pub(super) fn mean_ns(&self) -> u64 {
        let mean = self.sum_ns.checked_div(u128::from(self.total));
        mean.and_then(|mean| u64::try_from(mean).ok()).unwrap_or(0)
    }

    /// The latency that `per_mille` of 1000 do not pass, at most 3 % too high; 0 where there are none.
    pub(super) fn quantile_ns(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(per_mille)).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= rank {
                return last_of(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// Counts by powers of two: each with the nanoseconds below which its latencies lie. Only what lies between the first and the
    /// last that is not empty.
    pub(super) fn octaves(&self) -> Vec<(u64, u64)> {
        let mut octaves: Vec<(u64, u64)> = Vec::new();
        for (bucket, count) in self.counts.iter().enumerate() {
            let below = (last_of(bucket) | 1).checked_next_power_of_two();
            let below = below.unwrap_or(u64::MAX);
            match octaves.last_mut() {
                Some((last, sum)) if *last == below => *sum += count,
                _ => octaves.push((below, *count)),
            }
        }
        let first = octaves.iter().position(|(_, count)| *count > 0);
        let last = octaves.iter().rposition(|(_, count)| *count > 0);
        match (first, last) {
            (Some(first), Some(last)) => octaves[first..=last].to_vec(),
            _ => Vec::new(),
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    let log = ns.checked_ilog2().unwrap_or(0);
    let shift = log.saturating_sub(SUB_BITS);
    let top = usize::try_from(ns >> shift).unwrap_or(0);
    if log < SUB_BITS {
        top
    } else {
        // `top` has SUB_BITS bits behind its leading one.
        (shift as usize + 1) * SUB + (top - SUB)
    }
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let Some(shift) = (bucket / SUB).checked_sub(1) else {
        return bucket as u64;
    };
    let top = u128::from((bucket % SUB + SUB) as u64);
    let last = ((top + 1) << shift) - 1;
    u64::try_from(last).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_of_any_value_holds_it_and_is_three_per_cent_wide() {
        let mut values: Vec<u64> = (0..4096).collect();
        for log in 3..64 {
            let power = 1u64 << log;
            values.extend([power - 1, power, power + 1, power | power >> 1]);
        }
        values.push(u64::MAX);
        for value in values {
            let bucket = bucket_of(value);
            let last = last_of(bucket);
            let first = bucket
                .checked_sub(1)
                .map_or(0, |before| last_of(before) + 1);
            assert!((first..=last).contains(&value), "{value}: {first}..={last}");
            assert!(last - first <= value / 32, "{value}: {first}..={last}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_values_are_within_three_per_cent() {
        let mut histogram = Histogram::new();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        for (per_mille, us) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            let ns = histogram.quantile_ns(per_mille);
            assert!((us * 1000..=us * 1032).contains(&ns), "{per_mille}: {ns}");
        }
        assert_eq!(histogram.total(), 1000);
        assert_eq!(histogram.max_ns(), 1_000_000);
        assert_eq!(histogram.mean_ns(), 500_500);
    }

    #[test]
    fn octaves_hold_every_value_once_between_first_and_last() {
        let mut histogram = Histogram::new();
        for ns in [3, 700, 1000, 1023, 1024, 5000] {
            histogram.record(Duration::from_nanos(ns));
        }
        let octaves = histogram.octaves();
        let counted = |below| octaves.iter().find(|(b, _)| *b == below).map(|(_, c)| *c);
        assert_eq!(octaves.first(), Some(&(4, 1)));
        assert_eq!((counted(1024), counted(2048)), (Some(3), Some(1)));
        assert_eq!(octaves.last(), Some(&(8192, 1)));
        assert_eq!(octaves.iter().map(|(_, count)| count).sum::<u64>(), 6);
    }

    #[test]
    fn histogram_without_values_is_all_zero() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile_ns(999), 0);
        assert_eq!((histogram.mean_ns(), histogram.max_ns()), (0, 0));
        assert!(histogram.octaves().is_empty());
    }
}
