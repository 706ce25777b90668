//! Who may call the services of the gRPC listener.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::{TlsConfig, is_client_name};

/// The names of clients for each service, as their certificates tell them: URIs such as SPIFFE ids, or DNS names, each
/// whole. A service without a list is for every client that the authorities of `[tls]` vouch for, and an empty list is
/// for nobody. Health and reflection are for every client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallersConfig {
    /// Who may call `ecs.authz.v1.AuthorizationService`, which believes its callers who the principal is.
    pub authorization_service: Option<BTreeSet<String>>,
    /// Who may call `envoy.service.auth.v3.Authorization`, which believes Envoy what it tells of a request.
    pub ext_authz: Option<BTreeSet<String>>,
}

impl CallersConfig {
    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self, tls: Option<&TlsConfig>) -> Option<String> {
        let lists = [("authorization_service", &self.authorization_service), ("ext_authz", &self.ext_authz)];
        let lists = lists.into_iter().filter_map(|(service, names)| Some((service, names.as_ref()?)));
        let has_authority = tls.is_some_and(|tls| tls.client_ca.is_some());
        if lists.clone().next().is_some() && !has_authority {
            return Some("callers: expected `client_ca` in `[tls]`: who vouches for the names".to_owned());
        }
        let mut names = lists.flat_map(|(service, names)| names.iter().map(move |name| (service, name)));
        let (service, name) = names.find(|(_, name)| !is_client_name(name))?;
        Some(format!(
            "callers.{service}: expected a URI, such as `spiffe://acme.example/console`, or a DNS name without \
             wildcards, found `{}`",
            name.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn fault(text: &str) -> Option<String> {
        toml::from_str::<Config>(text).unwrap().fault()
    }

    const TLS: &str = "tls = {certificate = 'c', key = 'k', client_ca = 'a'}\n";

    #[test]
    fn names_need_somebody_who_vouches_for_them() {
        let named = "callers.ext_authz = ['spiffe://acme.example/envoy', 'envoy.example']\n";
        assert_eq!(fault(&format!("{named}{TLS}")), None);
        assert_eq!(fault(TLS), None);
        assert_eq!(fault("callers = {}"), None);
        for without in [named, &format!("{named}tls = {{certificate = 'c', key = 'k'}}")] {
            assert!(fault(without).unwrap().contains("client_ca"), "{without}");
        }
    }

    #[test]
    fn nobody_can_be_meant_and_what_is_no_name_can_t() {
        assert_eq!(fault(&format!("callers.authorization_service = []\n{TLS}")), None);
        for name in ["*.acme.example", "", "a b", "://x", "spiffe://", "token:ci"] {
            let text = format!("callers.authorization_service = ['{name}']\n{TLS}");
            assert!(fault(&text).unwrap().starts_with("callers.authorization_service: "), "{name}");
        }
    }
}
