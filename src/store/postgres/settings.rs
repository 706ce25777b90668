//! Where the database is and how it is used.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::address::Address;
use super::protection::{Distance, Protection, ProtectionFault};

/// How a database of policies is used.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The most connections for reading; one more follows changes.
    pub max_connections: usize,
    /// How long answers from the cache are given while changes can't be followed. Then it is an error.
    pub max_stale: Duration,
    /// How long a database that can't be used yet is awaited at the start. Zero is one attempt.
    pub start_wait: Duration,
}

/// The address of a database, with its credentials: `postgresql://user:password@host/name`. They are never shown.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Box<Config>,
    protection: Protection,
}

/// A text that is not the address of a database. The text itself may hold a password, so it is not shown.
#[derive(Debug, thiserror::Error)]
pub enum UrlFault {
    /// The client library can't read it.
    #[error("expected an address such as `postgresql://user@host:5432/name`: {0}")]
    Address(tokio_postgres::Error),
    /// A part of the password was taken for the host.
    #[error(
        "the database's address: expected one `@`, in front of the host: in a user or a password it is written `%40`"
    )]
    Credentials,
    /// What it says of TLS.
    #[error("the database's address: {0}")]
    Protection(#[from] ProtectionFault),
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection is idle before it is probed, so that firewalls remember it. The library waits two hours.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
/// How long what was sent may go unheard before the connection is dead. The system waits a quarter of an hour.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(10);
const LIBRARY_KEEPALIVES_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

impl FromStr for DatabaseUrl {
    type Err = UrlFault;

    fn from_str(text: &str) -> Result<Self, UrlFault> {
        let address = Address::parse(text);
        let mut config: Config = address.rest.parse().map_err(UrlFault::Address)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_keepalives_idle() == LIBRARY_KEEPALIVES_IDLE {
            config
                .keepalives_idle(KEEPALIVES_IDLE)
                .keepalives_interval(KEEPALIVES_IDLE / 3)
                .keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNHEARD_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("ecs-authz");
        }
        let has_credentials = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(has_credentials) {
            return Err(UrlFault::Credentials);
        }
        let protection = Protection::of(&address, Distance::of(&config))?;
        Ok(Self { config: Box::new(config), protection })
    }
}

impl DatabaseUrl {
    /// The address with its credentials, to connect.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn protection(&self) -> &Protection {
        &self.protection
    }

    /// What is weak in the protection of the connections, if it is worth a warning.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        match Distance::of(&self.config) {
            Distance::Here => None,
            Distance::Elsewhere => self.protection.weakness(),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let ports = self.config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        write!(f, "postgresql://{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_taken_for_a_host() {
        let error = "postgresql://u:pa@s3cret@db.example/n".parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(error.contains("%40") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn credentials_are_never_shown() {
        let url: DatabaseUrl = "postgresql://alice:s3cret@db.example:6543/policies".parse().unwrap();
        assert_eq!(url.to_string(), "postgresql://db.example:6543/policies");
        let (max_stale, start_wait) = (Duration::ZERO, Duration::ZERO);
        let settings = PostgresSettings { url, max_connections: 1, max_stale, start_wait };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for text in ["s3cret", "postgresql://u:s3cret@host:port/x", "mysql://u:s3cret@h/x"] {
            let fault = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(fault.starts_with("expected an address") && !fault.contains("s3cret"), "{fault}");
        }
    }
}
