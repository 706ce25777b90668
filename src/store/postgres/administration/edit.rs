//! The edits of a domain, and what they come to.

use std::collections::BTreeSet;

use super::AdminError;
use crate::store::content::GrantEntry;

/// One edit of what a domain holds. Names, ids and documents must be well-formed; the tables refuse the worst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Writes a policy.
    PutPolicy {
        /// Its name, which is no system policy's.
        name: String,
        /// The document.
        document: String,
        /// The state that it is expected in.
        expected: Expected,
    },
    /// Removes a policy that nobody has.
    DeletePolicy {
        /// Its name.
        name: String,
        /// The state that it is expected in.
        expected: Expected,
    },
    /// Writes a group with these members and no others.
    PutGroup {
        /// The group.
        id: String,
        /// Users.
        members: BTreeSet<String>,
        /// The state that it is expected in.
        expected: Expected,
    },
    /// Adds users to a group.
    AddMembers {
        /// The group.
        group_id: String,
        /// Users. Those that are in it stay.
        members: BTreeSet<String>,
    },
    /// Removes users from a group.
    RemoveMembers {
        /// The group.
        group_id: String,
        /// Users. Those that are not in it are passed over.
        members: BTreeSet<String>,
    },
    /// Removes a group. What is granted to it stays.
    DeleteGroup {
        /// The group.
        id: String,
        /// The state that it is expected in.
        expected: Expected,
    },
    /// Grants a policy. One that is granted stays.
    PutGrant(GrantEntry),
    /// Takes a grant back.
    DeleteGrant(GrantEntry),
}

/// The state that something is expected in, so that no change of somebody else's is overwritten unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any.
    Any,
    /// Not there.
    Absent,
    /// There, with this etag.
    Etag(String),
}

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it did.
    pub change: Change,
    /// The etag of the policy or group that is there now.
    pub etag: Option<String>,
}

/// What an edit can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was another.
    Updated,
    /// It is gone.
    Deleted,
    /// It was so already.
    Unchanged,
}

impl Edit {
    /// What kind of edit it is, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PutPolicy { .. } => "put policy",
            Self::DeletePolicy { .. } => "delete policy",
            Self::PutGroup { .. } => "put group",
            Self::AddMembers { .. } => "add members",
            Self::RemoveMembers { .. } => "remove members",
            Self::DeleteGroup { .. } => "delete group",
            Self::PutGrant(_) => "put grant",
            Self::DeleteGrant(_) => "delete grant",
        }
    }
}

impl Expected {
    pub(super) fn check(
        &self,
        kind: &'static str,
        name: &str,
        found: Option<&str>,
    ) -> Result<(), AdminError> {
        let is_met = match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Etag(etag) => found == Some(etag),
        };
        let conflict =
            || AdminError::Conflict { kind, name: name.to_owned(), found: found.map(ToOwned::to_owned) };
        if is_met { Ok(()) } else { Err(conflict()) }
    }
}
