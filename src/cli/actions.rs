//! `ecs-authz actions`

use std::io::Write;

use serde_json::json;

use super::{CommandError, SUCCESS, TableArgs};
use crate::catalog::{ActionId, Catalog, Operation};
use crate::server::load_catalog;

#[derive(Debug, clap::Args)]
pub(super) struct ActionsArgs {
    /// Print a JSON array with one object an operation
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tables: TableArgs,
}

pub(super) fn run(args: &ActionsArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let catalog = load_catalog(&args.tables.tables)?;
    if args.json {
        print_json(&catalog, out)?;
    } else {
        print_text(&catalog, out)?;
    }
    Ok(SUCCESS)
}

/// One line an operation: its actions, its route with the body's key, and how many actions it depends on.
fn print_text(catalog: &Catalog, out: &mut dyn Write) -> Result<(), CommandError> {
    let lines = catalog.operations().iter().map(|operation| {
        let call = format!("{} {}", operation.method, operation.route);
        let key = operation.body_key.as_ref().map(|key| format!(" {{\"{key}\": …}}"));
        (names(&operation.actions, catalog).join(" and "), call + &key.unwrap_or_default(), operation)
    });
    let mut lines: Vec<(String, String, &Operation)> = lines.collect();
    lines.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let width = lines.iter().map(|(action, ..)| action.len()).max().unwrap_or(0);
    for (action, call, operation) in &lines {
        let dependencies = match all_dependencies(operation).len() {
            0 => String::new(),
            1 => "  (1 dependency)".to_owned(),
            count => format!("  ({count} dependencies)"),
        };
        writeln!(out, "{action:width$}  {call}{dependencies}")?;
    }
    let (rows, actions) = (catalog.row_count(), catalog.action_count());
    writeln!(out, "{} operations in {rows} rows; {actions} actions, dependencies included", lines.len())?;
    Ok(())
}

fn print_json(catalog: &Catalog, out: &mut dyn Write) -> Result<(), CommandError> {
    let operations: Vec<serde_json::Value> = catalog
        .operations()
        .iter()
        .map(|operation| {
            let by_body = operation.body_dependencies.iter();
            json!({
                "table": operation.table,
                "title": operation.title,
                "method": operation.method,
                "route": operation.route,
                "bodyKey": operation.body_key,
                "actions": names(&operation.actions, catalog),
                "dependencies": names(&operation.dependencies, catalog),
                "bodyDependencies": by_body
                    .map(|(member, actions)| json!({"member": member, "dependencies": names(actions, catalog)}))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    writeln!(out, "{:#}", serde_json::Value::from(operations))?;
    Ok(())
}

fn all_dependencies(operation: &Operation) -> Vec<ActionId> {
    let by_body = operation.body_dependencies.iter().flat_map(|(_, actions)| actions);
    operation.dependencies.iter().chain(by_body).copied().collect()
}

fn names<'c>(actions: &[ActionId], catalog: &'c Catalog) -> Vec<&'c str> {
    actions.iter().map(|action| catalog.action_name(*action)).collect()
}
