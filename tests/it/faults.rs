//! The shipped Envoy configuration while replicas die, hang, fail or say that they do not serve: what may fail, and
//! that nothing is let through.
//!
//! Steps follow what was answered, never the clock, and time is edited into the configuration for a busy machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Server;
use tonic_health::ServingStatus::{NotServing, Serving};

use crate::edge::{Answer, Door, Edge, PATIENT, envoy, token, until};
use crate::envoy::{GRANTS, alice};
use crate::replica::{BrokenStore, Inside, Replica};
use crate::support::{PolicyDir, block_on, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        a_replica_that_is_killed_fails_what_it_was_deciding_at_most,
        a_replica_that_hangs_fails_what_it_was_deciding_at_most,
        with_all_replicas_dead_nothing_is_let_through,
        with_all_replicas_hung_nothing_is_let_through,
        a_store_that_does_not_answer_is_an_error_in_the_words_of_the_api,
        a_store_that_fails_is_an_error_in_the_words_of_the_api,
        a_replica_that_is_slow_is_left_for_another,
        a_replica_that_says_it_does_not_serve_is_asked_nothing,
        what_clients_provoke_ejects_no_replica,
        in_shadow_mode_everything_passes_and_the_decision_is_seen,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

const WORKERS: usize = 8;

/// Edits by which the state of a replica is seen soon, and no busy machine is taken for a dead one.
const WATCHFUL: [(&str, &str); 4] = [
    ("connect_timeout: 0.1s", "connect_timeout: 5s"),
    (
        "- timeout: 0.5s\n      interval: 2s\n      interval_jitter: 0.2s",
        "- timeout: 2s\n      interval: 0.2s",
    ),
    ("no_traffic_interval: 2s", "no_traffic_interval: 0.2s"),
    ("unhealthy_interval: 1s", "unhealthy_interval: 0.2s"),
];

/// Envoy in front of these replicas, with so much time for a request and for a try.
async fn edge(replicas: [u16; 2], request: &str, each_try: &str) -> Edge {
    let (request, each_try) = (format!("timeout: {request}"), format!("max_interval: {each_try}"));
    let times = [("timeout: 0.25s", request.as_str()), ("max_interval: 0.12s", each_try.as_str())];
    Edge::start_edited(replicas, &[&times[..], &WATCHFUL].concat()).await
}

async fn get(door: Door, user: &str, server: &str) -> Answer {
    let authorization = token(user, |_| {});
    let target = format!("/v2.1/prod/servers/{server}");
    door.send("GET", &target, &[("authorization", &authorization)], b"").await
}

async fn until_served(edge: &Edge) {
    until("alice is served", async || get(edge.door, "alice", "until-served").await.status == 200).await;
}

/// How many requests of a load were answered, and how many of them with a 503.
pub(crate) struct Tally {
    pub(crate) answered: usize,
    pub(crate) failed: usize,
}

/// Requests without a pause: of alice, who may, from every other worker, and of bob, who may not.
pub(crate) struct Load {
    workers: JoinSet<Vec<(String, u16)>>,
    answered: watch::Sender<usize>,
    enough: Arc<AtomicBool>,
}

impl Load {
    /// A bound, so that no load goes on for ever; no test needs as many.
    const MOST: usize = 20_000;

    pub(crate) fn start(door: Door) -> Self {
        let (answered, enough) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (answered, enough) = (answered.clone(), enough.clone());
            workers.spawn(async move {
                let user = if worker % 2 == 0 { "alice" } else { "bob" };
                let mut answers = Vec::new();
                while !enough.load(Ordering::Relaxed) && answers.len() < Self::MOST {
                    let server = format!("{user}-{worker}-{}-", answers.len());
                    let status = get(door, user, &server).await.status;
                    answers.push((server, status));
                    answered.send_modify(|answered| *answered += 1);
                }
                answers
            });
        }
        Self { workers, answered, enough }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn answered(&self, more: usize) {
        let until = *self.answered.borrow() + more;
        let mut answered = self.answered.subscribe();
        let reached =
            timeout(Duration::from_secs(60), answered.wait_for(|answered| *answered >= until)).await;
        assert!(reached.is_ok_and(|reached| reached.is_ok()), "the load came to a halt");
    }

    /// Ends it, and holds every answer against what reached the API.
    pub(crate) async fn end(self, edge: &Edge) -> Tally {
        self.enough.store(true, Ordering::Relaxed);
        let answers = self.workers.join_all().await.concat();
        let mut reached: HashMap<String, usize> = HashMap::new();
        for request in edge.reached("/servers/") {
            *reached.entry(request.target).or_default() += 1;
        }
        for (server, status) in &answers {
            let decided = if server.starts_with("alice") { 200 } else { 403 };
            assert!([decided, 503].contains(status), "{server}: {status}");
            let times = reached.get(&format!("/v2.1/prod/servers/{server}")).copied().unwrap_or_default();
            assert_eq!(times, usize::from(*status == 200), "{server}: {status}");
        }
        assert!(edge.reached("/servers/bob").is_empty(), "bob may nothing");
        let failed = answers.iter().filter(|(_, status)| *status == 503).count();
        Tally { answered: answers.len(), failed }
    }
}

fn two_replicas(policies: &PolicyDir) -> [Replica; 2] {
    [Replica::start(policies), Replica::start(policies)]
}

/// One replica after the other goes and comes back, as in an update. Answers how many requests failed.
fn killed_under_load() -> usize {
    let policies = PolicyDir::acme(&[], GRANTS);
    let mut replicas = two_replicas(&policies);
    block_on(async {
        let edge = edge(replicas.each_ref().map(Replica::port), "10s", "5s").await;
        let load = Load::start(edge.door);
        for replica in &mut replicas {
            load.answered(100).await;
            replica.signal("KILL");
            load.answered(100).await;
            replica.start_again(&policies);
            // Until Envoy has seen that it is back, the other is the only one.
            edge.until_healthy(replica.port(), true).await;
        }
        load.answered(100).await;
        load.end(&edge).await.failed
    })
}

fn a_replica_that_is_killed_fails_what_it_was_deciding_at_most() {
    let failed = killed_under_load();
    assert!(failed <= 2 * WORKERS, "{failed} requests failed");
}

fn a_replica_that_hangs_fails_what_it_was_deciding_at_most() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let replicas = two_replicas(&policies);
    let [hung, other] = &replicas;
    block_on(async {
        let edge = edge(replicas.each_ref().map(Replica::port), "10s", "2s").await;
        let load = Load::start(edge.door);
        load.answered(100).await;
        hung.signal("STOP");
        edge.until_healthy(hung.port(), false).await;
        load.answered(100).await;
        hung.signal("CONT");
        edge.until_healthy(hung.port(), true).await;
        load.answered(100).await;
        let failed = load.end(&edge).await.failed;
        assert!(failed <= WORKERS, "{failed} requests failed");
        // It serves again: alone, now.
        other.signal("KILL");
        until_served(&edge).await;
    });
}

