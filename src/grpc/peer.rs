//! Who is at the other end of a connection, and which of them may call a service.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap};
use rustls_pki_types::CertificateDer;
use tonic::Request;

use super::admission::Admission;
use super::departure::Departure;
use super::status::CallError;
use super::untaken::Untaken;
use crate::decision_log;

/// The other end of a connection. Found out once, when it is made; each of its requests carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, through a socket whose permissions say who may.
    Local,
    /// Somebody over the network.
    Remote {
        /// Where, if that is known.
        addr: Option<SocketAddr>,
        /// The names in a certificate that was verified: none without one.
        names: Arc<[String]>,
    },
}

/// The connection that a call came on. Each call on it has it among its extensions, shared: `Arc<Link>`.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    recorded: decision_log::Peer,
    departure: Departure,
    /// What is ready to be written to it.
    pub(super) untaken: Untaken,
}

impl Link {
    /// A connection with this peer at its other end, which is told by `departure` when it is to go.
    #[must_use]
    pub fn new(peer: Peer, departure: Departure, untaken: Untaken) -> Self {
        // Made for all its calls at once: an address takes longer to write than a decision to make.
        let recorded = peer.recorded();
        Self { peer, recorded, departure, untaken }
    }
}

/// Names of clients, each whole: a URI such as a SPIFFE id, or a DNS name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientNames(BTreeSet<String>);

/// Lets those call a service who are named for it.
#[derive(Debug, Clone)]
pub struct Callers {
    /// Without a list, whoever could connect.
    named: Option<Arc<ClientNames>>,
}

impl Peer {
    /// Who shows this certificate, from there. It must have been verified.
    #[must_use]
    pub fn remote(addr: Option<SocketAddr>, certificate: Option<&CertificateDer<'_>>) -> Self {
        let parsed = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let names = parsed.iter().flat_map(|certificate| {
            let uris = certificate.valid_uri_names().map(ToOwned::to_owned);
            uris.chain(certificate.valid_dns_names().map(str::to_ascii_lowercase))
        });
        Self::Remote { addr, names: names.collect() }
    }

    /// As records tell it: the first name, or else the address.
    fn recorded(&self) -> decision_log::Peer {
        match self {
            Self::Local => decision_log::Peer::named("local"),
            Self::Remote { addr, names } => match (names.first(), addr) {
                (Some(name), _) => decision_log::Peer::named(name),
                (None, Some(addr)) => decision_log::Peer::named(&addr.to_string()),
                (None, None) => decision_log::Peer::default(),
            },
        }
    }
}

/// The connection of the call that this is known of.
pub(super) fn link(known: &Extensions) -> Option<&Link> {
    known.get().map(|link: &Arc<Link>| &**link)
}

/// Who makes the call that this is known of.
pub(super) fn among(known: &Extensions) -> Option<&Peer> {
    link(known).map(|link| &link.peer)
}

/// What tells when the connection of a request is to go.
pub(super) fn departure<T>(request: &Request<T>) -> Option<Departure> {
    link(request.extensions()).map(|link| link.departure.clone())
}

/// Who makes the call, as records tell it.
pub(super) fn recorded<T>(request: &Request<T>) -> decision_log::Peer {
    link(request.extensions()).map(|link| link.recorded.clone()).unwrap_or_default()
}

impl ClientNames {
    /// Which of them the peer has proved to be.
    pub(super) fn find<'a>(&self, peer: &'a Peer) -> Option<&'a str> {
        match peer {
            Peer::Local => None,
            Peer::Remote { names, .. } => {
                names.iter().find(|name| self.0.contains(*name)).map(String::as_str)
            }
        }
    }
}

impl FromIterator<String> for ClientNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names = names.into_iter().map(|name| match name.contains("://") {
            true => name,
            // Letter case makes no difference in DNS.
            false => name.to_ascii_lowercase(),
        });
        Self(names.collect())
    }
}

impl Callers {
    /// Those with one of these names; without a list, whoever could connect.
    #[must_use]
    pub fn new(named: Option<ClientNames>) -> Self {
        Self { named: named.map(Arc::new) }
    }

    fn has(&self, peer: Option<&Peer>) -> bool {
        match (&self.named, peer) {
            // Who may open a local socket is a matter of its permissions.
            (None, _) | (_, Some(Peer::Local)) => true,
            (Some(named), Some(peer)) => named.find(peer).is_some(),
            (Some(_), None) => false,
        }
    }
}

impl Admission for Callers {
    fn admit(&self, _: &HeaderMap, known: &mut Extensions) -> Result<(), CallError> {
        if self.has(among(known)) { Ok(()) } else { Err(CallError::Forbidden) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(names: &[&str]) -> Peer {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Peer::Remote { addr: None, names }
    }

    fn callers(names: &[&str]) -> Callers {
        Callers::new(Some(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn those_who_are_named_may_call() {
        let callers = callers(&["spiffe://acme.example/console", "Console.Example"]);
        for names in [
            &["spiffe://acme.example/console"][..],
            &["console.example"],
            &["spiffe://other/x", "console.example"],
        ] {
            assert!(callers.has(Some(&remote(names))), "{names:?}");
        }
        for names in [
            &[][..],
            &["spiffe://acme.example/console/x"],
            &["spiffe://acme.example/Console"],
            &["x.console.example"],
        ] {
            assert!(!callers.has(Some(&remote(names))), "{names:?}");
        }
        assert!(callers.has(Some(&Peer::Local)));
        assert!(!callers.has(None));
    }

    #[test]
    fn an_empty_list_is_nobody_and_no_list_is_anybody() {
        assert!(!callers(&[]).has(Some(&remote(&["a.example"]))));
        assert!(Callers::new(None).has(Some(&remote(&[]))));
        assert!(Callers::new(None).has(None));
    }

    #[test]
    fn records_tell_the_name_before_the_address() {
        let named = decision_log::Peer::named;
        let addr = SocketAddr::from(([192, 0, 2, 1], 7));
        let both = Peer::Remote { addr: Some(addr), names: [String::from("a.example")].into() };
        assert_eq!(both.recorded(), named("a.example"));
        assert_eq!(Peer::remote(Some(addr), None).recorded(), named("192.0.2.1:7"));
        assert_eq!(Peer::Local.recorded(), named("local"));
        assert_eq!(Peer::remote(None, None).recorded(), decision_log::Peer::default());
        assert_eq!(recorded(&Request::new(())), decision_log::Peer::default());
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(Peer::remote(None, None), remote(&[]));
        assert_eq!(Peer::remote(None, Some(&CertificateDer::from_slice(b"x"))), remote(&[]));
    }
}
