//! Hears a call's conditional statements: each is evaluated once, whichever of the call's actions it is about, and only
//! if it can still decide something. What is left is bits: those that hold, and those of which it can't be told.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use super::outcome::Outcome;
use super::policy_set::Stage;
use super::resource::Resource;
use super::scene::Scene;
use crate::catalog::ActionId;
use crate::decision::{Effect, Verdict};

/// What the conditions of a call's statements say. What is left to ask is the resource.
#[derive(Debug)]
pub(super) struct Hearing<'s> {
    first: StageHearing<'s>,
    /// That of the resource's enterprise project, if it has one.
    second: Option<StageHearing<'s>>,
}

/// What those of one stage say.
#[derive(Debug)]
pub(super) struct StageHearing<'s> {
    stage: &'s Stage,
    /// Few principals have more statements than fit without the heap.
    words: SmallVec<[Heard; 2]>,
}

/// Of some statements, one bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// Those that were evaluated.
    asked: u64,
    /// Those whose conditions hold.
    met: u64,
    /// Those of whose conditions it can't be told.
    unclear: u64,
}

/// A verdict, without the set that it is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ruling {
    /// What it is about.
    pub(super) action: ActionId,
    pub(super) said: Said,
    /// The conditional statement that decides, counted from one, if one does.
    pub(super) conditional: Option<NonZeroU32>,
}

/// What a ruling says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The first stage decides.
    First(Effect),
    /// The second does.
    Second(Effect),
    /// No statement is about it.
    Nothing,
}

impl<'s> Hearing<'s> {
    pub(super) fn of(
        first: &'s Stage,
        second: Option<&'s Stage>,
        actions: impl Iterator<Item = ActionId> + Clone,
        scene: &Scene<'_>,
    ) -> Self {
        Self {
            first: StageHearing::of(first, actions.clone(), scene),
            second: second.map(|stage| StageHearing::of(stage, actions, scene)),
        }
    }

    /// The ruling on an action, on all that the call touches with it.
    pub(super) fn ruling(&self, action: ActionId, scene: &Scene<'_>) -> Ruling {
        // Then it is the same on all of them, and a long list need not be read.
        if !self.depends_on_resources(action) {
            return self.ruling_on(action, None);
        }
        let mut on_all = None;
        for resource in scene.resources(action) {
            let ruling = self.ruling_on(action, Some(&resource));
            match ruling.said {
                Said::First(Effect::Deny) | Said::Second(Effect::Deny) => return ruling,
                Said::Nothing => on_all = Some(ruling),
                Said::First(Effect::Allow) | Said::Second(Effect::Allow) => on_all = on_all.or(Some(ruling)),
            }
        }
        on_all.unwrap_or(Ruling { action, said: Said::Nothing, conditional: None })
    }

    /// The ruling on one resource. Nothing stands for any, where no statement that can apply has a resource.
    pub(super) fn ruling_on(&self, action: ActionId, resource: Option<&Resource<'_>>) -> Ruling {
        let (effect, conditional) = match self.first.decides(action, resource) {
            Some((effect, conditional)) => (Said::First(effect), conditional),
            None => match self.second.as_ref().and_then(|second| second.decides(action, resource)) {
                Some((effect, conditional)) => (Said::Second(effect), conditional),
                None => (Said::Nothing, None),
            },
        };
        Ruling { action, said: effect, conditional }
    }

    fn depends_on_resources(&self, action: ActionId) -> bool {
        std::iter::once(&self.first).chain(&self.second).any(|stage| stage.depends_on_resources(action))
    }
}

impl<'s> StageHearing<'s> {
    fn of(stage: &'s Stage, actions: impl Iterator<Item = ActionId>, scene: &Scene<'_>) -> Self {
        let mut hearing =
            Self { stage, words: SmallVec::from_elem(Heard::default(), stage.conditional.width()) };
        if !stage.conditional.is_empty() {
            actions.for_each(|action| hearing.hear(action, scene));
        }
        hearing
    }

