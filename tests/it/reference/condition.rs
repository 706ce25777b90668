//! The `Condition` of a statement: `{operator: {key: [values]}}`.

use serde_json::Value;

use super::facts::{Facts, Seen};
use super::told::Told;
use super::value::{address, boolean, date_parts, is_in_range, number, wildcards};

/// An operator's name, taken apart: `ForAnyValue:StringEqualsIfExists`.
struct Operator<'a> {
    quantifier: Quantifier,
    /// `StringEquals`, also of `StringNotEquals`.
    positive: &'a str,
    is_negated: bool,
    if_exists: bool,
}

#[derive(PartialEq)]
enum Quantifier {
    None,
    Any,
    All,
}

/// What each operator and key of a condition comes to.
pub(super) fn clauses(condition: &Value, action: &str, facts: &Facts<'_>) -> Vec<Told> {
    let mut told = Vec::new();
    for (operator, keys) in condition.as_object().expect("operators") {
        for (key, values) in keys.as_object().expect("keys") {
            let values = values.as_array().expect("values").iter();
            let expected: Vec<&str> = values.map(|value| value.as_str().expect("text")).collect();
            told.push(clause(operator, &expected, &facts.seen(key, action)));
        }
    }
    told
}

fn clause(operator: &str, expected: &[&str], seen: &Seen) -> Told {
    let is_empty = |values: &[String]| values.iter().all(String::is_empty);
    if ["Null", "IsNullOrEmpty"].contains(&operator) {
        let is_absent = match seen {
            Seen::Unknown => return Told::Unclear,
            Seen::Absent => true,
            Seen::Known(values) => operator == "IsNullOrEmpty" && is_empty(values),
        };
        return match expected {
            ["true"] => met(is_absent),
            ["false"] => met(!is_absent),
            _ => panic!("expected one of true and false: {expected:?}"),
        };
    }
    let Operator { quantifier, positive, is_negated, if_exists } = parse(operator);
    let values = match seen {
        Seen::Unknown => return Told::Unclear,
        Seen::Absent if if_exists => return Told::Met,
        // There is no value, so not any that fits; and all that there are fit. The other rule is that a missing key meets
        // negated operators alone. Where they differ, nothing is told.
        Seen::Absent => {
            let by_polarity = is_negated;
            let by_quantifier = match quantifier {
                Quantifier::None => by_polarity,
                Quantifier::Any => false,
                Quantifier::All => true,
            };
            return if by_polarity == by_quantifier { met(by_polarity) } else { Told::Unclear };
        }
        Seen::Known(values) if if_exists && is_empty(values) => return Told::Met,
        Seen::Known(values) => values,
    };
    let results: Vec<Option<bool>> =
        values.iter().map(|value| result(positive, is_negated, value, expected)).collect();
    let (some_true, all_true) =
        (results.contains(&Some(true)), results.iter().all(|result| *result == Some(true)));
    let (some_false, all_false) =
        (results.contains(&Some(false)), results.iter().all(|result| *result == Some(false)));
    let (is_met, is_not_met) = match quantifier {
        Quantifier::None => (all_true, all_false),
        Quantifier::Any => (some_true, all_false),
        Quantifier::All => (all_true, some_false),
    };
    if is_met {
        Told::Met
    } else if is_not_met {
        Told::NotMet
    } else {
        Told::Unclear
    }
}

fn met(is_met: bool) -> Told {
    if is_met { Told::Met } else { Told::NotMet }
}

fn parse(name: &str) -> Operator<'_> {
    let (quantifier, rest) = match name.split_once(':') {
        Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
        Some(("ForAllValues", rest)) => (Quantifier::All, rest),
        Some(_) => panic!("no operator: {name}"),
        None => (Quantifier::None, name),
    };
    let (rest, if_exists) = match rest.strip_suffix("IfExists") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (base, quantifier) = match rest.strip_suffix("AnyOf") {
        Some(base) if quantifier == Quantifier::None => (base, Quantifier::Any),
        Some(_) => panic!("no operator: {name}"),
        None => (rest, quantifier),
    };
    let (positive, is_negated) = match base {
        "StringNotEquals" => ("StringEquals", true),
        "StringNotEqualsIgnoreCase" => ("StringEqualsIgnoreCase", true),
        "StringNotLike" => ("StringLike", true),
        "StringNotMatch" => ("StringMatch", true),
        "NumberNotEquals" => ("NumberEquals", true),
        "NotIpAddress" => ("IpAddress", true),
        positive => (positive, false),
    };
    Operator { quantifier, positive, is_negated, if_exists }
}

/// What an operator says of one value, or nothing if the value is not of its kind.
fn result(positive: &str, is_negated: bool, value: &str, expected: &[&str]) -> Option<bool> {
    let mut hits = Vec::new();
    for expected in expected {
        hits.push(holds(positive, value, expected)?);
    }
    Some(hits.contains(&true) != is_negated)
}

fn holds(positive: &str, value: &str, expected: &str) -> Option<bool> {
    let holds = match positive {
        "StringEquals" => value == expected,
        "StringEqualsIgnoreCase" => value.to_lowercase() == expected.to_lowercase(),
        "StringLike" => value.contains(expected),
        "StringStartWith" => value.starts_with(expected),
        "StringEndWith" => value.ends_with(expected),
        "StringMatch" => wildcards(&expected.chars().collect::<Vec<_>>(), &value.chars().collect::<Vec<_>>()),
        "NumberEquals" => number(value)? == number(expected).expect("a number"),
        "NumberLessThan" => number(value)? < number(expected).expect("a number"),
        "NumberLessThanEquals" => number(value)? <= number(expected).expect("a number"),
        "NumberGreaterThan" => number(value)? > number(expected).expect("a number"),
        "NumberGreaterThanEquals" => number(value)? >= number(expected).expect("a number"),
        "DateLessThan" => date_parts(value)? < date_parts(expected).expect("a date"),
        "DateLessThanEquals" => date_parts(value)? <= date_parts(expected).expect("a date"),
        "DateGreaterThan" => date_parts(value)? > date_parts(expected).expect("a date"),
        "DateGreaterThanEquals" => date_parts(value)? >= date_parts(expected).expect("a date"),
        "Bool" => boolean(value)? == boolean(expected).expect("true or false"),
        "IpAddress" => is_in_range(address(value)?, expected),
        _ => panic!("no operator: {positive}"),
    };
    Some(holds)
}
