//! What a row says of the objects of a call: the resource that it touches, and the condition keys that it tells.
//!
//! ```toml
//! resource = { type = "instance", placeholder = "server_id" }
//! keys = [{ key = "ecs:FlavorId", member = "resize.flavorRef" }]
//! ```
//!
//! `build.rs` includes this module, so it names nothing but its siblings.

use serde::Deserialize;
use toml::Spanned;

use super::row::{RowKey, RowResource, ValueSource};
use super::table::TableFault;

/// A row's `resource`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceEntry {
    #[serde(rename = "type")]
    kind: String,
    placeholder: Option<String>,
    member: Option<String>,
}

/// One of a row's `keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    key: String,
    placeholder: Option<String>,
    member: Option<String>,
}

impl ResourceEntry {
    /// The resource, on these routes.
    pub(super) fn read(self, routes: &[Spanned<String>]) -> Result<RowResource, TableFault> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if self.kind.is_empty() || !self.kind.bytes().all(is_letter) {
            return Err(TableFault::ResourceType(self.kind));
        }
        Ok(RowResource { kind: self.kind.into(), ids: source(self.placeholder, self.member, routes)? })
    }
}

impl KeyEntry {
    /// The key, on these routes.
    pub(super) fn read(self, routes: &[Spanned<String>]) -> Result<RowKey, TableFault> {
        let is_key = self.key.split_once(':').is_some_and(|(service, name)| {
            !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_lowercase()) && !name.is_empty()
        });
        // The global keys tell who calls and when, which no call tells of itself.
        if !is_key || self.key.starts_with("g:") || self.key.starts_with("hw:") {
            return Err(TableFault::Key(self.key));
        }
        Ok(RowKey { name: self.key.into(), values: source(self.placeholder, self.member, routes)? })
    }
}

fn source(
    placeholder: Option<String>,
    member: Option<String>,
    routes: &[Spanned<String>],
) -> Result<ValueSource, TableFault> {
    match (placeholder, member) {
        (Some(name), None) => {
            let written = format!("{{{name}}}");
            let has_it =
                |route: &Spanned<String>| route.get_ref().split('/').any(|segment| segment == written);
            match routes.iter().find(|route| !has_it(route)) {
                Some(route) => Err(TableFault::NoPlaceholder { name, route: route.get_ref().clone() }),
                None => Ok(ValueSource::Placeholder(name.into())),
            }
        }
        (None, Some(path)) if path.split('.').any(str::is_empty) => Err(TableFault::Member(path)),
        (None, Some(path)) => Ok(ValueSource::Member(path.into())),
        (Some(_), Some(_)) | (None, None) => Err(TableFault::PlaceholderOrMember),
    }
}