/// Both replicas get this signal, after which no request is answered with a decision.
async fn nothing_passes_after(signal: &str, edge: &Edge, replicas: &[Replica; 2]) {
    until_served(edge).await;
    let before = edge.reached_count();
    replicas.iter().for_each(|replica| replica.signal(signal));
    let load = Load::start(edge.door);
    load.answered(10 * WORKERS).await;
    for replica in replicas {
        edge.until_healthy(replica.port(), false).await;
    }
    load.answered(10 * WORKERS).await;
    let Tally { answered, failed } = load.end(edge).await;
    assert_eq!(failed, answered, "without a replica, there is no decision");
    assert_eq!(edge.reached_count(), before);
}

fn with_all_replicas_dead_nothing_is_let_through() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let mut replicas = two_replicas(&policies);
    block_on(async {
        let edge = edge(replicas.each_ref().map(Replica::port), "10s", "5s").await;
        nothing_passes_after("KILL", &edge, &replicas).await;
        replicas[0].start_again(&policies);
        until_served(&edge).await;
    });
}

fn with_all_replicas_hung_nothing_is_let_through() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let replicas = two_replicas(&policies);
    block_on(async {
        // Too little time can't fail this test: it is one of errors.
        let edge = edge(replicas.each_ref().map(Replica::port), "0.25s", "0.12s").await;
        nothing_passes_after("STOP", &edge, &replicas).await;
        replicas[0].signal("CONT");
        until_served(&edge).await;
        assert!(edge.reached("bob").is_empty());
    });
}

