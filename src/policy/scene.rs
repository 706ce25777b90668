//! What conditions and resources are held against: the call, who makes it, and where.
//!
//! Keys that the service knows itself are never taken from the request's attributes: who asks could write them.

use std::borrow::Cow;

use super::condition::{Key, written};
use super::resource::Resource;
use crate::catalog::{ActionId, Call, Catalog, Seen};
use crate::request::{Request, Subject};

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The table that the call was found in.
    pub catalog: &'a Catalog,
    /// The operation.
    pub call: Call<'a, 'a>,
    /// Who makes it, with what.
    pub request: &'a Request,
    /// The region of the server, where the request does not say another.
    pub region: Option<&'a str>,
}

/// A resource that an action of the call touches.
#[derive(Debug, Clone)]
pub(super) struct Touch<'a> {
    pub(super) resource: Resource<'a>,
}

impl<'a> Scene<'a> {
    /// What an action of the call touches, at least one.
    pub(super) fn touches(&self, action: ActionId) -> Vec<Touch<'a>> {
        let operation = self.call.operation;
        let required = operation.resource.as_ref().filter(|_| operation.actions.contains(&action));
        let Some((kind, ids)) = required else { return vec![self.touch(action, "*", Some("*".into()))] };
        match self.call.values(ids, self.request.body()) {
            Seen::Values(ids) => ids.into_iter().map(|id| self.touch(action, kind, Some(id))).collect(),
            // A call that names no object where it should may mean any.
            Seen::Absent | Seen::Unknown => vec![self.touch(action, kind, None)],
        }
    }

    /// A resource of which nothing is known.
    pub(super) fn untold(&self, action: ActionId) -> Touch<'a> {
        self.touch(action, "*", None)
    }

    fn touch(&self, action: ActionId, kind: &'a str, path: Option<Cow<'a, str>>) -> Touch<'a> {
        let service = self.catalog.action_name(action).split(':').next().unwrap_or_default();
        let account = &self.request.identity().domain_id;
        Touch { resource: Resource { service, region: self.region(), account, kind, path } }
    }

    fn region(&self) -> Option<&'a str> {
        self.request.region().or(self.region)
    }

    /// The values of a key, for an action of this service.
    pub(super) fn see<'s>(&'s self, key: &Key, service: &'s str) -> Seen<'s> {
        let names = self.request.names();
        match key.name() {
            "g:CurrentTime" => match self.request.time() {
                Some(time) => Seen::of(vec![Cow::Owned(written(time))]),
                None => Seen::Unknown,
            },
            "g:DomainId" | "g:PrincipalAccount" => Seen::text(&self.request.identity().domain_id),
            "g:DomainName" => Seen::text(&names.domain),
            "g:UserId" => match &self.request.identity().subject {
                Subject::User(id) => Seen::text(id),
                Subject::Agency(_) => Seen::Absent,
            },
            "g:UserName" => Seen::text(&names.user),
            "g:ProjectName" => Seen::text(&names.project),
            "g:MFAPresent" => match self.request.mfa_present() {
                Some(true) => Seen::text("true"),
                Some(false) => Seen::text("false"),
                None => Seen::Absent,
            },
            "g:SourceIp" | "hw:SourceIp" => Seen::text(self.request.source_ip()),
            "g:ServiceName" => Seen::text(service),
            "g:RequestedRegion" => self.region().map_or(Seen::Absent, Seen::text),
            name => self.told(name),
        }
    }

    /// What the call itself tells, or else who asks.
    fn told<'s>(&'s self, name: &str) -> Seen<'s> {
        let mut keys = self.call.operation.keys.iter();
        match keys.find(|(known, _)| known == name) {
            Some((_, source)) => self.call.values(source, self.request.body()),
            None => {
                let values = self.request.attribute(name).unwrap_or_default();
                Seen::of(values.iter().map(|value| Cow::Borrowed(value.as_str())).collect())
            }
        }
    }
}
