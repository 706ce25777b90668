//! What holds of every `grants.toml`. The input is its text; behind a line `=== name`, that of another file of the domain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use ecs_authz::catalog::Catalog;
use ecs_authz::policy::Scope;
use ecs_authz::request::{Identity, Subject};
use ecs_authz::store::directory::{DirectoryStore, Fault, Faults};
use ecs_authz::store::{PolicyStore as _, StoreHealth};
use toml::{Table, Value};

const POLICY: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:start"]}]}"#;
const GRANTS: &str = "acme/grants.toml";

pub(crate) fn holds(input: &[u8]) {
    let files = files(input);
    let text = files.get(Path::new(GRANTS)).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
    DIRECTORY.with(|directory| {
        let _cleared = Cleared(&directory.root);
        let loaded = directory.load(&files);
        match &loaded {
            Ok(()) => {
                let table: Table = toml::from_str(text).expect("what is accepted is TOML");
                who_has_what_is_what_the_file_says(&directory.store, &table);
                // Written by a program, the file says what it says as written by hand.
                let rewritten = toml::to_string(&table).expect("TOML");
                let loaded = directory.load(&with_grants(&files, rewritten));
                assert_eq!(loaded, Ok(()), "what was accepted is accepted");
                who_has_what_is_what_the_file_says(&directory.store, &table);
            }
            Err(faults) => {
                the_faults_are_shown(faults, &directory.store);
                faults.0.iter().for_each(|fault| a_fault_is_a_line_with_its_place(fault, text));
            }
        }
        // A byte order mark is one in front alone.
        if !text.is_empty() && !text.starts_with('\u{feff}') {
            let moved = directory.load(&with_grants(&files, format!("# A line more.\n{text}")));
            a_line_more_moves_what_is_below(loaded, moved);
        }
    });
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn with_grants(files: &Files, text: String) -> Files {
    let mut files = files.clone();
    files.insert(GRANTS.into(), text.into_bytes());
    files
}

thread_local! {
    /// One store for all inputs of a thread: to open one compiles the system policies.
    static DIRECTORY: Directory = Directory::new();
}

/// A directory with one domain, which is there for as long as an input is looked at.
struct Directory {
    store: DirectoryStore,
    root: PathBuf,
}

/// Removes a folder, whatever happens before.
struct Cleared<'a>(&'a Path);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(self.0);
    }
}

impl Directory {
    fn new() -> Self {
        let above = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let root = above.join(format!("grants-{}-{:?}", process::id(), thread::current().id()));
        let _cleared = Cleared(&root);
        write(&root, &files(b""));
        let catalog = Arc::new(Catalog::published().expect("the published tables"));
        Self { store: DirectoryStore::open(&root, catalog).expect("sound files"), root: root.clone() }
    }

    fn load(&self, files: &Files) -> Result<(), Faults> {
        drop(Cleared(&self.root));
        write(&self.root, files);
        self.store.reload().map(drop)
    }
}

fn write(root: &Path, files: &Files) {
    for (path, content) in files {
        let path = root.join(path);
        let folder = path.parent().expect("a parent");
        // A name may be too long, or another file stands at the place of its folder: then it is not there.
        let _written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
    }
}

/// The files of the directory: a policy `p`, the grants, and others with whatever names below the domain.
fn files(input: &[u8]) -> Files {
    let mut files = BTreeMap::from([(PathBuf::from("acme/policies/p.json"), POLICY.into())]);
    let (mut path, mut content) = (PathBuf::from(GRANTS), Vec::new());
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"=== ").and_then(|name| str::from_utf8(name).ok()) {
            Some(name) => {
                files.insert(path, std::mem::take(&mut content));
                path = Path::new("acme").join(relative(name.trim_end_matches('\n')));
            }
            None => content.extend_from_slice(line),
        }
    }
    files.insert(path, content);
    files
}

/// A name that leads nowhere else.
fn relative(name: &str) -> PathBuf {
    let parts = Path::new(name).components().filter(|part| matches!(part, Component::Normal(_)));
    let path: PathBuf = parts.take(3).collect();
    let is_name = !name.contains('\0') && !path.as_os_str().is_empty();
    if is_name { path } else { PathBuf::from("x") }
}

/// One grant, in words: the policy and where it applies.
type Words = Vec<(String, String)>;

fn grants_of(store: &DirectoryStore, subject: Subject) -> Words {
    let identity = Identity {
        domain_id: "acme".into(),
        subject,
        project_id: Some("p".into()),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    };
    let loaded = pin!(store.load(&identity)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(loaded)) = loaded else { panic!("the directory store does not wait") };
    let mut words: Words = loaded
        .grants
        .iter()
        .map(|grant| (grant.policy.name.to_string(), scope_words(&grant.scope)))
        .collect();
    words.sort();
    words
}

