//! Servers in rounds that take turns: each fresh, each under the same loads.

use std::env;

use super::plan::{BATCH, Load, Method, Outcomes, Plan};
use super::policies;
use super::process::{LoadGenerator, Spinners};
use super::subject::{Site, Subject, Under};
use super::{Outcome, progress};

const MANY: Load =
    Load { method: Method::Authorize, connections: 4, in_flight: 25, warm_up: 2_000, calls: 20_000 };
const ONE: Load = Load { connections: 1, in_flight: 1, calls: 5_000, ..MANY };
const CHECK: Load = Load { method: Method::Check, ..MANY };
const BATCHES: Load = batches(BATCH);
const STREAMS: Load = Load { method: Method::Stream, calls: 50_000, ..MANY };

/// Batches of so many requests, and as many decisions whatever their number.
const fn batches(requests: usize) -> Load {
    Load { method: Method::Batch(requests), warm_up: 5_000 / requests, calls: 50_000 / requests, ..MANY }
}

/// Rounds, and principals in the cache. Both are environment variables, so that a small run takes a minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rounds: usize,
    pub(super) principals: usize,
}

impl Sizes {
    pub(super) fn from_environment() -> Outcome<Self> {
        let size = |name: &str, default| env::var(name).map_or(Ok(default), |text| text.parse());
        let sizes =
            Self { rounds: size("BENCH_ROUNDS", 9)?, principals: size("BENCH_PRINCIPALS", 1_000_000)? };
        if sizes.rounds == 0 || sizes.principals == 0 {
            return Err("expected a round and a principal at least".into());
        }
        Ok(sizes)
    }
}

/// One load on one server, in every round.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) subject: Subject,
    pub(super) load: Load,
    pub(super) samples: Vec<Sample>,
}

/// One load on one server, in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Of the server, for each decision.
    pub(super) cpu_nanoseconds: f64,
    pub(super) outcomes: Outcomes,
}

/// What a server is besides fast, in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    pub(super) subject: Subject,
    pub(super) ready_milliseconds: f64,
    /// After all loads, with every principal in the cache.
    pub(super) resident_kibibytes: u64,
    pub(super) peak_kibibytes: u64,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) series: Vec<Series>,
    pub(super) bodies: Vec<Body>,
    /// Seconds until `serve` is ready with [`policies::MANY`] policies.
    pub(super) ready_with_many: f64,
}

/// What a server is put under.
fn loads(subject: Subject) -> &'static [Load] {
    match subject {
        Subject::Stock | Subject::SameBuild => &[MANY, CHECK, ONE],
        Subject::Real => &[MANY, CHECK, ONE, BATCHES, STREAMS],
        Subject::WithoutLog => {
            const { &[MANY, CHECK, batches(1), batches(10), BATCHES, batches(200), batches(1_000), STREAMS] }
        }
    }
}

pub(super) fn measure(sizes: Sizes) -> Outcome<Rounds> {
    let site = Site::new(sizes.principals)?;
    let mut rounds = Rounds::under(|load| load);
    for round in 1..=sizes.rounds {
        progress(&format!("round {round} of {}", sizes.rounds));
        for subject in Subject::ALL {
            rounds.add(&site, subject, sizes.principals)?;
        }
    }
    progress(&format!("start with {} policies", policies::MANY));
    policies::write_many(&site.policies())?;
    rounds.ready_with_many = site.start(Subject::WithoutLog, Under::Nothing)?.ready_after.as_secs_f64();
    Ok(rounds)
}

/// Has every server answer every method a few times: a bench that can't run is found by the tests.
pub(super) fn rehearse() -> Outcome<()> {
    const PRINCIPALS: usize = 200;
    let site = Site::new(PRINCIPALS)?;
    let mut rounds = Rounds::under(|load| Load {
        in_flight: load.in_flight.min(4),
        warm_up: 10,
        calls: few(load),
        ..load
    });
    for subject in Subject::ALL {
        rounds.add(&site, subject, PRINCIPALS)?;
    }
    for Series { subject, load, samples } in &rounds.series {
        let awaited = (load.warm_up + load.calls) * load.method.decisions();
        let is_sound = |it: &Sample| {
            let has_denials = it.outcomes.denied > 0;
            it.cpu_nanoseconds > 0.0
                && it.outcomes.compared == awaited
                && has_denials == subject.is_real()
                && (1..=it.outcomes.p99_nanoseconds).contains(&it.outcomes.p50_nanoseconds)
        };
        if samples.len() != 1 || !samples.iter().all(is_sound) {
            let name = (load.method.name(), subject.name());
            return Err(format!("{name:?}, rehearsed: {samples:?}").into());
        }
    }
    Ok(())
}

