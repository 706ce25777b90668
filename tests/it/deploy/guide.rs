//! The operations guide: it knows each alert, and what it names is there.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Trial;

use super::{ROOT, one_yaml, path, text};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    trials![each_alert_has_its_chapter, links_lead_somewhere, what_it_says_of_the_chart_is_so]
}

const GUIDE: &str = "operations.md";

/// The anchors of a page's headings, as those who render it make them.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = page.lines().filter_map(|line| {
        is_code ^= line.trim_start().starts_with("```");
        line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#') && !is_code)
    });
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn each_alert_has_its_chapter() {
    let alerts = one_yaml(&text("prometheus/alerts.yaml"));
    let rules =
        alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let chapters = anchors(&text(GUIDE));
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name").to_lowercase();
        assert!(chapters.contains(&name), "{name} has no chapter");
        assert_eq!(rule["annotations"]["runbook"], format!("deploy/{GUIDE}#{name}"), "{name}");
        names.insert(name);
    }
    let gone: Vec<&String> =
        chapters.iter().filter(|name| name.starts_with("ecsauthz") && !names.contains(*name)).collect();
    assert!(names.len() >= 9 && gone.is_empty(), "{gone:?}");
}

fn links_lead_somewhere() {
    let mut count = 0;
    for page in [GUIDE, "compose/README.md", "../SECURITY.md"] {
        let content = text(page);
        let inline = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let named = content.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        let folder = path(page).parent().expect("a folder").to_owned();
        for target in inline.chain(named.map(|(_, target)| target)).filter(|target| !target.contains("://")) {
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { path(page) } else { folder.join(file) };
            assert!(file.exists(), "{page}: {target}");
            if let Some(anchor) = anchor {
                let there_are = anchors(&std::fs::read_to_string(&file).unwrap());
                assert!(there_are.contains(anchor), "{page}: {target}");
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// Values that the guide names by their path, and its values to begin with.
fn what_it_says_of_the_chart_is_so() {
    let guide = text(GUIDE);
    let values = one_yaml(&text("helm/ecs-authz/values.yaml"));
    let sections =
        ["networkPolicy", "policies", "tls", "admin", "podMonitor", "prometheusRule", "grafanaDashboard"];
    let mut count = 0;
    for word in guide.split('`').skip(1).step_by(2).map(|code| code.split(':').next().unwrap_or_default()) {
        let Some((section, _)) = word.split_once('.') else { continue };
        if sections.contains(&section) {
            let pointer = format!("/{}", word.replace('.', "/"));
            assert!(values.pointer(&pointer).is_some(), "{word}");
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
    for script in ["scripts/sbom", "scripts/kubernetes"] {
        assert!(Path::new(ROOT).join(script).exists(), "{script}");
    }
}
