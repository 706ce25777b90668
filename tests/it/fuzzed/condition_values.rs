//! What holds of every clause of a condition. The input is lines: the operator, the key, the values of the policy, and
//! behind a line `--` the values of the call.

use std::sync::{Arc, LazyLock};

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::decision::{Decision, DenyReason, DependencyMode, Effect};
use ecs_authz::policy::{
    Actions, Applicable, CompiledPolicy, Condition, Document, Grant, Pattern, PolicySet, Scene, Scope,
    Setting, Statement, Version, evaluate,
};
use ecs_authz::request::{Context, PrincipalParts, Request, RequestParts};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::published().expect("the published tables"));

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let (Some(operator), Some(key)) = (lines.next(), lines.next()) else { return };
    let wanted: Vec<&str> = lines.by_ref().take_while(|line| *line != "--").take(16).collect();
    let seen: Vec<&str> = lines.take(16).collect();
    the_document_reads_what_the_clause_reads(operator, key, &wanted);
    let Some(call) = Call::of(key, &seen) else { return };
    let clause = Clause { operator, wanted: &wanted, call: &call };
    let Some(outcome) = clause.outcome() else { return };
    a_missing_key_is_what_the_name_says(&clause, outcome);
    the_opposite_operator_says_the_opposite(&clause, outcome);
    one_fitting_value_is_enough(&clause, outcome);
    what_can_not_be_read_is_unclear(&clause, outcome);
    a_value_is_like_itself(&call);
    text_matches_as_a_slow_matcher_says(&clause, outcome);
    numbers_and_times_have_their_order(&clause, outcome);
}

/// Whether a clause holds, as its effects show: it allows if it holds for certain, and denies if it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    NotMet,
    Unclear,
    Met,
}

impl Outcome {
    fn opposite(self) -> Self {
        match self {
            Self::NotMet => Self::Met,
            Self::Unclear => Self::Unclear,
            Self::Met => Self::NotMet,
        }
    }
}

/// A call with the values of a key.
struct Call<'a> {
    key: &'a str,
    seen: &'a [&'a str],
    request: Request,
}

impl<'a> Call<'a> {
    /// None for keys that no caller tells, and for values beyond the limits of a request.
    fn of(key: &'a str, seen: &'a [&'a str]) -> Option<Self> {
        let values = seen.iter().map(ToString::to_string).collect();
        let attributes = [(key.to_owned(), values)].into();
        let principal = PrincipalParts {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            project_id: "p".into(),
            ..Default::default()
        };
        let parts = RequestParts {
            principal,
            method: "GET".into(),
            path: "/v1/p/cloudservers/detail".into(),
            body: Body::Absent,
            context: Context { attributes, ..Default::default() },
            ..Default::default()
        };
        Some(Self { key, seen, request: Request::new(parts).ok()? })
    }

    fn decide(&self, statements: Vec<Statement>) -> Decision {
        let document = Document { version: Version::Policy, statements, depends: Vec::new() };
        let policy = Arc::new(CompiledPolicy::compile("p", &document, &CATALOG));
        let grant = Grant { policy, scope: Scope::AllProjects };
        let policies =
            Arc::new(PolicySet::merge(&Applicable::of(Some("p"), &[grant]), CATALOG.action_count()));
        let (method, path, body) = (self.request.method(), self.request.path(), self.request.body());
        let call = CATALOG.resolve(method, path, body).expect("an operation");
        let scene = Scene::new(
            Setting { catalog: &CATALOG, caller: self.request.caller(), region: None },
            call,
            &self.request,
        );
        evaluate(scene, policies, DependencyMode::Report).decision
    }

    fn is_blank(&self) -> bool {
        self.seen.iter().all(|value| value.is_empty())
    }
}

struct Clause<'a> {
    operator: &'a str,
    wanted: &'a [&'a str],
    call: &'a Call<'a>,
}

impl Clause<'_> {
    /// Nothing if the clause is malformed.
    fn outcome(&self) -> Option<Outcome> {
        let condition = Condition::parse(self.operator, self.call.key, self.wanted).ok()?;
        let statement = |effect, conditions| Statement {
            effect,
            actions: Actions::Of(vec![Pattern::parse("*", Version::Policy).expect("a pattern")]),
            resources: None,
            conditions,
        };
        let if_met = statement(Effect::Allow, vec![condition.clone()]);
        let unless_met = vec![statement(Effect::Allow, Vec::new()), statement(Effect::Deny, vec![condition])];
        let denies = self.call.decide(unless_met).reason();
        assert!(denies.is_none_or(|reason| reason == DenyReason::ExplicitDeny), "{denies:?}");
        match (self.call.decide(vec![if_met]).is_allow(), denies.is_some()) {
            (true, true) => Some(Outcome::Met),
            (false, true) => Some(Outcome::Unclear),
            (false, false) => Some(Outcome::NotMet),
            (true, false) => panic!("it allows what it does not deny"),
        }
    }

    /// The outcome of another clause on the same call.
    fn other(&self, operator: &str, wanted: &[&str]) -> Option<Outcome> {
        Clause { operator, wanted, call: self.call }.outcome()
    }

    /// The operator without prefix and suffix.
    fn base(&self) -> &str {
        let name = self.operator.split_once(':').map_or(self.operator, |(_, name)| name);
        let name = name.strip_suffix("IfExists").unwrap_or(name);
        name.strip_suffix("AnyOf").unwrap_or(name)
    }

    fn is_negated(&self) -> bool {
        self.base().contains("Not")
    }

    fn asks_for_presence(&self) -> bool {
        ["Null", "IsNullOrEmpty"].contains(&self.base())
    }
}

