//! Times by size, to about one part in 64.

/// The bits of a time that are kept below its highest.
const BITS: u32 = 6;
const STEPS: u64 = 1 << BITS;

/// Counts times in buckets that grow with them.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(super) fn record(&mut self, nanoseconds: u64) {
        let bucket = bucket(nanoseconds);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The time that this part of all times does not exceed.
    pub(super) fn quantile(&self, part: f64) -> u64 {
        let rank = (self.total as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        reached.map_or(0, highest)
    }
}

/// Small times have a bucket each; of larger ones, each power of two has as many.
fn bucket(nanoseconds: u64) -> usize {
    let power = nanoseconds.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    let bucket = u64::from(power) * STEPS + (nanoseconds >> power);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The largest time of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let power = (bucket / STEPS).saturating_sub(1);
    ((bucket - power * STEPS + 1) << power) - 1
}

/// Checks the arithmetic.
pub(super) fn check() -> super::Outcome<()> {
    for time in [0, 1, 63, 64, 65, 127, 128, 129, 1_000, 123_456, 987_654_321] {
        let highest = highest(bucket(time));
        if highest < time || highest - time > time / STEPS {
            return Err(format!("{time} ns are taken for {highest}").into());
        }
    }
    let mut times = Histogram::default();
    (1..=1_000).for_each(|time| times.record(time * 1_000));
    let (median, tail) = (times.quantile(0.5), times.quantile(0.99));
    let is_near = |found: u64, real: u64| (real..=real + real / STEPS).contains(&found);
    if is_near(median, 500_000) && is_near(tail, 990_000) {
        Ok(())
    } else {
        Err(format!("quantiles of 1 to 1,000 µs are {median} and {tail} ns").into())
    }
}
