//! Follows the changes of the database, so that every replica knows each domain's revision.
//!
//! A connection of its own listens for announcements. An announcement names a domain, and its revision is read. Whenever
//! listening begins, all revisions are read, so that nothing that was announced before is missed, and it is seen if changes
//! that were known are lost. And every second, those
//! of the transactions that were not over at the last look are: that finds what was never announced, as behind a pooler
//! that does not pass announcements on or on a standby, which has none, and it finds a connection that has died without a
//! word.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::causes;
use super::connector::Connector;
use super::known::{Known, Mark};
use crate::store::{Freshness, Revision};

/// How often it is asked what has changed, whatever was announced.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take. It is the answer to a question about a few rows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long reading all revisions may take.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it is waited before the next attempt to connect.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The most announcements that wait to be asked about. Beyond it, the connection is not read.
const MAX_WAITING: usize = 1_024;

/// Why following was interrupted.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    #[error("the database did not answer in time")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("the connection has ended")]
    Ended,
}

/// Follows changes until it is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Begins to follow, and reads all revisions before it returns.
    pub(super) async fn start(
        connector: Connector,
        known: Arc<Known>,
        max_stale: Duration,
    ) -> Result<Self, FeedError> {
        let listener = Listener::start(&connector, &known).await?;
        let follower = Follower { connector, known, max_stale };
        Ok(Self { task: tokio::spawn(follower.run(listener)) })
    }
}

/// INVARIANT: where nobody follows, nothing is current. However this ends, nothing is answered by what was known.
impl Drop for Follower {
    fn drop(&mut self) {
        self.known.set_freshness(Freshness::Expired);
    }
}

struct Follower {
    connector: Connector,
    known: Arc<Known>,
    max_stale: Duration,
}

impl Follower {
    async fn run(self, listener: Listener) {
        let mut listening = Some(listener);
        loop {
            let mut listener = match listening.take() {
                Some(listener) => listener,
                None => self.connect_again().await,
            };
            let Err(error) = listener.follow(&self.known).await;
            self.known.set_freshness(Freshness::Stale);
            tracing::warn!(error = %causes(&error), "changes of policies can't be followed");
        }
    }

    /// Tries until it listens again. What is cached expires meanwhile.
    async fn connect_again(&self) -> Listener {
        let since = Instant::now();
        loop {
            match Listener::start(&self.connector, &self.known).await {
                Ok(listener) => {
                    tracing::info!(after = ?since.elapsed(), "changes of policies are followed again");
                    return listener;
                }
                Err(error) => tracing::debug!(error = %causes(&error), "the database can't be reached"),
            }
            if since.elapsed() >= self.max_stale {
                self.known.set_freshness(Freshness::Expired);
            }
            sleep(RETRY_INTERVAL).await;
        }
    }
}