fn the_document_reads_what_the_clause_reads(operator: &str, key: &str, wanted: &[&str]) {
    let condition = serde_json::json!({operator: {key: wanted}});
    let text = format!(
        r#"{{"Version":"1.1","Statement":[{{"Effect":"Allow","Action":["*"],"Condition":{condition}}}]}}"#
    );
    let fits = text.chars().count() <= 6_144 && wanted.iter().all(|value| value.chars().count() <= 1_024);
    let is_clause = !wanted.is_empty() && fits && Condition::parse(operator, key, wanted).is_ok();
    // Values of no characters are beyond the document's limits.
    let is_clause = is_clause && wanted.iter().all(|value| !value.is_empty());
    assert_eq!(Document::parse(&text).is_ok(), is_clause, "{text}");
}

fn a_missing_key_is_what_the_name_says(clause: &Clause<'_>, outcome: Outcome) {
    if clause.asks_for_presence() {
        let is_missing = clause.call.seen.is_empty() || (clause.base() != "Null" && clause.call.is_blank());
        let wants_missing = clause.wanted[0].eq_ignore_ascii_case("true");
        let expected = if is_missing == wants_missing { Outcome::Met } else { Outcome::NotMet };
        return assert_eq!(outcome, expected);
    }
    let strict = clause.operator.strip_suffix("IfExists");
    match strict.and_then(|strict| clause.other(strict, clause.wanted)) {
        Some(_) if clause.call.is_blank() => assert_eq!(outcome, Outcome::Met),
        Some(strict) => assert_eq!(outcome, strict),
        None if clause.call.seen.is_empty() => assert_eq!(outcome, of_no_values(clause)),
        None => {}
    }
}

/// A missing key meets negated operators. None of no values is any, and all of them fit: where that says otherwise, it
/// is unclear.
fn of_no_values(clause: &Clause<'_>) -> Outcome {
    let is_any = clause.operator.starts_with("ForAnyValue:") || clause.operator.ends_with("AnyOf");
    let is_all = clause.operator.starts_with("ForAllValues:");
    match clause.is_negated() {
        true if is_any => Outcome::Unclear,
        true => Outcome::Met,
        false if is_all => Outcome::Unclear,
        false => Outcome::NotMet,
    }
}

