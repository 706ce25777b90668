//! Calls of gRPC: how many began, how they ended, how long they took, how many there are now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Code;

use super::text::{Kind, Text};
use crate::tally::{Tallies, Tally};

/// The names of the codes as other servers' metrics have them, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// The upper bounds of the histogram, in microseconds, with their names in seconds.
const BOUNDS: [(u64, &str); 16] = [
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
];

/// The counts of a method: those that began, by code, by duration (the last one is beyond all bounds), and the nanoseconds
/// of all together.
const STARTED: usize = 0;
const BY_CODE: usize = 1;
const BY_DURATION: usize = BY_CODE + CODES.len();
const NANOSECONDS: usize = BY_DURATION + BOUNDS.len() + 1;
const WIDTH: usize = NANOSECONDS + 1;

/// All calls.
#[derive(Debug)]
pub struct Calls {
    methods: Vec<Method>,
    /// By path, such as `/grpc.health.v1.Health/Check`.
    by_path: HashMap<String, usize>,
    tallies: Tallies,
    panics: Tally,
}

#[derive(Debug)]
struct Method {
    service: String,
    name: String,
    /// Both, as traces name it; nothing for what is unknown.
    path: Option<Arc<str>>,
}

impl Calls {
    /// Calls of these methods, by service. All others are one method, `unknown`.
    pub(super) fn new(methods: impl IntoIterator<Item = (String, String)>) -> Self {
        let methods = methods.into_iter().map(|(service, name)| {
            let path = Some(format!("{service}/{name}").into());
            Method { service, name, path }
        });
        let unknown = Method { service: "unknown".to_owned(), name: "unknown".to_owned(), path: None };
        let methods: Vec<Method> = methods.chain([unknown]).collect();
        let paths = methods.iter().map(|Method { service, name, .. }| format!("/{service}/{name}"));
        let by_path = paths.enumerate().map(|(method, path)| (path, method)).collect();
        Self { by_path, tallies: Tallies::new(methods.len() * WIDTH), panics: Tally::default(), methods }
    }

    /// Counts a call that panicked.
    pub fn panicked(&self) {
        self.panics.add_one();
    }

