//! The compose file: what docker-compose reads, and its parts at work on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ecs_authz::config::Config;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use serde_json::Value;

use super::{assert_arguments, needing, one_yaml, path, stop_seconds, succeed, text, tool, variables, words};
use crate::edge::{Edge, PATIENT, assert_valid};
use crate::support::{PolicyDir, block_on, config, program, trials};

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![
        services_are_pinned_hardened_and_have_their_files,
        the_program_is_started_as_it_is_told,
        the_configuration_of_envoy_is_the_one_that_is_written_for_it,
    ];
    let by_compose = needing(["ECS_AUTHZ_COMPOSE"], trials![docker_compose_reads_it]);
    let by_promtool = needing(["ECS_AUTHZ_PROMTOOL"], trials![prometheus_reads_its_configuration]);
    let by_envoy = needing(
        ["ECS_AUTHZ_ENVOY"],
        trials![both_configurations_of_envoy_are_valid, its_envoy_its_service_and_its_tokens_work_together],
    );
    trials.into_iter().chain(by_compose).chain(by_promtool).chain(by_envoy).collect()
}

fn services() -> BTreeMap<String, Value> {
    let file = one_yaml(&text("compose/compose.yaml"));
    let services = file["services"].as_object().expect("services").clone();
    services.into_iter().collect()
}

/// The services that are the program.
fn ours() -> BTreeMap<String, Value> {
    let is_ours =
        |service: &Value| service["image"].as_str().is_some_and(|image| image.starts_with("ecs-authz:"));
    services().into_iter().filter(|(_, service)| is_ours(service)).collect()
}

fn services_are_pinned_hardened_and_have_their_files() {
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        let (_, tag) = image.rsplit_once(':').expect("a tag");
        assert!(
            tag.contains('.') && tag.contains(|c: char| c.is_ascii_digit()),
            "{name}: {image} is not pinned"
        );
        if name != "postgres" {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        }
        let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
        for volume in
            volumes.iter().map(|volume| volume.as_str().unwrap()).filter(|volume| volume.starts_with('.'))
        {
            let mut parts = volume.split(':');
            let file = path("compose").join(parts.next().unwrap());
            assert!(file.exists() && parts.nth(1) == Some("ro"), "{name}: {volume}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port} is for this machine");
        }
    }
}

