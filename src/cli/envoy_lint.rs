//! `ecs-authz envoy-lint`

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::{CommandError, ERROR, SUCCESS, TableArgs};
use crate::envoy::{Finding, Rule, lint};
use crate::server::load_catalog;

#[derive(Debug, clap::Args)]
pub(super) struct EnvoyLintArgs {
    /// The configuration of Envoy: YAML or JSON; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// A rule that may be broken here; may be repeated
    #[arg(long = "allow", value_name = "RULE", value_parser = rule)]
    allowed: Vec<Rule>,
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
    /// List the rules instead
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    tables: TableArgs,
}

fn rule(name: &str) -> Result<Rule, String> {
    let known = Rule::ALL.iter().find(|rule| rule.name() == name);
    known.copied().ok_or_else(|| "expected a rule's name: see `ecs-authz envoy-lint --rules`".to_owned())
}

pub(super) fn run(args: &EnvoyLintArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let Some(file) = args.file.as_ref().filter(|_| !args.rules) else { return print_rules(out) };
    let is_stdin = file.as_os_str() == "-";
    let shown = if is_stdin { "<stdin>".to_owned() } else { file.display().to_string() };
    let text = if is_stdin { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    let text = text.map_err(|cause| CommandError::Usage(format!("{shown}: {cause}")))?;
    let catalog = load_catalog(&args.tables.tables)?;
    let findings = lint(&text, &catalog)
        .map_err(|fault| CommandError::Usage(format!("{shown}:{}: {fault}", fault.line)))?;
    let (allowed, findings): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| args.allowed.contains(&finding.rule));
    if args.json {
        writeln!(
            out,
            "{:#}",
            findings.iter().map(|finding| to_json(&shown, finding)).collect::<serde_json::Value>()
        )?;
    } else {
        for finding in &findings {
            writeln!(out, "{shown}:{finding}")?;
        }
        writeln!(out, "{}", summary(&findings, allowed.len()))?;
    }
    Ok(if findings.is_empty() { SUCCESS } else { ERROR })
}

fn to_json(file: &str, finding: &Finding) -> serde_json::Value {
    json!({
        "file": file,
        "line": finding.line,
        "rule": finding.rule.name(),
        "severity": finding.rule.severity().to_string(),
        "message": finding.message,
    })
}

fn summary(findings: &[Finding], allowed: usize) -> String {
    let outcome = match findings.len() {
        0 => "ok: nothing dangerous found".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    if allowed == 0 { outcome } else { format!("{outcome}, {allowed} allowed") }
}

fn print_rules(out: &mut dyn Write) -> Result<u8, CommandError> {
    let width = Rule::ALL.iter().map(|rule| rule.name().len()).max().unwrap_or(0);
    for rule in Rule::ALL {
        writeln!(out, "{:width$}  {:6}  {}", rule.name(), rule.severity().to_string(), rule.reason())?;
    }
    Ok(SUCCESS)
}
