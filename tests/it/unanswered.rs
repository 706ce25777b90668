//! Checks that can't be answered: an answer all the same, of the form that Envoy counts as an error, and never an OK.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::catalog::Catalog;
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::ext_authz::ExtAuthz;
use ecs_authz::metrics::Metrics;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::policy::{CompiledPolicy, Document, Grant, Scope};
use ecs_authz::request::Identity;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::{LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreError, StoreHealth};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use libtest_mimic::Trial;
use prost::Message as _;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request};

use crate::ext_authz::{Answer, CONFIG, Check, parsed};
use crate::support::{block_on, limits, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_fault_of_ours_is_an_error_never_a_denial,
        no_decision_within_the_deadline_is_an_error,
        the_error_arrives_before_the_caller_gives_up,
        every_answer_has_its_status_in_its_bytes,
    ]
}

/// A store that answers every load alike.
#[derive(Debug)]
enum Store {
    Failing(StoreError),
    Silent,
    Granting(Vec<Grant>),
}

impl PolicyStore for Store {
    fn revision(&self, _: &str) -> Revision {
        Revision(1)
    }

    fn load<'a>(&'a self, _: &'a Identity) -> LoadFuture<'a> {
        match self {
            Self::Failing(error) => Box::pin(async { Err(error.clone()) }),
            Self::Silent => Box::pin(pending()),
            Self::Granting(grants) => {
                Box::pin(async { Ok(PrincipalGrants { revision: Revision(1), grants: grants.clone() }) })
            }
        }
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

fn service(store: Store) -> ExtAuthz {
    let catalog = Arc::new(Catalog::published().unwrap());
    let cache = PolicyCache::new(Arc::new(store), catalog.action_count(), 1 << 20);
    let decisions = Metrics::new(catalog.clone(), []).decisions;
    let pdp = Arc::new(Pdp::new(catalog, cache, Defaults::default()));
    ExtAuthz::new(pdp, DecisionLog::off(), decisions, parsed(CONFIG).ext_authz.unwrap(), limits(64))
}

/// The bytes of the answer to a check that is handed over without a wire, with or without a `grpc-timeout`.
fn bytes(store: Store, check: Check, timeout: Option<&'static str>) -> Vec<u8> {
    let message = check.message().encode_to_vec();
    let mut request = Request::new(message.into());
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    let answer = block_on(async { service(store).check(request).await });
    answer.expect("never a gRPC error").as_ref().to_vec()
}

fn stop() -> Check {
    Check::action(r#"{"os-stop": null}"#)
}

/// The answer that Envoy counts as an error.
fn error(response: CheckResponse) -> Answer {
    assert!(matches!(response.http_response, Some(HttpResponse::ErrorResponse(_))), "{response:?}");
    let answer = Answer::of(response);
    assert_eq!((answer.code, answer.http_status), (Code::Unavailable.into(), 503));
    answer
}

fn a_fault_of_ours_is_an_error_never_a_denial() {
    let faults = [
        StoreError::Unavailable(Arc::new(io::Error::other("cause"))),
        StoreError::Behind { read: Revision(1), known: Revision(2) },
        StoreError::Stopped,
    ];
    for fault in faults {
        let bytes = bytes(Store::Failing(fault.clone()), stop(), None);
        let answer = error(CheckResponse::decode(bytes.as_slice()).unwrap());
        assert_eq!(
            answer.body, r#"{"serviceUnavailable":{"message":"Authorization is not available.","code":503}}"#,
            "what caused it stays inside: {fault}"
        );
    }
}

fn no_decision_within_the_deadline_is_an_error() {
    let bytes = bytes(Store::Silent, stop(), Some("50m"));
    let answer = error(CheckResponse::decode(bytes.as_slice()).unwrap());
    assert_eq!(
        answer.body,
        r#"{"serviceUnavailable":{"message":"Authorization took too long.","code":503}}"#
    );
}

fn the_error_arrives_before_the_caller_gives_up() {
    block_on(async {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = incoming.local_addr().unwrap();
        let server = Server::builder().add_service(service(Store::Silent).into_service());
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let mut client = AuthorizationClient::new(endpoint.connect().await.unwrap());
        let mut request = Request::new(stop().message());
        // The client gives up then. Our own limit comes first, with time for a busy machine between the two.
        request.set_timeout(Duration::from_secs(30));
        error(client.check(request).await.expect("never a gRPC error").into_inner());
        serving.abort();
    });
}

/// A grant of everything, everywhere.
fn everything() -> Vec<Grant> {
    let text = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["*"]}]}"#;
    let document = Document::parse(text).unwrap();
    let policy = CompiledPolicy::compile("all", &document, &Catalog::published().unwrap());
    vec![Grant { policy: Arc::new(policy), scope: Scope::AllProjects }]
}

fn every_answer_has_its_status_in_its_bytes() {
    let nobody = Check::new("GET", "/v2.1/prod/servers");
    // Envoy takes an answer without a status for an OK. That of an OK is empty, and there all the same.
    let allowed = bytes(Store::Granting(everything()), stop(), None);
    assert_eq!(allowed[..2], [0x0a, 0], "{allowed:x?}");
    let others = [
        (bytes(Store::Granting(Vec::new()), stop(), None), Code::PermissionDenied),
        (bytes(Store::Granting(everything()), nobody, None), Code::Unauthenticated),
        (bytes(Store::Failing(StoreError::Stopped), stop(), None), Code::Unavailable),
    ];
    for (bytes, code) in others {
        // Field 1, of some length, begins with its own field 1, the code.
        assert_eq!((bytes[0], bytes[2]), (0x0a, 0x08), "{bytes:x?}");
        assert_eq!(i32::from(bytes[3]), i32::from(code), "{bytes:x?}");
    }
}