fn scope_words(scope: &Scope) -> String {
    match scope {
        Scope::Project(id) => format!("project = {id}"),
        Scope::EnterpriseProject(id) => format!("enterprise_project = {id}"),
        Scope::AllProjects => "all_projects".to_owned(),
        Scope::Domain => "domain".to_owned(),
    }
}

fn who_has_what_is_what_the_file_says(store: &DirectoryStore, table: &Table) {
    for (user, expected) in by_user(table) {
        assert_eq!(grants_of(store, Subject::User(user)), expected);
    }
    for agency in subjects(table, "agency") {
        assert_eq!(grants_of(store, Subject::Agency(agency.to_owned())), direct(table, "agency", agency));
    }
    assert_eq!(grants_of(store, Subject::User("nobody named here".into())), []);
}

fn entries<'t>(table: &'t Table, name: &str) -> impl Iterator<Item = &'t Value> {
    table.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn subjects<'t>(table: &'t Table, kind: &str) -> BTreeSet<&'t str> {
    entries(table, "grant").filter_map(|grant| grant["subject"].get(kind)?.as_str()).collect()
}

/// What a subject is granted itself.
fn direct(table: &Table, kind: &str, id: &str) -> Words {
    let grants = entries(table, "grant")
        .filter(|grant| grant["subject"].get(kind).and_then(Value::as_str) == Some(id));
    let mut words: Words = grants
        .map(|grant| (grant["policy"].as_str().expect("a name").to_owned(), written_scope(&grant["scope"])))
        .collect();
    words.sort();
    words
}

fn written_scope(scope: &Value) -> String {
    match scope {
        Value::String(word) => word.clone(),
        Value::Table(table) => {
            let (kind, id) = table.iter().next().expect("one member");
            match id.as_str() {
                Some(id) => format!("{kind} = {id}"),
                // `{ all_projects = {} }`
                None => kind.clone(),
            }
        }
        other => panic!("a scope that is {other}"),
    }
}

/// What each user has: its own, and that of each group once for each time that the file names it a member.
fn by_user(table: &Table) -> BTreeMap<String, Words> {
    let mut users: BTreeMap<String, Words> =
        subjects(table, "user").into_iter().map(|id| (id.to_owned(), direct(table, "user", id))).collect();
    let mut ids = BTreeSet::new();
    for group in entries(table, "group") {
        let id = group["id"].as_str().expect("an id");
        assert!(ids.insert(id), "a group stands twice");
        for member in group["members"].as_array().expect("members") {
            let words = users.entry(member.as_str().expect("an id").to_owned()).or_default();
            words.extend(direct(table, "group", id));
            words.sort();
        }
    }
    users
}

/// One fault is one line, for those who log it and those who ask after the store's health.
fn the_faults_are_shown(faults: &Faults, store: &DirectoryStore) {
    assert!(!faults.0.is_empty(), "a directory is refused for a reason");
    let StoreHealth::Degraded { faults: shown } = store.health() else { panic!("a sick store is not shown") };
    assert_eq!(shown, faults.lines(100));
}

fn a_fault_is_a_line_with_its_place(fault: &Fault, text: &str) {
    let shown = fault.to_string();
    assert!(!shown.contains(char::is_control), "one fault is one line: {shown:?}");
    assert!(!fault.message.is_empty() && shown.chars().count() < 2_100, "{shown:?}");
    if fault.file == Path::new(GRANTS) && !text.is_empty() {
        let line = line_of(fault).unwrap_or_else(|| panic!("a fault without its line: {shown}"));
        assert!((1..=text.split('\n').count()).contains(&line), "{shown}");
    }
}

/// The line that a fault of the grants is shown with.
fn line_of(fault: &Fault) -> Option<usize> {
    fault.to_string().strip_prefix(GRANTS)?.strip_prefix(':')?.split(':').next()?.parse().ok()
}

fn a_line_more_moves_what_is_below(before: Result<(), Faults>, after: Result<(), Faults>) {
    let places = |faults: Faults, more: usize| -> Vec<_> {
        let place = |fault: &Fault| {
            (fault.file.clone(), fault.message.clone(), line_of(fault).map(|line| line + more))
        };
        faults.0.iter().map(place).collect()
    };
    let before = before.map_err(|faults| places(faults, 1));
    assert_eq!(after.map_err(|faults| places(faults, 0)), before);
}
