//! The schema of the database: its versions, and how one follows another.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connector::Connector;
use super::{DatabaseUrl, OpenError};

/// The versions, in order. One that was released is never changed.
const MIGRATIONS: [(i32, &str); 2] = [
    (1, include_str!("migrations/0001_policies.sql")),
    (2, include_str!("migrations/0002_administration.sql")),
];
/// The version that this program reads and writes.
pub const VERSION: i32 = 2;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Names the lock that lets one migration run at a time. Any number does, if nobody else takes it.
const LOCK: i64 = 0x6563_735f_6175_7468;

/// Why a schema can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The schema is older than the program, or not there.
    #[error("the schema is at version {found}, expected {VERSION}: run `ecs-authz migrate`")]
    Older {
        /// The schema's version; zero if it is not there.
        found: i32,
    },
    /// The schema is newer than the program.
    #[error("the schema is at version {found}, and this program knows {VERSION}: use a newer ecs-authz")]
    Newer {
        /// The schema's version.
        found: i32,
    },
    /// The database refused.
    #[error("the schema can't be read or changed")]
    Database(#[from] tokio_postgres::Error),
}

/// The version of the schema, zero if it is not there.
///
/// # Errors
///
/// If the database refuses.
async fn version(client: &Client) -> Result<i32, SchemaError> {
    let has_table = "SELECT to_regclass('ecs_authz.schema_version') IS NOT NULL";
    if !client.query_one(has_table, &[]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let latest = "SELECT coalesce(max(version), 0) FROM ecs_authz.schema_version";
    Ok(client.query_one(latest, &[]).await?.get(0))
}

/// Fails where a privilege is missing, so that this is told at the start.
const READABLE: &str = "SELECT FROM ecs_authz.domain, ecs_authz.policy, ecs_authz.policy_grant, ecs_authz.group_member WHERE false";

/// Checks that the schema is the one that this program knows, and that it may be read.
///
/// # Errors
///
/// If it is another one, or the database refuses.
pub(super) async fn check(client: &Client) -> Result<(), SchemaError> {
    match version(client).await? {
        VERSION => Ok(client.batch_execute(READABLE).await?),
        found if found < VERSION => Err(SchemaError::Older { found }),
        found => Err(SchemaError::Newer { found }),
    }
}

/// Connects and brings the schema to this program's version. Tells which versions were reached.
///
/// # Errors
///
/// If the database can't be reached, or its schema can't be brought there.
pub async fn run(url: &DatabaseUrl) -> Result<Vec<i32>, OpenError> {
    let unreachable = |cause| OpenError::Unreachable { url: url.to_string(), cause };
    let connector = Connector::new(url)?;
    let connected = timeout(CONNECT_TIMEOUT, connector.connect()).await;
    let connected = connected.map_err(|error| unreachable(error.into()))?;
    let (mut client, connection) = connected.map_err(|error| unreachable(error.into()))?;
    let driver = tokio::spawn(connection);
    let taken = migrate(&mut client).await.map_err(|cause| OpenError::Schema { url: url.to_string(), cause });
    driver.abort();
    taken
}

/// Brings the schema to this program's version, each step in a transaction of its own. Tells which steps were taken.
///
/// # Errors
///
/// If the schema is newer, or the database refuses. The steps before stay.
async fn migrate(client: &mut Client) -> Result<Vec<i32>, SchemaError> {
    let mut taken = Vec::new();
    for (number, statements) in MIGRATIONS {
        let step = client.transaction().await?;
        // Held until the transaction ends, so that two that migrate at once take turns.
        step.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        let found = version(step.client()).await?;
        if found > VERSION {
            return Err(SchemaError::Newer { found });
        }
        if found < number {
            step.batch_execute(statements).await?;
            step.execute("INSERT INTO ecs_authz.schema_version (version) VALUES ($1)", &[&number]).await?;
            taken.push(number);
        }
        step.commit().await?;
    }
    Ok(taken)
}
