//! Servers, each on a core of its own: first every answer is compared, then rounds take turns, each with fresh servers.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asking::Asking;
use client::{Load, Measured, Workload};
use opa::Encoding;
use process::Server;
use tokio::runtime::{Builder, Runtime};

use crate::policies::{Policy, policies};
use crate::questions::{Asked, Question, Questions};
use crate::report::{Report, Servers};
use crate::{Outcome, SIZES, is_wanted, tell};

mod asking;
mod cerbos;
mod client;
mod ext_authz;
mod opa;
mod ours;
mod process;

/// The requests of the mix that are made, in turn.
const REQUESTS: usize = 1_000;
const CERBOS: &str =
    "Cerbos, `CheckResources`, against our `Authorize`: CPU of the server's process for a call, 4×25 streams";
const OPA: &str = "OPA with its Envoy plugin: CPU of the server's process for a `Check`, 4×25 streams";
const BEHIND_ENVOY: &str = "OPA with its Envoy plugin, behind the same Envoy: CPU of the server's process for a request, 4×25 streams";
const LATENCY: &str = "One stream: the median time of a call";

/// As many calls as make the server warm, and as many as are measured. Slow servers are given up on earlier.
const WARM_UP: Load = Load { connections: 4, streams: 25, calls: 2_000, limit: Duration::from_millis(1_500) };
const MEASURED: Load =
    Load { connections: 4, streams: 25, calls: 10_000, limit: Duration::from_millis(1_500) };
const ONE_STREAM: Load =
    Load { connections: 1, streams: 1, calls: 2_000, limit: Duration::from_millis(1_500) };

/// How OPA is told how many policies. Patterns by the thousand would take it longer than there is time for.
const ENCODED: [(Encoding, usize); 5] = [
    (Encoding::Expanded, 4),
    (Encoding::Expanded, 100),
    (Encoding::Expanded, 1_000),
    (Encoding::Patterns, 4),
    (Encoding::Patterns, 100),
];

/// The programs that are there.
struct Programs {
    ecs_authz: PathBuf,
    cerbos: Option<PathBuf>,
    opa: Option<PathBuf>,
    envoy: Option<PathBuf>,
}

impl Programs {
    fn find() -> Outcome<Self> {
        let program = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.exists());
        Ok(Self {
            ecs_authz: program("PEERS_ECS_AUTHZ")
                .ok_or("PEERS_ECS_AUTHZ names no program: start it by benches/peers/run")?,
            cerbos: program("PEERS_CERBOS"),
            opa: program("PEERS_OPA"),
            envoy: program("PEERS_ENVOY"),
        })
    }
}

/// Starts a server, and an Envoy in front of it where there is one.
type Start<'s> = Box<dyn Fn() -> Outcome<Started> + 's>;

/// A server that is measured, and what leads to it.
struct Started {
    server: Server,
    envoy: Option<Server>,
}

impl Started {
    fn addr(&self) -> &str {
        self.envoy.as_ref().map_or(&self.server.addr, |envoy| &envoy.addr)
    }
}

/// One of two.
struct Side<'s> {
    start: Start<'s>,
    workload: Workload,
    /// What is compared first, where that asks for more than what is measured.
    compared: Option<Workload>,
}

/// A comparison with ours, which is the first side.
struct Match<'s> {
    part: &'static str,
    what: String,
    policies: usize,
    goal: Option<f64>,
    sides: [Side<'s>; 2],
    /// Whether the time of a call on one stream is measured besides, and its goal.
    one_stream: Option<f64>,
}

