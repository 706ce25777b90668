//! Who may administer: nobody by default, and then those alone who are named.

use ecs_authz::config::{AdminTls, MinimumVersion};
use ecs_authz::server::{AdminListenerError, StartError};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::*;
use crate::mtls::Authority;
use crate::support::PolicyDir;

pub(super) const TESTS: &[Test] = &[
    ("it_is_off_by_default", it_is_off_by_default),
    ("the_sample_configuration_is_sound", the_sample_configuration_is_sound),
    ("reflection_tells_what_is_served_there", reflection_tells_what_is_served_there),
    ("who_is_not_known_is_not_let_in", who_is_not_known_is_not_let_in),
    (
        "decisions_are_not_made_there_nor_policies_changed_elsewhere",
        decisions_are_not_made_there_nor_policies_changed_elsewhere,
    ),
    ("a_client_is_let_in_by_the_name_in_its_certificate", a_client_is_let_in_by_the_name_in_its_certificate),
    ("a_token_is_enough_beside_certificates", a_token_is_enough_beside_certificates),
    ("files_are_not_administered", files_are_not_administered),
    ("a_listener_for_administrators_is_not_exposed", a_listener_for_administrators_is_not_exposed),
    ("secrets_that_can_t_be_used_are_named_at_the_start", secrets_that_can_t_be_used_are_named_at_the_start),
    ("a_database_that_is_away_is_unavailable", a_database_that_is_away_is_unavailable),
];

fn it_is_off_by_default() {
    let database = Database::create();
    block_on(async {
        let policies = PolicySource::Postgres(database.settings());
        let server = RunningServer::start(ServerConfig { policies, ..config("".as_ref()) }).await.unwrap();
        assert_eq!(server.admin_addr, None);
    });
}

fn the_sample_configuration_is_sound() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/ecs-authz.toml");
    let admin = Config::load(path.as_ref()).unwrap().admin.unwrap();
    assert_eq!((admin.token.len(), admin.tls), (1, None));
    // What is commented out is sound, too.
    let text = fs::read_to_string(path).unwrap();
    let (head, tls) = text.split_once("# [admin.tls]").unwrap();
    let whole = format!("{head}[admin.tls]{}", tls.replace("\n# ", "\n"));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, whole).unwrap();
    let tls = Config::load(&path).unwrap().admin.unwrap().tls.unwrap();
    assert_eq!(tls.clients.len(), 1);
}

fn reflection_tells_what_is_served_there() {
    use tonic_reflection::pb::v1::{self, server_reflection_request::MessageRequest};
    on_world(async |world| {
        for (addr, expected) in [
            (world.server.admin_addr.unwrap(), vec!["ecs.authz.v1.PolicyAdminService"]),
            (world.server.grpc_addr, vec!["ecs.authz.v1.AuthorizationService", "grpc.health.v1.Health"]),
        ] {
            let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
            let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
            let ask = Some(MessageRequest::ListServices(String::new()));
            let once =
                tokio_stream::once(v1::ServerReflectionRequest { host: String::new(), message_request: ask });
            let mut answers = client.server_reflection_info(once).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
            let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
                panic!("expected a list of services");
            };
            let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, expected);
        }
    });
}

fn who_is_not_known_is_not_let_in() {
    on_world(async |world| {
        fn show_another(mut request: Request<()>) -> Result<Request<()>, Status> {
            request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer another"));
            Ok(request)
        }
        world.admin.clone().put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        for show in [show_nothing as Show, show_another] {
            let mut admin = admin_client(&world.server, show).await;
            let refused = [
                admin.list_domains(pb::ListDomainsRequest::default()).await.unwrap_err(),
                admin.put_policy(put_policy("p", &document("Deny", "ecs:*:*"))).await.unwrap_err(),
                // Before the message is looked at.
                admin.put_policy(pb::PutPolicyRequest::default()).await.unwrap_err(),
                admin.get_policy(pb::GetPolicyRequest::default()).await.unwrap_err(),
                admin.list_policies(pb::ListPoliciesRequest::default()).await.unwrap_err(),
                admin.delete_policy(pb::DeletePolicyRequest::default()).await.unwrap_err(),
                admin.put_grant(pb::PutGrantRequest::default()).await.unwrap_err(),
                admin.delete_grant(pb::DeleteGrantRequest::default()).await.unwrap_err(),
                admin.list_grants(pb::ListGrantsRequest::default()).await.unwrap_err(),
                admin.put_group(pb::PutGroupRequest::default()).await.unwrap_err(),
                admin.get_group(pb::GetGroupRequest::default()).await.unwrap_err(),
                admin.list_groups(pb::ListGroupsRequest::default()).await.unwrap_err(),
                admin.delete_group(pb::DeleteGroupRequest::default()).await.unwrap_err(),
                admin.add_group_members(pb::AddGroupMembersRequest::default()).await.unwrap_err(),
                admin.remove_group_members(pb::RemoveGroupMembersRequest::default()).await.unwrap_err(),
                admin.simulate_policy(pb::SimulatePolicyRequest::default()).await.unwrap_err(),
                admin.list_changes(pb::ListChangesRequest::default()).await.unwrap_err(),
            ];
            for status in refused {
                assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
            }
        }
        let list = pb::ListChangesRequest { domain_id: "acme".into(), ..Default::default() };
        assert_eq!(world.admin.clone().list_changes(list).await.unwrap().into_inner().changes.len(), 1);
    });
}

