//! Who is at the other end of a connection, and which of them may call a service.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::status::CallError;

/// The other end of a connection. Found out once, when it is made; each of its requests carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, through a socket whose permissions say who may.
    Local,
    /// Somebody over the network, by the names in a certificate that was verified: none without one.
    Remote(Arc<[String]>),
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
    /// Who shows this certificate. It must have been verified.
    #[must_use]
    pub fn of_certificate(certificate: Option<&CertificateDer<'_>>) -> Self {
        let parsed = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let names = parsed.iter().flat_map(|certificate| {
            let uris = certificate.valid_uri_names().map(ToOwned::to_owned);
            uris.chain(certificate.valid_dns_names().map(str::to_ascii_lowercase))
        });
        Self::Remote(names.collect())
    }
}

impl ClientNames {
    /// Which of them the peer has proved to be.
    pub(super) fn find<'a>(&self, peer: &'a Peer) -> Option<&'a str> {
        match peer {
            Peer::Local => None,
            Peer::Remote(names) => names.iter().find(|name| self.0.contains(*name)).map(String::as_str),
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

    fn admit(&self, peer: Option<&Peer>) -> bool {
        match (&self.named, peer) {
            // Who may open a local socket is a matter of its permissions.
            (None, _) | (_, Some(Peer::Local)) => true,
            (Some(named), Some(peer)) => named.find(peer).is_some(),
            (Some(_), None) => false,
        }
    }
}

impl Interceptor for Callers {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.admit(request.extensions().get()) {
            true => Ok(request),
            false => Err(CallError::Forbidden.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(names: &[&str]) -> Peer {
        Peer::Remote(names.iter().map(|name| (*name).to_owned()).collect())
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
            assert!(callers.admit(Some(&remote(names))), "{names:?}");
        }
        for names in [
            &[][..],
            &["spiffe://acme.example/console/x"],
            &["spiffe://acme.example/Console"],
            &["x.console.example"],
        ] {
            assert!(!callers.admit(Some(&remote(names))), "{names:?}");
        }
        assert!(callers.admit(Some(&Peer::Local)));
        assert!(!callers.admit(None));
    }

    #[test]
    fn an_empty_list_is_nobody_and_no_list_is_anybody() {
        assert!(!callers(&[]).admit(Some(&remote(&["a.example"]))));
        assert!(Callers::new(None).admit(Some(&remote(&[]))));
        assert!(Callers::new(None).admit(None));
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(Peer::of_certificate(None), remote(&[]));
        assert_eq!(Peer::of_certificate(Some(&CertificateDer::from_slice(b"x"))), remote(&[]));
    }
}
