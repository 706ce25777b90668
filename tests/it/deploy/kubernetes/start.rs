//! A replica as the chart starts it: its arguments and files, at other places.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use super::{mount, named, objects, pod, releases, volume};
use crate::deploy::{succeed, words};
use crate::mtls::Authority;
use crate::serving::Serving;
use crate::support::{program, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![the_program_starts_and_is_probed_as_the_chart_says]
}

/// The program with the container's arguments, on the files that the pod mounts. Answers where HTTP is.
fn start(objects: &[Value], folder: &Path) -> (Serving, String) {
    let (pod, container) = pod(named(objects, "Deployment", "ecs-authz"));
    let mut places = Vec::new();
    for mounted in container["volumeMounts"].as_array().unwrap() {
        let name = mounted["name"].as_str().unwrap();
        let place = folder.join(name);
        if volume(pod, name)["configMap"].is_object() {
            mount(objects, volume(pod, name), &place);
        }
        places.push((mounted["mountPath"].as_str().unwrap(), place.display().to_string()));
    }
    let put = |text: &str| places.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let config = folder.join("config/config.toml");
    fs::write(&config, put(&fs::read_to_string(&config).unwrap())).expect("the configuration");
    let args = words(&container["args"]);
    assert_eq!(args[0], "serve");
    // The test has ports of its own.
    let args = args[1..].iter().filter(|arg| !arg.contains("-addr=")).map(|arg| put(arg));
    let args: Vec<String> = args.collect();
    let mut serving = Serving::start(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let line = serving.await_log("http_addr=");
    let addr = line.split("http_addr=").nth(1).and_then(|rest| rest.split(' ').next());
    let addr = addr.expect("an address").to_owned();
    (serving, addr)
}

fn the_program_starts_and_is_probed_as_the_chart_says() {
    for (name, values) in releases().into_iter().filter(|(name, _)| name.starts_with("files")) {
        let objects = objects(&values);
        let folder = TempDir::new().expect("a folder");
        let authority = Authority::new();
        let (certificate, key) = authority.issue_pem(&["localhost"]);
        for (file, content) in [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &authority.pem)] {
            fs::create_dir_all(folder.path().join("tls")).expect("a folder");
            fs::write(folder.path().join("tls").join(file), content).expect("a file");
        }
        let (_serving, addr) = start(&objects, folder.path());
        let (_, container) = pod(named(&objects, "Deployment", "ecs-authz"));
        for probe in ["startupProbe", "livenessProbe"] {
            let probe = &container[probe]["httpGet"];
            let of = if probe["path"] == "/livez" { "live" } else { "ready" };
            let mut ask = Command::new(program());
            ask.args(["healthcheck", "--timeout-seconds", "60", "--http-addr", &addr, "--of", of]);
            let is_over_tls = name == "files_over_tls";
            assert_eq!(probe["scheme"], if is_over_tls { "HTTPS" } else { "HTTP" });
            if is_over_tls {
                ask.arg("--ca").arg(folder.path().join("tls/ca.crt"));
            }
            succeed(&mut ask);
        }
    }
}
