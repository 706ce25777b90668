//! Any call of an operation, or any that depends on an action. What only the call itself will tell is open.

use super::condition::{Key, Teller};
use super::resource::Resource;
use super::setting::Setting;
use super::sight::Sight;
use crate::catalog::{ActionId, Operation};

/// Any call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prospect<'a> {
    setting: Setting<'a>,
    /// The operation; nothing if no operation needs the action and calls of others only depend on it.
    operation: Option<&'a Operation>,
}

impl<'a> Prospect<'a> {
    /// The calls that need an action, by operation. At least one.
    pub(super) fn of(setting: Setting<'a>, action: ActionId) -> Vec<Self> {
        let operations = setting.catalog.operations().iter();
        let needing = operations.filter(|operation| operation.actions.contains(&action));
        let mut prospects: Vec<Self> =
            needing.map(|operation| Self { setting, operation: Some(operation) }).collect();
        if prospects.is_empty() {
            prospects.push(Self { setting, operation: None });
        }
        prospects
    }

    /// Whether the call can name another enterprise project than the one that is told.
    pub(super) fn can_go_elsewhere(&self) -> bool {
        self.operation.is_some_and(|operation| operation.enterprise_project.is_some())
    }

    /// The values of a key, or nothing if the call tells them, or who asks about it.
    pub(super) fn see(&self, key: &Key, action: ActionId) -> Option<Sight<'a>> {
        let mut told_by_call = self.operation.iter().flat_map(|operation| &operation.keys);
        let seen = match self.setting.see(key, action) {
            // An agency may have one that is not given here.
            Some(Sight::Absent) if key.teller() == Teller::UserName => return None,
            Some(seen) => seen,
            None if key.teller() == Teller::EnterpriseProject && self.can_go_elsewhere() => return None,
            None if told_by_call.any(|told| told.name == key.name() && told.values.is_some()) => return None,
            None => match self.setting.attribute(key.name()) {
                None if self.setting.lacks(key) => Sight::Absent,
                told => told?,
            },
        };
        (seen != Sight::Unknown).then_some(seen)
    }

    /// What the call touches. Its id is open, and so is all that the setting does not tell.
    pub(super) fn resource(&self, action: ActionId) -> Resource<'a> {
        let nameless = || Some("*".into());
        let (kind, path) = match self.operation.map(|operation| &operation.resource) {
            None => (None, None),
            Some(None) => (Some("*"), nameless()),
            Some(Some(object)) if object.ids.is_none() => (Some(&*object.kind), nameless()),
            Some(Some(object)) => (Some(&*object.kind), None),
        };
        self.setting.resource(action, kind, path)
    }
}
