//! The directory store: all or nothing, the last good state, revisions, and every fault with its place.

use std::sync::Arc;

use ecs_authz::catalog::Catalog;

use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::{DirectoryStore, OpenError, Reading};
use ecs_authz::store::{PolicyStore as _, Revision, StoreHealth};
use libtest_mimic::Trial;

use crate::support::{PolicyDir, block_on, trials, verdict_on_start};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_change_of_a_file_is_followed,
        a_removed_grant_policy_and_domain_are_gone,
        a_replaced_directory_is_seen,
        a_replaced_root_is_followed_again_and_again,
        a_volume_of_kubernetes_is_followed,
        what_is_neither_file_nor_folder_is_not_opened,
        names_that_people_can_not_tell_apart_are_faults,
        many_faults_are_found_in_little_time_and_shown_in_part,
        grants_that_may_not_mean_much_are_warned_about,
        only_the_changed_domain_gets_a_new_revision,
        the_revision_of_a_removed_domain_goes_on_growing,
        a_fault_keeps_the_last_good_state_and_is_shown,
        a_directory_with_a_fault_does_not_open,
        every_fault_is_reported_at_once_with_its_place,
        what_is_not_expected_in_the_directory_is_a_fault,
        an_empty_or_missing_directory_is_a_fault,
        hidden_files_and_backups_are_passed_over,
        links_are_followed_as_mounted_volumes_have_them,
        idle_patterns_are_warned_about,
    ]
}

const ALLOW_START: &str =
    r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:start"]}]}"#;
const DENY_START: &str =
    r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:servers:start"]}]}"#;
const GRANT: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "p"
scope = { project = "prod" }
"#;

fn acme() -> PolicyDir {
    PolicyDir::acme(&[("p", ALLOW_START)], GRANT)
}

fn open(dir: &PolicyDir) -> Arc<DirectoryStore> {
    let catalog = Arc::new(Catalog::published().unwrap());
    Arc::new(DirectoryStore::open(dir.path(), catalog).unwrap())
}

/// What alice may do in `prod`, in the words of [`Verdict`].
fn start(store: &Arc<DirectoryStore>) -> &'static str {
    let catalog = Catalog::published().unwrap();
    let cache = PolicyCache::new(store.clone(), catalog.action_count(), 1 << 20);
    let identity = Identity {
        domain_id: "acme".into(),
        subject: Subject::User("alice".into()),
        project_id: Some("prod".into()),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    };
    let loaded = block_on(cache.get(&identity)).unwrap();
    verdict_on_start(&loaded.policies)
}

fn faults(dir: &PolicyDir) -> Vec<String> {
    let reading = Reading::of(dir.path(), &Catalog::published().unwrap()).unwrap();
    reading.faults.iter().map(ToString::to_string).collect()
}

fn a_change_of_a_file_is_followed() {
    let dir = acme();
    let store = open(&dir);
    let watch = store.watch().unwrap();
    assert_eq!(start(&store), "allowed");
    let mut changes = store.changes();
    dir.write("acme/policies/p.json", DENY_START);
    block_on(changes.changed()).unwrap();
    assert_eq!(start(&store), "denied");
    assert_eq!(store.revision("acme"), Revision(2));
    drop(watch);
}

fn a_removed_grant_policy_and_domain_are_gone() {
    let dir = acme();
    let store = open(&dir);
    dir.write("acme/grants.toml", "");
    store.reload().unwrap();
    assert_eq!(start(&store), "unmatched");
    dir.remove("acme/policies/p.json");
    store.reload().unwrap();
    assert_eq!(store.revision("acme"), Revision(3));
    dir.write("acme/grants.toml", GRANT);
    assert!(store.reload().is_err(), "a grant of a policy that is gone");

    let dir = acme();
    dir.write("other/grants.toml", "");
    let store = open(&dir);
    dir.remove("acme");
    store.reload().unwrap();
    assert_eq!(start(&store), "unmatched");
    assert_eq!(store.domain_count(), 1);
}

fn a_replaced_directory_is_seen() {
    let dir = acme();
    let store = open(&dir);
    dir.write("beside/policies/p.json", DENY_START);
    dir.write("beside/grants.toml", GRANT);
    dir.remove("acme");
    std::fs::rename(dir.path().join("beside"), dir.path().join("acme")).unwrap();
    store.reload().unwrap();
    assert_eq!(start(&store), "denied");
}

