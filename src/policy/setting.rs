//! What is known before any call: who acts, in which circumstances, on which API.
//!
//! Keys that the service knows itself are never taken from the request's attributes: who asks could write them.

use std::borrow::Cow;

use super::condition::{Key, Teller};
use super::resource::Resource;
use super::sight::{Sight, Value};
use crate::catalog::{ActionId, Catalog};
use crate::request::{Caller, Subject};

/// Who acts, and where.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The table of actions.
    pub catalog: &'a Catalog,
    /// Who acts, in which circumstances.
    pub caller: &'a Caller,
    /// The region of the server, where the caller does not say another.
    pub region: Option<&'a str>,
}

impl<'a> Setting<'a> {
    /// What is seen of a key that the service knows itself. What every call has, such as an address, is not missing if
    /// nobody tells it: it is not known.
    pub(super) fn see(&self, key: &Key, action: ActionId) -> Option<Sight<'a>> {
        let caller = self.caller;
        let identity = caller.identity();
        let known = Sight::of_text;
        Some(match key.teller() {
            Teller::Time => caller.time().map_or(Sight::Unknown, |time| Sight::One(Value::Time(time))),
            Teller::DomainId => known(&identity.domain_id),
            Teller::DomainName => known(&caller.names().domain),
            Teller::UserId => match &identity.subject {
                Subject::User(id) => known(id),
                Subject::Agency(_) => Sight::Absent,
            },
            Teller::UserName => match (&identity.subject, &caller.names().user) {
                (Subject::Agency(_), name) if name.is_empty() => Sight::Absent,
                (_, name) => known(name),
            },
            Teller::ProjectName if identity.project_id.is_none() => Sight::Absent,
            Teller::ProjectName => known(&caller.names().project),
            Teller::Mfa => match caller.mfa_present() {
                Some(true) => known("true"),
                Some(false) => known("false"),
                None => Sight::Unknown,
            },
            Teller::Address => match caller.address() {
                Some(address) => Sight::One(Value::Address(caller.source_ip(), address)),
                None => known(caller.source_ip()),
            },
            Teller::Service => Sight::of_service(self.catalog, action),
            Teller::Region => self.region().map_or(Sight::Unknown, known),
            Teller::EnterpriseProject
            | Teller::MfaAge
            | Teller::TagKeys
            | Teller::RequestTag
            | Teller::ResourceTag
            | Teller::Call => return None,
        })
    }

    /// The values that who asks gives a key, if it names the key. An empty list tells that there are none.
    pub(super) fn attribute(&self, name: &str) -> Option<Sight<'a>> {
        let values = self.caller.attribute(name)?;
        Some(if values.is_empty() { Sight::Absent } else { Sight::Given(values) })
    }

    /// Whether what is told of other keys says that there is none of this one. Tags are told all or none, and who signed in
    /// without a second factor has none of any age.
    pub(super) fn lacks(&self, key: &Key) -> bool {
        let tells = |prefix: &str| self.caller.has_attribute_from(prefix);
        match key.teller() {
            Teller::MfaAge => self.caller.mfa_present() == Some(false),
            Teller::TagKeys => tells("g:RequestTag/"),
            Teller::ResourceTag => tells("g:ResourceTag/"),
            Teller::RequestTag => tells("g:TagKeys") || tells("g:RequestTag/"),
            _ => false,
        }
    }

    /// A resource of the principal's account. What is not told is nothing.
    pub(super) fn resource(
        &self,
        action: ActionId,
        kind: Option<&'a str>,
        path: Option<Cow<'a, str>>,
    ) -> Resource<'a> {
        let account = &self.caller.identity().domain_id;
        Resource { service: service(self.catalog, action), region: self.region(), account, kind, path }
    }

    fn region(&self) -> Option<&'a str> {
        self.caller.region().or(self.region)
    }
}

/// The service of an action.
pub(super) fn service(catalog: &Catalog, action: ActionId) -> &str {
    catalog.action_name(action).split(':').next().unwrap_or_default()
}
