//! Callers who ask all the time while somebody writes, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ecs_authz::store::postgres::PostgresSettings;
use ecs_authz::store::{Freshness, PolicyStore as _, StoreError};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::{Client, Config, NoTls};

use crate::conformance::postgres::connect;
use crate::postgres_world::{ALLOW, DENY, World, grant_in, until};

/// The pace of callers and of the writer, who shares the machine with other tests.
const CALLS: Duration = Duration::from_millis(4);
const WRITES: Duration = Duration::from_millis(20);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Of a domain in which nothing changes: she may, he may not, and both stay cached.
    CalmAlice,
    CalmBob,
    /// Of the same domain, loaded for each call: without a grant.
    Stranger(usize),
    /// Of the domain in which her policy changes all the time.
    Alice,
    /// The same, loaded for each call.
    UncachedAlice,
    /// Of the same domain, with a policy of his own that does not change: he may.
    Bob,
}

/// More strangers than there are connections.
const STRANGERS: usize = 8;

/// Which callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    All,
    /// Those who are cached. Whoever is loaded brings the news of its domain, which would hide that it is not followed.
    Cached,
}

impl Callers {
    fn list(self) -> Vec<Caller> {
        let named = [Caller::CalmAlice, Caller::CalmBob, Caller::Alice, Caller::UncachedAlice, Caller::Bob];
        let all = named.into_iter().chain((0..STRANGERS).map(Caller::Stranger));
        all.filter(|caller| self == Self::All || caller.is_cached()).collect()
    }
}

impl Caller {
    fn domain_and_user(self) -> (&'static str, String) {
        match self {
            Self::CalmAlice => ("calm", "alice".to_owned()),
            Self::CalmBob => ("calm", "bob".to_owned()),
            Self::Stranger(number) => ("calm", format!("stranger-{number}")),
            Self::Alice | Self::UncachedAlice => ("acme", "alice".to_owned()),
            Self::Bob => ("acme", "bob".to_owned()),
        }
    }

    fn is_cached(self) -> bool {
        !matches!(self, Self::Stranger(_) | Self::UncachedAlice)
    }

    /// Whether nothing of what he is told can have changed, so that he is never told an error.
    fn is_calm(self) -> bool {
        matches!(self, Self::CalmAlice | Self::CalmBob)
    }
}

/// What a caller was told.
#[derive(Debug, Default)]
struct Tally {
    answers: u64,
    stale: u64,
    errors: Vec<StoreError>,
    /// Revisions, and whether the call was allowed at them.
    told: BTreeSet<(u64, bool)>,
    newest: u64,
    /// An answer that was older than one before.
    back_in_time: Option<(u64, u64)>,
}

impl Tally {
    fn note(&mut self, answer: Result<crate::postgres_world::Answer, StoreError>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.errors.push(error),
        };
        self.answers += 1;
        self.stale += u64::from(answer.is_stale);
        self.told.insert((answer.revision, answer.allows));
        if answer.revision < self.newest {
            self.back_in_time = Some((self.newest, answer.revision));
        }
        self.newest = self.newest.max(answer.revision);
    }
}

/// What was written: by revision, whether alice may; nothing where her policy was none.
#[derive(Debug, Default)]
struct History {
    written: BTreeMap<u64, Option<bool>>,
    /// A change of which it is not known whether it was committed.
    unsure: Option<(u64, Option<bool>)>,
}

impl History {
    fn settle(&mut self) {
        let unsure = self.unsure.take();
        self.written.extend(unsure);
    }

    /// What is unsure was committed if it is what the database is at.
    fn look_up(&mut self, current: u64) {
        self.unsure = self.unsure.filter(|(revision, _)| *revision == current);
        self.settle();
    }
}

/// What the writer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Policies,
    Poison,
}

/// Callers and a writer at work.
pub(super) struct Load {
    pub(super) world: Arc<World>,
    tallies: Vec<(Caller, Arc<Mutex<Tally>>)>,
    history: Arc<Mutex<History>>,
    ink: Arc<Mutex<Ink>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins, and returns when everybody was answered and something was written. The writer has a way of its own.
    pub(super) async fn start(settings: &PostgresSettings, writer: &str, callers: Callers) -> Self {
        let writer: Config = writer.parse().expect("an address");
        let client = connect(&writer).await;
        grant_in(&client, "calm", "alice", ALLOW).await;
        grant_in(&client, "calm", "bob", DENY).await;
        grant_in(&client, "acme", "bob", ALLOW).await;
        grant_in(&client, "acme", "alice", ALLOW).await;
        let world = Arc::new(World::with_cache(settings, 64 * 1_024 * 1_024).await);
        let mut load = Self {
            tallies: callers.list().into_iter().map(|caller| (caller, Arc::default())).collect(),
            history: Arc::default(),
            ink: Arc::new(Mutex::new(Ink::Policies)),
            is_over: Arc::default(),
            tasks: Vec::new(),
            world,
        };
        let first = load.world.store.revision("acme").0;
        load.history.lock().expect("the history").written.insert(first, Some(true));
        load.spawn(writer);
        load.answered(5).await;
        load
    }

