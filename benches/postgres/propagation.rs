//! How long a write takes to be known on another replica.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ecs_authz::catalog::Catalog;
use ecs_authz::store::Revision;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::postgres::PostgresStore;
use tokio::time::{sleep, timeout};

use super::database::Database;
use super::report::Report;
use super::{Outcome, Sizes, progress};

/// A write that is not known by then was lost.
const LIMIT: Duration = Duration::from_secs(10);
/// The time between writes that are found by polling: it must not keep step with the second of the poll.
const PACE: Duration = Duration::from_micros(10_123);

pub(super) async fn measure(database: &Database, sizes: Sizes, report: &mut Report) -> Outcome<()> {
    let catalog = Arc::new(Catalog::published()?);
    let store = PostgresStore::open(&database.settings()?, catalog.clone()).await?;
    let replica = Arc::new(PolicyCache::new(Arc::new(store), catalog.action_count(), 0));
    progress(&format!("{} writes that are announced", sizes.writes));
    announced(database, &replica, sizes.writes, report).await?;
    progress(&format!("{} writes that are found by polling", sizes.writes));
    polled(database, &replica, sizes.writes, report).await
}

/// One after the other. Each write changes a policy in a transaction of its own.
async fn announced(
    database: &Database,
    replica: &PolicyCache,
    writes: usize,
    report: &mut Report,
) -> Outcome<()> {
    let client = database.client().await?;
    let first = "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('announced', 'p', '{}')";
    client.batch_execute(first).await?;
    let update = client.prepare("UPDATE ecs_authz.policy SET document = '{} ' WHERE domain_id = 'announced'");
    let update = update.await?;
    let (mut written, mut known) = (Vec::new(), Vec::new());
    for revision in (2..).take(writes) {
        let since = Instant::now();
        let write = async {
            client.execute(&update, &[]).await?;
            written.push(since.elapsed());
            Ok::<_, tokio_postgres::Error>(())
        };
        let (write, wait) =
            tokio::join!(write, timeout(LIMIT, replica.wait_for("announced", Revision(revision))));
        known.push(since.elapsed());
        write?;
        wait??;
    }
    add_times(report, "announced write, until it is committed", written);
    add_times(report, "announced write, until another replica knows it", known);
    Ok(())
}

/// A domain each, since the poll would find several writes of one domain as one. To raise the revision without the
/// triggers of the tables announces nothing, as behind a pooler that does not pass announcements on.
async fn polled(
    database: &Database,
    replica: &Arc<PolicyCache>,
    writes: usize,
    report: &mut Report,
) -> Outcome<()> {
    let client = database.client().await?;
    let mut waits = Vec::new();
    for number in 0..writes {
        let domain_id = format!("polled-{number}");
        let write = "INSERT INTO ecs_authz.domain (id, revision) VALUES ($1::text, 1)";
        let since = Instant::now();
        client.execute(write, &[&domain_id]).await?;
        let replica = replica.clone();
        waits.push(tokio::spawn(async move {
            timeout(LIMIT, replica.wait_for(&domain_id, Revision(1))).await??;
            Outcome::Ok(since.elapsed())
        }));
        sleep(PACE).await;
    }
    let mut known = Vec::new();
    for wait in waits {
        known.push(wait.await??);
    }
    add_times(report, "write that nobody announces, until another replica knows it", known);
    Ok(())
}

/// The median, the 99th percentile and the largest of some times.
fn add_times(report: &mut Report, name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    for (label, share) in [("p50", 50), ("p99", 99), ("max", 100)] {
        let time = at(share).copied().unwrap_or_default();
        report.add(format!("{name}, {label}"), time.as_secs_f64() * 1_000.0, "ms");
    }
}
