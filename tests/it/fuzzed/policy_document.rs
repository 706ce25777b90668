//! What holds of every policy document. The input is its JSON text.

use std::sync::{Arc, LazyLock};

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::decision::{Decision, DenyReason, DependencyMode, Effect};
use ecs_authz::policy::{
    Actions, Applicable, CompiledPolicy, Compiler, Document, Grant, MAX_BYTES, PolicySet, ResourcePattern,
    Scene, Scope, Setting, Statement, Version, evaluate, warnings,
};
use ecs_authz::request::{Context, PrincipalParts, Request, RequestParts};
use serde_json::{Value, json};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::published().expect("the published tables"));
static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(requests);

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match Document::parse(text) {
        Ok(document) => {
            it_keeps_the_published_limits(text, &document);
            what_is_written_back_is_the_same(&document);
            one_member_more_is_an_error(text);
            its_decisions_follow_from_its_effects(&document);
            its_warnings_are_lines_with_a_place(&document);
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "an error says what is wrong");
            for error in errors.iter().map(ToString::to_string) {
                assert!(error.starts_with('$') && error.contains(": "), "{error:?}");
                assert!(!error.contains(char::is_control), "one error is one line: {error:?}");
                assert!(error.len() < 2_000, "{error:?}");
            }
        }
    }
}

fn its_warnings_are_lines_with_a_place(document: &Document) {
    let mut compiler = Compiler::new(&CATALOG);
    let policy = compiler.compile("p", document);
    for warning in warnings(document, &policy, &mut compiler, |_| false) {
        assert!(
            ["$.Statement[", "$.Depends["].iter().any(|start| warning.path.starts_with(start)),
            "{warning:?}"
        );
        let shown = warning.doubt.to_string();
        assert!(!shown.contains(char::is_control) && shown.len() < 2_000, "{warning:?}");
    }
}

/// The numbers are those of the provider's error codes.
fn it_keeps_the_published_limits(text: &str, document: &Document) {
    let json: Value = serde_json::from_str(text).expect("a document is JSON");
    assert!(text.len() <= MAX_BYTES && json.to_string().chars().count() <= 6_144);
    assert!((1..=8).contains(&document.statements.len()));
    assert!(document.depends.len() <= 20);
    assert!(document.depends.is_empty() || document.version == Version::Role);
    for (statement, json) in document.statements.iter().zip(json["Statement"].as_array().expect("an array")) {
        let (Actions::Of(patterns) | Actions::AllBut(patterns)) = &statement.actions;
        assert!((1..=100).contains(&patterns.len()));
        assert!(patterns.iter().all(|pattern| pattern.to_string().len() <= 128));
        assert!(statement.conditions.is_empty() || document.version == Version::Policy);
        assert!(statement.conditions.len() <= 100);
        let is_uri = json["Resource"].is_object();
        let most = if is_uri { 20 } else { 10 };
        let resources = statement.resources.as_deref();
        assert!(resources.is_none_or(|resources| (1..=most).contains(&resources.len())));
        assert_eq!(json.get("Condition").is_some(), !statement.conditions.is_empty());
        assert_eq!(json.get("Resource").is_some(), resources.is_some());
        assert_eq!(json["Effect"], word(statement.effect));
    }
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "Allow",
        Effect::Deny => "Deny",
    }
}

fn what_is_written_back_is_the_same(document: &Document) {
    let version = match document.version {
        Version::Role => "1.0",
        Version::Policy => "1.1",
    };
    let statements: Vec<Value> = document.statements.iter().map(written).collect();
    let mut json = json!({"Version": version, "Statement": statements});
    if !document.depends.is_empty() {
        let depends = document.depends.iter();
        json["Depends"] =
            depends.map(|role| json!({"catalog": role.catalog, "display_name": role.display_name})).collect();
    }
    assert_eq!(Document::parse(&json.to_string()).as_ref(), Ok(document), "{json}");
}

fn written(statement: &Statement) -> Value {
    let (member, patterns) = match &statement.actions {
        Actions::Of(patterns) => ("Action", patterns),
        Actions::AllBut(patterns) => ("NotAction", patterns),
    };
    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    let mut json = json!({"Effect": word(statement.effect), member: patterns});
    if let Some(resources) = &statement.resources {
        let texts: Vec<String> = resources.iter().map(ToString::to_string).collect();
        let is_uri = resources.iter().any(|resource| matches!(resource, ResourcePattern::Agency(_)));
        json["Resource"] = if is_uri { json!({"uri": texts}) } else { json!(texts) };
    }
    for condition in &statement.conditions {
        json["Condition"][&*condition.operator][condition.key.name()] = json!(condition.values);
    }
    json
}

