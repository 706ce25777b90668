//! Policies moved between a directory and a database: shown first, whole or not at all, and nothing left to do after it.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ecs_authz::catalog::Catalog;
use ecs_authz::store::directory::{DirectoryStore, Export, Reading};
use ecs_authz::store::plan::{Contents, Extent, Plan};
use ecs_authz::store::postgres::administration::{AdminError, Administration, ImportError};
use libtest_mimic::Trial;

use crate::conformance::postgres::{Database, is_there};
use crate::random::{directory, domain, run};
use crate::support::{PolicyDir, block_on, program, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 11] = [
        ("a_plan_is_shown_and_carried_out_when_told", a_plan_is_shown_and_carried_out_when_told),
        ("what_was_moved_there_and_back_is_the_same", what_was_moved_there_and_back_is_the_same),
        ("any_state_becomes_any_other", any_state_becomes_any_other),
        ("other_domains_are_left_alone_unless_told", other_domains_are_left_alone_unless_told),
        ("one_domain_can_be_named", one_domain_can_be_named),
        ("a_directory_with_faults_is_not_moved", a_directory_with_faults_is_not_moved),
        ("a_plan_that_is_outdated_is_not_carried_out", a_plan_that_is_outdated_is_not_carried_out),
        ("an_import_that_fails_changes_nothing", an_import_that_fails_changes_nothing),
        (
            "a_plan_that_was_looked_at_is_the_one_that_is_done",
            a_plan_that_was_looked_at_is_the_one_that_is_done,
        ),
        (
            "an_import_takes_its_time_and_says_when_that_is_over",
            an_import_takes_its_time_and_says_when_that_is_over,
        ),
        ("the_history_names_who_moved_them", the_history_names_who_moved_them),
    ];
    let named = |(name, test)| trial(format!("sync::{name}"), test).with_ignored_flag(!is_there());
    tests.into_iter().chain(export::TESTS).map(named).collect()
}

mod export;

const ALLOW: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:*:*"]}]}"#;
const DENY: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:*:*"]}]}"#;
const GRANTS: &str = r#"
# A comment of people's.
[[group]]
id = "operators"
members = ["alice", "bob"]

[[grant]]
subject = { group = "operators" }
policy = "p"
scope = "all_projects"
"#;

fn sync(database: &Database, direction: &str, directory: &Path, more: &[&str]) -> Output {
    Command::new(program())
        .args(["sync", direction])
        .arg(directory)
        .args(more)
        .env("ECS_AUTHZ_DATABASE_URL", database.url())
        .output()
        .expect("the program")
}

/// What a run said, which must have succeeded.
fn said(output: &Output) -> Vec<&str> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).expect("text").lines().collect()
}

/// What a run complained of, which must have failed without a decision's exit code.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).expect("text")
}

const NOTHING: [&str; 2] = ["plan: 0 to add, 0 to change, 0 to remove", "nothing to do"];

fn in_directory(root: &Path) -> Contents {
    let reading = Reading::with_contents(root, &Catalog::published().unwrap()).unwrap();
    assert_eq!(reading.faults, []);
    reading.contents
}

fn administration(database: &Database) -> Administration {
    block_on(Administration::open(&database.settings())).unwrap()
}

fn import(administration: &Administration, plan: &Plan, wanted: &Contents) -> Result<(), ImportError> {
    block_on(administration.import("tests", plan, wanted, None, Extent::Wanted, |_| {})).map(drop)
}

