//! What a principal may do: of each action whether every call is allowed, none is, or what it depends on.
//!
//! The table of actions is closed, so the list is complete. Each part of a statement has a range of outcomes over all
//! calls: one for what is known already, any for what only a call tells. A statement that applies at the worst of all
//! ranges always applies, and one that does not at the best never does. What is left decides call by call, and is told.
//! Conditions are told, not solved: two that contradict each other are still something that it depends on.

use super::compile::CompiledStatement;
use super::condition::Condition;
use super::outcome::Outcome;
use super::policy_set::{PolicySet, Stage};
use super::prospect::Prospect;
use super::resource::ResourcePattern;
use super::setting::Setting;
use crate::catalog::ActionId;
use crate::decision::{Effect, StatementRef};
use crate::request::ENTERPRISE_PROJECT;

/// The most statements that are told.
const MAX_PENDING: usize = 64;

/// Whether a principal may do an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Every call is allowed, by a statement such as this one.
    Allowed(StatementRef),
    /// No call is allowed; by this statement, if one denies all of them.
    Denied(Option<StatementRef>),
    /// These statements decide, call by call; of very many, the first.
    Depends(Vec<Pending>),
}

/// A statement that applies to some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The statement.
    pub statement: StatementRef,
    /// What must hold for it to apply. Nothing for one that denies, in the enterprise project that is told, whatever the
    /// statements before it leave.
    pub parts: Vec<PendingPart>,
}

/// A part of a statement that holds for some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingPart {
    /// `Resource`, or a clause of the condition: `StringEquals['ecs:FlavorId']`. Of statements that are granted in an
    /// enterprise project, `g:EnterpriseProjectId`.
    pub element: String,
    /// What the statement wants.
    pub wanted: Vec<String>,
}

/// What can come of the calls.
#[derive(Debug, Default)]
struct Outlook {
    /// A statement that allows some.
    allowed: Option<StatementRef>,
    /// A statement that denies some.
    denied: Option<StatementRef>,
    /// Whether no statement is about some.
    is_open: bool,
}

/// Where statements are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Granted<'i> {
    /// In the project, so they are asked first.
    InProject,
    /// In the enterprise project that the call goes to.
    ThereToo,
    /// In one that it may go to.
    Perhaps(&'i str),
}

/// How often statements apply: in all calls, in some, or in none.
enum Applying {
    Always(StatementRef),
    Sometimes(StatementRef),
    Never,
}

/// A part of a statement that limits it.
enum Limit<'s> {
    Resources(&'s [ResourcePattern]),
    Condition(&'s Condition),
}

/// The outcomes that a part of a statement can have.
struct Range<'s> {
    limit: Limit<'s>,
    worst: Outcome,
    best: Outcome,
}

impl PolicySet {
    /// Whether every call of an action is allowed, in any circumstances that the setting leaves open.
    #[must_use]
    pub fn permission(&self, action: ActionId, setting: Setting<'_>) -> Permission {
        let prospects = Prospect::of(setting, action);
        let mut outlook = Outlook::default();
        for prospect in &prospects {
            outlook.add(self.outlook(action, prospect, setting.caller.enterprise_project()));
        }
        match outlook {
            Outlook { allowed: Some(statement), denied: None, is_open: false } => {
                Permission::Allowed(statement)
            }
            Outlook { allowed: Some(_), .. } => {
                Permission::Depends(self.pending(action, &prospects, setting.caller.enterprise_project()))
            }
            Outlook { allowed: None, denied, is_open } => Permission::Denied(denied.filter(|_| !is_open)),
        }
    }

    /// The second stage is looked at only where the first says nothing. Where it is not told which enterprise project the
    /// call goes to, it can be any of them, or another.
    fn outlook(
        &self,
        action: ActionId,
        prospect: &Prospect<'_>,
        enterprise_project: Option<&str>,
    ) -> Outlook {
        let mut outlook = self.project.outlook(action, prospect);
        if !outlook.is_open {
            return outlook;
        }
        match enterprise_project.map(|id| self.enterprise.get(id)) {
            Some(None) => {}
            Some(Some(stage)) => {
                outlook.is_open = prospect.can_go_elsewhere();
                outlook.add(stage.outlook(action, prospect));
            }
            None => self.enterprise.values().for_each(|stage| outlook.add(stage.outlook(action, prospect))),
        }
        outlook
    }

    /// The statements that some calls depend on.
    fn pending(
        &self,
        action: ActionId,
        prospects: &[Prospect<'_>],
        enterprise_project: Option<&str>,
    ) -> Vec<Pending> {
        let mut pending = self.project.pending(action, prospects, Granted::InProject);
        if !self.project.always_allows(action, prospects) {
            let is_sure_where =
                enterprise_project.is_some() && !prospects.iter().any(Prospect::can_go_elsewhere);
            let stages = self.enterprise.iter();
            for (id, stage) in stages.filter(|(id, _)| enterprise_project.is_none_or(|told| told == &***id)) {
                let granted = if is_sure_where { Granted::ThereToo } else { Granted::Perhaps(id) };
                pending.extend(stage.pending(action, prospects, granted));
            }
        }
        pending.truncate(MAX_PENDING);
        pending
    }
}

impl Granted<'_> {
    fn part(self) -> Vec<PendingPart> {
        match self {
            Self::InProject | Self::ThereToo => Vec::new(),
            Self::Perhaps(id) => {
                vec![PendingPart { element: ENTERPRISE_PROJECT.to_owned(), wanted: vec![id.to_owned()] }]
            }
        }
    }
}