async fn two_inside(server: fn() -> Server) -> [Inside; 2] {
    [Inside::sound(server()).await, Inside::sound(server()).await]
}

/// Both replicas have this store; the answer of the service reaches the client, and nothing the API.
fn is_an_error(store: fn() -> BrokenStore, message: &str) {
    block_on(async {
        let replicas = [Inside::broken(store()).await, Inside::broken(store()).await];
        let edge = edge(replicas.each_ref().map(Inside::port), "30s", "15s").await;
        let (alice, bob) = tokio::join!(get(edge.door, "alice", "1"), get(edge.door, "bob", "1"));
        for answer in [alice, bob] {
            assert_eq!(answer.status, 503);
            let fault: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(fault, json!({"serviceUnavailable": {"message": message, "code": 503}}));
        }
        assert_eq!(edge.reached_count(), 0);
    });
}

fn a_store_that_does_not_answer_is_an_error_in_the_words_of_the_api() {
    is_an_error(|| BrokenStore::Waits, "Authorization took too long.");
}

fn a_store_that_fails_is_an_error_in_the_words_of_the_api() {
    is_an_error(|| BrokenStore::Fails, "Authorization is not available.");
}

fn a_replica_that_is_slow_is_left_for_another() {
    block_on(async {
        let replicas = [Inside::broken(BrokenStore::Waits).await, Inside::sound(Server::builder()).await];
        // Less than the two seconds after which the service gives up by itself.
        let edge = edge(replicas.each_ref().map(Inside::port), "30s", "1.5s").await;
        let load = Load::start(edge.door);
        let retried = "cluster.ecs_authz.upstream_rq_retry_success";
        until("requests were tried again", async || edge.stat(retried).await >= 3).await;
        assert_eq!(load.end(&edge).await.failed, 0);
    });
}

fn a_replica_that_says_it_does_not_serve_is_asked_nothing() {
    block_on(async {
        let replicas = two_inside(Server::builder).await;
        let edge = edge(replicas.each_ref().map(Inside::port), "30s", "15s").await;
        let load = Load::start(edge.door);
        replicas[0].says(NotServing).await;
        edge.until_healthy(replicas[0].port(), false).await;
        load.answered(2 * WORKERS).await;
        let asked = edge.asked(replicas[0].port()).await;
        load.answered(100).await;
        assert_eq!(edge.asked(replicas[0].port()).await, asked);
        assert_eq!(load.end(&edge).await.failed, 0);

        replicas[1].says(NotServing).await;
        edge.until_healthy(replicas[1].port(), false).await;
        until("alice is refused", async || get(edge.door, "alice", "refused").await.status == 503).await;
        let before = edge.reached_count();
        for _ in 0..10 {
            assert_eq!(get(edge.door, "alice", "refused").await.status, 503);
        }
        assert_eq!(edge.reached_count(), before);

        replicas[0].says(Serving).await;
        until_served(&edge).await;
    });
}

/// Sends what a hostile client would, once each.
async fn provoke(door: Door) {
    let (large, long) = ("x".repeat(200_000), format!("/v2.1/prod/servers/{}", "x".repeat(20_000)));
    let provocations: [(&str, &str, &[u8], u16); 9] = [
        ("POST", "/v2.1/prod/servers/M/action", b"\xff\x00 no JSON", 403),
        ("POST", "/v2.1/prod/servers/M/action", b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 403),
        ("POST", "/v2.1/prod/servers/M/action", large.as_bytes(), 413),
        ("GET", "/v2.1/prod/..;/servers/M", b"", 403),
        ("GET", "/v2.1/prod/servers/M%2fx", b"", 400),
        ("GET", "/v2.1/prod/servers/M%00", b"", 400),
        ("TRACE", "/v2.1/prod/servers/M", b"", 403),
        ("GET", "/no/such/operation", b"", 403),
        ("GET", &long, b"", 400),
    ];
    let alice = alice();
    for (method, target, body, status) in provocations {
        let answer = door.send(method, target, &[("authorization", &alice)], body).await;
        assert_eq!(answer.status, status, "{method} {target:.60}: {}", answer.body);
    }
    let head = format!("host: ecs.example\r\nauthorization: {alice}\r\n");
    for _ in 0..10 {
        door.hang_up(format!("GET /v2.1/prod/servers/left HTTP/1.1\r\n{head}\r\n").as_bytes()).await;
    }
}

