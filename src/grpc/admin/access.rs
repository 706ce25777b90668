//! Who may administer policies: those with a bearer token that the configuration names, or with a client certificate for
//! one of its names.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::grpc::admission::Admission;
use crate::grpc::peer::{self, ClientNames, Peer};
use crate::grpc::status::CallError;

/// The most bytes of a token. A longer one is not looked at.
pub const MAX_TOKEN_BYTES: usize = 4_096;

/// Lets in who is known. Nobody is, unless something was added.
#[derive(Debug, Clone, Default)]
pub struct Access {
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tokens: Vec<Token>,
    clients: ClientNames,
}

/// A token by its digest: the token itself is not kept.
struct Token {
    name: String,
    digest: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name)
    }
}

/// Who makes a call, as the history names it: `token:NAME`, or a name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor(Arc<str>);

impl Actor {
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Access {
    /// Lets in these tokens, by name, and clients with a certificate for one of these names, each a URI such as a SPIFFE id
    /// or a DNS name. The listener must verify certificates.
    #[must_use]
    pub fn new(
        tokens: impl IntoIterator<Item = (String, String)>,
        clients: impl IntoIterator<Item = String>,
    ) -> Self {
        let tokens = tokens.into_iter().map(|(name, token)| Token { name, digest: digest(&token) });
        Self { known: Arc::new(Known { tokens: tokens.collect(), clients: clients.into_iter().collect() }) }
    }

    fn actor(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Actor> {
        // Who shows a token wants to be known by it, so a wrong one is not overlooked for a certificate.
        match headers.contains_key(header::AUTHORIZATION) {
            true => self.known.by_token(headers),
            false => self.known.by_certificate(peer?),
        }
    }
}

impl Admission for Access {
    fn admit(&self, headers: &HeaderMap, known: &mut Extensions) -> Result<(), CallError> {
        let actor = self.actor(headers, peer::among(known)).ok_or(CallError::Unauthenticated)?;
        known.insert(actor);
        Ok(())
    }
}

impl Known {
    fn by_token(&self, headers: &HeaderMap) -> Option<Actor> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let digest = digest(token);
        // All are compared, each in constant time: neither the place nor a common beginning shows.
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(Actor(format!("token:{}", token.name).into()));
            }
        }
        found
    }

    fn by_certificate(&self, peer: &Peer) -> Option<Actor> {
        self.clients.find(peer).map(|name| Actor(name.into()))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let tokens =
            [("ci", "0123456789abcdef0123456789abcdef"), ("ops", "another token that is long enough")];
        Access::new(tokens.map(|(name, token)| (name.to_owned(), token.to_owned())), [])
    }

    fn by_headers(access: &Access, values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        access.actor(&headers, None).map(|actor| actor.name().to_owned())
    }

    #[test]
    fn a_token_is_known_by_its_name() {
        let access = access();
        let known = |values: &[&str]| by_headers(&access, values);
        assert_eq!(known(&["Bearer 0123456789abcdef0123456789abcdef"]).as_deref(), Some("token:ci"));
        assert_eq!(known(&["bearer another token that is long enough"]).as_deref(), Some("token:ops"));
        for wrong in [
            "Bearer 0123456789abcdef0123456789abcde",
            "Bearer 0123456789abcdef0123456789abcdef ",
            "Bearer 0123456789ABCDEF0123456789ABCDEF",
            "Bearer ",
            "Bearer",
            "Basic 0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef",
            "",
        ] {
            assert_eq!(known(&[wrong]), None, "{wrong}");
        }
        let twice = "Bearer 0123456789abcdef0123456789abcdef";
        assert_eq!(known(&[twice, twice]), None);
        assert_eq!(known(&[]), None);
    }

    #[test]
    fn nobody_is_known_by_default() {
        assert_eq!(by_headers(&Access::default(), &["Bearer "]), None);
    }

    #[test]
    fn tokens_are_never_shown() {
        assert!(!format!("{:?}", access()).contains("0123456789abcdef"));
    }
}