impl Outlook {
    fn add(&mut self, other: Self) {
        self.allowed = self.allowed.take().or(other.allowed);
        self.denied = self.denied.take().or(other.denied);
        self.is_open |= other.is_open;
    }
}

impl Stage {
    fn outlook(&self, action: ActionId, prospect: &Prospect<'_>) -> Outlook {
        let denied = match self.applying(Effect::Deny, action, prospect) {
            Applying::Always(statement) => {
                return Outlook { denied: Some(statement), ..Outlook::default() };
            }
            Applying::Sometimes(statement) => Some(statement),
            Applying::Never => None,
        };
        let (allowed, is_open) = match self.applying(Effect::Allow, action, prospect) {
            Applying::Always(statement) => (Some(statement), false),
            Applying::Sometimes(statement) => (Some(statement), true),
            Applying::Never => (None, true),
        };
        Outlook { allowed, denied, is_open }
    }

    /// Of the statements of an effect, the one that applies most often.
    fn applying(&self, effect: Effect, action: ActionId, prospect: &Prospect<'_>) -> Applying {
        let mut found = Applying::Never;
        for (place, statement) in self.about(action).filter(|(place, _)| place.effect == effect) {
            if statement.always(action, prospect) {
                return Applying::Always(place);
            }
            if matches!(found, Applying::Never) && statement.sometimes(action, prospect) {
                found = Applying::Sometimes(place);
            }
        }
        found
    }

    fn always_allows(&self, action: ActionId, prospects: &[Prospect<'_>]) -> bool {
        self.about(action).any(|(place, statement)| {
            place.effect == Effect::Allow && prospects.iter().all(|it| statement.always(action, it))
        })
    }

    /// The statements that apply to some calls and not to others, and those that deny what the statements before them leave.
    fn pending(&self, action: ActionId, prospects: &[Prospect<'_>], granted: Granted<'_>) -> Vec<Pending> {
        let always_allows = self.always_allows(action, prospects);
        let mut pending = Vec::new();
        for (place, statement) in self.about(action) {
            let decides_the_rest = granted == Granted::ThereToo && place.effect == Effect::Deny;
            let is_perhaps = matches!(granted, Granted::Perhaps(_));
            let is_sure = prospects.iter().all(|it| statement.always(action, it)) && !is_perhaps;
            let is_possible = prospects.iter().any(|it| statement.sometimes(action, it));
            let is_needed = place.effect == Effect::Deny || !always_allows || is_perhaps;
            if (is_sure && !decides_the_rest) || !is_possible || !is_needed {
                continue;
            }
            let mut parts = granted.part();
            for range in prospects.iter().flat_map(|it| statement.ranges(action, it)) {
                let part = (range.worst != Outcome::Met).then(|| range.part());
                parts.extend(part.filter(|part| !parts.contains(part)));
            }
            pending.push(Pending { statement: place, parts });
        }
        pending
    }
}

impl CompiledStatement {
    fn always(&self, action: ActionId, prospect: &Prospect<'_>) -> bool {
        Outcome::all(self.ranges(action, prospect).map(|range| range.worst)).applies(self.effect)
    }

    fn sometimes(&self, action: ActionId, prospect: &Prospect<'_>) -> bool {
        Outcome::all(self.ranges(action, prospect).map(|range| range.best)).applies(self.effect)
    }

    /// The outcomes that each part can have.
    fn ranges<'s>(&'s self, action: ActionId, prospect: &'s Prospect<'_>) -> impl Iterator<Item = Range<'s>> {
        let resources = self.resources.iter().map(move |patterns| {
            let outcome = self.resource_outcome(&prospect.resource(action));
            // Whatever is not told of the resource is open.
            let known = Some(outcome).filter(|outcome| *outcome != Outcome::Unclear);
            Range::new(Limit::Resources(patterns), known)
        });
        let conditions = self.conditions.iter().map(move |condition| {
            let seen = prospect.see(&condition.key, action);
            Range::new(Limit::Condition(condition), seen.map(|seen| condition.outcome(seen)))
        });
        resources.chain(conditions)
    }
}

impl<'s> Range<'s> {
    /// The one outcome that is known, or any.
    fn new(limit: Limit<'s>, known: Option<Outcome>) -> Self {
        let (worst, best) = known.map_or((Outcome::NotMet, Outcome::Met), |outcome| (outcome, outcome));
        Self { limit, worst, best }
    }

    /// The part as it is told.
    fn part(&self) -> PendingPart {
        let (element, wanted): (String, Vec<String>) = match self.limit {
            Limit::Resources(patterns) => {
                ("Resource".to_owned(), patterns.iter().map(ToString::to_string).collect())
            }
            Limit::Condition(condition) => {
                (condition.element(), condition.values.iter().map(ToString::to_string).collect())
            }
        };
        PendingPart { element, wanted }
    }
}