    /// Evaluates the conditions of the statements that can decide on an action, unless another action had it done.
    fn hear(&mut self, action: ActionId, scene: &Scene<'_>) {
        let conditional = &self.stage.conditional;
        let decided = self.stage.decided(action);
        let words = conditional.about(action).iter().zip(conditional.denying()).zip(&mut self.words);
        for (number, ((about, denying), heard)) in words.enumerate() {
            let useful = match decided {
                Verdict::Denied(_) => 0,
                Verdict::Allowed(_) => *denying,
                Verdict::Unmatched => u64::MAX,
            };
            let open = about & useful & !heard.asked;
            heard.asked |= open;
            for (bit, position) in bits(open, number) {
                let Some(statement) = conditional.statement(position) else { continue };
                match statement.condition_outcome(scene, action) {
                    Outcome::Met => heard.met |= bit,
                    Outcome::Unclear => heard.unclear |= bit,
                    Outcome::NotMet => {}
                }
            }
        }
    }

    /// What decides on an action, and by which conditional statement if by one. A deny before an allow; of each,
    /// unconditional statements first, for they cost a bit test.
    fn decides(
        &self,
        action: ActionId,
        resource: Option<&Resource<'_>>,
    ) -> Option<(Effect, Option<NonZeroU32>)> {
        let applying = |effect| Some((effect, Some(self.applying(action, effect, resource)?)));
        match self.stage.decided(action) {
            Verdict::Denied(_) => Some((Effect::Deny, None)),
            Verdict::Allowed(_) => applying(Effect::Deny).or(Some((Effect::Allow, None))),
            Verdict::Unmatched => applying(Effect::Deny).or_else(|| applying(Effect::Allow)),
        }
    }

    /// The first conditional statement of an effect that applies, counted from one.
    fn applying(
        &self,
        action: ActionId,
        effect: Effect,
        resource: Option<&Resource<'_>>,
    ) -> Option<NonZeroU32> {
        let conditional = &self.stage.conditional;
        let on_resources = conditional.on_resources();
        let applies = |(bit, position): &(u64, usize), on_resources: u64| {
            if bit & on_resources == 0 {
                return true;
            }
            let outcome = |resource| Some(conditional.statement(*position)?.resource_outcome(resource));
            resource.and_then(outcome).is_some_and(|outcome| outcome.applies(effect))
        };
        let words = self.candidates(action, effect).zip(on_resources).enumerate();
        let mut found = words.filter_map(|(number, (candidates, on_resources))| {
            bits(candidates, number).find(|candidate| applies(candidate, *on_resources))
        });
        let (_, position) = found.next()?;
        NonZeroU32::new(u32::try_from(position + 1).ok()?)
    }

    /// The statements of an effect about an action whose conditions do not keep them from applying: what can't be told never
    /// allows, and always denies.
    fn candidates(&self, action: ActionId, effect: Effect) -> impl Iterator<Item = u64> {
        let conditional = &self.stage.conditional;
        let words = conditional.about(action).iter().zip(conditional.denying()).zip(&self.words);
        words.map(move |((about, denying), heard)| match effect {
            Effect::Deny => about & denying & (heard.met | heard.unclear),
            Effect::Allow => about & !denying & heard.met,
        })
    }

    fn depends_on_resources(&self, action: ActionId) -> bool {
        let on_resources = self.stage.conditional.on_resources();
        let candidates = self.candidates(action, Effect::Deny).zip(self.candidates(action, Effect::Allow));
        candidates.zip(on_resources).any(|((denying, allowing), on)| (denying | allowing) & on != 0)
    }
}

/// The bits of a word of statements, each with the statement's position.
fn bits(mut word: u64, number: usize) -> impl Iterator<Item = (u64, usize)> {
    std::iter::from_fn(move || {
        let lowest = word & word.wrapping_neg();
        let place = usize::try_from(word.trailing_zeros()).ok()?;
        word ^= lowest;
        (lowest != 0).then_some((lowest, number * 64 + place))
    })
}
