//! `StreamAuthorize`: each request has its answer, none waits for another, few are in the making at once, and a stream ends in
//! order.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_authz::config::{Config, LimitsConfig};
use ecs_authz::grpc::pb::{self, stream_authorize_response::Result as Answer};
use ecs_authz::server::{Drain, RunningServer, ServerConfig};
use libtest_mimic::Trial;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{Client, PolicyDir, block_on, channel, config, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        each_request_has_the_answer_that_a_call_of_its_own_would_have,
        a_request_that_waits_keeps_no_other,
        few_requests_of_a_stream_are_in_the_making_at_once,
        a_request_without_a_place_is_refused_and_the_stream_goes_on,
        a_stream_of_a_server_that_stops_is_answered_to_its_end,
        who_says_no_more_gets_all_answers
    ]
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }
"#;

/// A server on which alice may start and not delete.
async fn serve(policies: &PolicyDir, limits: LimitsConfig) -> RunningServer {
    let of_file = Config { limits, ..Config::default() };
    RunningServer::start(ServerConfig { config: of_file, ..config(policies.path()) }).await.unwrap()
}

fn request(id: &str, method: &str, path: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            project_id: "prod".into(),
            ..Default::default()
        }),
        method: method.into(),
        path: path.into(),
        request_id: id.into(),
        ..Default::default()
    }
}

fn allowed(id: &str) -> pb::AuthorizeRequest {
    request(id, "GET", "/v2.1/prod/servers")
}

/// At a revision that never comes, so it waits until its time is over.
fn waiting(id: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { min_revision: 99, ..allowed(id) }
}

/// A stream of requests and its answers.
struct Stream {
    requests: mpsc::Sender<pb::StreamAuthorizeRequest>,
    answers: Streaming<pb::StreamAuthorizeResponse>,
}

impl Stream {
    async fn open(server: &RunningServer) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let mut client = Client::new(channel(server).await);
        let answers = client.stream_authorize(ReceiverStream::new(stream)).await.expect("a stream");
        Self { requests, answers: answers.into_inner() }
    }

    async fn send(&self, request: pb::AuthorizeRequest) {
        let request = pb::StreamAuthorizeRequest { request: Some(request) };
        self.requests.send(request).await.expect("a stream that is open");
    }

    /// The next answer: the request's id, and the decision or the code.
    async fn next(&mut self) -> Result<Option<(String, Result<pb::Decision, Code>)>, Status> {
        let Some(answer) = self.answers.message().await? else { return Ok(None) };
        Ok(Some(match answer.result.expect("a result") {
            Answer::Response(response) => (response.request_id.clone(), Ok(response.decision())),
            Answer::Error(error) => (error.request_id, Err(Code::from_i32(error.code))),
        }))
    }
}

fn each_request_has_the_answer_that_a_call_of_its_own_would_have() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, LimitsConfig::default()).await;
        let kinds = [
            ("GET", "/v2.1/prod/servers"),
            ("DELETE", "/v2.1/prod/servers/7"),
            ("GET", "/v2.1/test/servers"),
            ("GET", "/v2.1/prod//servers"),
            ("", "/v2.1/prod/servers"),
        ];
        let mut alone = BTreeMap::new();
        let mut client = Client::new(channel(&server).await);
        let mut stream = Stream::open(&server).await;
        for number in 0..200 {
            let (method, path) = kinds[number % kinds.len()];
            let id = number.to_string();
            let answer = client.authorize(request(&id, method, path)).await;
            alone.insert(id, answer.map(|it| it.into_inner().decision()).map_err(|error| error.code()));
        }
        let codes: Vec<_> = alone.values().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(codes, [&Code::InvalidArgument; 40]);
        let mut told = BTreeMap::new();
        for number in 0..200 {
            let (method, path) = kinds[number % kinds.len()];
            stream.send(request(&number.to_string(), method, path)).await;
            let (id, answer) = stream.next().await.unwrap().expect("an answer");
            assert!(told.insert(id, answer).is_none(), "two answers to one request");
        }
        assert_eq!(told, alone);
    });
}

