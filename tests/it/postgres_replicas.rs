//! Several replicas on one database: each decision is one that was right at a revision that its caller may see.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;
use proptest::collection::vec;

use crate::conformance::postgres::{Database, is_there, replace};
use crate::evaluators::not_older_than;
use crate::postgres_world::World;
use crate::random::{domain, questions, run};
use crate::reference::{self, Domain, Group, Outcome, Question};
use crate::support::{block_on, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 3] = [
        ("every_decision_was_right_at_its_revision", every_decision_was_right_at_its_revision),
        ("a_caller_sees_its_own_write_on_every_replica", a_caller_sees_its_own_write_on_every_replica),
        ("random_states_are_decided_as_the_reference_does", random_states_are_decided_as_the_reference_does),
    ];
    let named =
        |(name, test)| trial(format!("postgres_replicas::{name}"), test).with_ignored_flag(!is_there());
    tests.into_iter().map(named).collect()
}

const REPLICAS: usize = 3;
const CALLERS: usize = 6;
const WRITES: u64 = 200;

const SETUP: &str = r#"
    INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', 'p', '{}');
    INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind)
      VALUES ('acme', 'user', 'alice', 'p', 'all_projects')"#;

/// The revision and whether the call may pass.
async fn ask(replica: &World, min_revision: u64) -> (u64, bool) {
    let answer = replica.decide("acme", "alice", min_revision).await.expect("a decision");
    (answer.revision, answer.allows)
}

