//! `ecs_authz`, the library.

use std::path::Path;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision::{DependencyMode, Verdict};
use ecs_authz::pdp::{Defaults, Pdp, Response};
use ecs_authz::policy::{Evaluation, PolicySet, Scene, Setting, evaluate};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::DirectoryStore;

use super::Engine;
use crate::Outcome;
use crate::at_once::at_once;
use crate::questions::{Asked, Question};

const CACHE_BYTES: u64 = 1 << 30;

/// As others are asked: the policies are at hand. The operation has to be found.
pub(crate) struct RouteAndEvaluate {
    catalog: Arc<Catalog>,
    policies: Arc<PolicySet>,
}

/// All of a decision: the operation has to be found, the project compared, and the principal's policies found in the cache.
pub(crate) struct Decide {
    pdp: Pdp,
}

/// Both, over a directory of policies.
pub(crate) fn open(
    folder: &Path,
    catalog: &Arc<Catalog>,
    first: &Question,
) -> Outcome<(RouteAndEvaluate, Decide)> {
    let store = Arc::new(DirectoryStore::open(folder, catalog.clone())?);
    let new_cache = || PolicyCache::new(store.clone(), catalog.action_count(), CACHE_BYTES);
    let policies = at_once(new_cache().get(first.request.identity()))?.policies;
    let pdp = Pdp::new(catalog.clone(), new_cache(), Defaults::default());
    Ok((RouteAndEvaluate { catalog: catalog.clone(), policies }, Decide { pdp }))
}

impl Engine for RouteAndEvaluate {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        let request = &question.request;
        let call = self.catalog.resolve(request.method(), request.path(), request.body())?;
        let setting = Setting { catalog: &self.catalog, caller: request.caller(), region: None };
        let scene = Scene::new(setting, call, request);
        let evaluation = evaluate(scene, self.policies.clone(), DependencyMode::Report);
        read(&evaluation, asked, answers);
        Ok(())
    }
}

impl Engine for Decide {
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()> {
        match at_once(self.pdp.decide(&question.request))? {
            Response::Evaluated { evaluation, .. } => read(&evaluation, asked, answers),
            other => return Err(format!("no evaluation: {other:?}").into()),
        }
        Ok(())
    }
}

fn read(evaluation: &Evaluation<'_>, asked: Asked, answers: &mut Vec<bool>) {
    let is_allowed = |action| matches!(evaluation.verdict(action), Verdict::Allowed(_));
    answers.extend(evaluation.call().operation.actions.iter().copied().map(is_allowed));
    if asked == Asked::All {
        answers.extend(evaluation.dependencies.iter().copied().map(is_allowed));
    }
}
