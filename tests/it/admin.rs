//! The policy admin service over the wire, on a real server and a real database.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use ecs_authz::config::{AdminConfig, Config, TokenConfig};
use ecs_authz::grpc::pb;
use ecs_authz::grpc::pb::policy_admin_service_client::PolicyAdminServiceClient;
use ecs_authz::server::{PolicySource, RunningServer, ServerConfig};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::conformance::postgres::{Database, is_there};
use crate::support::{block_on, client, config, trial};

mod access;
mod lists;
mod simulation;
mod writing;

pub(crate) fn trials() -> Vec<Trial> {
    let tests = [access::TESTS, lists::TESTS, simulation::TESTS, writing::TESTS].concat();
    let named = |(name, test): Test| trial(format!("admin::{name}"), test).with_ignored_flag(!is_there());
    tests.into_iter().map(named).collect()
}

type Test = (&'static str, fn());

/// How long something may take that takes no time. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const TOKEN: &str = "a-token-of-the-tests-0123456789abcdef";

type Show = fn(Request<()>) -> Result<Request<()>, Status>;
pub(crate) type AdminClient = PolicyAdminServiceClient<InterceptedService<Channel, Show>>;

/// A server on a database of its own that can be administered with a token.
struct World {
    server: RunningServer,
    admin: AdminClient,
    database: Arc<Database>,
    _folder: TempDir,
}

impl World {
    async fn start(database: Arc<Database>) -> Self {
        let folder = TempDir::new().unwrap();
        let server = RunningServer::start(with_token(&database, &folder)).await.expect("a server");
        let admin = admin_client(&server, show_token).await;
        Self { server, admin, database, _folder: folder }
    }

    /// Whether a user of `acme` may read a server, decided at a revision or later.
    async fn may_read(&self, user: &str, min_revision: u64) -> bool {
        let mut client = client(&self.server).await;
        let request = pb::AuthorizeRequest { min_revision, ..read_request(user) };
        let response = client.authorize(request).await.expect("a decision").into_inner();
        assert!(response.revision >= min_revision);
        response.decision() == pb::Decision::Allow
    }
}

/// A server on a database that can be administered with the token.
pub(crate) fn with_token(database: &Database, folder: &TempDir) -> ServerConfig {
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let token = vec![TokenConfig { name: "tests".into(), file }];
    with_admin(database, AdminConfig { addr: ([127, 0, 0, 1], 0).into(), token, tls: None })
}

fn with_admin(database: &Database, admin: AdminConfig) -> ServerConfig {
    ServerConfig {
        policies: PolicySource::Postgres(database.settings()),
        config: Config { admin: Some(admin), ..Config::default() },
        ..config("".as_ref())
    }
}

async fn admin_client(server: &RunningServer, show: Show) -> AdminClient {
    let endpoint = format!("http://{}", server.admin_addr.expect("an admin listener"));
    let channel = Endpoint::from_shared(endpoint).unwrap().connect().await.expect("a connection");
    PolicyAdminServiceClient::with_interceptor(channel, show)
}

fn show_token(mut request: Request<()>) -> Result<Request<()>, Status> {
    let value = MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn show_nothing(request: Request<()>) -> Result<Request<()>, Status> {
    Ok(request)
}

fn read_request(user: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: "acme".into(),
            user_id: user.into(),
            project_id: "p".into(),
            ..Default::default()
        }),
        method: "GET".into(),
        path: "/v1/p/cloudservers/7".into(),
        ..Default::default()
    }
}

fn document(effect: &str, action: &str) -> String {
    format!(r#"{{"Version":"1.1","Statement":[{{"Effect":"{effect}","Action":["{action}"]}}]}}"#)
}

fn put_policy(name: &str, document: &str) -> pb::PutPolicyRequest {
    pb::PutPolicyRequest {
        domain_id: "acme".into(),
        name: name.into(),
        document: document.into(),
        etag: None,
        dry_run: false,
    }
}

fn user(id: &str) -> pb::Subject {
    pb::Subject { subject: Some(pb::subject::Subject::User(id.into())) }
}

fn group(id: &str) -> pb::Subject {
    pb::Subject { subject: Some(pb::subject::Subject::Group(id.into())) }
}

fn everywhere() -> pb::Scope {
    pb::Scope { scope: Some(pb::scope::Scope::AllProjects(pb::AllProjects {})) }
}

fn grant(subject: pb::Subject, policy: &str) -> pb::Grant {
    pb::Grant { subject: Some(subject), policy: policy.into(), scope: Some(everywhere()) }
}

fn put_grant(grant: pb::Grant) -> pb::PutGrantRequest {
    pb::PutGrantRequest { domain_id: "acme".into(), grant: Some(grant), dry_run: false }
}

fn put_group(id: &str, members: &[&str]) -> pb::PutGroupRequest {
    pb::PutGroupRequest {
        domain_id: "acme".into(),
        id: id.into(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        etag: None,
        dry_run: false,
    }
}

fn page(size: u32, token: &str) -> Option<pb::PageRequest> {
    Some(pb::PageRequest { size, token: token.into() })
}

/// The fields that a status names.
fn violations(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("details");
    details.field_violations.into_iter().map(|it| (it.field, it.description)).collect()
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|(field, _)| field).collect()
}

/// A test on a world of its own.
fn on_world<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F) {
    // Dropped last, outside of the runtime.
    let database = Arc::new(Database::create());
    block_on(async {
        let world = Arc::new(World::start(database.clone()).await);
        test(world).await;
    });
}
