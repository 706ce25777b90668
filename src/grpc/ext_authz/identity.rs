//! Who makes a checked request, by configuration.
//!
//! Every configured source is asked. None that matches is no principal; two that match must tell the same one. A
//! source is only as good as who wrote it: JWT claims that Envoy verified, headers from a peer that is named, the
//! identity in the peer's certificate.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claims::Object;
use super::denial::Denial;
use super::headers::Headers;
use super::message::Check;
use crate::request::PrincipalParts;

/// A source of identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum PrincipalSource {
    /// Claims that Envoy's `jwt_authn` filter verified and left in the dynamic metadata.
    JwtMetadata(JwtMetadata),
    /// Headers that a trusted hop sets.
    Headers(IdentityHeaders),
    /// The SPIFFE id in the peer's certificate.
    Mtls(Mtls),
}

/// Where verified claims stand, and what they mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtMetadata {
    /// The filter's name in the metadata.
    #[serde(default = "JwtMetadata::default_namespace")]
    pub namespace: String,
    /// The filter's `payload_in_metadata`.
    pub payload_key: String,
    /// By field of the principal: the path of a claim, names joined by dots.
    pub claims: Fields,
}

impl JwtMetadata {
    fn default_namespace() -> String {
        "envoy.filters.http.jwt_authn".to_owned()
    }
}

/// Which headers are believed, and from whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityHeaders {
    /// The identities in the certificates of those whose headers count.
    pub trusted_peers: Vec<String>,
    /// By field of the principal: the header's name.
    pub names: Fields,
}

/// Principals by the SPIFFE id of the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mtls {
    /// By SPIFFE id, whole: `spiffe://acme.example/gateway`.
    pub principals: BTreeMap<String, MtlsPrincipal>,
}

/// The principal that a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is described in proto/ecs/authz/v1/authorization.proto")]
pub struct MtlsPrincipal {
    pub domain_id: String,
    #[serde(default)]
    pub user_id: String,
    #[serde(default)]
    pub agency_id: String,
    #[serde(default)]
    pub project_id: String,
    #[serde(default)]
    pub group_ids: Vec<String>,
    #[serde(default)]
    pub role_names: Vec<String>,
}

/// Where each field of a principal comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is described in proto/ecs/authz/v1/authorization.proto")]
pub struct Fields {
    pub domain_id: String,
    pub domain_name: Option<String>,
    pub user_id: Option<String>,
    pub user_name: Option<String>,
    pub agency_id: Option<String>,
    pub project_id: Option<String>,
    pub project_name: Option<String>,
    pub group_ids: Option<String>,
    pub role_names: Option<String>,
    pub mfa_present: Option<String>,
}

/// The principal of a request.
pub(super) fn principal(sources: &[PrincipalSource], check: &Check<'_>) -> Result<PrincipalParts, Denial> {
    let mut found: Option<PrincipalParts> = None;
    for source in sources {
        let Some(principal) = source.principal(check)? else { continue };
        match &found {
            Some(other) if !is_same(other, &principal) => return Err(Denial::IdentityConflict),
            Some(_) => {}
            None => found = Some(principal),
        }
    }
    found.ok_or(Denial::Unauthenticated)
}

/// Whether two sources tell one principal. Order and repetition mean nothing. Names and the second factor, which
/// conditions may ask for, need not be told by both, but told by both they must be the same.
fn is_same(a: &PrincipalParts, b: &PrincipalParts) -> bool {
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<String>>();
    let ids =
        |it: &PrincipalParts| [&it.domain_id, &it.user_id, &it.agency_id, &it.project_id].map(String::clone);
    let names = |it: &PrincipalParts| [&it.domain_name, &it.user_name, &it.project_name].map(String::clone);
    let agree = |(a, b): (&String, &String)| a.is_empty() || b.is_empty() || a == b;
    let factors = (a.mfa_present, b.mfa_present);
    ids(a) == ids(b)
        && set(&a.group_ids) == set(&b.group_ids)
        && set(&a.role_names) == set(&b.role_names)
        && names(a).iter().zip(&names(b)).all(agree)
        && !matches!(factors, (Some(a), Some(b)) if a != b)
}

impl PrincipalSource {
    /// What keeps the source from ever matching, though it is well-formed.
    pub(super) fn fault(&self) -> Option<String> {
        let is_spiffe = |id: &&String| id.starts_with("spiffe://");
        match self {
            Self::JwtMetadata(source) => {
                let mut paths = source.claims.names();
                let path = paths.find(|path| path.split('.').any(str::is_empty))?;
                Some(format!("expected names joined by dots as a claim's path, found `{path}`"))
            }
            Self::Headers(source) => {
                let mut names = source.names.names();
                if let Some(name) = names.find(|name| name.contains(|c: char| c.is_ascii_uppercase())) {
                    return Some(format!(
                        "expected a header's name in lower case, as Envoy sends it, found `{name}`"
                    ));
                }
                let other = source.trusted_peers.iter().find(|id| !is_spiffe(id));
                other.map(|id| format!("expected a SPIFFE id as a trusted peer, found `{id}`"))
            }
            Self::Mtls(source) => {
                let other = source.principals.keys().find(|id| !is_spiffe(id));
                other.map(|id| format!("expected a SPIFFE id as the key of a principal, found `{id}`"))
            }
        }
    }