/// Measures all servers for which there is a program.
pub(crate) fn measure(questions: &Questions, report: &mut Report) -> Outcome<()> {
    let programs = Programs::find()?;
    match &programs.cerbos {
        _ if !is_wanted("cerbos") => {}
        Some(program) => with_cerbos(&programs, program, questions, report)?,
        None => report.skip("Cerbos is left out: its program could not be installed"),
    }
    let Some(opa) = &programs.opa else {
        report.skip("OPA is left out: its program could not be built");
        return Ok(());
    };
    if is_wanted("opa") {
        with_opa(&programs, opa, questions, report)?;
    }
    match &programs.envoy {
        _ if !is_wanted("envoy") => {}
        Some(envoy) => behind_envoy(&programs, [opa, envoy], questions, report)?,
        None => report.skip("Envoy is left out: its program could not be installed"),
    }
    Ok(())
}

/// The policies of a match, and the questions.
struct Setting<'q> {
    policies: Vec<Policy>,
    asking: Asking<'q>,
}

impl<'q> Setting<'q> {
    /// The mix, and each operation once, so that all are compared.
    fn mixed(questions: &'q Questions, count: usize) -> Outcome<Self> {
        let mix = questions.mix.iter().take(REQUESTS);
        Self::of(questions, count, questions.operations()?.into_iter().chain(mix))
    }

    fn of(
        questions: &'q Questions,
        count: usize,
        asked: impl IntoIterator<Item = &'q Question>,
    ) -> Outcome<Self> {
        let policies = policies(count);
        let asking = Asking::new(&questions.catalog, &policies, asked)?;
        Ok(Self { policies, asking })
    }
}

fn with_cerbos(
    programs: &Programs,
    program: &Path,
    questions: &Questions,
    report: &mut Report,
) -> Outcome<()> {
    let measure = |what: String, setting: &Setting<'_>, asked, goal, one_stream, report: &mut Report| {
        let Setting { policies, asking } = setting;
        let ours = Side {
            start: Box::new(|| Ok(alone(ours::start(&programs.ecs_authz, policies, asking)?))),
            workload: ours::authorize(asking, asked)?,
            compared: Some(ours::authorize(asking, Asked::All)?),
        };
        let theirs = Side {
            start: Box::new(|| Ok(alone(cerbos::start(program, policies, asking)?))),
            workload: cerbos::check_resources(asking, asked)?,
            compared: Some(cerbos::check_resources(asking, Asked::All)?),
        };
        let sides = [ours, theirs];
        Match { part: CERBOS, what, policies: policies.len(), goal, sides, one_stream }.play(report)
    };
    for (policies, goal) in SIZES.into_iter().zip([20.0, 50.0, 400.0]) {
        let setting = Setting::mixed(questions, policies)?;
        let one_stream = (policies == 4).then_some(5.0);
        measure(
            "the required actions".to_owned(),
            &setting,
            Asked::Required,
            Some(goal),
            one_stream,
            report,
        )?;
    }
    let operations = questions.operations()?;
    let actions = |question: &&Question| question.actions(Asked::All).count();
    let most = operations.into_iter().max_by_key(actions).ok_or("there are no operations")?;
    let what = format!("{} actions of one call", actions(&most));
    measure(what, &Setting::of(questions, 4, [most])?, Asked::All, Some(30.0), None, report)
}

fn with_opa(programs: &Programs, program: &Path, questions: &Questions, report: &mut Report) -> Outcome<()> {
    for (encoding, policies) in ENCODED {
        let Setting { policies, asking } = &Setting::mixed(questions, policies)?;
        let sides = [
            Side {
                start: Box::new(|| Ok(alone(ours::start(&programs.ecs_authz, policies, asking)?))),
                workload: ext_authz::check(asking)?,
                compared: None,
            },
            Side {
                start: Box::new(|| Ok(alone(opa::start(program, policies, asking, encoding)?))),
                workload: ext_authz::check(asking)?,
                compared: None,
            },
        ];
        let (what, policies) = (encoding.name().to_owned(), policies.len());
        Match { part: OPA, what, policies, goal: None, sides, one_stream: None }.play(report)?;
    }
    Ok(())
}