fn a_plan_is_shown_and_carried_out_when_told() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    let steps = [
        "acme  + policy  p",
        "acme  + group   operators  (members: +2 -0)",
        "acme  + grant   p  to group operators, all projects",
        "plan: 3 to add, 0 to change, 0 to remove",
    ];
    let shown = sync(&database, "import", dir.path(), &[]);
    let (hint, shown_steps) = said(&shown).split_last().map(|(hint, steps)| (*hint, steps.to_vec())).unwrap();
    assert_eq!(shown_steps, steps);
    assert!(hint.starts_with("nothing is changed without --apply; --apply --plan "), "{hint}");
    assert_eq!(said(&sync(&database, "import", dir.path(), &[])), said(&shown));
    let applied = sync(&database, "import", dir.path(), &["--apply"]);
    assert_eq!(said(&applied), [&steps[..], &["acme  at revision 1", "done"]].concat());
    assert_eq!(said(&sync(&database, "import", dir.path(), &["--apply"])), NOTHING);

    dir.write("acme/policies/p.json", DENY);
    dir.write("acme/grants.toml", &GRANTS.replace("\"alice\", ", ""));
    let applied = sync(&database, "import", dir.path(), &["--apply"]);
    let expected = [
        "acme  ~ policy  p",
        "acme  ~ group   operators  (members: +0 -1)",
        "plan: 0 to add, 2 to change, 0 to remove",
        "acme  at revision 2",
        "done",
    ];
    assert_eq!(said(&applied), expected);
    dir.write("acme/grants.toml", "");
    dir.remove("acme/policies/p.json");
    let applied = sync(&database, "import", dir.path(), &["--apply"]);
    let expected = [
        "acme  - grant   p  to group operators, all projects",
        "acme  - group   operators  (members: +0 -1)",
        "acme  - policy  p",
        "plan: 0 to add, 0 to change, 3 to remove",
        "acme  at revision 3",
        "done",
    ];
    assert_eq!(said(&applied), expected);
}

fn what_was_moved_there_and_back_is_the_same() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    dir.write("other/policies/Ä name \"with\" all.json", &format!("\n {DENY}\n"));
    let odd = "[[grant]]\nsubject = { agency = 'a\"b\\c' }\npolicy = 'Ä name \"with\" all'\nscope = { project = 'ü' }\n";
    dir.write("other/grants.toml", odd);
    said(&sync(&database, "import", dir.path(), &["--apply"]));
    // Into a directory that is not there yet.
    let (target, catalog) = (PolicyDir::new(), Catalog::published().unwrap());
    let made = target.path().join("made");
    said(&sync(&database, "export", &made, &["--apply"]));
    assert_eq!(in_directory(&made), in_directory(dir.path()));
    let document = fs::read_to_string(made.join("other/policies/Ä name \"with\" all.json")).unwrap();
    assert_eq!(document, format!("\n {DENY}\n"));
    assert_eq!(said(&sync(&database, "export", &made, &["--apply"])), NOTHING);
    // What is the same already is not written again.
    assert_eq!(said(&sync(&database, "export", dir.path(), &["--apply"])), NOTHING);
    assert_eq!(fs::read_to_string(dir.path().join("acme/grants.toml")).unwrap(), GRANTS);
    DirectoryStore::open(&made, catalog.into()).unwrap();
}

/// Random states, each made of the one before, in the database and in files.
fn any_state_becomes_any_other() {
    let (database, target) = (Database::create(), PolicyDir::new());
    let (administration, catalog) = (administration(&database), Catalog::published().unwrap());
    // A file of other people's.
    target.write("acme/policies/.kept", "x");
    target.write("acme/grants.toml", "");
    let count = Cell::new(0);
    run(domain(), |state| {
        count.set(count.get() + 1);
        if count.get() > 40 {
            return;
        }
        let wanted = in_directory(directory(&state).path());
        let current = block_on(administration.contents(None)).unwrap();
        let plan = Plan::between(&current, &wanted, Extent::Wanted);
        import(&administration, &plan, &wanted).unwrap();
        let imported = block_on(administration.contents(None)).unwrap();
        let (imported_plan, all) = (Plan::between(&imported, &wanted, Extent::All), Plan::default());
        assert_eq!(imported_plan, all);

        let plan = Plan::between(&in_directory(target.path()), &imported, Extent::All);
        Export::begin(target.path()).unwrap().write(&plan, &imported, &catalog, |_| {}).unwrap();
        let written = in_directory(target.path());
        // A domain without anything is a folder all the same.
        assert_eq!(Plan::between(&written, &wanted, Extent::All), all);
        assert!(target.path().join("acme/policies/.kept").exists());
    });
}

