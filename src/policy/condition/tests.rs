use std::borrow::Cow;

use super::*;
use crate::catalog::Seen;

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
    condition.outcome(Sight::from(&Seen::of(seen.iter().map(|value| Cow::Borrowed(*value)))))
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
        assert_eq!(condition.outcome(Sight::Unknown), Outcome::Unclear, "{operator}");
    }
}

#[test]
fn names_that_are_no_operators_are_refused() {
    let near = |name: &str| Some(Likeness::Near(name.into()));
    let case = |name: &str| Some(Likeness::Case(name.into()));
    for (name, like) in [
        ("", None),
        ("StringEqual", near("StringEquals")),
        ("StringEquals ", near("StringEquals")),
        ("StringEndWithIfExsits", near("StringEndWithIfExists")),
        ("stringEquals", case("StringEquals")),
        ("STRINGEQUALSIFEXISTS", case("StringEqualsIfExists")),
        ("forallvalues:stringmatch", case("ForAllValues:StringMatch")),
        ("StringNotStartWith", None),
        ("DateEquals", None),
        ("StringEqualsIfExistsAnyOf", None),
        ("ForEachValue:StringEquals", None),
        ("ForAnyValue:ForAllValues:StringEquals", None),
        ("NumericEquals", None),
    ] {
        let fault = Condition::parse(name, GLOBAL, &["true"]).unwrap_err();
        assert_eq!(fault, (None, ConditionFault::Operator { name: name.to_owned(), like }), "{name}");
    }
}

#[test]
fn parts_of_a_name_that_do_not_go_together_are_told() {
    for (name, part, with) in [
        ("StringMatchAnyOf", "AnyOf", "StringMatch"),
        ("NumberEqualsAnyOf", "AnyOf", "NumberEquals"),
        ("ForAllValues:NumberEqualsAnyOf", "AnyOf", "NumberEquals"),
        ("NullAnyOf", "AnyOf", "Null"),
        ("NullIfExists", "IfExists", "Null"),
        ("ForAnyValue:Null", "ForAnyValue:", "Null"),
        ("ForAllValues:IsNullOrEmptyIfExists", "ForAllValues:", "IsNullOrEmpty"),
        ("ForAnyValue:StringEqualsAnyOf", "ForAnyValue:", "AnyOf"),
        ("ForAllValues:StringLikeAnyOfIfExists", "ForAllValues:", "AnyOf"),
    ] {
        let fault = Condition::parse(name, GLOBAL, &["true"]).unwrap_err();
        assert_eq!(fault, (None, ConditionFault::Combination { part, with }), "{name}");
    }
}

#[test]
fn an_unknown_key_names_the_known_one_that_it_looks_like() {
    for (name, fault) in [
        ("g:username", "unknown key `g:username`: letter case matters, expected `g:UserName`"),
        ("G:UserName", "unknown key `G:UserName`: letter case matters, expected `g:UserName`"),
        ("HW:sourceip", "unknown key `HW:sourceip`: letter case matters, expected `hw:SourceIp`"),
        ("g:requestTag/x", "unknown key `g:requestTag/x`: letter case matters, expected `g:RequestTag/`"),
        ("g:ResourceTags/x", "unknown key `g:ResourceTags/x`: the nearest known one is `g:ResourceTag/`"),
        ("g:UsreName", "unknown key `g:UsreName`: the nearest known one is `g:UserName`"),
        ("ecs:SSHKeyPair", "unknown key `ecs:SSHKeyPair`: the nearest known one is `ecs:SSHKeyPairName`"),
        ("g:MFAPresentToday", "unknown key `g:MFAPresentToday`: the nearest known one is `g:MFAPresent`"),
        ("g:User", "unknown key `g:User`: the nearest known one is `g:UserId`"),
        ("g:MFA", "unknown key `g:MFA`"),
        ("g:Us", "unknown key `g:Us`"),
        ("ecs:Password", "unknown key `ecs:Password`"),
        ("hw:UserName", "unknown key `hw:UserName`"),
        ("g:", "unknown key `g:`"),
        ("g:RequestTag/", "expected the name of a tag behind `g:RequestTag/`"),
        ("X:y", "expected a key `service:Name`, found `X:y`"),
    ] {
        assert_eq!(Key::parse(name).unwrap_err().to_string(), fault);
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