fn the_program_is_started_as_it_is_told() {
    let ours = ours();
    assert_eq!(ours.keys().map(String::as_str).collect::<Vec<_>>(), ["ecs-authz", "import", "migrate"]);
    for (name, service) in &ours {
        let command = words(&service["command"]);
        assert_arguments(&command);
        let verbs: Vec<&str> = command.into_iter().take_while(|word| !word.starts_with(['/', '-'])).collect();
        let known = variables(&verbs);
        let set = service["environment"].as_object().expect("variables");
        assert!(set.keys().all(|variable| known.contains(variable)), "{name}: {set:?}");
    }
    let serve = &ours["ecs-authz"];
    let grace = serve["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s')).expect("seconds");
    assert!(grace.parse::<u64>().unwrap() > stop_seconds(&text("compose/ecs-authz.toml")), "{grace}");
    let health = words(&serve["healthcheck"]["test"]);
    assert_eq!(health[..2], ["CMD", "/ecs-authz"]);
    assert_arguments(&health[2..]);
}

fn docker_compose_reads_it() {
    let mut compose =
        Command::new(tool("ECS_AUTHZ_COMPOSE").expect("docker-compose: else the test is ignored"));
    compose.arg("--file").arg(path("compose/compose.yaml"));
    compose.args(["--profile", "observe", "config", "--quiet"]);
    let without = compose.env_remove("POSTGRES_PASSWORD").output().expect("docker-compose");
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(!without.status.success() && said.contains("openssl rand -hex 16"), "{said}");
    let output = succeed(compose.env("POSTGRES_PASSWORD", "0123456789abcdef"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing to warn of");
}

fn prometheus_reads_its_configuration() {
    let folder = PolicyDir::new();
    let alerts = path("prometheus/alerts.yaml").display().to_string();
    let configuration = text("compose/prometheus.yaml");
    assert_eq!(configuration.matches("/etc/prometheus/alerts.yaml").count(), 1);
    folder.write("prometheus.yaml", &configuration.replace("/etc/prometheus/alerts.yaml", &alerts));
    let promtool = tool("ECS_AUTHZ_PROMTOOL").expect("promtool: else the test is ignored");
    let output =
        succeed(Command::new(promtool).args(["check", "config"]).arg(folder.path().join("prometheus.yaml")));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rules found"), "{output:?}");
    // The alerts' job, and what Grafana finds.
    assert!(
        configuration.contains("job_name: ecs-authz\n")
            && text("prometheus/alerts.yaml").contains(r#"job="ecs-authz""#)
    );
    let sources = one_yaml(&text("compose/grafana/datasources.yaml"));
    assert_eq!(sources["datasources"][0]["url"], "http://prometheus:9090");
    let folder =
        one_yaml(&text("compose/grafana/dashboards.yaml"))["providers"][0]["options"]["path"].clone();
    let grafana = &services()["grafana"];
    let mounted =
        format!("../grafana/ecs-authz.json:{}/ecs-authz.json:ro", folder.as_str().expect("a folder"));
    assert!(words(&grafana["volumes"]).contains(&mounted.as_str()), "{mounted}");
}

fn the_configuration_of_envoy_is_the_one_that_is_written_for_it() {
    let mut write = Command::new(program());
    write.args(["envoy-config", "jwt", "--listen", "0.0.0.0:10000", "--api", "api:8081"]);
    let output = succeed(write.args(["--replica", "ecs-authz:50051"]));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        text("compose/envoy.yaml"),
        "see this test for the command"
    );
    // Between the containers nothing is encrypted, as the page says.
    let mut lint = Command::new(program());
    succeed(lint.args(["envoy-lint", "--allow", "plaintext"]).arg(path("compose/envoy.yaml")));
}

fn both_configurations_of_envoy_are_valid() {
    let folder = PolicyDir::new();
    let keys = path("compose/jwks.json").display().to_string();
    folder.write("envoy.yaml", &text("compose/envoy.yaml").replace("/etc/envoy/jwks.json", &keys));
    assert_valid(&folder.path().join("envoy.yaml"));
    assert_valid(&path("compose/api.yaml"));
}

/// The configuration of Envoy with this test's addresses.
fn envoy(api: u16, replica: u16) -> String {
    let mut text = text("compose/envoy.yaml");
    let keys = path("compose/jwks.json").display().to_string();
    let here = |port: u16| format!(r#"address: "127.0.0.1", port_value: {port}}}"#);
    let edits = [
        (r#"address: "0.0.0.0", port_value: 10000}"#.to_owned(), here(0)),
        ("address: 127.0.0.1, port_value: 9901}".to_owned(), "address: 127.0.0.1, port_value: 0}".to_owned()),
        (r#"address: "api", port_value: 8081}"#.to_owned(), here(api)),
        (r#"address: "ecs-authz", port_value: 50051}"#.to_owned(), here(replica)),
        ("/etc/envoy/jwks.json".to_owned(), keys),
    ];
    let patient = PATIENT.map(|(from, to)| (from.to_owned(), to.to_owned()));
    for (from, to) in edits.into_iter().chain(patient) {
        assert_eq!(text.matches(&from).count(), 1, "{from}");
        text = text.replace(&from, &to);
    }
    text
}

fn token(user: &str) -> String {
    let output = succeed(Command::new(path("compose/token")).arg(user));
    format!("Bearer {}", String::from_utf8(output.stdout).expect("text").trim_end())
}

/// The calls of the page that says how to try it.
fn its_envoy_its_service_and_its_tokens_work_together() {
    block_on(async {
        let file = path("compose/ecs-authz.toml");
        let mut read = Config::load(&file).expect("a configuration");
        assert!(
            read.decision_log.take().is_some_and(|log| log.stdout.is_some()),
            "records are on standard output"
        );
        let config = ServerConfig { config: read, ..config(&path("example")) };
        let service = RunningServer::start(config).await.expect("a server");
        let replica = service.grpc_addr.port();
        let edge = Edge::launch(PolicyDir::new(), |api| envoy(api, replica)).await;
        edge.until_healthy(replica, true).await;
        let (alice, bob) = (token("alice"), token("bob"));
        let json = ("content-type", "application/json");
        let stop = "/v2.1/eu-de-prod/servers/7/action";
        let own = [("authorization", alice.as_str()), json];
        assert_eq!(edge.send("POST", stop, &own, br#"{"os-stop": null}"#).await.status, 200);
        assert_eq!(edge.send("DELETE", "/v2.1/eu-de-prod/servers/7", &own, b"").await.status, 403);
        let others = [("authorization", bob.as_str()), json];
        assert_eq!(edge.send("POST", stop, &others, br#"{"os-stop": null}"#).await.status, 403);
        assert_eq!(edge.send("GET", "/v2.1/eu-de-prod/servers", &[], b"").await.status, 401);
        assert_eq!(edge.reached_count(), 1);
    });
    let page = fs::read_to_string(path("compose/README.md")).unwrap();
    for shown in
        ["/v2.1/eu-de-prod/servers/7/action", "-X DELETE", "deploy/compose/token alice", "host: ecs.example"]
    {
        assert!(page.contains(shown), "{shown}");
    }
}