fn a_request_that_waits_keeps_no_other() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let limits = LimitsConfig { decision_budget_ms: 60_000, ..LimitsConfig::default() };
        let server = serve(&policies, limits).await;
        let mut stream = Stream::open(&server).await;
        stream.send(waiting("first")).await;
        stream.send(allowed("second")).await;
        assert_eq!(stream.next().await.unwrap(), Some(("second".into(), Ok(pb::Decision::Allow))));
    });
}

/// With as many places as a stream may take, one more in the making would be refused.
fn few_requests_of_a_stream_are_in_the_making_at_once() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let limits =
            LimitsConfig { decision_budget_ms: 500, max_concurrent_decisions: 32, ..LimitsConfig::default() };
        let server = serve(&policies, limits).await;
        let mut stream = Stream::open(&server).await;
        for number in 0..48 {
            stream.send(waiting(&number.to_string())).await;
        }
        for _ in 0..48 {
            let (id, answer) = stream.next().await.unwrap().expect("an answer");
            assert_eq!(answer, Err(Code::Unavailable), "{id}");
        }
    });
}

fn a_request_without_a_place_is_refused_and_the_stream_goes_on() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let limits = LimitsConfig {
            decision_budget_ms: 60_000,
            max_concurrent_decisions: 1,
            ..LimitsConfig::default()
        };
        let server = serve(&policies, limits).await;
        let mut stream = Stream::open(&server).await;
        stream.send(waiting("held")).await;
        stream.send(allowed("refused")).await;
        assert_eq!(stream.next().await.unwrap(), Some(("refused".into(), Err(Code::ResourceExhausted))));
        // Whoever goes away leaves the place.
        drop(stream);
        let mut stream = Stream::open(&server).await;
        loop {
            stream.send(allowed("next")).await;
            match stream.next().await.unwrap().expect("an answer").1 {
                Ok(decision) => break assert_eq!(decision, pb::Decision::Allow),
                Err(code) => assert_eq!(code, Code::ResourceExhausted),
            }
        }
    });
}

fn a_stream_of_a_server_that_stops_is_answered_to_its_end() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let limits = LimitsConfig { decision_budget_ms: 2_000, ..LimitsConfig::default() };
        let server = serve(&policies, limits).await;
        let mut stream = Stream::open(&server).await;
        stream.send(waiting("held")).await;
        stream.send(allowed("seen")).await;
        assert_eq!(stream.next().await.unwrap(), Some(("seen".into(), Ok(pb::Decision::Allow))));
        let stopped = tokio::spawn(server.stop(Duration::from_secs(120)));
        assert_eq!(stream.next().await.unwrap(), Some(("held".into(), Err(Code::Unavailable))));
        let end = stream.next().await.unwrap_err();
        assert_eq!(end.code(), Code::Unavailable);
        assert!(end.message().contains("open the stream again"), "{end}");
        assert_eq!(stopped.await.unwrap().unwrap(), Drain::Complete);
    });
}

fn who_says_no_more_gets_all_answers() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let limits = LimitsConfig { decision_budget_ms: 500, ..LimitsConfig::default() };
        let server = serve(&policies, limits).await;
        let Stream { requests, answers } = Stream::open(&server).await;
        for id in ["a", "b", "c"] {
            let request = pb::StreamAuthorizeRequest { request: Some(waiting(id)) };
            requests.send(request).await.unwrap();
        }
        requests.send(pb::StreamAuthorizeRequest { request: None }).await.unwrap();
        drop(requests);
        let mut stream = Stream { requests: mpsc::channel(1).0, answers };
        let mut answered = Vec::new();
        while let Some(answer) = stream.next().await.expect("no error at the end") {
            answered.push(answer);
        }
        answered.sort_by(|one, other| one.0.cmp(&other.0));
        let waited = |id: &str| (id.to_owned(), Err(Code::Unavailable));
        let empty = (String::new(), Err(Code::InvalidArgument));
        assert_eq!(answered, [empty, waited("a"), waited("b"), waited("c")]);
    });
}
