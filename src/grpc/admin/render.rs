//! From what the database holds to the wire.

use prost::Message as _;
use prost_types::Timestamp;

use crate::grpc::pb;
use crate::policy::DocumentWarning;
use crate::store::Revision;
use crate::store::content::{GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::postgres::administration::{
    Change, ChangeRecord, Changed, GrantRecord, GroupHead, GroupRecord, Intent, Outcome, Page, PolicyHead,
    PolicyRecord,
};

/// The most bytes of a history page: below the 4 MiB that clients take by default.
const MAX_PAGE_BYTES: usize = 3 * 1_024 * 1_024;

/// What was done, the etag with it, which a dry run of a change has none of, and the revision.
pub(super) fn written(changed: Changed, intent: Intent) -> (i32, String, u64) {
    let Changed { outcome: Outcome { change, etag }, revision } = changed;
    let kind = match change {
        Change::Created => pb::ChangeKind::Created,
        Change::Updated => pb::ChangeKind::Updated,
        Change::Deleted => pb::ChangeKind::Deleted,
        Change::Unchanged => pb::ChangeKind::Unchanged,
    };
    let is_there = intent == Intent::Apply || change == Change::Unchanged;
    (kind.into(), etag.filter(|_| is_there).unwrap_or_default(), revision.0)
}

pub(super) fn finding(warning: DocumentWarning) -> pb::Finding {
    pb::Finding { path: warning.path, message: warning.doubt.to_string() }
}

pub(super) fn domains(domains: Vec<(String, Revision)>, page: &Page) -> pb::ListDomainsResponse {
    let next_page_token = next_page(page, &domains, |(id, _)| vec![id.clone()]);
    let domain = |(id, revision): (String, Revision)| pb::Domain { id, revision: revision.0 };
    pb::ListDomainsResponse { domains: domains.into_iter().map(domain).collect(), next_page_token }
}

pub(super) fn policy(policy: PolicyRecord) -> pb::Policy {
    pb::Policy { document: policy.document, ..policy_head(policy.head) }
}

pub(super) fn system_policy((name, document): (&str, &str)) -> pb::Policy {
    pb::Policy { name: name.to_owned(), document: document.to_owned(), system: true, ..Default::default() }
}

fn policy_head(head: PolicyHead) -> pb::Policy {
    let PolicyHead { name, etag, created_at, updated_at } = head;
    pb::Policy {
        name,
        document: String::new(),
        etag,
        create_time: Some(Timestamp::from(created_at)),
        update_time: Some(Timestamp::from(updated_at)),
        system: false,
    }
}

pub(super) fn policies(policies: Vec<PolicyHead>, page: &Page) -> pb::ListPoliciesResponse {
    let next_page_token = next_page(page, &policies, |policy| vec![policy.name.clone()]);
    pb::ListPoliciesResponse { policies: policies.into_iter().map(policy_head).collect(), next_page_token }
}

pub(super) fn grants(grants: Vec<GrantRecord>, page: &Page) -> pb::ListGrantsResponse {
    let next_page_token = next_page(page, &grants, |grant| grant.key.clone());
    pb::ListGrantsResponse { grants: grants.into_iter().map(|it| grant(it.grant)).collect(), next_page_token }
}

fn grant(grant: GrantEntry) -> pb::Grant {
    use pb::scope::Scope;
    use pb::subject::Subject;
    let subject = match grant.subject {
        SubjectEntry::User(id) => Subject::User(id),
        SubjectEntry::Group(id) => Subject::Group(id),
        SubjectEntry::Agency(id) => Subject::Agency(id),
    };
    let scope = match grant.scope {
        ScopeEntry::Project(id) => Scope::Project(id),
        ScopeEntry::EnterpriseProject(id) => Scope::EnterpriseProject(id),
        ScopeEntry::AllProjects => Scope::AllProjects(pb::AllProjects {}),
        ScopeEntry::Domain => Scope::Domain(pb::WholeDomain {}),
    };
    pb::Grant {
        subject: Some(pb::Subject { subject: Some(subject) }),
        policy: grant.policy,
        scope: Some(pb::Scope { scope: Some(scope) }),
    }
}

pub(super) fn groups(groups: Vec<GroupHead>, page: &Page) -> pb::ListGroupsResponse {
    let next_page_token = next_page(page, &groups, |group| vec![group.id.clone()]);
    pb::ListGroupsResponse { groups: groups.into_iter().map(group).collect(), next_page_token }
}

fn group(head: GroupHead) -> pb::Group {
    pb::Group { id: head.id, member_count: head.member_count }
}

pub(super) fn group_page(record: GroupRecord, page: &Page) -> pb::GetGroupResponse {
    let GroupRecord { head, etag, members } = record;
    let next_page_token = next_page(page, &members, |member| vec![member.clone()]);
    pb::GetGroupResponse { group: Some(group(head)), etag, members, next_page_token }
}

/// As many changes as there is room for: each can hold two documents.
pub(super) fn changes(records: Vec<ChangeRecord>, page: &Page) -> pb::ListChangesResponse {
    let (mut told, mut bytes) = (Vec::new(), 0);
    let mut next_page_token = next_page(page, &records, change_key);
    let mut last: Option<Vec<String>> = None;
    for record in records {
        let key = change_key(&record);
        let change = change(record);
        bytes += change.encoded_len();
        if let Some(last) = last.filter(|_| bytes > MAX_PAGE_BYTES) {
            next_page_token = page_token(&last);
            break;
        }
        told.push(change);
        last = Some(key);
    }
    pb::ListChangesResponse { changes: told, next_page_token }
}

fn change_key(record: &ChangeRecord) -> Vec<String> {
    vec![record.id.to_string()]
}

fn change(record: ChangeRecord) -> pb::Change {
    let ChangeRecord { id: _, revision, at, actor, what, before, after } = record;
    pb::Change {
        revision: revision.0,
        time: Some(Timestamp::from(at)),
        actor,
        what,
        before: before.unwrap_or_default(),
        after: after.unwrap_or_default(),
    }
}

/// The token of the page after this one. Where a page is full, there may be another.
fn next_page<T>(page: &Page, rows: &[T], key: impl Fn(&T) -> Vec<String>) -> String {
    let is_full = rows.len() >= usize::from(page.size);
    rows.last().filter(|_| is_full).map(|row| page_token(&key(row))).unwrap_or_default()
}

fn page_token(key: &[String]) -> String {
    serde_json::Value::from(key).to_string()
}