/// Waits for changes of a followed store until alice may do what is expected. The harness ends what never comes.
fn wait_until(store: &Arc<DirectoryStore>, expected: &str) {
    let mut changes = store.changes();
    while start(store) != expected {
        block_on(changes.changed()).unwrap();
    }
}

fn a_replaced_root_is_followed_again_and_again() {
    let above = PolicyDir::new();
    let root = above.path().join("root");
    let put = |version: &str, document: &str| {
        above.write(&format!("{version}/acme/policies/p.json"), document);
        above.write(&format!("{version}/acme/grants.toml"), GRANT);
        let _none_yet = std::fs::rename(&root, above.path().join(format!("before-{version}")));
        std::fs::rename(above.path().join(version), &root).unwrap();
    };
    put("v1", ALLOW_START);
    let catalog = Arc::new(Catalog::published().unwrap());
    let store = Arc::new(DirectoryStore::open(&root, catalog).unwrap());
    let _watch = store.watch().unwrap();
    put("v2", DENY_START);
    wait_until(&store, "denied");
    put("v3", ALLOW_START);
    wait_until(&store, "allowed");
    above.write("root/acme/policies/p.json", DENY_START);
    wait_until(&store, "denied");
}

/// All files of a volume are exchanged at once, by another target of one link.
fn a_volume_of_kubernetes_is_followed() {
    let dir = PolicyDir::new();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, dir.path().join(at)).unwrap();
    let put = |version: &str, document: &str| {
        dir.write(&format!("..{version}/acme/policies/p.json"), document);
        dir.write(&format!("..{version}/acme/grants.toml"), GRANT);
        link(&format!("..{version}"), "..data_tmp");
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    put("v1", ALLOW_START);
    link("..data/acme", "acme");
    let store = open(&dir);
    let _watch = store.watch().unwrap();
    assert_eq!(start(&store), "allowed");
    put("v2", DENY_START);
    dir.remove("..v1");
    wait_until(&store, "denied");
}

fn what_is_neither_file_nor_folder_is_not_opened() {
    let dir = acme();
    for name in ["acme/policies/pipe.json", "pipe"] {
        let made = std::process::Command::new("mkfifo").arg(dir.path().join(name)).status().unwrap();
        assert!(made.success());
    }
    assert_eq!(
        faults(&dir),
        ["acme/policies/pipe.json: expected a file or a folder", "pipe: expected a file or a folder"]
    );
}

fn names_that_people_can_not_tell_apart_are_faults() {
    let dir = acme();
    dir.write("acme/policies/ecs fullaccess.json", ALLOW_START);
    dir.write("acme/policies/p .json", ALLOW_START);
    dir.write("acme/policies/p\n.json", ALLOW_START);
    dir.write("a\tb/grants.toml", "");
    assert_eq!(faults(&dir).len(), 4, "{:?}", faults(&dir));
}

fn many_faults_are_found_in_little_time_and_shown_in_part() {
    let grant = "[[grant]]\nsubject = { user = \"u\" }\npolicy = \"gone\"\nscope = \"domain\"\n";
    let dir = PolicyDir::acme(&[("p", ALLOW_START)], &grant.repeat(20_000));
    let reading = Reading::of(dir.path(), &Catalog::published().unwrap()).unwrap();
    assert_eq!(reading.faults.len(), 20_000);
    assert!(reading.faults[19_999].to_string().starts_with("acme/grants.toml:79999: "));

    let dir = acme();
    let store = open(&dir);
    dir.write("acme/grants.toml", &grant.repeat(20_000));
    store.reload().unwrap_err();
    let StoreHealth::Degraded { faults } = store.health() else { panic!("expected a degraded store") };
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100], "and 19900 more");
}

fn grants_that_may_not_mean_much_are_warned_about() {
    let grants = "[[grant]]\nsubject = { group = \"g\" }\npolicy = \"p\"\nscope = \"domain\"\n";
    let dir = PolicyDir::acme(&[("p", ALLOW_START)], grants);
    let reading = Reading::of(dir.path(), &Catalog::published().unwrap()).unwrap();
    let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "acme/grants.toml: group `g` has no members here: only requests that name it are in it",
            "acme/grants.toml: the scope \"domain\" is for global services: such a grant never applies to ECS",
        ]
    );
}

