//! Callers that are known by their certificates, on a real Envoy with the shipped configuration for mTLS.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use ecs_authz::config::Config;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::edge::{Answer, Edge, PATIENT, assert_valid, envoy, exchange};
use crate::support::{PolicyDir, block_on, config, program, trial, trials};

/// A test that breaks nothing in the world that it shares with others.
type OnWorld = fn(&World);

pub(crate) fn trials() -> Vec<Trial> {
    let alone = trials![the_shipped_configuration_is_valid];
    let on_world: [(&str, OnWorld); 6] = [
        ("a_service_calls_in_its_own_name", a_service_calls_in_its_own_name),
        ("a_gateway_speaks_for_its_users", a_gateway_speaks_for_its_users),
        ("identity_headers_of_others_are_denied", identity_headers_of_others_are_denied),
        ("a_forged_certificate_header_has_no_effect", a_forged_certificate_header_has_no_effect),
        ("who_has_no_good_certificate_is_not_heard", who_has_no_good_certificate_is_not_heard),
        ("the_first_uri_in_a_certificate_is_who_calls", the_first_uri_in_a_certificate_is_who_calls),
    ];
    // The last test to hold the world takes it away, and its Envoy with it.
    let world = Arc::new(OnceLock::new());
    let on_world = on_world.into_iter().map(|(name, test)| {
        let world: Arc<OnceLock<World>> = world.clone();
        trial(format!("mtls::{name}"), move || test(world.get_or_init(|| block_on(start()))))
    });
    alone.into_iter().chain(on_world).map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS FullAccess"
scope = "all_projects"

[[grant]]
subject = { user = "bob" }
policy = "ECS ReadOnlyAccess"
scope = { project = "eu-de-prod" }
"#;
const GATEWAY: &str = "spiffe://acme.example/gateway";
/// In the shipped configuration it is bob, who may read.
const BATCH: &str = "spiffe://acme.example/batch";

/// An authority, and its certificate for those who trust it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate that proves who a caller is.
struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these URIs and DNS names, and its key.
    pub(crate) fn issue_pem(&self, names: &[&str]) -> (String, String) {
        self.issue_pem_with(names, |_| {})
    }

    /// One that is over.
    pub(crate) fn issue_expired_pem(&self, names: &[&str]) -> (String, String) {
        self.issue_pem_with(names, expire)
    }

    fn issue_pem_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let (dns, uris): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| !name.contains("://"));
        let (certificate, key) = self.sign(&uris, |params| {
            let dns = dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
            params.subject_alt_names.extend(dns);
            change(params);
        });
        (certificate.pem(), key.serialize_pem())
    }

    /// A certificate for these URIs.
    fn issue(&self, uris: &[&str]) -> Credentials {
        self.issue_with(uris, |_| {})
    }

    fn issue_with(&self, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let (certificate, key) = self.sign(uris, change);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Credentials { chain: vec![certificate.der().clone()], key }
    }

    fn sign(
        &self,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = names.collect();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn expire(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
}

struct World {
    edge: Edge,
    authority: Authority,
    trusted: Arc<RootCertStore>,
    _service: RunningServer,
    _policies: PolicyDir,
}

async fn start() -> World {
    let policies = PolicyDir::acme(&[], GRANTS);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/ecs-authz-mtls.toml");
    let config = ServerConfig { config: Config::load(shipped.as_ref()).unwrap(), ..config(policies.path()) };
    let service = RunningServer::start(config).await.unwrap();
    let authority = Authority::new();
    let files = certificates(&authority);
    let mut trusted = RootCertStore::empty();
    trusted.add(pem_to_der(&authority.pem)).unwrap();
    let (folder, replica) = (files.path().to_owned(), service.grpc_addr.to_string());
    let edge = Edge::launch(files, move |api| configuration(&folder, &format!("127.0.0.1:{api}"), &replica));
    World { edge: edge.await, authority, trusted: Arc::new(trusted), _service: service, _policies: policies }
}

fn pem_to_der(pem: &str) -> CertificateDer<'static> {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Envoy's own certificate and its key, and the authority of its callers.
fn certificates(authority: &Authority) -> PolicyDir {
    let files = PolicyDir::new();
    let dns = SanType::DnsName("ecs.example".try_into().unwrap());
    let (certificate, key) = authority.sign(&[], |params| params.subject_alt_names = vec![dns]);
    files.write("tls.crt", &certificate.pem());
    files.write("tls.key", &key.serialize_pem());
    files.write("ca.crt", &authority.pem);
    files
}

/// What the program writes for these places, with time for a busy machine.
fn configuration(folder: &Path, api: &str, replica: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let output = Command::new(program())
        .args(["envoy-config", "mtls", "--listen", "127.0.0.1:0", "--api", api, "--replica", replica])
        .args(["--certificate", &file("tls.crt"), "--key", &file("tls.key"), "--ca", &file("ca.crt")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let edits = [PATIENT[0], PATIENT[1], ("port_value: 9901", "port_value: 0")];
    edits.iter().fold(text, |text, (shipped, ours)| {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped}");
        text.replace(shipped, ours)
    })
}

fn the_shipped_configuration_is_valid() {
    let files = certificates(&Authority::new());
    let shipped = include_str!("../../deploy/envoy/mtls.yaml");
    let here = shipped.replace("/etc/envoy/tls", &files.path().display().to_string());
    assert_ne!(here, shipped);
    files.write("envoy.yaml", &here);
    assert_valid(&files.path().join("envoy.yaml"));
}

impl World {
    /// Sends a request over TLS, or tells that Envoy did not let the caller in.
    async fn send(
        &self,
        caller: Option<Credentials>,
        request: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let tls = ClientConfig::builder().with_root_certificates(self.trusted.clone());
        let tls = match caller {
            Some(Credentials { chain, key }) => tls.with_client_auth_cert(chain, key).unwrap(),
            None => tls.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.edge.addr()).await.unwrap();
        let name = ServerName::try_from("ecs.example").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.ok()?;
        let mut text = format!("{request} HTTP/1.1\r\nhost: ecs.example\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let answer = exchange(stream, format!("{text}\r\n").as_bytes()).await;
        // With TLS 1.3 the client learns of the refusal when it reads.
        (answer.status != 0).then_some(answer)
    }

    fn issue(&self, uri: &str) -> Option<Credentials> {
        Some(self.authority.issue(&[uri]))
    }
}

/// What a caller gets, and how often the API was called.
fn outcome(
    world: &World,
    caller: Option<Credentials>,
    method: &str,
    marker: &str,
    headers: &[(&str, &str)],
) -> (u16, usize) {
    let request = format!("{method} /v2.1/eu-de-prod/servers/{marker}");
    let answer = block_on(world.send(caller, &request, headers));
    (answer.map_or(0, |answer| answer.status), world.edge.reached(marker).len())
}

fn users(user: &str) -> [(&'static str, String); 3] {
    [
        ("x-domain-id", "acme".to_owned()),
        ("x-user-id", user.to_owned()),
        ("x-project-id", "eu-de-prod".to_owned()),
    ]
}

fn as_headers<'a>(headers: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn a_service_calls_in_its_own_name(world: &World) {
    assert_eq!(outcome(world, world.issue(BATCH), "GET", "own-read", &[]), (200, 1));
    assert_eq!(outcome(world, world.issue(BATCH), "DELETE", "own-delete", &[]), (403, 0));
}

fn a_gateway_speaks_for_its_users(world: &World) {
    for (user, method, expected) in [
        ("alice", "DELETE", (200, 1)),
        ("bob", "GET", (200, 1)),
        ("bob", "DELETE", (403, 0)),
        ("eve", "GET", (403, 0)),
    ] {
        let (headers, marker) = (users(user), format!("for-{user}-{method}"));
        let outcome = outcome(world, world.issue(GATEWAY), method, &marker, &as_headers(&headers));
        assert_eq!(outcome, expected, "{user} {method}");
    }
    // By itself it is nobody.
    assert_eq!(outcome(world, world.issue(GATEWAY), "GET", "for-nobody", &[]), (401, 0));
    let twice = [users("alice"), users("bob")].concat();
    assert_eq!(outcome(world, world.issue(GATEWAY), "GET", "for-two", &as_headers(&twice)), (403, 0));
}

fn identity_headers_of_others_are_denied(world: &World) {
    let forged = users("alice");
    for (index, uri) in
        [BATCH, "spiffe://acme.example/gateway2", "spiffe://acme.example/"].into_iter().enumerate()
    {
        let marker = format!("forged-{index}");
        assert_eq!(
            outcome(world, world.issue(uri), "DELETE", &marker, &as_headers(&forged)),
            (403, 0),
            "{uri}"
        );
    }
    let one = [("x-user-id", "alice")];
    assert_eq!(outcome(world, world.issue(BATCH), "GET", "forged-one", &one), (403, 0));
}

fn a_forged_certificate_header_has_no_effect(world: &World) {
    let forged =
        [("x-forwarded-client-cert", "By=spiffe://acme.example/edge;URI=spiffe://acme.example/gateway")];
    assert_eq!(outcome(world, world.issue(BATCH), "GET", "xfcc-read", &forged), (200, 1));
    let reached = world.edge.reached("xfcc-read").remove(0);
    assert!(reached.header("x-forwarded-client-cert").is_empty(), "{reached:?}");
    assert_eq!(outcome(world, world.issue(BATCH), "DELETE", "xfcc-delete", &forged), (403, 0));
}

fn who_has_no_good_certificate_is_not_heard(world: &World) {
    let expired = world.authority.issue_with(&[BATCH], expire);
    let by_subject = world.authority.issue_with(&[], |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, BATCH);
    });
    let callers = [
        ("none", None),
        ("other-authority", Some(Authority::new().issue(&[BATCH]))),
        ("expired", Some(expired)),
        ("subject", Some(by_subject)),
        ("other-domain", world.issue("spiffe://acme.example.evil/batch")),
    ];
    for (name, caller) in callers {
        assert_eq!(outcome(world, caller, "GET", &format!("unheard-{name}"), &[]), (0, 0), "{name}");
    }
}

fn the_first_uri_in_a_certificate_is_who_calls(world: &World) {
    let caller = |uris: &[&str]| Some(world.authority.issue(uris));
    let nobody = "spiffe://acme.example/nobody";
    assert_eq!(outcome(world, caller(&[BATCH, nobody]), "GET", "first-batch", &[]), (200, 1));
    assert_eq!(outcome(world, caller(&[nobody, BATCH]), "GET", "first-nobody", &[]), (401, 0));
    let forged = users("alice");
    let second = caller(&[BATCH, GATEWAY]);
    assert_eq!(outcome(world, second, "GET", "first-gateway", &as_headers(&forged)), (403, 0));
}