    /// The principal that this source tells, if it matches.
    fn principal(&self, check: &Check<'_>) -> Result<Option<PrincipalParts>, Denial> {
        match self {
            Self::JwtMetadata(source) => {
                source.payload(check).map(|payload| source.claims.read(payload)).transpose()
            }
            Self::Headers(source) => match source.names.names().find(|name| check.headers.has(name)) {
                None => Ok(None),
                Some(_) if source.is_trusted(check) => source.names.read(&check.headers).map(Some),
                // Forged, or sent past the gateway. They would reach the API, which may believe them.
                Some(name) => Err(Denial::Identity(format!("the header `{name}` is not the peer's to send"))),
            },
            Self::Mtls(source) => Ok(source.principals.get(peer(check)).map(PrincipalParts::from)),
        }
    }
}

impl JwtMetadata {
    fn payload<'c, 'a>(&self, check: &'c Check<'a>) -> Option<&'c Object<'a>> {
        check.metadata(&self.namespace)?.object(&self.payload_key)
    }
}

impl IdentityHeaders {
    fn is_trusted(&self, check: &Check<'_>) -> bool {
        let peer = peer(check);
        !peer.is_empty() && self.trusted_peers.iter().any(|trusted| trusted == peer)
    }
}

/// The SPIFFE id in the peer's certificate, or nothing. Other identities have no type: a DNS name and a subject look
/// alike.
fn peer<'a>(check: &Check<'a>) -> &'a str {
    if check.peer.starts_with("spiffe://") { check.peer } else { "" }
}

impl From<&MtlsPrincipal> for PrincipalParts {
    fn from(principal: &MtlsPrincipal) -> Self {
        let MtlsPrincipal { domain_id, user_id, agency_id, project_id, group_ids, role_names } =
            principal.clone();
        Self { domain_id, user_id, agency_id, project_id, group_ids, role_names, ..Default::default() }
    }
}

/// Something that fields can be read from by name.
pub(super) trait Lookup {
    fn text(&self, name: &str) -> Result<Option<String>, Denial>;
    fn list(&self, name: &str) -> Result<Option<Vec<String>>, Denial>;
    fn flag(&self, name: &str) -> Result<Option<bool>, Denial>;
}

impl Fields {
    /// The names that are given.
    fn names(&self) -> impl Iterator<Item = &String> {
        let optional = [
            &self.domain_name,
            &self.user_id,
            &self.user_name,
            &self.agency_id,
            &self.project_id,
            &self.project_name,
            &self.group_ids,
            &self.role_names,
            &self.mfa_present,
        ];
        std::iter::once(&self.domain_id).chain(optional.into_iter().flatten())
    }

    fn read(&self, from: &dyn Lookup) -> Result<PrincipalParts, Denial> {
        let text = |name: &Option<String>| -> Result<String, Denial> {
            let found = name.as_deref().map(|name| from.text(name)).transpose()?;
            Ok(found.flatten().unwrap_or_default())
        };
        let list = |name: &Option<String>| -> Result<Vec<String>, Denial> {
            let found = name.as_deref().map(|name| from.list(name)).transpose()?;
            Ok(found.flatten().unwrap_or_default())
        };
        Ok(PrincipalParts {
            domain_id: from.text(&self.domain_id)?.unwrap_or_default(),
            domain_name: text(&self.domain_name)?,
            user_id: text(&self.user_id)?,
            user_name: text(&self.user_name)?,
            agency_id: text(&self.agency_id)?,
            project_id: text(&self.project_id)?,
            project_name: text(&self.project_name)?,
            group_ids: list(&self.group_ids)?,
            role_names: list(&self.role_names)?,
            mfa_present: self.mfa_present.as_deref().map(|name| from.flag(name)).transpose()?.flatten(),
        })
    }
}

impl Lookup for Headers<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, Denial> {
        Ok(self.single(name)?.map(ToOwned::to_owned))
    }

    fn list(&self, name: &str) -> Result<Option<Vec<String>>, Denial> {
        Headers::list(self, name)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Denial> {
        match self.single(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Denial::Identity(format!("the header `{name}` is not `true` or `false`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sources_tell_one_principal_if_nothing_that_both_tell_differs() {
        let alice = PrincipalParts {
            domain_id: "acme".into(),
            user_id: "u1".into(),
            user_name: "alice".into(),
            mfa_present: Some(true),
            group_ids: vec!["a".into(), "b".into()],
            ..Default::default()
        };
        type Change = fn(&mut PrincipalParts);
        let changes: [(Change, bool); 8] = [
            (|_| {}, true),
            (|it| it.group_ids = vec!["b".into(), "a".into(), "b".into()], true),
            (|it| it.user_name.clear(), true),
            (|it| it.mfa_present = None, true),
            (|it| it.user_name = "root".into(), false),
            (|it| it.mfa_present = Some(false), false),
            (|it| it.project_id = "p".into(), false),
            (|it| it.role_names = vec!["te_admin".into()], false),
        ];
        for (index, (change, expected)) in changes.into_iter().enumerate() {
            let mut other = alice.clone();
            change(&mut other);
            assert_eq!((is_same(&alice, &other), is_same(&other, &alice)), (expected, expected), "{index}");
        }
    }
}
