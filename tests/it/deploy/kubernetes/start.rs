//! A replica as the chart starts it: its arguments and files, at other places.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use super::{mount, named, objects, plain, pod, releases, volume};
use crate::conformance::postgres::{Database, is_there};
use crate::deploy::{succeed, words};
use crate::mtls::Authority;
use crate::serving::Serving;
use crate::support::{program, trials};

pub(super) fn on_a_database() -> Vec<Trial> {
    let trials = trials![the_program_migrates_and_starts_on_a_database_as_the_manifests_say].into_iter();
    trials.map(|trial| trial.with_ignored_flag(!is_there())).collect()
}

pub(super) fn trials() -> Vec<Trial> {
    trials![the_program_starts_on_files_and_is_probed_as_the_chart_says]
}

/// The folders where the pod's mounts are here, with what is in them.
struct Mounts {
    folder: TempDir,
    /// Where each is in the container, and where it is here.
    places: Vec<(String, String)>,
}

impl Mounts {
    /// Of a container of this object. ConfigMaps have their content, the others are empty.
    fn of(objects: &[Value], object: &Value) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (pod, container) = pod(object);
        let mut places = Vec::new();
        for mounted in container["volumeMounts"].as_array().expect("mounts") {
            let name = mounted["name"].as_str().expect("a name");
            let place = folder.path().join(name);
            fs::create_dir_all(&place).expect("a folder");
            if volume(pod, name)["configMap"].is_object() {
                mount(objects, volume(pod, name), &place);
            }
            places.push((mounted["mountPath"].as_str().unwrap().to_owned(), place.display().to_string()));
        }
        let mounts = Self { folder, places };
        let config = mounts.file("config/config.toml");
        if let Ok(text) = fs::read_to_string(&config) {
            fs::write(&config, mounts.here(&text)).expect("the configuration");
        }
        mounts
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Puts a key of a Secret where the pod's volume has it.
    fn write_secret(&self, object: &Value, name: &str, key: &str, text: &str) {
        let (pod, _) = pod(object);
        let sources = volume(pod, name)["projected"]["sources"].as_array().expect("sources");
        let mut items =
            sources.iter().flat_map(|source| source["secret"]["items"].as_array().expect("items"));
        let item = items.find(|item| item["key"] == key).expect("the key");
        self.write(&format!("{name}/{}", item["path"].as_str().expect("a path")), text);
    }

    /// A text with the container's places as they are here. What is named lies in a mount.
    fn here(&self, text: &str) -> String {
        let put = |text: String, (from, to): &(String, String)| {
            text.replace(&format!("{from}/"), &format!("{to}/"))
        };
        let text = self.places.iter().fold(format!("{text}/"), put);
        assert!(!text.contains("/etc/ecs-authz"), "not mounted: {text}");
        text[..text.len() - 1].to_owned()
    }

    /// The container's arguments.
    fn arguments(&self, object: &Value) -> Vec<String> {
        let (_, container) = pod(object);
        words(&container["args"]).into_iter().map(|arg| self.here(arg)).collect()
    }

    /// Starts the program as the Deployment does, but on free ports, and asks as its probes do.
    fn start_and_probe(&self, deployment: &Value, is_over_tls: bool) {
        let args = self.arguments(deployment);
        assert_eq!(args[0], "serve");
        let args: Vec<&str> =
            args[1..].iter().map(String::as_str).filter(|arg| !arg.contains("-addr=")).collect();
        let mut serving = Serving::start(&args, &[]);
        let line = serving.await_log("http_addr=");
        let addr =
            line.split("http_addr=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let (_, container) = pod(deployment);
        for probe in ["startupProbe", "livenessProbe"] {
            let probe = &container[probe]["httpGet"];
            let of = if probe["path"] == "/livez" { "live" } else { "ready" };
            let mut ask = Command::new(program());
            ask.args(["healthcheck", "--timeout-seconds", "60", "--http-addr", addr, "--of", of]);
            assert_eq!(probe["scheme"], if is_over_tls { "HTTPS" } else { "HTTP" });
            if is_over_tls {
                ask.arg("--ca").arg(self.file("tls/ca.crt"));
            }
            succeed(&mut ask);
        }
    }

    /// What the Secret with the certificate has.
    fn write_certificate(&self) {
        let authority = Authority::new();
        let (certificate, key) = authority.issue_pem(&["localhost"]);
        for (file, content) in [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &authority.pem)] {
            self.write(&format!("tls/{file}"), content);
        }
    }
}

fn the_program_starts_on_files_and_is_probed_as_the_chart_says() {
    for (name, values) in releases().into_iter().filter(|(name, _)| name.starts_with("files")) {
        let objects = objects(&values);
        let deployment = named(&objects, "Deployment", "ecs-authz");
        let mounts = Mounts::of(&objects, deployment);
        let is_over_tls = name == "files_over_tls";
        if is_over_tls {
            mounts.write_certificate();
        }
        mounts.start_and_probe(deployment, is_over_tls);
    }
}

/// The plain manifests: first the Job, then the replicas.
fn the_program_migrates_and_starts_on_a_database_as_the_manifests_say() {
    let (objects, database) = (plain(), Database::empty());
    let job = named(&objects, "Job", "ecs-authz-migrate");
    let mounts = Mounts::of(&objects, job);
    mounts.write_secret(job, "database", "url", database.url());
    let output = succeed(Command::new(program()).args(mounts.arguments(job)));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("migrated "), "{output:?}");

    let deployment = named(&objects, "Deployment", "ecs-authz");
    let mounts = Mounts::of(&objects, deployment);
    mounts.write_secret(deployment, "database", "url", database.url());
    mounts.write_certificate();
    mounts.start_and_probe(deployment, true);
}
