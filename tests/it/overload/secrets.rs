//! Nothing that the program prints, logs, records or serves holds a secret, at the most talkative level of logs and whatever
//! goes wrong.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use ecs_authz::config::Config;
use ecs_authz::grpc::pb;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::grpc::pb::policy_admin_service_client::PolicyAdminServiceClient;
use ecs_authz::server::{PolicySource, ServerConfig};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use super::{alice, start};
use crate::conformance::postgres::{connect, is_there};
use crate::edge::{base64url, until};
use crate::ext_authz::{CONFIG, Check};
use crate::mtls::Authority;
use crate::postgres_world::{Server, settings};
use crate::support::{PolicyDir, block_on, config, http, program, trials};

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![no_output_holds_a_secret].into_iter();
    let trials = trials.map(|trial| trial.with_ignored_flag(!is_there()));
    trials.chain(trials![each_form_of_a_secret_is_found]).collect()
}

const PASSWORD: &str = "database/Pass+word=9Zq";
const PASSWORD_IN_A_URL: &str = "database%2FPass%2Bword%3D9Zq";
const TOKEN: &str = "admin-Token/0123456789+abcdefghijklmnopqrstuv";
const WRONG_TOKEN: &str = "wrong-Token/0123456789+abcdefghijklmnopqrst";
const SHORT_TOKEN: &str = "short-Token/01234";
const MASK_KEY: &str = "mask-Key/0123456789+abcdefghijklmnopqrstuvw";
const BROKEN_KEY: &str = "broken-Key/0123456789+abcdefghijklmnopqrstu";
/// What a client of the API shows to Envoy, which passes it on.
const BEARER: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10ZXN0";
const COOKIE: &str = "session=cookie-Secret/0123456789";

const SECRETS: [&str; 9] =
    [PASSWORD, PASSWORD_IN_A_URL, TOKEN, WRONG_TOKEN, SHORT_TOKEN, MASK_KEY, BROKEN_KEY, BEARER, COOKIE];

/// The program with every secret that it can have, and files for all that it prints.
struct Program {
    child: Child,
    folder: PolicyDir,
    authority: Authority,
    key: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "{CONFIG}
[tls]
certificate = '{folder}/tls.crt'
key = '{folder}/tls.key'
[admin]
addr = '127.0.0.1:0'
[[admin.token]]
name = 'deployer'
file = '{folder}/token'
[decision_log]
mask_key = '{folder}/mask.key'
paths = 'without_query'
[decision_log.mask]
user_id = 'hash'
[decision_log.file]
path = '{folder}/decisions.log'
"
    )
}

