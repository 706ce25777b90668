//! Certificates of clients: one that nobody vouched for is a forged identity.

use super::{Findings, Rule};
use crate::envoy::document::Node;

/// Checks a listener's TLS.
pub(super) fn check(tls: &Node, findings: &mut Findings) {
    let common = tls.get("common_tls_context").unwrap_or(tls);
    let context = ["validation_context", "combined_validation_context.default_validation_context"]
        .into_iter()
        .find_map(|path| common.at(path));
    if let Some(context) = context {
        let is_untrusted = |node: &&Node| node.is_enum("ACCEPT_UNTRUSTED", 1);
        if let Some(setting) = context.get("trust_chain_verification").filter(is_untrusted) {
            findings.add(
                Rule::ClientCertificate,
                setting.line,
                "expected no `trust_chain_verification: ACCEPT_UNTRUSTED`: anybody can issue a certificate with any \
                 SPIFFE id",
            );
        }
    }
    let vouchers =
        ["trusted_ca", "ca_certificate_provider_instance", "system_root_certs", "custom_validator_config"];
    let by_file = context.is_some_and(|context| vouchers.iter().any(|name| context.get(name).is_some()));
    let by_discovery = [
        "validation_context_sds_secret_config",
        "combined_validation_context.validation_context_sds_secret_config",
    ];
    let by_discovery = by_discovery.into_iter().any(|path| common.at(path).is_some());
    let is_asked = context.is_some()
        || tls.get("require_client_certificate").is_some_and(|it| it.truth() != Some(false));
    if is_asked && !by_file && !by_discovery {
        let line = context.or(tls.get("require_client_certificate")).map_or(tls.line, |node| node.line);
        findings.add(
            Rule::ClientCertificate,
            line,
            "expected `validation_context.trusted_ca`: without an authority Envoy believes any certificate",
        );
    }
}