/// Operators that are each other's opposites, whatever the values of the policy.
const OPPOSITES: [(&str, &str); 6] = [
    ("StringEquals", "StringNotEquals"),
    ("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
    ("StringLike", "StringNotLike"),
    ("StringMatch", "StringNotMatch"),
    ("NumberEquals", "NumberNotEquals"),
    ("IpAddress", "NotIpAddress"),
];
/// Those that are for one value of the policy.
const OPPOSITE_ORDERS: [(&str, &str); 4] = [
    ("NumberLessThan", "NumberGreaterThanEquals"),
    ("NumberGreaterThan", "NumberLessThanEquals"),
    ("DateLessThan", "DateGreaterThanEquals"),
    ("DateGreaterThan", "DateLessThanEquals"),
];

fn opposite_of(clause: &Clause<'_>) -> Option<&'static str> {
    let is_ordered = clause.wanted.len() == 1 && !clause.call.seen.is_empty();
    let orders = OPPOSITE_ORDERS.iter().filter(|_| is_ordered);
    OPPOSITES.iter().chain(orders).find_map(|(one, other)| match clause.base() {
        base if base == *one => Some(*other),
        base if base == *other => Some(*one),
        _ => None,
    })
}

/// None of all is not any, and the other way round.
fn the_opposite_operator_says_the_opposite(clause: &Clause<'_>, outcome: Outcome) {
    let Some(base) = opposite_of(clause) else { return };
    let is_tolerant = clause.operator.ends_with("IfExists");
    if is_tolerant && clause.call.is_blank() {
        return;
    }
    let is_any = clause.operator.starts_with("ForAnyValue:")
        || clause.operator.trim_end_matches("IfExists").ends_with("AnyOf");
    let prefix = match clause.operator.starts_with("ForAllValues:") {
        true => "ForAnyValue:",
        false if is_any => "ForAllValues:",
        false => "",
    };
    let suffix = if is_tolerant { "IfExists" } else { "" };
    let opposite = clause.other(&format!("{prefix}{base}{suffix}"), clause.wanted);
    assert_eq!(opposite, Some(outcome.opposite()), "{prefix}{base}{suffix}");
}

/// Of the policy's values one must fit, and of those of a negated operator none.
fn one_fitting_value_is_enough(clause: &Clause<'_>, outcome: Outcome) {
    if clause.asks_for_presence() || clause.call.seen.len() != 1 {
        return;
    }
    let outcomes = clause.wanted.iter().filter_map(|value| clause.other(clause.operator, &[value]));
    let expected = if clause.is_negated() { outcomes.min() } else { outcomes.max() };
    assert!(expected.is_none_or(|expected| outcome == expected), "{expected:?}");
}

/// What a policy could not write is no value of its kind, and half a yes is neither.
fn what_can_not_be_read_is_unclear(clause: &Clause<'_>, outcome: Outcome) {
    let is_plain = !clause.operator.contains(':') && !clause.operator.contains("AnyOf");
    let is_tolerant = clause.operator.ends_with("IfExists") && clause.call.is_blank();
    if clause.asks_for_presence() || !is_plain || is_tolerant || clause.call.seen.is_empty() {
        return;
    }
    let reads = |value: &&str| Condition::parse(clause.base(), clause.call.key, &[value]).is_ok();
    // A policy may write networks, and calls come from addresses.
    let is_address = clause.base().contains("Ip");
    let is_read = clause.call.seen.iter().all(|value| reads(value) && (!is_address || !value.contains('/')));
    if !is_read {
        return assert_eq!(outcome, Outcome::Unclear);
    }
    let one_by_one = clause.call.seen.iter().filter_map(|value| {
        let call = Call::of(clause.call.key, std::slice::from_ref(value))?;
        Clause { call: &call, ..*clause }.outcome()
    });
    let outcomes: Vec<Outcome> = one_by_one.collect();
    let is_unanimous = outcomes.iter().all(|other| *other == outcomes[0]);
    // An empty value is none to `IfExists` when it stands alone, and one among others.
    if !clause.operator.ends_with("IfExists") {
        assert_eq!(outcome, if is_unanimous { outcomes[0] } else { Outcome::Unclear });
    }
}

fn a_value_is_like_itself(call: &Call<'_>) {
    let [value] = call.seen else { return };
    let reflexive = [
        "StringEquals",
        "StringEqualsIgnoreCase",
        "StringLike",
        "StringStartWith",
        "StringEndWith",
        "StringMatch",
        "NumberEquals",
        "NumberLessThanEquals",
        "NumberGreaterThanEquals",
        "DateLessThanEquals",
        "DateGreaterThanEquals",
        "Bool",
    ];
    for operator in reflexive {
        let outcome = Clause { operator, wanted: &[value], call }.outcome();
        assert!(outcome.is_none_or(|outcome| outcome == Outcome::Met), "{operator} {value:?}: {outcome:?}");
    }
}

fn text_matches_as_a_slow_matcher_says(clause: &Clause<'_>, outcome: Outcome) {
    let ("StringMatch", [seen]) = (clause.operator, clause.call.seen) else { return };
    let fits = clause.wanted.iter().any(|pattern| {
        let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), seen.chars().collect());
        matches(&pattern, &text)
    });
    assert_eq!(outcome, if fits { Outcome::Met } else { Outcome::NotMet });
}

/// `*` is any text and `?` one character: whether each start of the pattern matches each start of the text.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let mut row: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for expected in pattern {
        let mut next = vec![false; row.len()];
        next[0] = *expected == '*' && row[0];
        for (at, found) in text.iter().enumerate() {
            next[at + 1] = match expected {
                '*' => next[at] || row[at + 1],
                '?' => row[at],
                expected => row[at] && expected == found,
            };
        }
        row = next;
    }
    row[text.len()]
}

/// Integers have the order of integers, and times of one width that of their texts.
fn numbers_and_times_have_their_order(clause: &Clause<'_>, outcome: Outcome) {
    let ([wanted], [seen]) = (clause.wanted, clause.call.seen) else { return };
    let integers = || Some((seen.parse::<i128>().ok()?, wanted.parse::<i128>().ok()?));
    let ordering = match (integers(), clause.base()) {
        (Some((seen, wanted)), base) if base.starts_with("Number") => seen.cmp(&wanted),
        (_, base) if base.starts_with("Date") && (seen.len(), wanted.len()) == (20, 20) => seen.cmp(wanted),
        _ => return,
    };
    let holds = match clause.base() {
        "NumberEquals" => ordering.is_eq(),
        "NumberNotEquals" => ordering.is_ne(),
        "NumberLessThan" | "DateLessThan" => ordering.is_lt(),
        "NumberLessThanEquals" | "DateLessThanEquals" => ordering.is_le(),
        "NumberGreaterThan" | "DateGreaterThan" => ordering.is_gt(),
        _ => ordering.is_ge(),
    };
    // Such as `+1`, which a program may write and no policy.
    let is_read = outcome != Outcome::Unclear;
    assert!(!is_read || (outcome == Outcome::Met) == holds, "{outcome:?}");
}
