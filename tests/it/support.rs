//! What the tests share: policy directories, servers on port 0, clients, and how a test is named.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::config::Config;
use ecs_authz::decision::Verdict;
use ecs_authz::grpc::limits::CallLimits;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::pdp::Defaults;
use ecs_authz::policy::{PolicySet, Scene, Setting};
use ecs_authz::request::{PrincipalParts, Request, RequestParts};
use ecs_authz::server::{CacheSize, Exposure, OpenStore, PolicySource, RunningServer, ServerConfig};
use ecs_authz::slots::Slots;
use ecs_authz::store::directory::{Change, Faults};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// A test by name. It fails by panicking, as tests do.
pub(crate) fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        test();
        Ok(())
    })
}

/// Names each function of a list as a test of the current file: `grpc::a_call_is_decided`.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trial(
            concat!(module_path!(), "::", stringify!($test)).trim_start_matches("it::"),
            $test,
        )),*]
    };
}
pub(crate) use trials;

/// Runs a future on the runtime that all tests share.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime")).block_on(future)
}

/// The data files of a test, in a folder beside it: stem and text of each.
pub(crate) fn toml_files(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(folder);
    let entries = fs::read_dir(folder).expect("the folder of cases");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let stem = |path: &Path| path.file_stem().expect("a stem").to_string_lossy().into_owned();
    files.map(|path| (stem(&path), fs::read_to_string(&path).expect("text"))).collect()
}

/// Bytes from hexadecimal digits; white space between them is for people.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.split_whitespace().collect();
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = (0..digits.len()).step_by(2).map(pair);
    bytes.collect::<Option<_>>().ok_or_else(|| "expected pairs of hexadecimal digits".to_owned())
}

/// A directory of policies that is removed when the test ends.
pub(crate) struct PolicyDir {
    folder: TempDir,
}

impl PolicyDir {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder") }
    }

    /// A directory with one domain, `acme`.
    pub(crate) fn acme(policies: &[(&str, &str)], grants: &str) -> Self {
        let dir = Self::new();
        for (name, document) in policies {
            dir.write(&format!("acme/policies/{name}.json"), document);
        }
        dir.write("acme/grants.toml", grants);
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file as careful writers do: beside its place, then renamed.
    pub(crate) fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub(crate) fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        let beside = path.with_extension("new~");
        fs::write(&beside, bytes).expect("a file");
        fs::rename(&beside, &path).expect("the file at its place");
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("the folder removed");
        } else {
            fs::remove_file(path).expect("the file removed");
        }
    }
}

/// The configuration of a server on port 0 over a directory.
pub(crate) fn config(policies: &Path) -> ServerConfig {
    ServerConfig {
        policies: PolicySource::Directory(policies.to_owned()),
        tables: Vec::new(),
        grpc_addr: ([127, 0, 0, 1], 0).into(),
        grpc_socket: None,
        http_addr: ([127, 0, 0, 1], 0).into(),
        defaults: Defaults::default(),
        cache: CacheSize::Bytes(16 * 1_024 * 1_024),
        exposure: Exposure::Loopback,
        config: Config::default(),
    }
}

/// The limits of a service within a test: so many decisions at once.
pub(crate) fn limits(decisions: usize) -> CallLimits {
    CallLimits {
        max_message_bytes: 1_024 * 1_024,
        budget: Duration::from_secs(2),
        decisions: Arc::new(Slots::new(decisions)),
    }
}

/// What policies say of starting alice's server 7 in `prod`: `allowed`, `denied` or `unmatched`.
pub(crate) fn verdict_on_start(policies: &PolicySet) -> &'static str {
    let catalog = Catalog::published().expect("the published tables");
    let request = Request::new(RequestParts {
        principal: PrincipalParts {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            project_id: "prod".into(),
            ..Default::default()
        },
        method: "POST".into(),
        path: "/v2.1/prod/servers/7/action".into(),
        body: Body::Content { bytes: br#"{"os-start":null}"#.to_vec(), truncated: false },
        ..Default::default()
    });
    let request = request.expect("a well-formed request");
    let call = catalog.resolve(request.method(), request.path(), request.body()).expect("an operation");
    let scene =
        Scene::new(Setting { catalog: &catalog, caller: request.caller(), region: None }, call, &request);
    match policies.verdict(call.operation.actions[0], &scene) {
        Verdict::Allowed(_) => "allowed",
        Verdict::Denied(_) => "denied",
        Verdict::Unmatched => "unmatched",
    }
}

/// Reads the directory of a server again, without waiting for the watch.
pub(crate) fn reload(server: &RunningServer) -> Result<Change, Faults> {
    match &server.store {
        OpenStore::Directory { store, .. } => store.reload(),
        OpenStore::Postgres(_) => panic!("expected a directory"),
    }
}

/// A server on port 0 over a directory.
pub(crate) async fn serve(policies: &Path) -> RunningServer {
    RunningServer::start(config(policies)).await.expect("a server")
}

pub(crate) async fn channel(server: &RunningServer) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_addr)).expect("an address");
    endpoint.connect().await.expect("a connection")
}

pub(crate) type Client = AuthorizationServiceClient<Channel>;

pub(crate) async fn client(server: &RunningServer) -> Client {
    AuthorizationServiceClient::new(channel(server).await)
}

/// A GET over HTTP/1.1 by hand: status line and body.
pub(crate) async fn get(server: &RunningServer, path: &str) -> (String, String) {
    let (head, body) = http(server.http_addr, "GET", path).await;
    (head.lines().next().unwrap().to_owned(), body)
}

/// A request over HTTP/1.1 by hand: head and body of the answer.
pub(crate) async fn http(addr: SocketAddr, method: &str, path: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The program itself.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ecs-authz"))
}
