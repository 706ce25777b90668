//! What conditions and resources are held against: the call, who makes it, and where.

use super::condition::Key;
use super::resource::Resource;
use super::setting::Setting;
use crate::catalog::{ActionId, Call, RowKey, RowResource, Seen, Text};
use crate::request::{ENTERPRISE_PROJECT, Request};

/// One call.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    pub(super) setting: Setting<'a>,
    /// The operation.
    pub(super) call: Call<'a, 'a>,
    /// The call as it was sent.
    pub(super) request: &'a Request,
    /// The enterprise project that the call goes to. Asked for each action, so the body is asked once.
    pub(super) enterprise_project: Option<&'a str>,
    /// What the call tells of each of the operation's keys, once it was read.
    told: Option<Box<[Seen<'a>]>>,
}

impl<'a> Scene<'a> {
    /// A call by this request. The setting is that of its caller.
    #[must_use]
    pub fn new(setting: Setting<'a>, call: Call<'a, 'a>, request: &'a Request) -> Self {
        let enterprise_project = enterprise_project(setting, call, request);
        Self { setting, call, request, enterprise_project, told: None }
    }

    /// Reads what the call tells. Done once, and only where conditions may ask: a body is as long as its sender likes,
    /// and the conditions are as many as its administrators like.
    pub(super) fn read(mut self) -> Self {
        let told = |key: &RowKey| match &key.values {
            Some(source) => self.call.values(source, self.request.body()),
            // Who asks may know it.
            None => self.setting.attribute(&key.name).unwrap_or(Seen::Unknown),
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
            (_, Some(kind)) => vec![self.setting.resource(action, Some(kind), None)],
            (_, None) => vec![self.setting.resource(action, Some("*"), Some("*".into()))],
        };
        if operation.actions.contains(&action) {
            return objects(own.map(|own| &own.kind));
        }
        match self.setting.catalog.action(action).map_or(&[][..], |action| &action.touches) {
            [] => vec![self.setting.resource(action, None, None)],
            kinds => kinds.iter().flat_map(|kind| objects(kind.as_ref())).collect(),
        }
    }

    /// The objects of the call.
    fn objects(&self, action: ActionId, object: &'a RowResource) -> Vec<Resource<'a>> {
        let resource = |path| self.setting.resource(action, Some(&object.kind), path);
        let Some(ids) = &object.ids else { return vec![resource(Some("*".into()))] };
        match self.call.values(ids, self.request.body()) {
            Seen::Values(ids) => ids.into_iter().map(|id| resource(Some(id))).collect(),
            // A call that names no object where it should may mean any.
            Seen::Absent | Seen::Unknown => vec![resource(None)],
        }
    }

    /// The values of a key, for an action of the call.
    pub(super) fn see<'s>(&'s self, key: &Key, action: ActionId) -> Seen<'s> {
        let name = key.name();
        if let Some(seen) = self.setting.see(name, action) {
            return seen;
        }
        if let Some(index) = self.call.operation.keys.iter().position(|key| key.name == name) {
            return self.told.as_ref().and_then(|told| told.get(index)).cloned().unwrap_or(Seen::Unknown);
        }
        match self.setting.attribute(name) {
            // The body names another one.
            Some(Seen::Values(_)) if name == ENTERPRISE_PROJECT && self.enterprise_project.is_none() => {
                Seen::Unknown
            }
            Some(seen) => seen,
            None => self.unmentioned(name),
        }
    }

    /// A key that nobody mentions. What is made has no tags yet, who only reads sends none, and every resource has an
    /// enterprise project.
    fn unmentioned(&self, name: &str) -> Seen<'a> {
        let operation = self.call.operation;
        let is_new = operation.resource.as_ref().is_some_and(|resource| resource.ids.is_none());
        let is_known_to_be_missing = match name {
            ENTERPRISE_PROJECT => false,
            _ if self.setting.lacks(name) => true,
            "g:MFAAge" => false,
            "g:TagKeys" => operation.method == "GET",
            _ if name.starts_with("g:RequestTag/") => operation.method == "GET",
            _ if name.starts_with("g:ResourceTag/") => is_new,
            _ => true,
        };
        if is_known_to_be_missing { Seen::Absent } else { Seen::Unknown }
    }
}

/// The enterprise project that is told, unless the body may name another.
fn enterprise_project<'a>(setting: Setting<'a>, call: Call<'a, 'a>, request: &'a Request) -> Option<&'a str> {
    let told = setting.caller.enterprise_project()?;
    let Some(member) = &call.operation.enterprise_project else { return Some(told) };
    let is_told = match request.body().member(member) {
        Seen::Absent => true,
        Seen::Values(named) => named == [told],
        Seen::Unknown => false,
    };
    is_told.then_some(told)
}
