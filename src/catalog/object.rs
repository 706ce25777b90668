//! What a row says of the objects of a call: the resource that it touches, and the condition keys that it decides.
//!
//! ```toml
//! resource = { type = "instance", placeholder = "server_id" }
//! keys = [
//!   { key = "ecs:FlavorId", member = "server.flavorRef", plain = true },
//!   { key = "ecs:imageID", member = "server.imageRef", unless = ["server.block_device_mapping_v2"] },
//!   { key = "ecs:SSHKeyPairName", member = "server.key_name", optional = true },
//!   { key = "ecs:VpcId" },
//! ]
//! ```
//!
//! A resource with `new = true` is one that the call makes. A key without a place is one that the call decides and
//! neither path nor body tells. Where a member is left out that is not `optional`, the API finds a value by itself. A
//! `plain` value is a name in lower case, which the API would otherwise take out of a URL.
//!
//! `build.rs` includes this module, so it names nothing but its siblings.

use serde::Deserialize;
use toml::Spanned;

use super::row::{Absence, Form, List, MemberSource, RowKey, RowResource, Text, ValueSource};
use super::table::TableFault;

/// A row's `resource`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceEntry {
    #[serde(rename = "type")]
    kind: String,
    placeholder: Option<String>,
    member: Option<String>,
    #[serde(default)]
    new: bool,
}

/// One of a row's `keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    key: String,
    placeholder: Option<String>,
    member: Option<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    plain: bool,
}

impl ResourceEntry {
    /// The resource, on these routes.
    pub(super) fn read(self, routes: &[Spanned<String>]) -> Result<RowResource, TableFault> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if self.kind.is_empty() || !self.kind.bytes().all(is_letter) {
            return Err(TableFault::ResourceType(self.kind));
        }
        let ids = match (self.placeholder, self.member, self.new) {
            (Some(name), None, false) => Some(placeholder(name, routes)?),
            (None, Some(path), false) => Some(member(path, Vec::new(), Absence::ApiDecides, Form::Any)?),
            (None, None, true) => None,
            _ => return Err(TableFault::ResourcePlace),
        };
        Ok(RowResource { kind: self.kind.into(), ids })
    }
}

impl KeyEntry {
    /// The key, on these routes.
    pub(super) fn read(self, routes: &[Spanned<String>]) -> Result<RowKey, TableFault> {
        let Self { key, placeholder: name, member: path, unless, optional, plain } = self;
        let is_key = key.split_once(':').is_some_and(|(service, name)| {
            !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_lowercase()) && !name.is_empty()
        });
        // The global keys tell who calls and when, which no call tells of itself.
        if !is_key || key.starts_with("g:") || key.starts_with("hw:") {
            return Err(TableFault::Key(key));
        }
        if path.is_none() && (optional || plain || !unless.is_empty()) {
            return Err(TableFault::KeyPlace);
        }
        let absence = if optional { Absence::NoValue } else { Absence::ApiDecides };
        let form = if plain { Form::Plain } else { Form::Any };
        let values = match (name, path) {
            (Some(name), None) => Some(placeholder(name, routes)?),
            (None, Some(path)) => Some(member(path, unless, absence, form)?),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(TableFault::KeyPlace),
        };
        Ok(RowKey { name: key.into(), values })
    }
}

fn placeholder(name: String, routes: &[Spanned<String>]) -> Result<ValueSource, TableFault> {
    let written = format!("{{{name}}}");
    let has_it = |route: &Spanned<String>| route.get_ref().split('/').any(|segment| segment == written);
    match routes.iter().find(|route| !has_it(route)) {
        Some(route) => Err(TableFault::NoPlaceholder { name, route: route.get_ref().clone() }),
        None => Ok(ValueSource::Placeholder(name.into())),
    }
}

fn member(
    path: String,
    unless: Vec<String>,
    absence: Absence,
    form: Form,
) -> Result<ValueSource, TableFault> {
    let mut paths = std::iter::once(&path).chain(&unless);
    if let Some(path) = paths.find(|path| path.split('.').any(str::is_empty)) {
        return Err(TableFault::Member(path.clone()));
    }
    let unless = List::Owned(unless.into_iter().map(Text::Owned).collect());
    Ok(ValueSource::Member(MemberSource { path: path.into(), unless, absence, form }))
}
