//! The chart and the manifests: as helm renders them, as Kubernetes reads them, and as the program starts by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ecs_authz::config::Config;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ROOT, assert_arguments, needing, one_yaml, path, stop_seconds, succeed, text, tool, variables, words,
    yaml,
};
use crate::support::{program, trial, trials};

mod start;

/// The oldest and the newest Kubernetes that `scripts/tools` has schemas of.
const VERSIONS: [&str; 2] = ["1.27.0", "1.37.0"];

pub(super) fn trials() -> Vec<Trial> {
    let plain = trials![the_plain_manifests_hold_together, the_plain_configuration_is_read];
    let rendered = trials![
        helm_finds_no_fault,
        what_can_t_be_meant_is_refused,
        configurations_are_read,
        policies_are_mounted_as_they_were,
        the_guide_s_values_are_taken,
        the_plain_manifests_are_the_chart_s,
    ];
    let read = trials![kubernetes_knows_each_field];
    let rendered = needing(
        ["ECS_AUTHZ_HELM"],
        [rendered, start::trials(), each_holds_together()].into_iter().flatten().collect(),
    );
    let read = needing(["ECS_AUTHZ_HELM", "ECS_AUTHZ_KUBECONFORM", "ECS_AUTHZ_KUBERNETES_SCHEMAS"], read);
    plain.into_iter().chain(start::on_a_database()).chain(rendered).chain(read).collect()
}

/// Values that are set, of whoever has everything on.
fn everything() -> Value {
    json!({
        "image": {"digest": format!("sha256:{}", "0".repeat(64)), "pullSecrets": ["registry"]},
        "policies": {"postgres": {"caSecretName": "database-ca"}},
        "tables": {"private.toml": "title = \"Private\"\n"},
        "region": "eu-de", "cacheMib": 0, "shutdown": {"delaySeconds": 60, "limitSeconds": 30}, "dependencyMode": "enforce",
        "admin": {"enabled": true, "tokenKeys": ["deployer", "auditor"]},
        "autoscaling": {"enabled": true},
        "topologySpread": {"zone": "DoNotSchedule"},
        "networkPolicy": {"admin": [{"podSelector": {}}], "extraEgress": [{"ports": [{"port": 4317}]}]},
        "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}},
        "grafanaDashboard": {"enabled": true},
        "serviceAccount": {"name": "authz", "annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"}, "podLabels": {"a": "b"}, "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a"}], "affinity": {"nodeAffinity": {}}, "priorityClassName": "high",
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraVolumes": [{"name": "logs", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "logs", "mountPath": "/var/log/ecs-authz"}],
    })
}

/// The example's policies in files, in the clear.
fn files() -> Value {
    let mut files = BTreeMap::new();
    let example = path("example");
    collect(&example, &mut |file| {
        let name = file.strip_prefix(&example).unwrap().to_str().unwrap().to_owned();
        files.insert(name, fs::read_to_string(file).unwrap());
    });
    json!({
        "policies": {"source": "directory", "directory": {"files": files}},
        "tls": {"secretName": ""}, "insecure": true,
        "config": "",
    })
}

fn collect(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, each) } else { each(&path) }
    }
}

