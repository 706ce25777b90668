//! A policy directory of any size.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::Outcome;

/// How large a directory is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) domains: usize,
    /// In all domains together.
    pub(super) policies: usize,
}

pub(super) fn domain(number: usize) -> String {
    format!("d{number:031x}")
}

pub(super) fn group(number: usize) -> String {
    format!("g{number:031x}")
}

/// The groups of a domain that has so many policies: each has four of its own.
pub(super) fn groups(policies: usize) -> usize {
    policies.div_ceil(4).max(1)
}

/// Writes the directory.
pub(super) fn write(root: &Path, Shape { domains, policies }: Shape) -> Outcome<()> {
    for number in 0..domains {
        let folder = root.join(domain(number));
        fs::create_dir_all(folder.join("policies"))?;
        // The first ones have one more, if they can't have the same.
        let own = policies / domains + usize::from(number < policies % domains);
        let mut grants = String::new();
        for policy in 0..own {
            fs::write(folder.join(format!("policies/policy-{policy}.json")), document(policy))?;
            let scope = if policy % 4 == 3 { "{ project = \"p1\" }" } else { "\"all_projects\"" };
            let group = group(policy / 4);
            writeln!(
                grants,
                "[[grant]]\nsubject = {{ group = \"{group}\" }}\npolicy = \"policy-{policy}\"\nscope = {scope}"
            )?;
        }
        for number in 0..groups(own) {
            let (group, user) = (group(number), number * 3);
            writeln!(
                grants,
                "[[group]]\nid = \"{group}\"\nmembers = [\"user-{user}\", \"user-{}\"]",
                user + 1
            )?;
        }
        fs::write(folder.join("grants.toml"), grants)?;
    }
    Ok(())
}

/// One of ten kinds, as people write them: most name actions, some a resource or a condition.
fn document(number: usize) -> String {
    let verb = ["start", "stop", "reboot", "resize", "create"].get(number % 5).unwrap_or(&"get");
    let statements = match number % 10 {
        3 => format!(
            r#"{{"Effect": "Allow", "Action": ["ecs:servers:*"], "Condition": {{"StringEquals": {{"g:DomainName": ["domain-{number}"]}}}}}}"#
        ),
        7 => format!(
            r#"{{"Effect": "Deny", "Action": ["ecs:servers:delete", "ecs:cloudServers:delete"], "Resource": ["ecs:*:*:instance:i{number:031x}"]}}"#
        ),
        9 => r#"{"Effect": "Deny", "Action": ["ecs:*:delete*"]}"#.to_owned(),
        _ => format!(
            r#"{{"Effect": "Allow", "Action": ["ecs:*:get*", "ecs:*:list*", "ecs:servers:{verb}", "vpc:*:get*", "evs:volumes:list"]}},
    {{"Effect": "Deny", "Action": ["ecs:servers:unlock"]}}"#
        ),
    };
    format!("{{\n  \"Version\": \"1.1\",\n  \"Statement\": [\n    {statements}\n  ]\n}}\n")
}
