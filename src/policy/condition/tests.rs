use super::*;

const GLOBAL: &str = "g:UserName";

fn key_of(operator: &str) -> &'static str {
    match operator {
        _ if operator.contains("Number") => "g:MFAAge",
        _ if operator.contains("Date") => "g:CurrentTime",
        _ if operator.contains("Bool") => "g:MFAPresent",
        _ if operator.contains("Ip") => "g:SourceIp",
        _ => GLOBAL,
    }
}

fn outcome(operator: &str, values: &[&str], seen: &[&str]) -> Outcome {
    let condition = Condition::parse(operator, key_of(operator), values).unwrap();
    condition.outcome(&Seen::of(seen.iter().map(|value| Cow::Borrowed(*value)).collect()))
}

/// Operator, the policy's values, what is seen, and the outcome.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], Outcome);

#[test]
fn operators_compare_as_their_names_say() {
    use Outcome::{Met, NotMet, Unclear};
    let rows: &[Row] = &[
        ("StringEquals", &["a", "b"], &["b"], Met),
        ("StringEquals", &["a"], &["A"], NotMet),
        ("StringNotEquals", &["a", "b"], &["b"], NotMet),
        ("StringNotEquals", &["a", "b"], &["c"], Met),
        ("StringEqualsIgnoreCase", &["STRASSE", "\u{c9}"], &["\u{e9}"], Met),
        ("StringNotEqualsIgnoreCase", &["A"], &["a"], NotMet),
        ("StringLike", &["bc"], &["abcd"], Met),
        ("StringLike", &["b*d"], &["abcd"], NotMet),
        ("StringNotLike", &["bc"], &["abcd"], NotMet),
        ("StringStartWith", &["ab"], &["abc"], Met),
        ("StringStartWith", &["bc"], &["abc"], NotMet),
        ("StringEndWith", &["bc"], &["abc"], Met),
        ("StringMatch", &["a*c"], &["abbc"], Met),
        ("StringMatch", &["a?c"], &["a\u{e9}c"], Met),
        ("StringMatch", &["a?c"], &["ac"], NotMet),
        ("StringMatch", &["*?c"], &["abc"], Met),
        ("StringMatch", &["?*?"], &["a"], NotMet),
        ("StringNotMatch", &["a*"], &["b"], Met),
        ("NumberEquals", &["1.50"], &["1.5"], Met),
        ("NumberNotEquals", &["1"], &["2"], Met),
        ("NumberLessThan", &["10"], &["9"], Met),
        ("NumberLessThan", &["10"], &["10"], NotMet),
        ("NumberLessThanEquals", &["10"], &["10"], Met),
        ("NumberGreaterThan", &["10"], &["9"], NotMet),
        ("NumberGreaterThanEquals", &["10"], &["10"], Met),
        ("NumberLessThan", &["10"], &["ten"], Unclear),
        ("NumberNotEquals", &["10"], &["ten"], Unclear),
        ("DateLessThan", &["2026-01-01T00:00:00Z"], &["2025-12-31T23:59:59Z"], Met),
        ("DateLessThanEquals", &["2026-01-01T00:00:00Z"], &["2026-01-01T00:00:00Z"], Met),
        ("DateGreaterThan", &["2026-01-01T00:00:00Z"], &["2026-01-01T00:00:00Z"], NotMet),
        ("DateGreaterThanEquals", &["2026-01-01T00:00:00Z"], &["2026-01-01T00:00:00Z"], Met),
        ("DateGreaterThan", &["2026-01-01T00:00:00Z"], &["now"], Unclear),
        ("Bool", &["true"], &["TRUE"], Met),
        ("Bool", &["false"], &["true"], NotMet),
        ("Bool", &["true"], &["1"], Unclear),
        ("IpAddress", &["10.0.0.0/8", "::1"], &["10.1.2.3"], Met),
        ("IpAddress", &["10.0.0.0/8"], &["::ffff:10.1.2.3"], Met),
        ("IpAddress", &["10.0.0.0/8"], &["11.1.2.3"], NotMet),
        ("IpAddress", &["2001:db8::/32"], &["2001:db8::1"], Met),
        ("NotIpAddress", &["10.0.0.0/8"], &["10.1.2.3"], NotMet),
        ("IpAddress", &["10.0.0.0/8"], &["localhost"], Unclear),
        ("Null", &["true"], &[], Met),
        ("Null", &["false"], &[], NotMet),
        ("Null", &["false"], &[""], Met),
        ("IsNullOrEmpty", &["true"], &[""], Met),
        ("IsNullOrEmpty", &["true"], &["", "a"], NotMet),
    ];
    for (operator, values, seen, expected) in rows {
        assert_eq!(outcome(operator, values, seen), *expected, "{operator} {values:?} {seen:?}");
    }
}