fn only_the_changed_domain_gets_a_new_revision() {
    let dir = acme();
    dir.write("other/grants.toml", "");
    let store = open(&dir);
    assert_eq!([store.revision("acme"), store.revision("other")], [Revision(1), Revision(1)]);
    dir.write("other/grants.toml", "# changed\n");
    store.reload().unwrap();
    store.reload().unwrap();
    assert_eq!([store.revision("acme"), store.revision("other")], [Revision(1), Revision(2)]);
    assert_eq!(store.revision("unheard-of"), Revision(0));
}

fn the_revision_of_a_removed_domain_goes_on_growing() {
    let dir = acme();
    dir.write("other/grants.toml", "");
    let store = open(&dir);
    dir.remove("other");
    store.reload().unwrap();
    store.reload().unwrap();
    assert_eq!(store.revision("other"), Revision(2));
    dir.write("other/grants.toml", "");
    store.reload().unwrap();
    assert_eq!(store.revision("other"), Revision(3));
}

fn a_fault_keeps_the_last_good_state_and_is_shown() {
    let dir = acme();
    let store = open(&dir);
    dir.write("acme/policies/p.json", "{");
    dir.write("acme/policies/good.json", DENY_START);
    assert!(store.reload().is_err());
    assert_eq!(start(&store), "allowed");
    assert_eq!(store.revision("acme"), Revision(1));
    let StoreHealth::Degraded { faults } = store.health() else { panic!("expected a degraded store") };
    assert_eq!(faults, ["acme/policies/p.json: $: EOF while parsing an object at line 1 column 1"]);

    dir.write("acme/policies/p.json", DENY_START);
    store.reload().unwrap();
    assert_eq!(store.health(), StoreHealth::Current);
    assert_eq!(start(&store), "denied");
}

fn a_directory_with_a_fault_does_not_open() {
    let dir = PolicyDir::acme(&[("p", "[]")], GRANT);
    let error = DirectoryStore::open(dir.path(), Arc::new(Catalog::published().unwrap())).unwrap_err();
    assert!(matches!(error, OpenError::Faults { .. }));
    assert!(
        error.to_string().ends_with("acme/policies/p.json: $: expected an object, found an array"),
        "{error}"
    );
}

fn every_fault_is_reported_at_once_with_its_place() {
    let policy = r#"{
        "Version": "1.2",
        "Statement": [
            {"Effect": "allow", "Action": ["ecs:*:*"], "Sid": "x"},
            {"Effect": "Allow", "Action": "ecs:*:*"},
            {"Effect": "Allow", "Action": ["ecs:servers", 1], "NotAction": ["*"]},
            {"Effect": "Deny"}
        ]
    }"#;
    let conditional = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["*"],
        "Resource":["ecs"],"Condition":{"StringEqual":{"g:UserName":["a"]}}}]}"#;
    let role = r#"{"Version":"1.0","Statement":[{"Effect":"Allow","Action":["*"],"Condition":{}}],
        "Depends":[{"catalog":"BASE","display_name":"Tenant Guest"}]}"#;
    let depends = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["*"]}],"Depends":[]}"#;
    let repeated = r#"{"Version":"1.1","Version":"1.1","Statement":[]}"#;
    let grants = "[[grant]]\nsubject = { user = \"\" }\npolicy = \"gone\"\nscope = { project = \"x\" }\n";
    let dir = PolicyDir::acme(
        &[
            ("a", policy),
            ("b", conditional),
            ("c", role),
            ("d", depends),
            ("e", repeated),
            ("ECS FullAccess", ALLOW_START),
        ],
        grants,
    );
    assert_eq!(
        faults(&dir),
        [
            "acme/grants.toml:2: grant.subject.user: expected an id of 1 to 128 bytes, found 0",
            "acme/grants.toml:3: grant.policy: expected the name of a file in `policies/` or of a system policy, \
             found `gone`",
            "acme/policies/ECS FullAccess.json: expected another name: a system policy has this one, \
             in whatever letter case",
            "acme/policies/a.json: $.Version: expected `1.0` (a role) or `1.1` (a policy), found `1.2`",
            "acme/policies/a.json: $.Statement[0].Sid: unknown member, expected one of: \
             Effect, Action, NotAction, Resource, Condition",
            "acme/policies/a.json: $.Statement[0].Effect: expected `Allow` or `Deny`, found `allow`",
            "acme/policies/a.json: $.Statement[1].Action: expected an array, found a string",
            "acme/policies/a.json: $.Statement[2]: expected exactly one of `Action` and `NotAction`",
            "acme/policies/a.json: $.Statement[3]: expected exactly one of `Action` and `NotAction`",
            "acme/policies/b.json: $.Statement[0].Resource[0]: expected `*` or a resource \
             `service:region:account:type:path`, found `ecs`",
            "acme/policies/b.json: $.Statement[0].Condition.StringEqual['g:UserName']: unknown operator \
             `StringEqual`: the nearest known one is `StringEquals`",
            "acme/policies/c.json: $.Statement[0].Condition: a role (version 1.0) has no conditions",
            "acme/policies/c.json: $.Statement[0].Condition: expected 1 to 10 operators, found 0",
            "acme/policies/d.json: $.Depends: a policy (version 1.1) has no dependencies: \
             only roles (version 1.0) do",
            "acme/policies/e.json: $: expected each member once, found `Version` twice at line 1 column 26",
        ]
    );
}

