//! What many principals cost: to load, to hold, and to decide about.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ecs_authz::catalog::Catalog;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{Identity, PrincipalParts, Request, Subject};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::postgres::PostgresStore;
use tokio::task::JoinSet;

use super::calls::{self, Random};
use super::database::Database;
use super::generate::{generate, identity, with_all_policies};
use super::median::median;
use super::report::{Report, resident_bytes};
use super::{Outcome, Sizes, progress};

/// Large enough for all.
const CACHE_BYTES: u64 = 8 << 30;
/// How many principals the small cache has, which the large one is compared to.
const FEW: usize = 1_000;
/// Decisions of one round, and how many rounds there are of each cache in turn. The median is of quiet rounds.
const AT_A_TIME: usize = 32;
const ROUNDS: usize = 15_000;

pub(super) async fn measure(database: &Database, sizes: Sizes, report: &mut Report) -> Outcome<()> {
    progress(&format!("{} policies and {} principals are generated", sizes.policies, sizes.principals));
    let since = Instant::now();
    let rows = generate(database, sizes).await?;
    report.add(format!("generate {rows} rows"), since.elapsed().as_secs_f64(), "s");

    let catalog = Arc::new(Catalog::published()?);
    let since = Instant::now();
    let store = Arc::new(PostgresStore::open(&database.settings()?, catalog.clone()).await?);
    report.add("open the store", since.elapsed().as_secs_f64() * 1_000.0, "ms");

    let cache = |bytes| PolicyCache::new(store.clone(), catalog.action_count(), bytes);
    let before = resident_bytes()?;
    progress("policies are compiled");
    let nothing_kept = Arc::new(cache(0));
    warm(&nothing_kept, sizes, with_all_policies(sizes)).await?;
    let compiled = resident_bytes()?;
    report.add("compiled policies, resident", mebibytes(compiled.saturating_sub(before)), "MiB");

    progress("principals are loaded");
    let all = Arc::new(cache(CACHE_BYTES));
    let since = Instant::now();
    let warmed = warm(&all, sizes, (0..sizes.principals).collect()).await?;
    report.add(format!("load {warmed} principals"), since.elapsed().as_secs_f64(), "s");
    let resident = resident_bytes()?.saturating_sub(compiled);
    hold(&all, resident, report).await;

    let few = Arc::new(cache(CACHE_BYTES));
    warm(&few, sizes, (0..FEW.min(warmed)).collect()).await?;
    progress("decisions are timed");
    let pdp = |cache| Pdp::new(catalog.clone(), cache, Defaults::default());
    let unwrap = |cache| Arc::into_inner(cache).ok_or("a cache that is still in use");
    decide(&pdp(unwrap(all)?), &pdp(unwrap(few)?), warmed, sizes, report).await
}

/// Loads principals, several at a time, and returns how many it came to in time.
async fn warm(cache: &Arc<PolicyCache>, sizes: Sizes, numbers: Vec<usize>) -> Outcome<usize> {
    let end = Instant::now() + Duration::from_secs(sizes.warm_seconds);
    let (numbers, next) = (Arc::new(numbers), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..sizes.tasks {
        let (cache, numbers, next) = (cache.clone(), numbers.clone(), next.clone());
        tasks.spawn(async move {
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed))
                && Instant::now() < end
            {
                if number % 100_000 == 0 {
                    progress(&format!("principal {number}"));
                }
                cache.get(&identity(*number, sizes)).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    // Each task took one that was not there or not in time.
    Ok(next.load(Ordering::Relaxed).saturating_sub(sizes.tasks).min(numbers.len()))
}

async fn hold(cache: &PolicyCache, resident: u64, report: &mut Report) {
    let held = cache.counters();
    let each = |bytes: u64| bytes as f64 / held.entries.max(1) as f64;
    report.add("distinct policy sets", held.sets as f64, "");
    report.add("policy sets, by the cache's count", mebibytes(held.set_bytes), "MiB");
    report.add("principals and their sets, by the cache's count", mebibytes(held.bytes), "MiB");
    report.add("principals and their sets, resident", mebibytes(resident), "MiB");
    report.add("each principal with its share of the sets, by the cache's count", each(held.bytes), "bytes");
    report.add("each principal with its share of the sets, resident", each(resident), "bytes");
    report.add("loads whose set was there already", held.shared_sets as f64 / held.loads as f64 * 100.0, "%");
}

/// Times decisions about random principals of the large cache and of the small one, in turns.
async fn decide(all: &Pdp, few: &Pdp, count: usize, sizes: Sizes, report: &mut Report) -> Outcome<()> {
    let few_count = FEW.min(count);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut of_all, mut of_few) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_all.push(time(all, || request(random.below(count), sizes)).await?);
        of_few.push(time(few, || request(random.below(few_count), sizes)).await?);
    }
    let (of_all, of_few) = (median(of_all), median(of_few));
    report.add(format!("a decision, random principal of {count}"), of_all, "ns");
    report.add(format!("a decision, random principal of {few_count}"), of_few, "ns");
    report.add("ratio", of_all / of_few, "");
    Ok(())
}

/// Nanoseconds of a decision. A few requests are made at a time, since they come fresh from the wire.
async fn time(pdp: &Pdp, request: impl FnMut() -> Outcome<Request>) -> Outcome<f64> {
    let requests = std::iter::repeat_with(request).take(AT_A_TIME).collect::<Outcome<Vec<Request>>>()?;
    let since = Instant::now();
    for request in &requests {
        black_box(pdp.decide(request).await?.decision());
    }
    Ok(since.elapsed().as_secs_f64() * 1e9 / AT_A_TIME as f64)
}

/// A call of a principal.
fn request(number: usize, sizes: Sizes) -> Outcome<Request> {
    let Identity { domain_id, subject, project_id, .. } = identity(number, sizes);
    let (Subject::User(user_id) | Subject::Agency(user_id)) = subject;
    let project_id = project_id.unwrap_or_default();
    calls::request(PrincipalParts { domain_id, user_id, project_id, ..Default::default() }, number)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_024.0 * 1_024.0)
}
