//! What every [`PolicyStore`] promises. Who writes the next store implements [`Backend`] for it and adds a line to
//! [`backends`]: each promise is then a reported result of its own, `conformance::<backend>::<promise>`.
//!
//! Policies, groups and grants are given as [`Domain`]s, in the words of the files; the reference evaluator reads the same
//! ones. How a backend writes them is its own affair; a written state replaces the one before as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::catalog::Catalog;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::{Freshness, PolicyStore, Revision, StoreHealth};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::timeout;

use crate::evaluators::by_pdp;
use crate::random::{domain, questions, run};
use crate::reference::{self, Domain, Grant, Group, Scope};
use crate::support::{block_on, trial};
use directory::DirectoryBackend;
use postgres::PostgresBackend;

mod directory;
pub(crate) mod postgres;

/// A store, and a way to write what it reads.
pub(crate) trait Backend {
    /// Makes an empty source and opens a store on it.
    fn open(catalog: Arc<Catalog>) -> Self
    where
        Self: Sized;

    fn store(&self) -> Arc<dyn PolicyStore>;

    /// Replaces all that a domain has. Returns when it is written, not when the store knows.
    fn write(&self, domain_id: &str, domain: &Domain);
}

type Open = fn(Arc<Catalog>) -> Box<dyn Backend>;

/// Every backend, by name, and whether it can be tested here.
fn backends() -> [(&'static str, Open, bool); 2] {
    [
        ("directory", |catalog| Box::new(DirectoryBackend::open(catalog)), true),
        ("postgres", |catalog| Box::new(PostgresBackend::open(catalog)), postgres::is_there()),
    ]
}

type Promise = (&'static str, fn(&dyn Backend));

const PROMISES: [Promise; 8] = [
    ("a_domain_that_is_not_there_has_no_grants", a_domain_that_is_not_there_has_no_grants),
    ("each_change_is_a_revision_and_announced", each_change_is_a_revision_and_announced),
    ("what_is_read_is_not_older_than_what_is_known", what_is_read_is_not_older_than_what_is_known),
    ("domains_do_not_touch_each_other", domains_do_not_touch_each_other),
    ("ids_are_compared_byte_for_byte", ids_are_compared_byte_for_byte),
    ("a_policy_is_one_for_all_who_have_it", a_policy_is_one_for_all_who_have_it),
    ("a_removed_domain_goes_on_with_its_revisions", a_removed_domain_goes_on_with_its_revisions),
    ("decisions_are_those_of_the_reference", decisions_are_those_of_the_reference),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (backend, open, is_there) in backends() {
        for (promise, test) in PROMISES {
            let run = move || test(&*open(Arc::new(Catalog::published().expect("the published tables"))));
            let name = format!("conformance::{backend}::{promise}");
            trials.push(trial(name, run).with_ignored_flag(!is_there));
        }
    }
    trials
}

/// How long a change may take to be known. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn user(domain_id: &str, id: &str) -> Identity {
    Identity {
        domain_id: domain_id.into(),
        subject: Subject::User(id.into()),
        project_id: Some("p".into()),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    }
}

/// One policy that allows an action, granted to a user.
fn granted(user: &str, action: &str) -> Domain {
    let document = json!({"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": [action]}]});
    Domain {
        policies: BTreeMap::from([("p0".to_owned(), document)]),
        groups: Vec::new(),
        grants: vec![Grant {
            subject: reference::Subject::User(user.into()),
            policy: "p0".into(),
            scope: Scope::AllProjects,
        }],
    }
}

/// Waits until the store knows another revision of a domain than this one.
fn await_change(store: &Arc<dyn PolicyStore>, domain_id: &str, before: Revision) -> Revision {
    block_on(async {
        let mut changes = store.changes();
        let known = async {
            while store.revision(domain_id) == before {
                changes.changed().await.expect("a store that goes on");
            }
            store.revision(domain_id)
        };
        timeout(PATIENCE, known).await.expect("the change to be known")
    })
}

fn write_and_await(backend: &dyn Backend, domain_id: &str, domain: &Domain) -> Revision {
    let store = backend.store();
    let before = store.revision(domain_id);
    backend.write(domain_id, domain);
    await_change(&store, domain_id, before)
}

/// The names of the policies that a user is granted.
fn policies(store: &Arc<dyn PolicyStore>, identity: &Identity) -> Vec<String> {
    let loaded = block_on(store.load(identity)).expect("grants");
    let mut names: Vec<String> = loaded.grants.iter().map(|grant| grant.policy.name.to_string()).collect();
    names.sort();
    names
}

fn a_domain_that_is_not_there_has_no_grants(backend: &dyn Backend) {
    let store = backend.store();
    assert_eq!(store.revision("nowhere"), Revision(0));
    let loaded = block_on(store.load(&user("nowhere", "alice"))).expect("an answer");
    assert_eq!((loaded.revision, loaded.grants.len()), (Revision(0), 0));
    assert_eq!((store.freshness(), store.health()), (Freshness::Current, StoreHealth::Current));
    // System policies belong to no domain.
    let role = Identity { role_names: vec!["te_admin".into()], ..user("nowhere", "alice") };
    assert_eq!(policies(&store, &role), ["te_admin"]);
}

