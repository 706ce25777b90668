//! What conditions and resources are held against: the call, who makes it, and where.
//!
//! Keys that the service knows itself are never taken from the request's attributes: who asks could write them.

use std::borrow::Cow;

use super::condition::{Key, written};
use super::resource::Resource;
use crate::catalog::{ActionId, Call, Catalog, RowKey, RowResource, Seen, Text};
use crate::request::{ENTERPRISE_PROJECT, Request, Subject};

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
        let told = |key: &RowKey| match &key.values {
            Some(source) => self.call.values(source, self.request.body()),
            // Who asks may know it.
            None => self.attribute(&key.name).unwrap_or(Seen::Unknown),
        };
        self.told = Some(self.call.operation.keys.iter().map(told).collect());
        self
    }

    /// The resources that an action of the call touches, at least one. What depends on objects of the call's type
    /// depends on the call's objects; of other types, and of those that differ, they can be any.
    pub(super) fn resources(&self, action: ActionId) -> Vec<Resource<'a>> {
        let operation = self.call.operation;
        let own = operation.resource.as_ref();
        let objects = |kind: Option<&'a Text>| match (own, kind) {
            (Some(own), Some(kind)) if *kind == own.kind => self.objects(action, own),
            (_, Some(kind)) => vec![self.resource(action, Some(kind), None)],
            (_, None) => vec![self.resource(action, Some("*"), Some("*".into()))],
        };
        if operation.actions.contains(&action) {
            return objects(own.map(|own| &own.kind));
        }
        match self.catalog.action(action).map_or(&[][..], |action| &action.touches) {
            [] => vec![self.untold(action)],
            kinds => kinds.iter().flat_map(|kind| objects(kind.as_ref())).collect(),
        }
    }

    /// The objects of the call.
    fn objects(&self, action: ActionId, object: &'a RowResource) -> Vec<Resource<'a>> {
        let resource = |path| self.resource(action, Some(&object.kind), path);
        let Some(ids) = &object.ids else { return vec![resource(Some("*".into()))] };
        match self.call.values(ids, self.request.body()) {
            Seen::Values(ids) => ids.into_iter().map(|id| resource(Some(id))).collect(),
            // A call that names no object where it should may mean any.
            Seen::Absent | Seen::Unknown => vec![resource(None)],
        }
    }

    /// A resource of which nothing is known.
    pub(super) fn untold(&self, action: ActionId) -> Resource<'a> {
        self.resource(action, None, None)
    }

    fn resource(&self, action: ActionId, kind: Option<&'a str>, path: Option<Cow<'a, str>>) -> Resource<'a> {
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

    /// The values of a key, for an action of the call. What every call has, such as an address, is not missing if nobody
    /// tells it: it is not known.
    pub(super) fn see<'s>(&'s self, key: &Key, action: ActionId) -> Seen<'s> {
        let request = self.request;
        let identity = request.identity();
        match key.name() {
            "g:CurrentTime" => match request.time() {
                Some(time) => Seen::of(vec![Cow::Owned(written(time))]),
                None => Seen::Unknown,
            },
            "g:DomainId" | "g:PrincipalAccount" => known(&identity.domain_id),
            "g:DomainName" => known(&request.names().domain),
            "g:UserId" => match &identity.subject {
                Subject::User(id) => known(id),
                Subject::Agency(_) => Seen::Absent,
            },
            "g:UserName" => match (&identity.subject, &request.names().user) {
                (Subject::Agency(_), name) if name.is_empty() => Seen::Absent,
                (_, name) => known(name),
            },
            "g:ProjectName" if identity.project_id.is_none() => Seen::Absent,
            "g:ProjectName" => known(&request.names().project),
            "g:MFAPresent" => match request.mfa_present() {
                Some(true) => known("true"),
                Some(false) => known("false"),
                None => Seen::Unknown,
            },
            "g:SourceIp" | "hw:SourceIp" => known(request.source_ip()),
            "g:ServiceName" => known(self.service(action)),
            "g:RequestedRegion" => self.region().map_or(Seen::Unknown, known),
            name => self.told(name),
        }
    }

    /// What the call itself tells, or else who asks.
    fn told<'s>(&'s self, name: &str) -> Seen<'s> {
        if let Some(index) = self.call.operation.keys.iter().position(|key| key.name == name) {
            return self.told.as_ref().and_then(|told| told.get(index)).cloned().unwrap_or(Seen::Unknown);
        }
        self.attribute(name).unwrap_or_else(|| self.untold_attribute(name))
    }

    /// The values that who asks gives a key, if it names the key. An empty list tells that there are none.
    fn attribute(&self, name: &str) -> Option<Seen<'a>> {
        let values = self.request.attribute(name)?;
        Some(Seen::of(values.iter().map(|value| Cow::Borrowed(value.as_str())).collect()))
    }

    /// A key that nobody tells. Tags are told all or none, and every resource has an enterprise project.
    fn untold_attribute(&self, name: &str) -> Seen<'a> {
        let tells = |prefix: &str| self.request.attributes().any(|key| key.starts_with(prefix));
        let is_known_to_be_missing = match name {
            ENTERPRISE_PROJECT => false,
            // Who signed in without a second factor has none of any age.
            "g:MFAAge" => self.request.mfa_present() == Some(false),
            _ if name.starts_with("g:ResourceTag/") => tells("g:ResourceTag/"),
            _ if name == "g:TagKeys" || name.starts_with("g:RequestTag/") => {
                tells("g:TagKeys") || tells("g:RequestTag/")
            }
            _ => true,
        };
        if is_known_to_be_missing { Seen::Absent } else { Seen::Unknown }
    }
}

/// Text that every call has: empty where nobody tells it.
fn known(text: &str) -> Seen<'_> {
    if text.is_empty() { Seen::Unknown } else { Seen::of(vec![Cow::Borrowed(text)]) }
}
