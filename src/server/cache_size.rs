//! How much memory the cache may take.

use std::fmt;
use std::path::Path;

use super::memory_limit::memory_limit;

/// How much memory the cache may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSize {
    /// As many bytes as that.
    Bytes(u64),
    /// A quarter of what the process may use. The rest is for policies, connections and requests.
    Automatic,
}

const MIB: u64 = 1_024 * 1_024;
const SHARE: u64 = 4;
/// Below it, the cache would hold too few principals to be of use.
const FLOOR: u64 = 16 * MIB;
/// Above it, some ten million principals are cached: who has more will say so.
const CEILING: u64 = 4_096 * MIB;
/// Where nothing limits the process. The machine is not all its own.
const DEFAULT: u64 = 64 * MIB;

/// A size, and why it is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) bytes: u64,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Told,
    /// The process may use that many bytes.
    Limit(u64),
    NoLimit,
}

impl CacheSize {
    /// The size for this process.
    pub(super) fn choose(self) -> Chosen {
        match self {
            Self::Bytes(bytes) => Chosen { bytes, reason: Reason::Told },
            Self::Automatic => Chosen::within(memory_limit(Path::new("/"))),
        }
    }
}

impl Chosen {
    fn within(limit: Option<u64>) -> Self {
        match limit {
            Some(limit) => {
                Self { bytes: (limit / SHARE).clamp(FLOOR, CEILING), reason: Reason::Limit(limit) }
            }
            None => Self { bytes: DEFAULT, reason: Reason::NoLimit },
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, ", self.bytes / MIB)?;
        match self.reason {
            Reason::Told => write!(f, "as configured"),
            Reason::Limit(limit) => {
                write!(f, "a quarter of the memory limit of {} MiB, at least ", limit / MIB)?;
                write!(f, "{} MiB and at most {} MiB", FLOOR / MIB, CEILING / MIB)
            }
            Reason::NoLimit => write!(f, "because the process has no memory limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_taken() {
        assert_eq!(CacheSize::Bytes(5 * MIB).choose().to_string(), "5 MiB, as configured");
        assert_eq!(CacheSize::Bytes(0).choose().bytes, 0);
    }

    #[test]
    fn a_quarter_of_the_limit_is_taken_between_a_floor_and_a_ceiling() {
        let mib = |limit| Chosen::within(Some(limit * MIB)).bytes / MIB;
        assert_eq!([16, 64, 512, 16_384, 1_000_000].map(mib), [16, 16, 128, 4_096, 4_096]);
        let shown = Chosen::within(Some(512 * MIB)).to_string();
        assert_eq!(
            shown,
            "128 MiB, a quarter of the memory limit of 512 MiB, at least 16 MiB and at most 4096 MiB"
        );
    }

    #[test]
    fn without_a_limit_it_is_64_mib() {
        assert_eq!(Chosen::within(None).to_string(), "64 MiB, because the process has no memory limit");
    }
}
