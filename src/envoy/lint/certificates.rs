//! Certificates of clients: one that nobody vouched for is a forged identity.

use super::{Findings, Rule};
use crate::envoy::document::Node;

/// Checks a listener's TLS.
pub(super) fn check(tls: &Node, findings: &mut Findings) {
    let common = tls.get("common_tls_context").unwrap_or(tls);
    let context = validation(common);
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
    if let Some(context) = context {
        findings.expect_false(
            Rule::ClientCertificate,
            context,
            "allow_expired_certificate",
            "who had a certificate once would be believed for ever",
        );
    }
    let is_asked = context.is_some()
        || tls.get("require_client_certificate").is_some_and(|it| it.truth() != Some(false));
    if is_asked && !is_vouched(common) {
        let line = context.or(tls.get("require_client_certificate")).map_or(tls.line, |node| node.line);
        findings.add(
            Rule::ClientCertificate,
            line,
            "expected `validation_context.trusted_ca`: without an authority Envoy believes any certificate",
        );
    }
}

fn validation(common: &Node) -> Option<&Node> {
    let paths = ["validation_context", "combined_validation_context.default_validation_context"];
    paths.into_iter().find_map(|path| common.at(path))
}

/// Whether a certificate of the other side is believed only if an authority, or its own fingerprint, vouches for it.
pub(super) fn is_vouched(common: &Node) -> bool {
    let by_file = [
        "trusted_ca",
        "ca_certificate_provider_instance",
        "system_root_certs",
        "custom_validator_config",
        "verify_certificate_hash",
        "verify_certificate_spki",
    ];
    let by_discovery = [
        "validation_context_sds_secret_config",
        "combined_validation_context.validation_context_sds_secret_config",
    ];
    validation(common).is_some_and(|context| by_file.iter().any(|name| context.get(name).is_some()))
        || by_discovery.into_iter().any(|path| common.at(path).is_some())
}
