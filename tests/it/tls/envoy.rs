//! A real Envoy that asks over TLS, as the docs say.

use super::*;
use crate::edge::{Edge, PATIENT, envoy};
use crate::envoy::{GRANTS, NOBODY, SHIPPED_SERVICE, alice};

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![envoy_asks_over_tls_under_its_name];
    trials.into_iter().map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

/// The docs' part of a cluster, with these files.
fn transport_socket(files: &Files) -> String {
    let (_, rest) =
        include_str!("../../../docs/running.md").split_once("```yaml\ntransport_socket:").unwrap();
    let mut part = format!("transport_socket:{}", rest.split("```").next().unwrap());
    for (shown, ours) in
        [("tls.crt", "envoy.crt"), ("tls.key", "envoy.key"), ("authz-ca.crt", "authz-ca.crt")]
    {
        let shown = format!("/etc/envoy/tls/{shown}");
        assert_eq!(part.matches(&shown).count(), 1, "{shown}");
        part = part.replace(&shown, &files.path(ours).display().to_string());
    }
    part.lines().map(|line| format!("    {line}\n")).collect()
}

/// What alice's call is answered, and how often the API was called, by an Envoy with a certificate for this name.
async fn outcome(files: &Files, replica: u16, name: &str) -> (u16, usize) {
    let (certificate, key) = files.clients.issue_pem(&[name]);
    files.folder.write("envoy.crt", &certificate);
    files.folder.write("envoy.key", &key);
    let cluster = "  - name: ecs_authz\n    type: STATIC\n";
    let protected = format!("{cluster}{}", transport_socket(files));
    let edge = Edge::start_edited([replica, NOBODY], &[PATIENT[0], PATIENT[1], (cluster, &protected)]).await;
    let authorization = alice();
    let headers = [("authorization", authorization.as_str())];
    let answer = edge.send("GET", "/v2.1/prod/servers/7", &headers, b"").await;
    (answer.status, edge.reached_count())
}

fn envoy_asks_over_tls_under_its_name() {
    let files = Files::new();
    files.put(&files.servers.issue_pem(&["authz.example"]));
    files.folder.write("authz-ca.crt", &files.servers.pem);
    files.folder.write("policies/acme/grants.toml", GRANTS);
    let shipped = Config::load(SHIPPED_SERVICE.as_ref()).unwrap();
    let callers = CallersConfig { ext_authz: Some([ENVOY.to_owned()].into()), ..CallersConfig::default() };
    block_on(async {
        let server = files.serve(Config { tls: Some(files.mutual()), callers, ..shipped }).await;
        let replica = server.grpc_addr.port();
        assert_eq!(outcome(&files, replica, ENVOY).await, (200, 1));
        // Not named, so there is no decision, and nothing passes.
        assert_eq!(outcome(&files, replica, CONSOLE).await, (503, 0));
    });
}
