//! What an export writes can be loaded: whatever is wanted, whoever interrupts it, and at every moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use ecs_authz::catalog::Catalog;
use ecs_authz::store::content::DomainContent;
use ecs_authz::store::directory::{Export, Reading, WriteError, check_export};
use ecs_authz::store::plan::{Contents, Extent, Plan};

use super::{ALLOW, DENY, GRANTS, NOTHING, complaint, in_directory, said, sync};
use crate::conformance::postgres::Database;
use crate::support::{PolicyDir, block_on, program};

pub(super) const TESTS: [(&str, fn()); 10] = [
    ("an_export_that_is_killed_leaves_what_loads", an_export_that_is_killed_leaves_what_loads),
    ("an_export_that_fails_leaves_nothing_behind", an_export_that_fails_leaves_nothing_behind),
    ("an_export_goes_on_after_one_that_crashed", an_export_goes_on_after_one_that_crashed),
    ("two_exports_take_turns", two_exports_take_turns),
    ("what_can_t_be_loaded_is_told_and_none_is_written", what_can_t_be_loaded_is_told_and_none_is_written),
    ("what_is_too_long_to_be_loaded_is_not_written", what_is_too_long_to_be_loaded_is_not_written),
    ("the_last_domain_stays", the_last_domain_stays),
    ("files_of_other_people_stay", files_of_other_people_stay),
    ("a_file_that_is_replaced_keeps_its_mode", a_file_that_is_replaced_keeps_its_mode),
    ("a_link_is_not_replaced", a_link_is_not_replaced),
];

const HIDDEN: [&str; 2] = [".ecs-authz-export", ".ecs-authz-export.lock"];

/// A domain with many policies, each of them granted.
fn write_many(dir: &PolicyDir, domain: &str, letter: char, count: usize) {
    let mut grants = String::new();
    for number in 0..count {
        dir.write(&format!("{domain}/policies/{letter}{number:03}.json"), ALLOW);
        let grant = format!(
            "[[grant]]\nsubject = {{ user = 'u' }}\npolicy = '{letter}{number:03}'\nscope = 'domain'\n"
        );
        grants.push_str(&grant);
    }
    dir.write(&format!("{domain}/grants.toml"), &grants);
}

fn insert(database: &Database, statements: &str) {
    block_on(async { database.client().await.batch_execute(statements).await }).unwrap();
}

/// However deep, and hidden ones too. Some may go while they are counted.
fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

fn assert_loads(root: &Path) {
    assert_eq!(Reading::of(root, &Catalog::published().unwrap()).unwrap().faults, []);
}

fn assert_tidy(root: &Path) {
    for name in HIDDEN {
        assert!(!root.join(name).exists(), "{name}");
    }
}