fn behind_envoy(
    programs: &Programs,
    [opa, envoy]: [&Path; 2],
    questions: &Questions,
    report: &mut Report,
) -> Outcome<()> {
    for (encoding, policies) in ENCODED {
        let Setting { policies, asking } = &Setting::mixed(questions, policies)?;
        let behind = |server: Server| {
            let envoy = ext_authz::start_envoy(envoy, asking, &server.addr)?;
            Ok(Started { server, envoy: Some(envoy) })
        };
        let sides = [
            Side {
                start: Box::new(|| behind(ours::start(&programs.ecs_authz, policies, asking)?)),
                workload: ext_authz::requests(asking)?,
                compared: None,
            },
            Side {
                start: Box::new(|| behind(opa::start(opa, policies, asking, encoding)?)),
                workload: ext_authz::requests(asking)?,
                compared: None,
            },
        ];
        let (what, policies, goal) = (encoding.name().to_owned(), policies.len(), Some(10.0));
        Match { part: BEHIND_ENVOY, what, policies, goal, sides, one_stream: None }.play(report)?;
    }
    Ok(())
}

fn alone(server: Server) -> Started {
    Started { server, envoy: None }
}

impl Match<'_> {
    fn play(&self, report: &mut Report) -> Outcome<()> {
        let Self { part, what, policies, .. } = self;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let compared = self.compare(&runtime)?;
        tell(&format!("{part}: {what}, {policies} policies: {compared} answers compared, none differs"));
        report.compared(&format!("{part}: {what}"), *policies, compared);
        let (mut cpu, mut latency) = (Vec::new(), Vec::new());
        for _ in 0..report.rounds {
            let [ours, theirs] =
                self.sides.each_ref().map(|side| side.round(&runtime, self.one_stream.is_some()));
            let (ours, theirs) = (ours?, theirs?);
            cpu.push((ours.cpu, theirs.cpu));
            latency.extend(ours.one_stream.zip(theirs.one_stream));
        }
        let goal = self.goal;
        report.servers(Servers { goal, ..Servers::of_rounds(part, what.clone(), *policies, &cpu) });
        if self.one_stream.is_some() {
            let servers = Servers::of_rounds(LATENCY, format!("Cerbos, {what}"), *policies, &latency);
            report.servers(Servers { goal: self.one_stream, ..servers });
        }
        Ok(())
    }

    /// Makes every call once on both sides, and has every answer compared with what the library says.
    fn compare(&self, runtime: &Runtime) -> Outcome<usize> {
        let mut compared = 0;
        for side in &self.sides {
            let started = (side.start)()?;
            let workload = side.compared.as_ref().unwrap_or(&side.workload);
            let calls = workload.calls.len();
            let all = Load { connections: 1, streams: 8, calls, limit: Duration::from_secs(120) };
            let made = make(runtime, &started, workload, all)?.calls;
            if made != calls {
                return Err(format!("{made} calls were made within two minutes").into());
            }
            compared += workload.calls.iter().map(|call| call.expected.len()).sum::<usize>();
        }
        Ok(compared)
    }
}

/// What one side took in a round, in microseconds.
struct Round {
    cpu: f64,
    one_stream: Option<f64>,
}

impl Side<'_> {
    fn round(&self, runtime: &Runtime, with_one_stream: bool) -> Outcome<Round> {
        let started = (self.start)()?;
        make(runtime, &started, &self.workload, WARM_UP)?;
        let before = started.server.cpu_nanoseconds()?;
        let calls = make(runtime, &started, &self.workload, MEASURED)?.calls;
        let spent = started.server.cpu_nanoseconds()? - before;
        let one_stream = if with_one_stream {
            Some(make(runtime, &started, &self.workload, ONE_STREAM)?.median as f64 / 1_000.0)
        } else {
            None
        };
        Ok(Round { cpu: spent as f64 / calls as f64 / 1_000.0, one_stream })
    }
}

fn make(runtime: &Runtime, started: &Started, workload: &Workload, load: Load) -> Outcome<Measured> {
    let made = runtime.block_on(client::run(started.addr(), workload, load));
    made.map_err(|error| format!("{error}; the server said: {}", started.server.logged()).into())
}
