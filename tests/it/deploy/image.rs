//! The image: what it is built from, and what it is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use super::{ROOT, VERSION, assert_arguments, needing, path, succeed, text, tool};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![
        it_is_built_from_what_the_context_has,
        it_is_the_program_alone_and_runs_as_nobody,
        it_is_built_by_the_oldest_rust_that_may_build_it,
        its_health_is_asked_as_the_program_is_asked,
        all_name_the_program_s_version,
    ];
    let linted = needing(["ECS_AUTHZ_HADOLINT"], trials![hadolint_finds_no_fault]);
    trials.into_iter().chain(linted).collect()
}

/// The instructions, each on one line, without comments.
fn instructions() -> Vec<String> {
    let file = text("Dockerfile");
    let lines = file.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What follows the instruction of this name, each time.
fn all(name: &str) -> Vec<String> {
    let prefix = format!("{name} ");
    instructions().iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// The words of an instruction in JSON.
fn exec(instruction: &str) -> Vec<String> {
    let at = instruction.find('[').expect("a list: no shell is there");
    serde_json::from_str(&instruction[at..]).expect("a list of texts")
}

fn it_is_built_from_what_the_context_has() {
    let ignored = std::fs::read_to_string(Path::new(ROOT).join(".dockerignore")).unwrap();
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "nothing but what follows");
    let context: BTreeSet<&str> = lines.map(|line| line.strip_prefix('!').expect("what is let in")).collect();
    let copied = all("COPY");
    let of_context = copied.iter().filter(|copy| !copy.starts_with("--from="));
    let sources: BTreeSet<&str> = of_context
        .flat_map(|copy| {
            let mut words: Vec<&str> = copy.split(' ').collect();
            words.pop();
            words
        })
        .collect();
    assert_eq!(sources, context);
    for source in sources {
        assert!(Path::new(ROOT).join(source).exists(), "{source}");
    }
}

fn it_is_the_program_alone_and_runs_as_nobody() {
    let stages = all("FROM");
    assert_eq!(stages.last().map(String::as_str), Some("scratch"), "{stages:?}");
    let user = all("USER").pop().expect("a user");
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().expect("a number")).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id > 0), "{user}");
    assert_eq!(exec(&all("ENTRYPOINT").pop().expect("the program")), ["/ecs-authz"]);
    let command = exec(&all("CMD").pop().expect("its arguments"));
    assert_arguments(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!text("Dockerfile").contains("latest"));
}

fn it_is_built_by_the_oldest_rust_that_may_build_it() {
    let base = all("ARG").into_iter().find_map(|arg| Some(arg.strip_prefix("RUST_IMAGE=")?.to_owned()));
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(base.expect("a base").contains(&format!("rust:{version}-alpine")), "{version}");
}

fn its_health_is_asked_as_the_program_is_asked() {
    let asked = exec(&all("HEALTHCHECK").pop().expect("a question"));
    let (program, args) = asked.split_first().expect("a command");
    assert_eq!(program, "/ecs-authz");
    assert_arguments(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(args[0], "healthcheck");
}

fn all_name_the_program_s_version() {
    let version = format!("\"{VERSION}\"");
    assert!(text("Dockerfile").contains(&format!("\nARG VERSION={VERSION}\n")));
    let chart = text("helm/ecs-authz/Chart.yaml");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nversion: {VERSION}\n")), "{chart}");
    for overlay in ["kubernetes/kustomization.yaml", "kubernetes/migrate/kustomization.yaml"] {
        assert!(text(overlay).contains(&format!("newTag: {version}")), "{overlay}");
    }
    assert!(text("compose/compose.yaml").contains(&format!("image: ecs-authz:{VERSION}\n")));
}

fn hadolint_finds_no_fault() {
    let hadolint = tool("ECS_AUTHZ_HADOLINT").expect("hadolint: else the test is ignored");
    succeed(
        Command::new(hadolint).args(["--no-color", "--failure-threshold", "style"]).arg(path("Dockerfile")),
    );
}
