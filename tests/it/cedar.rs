//! A third opinion, from another policy engine: what we say of an action, Cedar must say too.
//!
//! Policies become Cedar policies ([`policies`]), and a call becomes Cedar requests ([`request`]), one for each action.
//! Then Cedar decides by itself who is in a group, what lies in a project, what a wildcard covers, what a missing key
//! means, and that a forbid beats a permit. The translation reads JSON and the published tables: it shares no code with
//! `ecs_authz::policy`, and a shape that it does not know fails the test.
//!
//! Left out is what Cedar has no word for. `Depends` makes a role's effect hang on other grants. Enterprise projects are
//! a second stage, asked only where the first is silent, and a Cedar forbid holds wherever it stands. And of what can't
//! be told, Cedar makes an error and skips the policy, also a forbid: so here everything can be told.
//!
//! `ECS_AUTHZ_CASES=100000 scripts/test cedar` asks more than every test run does.

use std::cell::RefCell;
use std::collections::BTreeMap;

use libtest_mimic::Trial;

use crate::evaluators::{Rulings, pdp, rulings_by_pdp};
use crate::random::{directory, run};
use crate::reference::Domain;
use crate::support::trials;

use generated::Asked;
use request::Cedar;

mod generated;
mod policies;
mod request;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        cedar_agrees_on_actions_effects_and_grants,
        cedar_agrees_on_string_conditions,
        cedar_agrees_on_resources_and_conditions,
    ]
}

/// Which actions of a call are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    RequiredAndDependencies,
    Required,
}

/// How often each verdict came up.
#[derive(Debug, Default)]
struct Tally {
    verdicts: RefCell<BTreeMap<String, usize>>,
}

impl Tally {
    fn count(&self, verdict: &str) {
        *self.verdicts.borrow_mut().entry(verdict.to_owned()).or_default() += 1;
    }

    /// Two that always say no agree, too. A run of a few questions proves nothing either way.
    fn assert_varied(&self) {
        let verdicts = self.verdicts.borrow();
        let total: usize = verdicts.values().sum();
        for verdict in ["allow", "EXPLICIT_DENY", "NO_MATCHING_ALLOW"] {
            let count = verdicts.get(verdict).copied().unwrap_or_default();
            assert!(total < 1_000 || count * 20 > total, "too few of {verdict}: {verdicts:?}");
        }
    }
}

fn compare(domain: &Domain, asked: &[Asked], compared: Compared, tally: &Tally) {
    let dir = directory(domain);
    let (pdp, cedar) = (pdp(dir.path()), Cedar::new(domain));
    for Asked { question, call } in asked {
        let Rulings { required, mut dependencies } = rulings_by_pdp(&pdp, question);
        assert!(required.keys().eq(&call.actions), "{call:?}");
        if compared == Compared::Required {
            dependencies.clear();
        }
        for (action, ours) in required.into_iter().chain(dependencies) {
            let theirs = cedar.ruling(question, call, &action);
            assert_eq!(ours.word, theirs.word, "{action}: {theirs:?} {question:?}\n{cedar}");
            let is_theirs = ours.statement.iter().all(|statement| theirs.statements.contains(statement));
            assert!(is_theirs, "{action}: {ours:?} {theirs:?} {question:?}\n{cedar}");
            tally.count(&ours.word);
        }
    }
}

fn cedar_agrees_on_actions_effects_and_grants() {
    let tally = Tally::default();
    run(generated::unconditional(), |(domain, asked)| {
        compare(&domain, &asked, Compared::RequiredAndDependencies, &tally);
    });
    tally.assert_varied();
}

fn cedar_agrees_on_string_conditions() {
    let tally = Tally::default();
    run(generated::with_conditions(), |(domain, asked)| {
        compare(&domain, &asked, Compared::RequiredAndDependencies, &tally);
    });
    tally.assert_varied();
}

/// What a dependency touches is not known, so its verdict is no question for Cedar.
fn cedar_agrees_on_resources_and_conditions() {
    let tally = Tally::default();
    run(generated::with_resources(), |(domain, asked)| {
        compare(&domain, &asked, Compared::Required, &tally);
    });
    tally.assert_varied();
}