/// A member that nobody knows is told with its place, at the top and in a statement.
fn one_member_more_is_an_error(text: &str) {
    let json: Value = serde_json::from_str(text).expect("a document is JSON");
    let (mut outer, mut inner) = (json.clone(), json);
    outer["Unexpected"] = json!(1);
    inner["Statement"][0]["Unexpected"] = json!(1);
    for (json, place) in [(outer, "$.Unexpected: "), (inner, "$.Statement[0].Unexpected: ")] {
        let text = json.to_string();
        if text.chars().count() > 6_144 {
            continue;
        }
        let errors = Document::parse(&text).expect_err("an unknown member");
        assert!(matches!(errors.as_slice(), [error] if error.to_string().starts_with(place)), "{errors:?}");
    }
}

fn its_decisions_follow_from_its_effects(document: &Document) {
    let with = |statements: Vec<Statement>| Document { statements, ..document.clone() };
    let only = |effect| {
        with(document.statements.iter().filter(|statement| statement.effect == effect).cloned().collect())
    };
    let all = |effect| {
        with(document.statements.iter().map(|statement| Statement { effect, ..statement.clone() }).collect())
    };
    let reversed = with(document.statements.iter().rev().cloned().collect());
    let changed =
        [&reversed, &only(Effect::Allow), &only(Effect::Deny), &all(Effect::Allow), &all(Effect::Deny)];
    let sets = changed.map(policies);
    let whole = policies(document);
    for request in REQUESTS.iter() {
        let decision = decide(&whole, request);
        let [reversed, allowing, denying, all_allow, all_deny] =
            sets.each_ref().map(|set| decide(set, request));
        assert_eq!(decision, reversed, "the order of statements means nothing");
        assert!(!denying.is_allow() && !all_deny.is_allow(), "a deny allows");
        assert!(allowing.is_allow() || !decision.is_allow(), "a deny allows more");
        assert!(all_allow.is_allow() || !decision.is_allow(), "an allow allows less");
        let is_explicit = decision.reason() == Some(DenyReason::ExplicitDeny);
        assert_eq!(is_explicit, denying.reason() == Some(DenyReason::ExplicitDeny), "an allow hides a deny");
        assert_ne!(allowing.reason(), Some(DenyReason::ExplicitDeny), "an allow denies");
        // What allows for certain denies for certain.
        assert!(!all_allow.is_allow() || all_deny.reason() == Some(DenyReason::ExplicitDeny));
    }
}

/// The document alone, granted in all projects. Roles need no other here.
fn policies(document: &Document) -> Arc<PolicySet> {
    let document = Document { depends: Vec::new(), ..document.clone() };
    let policy = Arc::new(CompiledPolicy::compile("p", &document, &CATALOG));
    let grant = Grant { policy, scope: Scope::AllProjects };
    Arc::new(PolicySet::merge(&Applicable::of(Some("p"), &[grant]), CATALOG.action_count()))
}

fn decide(policies: &Arc<PolicySet>, request: &Request) -> Decision {
    let call = CATALOG.resolve(request.method(), request.path(), request.body()).expect("an operation");
    let scene = Scene::new(
        Setting { catalog: &CATALOG, caller: request.caller(), region: Some("eu-de") },
        call,
        request,
    );
    evaluate(scene, policies.clone(), DependencyMode::Report).decision
}

/// Calls of several kinds: on nothing, on an object, on a list of them, on one that can't be told.
fn requests() -> Vec<Request> {
    let calls = [
        ("GET", "/v1/p/cloudservers/detail", ""),
        ("DELETE", "/v2.1/p/servers/s1", ""),
        ("POST", "/v2.1/p/servers/s1/action", r#"{"os-start":null}"#),
        ("POST", "/v1/p/cloudservers/action", r#"{"os-stop":{"servers":[{"id":"s1"},{"id":"s2"}]}}"#),
        ("POST", "/v1/p/cloudservers", r#"{"server":{"flavorRef":"x1"}}"#),
        ("POST", "/v1/p/cloudservers", ""),
    ];
    let request = |(method, path, content): (&str, &str, &str)| {
        let body = match content {
            "" => Body::Absent,
            content => Body::Content { bytes: content.into(), truncated: false },
        };
        let principal = PrincipalParts {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            user_name: "Alice".into(),
            project_id: "p".into(),
            mfa_present: Some(true),
            ..Default::default()
        };
        let attributes =
            [("g:TagKeys", vec!["team", "cost"]), ("evs:Size", vec!["10"]), ("obs:prefix", vec![""])];
        let attributes = attributes
            .into_iter()
            .map(|(key, values)| (key.to_owned(), values.into_iter().map(String::from).collect()));
        let context = Context {
            source_ip: "10.1.2.3".into(),
            attributes: attributes.collect(),
            time: Some(1_795_509_000),
            region: String::new(),
        };
        let (method, path) = (method.into(), path.into());
        Request::new(RequestParts { principal, method, path, body, context, ..Default::default() })
            .expect("a well-formed request")
    };
    calls.map(request).into()
}
