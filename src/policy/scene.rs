//! What conditions and resources are held against: the call, who makes it, and where.
//!
//! Keys that the service knows itself are never taken from the request's attributes: who asks could write them.

use std::borrow::Cow;

use super::condition::{Key, written};
use super::resource::Resource;
use crate::catalog::{ActionId, Call, Catalog, Seen};
use crate::request::{Request, Subject};

/// One call.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The table that the call was found in.
    pub(super) catalog: &'a Catalog,
    /// The operation.
    pub(super) call: Call<'a, 'a>,
    /// Who makes it, with what.
    pub(super) request: &'a Request,
    /// The region of the server, where the request does not say another.
    region: Option<&'a str>,
    /// What the call tells of each of the operation's keys, once it was read.
    told: Option<Box<[Seen<'a>]>>,
}

impl<'a> Scene<'a> {
    /// A call by this request, to a server in this region.
    #[must_use]
    pub fn new(
        catalog: &'a Catalog,
        call: Call<'a, 'a>,
        request: &'a Request,
        region: Option<&'a str>,
    ) -> Self {
        Self { catalog, call, request, region, told: None }
    }

    /// Reads what the call tells. Done once, and only where conditions may ask: a body is as long as its sender likes,
    /// and the conditions are as many as its administrators like.
    pub(super) fn read(mut self) -> Self {
        let keys = self.call.operation.keys.iter();
        self.told = Some(keys.map(|(_, source)| self.call.values(source, self.request.body())).collect());
        self
    }

    /// The resources that an action of the call touches, at least one.
    pub(super) fn resources(&self, action: ActionId) -> Vec<Resource<'a>> {
        let operation = self.call.operation;
        let required = operation.resource.as_ref().filter(|_| operation.actions.contains(&action));
        let Some((kind, ids)) = required else { return vec![self.resource(action, "*", Some("*".into()))] };
        match self.call.values(ids, self.request.body()) {
            Seen::Values(ids) => ids.into_iter().map(|id| self.resource(action, kind, Some(id))).collect(),
            // A call that names no object where it should may mean any.
            Seen::Absent | Seen::Unknown => vec![self.resource(action, kind, None)],
        }
    }

    /// A resource of which nothing is known.
    pub(super) fn untold(&self, action: ActionId) -> Resource<'a> {
        self.resource(action, "*", None)
    }

    fn resource(&self, action: ActionId, kind: &'a str, path: Option<Cow<'a, str>>) -> Resource<'a> {
        let service = self.service(action);
        let account = &self.request.identity().domain_id;
        Resource { service, region: self.region(), account, kind, path }
    }

    fn region(&self) -> Option<&'a str> {
        self.request.region().or(self.region)
    }

    fn service(&self, action: ActionId) -> &'a str {
        self.catalog.action_name(action).split(':').next().unwrap_or_default()
    }

    /// The values of a key, for an action of the call.
    pub(super) fn see<'s>(&'s self, key: &Key, action: ActionId) -> Seen<'s> {
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
            "g:ServiceName" => Seen::text(self.service(action)),
            "g:RequestedRegion" => self.region().map_or(Seen::Absent, Seen::text),
            name => self.told(name),
        }
    }

    /// What the call itself tells, or else who asks.
    fn told<'s>(&'s self, name: &str) -> Seen<'s> {
        let keys = &self.call.operation.keys;
        let Some(index) = keys.iter().position(|(known, _)| known == name) else {
            let values = self.request.attribute(name).unwrap_or_default();
            return Seen::of(values.iter().map(|value| Cow::Borrowed(value.as_str())).collect());
        };
        self.told.as_ref().and_then(|told| told.get(index)).cloned().unwrap_or(Seen::Unknown)
    }
}