fn other_domains_are_left_alone_unless_told() {
    let database = Database::create();
    let dir = PolicyDir::acme(&[("p", ALLOW)], GRANTS);
    dir.write("other/policies/q.json", ALLOW);
    dir.write("other/grants.toml", "");
    said(&sync(&database, "import", dir.path(), &["--apply"]));
    dir.remove("other");
    let output = sync(&database, "import", dir.path(), &["--apply"]);
    assert_eq!(said(&output), [&["left alone without --prune: 1 (other)"], &NOTHING[..]].concat());
    let output = sync(&database, "import", dir.path(), &["--apply", "--prune"]);
    let expected =
        ["other  - policy  q", "plan: 0 to add, 0 to change, 1 to remove", "other  at revision 2", "done"];
    assert_eq!(said(&output), expected);
    // Of files, likewise.
    dir.write("third/policies/q.json", ALLOW);
    dir.write("third/grants.toml", "");
    let output = sync(&database, "export", dir.path(), &["--apply"]);
    assert_eq!(said(&output), [&["left alone without --prune: 1 (third)"], &NOTHING[..]].concat());
    said(&sync(&database, "export", dir.path(), &["--apply", "--prune"]));
    assert!(!dir.path().join("third").exists());
    assert_eq!(in_directory(dir.path()).len(), 1);
}

fn one_domain_can_be_named() {
    let database = Database::create();
    let dir = PolicyDir::acme(&[("p", ALLOW)], GRANTS);
    dir.write("other/policies/q.json", ALLOW);
    dir.write("other/grants.toml", "");
    let output = sync(&database, "import", dir.path(), &["--apply", "--prune", "--domain", "other"]);
    let expected =
        ["other  + policy  q", "plan: 1 to add, 0 to change, 0 to remove", "other  at revision 1", "done"];
    assert_eq!(said(&output), expected);
    let output = sync(&database, "import", dir.path(), &["--domain", "gone"]);
    assert!(complaint(&output).contains("found `gone`"));
    // Named, it can be emptied without a word on the others.
    dir.write("other/grants.toml", "");
    dir.remove("other/policies/q.json");
    said(&sync(&database, "import", dir.path(), &["--apply", "--domain", "other"]));
    assert_eq!(block_on(administration(&database).contents(None)).unwrap().len(), 0);
}

fn a_directory_with_faults_is_not_moved() {
    let database = Database::create();
    let dir = PolicyDir::acme(&[("p", ALLOW), ("q", "{}")], &GRANTS.replace("\"p\"", "\"gone\""));
    let complaint = complaint(&sync(&database, "import", dir.path(), &["--apply"]));
    for part in ["acme/grants.toml:9: grant.policy", "acme/policies/q.json: $: expected a member `Version`"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert!(block_on(administration(&database).contents(None)).unwrap().is_empty());
    // Nor is one overwritten that nobody could read.
    let exported = sync(&database, "export", dir.path(), &["--apply", "--prune"]);
    assert_eq!(exported.status.code(), Some(1));
    assert!(dir.path().join("acme/policies/q.json").exists());
}

fn a_plan_that_is_outdated_is_not_carried_out() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    let (administration, wanted) = (administration(&database), in_directory(dir.path()));
    let plan = Plan::between(&Contents::new(), &wanted, Extent::Wanted);
    let by_hand =
        format!("INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', 'q', '{DENY}')");
    block_on(async { database.client().await.batch_execute(&by_hand).await }).unwrap();
    assert!(matches!(import(&administration, &plan, &wanted), Err(ImportError::Outdated)));
    let current = block_on(administration.contents(None)).unwrap();
    assert_eq!(current["acme"].policies.keys().collect::<Vec<_>>(), ["q"]);

    // Changed by somebody whose transaction ends while the import waits for it.
    let plan = Plan::between(&current, &wanted, Extent::Wanted);
    block_on(async {
        let mut client = database.client().await;
        let change = client.transaction().await.unwrap();
        change.batch_execute("UPDATE ecs_authz.policy SET document = document || ' '").await.unwrap();
        let importing = administration.import("tests", &plan, &wanted, None, Extent::Wanted, |_| {});
        let ending = async {
            // The import is seen to wait before the change ends.
            let watcher = database.client().await;
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            change.commit().await.unwrap();
        };
        let (imported, ()) = tokio::join!(importing, ending);
        assert!(matches!(imported, Err(ImportError::Outdated)), "{imported:?}");
    });
    let current = block_on(administration.contents(None)).unwrap();
    assert_eq!(current["acme"].policies["q"], format!("{DENY} "));
    assert_eq!(current["acme"].policies.len(), 1);
}

