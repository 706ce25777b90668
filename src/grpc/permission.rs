//! A permission on the wire.

use super::pb;
use super::render::wire_statement;
use crate::catalog::Action;
use crate::policy::{Pending, PendingPart, Permission};

/// Renders whether a principal may do an action.
pub(super) fn render(action: &Action, permission: Permission) -> pb::Permission {
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
    }
}

fn wire_pending(pending: Pending) -> pb::PendingStatement {
    let Pending { statement, parts } = pending;
    let parts = parts.into_iter().map(|PendingPart { element, wanted }| pb::PendingPart { element, wanted });
    pb::PendingStatement { statement: Some(wire_statement(&statement)), parts: parts.collect() }
}