fn decisions_are_not_made_there_nor_policies_changed_elsewhere() {
    on_world(async |world| {
        let at = async |addr: std::net::SocketAddr| {
            Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
        };
        let decisions = at(world.server.grpc_addr).await;
        let mut admin = PolicyAdminServiceClient::with_interceptor(decisions, show_token as Show);
        let status = admin.list_domains(pb::ListDomainsRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        let administration = at(world.server.admin_addr.unwrap()).await;
        let mut client = crate::support::Client::new(administration);
        assert_eq!(client.authorize(read_request("alice")).await.unwrap_err().code(), Code::Unimplemented);
    });
}

/// A world whose clients show certificates.
struct TlsWorld {
    server: RunningServer,
    authority: Authority,
    _folder: TempDir,
}

const NAMED: &str = "spiffe://acme.example/deployer";

impl TlsWorld {
    async fn start(database: &Database, has_token: bool) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
        let (certificate, key) = authority.issue_pem(&["localhost"]);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let tls = AdminTls {
            certificate: file("certificate", &certificate),
            key: file("key", &key),
            client_ca: Some(file("authority", &authority.pem)),
            minimum_version: MinimumVersion::default(),
            clients: [NAMED.to_owned(), "deployer.example".to_owned()].into(),
        };
        let token = TokenConfig { name: "tests".into(), file: file("token", TOKEN) };
        let token = if has_token { vec![token] } else { Vec::new() };
        let admin = AdminConfig { addr: ([127, 0, 0, 1], 0).into(), token, tls: Some(tls) };
        let server = RunningServer::start(with_admin(database, admin)).await.expect("a server");
        Self { server, authority, _folder: folder }
    }

    /// Asks with a certificate of an authority, or with none.
    async fn ask(&self, identity: Option<(&Authority, &[&str])>, show: Show) -> Result<(), Code> {
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(&self.authority.pem));
        let tls = match identity {
            None => tls,
            Some((authority, names)) => {
                let (certificate, key) = authority.issue_pem(names);
                tls.identity(Identity::from_pem(certificate, key))
            }
        };
        let addr = format!("https://{}", self.server.admin_addr.unwrap());
        let endpoint = Endpoint::from_shared(addr).unwrap().tls_config(tls).unwrap();
        let mut admin = PolicyAdminServiceClient::with_interceptor(endpoint.connect_lazy(), show);
        let put = put_policy("p", &document("Allow", "ecs:*:*"));
        admin.put_policy(put).await.map(|_| ()).map_err(|status| status.code())
    }
}

