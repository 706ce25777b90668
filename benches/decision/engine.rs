//! The steps of a decision, each run for the requests of a world in turn.

use std::hint::black_box;
use std::sync::Arc;

use ecs_authz::catalog::Call;
use ecs_authz::decision::DependencyMode;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::policy::{PolicySet, Scene, Setting, evaluate};
use ecs_authz::request::{Caller, Context as Circumstances, Request};
use ecs_authz::store::cache::PolicyCache;

use super::Outcome;
use super::at_once::at_once;
use super::mix::principal;
use super::world::World;

/// Holds all principals of the largest world.
const CACHE_BYTES: u64 = 4 << 30;

/// A part of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Which operation a call is.
    Route,
    /// What a policy set says of the call.
    Evaluate,
    /// The principal's policy set from the cache, and what it says.
    Cached,
    /// All of it.
    Decide,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [Self::Route, Self::Evaluate, Self::Cached, Self::Decide];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Evaluate => "evaluate",
            Self::Cached => "cached",
            Self::Decide => "decide",
        }
    }
}

/// A decision point over a world, with all that is needed to run one step by itself.
pub(super) struct Engine<'w> {
    world: &'w World,
    calls: Vec<Call<'w, 'w>>,
    cache: PolicyCache,
    set: Arc<PolicySet>,
    pdp: Pdp,
}

impl<'w> Engine<'w> {
    /// All principals of the requests are in the cache.
    pub(super) fn new(world: &'w World) -> Outcome<Self> {
        let resolve =
            |request: &'w Request| world.catalog.resolve(request.method(), request.path(), request.body());
        let calls = world.requests.iter().map(resolve).collect::<Result<_, _>>()?;
        let new_cache = || PolicyCache::new(world.store.clone(), world.catalog.action_count(), CACHE_BYTES);
        let cache = new_cache();
        let first = world.requests.first().ok_or("there are no requests")?;
        let set = at_once(cache.get(first.identity()))?.policies;
        let pdp = Pdp::new(world.catalog.clone(), new_cache(), Defaults::default());
        let engine = Self { world, calls, cache, set, pdp };
        for step in Step::ALL {
            let allowed = engine.run(step, world.requests.len());
            if allowed != world.requests.len() {
                return Err(format!("of {} requests {allowed} are allowed", world.requests.len()).into());
            }
        }
        Ok(engine)
    }

    /// Caches every principal of the world in both caches.
    pub(super) fn fill(&self) -> Outcome<()> {
        let shape = self.world.shape;
        for number in 0..shape.principals {
            let caller = Caller::new(principal(number, shape.groups), Circumstances::default())?;
            at_once(self.cache.get(caller.identity()))?;
            at_once(self.pdp.permissions(&caller, None))?;
        }
        Ok(())
    }

    /// Runs a step so many times, and tells for how many requests it went well.
    pub(super) fn run(&self, step: Step, times: usize) -> usize {
        let requests = self.world.requests.iter().zip(&self.calls).cycle().take(times);
        match step {
            Step::Route => requests.filter(|(request, _)| self.routes(request)).count(),
            Step::Evaluate => {
                requests.filter(|(request, call)| self.allows(request, **call, self.set.clone())).count()
            }
            Step::Cached => requests.filter(|(request, call)| self.allows_cached(request, **call)).count(),
            Step::Decide => requests.filter(|(request, _)| self.decides(request)).count(),
        }
    }

    fn routes(&self, request: &Request) -> bool {
        let request = black_box(request);
        black_box(self.world.catalog.resolve(request.method(), request.path(), request.body())).is_ok()
    }

    fn allows(&self, request: &Request, call: Call<'_, '_>, set: Arc<PolicySet>) -> bool {
        let request = black_box(request);
        let setting = Setting { catalog: &self.world.catalog, caller: request.caller(), region: None };
        let evaluation = evaluate(Scene::new(setting, call, request), set, DependencyMode::Report);
        black_box(&evaluation).decision.is_allow()
    }

    fn allows_cached(&self, request: &Request, call: Call<'_, '_>) -> bool {
        let loaded = at_once(self.cache.get(black_box(request).identity()));
        loaded.is_ok_and(|loaded| self.allows(request, call, loaded.policies))
    }

    fn decides(&self, request: &Request) -> bool {
        let response = at_once(self.pdp.decide(black_box(request)));
        black_box(&response).as_ref().is_ok_and(|response| response.decision().is_allow())
    }
}