fn what_is_not_expected_in_the_directory_is_a_fault() {
    let dir = acme();
    dir.write("README.md", "");
    dir.write("acme/grant.toml", "");
    dir.write("acme/policies/p.yaml", "");
    dir.write("acme/policies/deep/p.json", ALLOW_START);
    dir.write("bare/policies/p.json", ALLOW_START);
    dir.write("typo/grants.toml", "[[grants]]\nsubject = 1\n");
    dir.write(&format!("acme/policies/{}.json", "x".repeat(65)), ALLOW_START);
    dir.write("acme/policies/large.json", &format!("{{{}}}", " ".repeat(32 * 1_024)));
    let expected = [
        "README.md: expected a folder per domain: `<domain_id>/grants.toml`".to_owned(),
        "acme/grant.toml: expected only `grants.toml` and the folder `policies` in a domain's folder"
            .to_owned(),
        "acme/policies/deep: expected a policy document `<name>.json`".to_owned(),
        "acme/policies/large.json: expected at most 32768 bytes, found more".to_owned(),
        "acme/policies/p.yaml: expected a policy document `<name>.json`".to_owned(),
        format!(
            "acme/policies/{}.json: expected a policy name of 1 to 64 characters, none of them a control character, without blanks at its ends",
            "x".repeat(65)
        ),
        "bare: expected a file `grants.toml`: an empty one if the domain has no grants".to_owned(),
        "typo/grants.toml:1: grants: unknown member, expected one of: group, grant".to_owned(),
    ];
    assert_eq!(faults(&dir), expected);
}

fn an_empty_or_missing_directory_is_a_fault() {
    let dir = PolicyDir::new();
    let root = dir.path().display();
    let none = format!("{root}: expected a folder per domain: `<domain_id>/grants.toml`, found none");
    assert_eq!(faults(&dir), [none]);
    let missing = dir.path().join("missing");
    let reading = Reading::of(&missing, &Catalog::published().unwrap()).unwrap();
    let fault = reading.faults[0].to_string();
    assert!(fault.starts_with(&format!("{}: can't be read: No such file", missing.display())), "{fault}");
}

fn hidden_files_and_backups_are_passed_over() {
    let dir = acme();
    dir.write(".git/config", "");
    dir.write("acme/policies/.p.json.swp", "");
    dir.write("acme/grants.toml~", "[[");
    assert_eq!(faults(&dir), [""; 0]);
}

fn links_are_followed_as_mounted_volumes_have_them() {
    let dir = PolicyDir::new();
    dir.write("..data/acme/policies/p.json", ALLOW_START);
    dir.write("..data/acme/grants.toml", GRANT);
    std::os::unix::fs::symlink("..data/acme", dir.path().join("acme")).unwrap();
    assert_eq!(start(&open(&dir)), "allowed");
}

fn idle_patterns_are_warned_about() {
    let dir = PolicyDir::acme(
        &[("p", r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:servers:strat"]}]}"#)],
        "",
    );
    let reading = Reading::of(dir.path(), &Catalog::published().unwrap()).unwrap();
    let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["acme/policies/p.json: $.Statement[0].Action[0]: `ecs:servers:strat` covers no action of the table"]
    );
    assert!(reading.faults.is_empty());
}