fn what_clients_provoke_ejects_no_replica() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let replicas = two_replicas(&policies);
    block_on(async {
        let edge = edge(replicas.each_ref().map(Replica::port), "30s", "15s").await;
        let mut clients = JoinSet::new();
        for _ in 0..30 {
            clients.spawn(provoke(edge.door));
        }
        clients.join_all().await;
        for counter in ["ejections_enforced_total", "ejections_detected_consecutive_local_origin_failure"] {
            let counter = format!("cluster.ecs_authz.outlier_detection.{counter}");
            assert_eq!(edge.stat(&counter).await, 0, "{counter}");
        }
        assert_eq!(get(edge.door, "alice", "after").await.status, 200);
    });
}

/// What a request of this user does to an Envoy in shadow mode: it passes as it was sent, but for what `ours` says
/// of the headers that we add. Answers what was decided.
async fn passes_in_shadow(edge: &Edge, user: &str, ours: bool) -> Value {
    let (authorization, target) = (token(user, |_| {}), format!("/v2.1/prod/servers/{user}/action"));
    let forged = [("x-auth-action", "forged"), ("x-auth-decision-id", "forged")];
    let headers = [&[("authorization", authorization.as_str())][..], &forged].concat();
    let body = br#"{"os-start": null}"#;
    assert_eq!(edge.send("POST", &target, &headers, body).await.status, 200);
    let reached = edge.reached(user);
    assert_eq!(reached.len(), 1, "{user}");
    let request = &reached[0];
    assert_eq!((request.method.as_str(), &request.target, &request.body[..]), ("POST", &target, &body[..]));
    assert_eq!(request.header("authorization"), [&authorization]);
    let of_ours = request.headers.iter().filter(|(name, _)| name.starts_with("x-auth-"));
    assert_eq!(of_ours.count(), if ours { 2 } else { 0 }, "{user}");
    until("it is logged", async || !edge.logged(user).is_empty()).await;
    edge.logged(user)[0]["decision"].clone()
}

fn in_shadow_mode_everything_passes_and_the_decision_is_seen() {
    block_on(async {
        let replicas = two_inside(Server::builder).await;
        let shadow =
            ("failure_mode_allow: false", "failure_mode_allow: false\n              shadow_mode: true");
        let edits = [&PATIENT[..], &[shadow]].concat();
        let edge = Edge::start_edited(replicas.each_ref().map(Inside::port), &edits).await;
        let allowed = passes_in_shadow(&edge, "alice", true).await;
        let denied = passes_in_shadow(&edge, "bob", false).await;
        assert_eq!((&allowed["action"], &allowed["reason"]), (&json!("ecs:servers:start"), &Value::Null));
        assert_eq!(denied["action"], "ecs:servers:start");
        assert_eq!(denied["reason"], "NO_MATCHING_ALLOW");
        for counter in ["ok", "denied", "shadow_denied"] {
            assert_eq!(edge.stat(&format!("http.edge.ext_authz.ecs_authz.{counter}")).await, 1, "{counter}");
        }
        // Without an answer, too: shadow mode is for trying policies, and protects nothing.
        replicas[0].says(NotServing).await;
        replicas[1].says(NotServing).await;
        let errors = "http.edge.ext_authz.ecs_authz.shadow_error";
        let passes = async || get(edge.door, "bob", "late").await.status == 200;
        until("errors pass", async || passes().await && edge.stat(errors).await > 0).await;
    });
}
