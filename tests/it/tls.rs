//! TLS of the listeners, and the socket that needs none: on real servers, with certificates made for each test.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ecs_authz::config::{CallersConfig, Config, MinimumVersion, TlsConfig};
use ecs_authz::grpc::pb;
use ecs_authz::server::{Reload, RunningServer, ServerConfig, StartError};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::ext_authz::{self, Check};
use crate::mtls::Authority;
use crate::serving::Serving;
use crate::support::{Client, PolicyDir, block_on, config, get, program, trials};

mod envoy;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        who_has_no_good_certificate_is_not_heard,
        without_authorities_no_certificate_is_asked_for,
        a_service_is_for_those_who_are_named_for_it,
        health_and_reflection_are_for_every_good_certificate,
        the_oldest_version_is_the_configured_one,
        a_session_is_not_resumed_without_the_certificate,
        a_new_certificate_is_used_without_a_failed_call,
        a_broken_certificate_leaves_the_one_before,
        clients_that_never_shake_hands_keep_nobody_waiting,
        too_many_open_files_do_not_end_the_listener,
        http_is_served_over_tls,
        health_is_asked_over_tls,
        beyond_loopback_each_listener_needs_its_tls,
        what_can_t_be_used_is_named_at_the_start_and_no_key_is_shown,
        a_socket_serves_calls_of_this_machine,
        the_sample_configuration_is_sound,
    ];
    trials.into_iter().chain(envoy::trials()).collect()
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
const CONSOLE: &str = "spiffe://acme.example/console";
const ENVOY: &str = "spiffe://acme.example/envoy";

/// The files of a listener, the authority that made its certificate, and the one of its clients.
pub(crate) struct Files {
    pub(crate) folder: PolicyDir,
    pub(crate) servers: Authority,
    clients: Authority,
}

