//! Bad input as data: each case of `bad_input/*.toml` is a policy directory with one fault, and what `validate` says.
//!
//! Each is a reported result, `bad_input::<file>::<case>`: the program prints exactly these lines and exits with 1, a
//! server does not open the directory, and one that runs already keeps what it had and shows the same faults.
//!
//! The directory is that of one domain, `acme`, with a policy `p` and no grants, but for what the case gives:
//!
//! ```toml
//! prefix = "error: acme/policies/p.json: "   # of the file: what each line of its cases begins with
//!
//! [[case]]
//! name = "what_is_wrong"                # unique in the file
//! given.document = "<many>"             # the text of `p`; or as `document_hex`, for bytes that are no text;
//!                                       # or of its one statement the `condition`, the `resource`, or as `statement`
//!                                       # what it has beside its effect; or `grants`, the text of grants.toml;
//!                                       # or `file`, the path of one more file
//! fill.many = { text = "x#", times = 3, between = "," }  # `<many>` stands for `x0,x1,x2`, in `says` too
//! says = ["$: expected value at line 1 column 1"]        # or `ok`: what is within limits is loaded, and counted
//! warns = []                            # beside `ok`: what is said and refuses nothing
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use ecs_authz::catalog::Catalog;
use ecs_authz::store::directory::{DirectoryStore, OpenError};
use ecs_authz::store::{PolicyStore as _, Revision, StoreHealth};
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::support::{PolicyDir, from_hex, program, toml_files, trial};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    prefix: String,
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    given: Given,
    #[serde(default)]
    fill: BTreeMap<String, Fill>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    warns: Vec<String>,
    ok: Option<String>,
}

/// What makes the difference to a directory without faults.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Given {
    Document(String),
    DocumentHex(String),
    Statement(String),
    Condition(String),
    Resource(String),
    Grants(String),
    File(String),
}

/// Some text so many times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    /// With a number from zero for `#`.
    text: String,
    times: usize,
    #[serde(default)]
    between: String,
}

/// One case of every file, and every file that can't be read as a failure of its own.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (stem, text) in toml_files("bad_input") {
        match parse(&text) {
            Ok(CaseFile { prefix, case }) => trials.extend(case.into_iter().map(|case| {
                let prefix = prefix.clone();
                trial(format!("bad_input::{stem}::{}", case.name), move || case.hold(&prefix))
            })),
            Err(fault) => trials.push(trial(format!("bad_input::file::{stem}"), move || panic!("{fault}"))),
        }
    }
    trials
}

fn parse(text: &str) -> Result<CaseFile, String> {
    let file: CaseFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for Case { name, says, warns, ok, .. } in &file.case {
        if !names.insert(name) || says.is_empty() != ok.is_some() || !(warns.is_empty() || ok.is_some()) {
            return Err(format!("expected one case `{name}`, with `says` or with `ok`"));
        }
    }
    Ok(file)
}

const GOOD: &str =
    r#"{"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": ["ecs:servers:start"]}]}"#;

impl Case {
    fn hold(&self, prefix: &str) {
        let dir = PolicyDir::acme(&[("p", GOOD)], "");
        let store = open(dir.path()).expect("a directory without faults");
        let (path, bytes) = self.file();
        dir.write_bytes(&path, &bytes);
        let lines = |lines: &[String], prefix: &str| -> Vec<String> {
            lines.iter().map(|line| format!("{prefix}{}", self.filled(line))).collect()
        };
        let faults = lines(&self.says, prefix);
        let warnings = lines(&self.warns, &prefix.replacen("error: ", "warning: ", 1));
        self.validate(dir.path(), &[&*warnings, &*faults].concat());
        load(dir.path(), &store, &faults);
    }

    /// The file that makes the difference: its path and what is in it.
    fn file(&self) -> (String, Vec<u8>) {
        let policy = |text: &[u8]| ("acme/policies/p.json".to_owned(), text.to_vec());
        let stated = |members: String| {
            let text = format!(r#"{{"Version": "1.1", "Statement": [{{"Effect": "Allow", {members}}}]}}"#);
            policy(self.filled(&text).as_bytes())
        };
        match &self.given {
            Given::Document(text) => policy(self.filled(text).as_bytes()),
            Given::DocumentHex(digits) => policy(&from_hex(digits).expect("digits")),
            Given::Statement(members) => stated(members.clone()),
            Given::Condition(text) => stated(format!(r#""Action": ["*"], "Condition": {text}"#)),
            Given::Resource(text) => stated(format!(r#""Action": ["*"], "Resource": {text}"#)),
            Given::Grants(text) => ("acme/grants.toml".to_owned(), self.filled(text).into_bytes()),
            Given::File(path) => {
                let text = if path.ends_with(".json") { GOOD } else { "" };
                (self.filled(path), text.as_bytes().to_vec())
            }
        }
    }

    fn filled(&self, text: &str) -> String {
        self.fill.iter().fold(text.to_owned(), |text, (name, fill)| {
            let items = (0..fill.times).map(|index| fill.text.replace('#', &index.to_string()));
            text.replace(&format!("<{name}>"), &items.collect::<Vec<_>>().join(&fill.between))
        })
    }

    /// What the program prints, to the letter, and how it exits.
    fn validate(&self, dir: &Path, lines: &[String]) {
        let output = Command::new(program()).arg("validate").arg(dir).output().expect("the program");
        let last = match (&self.ok, self.says.len()) {
            (Some(counts), _) => format!("ok: {counts}"),
            (None, 1) => "1 fault: the directory would not be loaded".to_owned(),
            (None, count) => format!("{count} faults: the directory would not be loaded"),
        };
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(printed.lines().collect::<Vec<_>>(), [lines, &[last]].concat());
        assert_eq!(output.status.code(), Some(if self.ok.is_some() { 0 } else { 1 }));
        assert_eq!(output.stderr, b"");
    }
}

fn open(dir: &Path) -> Result<DirectoryStore, OpenError> {
    static CATALOG: OnceLock<Arc<Catalog>> = OnceLock::new();
    let catalog = CATALOG.get_or_init(|| Arc::new(Catalog::published().expect("the published tables")));
    DirectoryStore::open(dir, catalog.clone())
}

/// What a server does with the directory when it starts, and what one does that runs already.
fn load(dir: &Path, running: &DirectoryStore, faults: &[String]) {
    let lines = |faults: Vec<String>| -> Vec<String> {
        faults.iter().map(|fault| format!("error: {fault}")).collect()
    };
    let (opened, reloaded) = (open(dir), running.reload());
    if faults.is_empty() {
        opened.expect("a store");
        reloaded.expect("a load");
        assert_eq!(running.health(), StoreHealth::Current);
        return;
    }
    let Err(OpenError::Faults { faults: found, .. }) = opened else { panic!("expected no store") };
    assert_eq!(lines(found.lines(usize::MAX)), faults);
    reloaded.expect_err("no load");
    let StoreHealth::Degraded { faults: shown } = running.health() else { panic!("expected faults") };
    assert_eq!(lines(shown), faults);
    assert_eq!((running.domain_count(), running.revision("acme")), (1, Revision(1)));
}
