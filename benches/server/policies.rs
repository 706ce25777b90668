//! The policies of the server that is measured: groups with four each, some of which deny.

use std::fs;
use std::path::Path;

use super::Outcome;
use super::mix::{DOMAIN, grant, group};

/// Groups. Each principal is in one.
pub(super) const GROUPS: usize = 16;

const READ: &str = r#"{"Effect":"Allow","Action":["ecs:*:get*","ecs:*:list*","evs:*:get*","vpc:*:get*"]}"#;
const OPERATE: &str = r#"{"Effect":"Allow","Action":["ecs:servers:start","ecs:servers:stop","ecs:servers:reboot","ecs:cloudServers:*"]}"#;
const NO_RESIZING: &str = r#"{"Effect":"Deny","Action":["ecs:*:resize*","ecs:*:delete*"]}"#;
const ALL: &str = r#"{"Effect":"Allow","Action":["*"]}"#;
const ALL_OF_STORAGE: &str = r#"{"Effect":"Allow","Action":["evs:*:*","ims:*:*"]}"#;

/// Writes them. Of the groups, every second one may do everything but what is denied.
pub(super) fn write(folder: &Path) -> Outcome<()> {
    let folder = folder.join(DOMAIN);
    let policies = folder.join("policies");
    fs::create_dir_all(&policies)?;
    let named = [
        ("read", READ),
        ("operate", OPERATE),
        ("no-resizing", NO_RESIZING),
        ("all", ALL),
        ("storage", ALL_OF_STORAGE),
    ];
    for (name, statement) in named {
        let text = format!(r#"{{"Version":"1.1","Statement":[{statement}]}}"#);
        fs::write(policies.join(name).with_extension("json"), text)?;
    }
    let mut grants = String::new();
    for number in 0..GROUPS {
        grants += &of_nobody(&group(number));
        let last = if number % 2 == 0 { "all" } else { "storage" };
        for policy in ["read", "operate", "no-resizing", last] {
            grants += &grant(&group(number), policy);
        }
    }
    Ok(fs::write(folder.join("grants.toml"), grants)?)
}

/// Of a group without a member, the server would say that it may be a slip.
fn of_nobody(group: &str) -> String {
    format!("[[group]]\nid = \"{group}\"\nmembers = [\"nobody\"]\n")
}

/// Policies of a large installation.
pub(super) const MANY: usize = 100_000;
const DOMAINS: usize = 100;

/// Writes [`MANY`] policies besides, which domains of their own share. Each is granted.
pub(super) fn write_many(folder: &Path) -> Outcome<()> {
    for domain in 0..DOMAINS {
        let folder = folder.join(format!("many-{domain}"));
        let policies = folder.join("policies");
        fs::create_dir_all(&policies)?;
        let mut grants = String::new();
        for number in 0..MANY / DOMAINS {
            let text = format!(
                r#"{{"Version":"1.1","Statement":[{READ},{{"Effect":"Deny","Action":["obs:bucket{number}:*"]}}]}}"#
            );
            fs::write(policies.join(format!("policy-{number}.json")), text)?;
            let group = format!("g{number}");
            grants += &of_nobody(&group);
            grants += &grant(&group, &format!("policy-{number}"));
        }
        fs::write(folder.join("grants.toml"), grants)?;
    }
    Ok(())
}
