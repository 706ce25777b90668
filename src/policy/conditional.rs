//! The statements of a stage that have a resource or a condition, and which of them are about each action: a bit a
//! statement. Many actions have the same ones, so a row of bits is kept once.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::compile::{CompiledPolicy, CompiledStatement};
use crate::catalog::ActionId;
use crate::decision::{Effect, StatementRef, Verdict};

/// Statements with a resource or a condition.
#[derive(Debug, Default)]
pub(super) struct Conditional {
    /// In the order of policy names.
    statements: Box<[ConditionalRef]>,
    /// Words of a row: one bit for each of `statements`.
    width: usize,
    /// By action: its row. Empty if there are no statements.
    by_action: Box<[u16]>,
    /// The rows, one behind the other.
    rows: Box<[u64]>,
    /// The statements that deny.
    denying: Box<[u64]>,
    /// Those with a resource.
    on_resources: Box<[u64]>,
    /// Those that ask for what the call tells: a resource, or a key.
    asking_call: Box<[u64]>,
}

#[derive(Debug)]
struct ConditionalRef {
    place: StatementRef,
    /// The statement's policy among the stage's.
    policy: Arc<CompiledPolicy>,
}

const BITS: usize = u64::BITS as usize;

impl Conditional {
    pub(super) fn gather(policies: &[Arc<CompiledPolicy>], action_count: usize) -> Self {
        let conditional = policies.iter().flat_map(|policy| {
            let statements = policy.statements.iter().enumerate();
            let conditional = statements.filter(|(_, statement)| !statement.is_unconditional());
            conditional.map(move |(index, statement)| (policy, index, statement))
        });
        let found: Vec<_> = conditional.collect();
        if found.is_empty() {
            return Self::default();
        }
        let width = found.len().div_ceil(BITS);
        let bits = |has: fn(&CompiledStatement) -> bool| {
            let with = found.iter().map(|(.., statement)| has(statement));
            row(width, with.enumerate().filter(|(_, has)| *has).map(|(index, _)| index))
        };
        let (by_action, rows) = rows(&found, width, action_count);
        Self {
            width,
            by_action,
            rows,
            denying: bits(|statement| statement.effect == Effect::Deny),
            on_resources: bits(|statement| statement.resources.is_some()),
            asking_call: bits(CompiledStatement::asks_call),
            statements: found
                .iter()
                .map(|(policy, index, statement)| ConditionalRef {
                    place: StatementRef {
                        policy: policy.name.clone(),
                        index: *index,
                        effect: statement.effect,
                    },
                    policy: (*policy).clone(),
                })
                .collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// How many words of bits tell of all statements.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether a statement asks for what the call tells.
    pub(super) fn any_asks_call(&self) -> bool {
        self.asking_call.iter().any(|asking| *asking != 0)
    }

    /// The statements about an action, as bits. Nothing if there are none at all.
    pub(super) fn about(&self, action: ActionId) -> &[u64] {
        let row = self.by_action.get(action.index()).copied().map_or(0, usize::from) * self.width;
        self.rows.get(row..row + self.width).unwrap_or_default()
    }

    pub(super) fn denying(&self) -> &[u64] {
        &self.denying
    }

    pub(super) fn on_resources(&self) -> &[u64] {
        &self.on_resources
    }

    /// Whether a statement about an action asks for what the call tells.
    pub(super) fn asks_call(&self, action: ActionId) -> bool {
        self.about(action).iter().zip(&self.asking_call).any(|(about, asking)| about & asking != 0)
    }

    /// A statement by its position.
    pub(super) fn statement(&self, position: usize) -> Option<&CompiledStatement> {
        let ConditionalRef { place, policy } = self.statements.get(position)?;
        policy.statements.get(place.index)
    }

    /// The verdict by a statement that has this effect, counted from one.
    pub(super) fn verdict(&self, number: NonZeroU32, effect: Effect) -> Verdict<'_> {
        let position = usize::try_from(number.get() - 1).unwrap_or(usize::MAX);
        match (self.statements.get(position).map(|statement| &statement.place), effect) {
            (Some(place), Effect::Allow) => Verdict::Allowed(place),
            (Some(place), Effect::Deny) => Verdict::Denied(place),
            // INVARIANT: rulings come from the same set.
            (None, _) => Verdict::Unmatched,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bits = [&self.rows, &self.denying, &self.on_resources, &self.asking_call];
        size_of_val(&*self.statements)
            + size_of_val(&*self.by_action)
            + bits.iter().map(|bits| size_of_val(&***bits)).sum::<usize>()
    }
}

type Found<'p> = (&'p Arc<CompiledPolicy>, usize, &'p CompiledStatement);

/// The row of each action, and all rows that differ. The first is about nothing.
fn rows(found: &[Found<'_>], width: usize, action_count: usize) -> (Box<[u16]>, Box<[u64]>) {
    let mut by_action = vec![0_u64; width * action_count];
    for (position, (.., statement)) in found.iter().enumerate() {
        for action in statement.heard_for().iter() {
            if let Some(word) = by_action.get_mut(action.index() * width + position / BITS) {
                *word |= 1 << (position % BITS);
            }
        }
    }
    let nothing = vec![0; width];
    let mut known = BTreeMap::from([(&nothing[..], 0)]);
    let mut rows = nothing.clone();
    let row_of = |row| {
        *known.entry(row).or_insert_with(|| {
            rows.extend_from_slice(row);
            // INVARIANT: there are no more rows than actions, and one.
            u16::try_from(rows.len() / width - 1).unwrap_or(0)
        })
    };
    let row_of_action = by_action.chunks(width).map(row_of).collect();
    (row_of_action, rows.into())
}

fn row(width: usize, positions: impl Iterator<Item = usize>) -> Box<[u64]> {
    let mut row = vec![0_u64; width];
    for position in positions {
        if let Some(word) = row.get_mut(position / BITS) {
            *word |= 1 << (position % BITS);
        }
    }
    row.into()
}