/// A connection on which changes are announced.
struct Listener {
    client: Client,
    announced: mpsc::Receiver<String>,
    driver: JoinHandle<()>,
    /// The oldest transaction that was not over at the last look.
    horizon: i64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

enum Never {}

impl Listener {
    /// Listens, then reads all revisions. In this order nothing is missed.
    async fn start(connector: &Connector, known: &Known) -> Result<Self, FeedError> {
        let (client, mut connection) = timeout(ANSWER_TIMEOUT, connector.connect()).await??;
        let (announce, announced) = mpsc::channel(MAX_WAITING);
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && announce.send(notification.payload().to_owned()).await.is_err()
                {
                    return;
                }
            }
        });
        let mut listener = Self { client, announced, driver, horizon: 0 };
        let listens = timeout(ANSWER_TIMEOUT, listener.client.batch_execute("LISTEN ecs_authz")).await?;
        match listens {
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            Err(error) => {
                let error = causes(&error);
                tracing::warn!(error, "changes are not announced here, so they are asked for every second");
            }
            Ok(()) => {}
        }
        timeout(CATCH_UP_TIMEOUT, listener.catch_up(known)).await??;
        known.set_freshness(Freshness::Current);
        Ok(listener)
    }

    /// Follows until something keeps it from doing so.
    async fn follow(&mut self, known: &Known) -> Result<Never, FeedError> {
        let mut ticks = interval(POLL_INTERVAL);
        loop {
            tokio::select! {
                announced = self.announced.recv() => {
                    let first = announced.ok_or(FeedError::Ended)?;
                    let mut domains = BTreeSet::from([first]);
                    while let Ok(more) = self.announced.try_recv() {
                        domains.insert(more);
                    }
                    timeout(ANSWER_TIMEOUT, self.ask(&domains, known)).await??;
                }
                _ = ticks.tick() => timeout(ANSWER_TIMEOUT, self.look(known)).await??,
            }
        }
    }

    /// Reads the revisions of all domains, also those that are older than what is known: after a failover, the new primary
    /// may lack the last changes of the old one.
    async fn catch_up(&mut self, known: &Known) -> Result<(), tokio_postgres::Error> {
        let seen = self.changed().await?;
        let later = known.later_known(&seen);
        known.learn(seen);
        if !later.is_empty() && !self.is_standby().await? {
            // What was known before this question was asked is in its answer, unless it is lost.
            let domains: BTreeSet<String> = later.keys().cloned().collect();
            let mut marks = self.marks(&domains).await?;
            marks
                .retain(|(domain_id, mark)| later.get(domain_id).is_some_and(|known| mark.revision < *known));
            if !marks.is_empty() {
                known.go_back(marks);
            }
        }
        known.asked.renew();
        known.faults.recheck(&self.client).await
    }

    /// Whether it only follows another server: then it may be behind, which is no loss.
    async fn is_standby(&self) -> Result<bool, tokio_postgres::Error> {
        Ok(self.client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0))
    }

    /// Reads the revisions of these domains.
    async fn ask(&self, domains: &BTreeSet<String>, known: &Known) -> Result<(), FeedError> {
        known.learn(self.marks(domains).await?);
        Ok(())
    }

    async fn marks(&self, domains: &BTreeSet<String>) -> Result<Vec<(String, Mark)>, tokio_postgres::Error> {
        let domains: Vec<&String> = domains.iter().collect();
        let query = "SELECT id::text, revision, stamp FROM ecs_authz.domain WHERE id = ANY($1::text[])";
        let rows = self.client.query(query, &[&domains]).await?;
        Ok(rows.iter().map(|row| (row.get(0), mark(row.get(1), row.get(2)))).collect())
    }

    /// Reads the revisions of the domains that have changed since the last look, and which faults still stand.
    async fn look(&mut self, known: &Known) -> Result<(), tokio_postgres::Error> {
        known.learn(self.changed().await?);
        known.asked.renew();
        known.faults.recheck(&self.client).await
    }

    /// The domains that were changed by a transaction that was not over at the last look; at the first one, all.
    async fn changed(&mut self) -> Result<Vec<(String, Mark)>, tokio_postgres::Error> {
        let query = "SELECT d.id::text, d.revision, d.stamp, h.horizon \
             FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon) h \
             LEFT JOIN ecs_authz.domain d ON d.changed_in >= $1::bigint::text::xid8";
        let rows = self.client.query(query, &[&self.horizon]).await?;
        if let Some(row) = rows.first() {
            self.horizon = row.get(3);
        }
        let changed = rows.iter().filter_map(|row| {
            let domain_id = row.get::<_, Option<String>>(0)?;
            Some((domain_id, mark(row.get(1), row.get(2))))
        });
        Ok(changed.collect())
    }
}

pub(super) fn mark(revision_number: i64, stamp: i64) -> Mark {
    Mark { revision: revision(revision_number), stamp }
}

pub(super) fn revision(number: i64) -> Revision {
    // The schema has no revision below zero.
    Revision(u64::try_from(number).unwrap_or_default())
}