fn an_import_that_fails_changes_nothing() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW), ("q", DENY)], GRANTS));
    let refuse = "
        CREATE FUNCTION no_grants() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
        CREATE TRIGGER no_grants BEFORE INSERT ON ecs_authz.policy_grant FOR EACH ROW EXECUTE FUNCTION no_grants()";
    block_on(async { database.client().await.batch_execute(refuse).await }).unwrap();
    let complaint = complaint(&sync(&database, "import", dir.path(), &["--apply"]));
    assert!(complaint.contains("not today"), "{complaint}");
    let administration = administration(&database);
    assert!(block_on(administration.contents(None)).unwrap().is_empty());
    let wanted = in_directory(dir.path());
    let plan = Plan::between(&Contents::new(), &wanted, Extent::Wanted);
    let error = import(&administration, &plan, &wanted).unwrap_err();
    assert!(matches!(error, ImportError::Database(AdminError::Refused(_))), "{error:?}");
}

fn a_plan_that_was_looked_at_is_the_one_that_is_done() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    let digest = |output: &Output| {
        let hint = said(output).pop().unwrap().to_owned();
        hint.split_once("--plan ").unwrap().1.split(' ').next().unwrap().to_owned()
    };
    let shown = digest(&sync(&database, "import", dir.path(), &[]));
    assert_eq!((shown.len(), digest(&sync(&database, "import", dir.path(), &[]))), (12, shown.clone()));
    // The same step by name, with another document.
    dir.write("acme/policies/p.json", DENY);
    let complaint = complaint(&sync(&database, "import", dir.path(), &["--apply", "--plan", &shown]));
    let found = digest(&sync(&database, "import", dir.path(), &[]));
    assert!(complaint.contains(&format!("another one by now, {found} and not {shown}")), "{complaint}");
    assert!(block_on(administration(&database).contents(None)).unwrap().is_empty());
    said(&sync(&database, "import", dir.path(), &["--apply", "--plan", &found]));
    // Done already is as good as done.
    assert_eq!(said(&sync(&database, "import", dir.path(), &["--apply", "--plan", &found])), NOTHING);
    // A plan alone says too little of what is wanted.
    assert_eq!(sync(&database, "import", dir.path(), &["--plan", &found]).status.code(), Some(1));
}

fn an_import_takes_its_time_and_says_when_that_is_over() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    let refuse = |message: &str, code: &str| {
        let refuse = format!(
            "CREATE OR REPLACE FUNCTION refuse_members() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               RAISE EXCEPTION '%', {message} USING ERRCODE = '{code}';
             END $$;
             CREATE OR REPLACE TRIGGER refuse_members BEFORE INSERT ON ecs_authz.group_member
               FOR EACH ROW EXECUTE FUNCTION refuse_members()"
        );
        block_on(async { database.client().await.batch_execute(&refuse).await }).unwrap();
        complaint(&sync(&database, "import", dir.path(), &["--apply"]))
    };
    let said = refuse("current_setting('statement_timeout')", "P0001");
    assert!(said.contains(": 10min"), "{said}");
    let said = refuse("'canceling'", "57014");
    assert!(said.contains("ended a statement, as it does after 10 min; nothing was changed"), "{said}");
    let said = refuse("'waiting'", "55P03");
    assert!(said.contains("someone else has been changing the same for 10 s; nothing was changed"), "{said}");
    assert!(block_on(administration(&database).contents(None)).unwrap().is_empty());
}

fn the_history_names_who_moved_them() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    said(&sync(&database, "import", dir.path(), &["--apply", "--actor", "pipeline-7"]));
    let actors = block_on(async {
        let client = database.client().await;
        let rows = client.query("SELECT DISTINCT actor FROM ecs_authz.change", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    });
    assert_eq!(actors, ["sync:pipeline-7"]);
    // It is never edited, so nothing gets in that looks like something else.
    for actor in ["", "token:deployer", "a\nb", "\u{1b}[31m", &"x".repeat(65)] {
        let output = sync(&database, "import", dir.path(), &["--actor", actor]);
        let complaint = complaint(&output);
        assert!(complaint.contains("expected 1 to 64 ASCII letters"), "{actor:?}: {complaint}");
    }
}