/// A certificate and its key.
pub(crate) type Pair = (String, String);

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { folder: PolicyDir::new(), servers: Authority::new(), clients: Authority::new() };
        files.put(&files.servers.issue_pem(&["localhost"]));
        files.folder.write("clients.crt", &files.clients.pem);
        files.folder.write("policies/acme/grants.toml", "");
        files
    }

    /// Replaces the listener's certificate and its key, one after the other.
    pub(crate) fn put(&self, (certificate, key): &Pair) {
        self.folder.write("tls.crt", certificate);
        self.folder.write("tls.key", key);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// TLS that asks clients for a certificate.
    fn mutual(&self) -> TlsConfig {
        TlsConfig { client_ca: Some(self.path("clients.crt")), ..self.one_sided() }
    }

    fn one_sided(&self) -> TlsConfig {
        TlsConfig {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            client_ca: None,
            minimum_version: MinimumVersion::default(),
        }
    }

    /// A server on a directory where nothing is granted.
    async fn serve(&self, config: Config) -> RunningServer {
        RunningServer::start(self.server_config(config)).await.expect("a server")
    }

    fn server_config(&self, of_file: Config) -> ServerConfig {
        ServerConfig { config: of_file, ..config(&self.path("policies")) }
    }

    fn endpoint(&self, addr: SocketAddr, identity: Option<&Pair>) -> Endpoint {
        let authority = Certificate::from_pem(&self.servers.pem);
        let tls = ClientTlsConfig::new().domain_name("localhost").ca_certificate(authority);
        let tls = match identity {
            None => tls,
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        };
        Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap()
    }

    /// A connection that is made with the first call, so that a refusal is that call's.
    fn channel(&self, addr: SocketAddr, identity: Option<&Pair>) -> Channel {
        self.endpoint(addr, identity).connect_lazy()
    }

    /// The certificate that a new connection is shown, after a handshake of these versions.
    async fn shake_hands(
        &self,
        addr: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Pair>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_slice(self.servers.pem.as_bytes()).unwrap()).unwrap();
        let tls = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(trusted);
        let tls = match identity {
            None => tls.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                tls.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(addr).await?;
        TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// What a new connection is shown.
    pub(crate) async fn shown(&self, addr: SocketAddr, identity: Option<&Pair>) -> CertificateDer<'static> {
        let stream = self.shake_hands(addr, &[&TLS13, &TLS12], identity).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

pub(crate) fn der((certificate, _): &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

async fn list(channel: Channel) -> Result<(), Status> {
    let request = pb::ListActionsRequest { pattern: "ecs:servers:stop".into() };
    Client::new(channel).list_actions(request).await.map(|_| ())
}

async fn check(channel: Channel) -> Result<(), Status> {
    AuthorizationClient::new(channel).check(Check::default().message()).await.map(|_| ())
}

fn assert_unheard(status: &Status) {
    // The client may have sent its request before it learns of it.
    let codes = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
    assert!(codes.contains(&status.code()), "{status:?}");
}

fn who_has_no_good_certificate_is_not_heard() {
    let files = Files::new();
    block_on(async {
        let server = files.serve(Config { tls: Some(files.mutual()), ..Config::default() }).await;
        let addr = server.grpc_addr;
        let good = files.clients.issue_pem(&["anybody.example"]);
        list(files.channel(addr, Some(&good))).await.unwrap();
        let others = [Authority::new().issue_pem(&[CONSOLE]), files.clients.issue_expired_pem(&[CONSOLE])];
        for identity in [Some(&others[0]), Some(&others[1]), None] {
            assert_unheard(&list(files.channel(addr, identity)).await.unwrap_err());
        }
        let plain = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect_lazy();
        assert_unheard(&list(plain).await.unwrap_err());
    });
}

fn without_authorities_no_certificate_is_asked_for() {
    let files = Files::new();
    block_on(async {
        let server = files.serve(Config { tls: Some(files.one_sided()), ..Config::default() }).await;
        list(files.channel(server.grpc_addr, None)).await.unwrap();
    });
}

/// A configuration that says of both services whom they are for.
fn with_callers(files: &Files) -> Config {
    let callers = CallersConfig {
        authorization_service: Some([CONSOLE.to_owned(), "Console.example".to_owned()].into()),
        ext_authz: Some([ENVOY.to_owned()].into()),
    };
    Config { tls: Some(files.mutual()), callers, ..ext_authz::parsed(ext_authz::CONFIG) }
}

fn a_service_is_for_those_who_are_named_for_it() {
    let files = Files::new();
    block_on(async {
        let server = files.serve(with_callers(&files)).await;
        let code = |outcome: Result<(), Status>| outcome.map_err(|status| status.code());
        let refused = Err(Code::PermissionDenied);
        for (names, may_list, may_check) in [
            (&[CONSOLE][..], Ok(()), refused),
            (&["console.example"], Ok(()), refused),
            (&[ENVOY], refused, Ok(())),
            (&[ENVOY, CONSOLE], Ok(()), Ok(())),
            (&["spiffe://acme.example/console/x"], refused, refused),
            (&["x.console.example"], refused, refused),
        ] {
            let channel = files.channel(server.grpc_addr, Some(&files.clients.issue_pem(names)));
            assert_eq!(code(list(channel.clone()).await), may_list, "{names:?}");
            assert_eq!(code(check(channel).await), may_check, "{names:?}");
        }
    });
}

fn health_and_reflection_are_for_every_good_certificate() {
    use tonic_reflection::pb::v1::{self, server_reflection_request::MessageRequest};
    let files = Files::new();
    block_on(async {
        let server = files.serve(with_callers(&files)).await;
        let probe = files.clients.issue_pem(&["probe.example"]);
        let channel = files.channel(server.grpc_addr, Some(&probe));
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
        let ask = Some(MessageRequest::ListServices(String::new()));
        let once =
            tokio_stream::once(v1::ServerReflectionRequest { host: String::new(), message_request: ask });
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
        let mut answers = client.server_reflection_info(once).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
    });
}

fn the_oldest_version_is_the_configured_one() {
    let files = Files::new();
    block_on(async {
        for (minimum_version, speaks_1_2) in [(MinimumVersion::V1_2, true), (MinimumVersion::V1_3, false)] {
            let tls = TlsConfig { minimum_version, ..files.one_sided() };
            let server = files.serve(Config { tls: Some(tls), ..Config::default() }).await;
            let old = files.shake_hands(server.grpc_addr, &[&TLS12], None).await;
            assert_eq!(old.is_ok(), speaks_1_2, "{minimum_version:?}");
            files.shake_hands(server.grpc_addr, &[&TLS13], None).await.unwrap();
        }
    });
}

fn a_session_is_not_resumed_without_the_certificate() {
    use tokio_rustls::rustls::HandshakeKind;
    let files = Files::new();
    block_on(async {
        let server = files.serve(Config { tls: Some(files.mutual()), ..Config::default() }).await;
        let (certificate, key) = files.clients.issue_pem(&[CONSOLE]);
        for version in [&TLS12, &TLS13] {
            let mut trusted = RootCertStore::empty();
            trusted.add(CertificateDer::from_pem_slice(files.servers.pem.as_bytes()).unwrap()).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let tls = ClientConfig::builder_with_protocol_versions(&[version]);
            let tls = tls.with_root_certificates(trusted).with_client_auth_cert(chain, key).unwrap();
            // One client, which would resume its session.
            let connector = TlsConnector::from(Arc::new(tls));
            for _ in 0..2 {
                let stream = TcpStream::connect(server.grpc_addr).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let mut stream = connector.connect(name, stream).await.unwrap();
                // The server's first frame: whatever it says of sessions comes before.
                stream.read_u8().await.unwrap();
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            }
        }
    });
}

fn a_new_certificate_is_used_without_a_failed_call() {
    let files = Arc::new(Files::new());
    block_on(async {
        let server = files.serve(Config { tls: Some(files.mutual()), ..Config::default() }).await;
        let addr = server.grpc_addr;
        let identity = files.clients.issue_pem(&[CONSOLE]);
        let (is_over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let old = files.channel(addr, Some(&identity));
        list(old.clone()).await.unwrap();
        let load = {
            let (files, identity) = (files.clone(), identity.clone());
            let (is_over, calls) = (is_over.clone(), calls.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    // On the connection that was there before, and on a new one each time.
                    list(old.clone()).await.unwrap();
                    list(files.channel(addr, Some(&identity))).await.unwrap();
                    calls.fetch_add(2, Ordering::Relaxed);
                }
            })
        };
        // Found by looking at the files, without a word.
        let new = files.servers.issue_pem(&["localhost"]);
        files.put(&new);
        let started = Instant::now();
        while files.shown(addr, Some(&identity)).await != der(&new) {
            assert!(started.elapsed() < PATIENCE, "the new certificate is not used");
        }
        // Some more, with the new one.
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + 10 && !load.is_finished() {
            tokio::task::yield_now().await;
        }
        is_over.store(true, Ordering::Relaxed);
        load.await.expect("no call failed");
    });
}

fn a_broken_certificate_leaves_the_one_before() {
    let files = Files::new();
    block_on(async {
        let server = files.serve(Config { tls: Some(files.one_sided()), ..Config::default() }).await;
        let before = files.shown(server.grpc_addr, None).await;
        let new = files.servers.issue_pem(&["localhost"]);
        let another = files.servers.issue_pem(&["localhost"]);
        let broken = [
            // The key comes later.
            (new.0.clone(), another.1.clone()),
            (String::new(), new.1.clone()),
            (new.0.clone(), "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\n".into()),
        ];
        for pair in &broken {
            files.put(pair);
            // Whoever looks first, the watch or this.
            let _seen = server.certificates.reload();
            assert_eq!(server.certificates.reload(), [Reload::Unchanged]);
            let faults = server.certificates.faults().concat();
            assert!(faults.contains("tls."), "{faults}");
            assert!(!format!("{faults}{server:?}").contains("s3cret"));
            let (head, body) = get(&server, "/readyz").await;
            assert!(head.contains("200") && body.contains("degraded") && body.contains("tls."), "{body}");
            assert_eq!(files.shown(server.grpc_addr, None).await, before);
            list(files.channel(server.grpc_addr, None)).await.unwrap();
        }
        files.folder.remove("tls.key");
        assert_eq!(server.certificates.reload(), [Reload::Kept]);
        assert_eq!(files.shown(server.grpc_addr, None).await, before);
        files.put(&new);
        let _seen = server.certificates.reload();
        assert_eq!(files.shown(server.grpc_addr, None).await, der(&new));
        assert!(get(&server, "/readyz").await.1.contains(r#""status":"ready""#));
    });
}

fn clients_that_never_shake_hands_keep_nobody_waiting() {
    let files = Files::new();
    block_on(async {
        let server = files.serve(Config { tls: Some(files.one_sided()), ..Config::default() }).await;
        // More than may shake hands at once.
        let mut idle = Vec::new();
        for _ in 0..600 {
            let mut stream = TcpStream::connect(server.grpc_addr).await.unwrap();
            // The beginning of a handshake.
            stream.write_all(&[22, 3, 1]).await.unwrap();
            idle.push(stream);
        }
        let started = Instant::now();
        for _ in 0..10 {
            list(files.channel(server.grpc_addr, None)).await.unwrap();
        }
        // Those who came first gave way.
        let first = idle[0].read(&mut [0; 64]).await;
        assert!(matches!(first, Ok(0) | Err(_)), "{first:?}");
        drop(idle);
        // Had each of the ten waited for a handshake's time, it would have been far more.
        assert!(started.elapsed() < PATIENCE / 2);
    });
}

fn too_many_open_files_do_not_end_the_listener() {
    let files = Files::new();
    files.folder.write("config.toml", "[tls]\ncertificate = 'tls.crt'\nkey = 'tls.key'\n");
    let file = |name: &str| files.path(name).display().to_string();
    let (config, policies) = (file("config.toml"), file("policies"));
    let mut serving = Serving::start(&["--policies", &policies, "--config", &config], &[]);
    let ready = serving.await_ready();
    let addr: SocketAddr = ready.split([' ', ',']).nth(2).unwrap().parse().expect("its address");
    block_on(async {
        list(files.channel(addr, None)).await.unwrap();
        serving.spare_files(4);
        let mut idle = Vec::new();
        for _ in 0..16 {
            idle.push(TcpStream::connect(addr).await.unwrap());
        }
        serving.await_log("no connection can be accepted");
        drop(idle);
        list(files.channel(addr, None)).await.unwrap();
    });
}

async fn exchange(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> Vec<u8> {
    let mut answer = Vec::new();
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    // How the connection ends is not what is asked.
    let _end = stream.read_to_end(&mut answer).await;
    answer
}

fn http_is_served_over_tls() {
    let files = Files::new();
    block_on(async {
        let mut config = Config::default();
        config.http.tls = Some(files.one_sided());
        let server = files.serve(config).await;
        let stream = files.shake_hands(server.http_addr, &[&TLS13], None).await.unwrap();
        assert!(exchange(stream).await.starts_with(b"HTTP/1.1 200"));
        let plain = exchange(TcpStream::connect(server.http_addr).await.unwrap()).await;
        assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
    });
}

fn health_is_asked_over_tls() {
    let files = Files::new();
    let mut config = Config::default();
    config.http.tls = Some(files.one_sided());
    let server = block_on(files.serve(config));
    files.folder.write("servers.crt", &files.servers.pem);
    let ask = |more: &[&str]| {
        let addr = server.http_addr.to_string();
        let args = [&["healthcheck", "--http-addr", &addr, "--timeout-seconds", "60"][..], more].concat();
        Command::new(program()).args(args).output().expect("the program")
    };
    let file = |name: &str| files.path(name).display().to_string();
    let good = ask(&["--ca", &file("servers.crt")]);
    assert!(good.status.success(), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("ready"), "{good:?}");
    for more in [
        &[][..],
        &["--ca", &file("clients.crt")],
        &["--ca", &file("tls.key")],
        &["--ca", &file("servers.crt"), "--server-name", "other.example"],
    ] {
        let refused = ask(more);
        assert_eq!(refused.status.code(), Some(1), "{more:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no answer from http"), "{refused:?}");
    }
}

fn beyond_loopback_each_listener_needs_its_tls() {
    let files = Files::new();
    let everywhere: SocketAddr = ([0, 0, 0, 0], 0).into();
    block_on(async {
        let config = files.server_config(Config { tls: Some(files.mutual()), ..Config::default() });
        let grpc = ServerConfig { grpc_addr: everywhere, ..config.clone() };
        RunningServer::start(grpc.clone()).await.expect("a server");
        let mut both = ServerConfig { http_addr: everywhere, ..grpc };
        let error = RunningServer::start(both.clone()).await.unwrap_err();
        assert!(matches!(error, StartError::Exposed(addr) if addr == everywhere), "{error}");
        both.config.http.tls = Some(files.one_sided());
        RunningServer::start(both).await.expect("a server");
    });
}

fn what_can_t_be_used_is_named_at_the_start_and_no_key_is_shown() {
    let files = Files::new();
    block_on(async {
        let (certificate, key) = files.servers.issue_pem(&["localhost"]);
        let secret = key.lines().nth(1).unwrap().to_owned();
        for (name, content) in [
            ("tls.crt", Some(&key)),
            ("tls.crt", Some(&"-----BEGIN CERTIFICATE-----\n".to_owned())),
            ("tls.key", Some(&certificate)),
            ("tls.key", Some(&key)),
            ("tls.key", None),
            ("clients.crt", Some(&key)),
            ("clients.crt", Some(&String::new())),
        ] {
            let files = Files::new();
            match content {
                Some(content) => files.folder.write(name, content),
                None => files.folder.remove(name),
            }
            let config = Config { tls: Some(files.mutual()), ..Config::default() };
            let error = RunningServer::start(files.server_config(config)).await.unwrap_err();
            assert!(matches!(error, StartError::Tls(_)), "{name}: {error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(&files.path(name).display().to_string()), "{shown}");
            assert!(!shown.contains(&secret), "{shown}");
        }
        files.put(&(certificate, key));
        let server = files.serve(Config { tls: Some(files.mutual()), ..Config::default() }).await;
        assert!(!format!("{server:?}").contains(&secret));
    });
}

fn a_socket_serves_calls_of_this_machine() {
    let files = Files::new();
    block_on(async {
        let socket = files.path("grpc.sock");
        let mut config = files.server_config(with_callers(&files));
        config.grpc_socket = Some(socket.clone());
        let server = RunningServer::start(config.clone()).await.expect("a server");
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
        let channel = endpoint.connect().await.expect("a connection");
        list(channel.clone()).await.unwrap();
        check(channel.clone()).await.unwrap();
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
        drop(channel);
        // Somebody listens there.
        let error = RunningServer::start(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains(&socket.display().to_string()), "{error}");
        server.stop(PATIENCE).await.unwrap();
        assert!(!socket.exists());
        fs::write(&socket, "precious").unwrap();
        RunningServer::start(config).await.unwrap_err();
        assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    });
}

fn the_sample_configuration_is_sound() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/tls.toml");
    let config = Config::load(path.as_ref()).unwrap();
    assert_eq!(config.tls.unwrap().minimum_version, MinimumVersion::V1_3);
    assert_eq!(config.callers.authorization_service.unwrap().len(), 1);
    assert!(config.callers.ext_authz.is_some() && config.http.tls.is_some());
}
