//! Engines in this process: first every answer is compared, then rounds take turns.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecs_authz::catalog::Catalog;

use crate::engine::casbin::Casbin;
use crate::engine::cedar::Cedar;
use crate::engine::naive::Naive;
use crate::engine::regorus::{self, Regorus};
use crate::engine::{Engine, ours};
use crate::policies::{self, Statement};
use crate::questions::{Asked, Question, Questions};
use crate::report::{Engines, Report};
use crate::{Outcome, SIZES, tell};

/// So many requests are decided in a round, the same by every engine.
const REQUESTS_OF_A_ROUND: usize = 20;
/// What is fast decides them again and again, at least so long.
const MINIMUM: Duration = Duration::from_millis(10);
/// The requests of the mix that are compared besides one for each operation.
const COMPARED: usize = 1_000;

const GLOBS: &str = "naive globs over matchit: route, evaluate";
const CEDAR: &str = "cedar-policy";
/// At least so many times ours at so many policies, where they decide as much.
const GOALS: [(&str, usize, f64); 4] =
    [(GLOBS, 4, 7.0), (GLOBS, 1_000, 100.0), (CEDAR, 4, 100.0), (CEDAR, 100, 2_000.0)];

/// An engine, and what it is asked.
struct Contender {
    name: &'static str,
    asked: Asked,
    engine: Box<dyn Engine>,
}

/// Measures all engines at every number of policies.
pub(crate) fn measure(questions: &Questions, report: &mut Report) -> Outcome<()> {
    let operations = questions.operations()?;
    for policies in SIZES {
        let mut contenders = contenders(&questions.catalog, &operations, policies)?;
        let compared = compare(&mut contenders, &operations, questions)?;
        tell(&format!("in process, {policies} policies: {compared} answers compared, none differs"));
        report.compared("in process", policies, compared);
        let mut times = vec![Vec::new(); contenders.len()];
        for round in questions.mix.chunks(REQUESTS_OF_A_ROUND).take(report.rounds) {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                times.push(time(contender, round)?);
            }
        }
        for (contender, own) in contenders.iter_mut().zip(&times) {
            let reference = times.first().ok_or("there are no engines")?;
            let &mut Contender { name, asked, .. } = contender;
            let mut measured = Engines::of_rounds(name, asked, policies, own, reference);
            measured.goal = goal(name, asked, policies);
            report.engine(measured);
        }
    }
    Ok(())
}

fn goal(name: &str, asked: Asked, policies: usize) -> Option<f64> {
    let goal =
        GOALS.into_iter().find(|(engine, at, _)| asked == Asked::All && (*engine, *at) == (name, policies));
    goal.map(|(.., goal)| goal)
}

/// The first is the one that others are compared with.
fn contenders(catalog: &Arc<Catalog>, operations: &[&Question], count: usize) -> Outcome<Vec<Contender>> {
    let policies = policies::policies(count);
    let statements = policies::statements(&policies, catalog);
    let folder = tempfile::tempdir()?;
    let first = operations.first().ok_or("there are no operations")?;
    policies::write(folder.path(), &policies, &first.parts.principal)?;
    let (evaluating, deciding) = ours::open(folder.path(), catalog, first)?;
    let mut contenders = vec![
        contender("**ecs-authz**: route, evaluate", Asked::All, evaluating),
        contender("**ecs-authz**: route, find the principal's policies, evaluate", Asked::All, deciding),
        contender(GLOBS, Asked::All, Naive::new(catalog, &statements)?),
    ];
    for asked in [Asked::Required, Asked::All] {
        contenders.push(contender(CEDAR, asked, Cedar::new(catalog, &statements)?));
    }
    contenders.extend(in_rego(catalog, operations, &statements)?);
    for asked in [Asked::Required, Asked::All] {
        contenders.push(contender("casbin", asked, Casbin::new(catalog, &statements)?));
    }
    Ok(contenders)
}

fn in_rego(catalog: &Catalog, operations: &[&Question], statements: &[Statement]) -> Outcome<[Contender; 2]> {
    let expanded = regorus::expanded_data(catalog, statements);
    let literal = regorus::literal_data(statements);
    let of = |module, data| Regorus::new(module, data, catalog, operations);
    Ok([
        contender("regorus, actions expanded beforehand", Asked::All, of(regorus::EXPANDED, &expanded)?),
        contender("regorus, patterns", Asked::All, of(regorus::LITERAL, &literal)?),
    ])
}

fn contender(name: &'static str, asked: Asked, engine: impl Engine + 'static) -> Contender {
    Contender { name, asked, engine: Box::new(engine) }
}

/// Asks everybody about every operation, and those that find the operation by themselves about requests of the mix besides.
/// Tells how many answers were compared.
fn compare(contenders: &mut [Contender], operations: &[&Question], questions: &Questions) -> Outcome<usize> {
    let (reference, others) = contenders.split_first_mut().ok_or("there are no engines")?;
    let (mut compared, mut asked, mut allowed) = (0, 0, 0);
    for operation in operations {
        let all = answers(reference, operation, Asked::All)?;
        asked += all.len();
        allowed += all.iter().filter(|is_allowed| **is_allowed).count();
        let required = answers(reference, operation, Asked::Required)?;
        for other in others.iter_mut() {
            let expected = if other.asked == Asked::All { &all } else { &required };
            compared += agree(other, operation, expected)?;
        }
    }
    let routing = others.iter_mut().filter(|other| other.name.contains("route"));
    for other in routing {
        for question in questions.mix.iter().take(COMPARED) {
            compared += agree(other, question, &answers(reference, question, Asked::All)?)?;
        }
    }
    // Engines that always say the same agree, too.
    if allowed * 5 < asked || allowed * 5 > asked * 4 {
        return Err(format!("of {asked} actions {allowed} are allowed: that compares little").into());
    }
    Ok(compared)
}

fn answers(contender: &mut Contender, question: &Question, asked: Asked) -> Outcome<Vec<bool>> {
    let mut answers = Vec::new();
    contender.engine.answer(question, asked, &mut answers)?;
    Ok(answers)
}

fn agree(contender: &mut Contender, question: &Question, expected: &[bool]) -> Outcome<usize> {
    let found = answers(contender, question, contender.asked)?;
    if found != expected {
        let (name, call) = (contender.name, question.name());
        return Err(format!("{call}: {name} says {found:?} and not {expected:?}").into());
    }
    Ok(found.len())
}

/// Nanoseconds of a decision.
fn time(contender: &mut Contender, questions: &[Question]) -> Outcome<f64> {
    let mut answers = Vec::with_capacity(64);
    let start = Instant::now();
    let mut decided = 0_u32;
    while decided == 0 || start.elapsed() < MINIMUM {
        for question in questions {
            answers.clear();
            contender.engine.answer(black_box(question), contender.asked, &mut answers)?;
            black_box(&answers);
            decided += 1;
        }
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(decided))
}