fn a_client_is_let_in_by_the_name_in_its_certificate() {
    let database = Database::create();
    block_on(async {
        let world = TlsWorld::start(&database, false).await;
        let (ours, another) = (&world.authority, Authority::new());
        assert_eq!(world.ask(Some((ours, &[NAMED])), show_nothing).await, Ok(()));
        assert_eq!(world.ask(Some((ours, &["deployer.example"])), show_nothing).await, Ok(()));
        // The names count whole, and one of them is enough.
        assert_eq!(world.ask(Some((ours, &["spiffe://acme.example/x", NAMED])), show_nothing).await, Ok(()));
        for name in
            ["spiffe://acme.example/deployer/x", "spiffe://ACME.example/deployer", "x.deployer.example"]
        {
            let refused = world.ask(Some((ours, &[name])), show_nothing).await;
            assert_eq!(refused, Err(Code::Unauthenticated), "{name}");
        }
        // Who has no good certificate is not heard at all.
        let unheard = [Some((&another, &[NAMED][..])), None];
        for identity in unheard {
            let refused = world.ask(identity, show_nothing).await.unwrap_err();
            // The client may have sent its request before it learns of it.
            assert!([Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&refused), "{refused:?}");
        }
        // Nor without TLS.
        let plain = format!("http://{}", world.server.admin_addr.unwrap());
        let plain = Endpoint::from_shared(plain).unwrap().connect_lazy();
        let mut admin = PolicyAdminServiceClient::with_interceptor(plain, show_token as Show);
        assert!(admin.list_domains(pb::ListDomainsRequest::default()).await.is_err());
    });
}

fn a_token_is_enough_beside_certificates() {
    let database = Database::create();
    block_on(async {
        let world = TlsWorld::start(&database, true).await;
        let ours = &world.authority;
        assert_eq!(world.ask(None, show_token).await, Ok(()));
        assert_eq!(world.ask(None, show_nothing).await, Err(Code::Unauthenticated));
        assert_eq!(world.ask(Some((ours, &[NAMED])), show_nothing).await, Ok(()));
        // A certificate of somebody else's is not even overlooked for a good token.
        let another = Authority::new();
        assert!(world.ask(Some((&another, &[NAMED])), show_token).await.is_err());
    });
}

fn files_are_not_administered() {
    let (database, folder) = (Database::create(), TempDir::new().unwrap());
    let policies = PolicyDir::acme(&[], "");
    block_on(async {
        let policies = PolicySource::Directory(policies.path().to_owned());
        let config = ServerConfig { policies, ..with_token(&database, &folder) };
        let error = RunningServer::start(config).await.unwrap_err();
        assert!(matches!(error, StartError::Admin(AdminListenerError::NoDatabase)), "{error}");
    });
}

fn a_listener_for_administrators_is_not_exposed() {
    let (database, folder) = (Database::create(), TempDir::new().unwrap());
    block_on(async {
        let mut config = with_token(&database, &folder);
        config.config.admin.as_mut().unwrap().addr = ([0, 0, 0, 0], 0).into();
        let error = RunningServer::start(config).await.unwrap_err();
        assert!(matches!(error, StartError::Exposed(_)), "{error}");
    });
}

fn secrets_that_can_t_be_used_are_named_at_the_start() {
    let (database, folder) = (Database::create(), TempDir::new().unwrap());
    block_on(async {
        let config = with_token(&database, &folder);
        let file = folder.path().join("token");
        fs::write(&file, "too short").unwrap();
        let error = RunningServer::start(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains("at least 32") && !error.contains("too short"), "{error}");
        fs::remove_file(&file).unwrap();
        let error = RunningServer::start(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        // A certificate that is none.
        let tls = AdminTls {
            certificate: folder.path().join("certificate"),
            key: folder.path().join("key"),
            client_ca: None,
            minimum_version: MinimumVersion::default(),
            clients: [].into(),
        };
        fs::write(&tls.certificate, "x").unwrap();
        fs::write(&tls.key, "s3cret").unwrap();
        fs::write(&file, TOKEN).unwrap();
        let mut with_tls = config;
        with_tls.config.admin.as_mut().unwrap().tls = Some(tls);
        let error = RunningServer::start(with_tls).await.unwrap_err();
        assert!(matches!(error, StartError::Admin(AdminListenerError::Tls { .. })), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    });
}

fn a_database_that_is_away_is_unavailable() {
    let another = Database::create();
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        let client = world.database.client().await;
        let name: String = client.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        drop(client);
        let elsewhere = another.client().await;
        let close = format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        elsewhere.batch_execute(&close).await.unwrap();
        let get = pb::GetPolicyRequest { domain_id: "acme".into(), name: "p".into() };
        let status = admin.get_policy(get.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(!status.message().contains(&name), "{status:?}");
        let put = put_policy("p", &document("Deny", "ecs:*:*"));
        assert_eq!(admin.put_policy(put).await.unwrap_err().code(), Code::Unavailable);
        elsewhere.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
        let policy = admin.get_policy(get).await.unwrap().into_inner().policy.unwrap();
        assert_eq!(policy.document, document("Allow", "ecs:*:*"));
    });
}