/// Killed as soon as some file is made, has come or has gone, again and again, each time further on.
fn an_export_that_is_killed_leaves_what_loads() {
    let (database, source, dir) = (Database::create(), PolicyDir::new(), PolicyDir::new());
    for (domain, count) in [("acme", 200), ("bold", 50)] {
        write_many(&source, domain, 'b', count);
    }
    for (domain, count) in [("acme", 200), ("cold", 50)] {
        write_many(&dir, domain, 'a', count);
    }
    said(&sync(&database, "import", source.path(), &["--apply"]));
    let root = dir.path().to_owned();
    let before = count_files(&root);
    let mut moments: Vec<Box<dyn Fn() -> bool>> = Vec::new();
    for more in [1, 100, 230] {
        let root = root.clone();
        moments.push(Box::new(move || count_files(&root) >= before + more));
    }
    let come = [0, 50, 100, 150, 199].map(|number| format!("acme/policies/b{number:03}.json"));
    for path in come.into_iter().chain(["bold/grants.toml".to_owned()]).map(|path| root.join(path)) {
        moments.push(Box::new(move || path.exists()));
    }
    let gone = [0, 50, 100, 150, 199].map(|number| format!("acme/policies/a{number:03}.json"));
    for path in gone.into_iter().chain(["cold".to_owned()]).map(|path| root.join(path)) {
        moments.push(Box::new(move || !path.exists()));
    }
    for has_come in moments {
        let mut export = Command::new(program())
            .args(["sync", "export", "--apply", "--prune"])
            .arg(&root)
            .env("ECS_AUTHZ_DATABASE_URL", database.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !has_come() && export.try_wait().unwrap().is_none() {}
        export.kill().unwrap();
        export.wait().unwrap();
        assert_loads(&root);
    }
    said(&sync(&database, "export", dir.path(), &["--apply", "--prune"]));
    assert_eq!(in_directory(dir.path()), in_directory(source.path()));
    assert_eq!(said(&sync(&database, "export", dir.path(), &["--apply", "--prune"])), NOTHING);
    assert_tidy(dir.path());
}

/// A file that may not become as long as it has to.
fn an_export_that_fails_leaves_nothing_behind() {
    let (database, source, dir) = (Database::create(), PolicyDir::new(), PolicyDir::acme(&[], ""));
    write_many(&source, "acme", 'b', 20);
    write_many(&source, "bold", 'b', 20);
    said(&sync(&database, "import", source.path(), &["--apply"]));
    let export = |root: &Path| {
        // Whoever ignores the signal is told by an error.
        let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" sync export --apply \"$1\"";
        let mut bash = Command::new("bash");
        bash.args(["-c", limited]).arg(program()).arg(root).env("ECS_AUTHZ_DATABASE_URL", database.url());
        complaint(&bash.output().unwrap())
    };
    let failed = export(dir.path());
    assert!(failed.contains("can't be written: File too large"), "{failed}");
    assert_eq!(in_directory(dir.path()), in_directory(PolicyDir::acme(&[], "").path()));
    assert!(!dir.path().join("bold").exists());
    assert_tidy(dir.path());
    // Nor is there a directory that was not.
    let made = dir.path().join("made");
    export(&made);
    assert!(!made.exists());
    said(&sync(&database, "export", dir.path(), &["--apply"]));
    assert_eq!(in_directory(dir.path()), in_directory(source.path()));
}

fn an_export_goes_on_after_one_that_crashed() {
    let (database, source, target) = (Database::create(), PolicyDir::new(), PolicyDir::new());
    write_many(&source, "acme", 'b', 3);
    said(&sync(&database, "import", source.path(), &["--apply"]));
    // Before its first domain came: nothing that loads, but nothing to repair either.
    let made = target.path().join("made");
    fs::create_dir_all(made.join(".ecs-authz-export/1/policies")).unwrap();
    fs::write(made.join(".ecs-authz-export.lock"), "").unwrap();
    said(&sync(&database, "export", &made, &[]));
    said(&sync(&database, "export", &made, &["--apply"]));
    assert_eq!(in_directory(&made), in_directory(source.path()));
    assert_tidy(&made);
    // What others put at its place is not taken for its own.
    fs::write(made.join(".ecs-authz-export"), "x").unwrap();
    let complaint = complaint(&sync(&database, "export", &made, &["--apply"]));
    assert!(complaint.contains(".ecs-authz-export` can't be written"), "{complaint}");
    assert!(made.join(".ecs-authz-export").exists());
    assert_loads(&made);
}

fn two_exports_take_turns() {
    let (database, source, dir) = (Database::create(), PolicyDir::new(), PolicyDir::acme(&[], ""));
    write_many(&source, "acme", 'b', 3);
    said(&sync(&database, "import", source.path(), &["--apply"]));
    let first = Export::begin(dir.path()).unwrap();
    let complaint = complaint(&sync(&database, "export", dir.path(), &["--apply"]));
    assert!(complaint.contains("another export writes to"), "{complaint}");
    // To look is free.
    said(&sync(&database, "export", dir.path(), &[]));
    drop(first);
    said(&sync(&database, "export", dir.path(), &["--apply"]));
    assert_eq!(in_directory(dir.path()), in_directory(source.path()));
}

fn what_can_t_be_loaded_is_told_and_none_is_written() {
    let (database, target) = (Database::create(), PolicyDir::new());
    insert(
        &database,
        &format!(
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES
               ('acme', 'p', '{ALLOW}'), ('acme', 'poisoned', '{{}}'), ('acme', 'te_admin', '{ALLOW}'),
               ('acme', U&'p\\00a0', '{ALLOW}'), ('../up', 'p', '{ALLOW}'), ('.hidden', 'p', '{ALLOW}'),
               ('up/', 'p', '{ALLOW}'), ('backup~', 'p', '{ALLOW}'), (U&'w\\200bide', 'p', '{ALLOW}');
             INSERT INTO ecs_authz.user_group (domain_id, id) VALUES ('acme', U&'group\\00a0');
             INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, system_policy, scope_kind)
               VALUES ('acme', 'user', U&'turned\\202e', 'ECS Nothing', 'all_projects')"
        ),
    );
    let root = target.path().join("made");
    // Already the plan says so.
    for more in [&[][..], &["--apply"]] {
        let complaint = complaint(&sync(&database, "export", &root, more));
        for part in [
            "../up: expected a domain id that can be the name of a folder",
            ".hidden: expected a domain id that can be the name of a folder",
            "up/: expected a domain id that can be the name of a folder",
            "backup~: expected a domain id that can be the name of a folder",
            "w\\u{200b}ide: expected a domain id without invisible characters",
            "acme/policies/poisoned.json: $: expected a member `Version`",
            "acme/policies/te_admin.json: expected another name: a system policy has this one",
            "acme/policies/p\u{a0}.json: expected a policy name",
            "acme/grants.toml: group.id: expected an id without control characters or blanks at its ends",
            "acme/grants.toml: grant.subject.user: expected an id without invisible characters",
            "acme/grants.toml: grant.policy: expected the name of a file in `policies/` or of a system policy",
        ] {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
        assert!(!root.exists());
    }
}

/// By the limits of whoever reads it: a name of a file, a document, and the grants of a domain.
fn what_is_too_long_to_be_loaded_is_not_written() {
    let dir = PolicyDir::acme(&[], "");
    let name = "😀".repeat(64);
    let members = (0..129_000).map(|number| format!("{number:0>128}"));
    let content = DomainContent {
        policies: BTreeMap::from([
            (name.clone(), ALLOW.to_owned()),
            ("long".to_owned(), format!("{ALLOW}{}", " ".repeat(40_000))),
        ]),
        groups: BTreeMap::from([("g".to_owned(), members.collect())]),
        grants: BTreeSet::new(),
    };
    let wanted = Contents::from([("acme".to_owned(), content)]);
    let plan = Plan::between(&in_directory(dir.path()), &wanted, Extent::All);
    let catalog = Catalog::published().unwrap();
    let Err(WriteError::Unloadable { faults, .. }) = check_export(dir.path(), &plan, &wanted, &catalog)
    else {
        panic!("the plan can't be carried out");
    };
    let shown = faults.to_string();
    for part in [
        "acme/grants.toml: expected at most 16777216 bytes, found more",
        "acme/policies/long.json: expected at most ",
        &format!(
            "acme/policies/{name}.json: expected a policy name of at most 64 characters and at most 240 bytes"
        ),
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

fn the_last_domain_stays() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    let complaint = complaint(&sync(&database, "export", dir.path(), &["--apply", "--prune"]));
    assert!(complaint.contains("no domain would be left"), "{complaint}");
    assert!(in_directory(dir.path()).contains_key("acme"));
    // With another one, it goes.
    insert(
        &database,
        &format!("INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('other', 'p', '{DENY}')"),
    );
    said(&sync(&database, "export", dir.path(), &["--apply", "--prune"]));
    assert_eq!(in_directory(dir.path()).keys().collect::<Vec<_>>(), ["other"]);
    assert!(!dir.path().join("acme").exists());
}

fn files_of_other_people_stay() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    dir.write("acme/policies/.kept", "x");
    dir.write("acme/notes~", "x");
    said(&sync(&database, "export", dir.path(), &["--apply", "--prune"]));
    assert_eq!(in_directory(dir.path())["acme"], DomainContent::default());
    assert!(dir.path().join("acme/policies/.kept").exists() && dir.path().join("acme/notes~").exists());
    assert_eq!(said(&sync(&database, "export", dir.path(), &["--apply", "--prune"])), NOTHING);
}

fn a_file_that_is_replaced_keeps_its_mode() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW)], GRANTS));
    said(&sync(&database, "import", dir.path(), &["--apply"]));
    dir.write("acme/policies/p.json", DENY);
    dir.write("acme/grants.toml", "# A comment.");
    let files = [("acme/policies/p.json", 0o604), ("acme/grants.toml", 0o640)];
    for (path, mode) in files {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let output = sync(&database, "export", dir.path(), &["--apply"]);
    let told = "acme  grants.toml is written anew, without the comments in it";
    assert!(said(&output).contains(&told), "{:?}", said(&output));
    for (path, mode) in files {
        assert_eq!(fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
}

fn a_link_is_not_replaced() {
    let (database, dir) = (Database::create(), PolicyDir::acme(&[("p", ALLOW), ("q", ALLOW)], GRANTS));
    said(&sync(&database, "import", dir.path(), &["--apply"]));
    let elsewhere = PolicyDir::acme(&[("p", DENY)], "");
    for path in ["acme/policies/p.json", "acme/grants.toml"] {
        dir.remove(path);
        symlink(elsewhere.path().join(path), dir.path().join(path)).unwrap();
    }
    let complaint = complaint(&sync(&database, "export", dir.path(), &["--apply"]));
    for part in ["acme/policies/p.json: is a link", "acme/grants.toml: is a link"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert_eq!(in_directory(dir.path())["acme"].policies["p"], DENY);
    // What is not part of the plan may be one.
    insert(&database, &format!("UPDATE ecs_authz.policy SET document = '{DENY}'"));
    insert(&database, "DELETE FROM ecs_authz.policy_grant; DELETE FROM ecs_authz.user_group");
    said(&sync(&database, "export", dir.path(), &["--apply"]));
    assert!(dir.path().join("acme/policies/p.json").is_symlink());
}