    /// A call of the method with this path, such as `/grpc.health.v1.Health/Check`, begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>, path: &str) -> Call {
        let unknown = self.methods.len().saturating_sub(1);
        let method = self.by_path.get(path).copied().unwrap_or(unknown);
        self.tallies.add(method * WIDTH + STARTED, 1);
        Call { calls: self.clone(), method, since: Instant::now(), code: Code::Cancelled }
    }

    fn count(&self, method: usize, code: Code, took: Duration) {
        let at = method * WIDTH;
        self.tallies.add(at + BY_CODE + usize::try_from(i32::from(code)).unwrap_or_default(), 1);
        let bucket = BOUNDS.partition_point(|(bound, _)| Duration::from_micros(*bound) < took);
        self.tallies.add(at + BY_DURATION + bucket, 1);
        self.tallies.add(at + NANOSECONDS, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn write(&self, text: &mut Text) {
        let counts: Vec<Counts<'_>> = (0..).zip(&self.methods).map(|it| self.counts(it)).collect();
        text.family("grpc_server_started_total", Kind::Counter, "Calls that began.");
        for Counts { labels, started, .. } in &counts {
            text.sample("grpc_server_started_total", labels, started);
        }
        text.family(
            "grpc_server_handled_total",
            Kind::Counter,
            "Calls that ended, by the code of the answer.",
        );
        for Counts { labels: [service, method], by_code, .. } in &counts {
            for (code, count) in CODES.iter().zip(by_code).filter(|(_, count)| **count > 0) {
                text.sample("grpc_server_handled_total", &[*service, *method, ("grpc_code", code)], count);
            }
        }
        text.family("grpc_server_in_flight", Kind::Gauge, "Calls that have begun and not ended.");
        for Counts { labels, started, by_code, .. } in &counts {
            let ended: u64 = by_code.iter().sum();
            text.sample("grpc_server_in_flight", labels, started.saturating_sub(ended));
        }
        let help = "Calls that failed for a fault of this program, which is in its log.";
        text.single("ecs_authz_panics_total", Kind::Counter, help, self.panics.sum());
        let help = "How long calls took, from their headers to the end of the answer.";
        text.family("grpc_server_handling_seconds", Kind::Histogram, help);
        counts.iter().filter(|counts| counts.started > 0).for_each(|counts| counts.write_durations(text));
    }

    fn counts<'a>(&'a self, (index, method): (usize, &'a Method)) -> Counts<'a> {
        let sums = |from: usize, len: usize| {
            (from..from + len).map(|it| self.tallies.sum(index * WIDTH + it)).collect::<Vec<u64>>()
        };
        // Those that ended first: else some would have ended that never began.
        let by_code = sums(BY_CODE, CODES.len());
        Counts {
            labels: [("grpc_service", &method.service), ("grpc_method", &method.name)],
            by_code,
            by_duration: sums(BY_DURATION, BOUNDS.len() + 1),
            nanoseconds: self.tallies.sum(index * WIDTH + NANOSECONDS),
            started: self.tallies.sum(index * WIDTH + STARTED),
        }
    }
}

/// What was counted of a method.
struct Counts<'a> {
    labels: [(&'a str, &'a str); 2],
    started: u64,
    by_code: Vec<u64>,
    by_duration: Vec<u64>,
    nanoseconds: u64,
}

impl Counts<'_> {
    fn write_durations(&self, text: &mut Text) {
        let [service, method] = self.labels;
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut total = 0;
        for (bound, count) in bounds.zip(&self.by_duration) {
            total += count;
            text.sample("grpc_server_handling_seconds_bucket", &[service, method, ("le", bound)], total);
        }
        let seconds = Duration::from_nanos(self.nanoseconds).as_secs_f64();
        text.sample("grpc_server_handling_seconds_sum", &self.labels, seconds);
        text.sample("grpc_server_handling_seconds_count", &self.labels, total);
    }
}

/// A call that has begun. It ends when this does, however that comes.
#[derive(Debug)]
pub struct Call {
    calls: Arc<Calls>,
    method: usize,
    since: Instant,
    /// What it ends with. Nobody waited for it until an answer says otherwise.
    code: Code,
}

impl Call {
    /// The method, as `SERVICE/METHOD`, if it is known.
    #[must_use]
    pub fn method(&self) -> Option<&Arc<str>> {
        self.calls.methods.get(self.method)?.path.as_ref()
    }

    /// Ends with this code.
    pub fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.count(self.method, self.code, self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_their_numbers() {
        let name = |number: i32| format!("{:?}", Code::from(number)).replace("Cancelled", "Canceled");
        for (number, code) in (0..).zip(CODES) {
            assert!(code.eq_ignore_ascii_case(&name(number)), "{number}: {code}");
        }
    }

    #[test]
    fn bounds_grow_and_are_named_in_seconds() {
        assert!(BOUNDS.is_sorted());
        for (microseconds, seconds) in BOUNDS {
            let seconds: f64 = seconds.parse().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_micros(microseconds));
        }
    }

    #[test]
    fn a_duration_is_counted_up_to_the_least_bound_that_holds_it() {
        let calls = Calls::new([("s".to_owned(), "m".to_owned())]);
        for took in [50_000, 50_001, 5_000_000_000, 5_000_000_001] {
            calls.count(0, Code::Ok, Duration::from_nanos(took));
        }
        let counted = calls.counts((0, &calls.methods[0]));
        let mut expected = [0; 17];
        (expected[0], expected[1], expected[15], expected[16]) = (1, 1, 1, 1);
        assert_eq!((counted.by_duration, counted.nanoseconds), (expected.to_vec(), 10_000_100_002));
    }
}