#[test]
fn several_values_must_say_the_same_unless_any_or_all_is_asked_for() {
    use Outcome::{Met, NotMet, Unclear};
    let rows: &[Row] = &[
        ("StringEquals", &["a", "b"], &["a", "b"], Met),
        ("StringEquals", &["a"], &["b", "c"], NotMet),
        ("StringEquals", &["a"], &["a", "b"], Unclear),
        ("StringNotEquals", &["a"], &["a", "b"], Unclear),
        ("StringEqualsAnyOf", &["a"], &["a", "b"], Met),
        ("ForAnyValue:StringEquals", &["a"], &["a", "b"], Met),
        ("ForAnyValue:StringNotEquals", &["a"], &["a", "b"], Met),
        ("ForAnyValue:StringNotEquals", &["a"], &["a"], NotMet),
        ("ForAllValues:StringEquals", &["a"], &["a", "b"], NotMet),
        ("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], Met),
        ("ForAllValues:NumberLessThan", &["5"], &["1", "x"], Unclear),
        ("ForAllValues:NumberLessThan", &["5"], &["9", "x"], NotMet),
        ("ForAnyValue:NumberLessThan", &["5"], &["9", "x"], Unclear),
        ("ForAnyValue:NumberLessThan", &["5"], &["1", "x"], Met),
    ];
    for (operator, values, seen, expected) in rows {
        assert_eq!(outcome(operator, values, seen), *expected, "{operator} {values:?} {seen:?}");
    }
}

#[test]
fn a_key_that_is_not_there_meets_negations_and_if_exists() {
    use Outcome::{Met, NotMet, Unclear};
    let rows: &[Row] = &[
        ("StringEquals", &["a"], &[], NotMet),
        ("StringNotEquals", &["a"], &[], Met),
        ("StringEqualsIfExists", &["a"], &[], Met),
        ("StringEqualsIfExists", &["a"], &[""], Met),
        ("StringEqualsIfExists", &["a"], &["b"], NotMet),
        ("StringEqualsAnyOfIfExists", &["a"], &[], Met),
        ("NumberLessThan", &["1"], &[], NotMet),
        ("BoolIfExists", &["true"], &[], Met),
        ("NotIpAddress", &["10.0.0.0/8"], &[], Met),
        ("ForAllValues:StringEquals", &["a"], &[], Unclear),
        ("ForAnyValue:StringNotEquals", &["a"], &[], Unclear),
        ("ForAnyValue:StringEquals", &["a"], &[], NotMet),
        ("ForAllValues:StringNotEquals", &["a"], &[], Met),
        ("ForAnyValue:StringNotEqualsIfExists", &["a"], &[], Met),
    ];
    for (operator, values, seen, expected) in rows {
        assert_eq!(outcome(operator, values, seen), *expected, "{operator} {values:?} {seen:?}");
    }
    for operator in ["StringEquals", "StringNotEquals", "StringEqualsIfExists", "Null", "IsNullOrEmpty"] {
        let condition = Condition::parse(operator, GLOBAL, &["true"]).unwrap();
        assert_eq!(condition.outcome(&Seen::Unknown), Outcome::Unclear, "{operator}");
    }
}

#[test]
fn names_that_are_no_operators_are_refused() {
    for name in [
        "",
        "StringEqual",
        "stringEquals",
        "StringNotStartWith",
        "StringMatchAnyOf",
        "DateEquals",
        "NumberEqualsAnyOf",
        "NullIfExists",
        "ForAnyValue:Null",
        "ForAnyValue:StringEqualsAnyOf",
        "StringEqualsIfExistsAnyOf",
        "ForEachValue:StringEquals",
        "ForAnyValue:ForAllValues:StringEquals",
        "NumericEquals",
    ] {
        let fault = Condition::parse(name, GLOBAL, &["true"]).unwrap_err();
        assert_eq!(fault, (None, ConditionFault::Operator(name.to_owned())), "{name}");
    }
}

#[test]
fn numbers_in_networks_have_no_zero_in_front() {
    for (value, is_network) in [
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("::/0", true),
        ("2001:db8::/32", true),
        ("10.0.0.0/08", false),
        ("0.0.0.0/00", false),
        ("2001:db8::/032", false),
        ("010.0.0.0/8", false),
        ("10.0.0.0/+8", false),
        ("10.0.0.0/8/8", false),
        ("10.0.0.0/ 8", false),
    ] {
        let parsed = Condition::parse("IpAddress", "g:SourceIp", &[value]);
        assert_eq!(parsed.is_ok(), is_network, "{value}");
    }
}

#[test]
fn keys_of_other_services_are_taken_and_the_own_ones_a_closed_list() {
    for name in
        ["g:UserId", "g:RequestTag/team", "ecs:FlavorId", "evs:Encrypted", "obs:prefix", "hw:SourceIp"]
    {
        assert!(Key::parse(name).is_ok(), "{name}");
    }
    for name in ["g:userid", "g:RequestTag/", "ecs:flavorId", "hw:x", "x", ":x", "x:", "X:y", "g:"] {
        assert!(Key::parse(name).is_err(), "{name}");
    }
}
