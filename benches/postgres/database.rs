//! A database of its own, with the schema.

use std::process;
use std::time::Duration;

use ecs_authz::store::postgres::{PostgresSettings, migrate};
use tokio_postgres::{Client, NoTls};

use super::Outcome;

pub(super) struct Database {
    name: String,
    server: String,
    url: String,
}

impl Database {
    pub(super) async fn create(server: &str) -> Outcome<Self> {
        let name = format!("bench_{}", process::id());
        let (start, _) = server.rsplit_once('/').ok_or("expected an address that ends with a database")?;
        let database = Self { url: format!("{start}/{name}"), server: server.to_owned(), name };
        let create = format!("CREATE DATABASE {}", database.name);
        connect(server).await?.batch_execute(&create).await?;
        migrate::run(&database.url.parse()?).await?;
        Ok(database)
    }

    pub(super) async fn remove(self) -> Outcome<()> {
        let remove = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        Ok(connect(&self.server).await?.batch_execute(&remove).await?)
    }

    pub(super) async fn client(&self) -> Outcome<Client> {
        connect(&self.url).await
    }

    /// As `serve` uses it by default.
    pub(super) fn settings(&self) -> Outcome<PostgresSettings> {
        Ok(PostgresSettings {
            url: self.url.parse()?,
            max_connections: 8,
            max_stale: Duration::from_secs(60),
            start_wait: Duration::ZERO,
        })
    }
}

async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
