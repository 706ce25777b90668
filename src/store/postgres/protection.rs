//! How connections to a database are protected: what `sslmode` and `sslrootcert` mean, and what holds without them.
//!
//! The words are libpq's, the defaults are not. Whoever can answer in the database's place can allow everything, so beyond
//! this machine TLS with a verified host is the default, and no mode goes back to plain text without being told to.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::address::Address;

/// What a connection asks of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protection {
    /// Nothing: no TLS.
    Plain,
    /// TLS, with whoever answers.
    Encrypted,
    /// A certificate of an authority in this file, for whatever host.
    Authority(PathBuf),
    /// A certificate for the host that is named.
    Host(Authorities),
}

/// Whose certificates count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authorities {
    /// Those that the platform trusts.
    Platform,
    /// Those in a file.
    File(PathBuf),
}

/// Where a database is, as far as protection is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// On this machine: a socket or a loopback address.
    Here,
    /// Elsewhere.
    Elsewhere,
}

/// What is asked for can't be had, or does not protect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectionFault {
    /// No mode of libpq.
    #[error("expected an `sslmode` of `disable`, `require`, `verify-ca` or `verify-full`")]
    UnknownMode,
    /// TLS or not, as whoever is in between likes.
    #[error(
        "`sslmode=prefer` and `sslmode=allow` fall back to plain text unnoticed: say `verify-full`, or `disable` if something else protects the traffic"
    )]
    Downgrade,
    /// Any host has a certificate of some authority that the platform trusts.
    #[error("`sslmode=verify-ca` proves nothing without `sslrootcert=FILE`: say `verify-full`")]
    AnyAuthority,
    /// The platform's authorities are asked for, but the host's name is not to be verified.
    #[error("`sslrootcert=system` needs `sslmode=verify-full`")]
    WeakMode,
}

impl Protection {
    /// What an address asks for.
    pub(super) fn of(address: &Address, distance: Distance) -> Result<Self, ProtectionFault> {
        let file = || address.ssl_root_cert.as_deref().filter(|file| *file != "system").map(PathBuf::from);
        let is_system = address.ssl_root_cert.as_deref() == Some("system");
        let verified = || Self::Host(file().map_or(Authorities::Platform, Authorities::File));
        match (address.ssl_mode.as_deref(), distance) {
            (None, Distance::Here) if address.ssl_root_cert.is_none() => Ok(Self::Plain),
            (None | Some("verify-full"), _) => Ok(verified()),
            (Some("disable"), _) | (Some("prefer" | "allow"), Distance::Here) => Ok(Self::Plain),
            (Some("prefer" | "allow"), Distance::Elsewhere) => Err(ProtectionFault::Downgrade),
            (Some("require" | "verify-ca"), _) if is_system => Err(ProtectionFault::WeakMode),
            // As in libpq: a file of authorities is there to be used.
            (Some("require"), _) => Ok(file().map_or(Self::Encrypted, Self::Authority)),
            (Some("verify-ca"), _) => file().map(Self::Authority).ok_or(ProtectionFault::AnyAuthority),
            (Some(_), _) => Err(ProtectionFault::UnknownMode),
        }
    }

    /// What is worth a warning where the database is elsewhere.
    pub(super) fn weakness(&self) -> Option<&'static str> {
        match self {
            Self::Plain => {
                Some("the database is reached without TLS: whoever is in between can change policies")
            }
            Self::Encrypted => {
                Some("the database's certificate is not verified: whoever is in between can change policies")
            }
            Self::Authority(_) | Self::Host(_) => None,
        }
    }
}

impl Distance {
    /// Elsewhere if one of the hosts is.
    pub(super) fn of(config: &Config) -> Self {
        let addresses = config.get_hostaddrs();
        let is_here = |(index, host): (usize, &Host)| match (addresses.get(index), host) {
            (Some(address), _) => address.is_loopback(),
            (None, Host::Unix(_)) => true,
            (None, Host::Tcp(name)) => {
                name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        };
        let is_all_here = config.get_hosts().iter().enumerate().all(is_here)
            && addresses.iter().all(std::net::IpAddr::is_loopback);
        if is_all_here { Self::Here } else { Self::Elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Protection, ProtectionFault> {
        let address = Address::parse(text);
        Protection::of(&address, Distance::of(&address.rest.parse().unwrap()))
    }

    #[test]
    fn beyond_this_machine_the_host_is_verified_unless_told_otherwise() {
        let platform = Ok(Protection::Host(Authorities::Platform));
        for here in
            ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "%2Frun%2Fpostgresql", "127.0.0.1,localhost"]
        {
            assert_eq!(asked(&format!("postgresql://u@{here}/n")), Ok(Protection::Plain), "{here}");
        }
        for elsewhere in ["db.example", "10.0.0.1", "[fd00::1]", "localhost.example", "127.0.0.1,db.example"]
        {
            assert_eq!(asked(&format!("postgresql://u@{elsewhere}/n")), platform, "{elsewhere}");
        }
        assert_eq!(asked("host=localhost hostaddr=10.0.0.1"), platform);
        assert_eq!(asked("host=db.example hostaddr=127.0.0.1"), Ok(Protection::Plain));
        assert_eq!(asked("hostaddr=10.0.0.1"), platform);
    }

    #[test]
    fn modes_mean_what_they_do_in_libpq_and_none_falls_back_to_plain_text() {
        let file = || PathBuf::from("ca.pem");
        let cases = [
            ("sslmode=disable", Ok(Protection::Plain)),
            ("sslmode=allow", Err(ProtectionFault::Downgrade)),
            ("sslmode=prefer", Err(ProtectionFault::Downgrade)),
            ("sslmode=require", Ok(Protection::Encrypted)),
            ("sslmode=require&sslrootcert=ca.pem", Ok(Protection::Authority(file()))),
            ("sslmode=verify-ca", Err(ProtectionFault::AnyAuthority)),
            ("sslmode=verify-ca&sslrootcert=ca.pem", Ok(Protection::Authority(file()))),
            ("sslmode=verify-full", Ok(Protection::Host(Authorities::Platform))),
            ("sslmode=verify-full&sslrootcert=ca.pem", Ok(Protection::Host(Authorities::File(file())))),
            ("sslrootcert=ca.pem", Ok(Protection::Host(Authorities::File(file())))),
            ("sslrootcert=system", Ok(Protection::Host(Authorities::Platform))),
            ("sslmode=require&sslrootcert=system", Err(ProtectionFault::WeakMode)),
            ("sslmode=verify_full", Err(ProtectionFault::UnknownMode)),
        ];
        for (query, expected) in cases {
            assert_eq!(asked(&format!("postgresql://db.example/n?{query}")), expected, "{query}");
        }
        assert_eq!(asked("postgresql://localhost/n?sslmode=prefer"), Ok(Protection::Plain));
        assert_eq!(
            asked("host=localhost sslrootcert=ca.pem"),
            Ok(Protection::Host(Authorities::File(file())))
        );
    }
}
