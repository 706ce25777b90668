//! What the tests of the PostgreSQL store share: a decision point on a database, and a server of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::pdp::{DecideError, Defaults, Pdp, Response};
use ecs_authz::request::{PrincipalParts, Request, RequestParts};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::postgres::{PostgresSettings, PostgresStore};
use ecs_authz::store::{Freshness, PolicyStore as _, StoreError, StoreHealth};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

/// How long something may take to be noticed. Far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ALLOW: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:*:*"]}]}"#;
pub(crate) const DENY: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:*:*"]}]}"#;

/// A store on a database with few connections, which is not awaited.
pub(crate) fn settings(url: &str) -> PostgresSettings {
    let url = url.parse().expect("an address");
    let max_stale = Duration::from_secs(60);
    PostgresSettings { url, max_connections: 4, max_stale, start_wait: Duration::ZERO }
}

/// A decision point on a database.
pub(crate) struct World {
    pub(crate) pdp: Pdp,
    pub(crate) store: Arc<PostgresStore>,
}

/// What was decided, and when it was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) revision: u64,
    pub(crate) allows: bool,
    pub(crate) is_stale: bool,
}

impl World {
    pub(crate) async fn open(settings: &PostgresSettings) -> Self {
        Self::with_cache(settings, 1_024 * 1_024).await
    }

    pub(crate) async fn with_cache(settings: &PostgresSettings, cache_bytes: u64) -> Self {
        let catalog = Arc::new(Catalog::published().expect("the published tables"));
        let store = Arc::new(PostgresStore::open(settings, catalog).await.expect("a store"));
        Self::over(store, cache_bytes)
    }

    pub(crate) fn over(store: Arc<PostgresStore>, cache_bytes: u64) -> Self {
        let catalog = Arc::new(Catalog::published().expect("the published tables"));
        let cache = PolicyCache::new(store.clone(), catalog.action_count(), cache_bytes);
        Self { pdp: Pdp::new(catalog, cache, Defaults::default()), store }
    }

    /// Asks whether a user may see a server, at this revision or later.
    pub(crate) async fn decide(
        &self,
        domain_id: &str,
        user: &str,
        min_revision: u64,
    ) -> Result<Answer, StoreError> {
        let parts = RequestParts {
            principal: PrincipalParts {
                domain_id: domain_id.into(),
                user_id: user.into(),
                project_id: "p".into(),
                ..Default::default()
            },
            method: "GET".into(),
            path: "/v1/p/cloudservers/7".into(),
            body: Body::Absent,
            min_revision,
            ..Default::default()
        };
        let request = Request::new(parts).expect("a request");
        let response = self.pdp.decide(&request).await.map_err(|DecideError::Store(error)| error)?;
        let Response::Evaluated { revision, is_stale, .. } = &response else { panic!("{response:?}") };
        Ok(Answer { revision: revision.0, allows: response.decision().is_allow(), is_stale: *is_stale })
    }

    /// What is told a user of `acme`: `allow`, `deny`, with `stale` behind it, or the error.
    pub(crate) async fn ask(&self, user: &str) -> Result<String, StoreError> {
        let Answer { allows, is_stale, .. } = self.decide("acme", user, 0).await?;
        let word = if allows { "allow" } else { "deny" };
        Ok(if is_stale { format!("{word} stale") } else { word.to_owned() })
    }

    /// Asks until the answer is this one.
    pub(crate) async fn ask_until(&self, user: &str, expected: &str) {
        let is_so = async || self.ask(user).await.ok().as_deref() == Some(expected);
        until(is_so).await.unwrap_or_else(|_| panic!("{user}: expected {expected} in time"));
    }

    pub(crate) async fn await_freshness(&self, expected: Freshness) {
        let is_so = async || self.store.freshness() == expected;
        until(is_so).await.unwrap_or_else(|_| panic!("expected {expected:?} in time"));
    }

    pub(crate) async fn await_revision(&self, minimum: u64) {
        let is_so = async || self.store.revision("acme").0 >= minimum;
        until(is_so).await.unwrap_or_else(|_| panic!("expected revision {minimum} in time"));
    }

    /// Waits until health tells faults that begin so, and no others.
    pub(crate) async fn await_faults(&self, expected: &[&str]) {
        let is_so = async || match self.store.health() {
            StoreHealth::Current => expected.is_empty(),
            StoreHealth::Degraded { faults } => {
                faults.len() == expected.len()
                    && faults.iter().zip(expected).all(|(fault, expected)| fault.starts_with(expected))
            }
            StoreHealth::Expired => false,
        };
        let told = until(is_so).await;
        told.unwrap_or_else(|_| panic!("expected {expected:?}, found {:?}", self.store.health()));
    }
}

/// Polls until something is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) -> Result<(), Elapsed> {
    let polled = async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, polled).await
}

/// Grants a user of `acme` a policy of its own.
pub(crate) async fn grant(client: &Client, user: &str, document: &str) {
    grant_in(client, "acme", user, document).await;
}

pub(crate) async fn grant_in(client: &Client, domain_id: &str, user: &str, document: &str) {
    let statements = format!(
        "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('{domain_id}', '{user}', '{document}');
         INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind)
           VALUES ('{domain_id}', 'user', '{user}', '{user}', 'all_projects')"
    );
    client.batch_execute(&statements).await.expect("a grant");
}

pub(crate) async fn rewrite(client: &Client, user: &str, document: &str) {
    let update = "UPDATE ecs_authz.policy SET document = $2 WHERE name = $1::text";
    assert_eq!(client.execute(update, &[&user, &document]).await.expect("an update"), 1);
}

/// A database server of the test's own, to be killed.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::started_by(&mut script("start", None))
    }

    /// One that follows this one, and can only be read.
    pub(crate) fn standby(&self) -> Self {
        Self::started_by(&mut script("standby", Some(&self.folder)))
    }

    fn started_by(command: &mut Command) -> Self {
        let started = command.stderr(Stdio::inherit()).output().expect("the script");
        let told = String::from_utf8(started.stdout).expect("text");
        let (folder, url) = told.trim().split_once('\n').expect("a folder and an address");
        Self { folder: folder.into(), url: url.to_owned() }
    }

    /// Where it keeps its files.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn kill(&self) {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).expect("a server");
        let pid = pid.lines().next().expect("its process").to_owned();
        assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    }

    /// Adds lines to its configuration, for when it is started again.
    pub(crate) fn configure(&self, lines: &str) {
        let file = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&file).expect("the configuration");
        fs::write(file, format!("{text}\n{lines}\n")).expect("the configuration");
    }

    /// Starts it again with these lines in `pg_hba.conf`, which say who may connect, and how; its owner may always.
    pub(crate) fn admit(&self, rules: &str) {
        let rules = format!("host all authz 127.0.0.1/32 trust\n{rules}\n");
        fs::write(self.data().join("pg_hba.conf"), rules).expect("the rules");
        self.start_again();
    }

    pub(crate) fn start_again(&self) {
        assert!(script("again", Some(&self.folder)).status().expect("the script").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _stopped = script("stop", Some(&self.folder)).status();
    }
}

fn script(verb: &str, folder: Option<&Path>) -> Command {
    let mut command = Command::new("scripts/postgres");
    command.arg(verb).args(folder).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}