/// Writes a policy that allows, or denies. Tells the revision.
async fn write(client: &mut tokio_postgres::Client, allows: bool) -> u64 {
    let effect = if allows { "Allow" } else { "Deny" };
    let document =
        format!(r#"{{"Version":"1.1","Statement":[{{"Effect":"{effect}","Action":["ecs:*:*"]}}]}}"#);
    let change = client.transaction().await.expect("a transaction");
    change.execute("UPDATE ecs_authz.policy SET document = $1", &[&document]).await.expect("an update");
    let revision: i64 =
        change.query_one("SELECT revision FROM ecs_authz.domain", &[]).await.expect("a revision").get(0);
    change.commit().await.expect("a commit");
    u64::try_from(revision).expect("a revision")
}

fn every_decision_was_right_at_its_revision() {
    let database = Database::create();
    block_on(async {
        let mut client = database.client().await;
        client.batch_execute(SETUP).await.unwrap();
        let first = write(&mut client, true).await;
        let mut replicas = Vec::new();
        // One keeps nothing.
        for cache_bytes in [1_024 * 1_024, 0, 1_024 * 1_024] {
            replicas.push(World::with_cache(&database.settings(), cache_bytes).await);
        }
        let replicas: Arc<Vec<World>> = Arc::new(replicas);
        let is_over = Arc::new(AtomicBool::new(false));
        // Each caller goes from replica to replica, and never back in time.
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (replicas, is_over) = (replicas.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let mut newest = first;
                    for turn in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let (revision, allows) = ask(&replicas[(caller + turn) % REPLICAS], newest).await;
                        assert!(revision >= newest, "{revision} after {newest}");
                        newest = revision;
                        seen.push((revision, allows));
                        tokio::task::yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        let mut history = BTreeMap::from([(first, true)]);
        for number in 0..WRITES {
            // No pattern that a mix-up could fit by chance.
            let allows = number % 3 == 0 || number % 7 == 2;
            history.insert(write(&mut client, allows).await, allows);
        }
        is_over.store(true, Ordering::SeqCst);
        let mut revisions = std::collections::BTreeSet::new();
        for caller in callers {
            for (revision, allows) in caller.await.expect("a caller") {
                assert_eq!(history.get(&revision), Some(&allows), "at revision {revision}");
                revisions.insert(revision);
            }
        }
        assert!(revisions.len() > 3, "only {revisions:?} were seen");
    });
}

fn a_caller_sees_its_own_write_on_every_replica() {
    let database = Database::create();
    block_on(async {
        let mut client = database.client().await;
        client.batch_execute(SETUP).await.unwrap();
        write(&mut client, false).await;
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(World::open(&database.settings()).await);
        }
        for allows in [true, false, true, true, false] {
            let revision = write(&mut client, allows).await;
            for replica in &replicas {
                let answer =
                    tokio::time::timeout(std::time::Duration::from_secs(20), ask(replica, revision)).await;
                assert_eq!(answer.expect("an answer in time"), (revision, allows));
            }
        }
    });
}

/// What was told, by the question's place and the revision.
type Told = BTreeMap<(usize, u64), Outcome>;
/// All domains by id, by revision of the one that changes.
type History = BTreeMap<u64, BTreeMap<String, Domain>>;

/// Random policies, groups and grants, each replacing the ones before, while random questions are asked of replicas that
/// keep everything, little and nothing. Each answer is the reference's for the state of its revision, and no caller goes
/// back in time.
fn random_states_are_decided_as_the_reference_does() {
    let database = Database::create();
    let replicas = block_on(async {
        let mut replicas = Vec::new();
        for cache_bytes in [1_024 * 1_024, 8_192, 0] {
            replicas.push(World::with_cache(&database.settings(), cache_bytes).await);
        }
        Arc::new(replicas)
    });
    let (rounds, answers, revisions) = (Cell::new(0), Cell::new(0), Cell::new(0));
    run((vec(domain(), 8), questions()), |(states, questions)| {
        rounds.set(rounds.get() + 1);
        if rounds.get() > 12 {
            return;
        }
        let questions = Arc::new(questions);
        let (history, told) =
            block_on(ask_while_writing(&database, &replicas, states, &questions, rounds.get()));
        for ((question, revision), outcome) in &told {
            let expected = reference::decide(&history[revision], &questions[*question]);
            assert_eq!(*outcome, expected, "at revision {revision}: {:?}", questions[*question]);
        }
        answers.set(answers.get() + told.len());
        let seen: BTreeSet<u64> = told.keys().map(|(_, revision)| *revision).collect();
        revisions.set(revisions.get() + seen.len());
    });
    assert!(
        answers.get() > 100 && revisions.get() > 30,
        "{} answers at {} revisions",
        answers.get(),
        revisions.get()
    );
}

async fn ask_while_writing(
    database: &Database,
    replicas: &Arc<Vec<World>>,
    states: Vec<Domain>,
    questions: &Arc<Vec<Question>>,
    round: usize,
) -> (History, Told) {
    let (mut client, is_over) = (database.client().await, Arc::new(AtomicBool::new(false)));
    let (mut history, mut callers) = (History::new(), Vec::new());
    for (number, mut state) in states.into_iter().enumerate() {
        // A state like the one before would be no change.
        state.groups.push(Group { id: format!("state-{round}-{number}"), members: vec!["nobody".into()] });
        replace(&mut client, "acme", &state).await.expect("a written domain");
        let revision =
            client.query_one("SELECT revision FROM ecs_authz.domain", &[]).await.expect("a revision");
        let revision = u64::try_from(revision.get::<_, i64>(0)).expect("a revision");
        history.insert(revision, BTreeMap::from([("acme".to_owned(), state)]));
        if number == 0 {
            let caller = |caller| {
                tokio::spawn(ask_on(replicas.clone(), questions.clone(), is_over.clone(), caller, revision))
            };
            callers.extend((0..CALLERS).map(caller));
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let mut told = Told::new();
    for caller in callers {
        for (place, outcome) in caller.await.expect("a caller") {
            assert_eq!(*told.entry(place).or_insert_with(|| outcome.clone()), outcome, "{place:?}");
        }
    }
    (history, told)
}

/// Goes from replica to replica and from question to question.
async fn ask_on(
    replicas: Arc<Vec<World>>,
    questions: Arc<Vec<Question>>,
    is_over: Arc<AtomicBool>,
    caller: usize,
    first: u64,
) -> Told {
    let (mut told, mut newest) = (Told::new(), first);
    for turn in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let (replica, question) = ((caller + turn) % REPLICAS, (caller + turn / REPLICAS) % questions.len());
        let answer = not_older_than(&replicas[replica].pdp, &questions[question], newest).await;
        // Policies were asked, and the domain has some.
        if let (Some(revision @ 1..), outcome) = answer {
            assert!(revision >= newest, "{revision} after {newest}");
            newest = revision;
            let before = told.insert((question, revision), outcome.clone());
            assert!(before.is_none_or(|before| before == outcome), "another answer at revision {revision}");
        }
        tokio::task::yield_now().await;
    }
    told
}