impl Program {
    fn start(database: &str) -> Self {
        let (folder, authority) = (PolicyDir::new(), Authority::new());
        let (certificate, key) = authority.issue_pem(&["localhost"]);
        folder.write("tls.crt", &certificate);
        folder.write("config.toml", &configuration(folder.path()));
        for (name, secret) in [("tls.key", key.as_str()), ("token", TOKEN), ("mask.key", MASK_KEY)] {
            folder.write(name, secret);
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        let output = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = Command::new(program())
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--config"])
            .arg(folder.path().join("config.toml"))
            .env("ECS_AUTHZ_DATABASE_URL", database)
            .env("RUST_LOG", "trace")
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap();
        Self { child, folder, authority, key }
    }

    fn printed(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The address that follows this in the output.
    async fn addr(&self, name: &str, before: &str) -> SocketAddr {
        let find = || {
            let text = self.printed(name);
            let rest = text.split(before).nth(1)?;
            rest.split([' ', ',', '\n']).next()?.parse().ok()
        };
        until(before, async || find().is_some()).await;
        find().unwrap()
    }

    async fn channel(&self) -> Channel {
        let addr = self.addr("stdout", "ready on ").await;
        let authority = Certificate::from_pem(&self.authority.pem);
        let tls = ClientTlsConfig::new().domain_name("localhost").ca_certificate(authority);
        let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.expect("a connection")
    }

    async fn get(&self, path: &str) -> String {
        http(self.addr("stderr", "http_addr=").await, "GET", path).await.1
    }

    /// All that it has said anywhere.
    async fn said(&self) -> Vec<(&'static str, String)> {
        vec![
            ("stdout", self.printed("stdout")),
            ("stderr", self.printed("stderr")),
            ("decision log", self.printed("decisions.log")),
            ("/metrics", self.get("/metrics").await),
            ("/readyz", self.get("/readyz").await),
        ]
    }
}

/// What clients of decisions do, well and badly.
async fn ask(program: &Program) {
    let channel = program.channel().await;
    let mut client = AuthorizationServiceClient::new(channel.clone());
    client.authorize(start()).await.expect("a decision");
    client.authorize(pb::AuthorizeRequest::default()).await.expect_err("malformed");
    let mut behind = Request::new(pb::AuthorizeRequest { min_revision: 99, ..start() });
    behind.set_timeout(Duration::from_millis(20));
    client.authorize(behind).await.expect_err("never");
    let mut with_token = Request::new(start());
    with_token.metadata_mut().insert("authorization", format!("Bearer {BEARER}").parse().unwrap());
    client.authorize(with_token).await.expect("a decision");
    let mut envoy = AuthorizationClient::new(channel);
    let bearer = format!("Bearer {BEARER}");
    let headers = [("authorization", bearer.as_str()), ("cookie", COOKIE)];
    for check in [Check::action(r#"{"os-start":null}"#), Check::new("GET", "/v2.1/prod/servers")] {
        envoy.check(check.raw(&headers).message()).await.expect("an answer");
    }
    // No TLS, and TLS that breaks off.
    for bytes in [&b"GET / HTTP/1.1\r\nauthorization: Bearer "[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stream = TcpStream::connect(program.addr("stdout", "ready on ").await).await.unwrap();
        stream.write_all(&[bytes, WRONG_TOKEN.as_bytes()].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _answer_or_none = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// What administrators do, with the token and with a wrong one.
async fn administer(program: &Program) {
    let addr = program.addr("stderr", "admin_addr=").await;
    let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
    let mut client = PolicyAdminServiceClient::new(channel);
    for (token, expected) in [(TOKEN, None), (WRONG_TOKEN, Some(Code::Unauthenticated))] {
        let mut request = Request::new(pb::PutPolicyRequest {
            domain_id: "acme".into(),
            name: "all".into(),
            document: r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:*:*"]}]}"#.into(),
            ..Default::default()
        });
        let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", value);
        let answer = client.put_policy(request).await;
        assert_eq!(answer.as_ref().err().map(tonic::Status::code), expected, "{answer:?}");
    }
}

/// The forms in which a secret could stand somewhere.
fn forms(secret: &str) -> Vec<String> {
    let percent = |is_kept: fn(&u8) -> bool| -> String {
        let encode = |byte: u8| {
            if is_kept(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        secret.bytes().map(encode).collect()
    };
    // Base64 by where the secret begins in what is encoded, without the digits that its neighbours have a part in.
    let encoded = (0..3).map(|before: usize| {
        let text = base64url(&[&vec![b'x'; before][..], secret.as_bytes()].concat());
        text[(before * 8).div_ceil(6)..text.len() - 1].to_owned()
    });
    let encoded: Vec<String> =
        encoded.flat_map(|text| [text.replace('-', "+").replace('_', "/"), text]).collect();
    let list = |text: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let kept = percent(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
    [encoded, vec![secret.to_owned(), kept, percent(|_| false), list(secret), hex]].concat()
}

/// What is told of a secret, in whatever form, and where.
fn told(said: &[(&str, String)], key: &str) -> Option<String> {
    let key = key.lines().filter(|line| !line.starts_with('-') && line.len() > 32);
    let secrets: Vec<&str> = SECRETS.into_iter().chain(key).collect();
    said.iter().find_map(|(place, text)| {
        let mut forms =
            secrets.iter().flat_map(|secret| forms(secret).into_iter().map(move |form| (secret, form)));
        let (secret, at) = forms.find_map(|(secret, form)| Some((secret, text.find(&form)?)))?;
        let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        Some(format!("{place} tells `{secret}`: {}", text[from..].chars().take(400).collect::<String>()))
    })
}

fn assert_silent(said: &[(&str, String)], key: &str) {
    assert_eq!(told(said, key), None);
}

/// The search would find them.
fn each_form_of_a_secret_is_found() {
    let key = Authority::new().issue_pem(&["localhost"]).1;
    for secret in SECRETS {
        let embedded =
            ["", "a", "ab"].map(|before| base64url(format!("{before}{secret}; and more").as_bytes()));
        for text in forms(secret).into_iter().chain(embedded) {
            let found = told(&[("a place", format!("a line\nx {text} y"))], &key);
            assert!(found.expect(&text).starts_with("a place tells"), "{secret} as {text}");
        }
    }
    let of_key = format!("{key:?}");
    assert!(told(&[("a place", of_key)], &key).is_some());
    assert_silent(&[("a place", "what is no secret".to_owned())], &key);
}

/// A database that asks for a password, and its address with it.
fn database() -> (Server, String) {
    let server = Server::start();
    server.admit("host all app 127.0.0.1/32 scram-sha-256");
    block_on(async {
        ecs_authz::store::postgres::migrate::run(&server.url.parse().unwrap()).await.unwrap();
        let role = format!("CREATE ROLE app LOGIN SUPERUSER PASSWORD '{PASSWORD}'");
        connect(&server.url.parse().unwrap()).await.batch_execute(&role).await.unwrap();
    });
    let place = server.url.rsplit_once('@').unwrap().1.to_owned();
    (server, format!("postgresql://app:{PASSWORD_IN_A_URL}@{place}"))
}

fn no_output_holds_a_secret() {
    let (server, url) = database();
    let program = Program::start(&url);
    block_on(async {
        ask(&program).await;
        administer(&program).await;
        // The database no longer knows the password, and ends the connections.
        let owner = connect(&server.url.parse().unwrap()).await;
        let end = "ALTER ROLE app PASSWORD 'another'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE usename = 'app'";
        owner.batch_execute(end).await.unwrap();
        until("the database is missed", async || program.get("/readyz").await.contains("degraded")).await;
        let mut client = AuthorizationServiceClient::new(program.channel().await);
        let principal = Some(pb::Principal { user_id: "bob".into(), ..alice() });
        let unknown = pb::AuthorizeRequest { principal, ..start() };
        client.authorize(unknown).await.expect_err("his policies can't be had");
        // A key that is none.
        let broken = format!("-----BEGIN PRIVATE KEY-----\n{BROKEN_KEY}\n-----END PRIVATE KEY-----\n");
        program.folder.write("tls.key", &broken);
        until("the key is refused", async || program.get("/readyz").await.contains("tls.key")).await;
        let said = program.said().await;
        // It was as talkative as it can be, and told what went wrong.
        for (place, expected) in [
            ("stderr", "TRACE"),
            ("stderr", "password authentication failed"),
            ("decision log", "\"kind\":\"error\""),
        ] {
            let text = &said.iter().find(|(name, _)| *name == place).unwrap().1;
            assert!(text.contains(expected), "{place}: {expected}");
        }
        assert_silent(&said, &program.key);
    });
    faults_at_the_start(&program, &url);
    debug_output(&program, &url);
}

/// What it says of secrets that it can't use.
fn faults_at_the_start(program: &Program, url: &str) {
    let folder = program.folder.path();
    let run = |url: &str| {
        let output = Command::new(crate::support::program())
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--config"])
            .arg(folder.join("config.toml"))
            .env("ECS_AUTHZ_DATABASE_URL", url)
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        ("a failed start", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    // The password is not the database's any more; no database; the address is none.
    let nowhere = format!("postgresql://app:{PASSWORD_IN_A_URL}@127.0.0.1:1/postgres");
    let no_address = format!("postgresql://app:{PASSWORD}@[x:/postgres");
    let mut said = vec![run(url), run(&nowhere), run(&no_address)];
    program.folder.write("token", SHORT_TOKEN);
    said.push(run(&nowhere));
    assert_silent(&said, &program.key);
}

/// What stands in a panic or an error, if somebody prints the whole.
fn debug_output(program: &Program, url: &str) {
    program.folder.write("token", TOKEN);
    let file: PathBuf = program.folder.path().join("config.toml");
    let of_file = Config::load(&file).unwrap();
    let tokens = of_file.admin.as_ref().unwrap();
    let config = ServerConfig {
        policies: PolicySource::Postgres(settings(url)),
        config: of_file.clone(),
        ..config("".as_ref())
    };
    let log = ecs_authz::decision_log::DecisionLog::open(
        of_file.decision_log.as_ref().unwrap(),
        &ecs_authz::catalog::Catalog::published().unwrap(),
    );
    let said = [("Debug", format!("{config:?} {config:#?} {tokens:?} {log:?}"))];
    assert_silent(&said, &program.key);
}