    fn spawn(&mut self, writer: Config) {
        let uncached = Arc::new(World::over(self.world.store.clone(), 0));
        for (caller, tally) in &self.tallies {
            let world = if caller.is_cached() { self.world.clone() } else { uncached.clone() };
            let (caller, tally, is_over) = (*caller, tally.clone(), self.is_over.clone());
            self.tasks.push(tokio::spawn(async move {
                let (domain, user) = caller.domain_and_user();
                while !is_over.load(Ordering::SeqCst) {
                    let answer = world.decide(domain, &user, 0).await;
                    tally.lock().expect("a tally").note(answer);
                    sleep(CALLS).await;
                }
            }));
        }
        let (history, ink, is_over) = (self.history.clone(), self.ink.clone(), self.is_over.clone());
        self.tasks.push(tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                // The database may be away.
                let _interrupted = write_until(&writer, &history, &ink, &is_over).await;
                sleep(WRITES).await;
            }
        }));
    }

    pub(super) fn write_with(&self, ink: Ink) {
        *self.ink.lock().expect("the ink") = ink;
    }

    /// Waits until whoever can be answered was, this many times more.
    pub(super) async fn answered(&self, times: u64) {
        self.more(times, Caller::is_calm, |tally| tally.answers).await;
    }

    /// Waits until whoever has to be loaded was told errors, this many times more.
    pub(super) async fn failed(&self, times: u64) {
        self.more(times, |caller| !caller.is_cached(), |tally| tally.errors.len() as u64).await;
    }

    async fn more(&self, times: u64, whose: fn(Caller) -> bool, what: fn(&Tally) -> u64) {
        let counts = || -> Vec<u64> {
            let concerned = self.tallies.iter().filter(|(caller, _)| whose(*caller));
            concerned.map(|(_, tally)| what(&tally.lock().expect("a tally"))).collect()
        };
        let before = counts();
        let is_so = async || counts().iter().zip(&before).all(|(now, before)| *now >= before + times);
        until(is_so).await.expect("callers who are told something in time");
    }

    /// Waits until everybody is told what was written last, and nobody is told errors or that it is stale. Tells how long
    /// it took.
    pub(super) async fn recovered(&self) -> Duration {
        let start = Instant::now();
        self.world.await_freshness(Freshness::Current).await;
        let newest =
            || *self.history.lock().expect("the history").written.last_key_value().expect("a revision").0;
        let before = newest();
        until(async || newest() > before).await.expect("a change after the fault");
        let target = newest();
        for (caller, tally) in &self.tallies {
            let answers = || tally.lock().expect("a tally").answers;
            let before = answers();
            let is_told = async || match caller.domain_and_user().0 {
                "acme" => tally.lock().expect("a tally").newest >= target,
                _ => answers() > before,
            };
            until(is_told).await.unwrap_or_else(|_| panic!("{caller:?} is told revision {target} in time"));
        }
        start.elapsed()
    }

    /// Ends, and holds what was told against what was written.
    pub(super) async fn finish(self, fault: &str, recovery: Duration) {
        self.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a caller");
        }
        let written = &self.history.lock().expect("the history").written;
        let (mut answers, mut stale, mut errors) = (0, 0, 0);
        for (caller, tally) in &self.tallies {
            let tally = tally.lock().expect("a tally");
            assert_eq!(tally.back_in_time, None, "{fault}: {caller:?}");
            assert!(
                tally.errors.iter().all(|error| matches!(error, StoreError::Unavailable(_))),
                "{fault}: {caller:?}: {:?}",
                tally.errors
            );
            if caller.is_calm() {
                assert_eq!(tally.errors.len(), 0, "{fault}: {caller:?}: {:?}", tally.errors);
            }
            for (revision, allows) in &tally.told {
                let right = match caller {
                    Caller::CalmAlice | Caller::Bob => Some(true),
                    Caller::CalmBob | Caller::Stranger(_) => Some(false),
                    Caller::Alice | Caller::UncachedAlice => written.get(revision).copied().flatten(),
                };
                assert_eq!(right, Some(*allows), "{fault}: {caller:?} at revision {revision}");
            }
            answers += tally.answers;
            stale += tally.stale;
            errors += tally.errors.len();
        }
        if std::env::var_os("ECS_AUTHZ_FIGURES").is_some() {
            let line = format!(
                "{fault}: {answers} answers, {stale} of them stale, {errors} errors, {} changes, recovered after {recovery:.1?}\n",
                written.len()
            );
            std::io::stderr().write_all(line.as_bytes()).expect("a line");
        }
    }
}

/// Writes until the connection fails. What may or may not have been committed before is looked up first.
async fn write_until(
    writer: &Config,
    history: &Mutex<History>,
    ink: &Mutex<Ink>,
    is_over: &AtomicBool,
) -> Result<(), tokio_postgres::Error> {
    let (mut client, connection) = writer.connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let current = revision(&client).await?;
    history.lock().expect("the history").look_up(current);
    for number in 0_u64.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        // No pattern that a mix-up could fit by chance.
        let allows = number % 3 == 0 || number % 7 == 2;
        let (document, allows) = match *ink.lock().expect("the ink") {
            Ink::Poison => ("{}", None),
            Ink::Policies => (if allows { ALLOW } else { DENY }, Some(allows)),
        };
        let change = client.transaction().await?;
        let update = "UPDATE ecs_authz.policy SET document = $1 WHERE domain_id = 'acme' AND name = 'alice'";
        change.execute(update, &[&document]).await?;
        let revision = revision(change.client()).await?;
        history.lock().expect("the history").unsure = Some((revision, allows));
        change.commit().await?;
        history.lock().expect("the history").settle();
        sleep(WRITES).await;
    }
    driver.abort();
    Ok(())
}

async fn revision(client: &Client) -> Result<u64, tokio_postgres::Error> {
    let row = client.query_one("SELECT revision FROM ecs_authz.domain WHERE id = 'acme'", &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0)).expect("a revision"))
}
