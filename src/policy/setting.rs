//! What is known before any call: who acts, in which circumstances, on which API.
//!
//! Keys that the service knows itself are never taken from the request's attributes: who asks could write them.

use std::borrow::Cow;

use super::condition::written;
use super::resource::Resource;
use crate::catalog::{ActionId, Catalog, Seen};
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
    /// The values of a key that the service knows itself. What every call has, such as an address, is not missing if
    /// nobody tells it: it is not known.
    pub(super) fn see(&self, key: &str, action: ActionId) -> Option<Seen<'a>> {
        let caller = self.caller;
        let identity = caller.identity();
        Some(match key {
            "g:CurrentTime" => match caller.time() {
                Some(time) => Seen::of(vec![Cow::Owned(written(time))]),
                None => Seen::Unknown,
            },
            "g:DomainId" | "g:PrincipalAccount" => known(&identity.domain_id),
            "g:DomainName" => known(&caller.names().domain),
            "g:UserId" => match &identity.subject {
                Subject::User(id) => known(id),
                Subject::Agency(_) => Seen::Absent,
            },
            "g:UserName" => match (&identity.subject, &caller.names().user) {
                (Subject::Agency(_), name) if name.is_empty() => Seen::Absent,
                (_, name) => known(name),
            },
            "g:ProjectName" if identity.project_id.is_none() => Seen::Absent,
            "g:ProjectName" => known(&caller.names().project),
            "g:MFAPresent" => match caller.mfa_present() {
                Some(true) => known("true"),
                Some(false) => known("false"),
                None => Seen::Unknown,
            },
            "g:SourceIp" | "hw:SourceIp" => known(caller.source_ip()),
            "g:ServiceName" => known(self.service(action)),
            "g:RequestedRegion" => self.region().map_or(Seen::Unknown, known),
            _ => return None,
        })
    }

    /// The values that who asks gives a key, if it names the key. An empty list tells that there are none.
    pub(super) fn attribute(&self, name: &str) -> Option<Seen<'a>> {
        let values = self.caller.attribute(name)?;
        Some(Seen::of(values.iter().map(|value| Cow::Borrowed(value.as_str())).collect()))
    }

    /// Whether what is told of other keys says that there is none of this one. Tags are told all or none, and who signed in
    /// without a second factor has none of any age.
    pub(super) fn lacks(&self, name: &str) -> bool {
        let tells = |prefix: &str| self.caller.attributes().any(|key| key.starts_with(prefix));
        match name {
            "g:MFAAge" => self.caller.mfa_present() == Some(false),
            "g:TagKeys" => tells("g:RequestTag/"),
            _ if name.starts_with("g:ResourceTag/") => tells("g:ResourceTag/"),
            _ if name.starts_with("g:RequestTag/") => tells("g:TagKeys") || tells("g:RequestTag/"),
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
        Resource { service: self.service(action), region: self.region(), account, kind, path }
    }

    fn region(&self) -> Option<&'a str> {
        self.caller.region().or(self.region)
    }

    fn service(&self, action: ActionId) -> &'a str {
        self.catalog.action_name(action).split(':').next().unwrap_or_default()
    }
}

/// Text that every call has: empty where nobody tells it.
fn known(text: &str) -> Seen<'_> {
    if text.is_empty() { Seen::Unknown } else { Seen::of(vec![Cow::Borrowed(text)]) }
}