/// All that is rendered in the tests.
fn releases() -> [(&'static str, Value); 4] {
    let mut over_tls = files();
    over_tls["tls"] = json!({"secretName": "ecs-authz-tls", "clientCa": false});
    over_tls["insecure"] = json!(false);
    [("defaults", json!({})), ("everything", everything()), ("files", files()), ("files_over_tls", over_tls)]
}

fn helm(command: &str, args: &[&str], values: &Value) -> Output {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("values.yaml");
    fs::write(&file, values.to_string()).expect("values");
    let mut helm = Command::new(tool("ECS_AUTHZ_HELM").expect("helm: else the test is ignored"));
    // It would look for plugins and repositories in HOME.
    helm.env("HELM_CACHE_HOME", folder.path()).env("HELM_CONFIG_HOME", folder.path());
    helm.env("HELM_DATA_HOME", folder.path());
    helm.args([command, "--namespace", "authz", "--values"]).arg(file).args(args);
    helm.output().expect("helm")
}

fn chart() -> String {
    path("helm/ecs-authz").display().to_string()
}

/// What helm renders of these values, as text.
fn render(values: &Value, version: &str) -> String {
    let output = helm("template", &["--kube-version", version, "ecs-authz", &chart()], values);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn objects(values: &Value) -> Vec<Value> {
    yaml(&render(values, VERSIONS[0]))
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The pod, and the container in it.
fn pod(object: &Value) -> (&Value, &Value) {
    let pod = &object["spec"]["template"]["spec"];
    let [container] = pod["containers"].as_array().expect("containers").as_slice() else {
        panic!("one container")
    };
    (pod, container)
}

fn helm_finds_no_fault() {
    for (name, values) in releases() {
        let output = helm("lint", &["--strict", "--kube-version", VERSIONS[1], &chart()], &values);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

fn what_can_t_be_meant_is_refused() {
    let cases = [
        (json!({"replicas": 3}), "replicas"),
        (json!({"image": {"tag": "latest"}}), "/image/tag"),
        (json!({"image": {"digest": "sha256:abc"}}), "/image/digest"),
        (json!({"resources": {"limits": null}}), "limits"),
        (json!({"tls": {"secretName": ""}}), "expected `tls.secretName`"),
        (json!({"insecure": true}), "which of them is meant?"),
        (json!({"policies": {"source": "directory"}}), "expected `policies.directory.files`"),
        (json!({"policies": {"source": "files"}}), "/policies/source"),
        (json!({"policies": {"directory": {"files": {"grants.toml": ""}}}}), "grants.toml"),
        (json!({"tables": {"config.toml": ""}}), "config.toml"),
        (json!({"admin": {"enabled": true}, "tls": {"secretName": ""}, "insecure": true}), "in the clear"),
        (
            json!({"admin": {"enabled": true}, "policies": {"source": "directory"}}),
            "it writes to the database",
        ),
    ];
    for (values, expected) in cases {
        let output = helm("template", &["--kube-version", VERSIONS[0], "ecs-authz", &chart()], &values);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{values}: {said}");
    }
}

/// The values that the operations guide begins with.
fn the_guide_s_values_are_taken() {
    let guide = text("operations.md");
    let block = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("values");
    let values = one_yaml(&block.replace("sha256:…", &format!("sha256:{}", "0".repeat(64))));
    let objects = objects(&values);
    let (_, container) = pod(named(&objects, "Deployment", "ecs-authz"));
    assert!(words(&container["args"]).contains(&"--region=eu-de"));
    named(&objects, "PodMonitor", "ecs-authz");
}

/// What is rendered of each release.
fn each_holds_together() -> Vec<Trial> {
    let trials = releases().map(|(name, values)| {
        trial(format!("deploy::kubernetes::{name}_hold_together"), move || {
            let objects = objects(&values);
            let config = &named(&objects, "ConfigMap", "ecs-authz")["data"]["config.toml"];
            hold_together(&objects, config.as_str().expect("a configuration"));
        })
    });
    trials.into()
}

/// The manifests of the folder, and what kustomize makes besides.
fn plain() -> Vec<Value> {
    let overlay = one_yaml(&text("kubernetes/kustomization.yaml"));
    let files = words(&overlay["resources"]);
    let mut objects: Vec<Value> =
        files.iter().flat_map(|file| yaml(&text(&format!("kubernetes/{file}")))).collect();
    for generated in overlay["configMapGenerator"].as_array().expect("generated") {
        let files = words(&generated["files"]).into_iter();
        let data: BTreeMap<&str, String> =
            files.map(|file| (file, text(&format!("kubernetes/{file}")))).collect();
        objects.push(json!({"kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data}));
    }
    let of_migration = one_yaml(&text("kubernetes/migrate/kustomization.yaml"));
    let files = words(&of_migration["resources"]);
    objects.extend(files.iter().flat_map(|file| yaml(&text(&format!("kubernetes/migrate/{file}")))));
    objects
}

fn the_plain_manifests_hold_together() {
    hold_together(&plain(), &text("kubernetes/config.toml"));
}

/// What one object says of another one, and of the program.
fn hold_together(objects: &[Value], config: &str) {
    assert!(objects.iter().all(|object| object["kind"] != "Secret"), "secrets are not the chart's to make");
    let deployment = named(objects, "Deployment", "ecs-authz");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let (pod_spec, container) = pod(deployment);
    let ports: BTreeMap<&str, u64> = container["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()))
        .collect();
    selectors_find_the_pods(objects, labels);
    ports_are_there(objects, &ports);
    probes_ask_what_is_served(container, &ports);
    let grace = pod_spec["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(grace > stop_seconds(config), "{grace}");
    assert!(container["resources"]["limits"]["memory"].is_string(), "the cache takes a quarter of it");
    let args = words(&container["args"]);
    assert_arguments(&args);
    let served =
        |flag: &str, port: &str| args.contains(&format!("--{flag}=0.0.0.0:{}", ports[port]).as_str());
    assert!(served("grpc-addr", "grpc") && served("http-addr", "http"), "{args:?}");
    for object in objects.iter().filter(|object| object["spec"]["template"].is_object()) {
        let (pod, container) = pod(object);
        volumes_are_there(objects, pod, container);
    }
    pods_are_hardened(objects);
    if let Some(budget) = objects.iter().find(|object| object["kind"] == "HorizontalPodAutoscaler") {
        assert_eq!(budget["spec"]["scaleTargetRef"]["name"], "ecs-authz");
        assert!(deployment["spec"]["replicas"].is_null(), "two would set them");
    }
}

fn selectors_find_the_pods(objects: &[Value], labels: &Value) {
    let mut count = 0;
    for object in objects {
        let spec = &object["spec"];
        let selector = match object["kind"].as_str().expect("a kind") {
            "Service" => &spec["selector"],
            "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
            "Deployment" | "PodDisruptionBudget" | "PodMonitor" => &spec["selector"]["matchLabels"],
            _ => continue,
        };
        let name = object["metadata"]["name"].as_str().expect("a name");
        let labels = match name {
            "ecs-authz-migrate" => &named(objects, "Job", name)["spec"]["template"]["metadata"]["labels"],
            _ => labels,
        };
        let selector = selector.as_object().expect("a selector");
        assert!(selector.len() >= 3, "{name} selects too much");
        assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{name} selects nothing");
        count += 1;
    }
    assert!(count >= 5, "{count}");
    let deployment = named(objects, "Deployment", "ecs-authz");
    for spread in pod(deployment).0["topologySpreadConstraints"].as_array().expect("a spread") {
        assert_eq!(spread["labelSelector"], deployment["spec"]["selector"]);
    }
}

fn ports_are_there(objects: &[Value], ports: &BTreeMap<&str, u64>) {
    let mut asked = Vec::new();
    for object in objects {
        let spec = &object["spec"];
        match object["kind"].as_str().unwrap() {
            "Service" => {
                assert_eq!(spec["clusterIP"], "None", "one address would have all calls go to one replica");
                asked.extend(spec["ports"].as_array().unwrap().iter().map(|port| &port["targetPort"]));
            }
            "NetworkPolicy" => {
                let rules = spec["ingress"].as_array().unwrap().iter();
                asked.extend(
                    rules.flat_map(|rule| rule["ports"].as_array().unwrap()).map(|port| &port["port"]),
                );
                assert_eq!(words(&spec["policyTypes"]), ["Ingress", "Egress"]);
            }
            "PodMonitor" => {
                asked.extend(spec["podMetricsEndpoints"].as_array().unwrap().iter().map(|end| &end["port"]));
            }
            _ => {}
        }
    }
    let asked: BTreeSet<&str> = asked.into_iter().map(|port| port.as_str().expect("by its name")).collect();
    assert_eq!(asked, ports.keys().copied().collect(), "each port is let in and served, and no other");
}

fn probes_ask_what_is_served(container: &Value, ports: &BTreeMap<&str, u64>) {
    for (probe, path) in
        [("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        let probe = &container[probe];
        if let Some(port) = probe["grpc"]["port"].as_u64() {
            assert_eq!(port, ports["grpc"]);
            assert!(words(&container["args"]).contains(&"--insecure"), "the kubelet speaks no TLS");
        } else {
            assert_eq!(
                (&probe["httpGet"]["path"], &probe["httpGet"]["port"]),
                (&json!(path), &json!("http"))
            );
        }
    }
}

fn volumes_are_there(objects: &[Value], pod: &Value, container: &Value) {
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));
    for volume in pod["volumes"].as_array().unwrap() {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let keys = named(objects, "ConfigMap", name)["data"].as_object().expect("data");
            let items = volume["configMap"]["items"].as_array().cloned().unwrap_or_default();
            assert!(items.iter().all(|item| keys.contains_key(item["key"].as_str().unwrap())), "{items:?}");
        }
        for kind in ["secret", "projected"].into_iter().filter(|kind| volume[kind].is_object()) {
            assert_eq!(volume[kind]["defaultMode"], 0o440, "the group reads it: {volume}");
        }
    }
    let known = variables(&["serve"]);
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap();
        assert!(known.contains(name) || !name.starts_with("ECS_AUTHZ_"), "{name}");
        assert!(variable["valueFrom"].is_null(), "{name}: secrets are files");
    }
}

/// Kubernetes' own standard `restricted`, and no token of its API.
fn pods_are_hardened(objects: &[Value]) {
    let of_pods: Vec<&Value> =
        objects.iter().filter(|object| object["spec"]["template"].is_object()).collect();
    assert!(!of_pods.is_empty());
    for object in of_pods {
        let (pod, container) = pod(object);
        let name = &object["metadata"]["name"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}: their variables look like ours");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["runAsUser"], 65_532, "{name}: whom the image names");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let expected = json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "privileged": false, "readOnlyRootFilesystem": true,
        });
        assert_eq!(container["securityContext"], expected, "{name}");
        assert_arguments(&words(&container["args"]));
        let image = container["image"].as_str().expect("an image");
        assert!(image.contains("@sha256:") || !image.ends_with(":latest") && image.contains(':'), "{image}");
    }
    assert!(text("Dockerfile").contains("\nUSER 65532:65532\n"));
}

/// A configuration in a file, read by the program.
pub(super) fn read(config: &str) -> Config {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.toml");
    fs::write(&file, config).expect("the configuration");
    Config::load(&file).unwrap_or_else(|error| panic!("{error}\n{config}"))
}

fn the_plain_configuration_is_read() {
    let config = read(&text("kubernetes/config.toml"));
    assert!(config.ext_authz.is_some() && config.tls.is_some() && config.http.tls.is_some());
    assert_eq!(config.callers.authorization_service.map(|names| names.len()), Some(0), "nobody by default");
}

fn configurations_are_read() {
    for (name, values) in releases() {
        let objects = objects(&values);
        let config = read(named(&objects, "ConfigMap", "ecs-authz")["data"]["config.toml"].as_str().unwrap());
        let has_files = name.starts_with("files");
        assert_eq!(config.ext_authz.is_some(), !has_files, "{name}");
        assert_eq!(config.tls.is_some(), name != "files", "{name}");
        let tokens =
            config.admin.map(|admin| admin.token.into_iter().map(|token| token.name).collect::<Vec<_>>());
        let expected = (name == "everything").then(|| vec!["deployer".to_owned(), "auditor".to_owned()]);
        assert_eq!(tokens, expected, "{name}");
    }
}

/// The files of a volume that is made of a ConfigMap.
fn mount(objects: &[Value], volume: &Value, folder: &Path) {
    let map = named(objects, "ConfigMap", volume["configMap"]["name"].as_str().expect("a ConfigMap"));
    let data = map["data"].as_object().expect("data");
    let whole: Vec<Value> = data.keys().map(|key| json!({"key": key, "path": key})).collect();
    for item in volume["configMap"]["items"].as_array().unwrap_or(&whole) {
        let file = folder.join(item["path"].as_str().expect("a path"));
        fs::create_dir_all(file.parent().unwrap()).expect("folders");
        fs::write(file, data[item["key"].as_str().unwrap()].as_str().unwrap()).expect("a file");
    }
}

fn volume<'a>(pod: &'a Value, name: &str) -> &'a Value {
    pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name).expect("the volume")
}

fn policies_are_mounted_as_they_were() {
    let objects = objects(&files());
    let folder = TempDir::new().expect("a folder");
    let (pod, _) = pod(named(&objects, "Deployment", "ecs-authz"));
    mount(&objects, volume(pod, "policies"), folder.path());
    let mut count = 0;
    collect(&path("example"), &mut |file| {
        let mounted = folder.path().join(file.strip_prefix(path("example")).unwrap());
        assert_eq!(fs::read_to_string(mounted).unwrap(), fs::read_to_string(file).unwrap());
        count += 1;
    });
    assert!(count >= 2);
    let output = succeed(Command::new(program()).arg("validate").arg(folder.path()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok: 1 domain, 1 policy, 3 grants\n");
}

fn the_plain_manifests_are_the_chart_s() {
    let folder = TempDir::new().expect("a folder");
    let helm = tool("ECS_AUTHZ_HELM").expect("helm: else the test is ignored");
    let mut script = Command::new("scripts/kubernetes");
    script.arg(folder.path()).env("HELM", helm).current_dir(ROOT);
    succeed(&mut script);
    for file in ["ecs-authz.yaml", "config.toml", "migrate/migrate.yaml"] {
        let rendered = fs::read_to_string(folder.path().join(file)).expect("a manifest");
        assert!(
            rendered == text(&format!("kubernetes/{file}")),
            "{file} is another one: run scripts/kubernetes"
        );
    }
}

fn kubernetes_knows_each_field() {
    let folder = TempDir::new().expect("a folder");
    for version in VERSIONS {
        let mut files: Vec<PathBuf> =
            ["ecs-authz.yaml", "migrate/migrate.yaml"].map(|file| path("kubernetes").join(file)).into();
        for (name, values) in releases() {
            let file = folder.path().join(format!("{name}.yaml"));
            fs::write(&file, render(&values, version)).expect("a file");
            files.push(file);
        }
        let schemas = tool("ECS_AUTHZ_KUBERNETES_SCHEMAS").expect("schemas: else the test is ignored");
        let schemas = schemas.join("{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json");
        let kubeconform = tool("ECS_AUTHZ_KUBECONFORM").expect("kubeconform: else the test is ignored");
        let mut check = Command::new(kubeconform);
        // These two are of the Prometheus Operator, which has no schema there.
        check.args([
            "-strict",
            "-summary",
            "-skip",
            "PodMonitor,PrometheusRule",
            "-kubernetes-version",
            version,
        ]);
        let output = succeed(check.arg("-schema-location").arg(schemas).args(files));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 2"), "{said}");
    }
}
