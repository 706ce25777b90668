//! The options that name a database.

use std::time::Duration;

use super::CommandError;
use crate::store::postgres::{DatabaseUrl, PostgresSettings};

#[derive(Debug, clap::Args)]
pub(super) struct DatabaseArgs {
    /// Take policies from PostgreSQL instead: postgresql://USER:PASSWORD@HOST:PORT/NAME, with TLS and a verified host
    /// unless it is this machine or `?sslmode=` says otherwise. Prefer the environment, for other users of the machine
    /// can read the command line
    #[arg(long, value_name = "URL", env = "ECS_AUTHZ_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The most connections that read policies; one more follows changes
    #[arg(long, value_name = "COUNT", default_value_t = 8, env = "ECS_AUTHZ_DATABASE_CONNECTIONS",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    database_connections: usize,
    /// How long answers from the cache are given while the database can't be reached; then requests fail
    #[arg(long, value_name = "SECONDS", default_value_t = 60, env = "ECS_AUTHZ_MAX_STALE_SECONDS")]
    max_stale_seconds: u64,
    /// How long to wait at the start for a database that can't be reached yet or is still to be migrated
    #[arg(long, value_name = "SECONDS", default_value_t = 0, env = "ECS_AUTHZ_DATABASE_WAIT_SECONDS")]
    database_wait_seconds: u64,
}

impl DatabaseArgs {
    /// The database, if one is named.
    pub(super) fn settings(&self) -> Result<Option<PostgresSettings>, CommandError> {
        let Some(url) = &self.database_url else { return Ok(None) };
        Ok(Some(PostgresSettings {
            url: url.parse::<DatabaseUrl>().map_err(|fault| CommandError::Usage(fault.to_string()))?,
            max_connections: self.database_connections,
            max_stale: Duration::from_secs(self.max_stale_seconds),
            start_wait: Duration::from_secs(self.database_wait_seconds),
        }))
    }
}
