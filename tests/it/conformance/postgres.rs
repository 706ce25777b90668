//! The PostgreSQL store, on a database of its own in the server at `DATABASE_URL`.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ecs_authz::catalog::Catalog;
use ecs_authz::store::PolicyStore;
use ecs_authz::store::postgres::{PostgresSettings, PostgresStore, migrate};
use tokio_postgres::{Client, Config, NoTls};

use super::Backend;
use crate::postgres_world::settings;
use crate::reference::{Domain, Scope, Subject};
use crate::support::block_on;

/// Whether there is a server to test on; `scripts/test` starts one.
pub(crate) fn is_there() -> bool {
    env::var("DATABASE_URL").is_ok()
}

/// A database, dropped in the end.
pub(crate) struct Database {
    name: String,
    url: String,
}

impl Database {
    /// One with the schema.
    pub(crate) fn create() -> Self {
        let database = Self::empty();
        block_on(migrate::run(&database.url.parse().expect("an address"))).expect("the schema");
        database
    }

    /// One without the schema.
    pub(crate) fn empty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = env::var("DATABASE_URL").expect("a server");
        block_on(async {
            let client = connect(&server.parse().expect("an address")).await;
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        });
        let (start, _) = server.rsplit_once('/').expect("an address that ends with a database");
        let url = format!("{start}/{name}");
        Self { name, url }
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        settings(&self.url)
    }

    /// Its address, for programs.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.url.parse().expect("an address")).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let server: Config = env::var("DATABASE_URL").expect("a server").parse().expect("an address");
        block_on(async {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let _left_behind = connect(&server).await.batch_execute(&drop).await;
        });
    }
}

pub(crate) async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

pub(super) struct PostgresBackend {
    store: Arc<PostgresStore>,
    // After the store: it holds connections.
    database: Database,
}

impl Backend for PostgresBackend {
    fn open(catalog: Arc<Catalog>) -> Self {
        let database = Database::create();
        let store = block_on(PostgresStore::open(&database.settings(), catalog)).expect("a store");
        Self { store: Arc::new(store), database }
    }

    fn store(&self) -> Arc<dyn PolicyStore> {
        self.store.clone()
    }

    fn write(&self, domain_id: &str, domain: &Domain) {
        block_on(async {
            let mut client = self.database.client().await;
            replace(&mut client, domain_id, domain).await.expect("a written domain");
        });
    }
}

/// Replaces all that a domain has, in one transaction.
pub(crate) async fn replace(
    client: &mut Client,
    domain_id: &str,
    domain: &Domain,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL search_path = ecs_authz").await?;
    for table in ["policy_grant", "user_group", "policy"] {
        transaction
            .execute(&format!("DELETE FROM {table} WHERE domain_id = $1::text"), &[&domain_id])
            .await?;
    }
    for (name, document) in &domain.policies {
        let insert = "INSERT INTO policy (domain_id, name, document) VALUES ($1::text, $2::text, $3::text)";
        transaction.execute(insert, &[&domain_id, name, &document.to_string()]).await?;
    }
    for group in &domain.groups {
        let insert = "INSERT INTO user_group (domain_id, id) VALUES ($1::text, $2::text)";
        transaction.execute(insert, &[&domain_id, &group.id]).await?;
        for member in &group.members {
            let insert = "INSERT INTO group_member (domain_id, group_id, user_id) VALUES ($1::text, $2::text, $3::text)";
            transaction.execute(insert, &[&domain_id, &group.id, member]).await?;
        }
    }
    for grant in &domain.grants {
        let (subject_kind, subject) = match &grant.subject {
            Subject::User(id) => ("user", id),
            Subject::Group(id) => ("group", id),
            Subject::Agency(id) => ("agency", id),
        };
        let (scope_kind, scope) = match &grant.scope {
            Scope::Project(id) => ("project", Some(id)),
            Scope::EnterpriseProject(id) => ("enterprise_project", Some(id)),
            Scope::AllProjects => ("all_projects", None),
            Scope::Domain => ("domain", None),
        };
        let column = match domain.policies.contains_key(&grant.policy) {
            true => "own_policy",
            false => "system_policy",
        };
        let insert = format!(
            "INSERT INTO policy_grant (domain_id, subject_kind, subject_id, {column}, scope_kind, scope_id) \
             VALUES ($1::text, $2::text::subject_kind, $3::text, $4::text, $5::text::scope_kind, $6::text) \
             ON CONFLICT DO NOTHING"
        );
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&domain_id, &subject_kind, subject, &grant.policy, &scope_kind, &scope];
        transaction.execute(&insert, &values).await?;
    }
    transaction.commit().await
}
