//! An explanation on the terminal and as JSON.

use std::io::Write;

use serde_json::{Value, json};

use super::CommandError;
use super::check::object;
use crate::grpc::pb;

/// A line for each statement, and below it one for each part that failed.
pub(super) fn print_text(explanation: &pb::Explanation, out: &mut dyn Write) -> Result<(), CommandError> {
    for pb::ConsideredStatement { statement, applies, failed } in &explanation.considered {
        let Some(statement) = statement else { continue };
        let (policy, index) = (&statement.policy, statement.statement_index);
        let says = if *applies { "applies" } else { "does not apply" };
        writeln!(out, "considered  {} {index} of `{policy}` {says}", effect(statement))?;
        for part in failed {
            writeln!(out, "            {}", failure(part))?;
        }
    }
    if !explanation.smallest_grant.is_empty() {
        writeln!(out, "would allow {}", explanation.smallest_grant)?;
    }
    Ok(())
}

fn effect(statement: &pb::StatementReference) -> &'static str {
    match statement.effect() {
        pb::Effect::Deny => "deny",
        pb::Effect::Allow | pb::Effect::Unspecified => "allow",
    }
}

fn failure(part: &pb::FailedPart) -> String {
    let wanted = if part.wanted.is_empty() { String::new() } else { format!(" {}", quoted(&part.wanted)) };
    let came_out = match (part.unclear, part.found.is_empty()) {
        (true, true) => "can't be told: nobody tells what it asks for".to_owned(),
        (true, false) => format!("can't be told from {}", quoted(&part.found)),
        (false, true) => "does not hold for nothing".to_owned(),
        (false, false) => format!("does not hold for {}", quoted(&part.found)),
    };
    format!("{}{wanted} {came_out}", part.element)
}

fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("`{}`", text.escape_debug())).collect();
    quoted.join(", ")
}

/// The canonical JSON of the message.
pub(super) fn to_json(explanation: &pb::Explanation) -> Value {
    let considered = explanation.considered.iter().map(|considered| {
        let failed = considered.failed.iter().map(|part| {
            object([
                ("element", json!(part.element)),
                ("wanted", json!(part.wanted)),
                ("found", json!(part.found)),
                ("unclear", if part.unclear { json!(true) } else { Value::Null }),
            ])
        });
        object([
            ("statement", considered.statement.as_ref().map(statement_json).unwrap_or_default()),
            ("applies", if considered.applies { json!(true) } else { Value::Null }),
            ("failed", failed.collect()),
        ])
    });
    object([("considered", considered.collect()), ("smallestGrant", json!(explanation.smallest_grant))])
}

/// The canonical JSON of a statement's place.
pub(super) fn statement_json(statement: &pb::StatementReference) -> Value {
    object([
        ("policy", json!(statement.policy)),
        ("statementIndex", json!(statement.statement_index)),
        ("effect", json!(statement.effect().as_str_name())),
    ])
}
