//! What conditions and resources are held against: the call, who makes it, and where.

use smallvec::{SmallVec, smallvec};

use super::condition::{Key, Teller};
use super::resource::Resource;
use super::setting::Setting;
use super::sight::Sight;
use crate::catalog::{ActionId, Call, RowResource, Seen, Text, Told};
use crate::request::Request;

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
    /// What the call tells of the operation's keys and objects, once it was read.
    told: Option<Box<Told<'a>>>,
}

/// What an action of a call touches, at least one. Mostly it is one.
pub(super) type Resources<'a> = SmallVec<[Resource<'a>; 1]>;

impl<'a> Scene<'a> {
    /// A call by this request. The setting is that of its caller.
    #[must_use]
    pub fn new(setting: Setting<'a>, call: Call<'a, 'a>, request: &'a Request) -> Self {
        let enterprise_project = enterprise_project(setting, call, request);
        Self { setting, call, request, enterprise_project, told: None }
    }

    /// Reads what the call tells. Done once, and only where statements ask for it: a body is as long as its sender likes, and
    /// the statements are as many as its administrators like.
    pub(super) fn read(mut self) -> Self {
        self.told.get_or_insert_with(|| Box::new(self.call.told(self.request.body())));
        self
    }

    pub(super) fn is_read(&self) -> bool {
        self.told.is_some()
    }

    /// The resources that an action of the call touches, at least one. What depends on objects of the call's type
    /// depends on the call's objects; of other types, and of those that differ, they can be any.
    pub(super) fn resources(&self, action: ActionId) -> Resources<'a> {
        let operation = self.call.operation;
        let own = operation.resource.as_ref();
        let objects = |kind: Option<&'a Text>| match (own, kind) {
            (Some(own), Some(kind)) if *kind == own.kind => self.objects(action, own),
            (_, Some(kind)) => smallvec![self.setting.resource(action, Some(kind), None)],
            (_, None) => smallvec![self.setting.resource(action, Some("*"), Some("*".into()))],
        };
        if operation.actions.contains(&action) {
            return objects(own.map(|own| &own.kind));
        }
        match self.setting.catalog.action(action).map_or(&[][..], |action| &action.touches) {
            [] => smallvec![self.setting.resource(action, None, None)],
            kinds => kinds.iter().flat_map(|kind| objects(kind.as_ref())).collect(),
        }
    }

    /// The objects of the call.
    fn objects(&self, action: ActionId, object: &'a RowResource) -> Resources<'a> {
        let resource = |path| self.setting.resource(action, Some(&object.kind), path);
        let Some(ids) = &object.ids else { return smallvec![resource(Some("*".into()))] };
        let ids = match &self.told {
            Some(told) => told.objects.clone(),
            None => self.call.values(ids, self.request.body()),
        };
        match ids {
            Seen::Values(ids) => ids.into_iter().map(|id| resource(Some(id))).collect(),
            // A call that names no object where it should may mean any.
            Seen::Absent | Seen::Unknown => smallvec![resource(None)],
        }
    }

    /// What is seen of a key, for an action of the call.
    pub(super) fn see<'s>(&'s self, key: &Key, action: ActionId) -> Sight<'s> {
        if let Some(seen) = self.setting.see(key, action) {
            return seen;
        }
        if key.teller() == Teller::Call
            && let Some(seen) = self.told(key.name())
        {
            return seen;
        }
        match self.setting.attribute(key.name()) {
            // The body names another one.
            Some(Sight::Given(_))
                if key.teller() == Teller::EnterpriseProject && self.enterprise_project.is_none() =>
            {
                Sight::Unknown
            }
            Some(seen) => seen,
            None => self.unmentioned(key),
        }
    }

    /// What is seen of a key that the call decides, or nothing if it decides another thing.
    fn told<'s>(&'s self, name: &str) -> Option<Sight<'s>> {
        let index = self.call.operation.keys.iter().position(|key| key.name == name)?;
        let key = self.call.operation.keys.get(index)?;
        Some(match &key.values {
            Some(_) => {
                let seen = self.told.as_ref().and_then(|told| told.keys.get(index));
                seen.map_or(Sight::Unknown, Sight::from)
            }
            // Who asks may know it.
            None => self.setting.attribute(name).unwrap_or(Sight::Unknown),
        })
    }

    /// A key that nobody mentions. What is made has no tags yet, who only reads sends none, and every resource has an
    /// enterprise project.
    fn unmentioned(&self, key: &Key) -> Sight<'a> {
        let operation = self.call.operation;
        let is_new = operation.resource.as_ref().is_some_and(|resource| resource.ids.is_none());
        let is_known_to_be_missing = match key.teller() {
            Teller::EnterpriseProject => false,
            _ if self.setting.lacks(key) => true,
            Teller::MfaAge => false,
            Teller::TagKeys | Teller::RequestTag => operation.method == "GET",
            Teller::ResourceTag => is_new,
            _ => true,
        };
        if is_known_to_be_missing { Sight::Absent } else { Sight::Unknown }
    }
}

/// The enterprise project that is told, unless the body may name another.
fn enterprise_project<'a>(setting: Setting<'a>, call: Call<'a, 'a>, request: &'a Request) -> Option<&'a str> {
    let told = setting.caller.enterprise_project()?;
    let Some(member) = &call.operation.enterprise_project else { return Some(told) };
    let is_told = match request.body().member(member) {
        Seen::Absent => true,
        Seen::Values(named) => *named == [told],
        Seen::Unknown => false,
    };
    is_told.then_some(told)
}
