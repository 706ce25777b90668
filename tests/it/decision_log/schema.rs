//! Holds records against the schema: those of its words that it uses.

use std::sync::OnceLock;

use serde_json::Value;

/// Checks a record. Fails with where it is not as the schema says.
pub(super) fn check(record: &Value) {
    if let Err(fault) = fault(record) {
        panic!("{fault}");
    }
}

/// Where a record is not as the schema says.
pub(super) fn fault(record: &Value) -> Result<(), String> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    let text = include_str!("../../../deploy/decision-log/record.schema.json");
    hold(record, SCHEMA.get_or_init(|| serde_json::from_str(text).expect("JSON")), "record")
}

fn hold(value: &Value, schema: &Value, place: &str) -> Result<(), String> {
    for (word, says) in schema.as_object().expect("a schema") {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => is_a(value, says.as_str().expect("a type")),
            "const" => value == says,
            "enum" => says.as_array().expect("values").contains(value),
            "pattern" => is_time(value.as_str().expect("text")),
            "required" => {
                says.as_array().expect("names").iter().all(|name| !value[name.as_str().unwrap()].is_null())
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                value.as_object().expect("an object").keys().all(|name| !known[name].is_null())
            }
            "properties" => {
                for (name, value) in value.as_object().expect("an object") {
                    hold(value, &says[name], &format!("{place}.{name}"))?;
                }
                true
            }
            "items" => {
                let mut items = value.as_array().expect("an array").iter();
                items.try_for_each(|item| hold(item, says, place))?;
                true
            }
            other => panic!("a word that this test does not know: {other}"),
        };
        if !holds {
            return Err(format!("{place}: {word} {says}, found {value}"));
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("a type that this test does not know: {other}"),
    }
}

/// `2026-11-28T02:17:42.123456Z`
fn is_time(text: &str) -> bool {
    let shape = |byte: u8| if byte.is_ascii_digit() { '0' } else { char::from(byte) };
    text.bytes().map(shape).collect::<String>() == "0000-00-00T00:00:00.000000Z"
}
