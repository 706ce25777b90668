//! Who makes a checked request: each field of the principal, in each form that claims and headers can have.

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Value};
use libtest_mimic::Trial;

use crate::ext_authz::{Check, GATEWAY, object, text};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_payload_that_is_no_object_is_no_identity,
        a_claim_of_another_type_is_denied,
        agencies_and_roles_are_read_from_claims,
        agencies_and_roles_are_read_from_headers,
        the_flag_of_a_header_is_a_word,
    ]
}

const ALLOW: &str = "ALLOW";
const INVALID: &str = "INVALID_IDENTITY";
const NO_ALLOW: &str = "NO_MATCHING_ALLOW";
const MISMATCH: &str = "PROJECT_MISMATCH";

fn null() -> Value {
    Value { kind: Some(Kind::NullValue(0)) }
}

fn flag(flag: bool) -> Value {
    Value { kind: Some(Kind::BoolValue(flag)) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

fn list<const N: usize>(values: [Value; N]) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: values.into() })) }
}

fn check() -> Check {
    Check::new("GET", "/v2.1/prod/servers")
}

fn domain() -> (&'static str, Value) {
    ("domain", object([("id", text("acme"))]))
}

fn project() -> (&'static str, Value) {
    ("project", object([("id", text("prod"))]))
}

fn a_payload_that_is_no_object_is_no_identity() {
    let nothing = Value { kind: None };
    for payload in [nothing, null(), flag(true), number(1.0), text(r#"{"sub":"alice"}"#), list([]), text("")]
    {
        let mut check = check().claims([]);
        let metadata = check.attributes.metadata_context.as_mut().unwrap();
        let filter = metadata.filter_metadata.values_mut().next().unwrap();
        filter.fields.insert("jwt_payload".into(), payload.clone());
        let answer = check.send();
        assert_eq!((answer.outcome(), answer.http_status), ("UNAUTHENTICATED", 401), "{payload:?}");
    }
    let answer = check().claims([]).send();
    assert_eq!((answer.outcome(), answer.http_status), (INVALID, 403), "a token that says nothing of ours");
}

fn a_claim_of_another_type_is_denied() {
    let nested = || object([("id", object([("id", text("acme"))]))]);
    let cases = [
        ("sub", null(), INVALID),
        ("sub", text(""), INVALID),
        ("sub", flag(true), INVALID),
        ("sub", list([text("alice")]), INVALID),
        ("sub", object([("id", text("alice"))]), INVALID),
        ("domain", null(), INVALID),
        ("domain", text("acme"), INVALID),
        ("domain", list([text("acme")]), INVALID),
        ("domain", object([]), INVALID),
        ("domain", object([("id", null())]), INVALID),
        ("domain", object([("id", flag(true))]), INVALID),
        ("domain", nested(), INVALID),
        // Without a project the call is none of the principal's.
        ("project", null(), MISMATCH),
        ("project", text("prod"), MISMATCH),
        ("project", object([("id", null())]), MISMATCH),
        ("project", object([("id", list([text("prod")]))]), INVALID),
        ("agency", null(), ALLOW),
        ("agency", flag(false), INVALID),
        ("agency", list([]), INVALID),
        ("agency", text("ops"), INVALID),
        ("groups", null(), ALLOW),
        ("groups", text("g"), ALLOW),
        ("groups", list([]), ALLOW),
        ("groups", flag(true), INVALID),
        ("groups", number(1.0), INVALID),
        ("groups", object([("0", text("g"))]), INVALID),
        ("groups", list([text("g"), null()]), INVALID),
        ("groups", list([list([text("g")])]), INVALID),
        ("roles", null(), ALLOW),
        ("roles", list([text("r")]), ALLOW),
        ("roles", list([flag(true)]), INVALID),
        ("roles", list([object([("name", text("r"))])]), INVALID),
        ("roles", object([]), INVALID),
        ("mfa", null(), ALLOW),
        ("mfa", flag(true), ALLOW),
        ("mfa", flag(false), ALLOW),
        ("mfa", text("true"), INVALID),
        ("mfa", number(1.0), INVALID),
        ("mfa", list([flag(true)]), INVALID),
        ("mfa", object([]), INVALID),
    ];
    for (name, value, expected) in cases {
        let claims = [("sub", text("alice")), domain(), project(), (name, value.clone())];
        let answer = check().claims(claims).send();
        assert_eq!(answer.outcome(), expected, "{name}: {value:?}");
    }
}

fn agencies_and_roles_are_read_from_claims() {
    let read_only = || text("ECS ReadOnlyAccess");
    let cases = [
        ("agency", text("ops"), ("mfa", flag(true)), ALLOW),
        ("agency", text("other"), ("mfa", null()), NO_ALLOW),
        ("agency", text("other"), ("roles", list([read_only()])), ALLOW),
        ("agency", text("ops"), ("groups", list([text("g")])), INVALID),
        ("sub", text("dora"), ("mfa", null()), NO_ALLOW),
        ("sub", text("dora"), ("roles", list([text("r"), read_only()])), ALLOW),
        ("sub", text("dora"), ("roles", read_only()), ALLOW),
        ("sub", text("dora"), ("roles", text("ECS ReadOnlyAccess,r")), NO_ALLOW),
        ("sub", text("dora"), ("groups", list([read_only()])), NO_ALLOW),
    ];
    for (name, subject, more, expected) in cases {
        let shown = format!("{name} {subject:?} {more:?}");
        let answer = check().claims([(name, subject), domain(), project(), more]).send();
        assert_eq!(answer.outcome(), expected, "{shown}");
    }
}

fn of_gateway(headers: &[(&str, &str)]) -> String {
    let scope = [("x-domain-id", "acme"), ("x-project-id", "prod")];
    check().peer(GATEWAY).raw(&[&scope[..], headers].concat()).send().outcome().to_owned()
}

fn agencies_and_roles_are_read_from_headers() {
    let cases: [(&[(&str, &str)], &str); 10] = [
        (&[("x-agency-id", "ops")], ALLOW),
        (&[("x-agency-id", "other")], NO_ALLOW),
        (&[("x-agency-id", "ops"), ("x-agency-id", "ops")], INVALID),
        (&[("x-agency-id", "ops"), ("x-user-id", "alice")], INVALID),
        (&[("x-agency-id", "ops"), ("x-groups", "g")], INVALID),
        (&[("x-user-id", "dora"), ("x-roles", "r, ECS ReadOnlyAccess")], ALLOW),
        (&[("x-user-id", "dora"), ("x-roles", "r"), ("x-roles", "ECS ReadOnlyAccess")], ALLOW),
        (&[("x-user-id", "dora"), ("x-roles", "ECS\u{a0}ReadOnlyAccess")], INVALID),
        (&[("x-user-id", "dora"), ("x-roles", "")], NO_ALLOW),
        (&[("x-user-id", "dora")], NO_ALLOW),
    ];
    for (headers, expected) in cases {
        assert_eq!(of_gateway(headers), expected, "{headers:?}");
    }
}

fn the_flag_of_a_header_is_a_word() {
    for (word, expected) in [("true", ALLOW), ("false", ALLOW)] {
        assert_eq!(of_gateway(&[("x-user-id", "alice"), ("x-mfa", word)]), expected, "{word:?}");
    }
    for word in ["", "True", "1", "yes", "null", "true,true", "true "] {
        assert_eq!(of_gateway(&[("x-user-id", "alice"), ("x-mfa", word)]), INVALID, "{word:?}");
    }
    let twice = [("x-user-id", "alice"), ("x-mfa", "true"), ("x-mfa", "true")];
    assert_eq!(of_gateway(&twice), INVALID);
}
