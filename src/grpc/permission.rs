//! A permission on the wire.

use prost::Message as _;

use super::pb;
use super::render::wire_statement;
use crate::catalog::Action;
use crate::policy::{Pending, PendingPart, Permission};

/// The most bytes of statements that an answer tells: below the 4 MiB that clients take by default.
const MAX_PENDING_BYTES: usize = 3 * 1_024 * 1_024;

/// Renders permissions one by one, as long as there is room.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    bytes: usize,
}

impl Renderer {
    /// Renders whether a principal may do an action. What it depends on is left out when the answer is full.
    pub(super) fn render(&mut self, action: &Action, permission: Permission) -> pb::Permission {
        let mut rendered = render(action, permission);
        let whole = rendered.depends_on.len();
        rendered.depends_on.retain(|pending| {
            let size = pending.encoded_len();
            let fits = self.bytes + size <= MAX_PENDING_BYTES;
            self.bytes += if fits { size } else { 0 };
            fits
        });
        rendered.truncated = rendered.depends_on.len() < whole;
        rendered
    }
}

fn render(action: &Action, permission: Permission) -> pb::Permission {
    let (state, statement, pending) = match permission {
        Permission::Allowed(statement) => (pb::PermissionState::Allowed, Some(statement), Vec::new()),
        Permission::Denied(statement) => (pb::PermissionState::Denied, statement, Vec::new()),
        Permission::Depends(pending) => (pb::PermissionState::Depends, None, pending),
    };
    pb::Permission {
        action: action.name.to_string(),
        state: state.into(),
        statement: statement.as_ref().map(wire_statement),
        depends_on: pending.into_iter().map(wire_pending).collect(),
        truncated: false,
    }
}

fn wire_pending(pending: Pending) -> pb::PendingStatement {
    let Pending { statement, parts } = pending;
    let parts = parts.into_iter().map(|PendingPart { element, wanted }| pb::PendingPart { element, wanted });
    pb::PendingStatement { statement: Some(wire_statement(&statement)), parts: parts.collect() }
}