fn each_change_is_a_revision_and_announced(backend: &dyn Backend) {
    let store = backend.store();
    let first = write_and_await(backend, "acme", &granted("alice", "ecs:servers:start"));
    assert!(first > Revision(0));
    let second = write_and_await(backend, "acme", &granted("alice", "ecs:servers:stop"));
    assert!(second > first);
    let third = write_and_await(backend, "acme", &granted("bob", "ecs:servers:stop"));
    assert!(third > second);
    assert_eq!(policies(&store, &user("acme", "alice")), [""; 0]);
    assert_eq!(policies(&store, &user("acme", "bob")), ["p0"]);
}

fn what_is_read_is_not_older_than_what_is_known(backend: &dyn Backend) {
    let store = backend.store();
    for action in ["ecs:servers:start", "ecs:servers:stop", "ecs:servers:lock"] {
        let known = write_and_await(backend, "acme", &granted("alice", action));
        let loaded = block_on(store.load(&user("acme", "alice"))).expect("grants");
        assert!(loaded.revision >= known);
        let statement = &loaded.grants[0].policy.statements[0];
        assert_eq!(statement.actions.iter().count(), 1, "{action}");
    }
}

fn domains_do_not_touch_each_other(backend: &dyn Backend) {
    let store = backend.store();
    write_and_await(backend, "acme", &granted("alice", "ecs:servers:start"));
    let revision = store.revision("acme");
    write_and_await(backend, "other", &granted("alice", "*"));
    assert_eq!(store.revision("acme"), revision);
    let loaded = block_on(store.load(&user("acme", "alice"))).expect("grants");
    assert_eq!(loaded.grants.len(), 1);
    assert_eq!(loaded.grants[0].policy.statements[0].actions.iter().count(), 1);
}

fn ids_are_compared_byte_for_byte(backend: &dyn Backend) {
    let store = backend.store();
    write_and_await(backend, "acme", &granted("Älice", "*"));
    // Composed and decomposed, another letter case, a blank more.
    for other in ["älice", "A\u{308}lice", "ÄLICE", "Älice ", "Älic_"] {
        assert_eq!(policies(&store, &user("acme", other)), [""; 0], "{other}");
    }
    assert_eq!(policies(&store, &user("Acme", "Älice")), [""; 0]);
    assert_eq!(policies(&store, &user("acme", "Älice")), ["p0"]);
    let agency = Identity { subject: Subject::Agency("Älice".into()), ..user("acme", "") };
    assert_eq!(policies(&store, &agency), [""; 0]);
}

/// By which equal policy sets are known.
fn a_policy_is_one_for_all_who_have_it(backend: &dyn Backend) {
    let store = backend.store();
    let mut domain = granted("alice", "*");
    let subject = reference::Subject::User("bob".into());
    domain.grants.push(Grant { subject, ..domain.grants[0].clone() });
    write_and_await(backend, "acme", &domain);
    let policy = |identity| block_on(store.load(&identity)).expect("grants").grants.remove(0).policy;
    assert!(Arc::ptr_eq(&policy(user("acme", "alice")), &policy(user("acme", "bob"))));
    let role = |domain_id| Identity { role_names: vec!["te_admin".into()], ..user(domain_id, "eve") };
    assert!(Arc::ptr_eq(&policy(role("acme")), &policy(role("nowhere"))));
}

fn a_removed_domain_goes_on_with_its_revisions(backend: &dyn Backend) {
    let store = backend.store();
    let first = write_and_await(backend, "acme", &granted("alice", "*"));
    let removed = write_and_await(backend, "acme", &Domain::default());
    assert!(removed > first);
    assert_eq!(policies(&store, &user("acme", "alice")), [""; 0]);
    assert!(write_and_await(backend, "acme", &granted("alice", "*")) > removed);
    assert_eq!(policies(&store, &user("acme", "alice")), ["p0"]);
}

/// Random policies, groups and grants, each replacing the ones before.
fn decisions_are_those_of_the_reference(backend: &dyn Backend) {
    let catalog = Arc::new(Catalog::published().expect("the published tables"));
    let cache = PolicyCache::new(backend.store(), catalog.action_count(), 1_024 * 1_024);
    let pdp = Pdp::new(catalog, cache, Defaults::default());
    // A domain with no change would not be announced.
    let count = std::cell::Cell::new(0);
    run((domain(), questions()), |(mut domain, questions)| {
        count.set(count.get() + 1);
        if count.get() > 24 {
            return;
        }
        domain.groups.push(Group { id: format!("state-{}", count.get()), members: vec!["nobody".into()] });
        write_and_await(backend, "acme", &domain);
        let domains = BTreeMap::from([("acme".to_owned(), domain)]);
        for question in questions {
            assert_eq!(by_pdp(&pdp, &question), reference::decide(&domains, &question), "{question:?}");
        }
    });
}
