//! What is asked: the requests that the other benches make, too, and the actions that each is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use ecs_authz::catalog::{ActionId, Catalog};
use ecs_authz::request::{Request, RequestParts};

use crate::Outcome;
use crate::mix;

/// So many that every operation is among them; that is checked.
const REQUESTS: usize = 20_000;
/// The principals of the requests. All are in one group, which has the policies.
const PRINCIPALS: usize = 1_000;
const GROUPS: usize = 1;

/// A request, and what it is about.
pub(crate) struct Question {
    pub(crate) parts: RequestParts,
    pub(crate) request: Request,
    /// Which operation it is, counted through.
    pub(crate) operation: usize,
    required: Vec<ActionId>,
    dependencies: Vec<ActionId>,
}

/// Which actions an engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// Those that the operation needs, mostly one.
    Required,
    /// Its dependencies, too.
    All,
}

impl Asked {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::All => "all",
        }
    }
}

/// A catalog, and questions about it.
pub(crate) struct Questions {
    pub(crate) catalog: Arc<Catalog>,
    /// In the mix of requests: of ten, six read servers, two do something to a server, and two are any others.
    pub(crate) mix: Vec<Question>,
}

impl Questions {
    pub(crate) fn draw() -> Outcome<Self> {
        let catalog = Arc::new(Catalog::published()?);
        let requests = mix::draw(catalog.operations(), REQUESTS, PRINCIPALS, GROUPS)?;
        let mix = requests.into_iter().map(|parts| question(&catalog, parts)).collect::<Outcome<_>>()?;
        Ok(Self { catalog, mix })
    }

    /// One for each operation, in their order.
    pub(crate) fn operations(&self) -> Outcome<Vec<&Question>> {
        let mut first = BTreeMap::new();
        for question in &self.mix {
            first.entry(question.operation).or_insert(question);
        }
        let total = self.catalog.operations().len();
        if first.len() != total {
            return Err(format!("of {total} operations {} are asked", first.len()).into());
        }
        Ok(first.into_values().collect())
    }
}

fn question(catalog: &Catalog, parts: RequestParts) -> Outcome<Question> {
    let request = Request::new(parts.clone())?;
    let call = catalog.resolve(request.method(), request.path(), request.body())?;
    let position = catalog.operations().iter().position(|it| std::ptr::eq(it, call.operation));
    let (required, dependencies) =
        (call.operation.actions.to_vec(), call.operation.dependencies(request.body()).into_owned());
    Ok(Question {
        parts,
        operation: position.ok_or("a call of no operation")?,
        required,
        dependencies,
        request,
    })
}

impl Question {
    /// The actions to ask for, the required ones first.
    pub(crate) fn actions(&self, asked: Asked) -> impl Iterator<Item = ActionId> {
        let dependencies = match asked {
            Asked::Required => &[],
            Asked::All => &self.dependencies[..],
        };
        self.required.iter().chain(dependencies).copied()
    }

    /// The call, for people.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.request.method(), self.request.path())
    }
}