/// So few calls that a rehearsal takes seconds.
fn few(load: Load) -> usize {
    (5_000 / load.method.decisions()).clamp(1, 100)
}

impl Rounds {
    /// Nothing is measured yet.
    fn under(scaled: impl Fn(Load) -> Load) -> Self {
        let mut rounds = Self::default();
        for subject in Subject::ALL {
            let series = |load: &Load| Series { subject, load: scaled(*load), samples: Vec::new() };
            rounds.series.extend(loads(subject).iter().map(series));
        }
        rounds
    }

    fn add(&mut self, site: &Site, subject: Subject, principals: usize) -> Outcome<()> {
        let mut server = site.start(subject, Under::Nothing)?;
        let plan = Plan {
            addr: server.addr.clone(),
            expected: site.expected(subject),
            principals,
            loads: self.series.iter().filter(|it| it.subject == subject).map(|it| it.load).collect(),
        };
        let mut generator = LoadGenerator::start(&plan)?;
        for series in self.series.iter_mut().filter(|series| series.subject == subject) {
            let is_alone = series.load.connections * series.load.in_flight == 1;
            let _awake = is_alone.then(Spinners::start).transpose()?;
            generator.warm_up()?;
            let before = server.cpu_nanoseconds()?;
            let outcomes = generator.go()?;
            let decisions = series.load.calls * series.load.method.decisions();
            let cpu_nanoseconds = (server.cpu_nanoseconds()? - before) as f64 / decisions as f64;
            series.samples.push(Sample { cpu_nanoseconds, outcomes });
        }
        let (resident_kibibytes, peak_kibibytes) = server.memory()?;
        let ready_milliseconds = server.ready_after.as_secs_f64() * 1e3;
        self.bodies.push(Body { subject, ready_milliseconds, resident_kibibytes, peak_kibibytes });
        // What it complains about is told, so that nobody measures a server that is in trouble.
        let written = server.end()?;
        if written.is_empty() { Ok(()) } else { Err(format!("{} wrote: {written}", subject.name()).into()) }
    }

    /// One load on one server.
    pub(super) fn of(&self, subject: Subject, load: &Load) -> Option<&Series> {
        let is_same = |it: &Load| {
            (it.method, it.connections, it.in_flight) == (load.method, load.connections, load.in_flight)
        };
        self.series.iter().find(|series| series.subject == subject && is_same(&series.load))
    }

    /// The figures of a server, as one reads them.
    pub(super) fn bodies_of(&self, subject: Subject, figure: impl Fn(&Body) -> f64) -> Vec<f64> {
        self.bodies.iter().filter(|body| body.subject == subject).map(figure).collect()
    }
}

impl Series {
    pub(super) fn figures(&self, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(figure).collect()
    }

    /// The load of a null server that this one is compared with: batches and streams with single calls, whose decisions they
    /// make cheaper.
    pub(super) fn reference(&self) -> Load {
        match self.load.method {
            Method::Authorize | Method::Check => self.load,
            Method::Batch(_) | Method::Stream => MANY,
        }
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    match values.get(middle.wrapping_sub(1)) {
        Some(lower) if values.len().is_multiple_of(2) => f64::midpoint(*lower, upper),
        _ => upper,
    }
}

/// The median of the ratios, round by round.
pub(super) fn ratio(values: &[f64], reference: &[f64]) -> f64 {
    median(values.iter().zip(reference).map(|(value, reference)| value / reference).collect())
}

/// Checks the arithmetic.
pub(super) fn check() -> Outcome<()> {
    let found = (
        median(vec![3.0, 1.0, 2.0]),
        median(vec![4.0, 1.0, 2.0, 3.0]),
        ratio(&[2.0, 30.0, 8.0], &[1.0, 10.0, 2.0]),
        median(Vec::new()).is_nan(),
    );
    if found == (2.0, 2.5, 3.0, true) { Ok(()) } else { Err(format!("medians are {found:?}").into()) }
}
