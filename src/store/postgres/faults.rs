//! Policies in the database that can't be evaluated: each is met when somebody who is granted it is loaded, and told for as
//! long as it stands. Whoever has it gets an error; nobody else is concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Client;

use super::load::PolicyName;
use crate::policy::DocumentError;

/// The most faults that are kept. Who has one beyond them gets an error all the same.
const MAX_KEPT: usize = 1_000;
/// The most faults that are shown at once.
const MAX_SHOWN: usize = 50;

/// Whether policies by name are as they were: the etags of documents, and the system policies that are granted.
const STANDING: &str = "
    WITH fault AS (SELECT * FROM unnest($1::text[], $2::text[]) AS fault (domain_id, name))
    SELECT p.domain_id::text, p.name::text, p.etag
    FROM fault JOIN ecs_authz.policy p ON p.domain_id = fault.domain_id AND p.name = fault.name
    UNION
    SELECT g.domain_id::text, g.policy, NULL
    FROM fault JOIN ecs_authz.policy_grant g ON g.domain_id = fault.domain_id AND g.policy = fault.name
    WHERE g.system_policy IS NOT NULL";

/// A granted policy that can't be evaluated.
#[derive(Debug, thiserror::Error)]
#[error("policy `{}`: {what}", .policy.name())]
pub(super) struct PolicyFault {
    policy: PolicyName,
    what: String,
}

impl PolicyFault {
    /// A document that is not one.
    pub(super) fn document(name: &str, etag: i64, errors: &[DocumentError]) -> Self {
        let more = errors.len().saturating_sub(1);
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        let what = if more == 0 { first } else { format!("{first} (and {more} more)") };
        Self { policy: PolicyName::Own { name: name.to_owned(), etag }, what }
    }

    /// A grant of a system policy that there is not.
    pub(super) fn system(name: String) -> Self {
        let what = "it is granted as a system policy, and this version has none of that name".to_owned();
        Self { policy: PolicyName::System(name), what }
    }
}

/// The faults that stand, as far as they were met.
#[derive(Debug, Default)]
pub(super) struct Faults {
    standing: Mutex<BTreeMap<Place, String>>,
}

/// A policy of a domain. A rewritten document is another one.
type Place = (String, PolicyName);

impl Faults {
    /// Keeps a fault, and tells whether it is news.
    pub(super) fn meet(&self, domain_id: &str, fault: &PolicyFault) -> bool {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (domain_id.to_owned(), fault.policy.clone());
        if standing.contains_key(&place) || standing.len() >= MAX_KEPT {
            return false;
        }
        standing.insert(place, fault.to_string());
        true
    }

    /// The faults, one a line.
    pub(super) fn lines(&self) -> Vec<String> {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = standing.iter().take(MAX_SHOWN);
        let mut lines: Vec<String> =
            shown.map(|((domain_id, _), fault)| format!("domain `{domain_id}`: {fault}")).collect();
        if let Some(more) = standing.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            lines.push(format!("and {more} more"));
        }
        lines
    }

    /// Forgets the faults that were mended or removed.
    pub(super) async fn recheck(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let kept: Vec<Place> = {
            let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            standing.keys().cloned().collect()
        };
        if kept.is_empty() {
            return Ok(());
        }
        let (domains, names): (Vec<&str>, Vec<&str>) =
            kept.iter().map(|(domain_id, policy)| (domain_id.as_str(), policy.name())).unzip();
        let rows = client.query(STANDING, &[&domains, &names]).await?;
        let found: BTreeSet<Place> = rows
            .iter()
            .map(|row| {
                let name: String = row.get(1);
                let policy = match row.get::<_, Option<i64>>(2) {
                    Some(etag) => PolicyName::Own { name, etag },
                    None => PolicyName::System(name),
                };
                (row.get(0), policy)
            })
            .collect();
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        for place in kept.iter().filter(|place| !found.contains(*place)) {
            standing.remove(place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_news_once_and_the_list_of_them_is_bounded() {
        let faults = Faults::default();
        let error = |etag| PolicyFault::document("p", etag, &[]);
        assert!(faults.meet("acme", &error(1)));
        assert!(!faults.meet("acme", &error(1)));
        assert!(faults.meet("acme", &error(2)), "another document");
        assert!(faults.meet("other", &error(1)), "another domain");
        let mut etags = 3..;
        let count = std::iter::repeat_with(|| etags.next())
            .take_while(|etag| faults.meet("acme", &error(etag.unwrap())));
        assert_eq!(3 + count.count(), MAX_KEPT);
        let lines = faults.lines();
        assert_eq!((lines.len(), lines[MAX_SHOWN].as_str()), (MAX_SHOWN + 1, "and 950 more"));
    }
}
