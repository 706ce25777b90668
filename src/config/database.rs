//! The database of policies.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::admin::{self, SecretError};
use crate::store::postgres::{DatabaseUrl, PostgresSettings, UrlFault};

/// The most connections that are meant: a database has few more.
const MAX_CONNECTIONS: usize = 1_000;

/// Policies in PostgreSQL. Used if `url` or `url_file` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgresql://USER:PASSWORD@HOST:PORT/NAME`, with TLS and a verified host unless it is this machine or
    /// `?sslmode=` says otherwise.
    pub url: Option<SecretUrl>,
    /// A file that holds the URL, for those who keep secrets in files.
    #[schemars(extend("format" = "path"))]
    pub url_file: Option<PathBuf>,
    /// The most connections that read policies; one more follows changes.
    #[schemars(range(min = 1, max = 1_000))]
    pub connections: usize,
    /// How long to wait at the start for a database that can't be reached yet or is still to be migrated.
    pub wait_seconds: u64,
}

/// The address of a database, with credentials. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

/// Why the database's address can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Its file can't be used.
    #[error("database.url_file")]
    File(#[from] SecretError),
    /// It is none.
    #[error(transparent)]
    Url(#[from] UrlFault),
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, connections: 8, wait_seconds: 0 }
    }
}

impl DatabaseConfig {
    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        if self.url.is_some() && self.url_file.is_some() {
            return Some("database: expected one of `url` and `url_file`, found both".to_owned());
        }
        let is_meant = (1..=MAX_CONNECTIONS).contains(&self.connections);
        let expected =
            || format!("database.connections: expected 1 to {MAX_CONNECTIONS}, found {}", self.connections);
        (!is_meant).then(expected)
    }

    /// The database, if one is named. Its answers from the cache are given for at most `max_stale` once it is away.
    ///
    /// # Errors
    ///
    /// If the file of its address can't be read, or holds none.
    pub fn settings(&self, max_stale: Duration) -> Result<Option<PostgresSettings>, DatabaseUrlError> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), _) => url.0.parse()?,
            (None, Some(file)) => admin::read(file)?.trim_end().parse()?,
            (None, None) => return Ok(None),
        };
        let start_wait = Duration::from_secs(self.wait_seconds);
        Ok(Some(PostgresSettings { url, max_connections: self.connections, max_stale, start_wait }))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: it is an address, or it would not be here.
        self.0.parse::<DatabaseUrl>().map_err(|_| fmt::Error)?.fmt(f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl FromStr for SecretUrl {
    type Err = UrlFault;

    fn from_str(text: &str) -> Result<Self, UrlFault> {
        text.parse::<DatabaseUrl>().map(|_| Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for SecretUrl {
    fn schema_name() -> Cow<'static, str> {
        "SecretUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_nowhere() {
        let text = "url = 'postgresql://alice:s3cret@db.example/policies'";
        let config: DatabaseConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(shown.contains("postgresql://db.example:5432/policies"), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
        let error = toml::from_str::<DatabaseConfig>("url = 'postgresql://u:s3cret@h:x/n'").unwrap_err();
        assert!(!error.message().contains("s3cret"), "{error}");
    }

    #[test]
    fn an_address_may_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgresql://u:p@db.example/policies\n").unwrap();
        let config = DatabaseConfig { url_file: Some(file), ..DatabaseConfig::default() };
        let settings = config.settings(Duration::ZERO).unwrap().unwrap();
        assert_eq!(settings.url.to_string(), "postgresql://db.example:5432/policies");
        let gone = DatabaseConfig { url_file: Some("gone".into()), ..DatabaseConfig::default() };
        let error = gone.settings(Duration::ZERO).unwrap_err();
        assert!(
            crate::store::postgres::causes(&error).starts_with("database.url_file: `gone` can't be read: ")
        );
    }

    #[test]
    fn what_can_not_be_meant_is_told() {
        let fault = |text: &str| toml::from_str::<DatabaseConfig>(text).unwrap().fault().unwrap_or_default();
        assert!(fault("connections = 0").contains("expected 1 to 1000, found 0"));
        assert!(fault("url = 'postgresql://h'\nurl_file = 'f'").contains("found both"));
        assert_eq!(fault("url_file = 'f'\nconnections = 1000"), "");
    }
}
