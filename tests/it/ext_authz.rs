//! Envoy's external authorization over the wire. The client's messages are those of the `envoy-types` crate, which is
//! generated from Envoy's own files: it encodes what our contract decodes, and the other way round.

use std::collections::HashMap;

use ecs_authz::config::Config;
use ecs_authz::server::{RunningServer, ServerConfig};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Attributes,
};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use libtest_mimic::Trial;
use tokio::sync::OnceCell;
use tonic::Code;

use crate::support::{PolicyDir, block_on, channel, config, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_allow_tells_the_request_and_the_filters_what_was_decided,
        denials_have_the_shapes_of_the_api,
        without_identity_the_answer_is_401,
        identity_is_read_from_claims,
        claims_of_other_types_are_denied,
        identity_headers_count_only_from_a_named_peer,
        repeated_identity_headers_are_denied,
        a_peer_is_a_principal_by_its_spiffe_id,
        sources_that_disagree_are_denied,
        the_body_is_read_in_both_forms,
        a_body_that_can_not_be_read_is_denied_only_where_it_is_needed,
        what_replaces_method_or_version_is_refused,
        hostile_paths_are_denied,
        a_route_can_enforce_dependencies,
        a_route_tells_where_it_is,
        a_fault_of_the_client_is_a_denial_never_an_error,
        checks_are_served_only_where_they_are_configured,
        a_configuration_is_read_strictly,
        the_shipped_configuration_is_read,
    ]
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }

[[grant]]
subject = { user = "carol" }
policy = "ECS CommonOperations"
scope = { enterprise_project = "ep-1" }

[[grant]]
subject = { agency = "ops" }
policy = "ECS ReadOnlyAccess"
scope = { project = "prod" }
"#;

pub(crate) const CONFIG: &str = r#"
[[ext_authz.principal]]
source = "jwt_metadata"
payload_key = "jwt_payload"
[ext_authz.principal.claims]
domain_id = "domain.id"
user_id = "sub"
agency_id = "agency"
project_id = "project.id"
group_ids = "groups"
role_names = "roles"
mfa_present = "mfa"

[[ext_authz.principal]]
source = "headers"
trusted_peers = ["spiffe://acme.example/gateway"]
[ext_authz.principal.names]
domain_id = "x-domain-id"
user_id = "x-user-id"
agency_id = "x-agency-id"
project_id = "x-project-id"
group_ids = "x-groups"
role_names = "x-roles"
mfa_present = "x-mfa"

[[ext_authz.principal]]
source = "mtls"
[ext_authz.principal.principals."spiffe://acme.example/batch"]
domain_id = "acme"
user_id = "alice"
project_id = "prod"
"#;

pub(crate) fn parsed(text: &str) -> Config {
    let dir = PolicyDir::new();
    dir.write("config.toml", text);
    Config::load(&dir.path().join("config.toml")).unwrap()
}

async fn server() -> &'static RunningServer {
    static SERVER: OnceCell<(PolicyDir, RunningServer)> = OnceCell::const_new();
    let start = || async {
        let dir = PolicyDir::acme(&[], GRANTS);
        let config = ServerConfig { config: parsed(CONFIG), ..config(dir.path()) };
        let server = RunningServer::start(config).await.unwrap();
        (dir, server)
    };
    &SERVER.get_or_init(start).await.1
}

pub(crate) fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}

/// A check in the making.
#[derive(Clone, Default)]
pub(crate) struct Check {
    pub(crate) attributes: AttributeContext,
    http: HttpRequest,
}

impl Check {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let http = HttpRequest { method: method.into(), path: path.into(), ..Default::default() };
        Self { http, ..Default::default() }
    }

    fn alice(method: &str, path: &str) -> Self {
        Self::new(method, path).claims([
            ("sub", text("alice")),
            ("domain", object([("id", text("acme"))])),
            ("project", object([("id", text("prod"))])),
        ])
    }

    /// Alice's action on a server.
    pub(crate) fn action(body: &str) -> Self {
        let mut check = Self::alice("POST", "/v2.1/prod/servers/1/action");
        check.http.raw_body = body.into();
        check
    }

    pub(crate) fn claims<const N: usize>(mut self, claims: [(&str, Value); N]) -> Self {
        let payload = HashMap::from([("jwt_payload".to_owned(), object(claims))]);
        let namespace = "envoy.filters.http.jwt_authn".to_owned();
        let filter_metadata = HashMap::from([(namespace, Struct { fields: payload })]);
        self.attributes.metadata_context = Some(Metadata { filter_metadata, ..Default::default() });
        self
    }

    pub(crate) fn peer(mut self, principal: &str) -> Self {
        self.attributes.source = Some(Peer { principal: principal.into(), ..Default::default() });
        self
    }

    /// Headers by themselves, as with encode_raw_headers.
    pub(crate) fn raw(mut self, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(key, value)| HeaderValue {
            key: key.to_string(),
            raw_value: value.as_bytes().to_vec(),
            ..Default::default()
        });
        self.http.header_map = Some(HeaderMap { headers: headers.collect() });
        self
    }

    /// One header of any bytes.
    pub(crate) fn raw_bytes(mut self, key: &str, bytes: &[u8]) -> Self {
        let header = HeaderValue { key: key.into(), raw_value: bytes.to_vec(), ..Default::default() };
        self.http.header_map = Some(HeaderMap { headers: vec![header] });
        self
    }

    /// Headers by name, as without.
    fn joined(mut self, headers: &[(&str, &str)]) -> Self {
        self.http.headers = headers.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        self
    }

    pub(crate) fn message(self) -> CheckRequest {
        let request = Some(Attributes { http: Some(self.http), ..Default::default() });
        CheckRequest { attributes: Some(AttributeContext { request, ..self.attributes }) }
    }

    pub(crate) fn send(self) -> Answer {
        Answer::of(block_on(async {
            let mut client = AuthorizationClient::new(channel(server().await).await);
            client.check(self.message()).await.expect("never a gRPC error").into_inner()
        }))
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) http_status: i32,
    headers: HashMap<String, String>,
    pub(crate) body: String,
    facts: HashMap<String, Value>,
}

impl Answer {
    pub(crate) fn of(response: CheckResponse) -> Self {
        // Unset, Envoy would let the request through.
        let status = response.status.expect("a status");
        let (http_status, headers, body) = match response.http_response.expect("a response") {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(status.code, 0);
                (200, ok.headers, String::new())
            }
            HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied) => {
                assert_ne!(status.code, 0);
                let http_status = denied.status.expect("an HTTP status").code;
                assert!((400..600).contains(&http_status));
                (http_status, denied.headers, denied.body)
            }
        };
        // Envoy's default would be to add to what is there.
        let replaces = HeaderAppendAction::OverwriteIfExistsOrAdd as i32;
        assert!(headers.iter().all(|option| option.append_action == replaces), "{headers:?}");
        let headers = headers.into_iter().filter_map(|option| option.header);
        Self {
            code: status.code,
            http_status,
            headers: headers.map(|header| (header.key, header.value)).collect(),
            body,
            facts: response.dynamic_metadata.expect("metadata").fields,
        }
    }

    fn fact(&self, name: &str) -> &str {
        match self.facts.get(name).and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(text)) => text,
            other => panic!("expected a text `{name}`, found {other:?}"),
        }
    }

    /// `ALLOW`, or why not.
    pub(crate) fn outcome(&self) -> &str {
        if self.code == 0 { "ALLOW" } else { self.fact("reason") }
    }
}

fn an_allow_tells_the_request_and_the_filters_what_was_decided() {
    let answer = Check::action(r#"{"createImage": {}}"#).send();
    assert_eq!(answer.outcome(), "ALLOW");
    assert_eq!(answer.headers.len(), 2, "nothing rewrites the request: {:?}", answer.headers);
    assert_eq!(answer.headers["x-auth-action"], "ecs:servers:createImage");
    assert_eq!(answer.headers["x-auth-decision-id"], answer.fact("decision_id"));
    assert_eq!(answer.fact("revision"), "1");
    let missing = ListValue { values: vec![text("ims:quotas:get")] };
    assert_eq!(answer.facts["missing_dependencies"].kind, Some(Kind::ListValue(missing)));
}

fn denials_have_the_shapes_of_the_api() {
    let native = Check::action(r#"{"lock": null}"#).send();
    assert_eq!((native.code, native.http_status, native.outcome()), (7, 403, "NO_MATCHING_ALLOW"));
    assert_eq!(
        native.body,
        r#"{"forbidden":{"message":"Policy doesn't allow ecs:servers:lock to be performed.","code":403}}"#
    );
    assert_eq!(native.headers["content-type"], "application/json");
    assert_eq!(native.headers["x-auth-reason"], "NO_MATCHING_ALLOW");

    let v1 = Check::alice("POST", "/v1/prod/cloudservers/delete").send();
    assert_eq!((v1.code, v1.http_status), (7, 403));
    assert_eq!(
        v1.body,
        r#"{"error":{"code":"Pdp.0001","message":"Policy does not allow ecs:cloudServers:deleteServers to be performed."}}"#
    );
}

fn without_identity_the_answer_is_401() {
    let native = Check::new("GET", "/v2.1/prod/servers").send();
    assert_eq!((native.code, native.http_status, native.outcome()), (16, 401, "UNAUTHENTICATED"));
    assert_eq!(native.body, r#"{"unauthorized":{"message":"there is no verified identity","code":401}}"#);
    let v1 = Check::new("GET", "/v1/prod/cloudservers/detail").send();
    assert_eq!(v1.body, r#"{"error":{"code":"Common.0013","message":"there is no verified identity"}}"#);
}

fn identity_is_read_from_claims() {
    let check = Check::new("GET", "/v2.1/prod/servers");
    let ids = |project| {
        [
            ("sub", text("alice")),
            ("domain", object([("id", text("acme"))])),
            ("project", object([("id", text(project))])),
            ("groups", Value { kind: Some(Kind::ListValue(ListValue { values: vec![text("g")] })) }),
        ]
    };
    assert_eq!(check.clone().claims(ids("prod")).send().outcome(), "ALLOW");
    assert_eq!(check.clone().claims(ids("test")).send().outcome(), "PROJECT_MISMATCH");
    let other_namespace = {
        let mut check = check.clone().claims(ids("prod"));
        let metadata = check.attributes.metadata_context.as_mut().unwrap();
        let payload = metadata.filter_metadata.drain().next().unwrap().1;
        metadata.filter_metadata.insert("envoy.filters.http.lua".into(), payload);
        check
    };
    assert_eq!(other_namespace.send().outcome(), "UNAUTHENTICATED");
}

fn claims_of_other_types_are_denied() {
    let number = Value { kind: Some(Kind::NumberValue(9_007_199_254_740_992.0)) };
    let list = Value { kind: Some(Kind::ListValue(ListValue { values: vec![number.clone()] })) };
    let domain = || ("domain", object([("id", text("acme"))]));
    for claims in
        [[("sub", number), domain()], [("sub", list.clone()), domain()], [("groups", list), domain()]]
    {
        let answer = Check::new("GET", "/v2.1/prod/servers").claims(claims).send();
        assert_eq!((answer.outcome(), answer.http_status), ("INVALID_IDENTITY", 403));
    }
    let incomplete = Check::new("GET", "/v2.1/prod/servers").claims([domain()]).send();
    assert_eq!((incomplete.outcome(), incomplete.http_status), ("INVALID_IDENTITY", 403));
    assert!(!incomplete.body.contains("user_id"), "{}", incomplete.body);
}

const IDENTITY: [(&str, &str); 3] =
    [("x-domain-id", "acme"), ("x-user-id", "alice"), ("x-project-id", "prod")];
pub(crate) const GATEWAY: &str = "spiffe://acme.example/gateway";

fn identity_headers_count_only_from_a_named_peer() {
    let check = || Check::new("GET", "/v2.1/prod/servers");
    assert_eq!(check().peer(GATEWAY).raw(&IDENTITY).send().outcome(), "ALLOW");
    assert_eq!(check().peer(GATEWAY).joined(&IDENTITY).send().outcome(), "ALLOW");
    for peer in
        ["", "spiffe://acme.example/gateway2", "spiffe://acme.example", "gateway", "acme.example/gateway"]
    {
        assert_eq!(check().peer(peer).raw(&IDENTITY).send().outcome(), "INVALID_IDENTITY", "{peer}");
    }
    assert_eq!(check().raw(&IDENTITY).send().outcome(), "INVALID_IDENTITY");
    // The API behind us may believe what we pass over: who is known otherwise may not send them either.
    for header in IDENTITY {
        let batch = check().peer("spiffe://acme.example/batch").raw(&[header]);
        assert_eq!(batch.send().outcome(), "INVALID_IDENTITY", "{header:?}");
        let alice = Check::alice("GET", "/v2.1/prod/servers").raw(&[header]);
        assert_eq!(alice.send().outcome(), "INVALID_IDENTITY", "{header:?}");
    }
}

fn repeated_identity_headers_are_denied() {
    let check = || Check::new("GET", "/v2.1/prod/servers").peer(GATEWAY);
    for extra in [("x-user-id", "mallory"), ("x-user-id", "alice"), ("x-domain-id", "acme")] {
        let headers = [&IDENTITY[..], &[extra]].concat();
        assert_eq!(check().raw(&headers).send().outcome(), "INVALID_IDENTITY", "{extra:?}");
    }
    let joined = [("x-domain-id", "acme"), ("x-user-id", "alice,mallory"), ("x-project-id", "prod")];
    assert_eq!(check().joined(&joined).send().outcome(), "INVALID_IDENTITY");
}

fn a_peer_is_a_principal_by_its_spiffe_id() {
    let check = || Check::new("GET", "/v2.1/prod/servers");
    assert_eq!(check().peer("spiffe://acme.example/batch").send().outcome(), "ALLOW");
    assert_eq!(check().peer("spiffe://acme.example/batch2").send().outcome(), "UNAUTHENTICATED");
}

fn sources_that_disagree_are_denied() {
    let mallory = [("x-domain-id", "acme"), ("x-user-id", "mallory"), ("x-project-id", "prod")];
    let check = || Check::alice("GET", "/v2.1/prod/servers").peer(GATEWAY);
    assert_eq!(check().raw(&IDENTITY).send().outcome(), "ALLOW", "two sources that agree");
    assert_eq!(check().raw(&mallory).send().outcome(), "IDENTITY_CONFLICT");
    let with_groups = |value: &str| {
        let claims = [
            ("sub", text("alice")),
            ("domain", object([("id", text("acme"))])),
            ("project", object([("id", text("prod"))])),
            (
                "groups",
                Value { kind: Some(Kind::ListValue(ListValue { values: vec![text("a"), text("b")] })) },
            ),
        ];
        Check::new("GET", "/v2.1/prod/servers")
            .peer(GATEWAY)
            .claims(claims)
            .raw(&[&IDENTITY[..], &[("x-groups", value)]].concat())
            .send()
    };
    assert_eq!(with_groups("b,a,b").outcome(), "ALLOW", "order and repetition mean nothing");
    assert_eq!(with_groups("a").outcome(), "IDENTITY_CONFLICT");
}

fn the_body_is_read_in_both_forms() {
    let stop = r#"{"os-stop": null}"#;
    assert_eq!(Check::action(stop).send().fact("action"), "ecs:servers:stop");
    let mut as_text = Check::action("");
    as_text.http.body = stop.into();
    assert_eq!(as_text.clone().send().fact("action"), "ecs:servers:stop");
    let mut both_headers = Check::action(stop).raw(&[]);
    both_headers = both_headers.joined(&[("x-http-method-override", "DELETE")]);
    assert_eq!(both_headers.send().outcome(), "MALFORMED_REQUEST");
    as_text.http.raw_body = stop.into();
    let twice = as_text.send();
    assert_eq!((twice.outcome(), twice.http_status), ("MALFORMED_REQUEST", 400));
}

fn a_body_that_can_not_be_read_is_denied_only_where_it_is_needed() {
    let stop = r#"{"os-stop": null}"#;
    let partial: &[(&str, &str)] = &[("x-envoy-auth-partial-body", "true")];
    let whole: &[(&str, &str)] = &[("x-envoy-auth-partial-body", "false"), ("content-encoding", "identity")];
    let gzip: &[(&str, &str)] = &[("content-encoding", "gzip")];
    let cases = [
        (Check::action(stop).raw(partial), "BODY_TRUNCATED"),
        (Check::action(stop).joined(partial), "BODY_TRUNCATED"),
        (Check::action(stop).raw(whole), "ALLOW"),
        (Check::action(stop).raw(gzip), "BODY_ENCODED"),
        (Check::action(""), "BODY_REQUIRED"),
        (Check::action("").raw(partial), "BODY_TRUNCATED"),
        (Check::action("\u{feff}{}"), "BODY_NOT_AN_OBJECT"),
        (Check::action(r#"{"os-stop":1,"os-stop":1}"#), "BODY_KEY_COUNT"),
        (Check::action(r#"{"os-sto"#), "BODY_TRUNCATED"),
    ];
    for (check, expected) in cases {
        assert_eq!(check.send().outcome(), expected);
    }
    let mut large = Check::alice("POST", "/v2.1/prod/os-keypairs");
    large.http.raw_body = vec![b' '; 200_000];
    assert_eq!(large.clone().send().outcome(), "ALLOW", "nobody asks for this body");
    large.http.path = "/v2.1/prod/servers/1/action".into();
    assert_eq!(large.send().outcome(), "BODY_TRUNCATED");
    for headers in [partial, gzip] {
        let mut check = Check::alice("POST", "/v2.1/prod/os-keypairs").raw(headers);
        check.http.raw_body = b"\xff\xfe".to_vec();
        assert_eq!(check.send().outcome(), "ALLOW", "nobody asks for this body");
    }
}

fn what_replaces_method_or_version_is_refused() {
    let check = || Check::alice("GET", "/v2.1/prod/servers");
    let cases = [
        (Check::alice("TRACE", "/v2.1/prod/servers"), "METHOD_REFUSED"),
        (check().raw(&[("x-http-method-override", "DELETE")]), "OVERRIDE_HEADER"),
        (check().joined(&[("x-method-override", "DELETE")]), "OVERRIDE_HEADER"),
        (check().raw(&[("x-original-url", "/admin")]), "OVERRIDE_HEADER"),
        (check().raw(&[("accept", "application/json;version=2.1")]), "NON_CANONICAL_PATH"),
        (check().raw(&[("accept", "a/b"), ("accept", "application/json; version=2")]), "NON_CANONICAL_PATH"),
        (check().raw(&[("content-type", "application/json; Version=\"2.1/x\"")]), "NON_CANONICAL_PATH"),
        (check().raw(&[("accept", "application/json")]), "ALLOW"),
    ];
    for (check, expected) in cases {
        assert_eq!(check.send().outcome(), expected);
    }
}

fn hostile_paths_are_denied() {
    for path in [
        "/v2.1/prod//servers",
        "/v2.1/prod/../test/servers",
        "/v2.1/prod/..;/servers",
        "/v2.1/prod/servers%2f1",
        "/v2.1/prod/servers?_method=DELETE",
        "/v2.1/prod/servers/",
    ] {
        assert_eq!(Check::alice("GET", path).send().outcome(), "NON_CANONICAL_PATH", "{path}");
    }
    assert_eq!(Check::alice("GET", "http://h/v2.1/prod/servers").send().outcome(), "MALFORMED_REQUEST");
    assert_eq!(Check::alice("GET", "*").send().outcome(), "MALFORMED_REQUEST");
}

fn a_route_can_enforce_dependencies() {
    let check = |mode: &str| {
        let mut check = Check::action(r#"{"createImage": {}}"#);
        check.attributes.context_extensions = [("dependency_mode".to_owned(), mode.to_owned())].into();
        check.send().outcome().to_owned()
    };
    assert_eq!(check("report"), "ALLOW");
    assert_eq!(check("enforce"), "MISSING_DEPENDENCY");
    assert_eq!(check("a word that is not known"), "MISSING_DEPENDENCY");
}

fn a_route_tells_where_it_is() {
    let check = |extensions: &[(&str, &str)]| {
        let mut check = Check::new("GET", "/v2.1/prod/servers").claims([
            ("sub", text("carol")),
            ("domain", object([("id", text("acme"))])),
            ("project", object([("id", text("prod"))])),
        ]);
        let extensions = extensions.iter().map(|(name, word)| (name.to_string(), word.to_string()));
        check.attributes.context_extensions = extensions.collect();
        check.send()
    };
    assert_eq!(check(&[]).outcome(), "NO_MATCHING_ALLOW");
    assert_eq!(check(&[("enterprise_project_id", "ep-1")]).outcome(), "ALLOW");
    assert_eq!(check(&[("enterprise_project_id", "ep-2")]).outcome(), "NO_MATCHING_ALLOW");
    let answer = check(&[("environment", "staging"), ("region", "eu-de"), ("pep", "edge")]);
    assert_eq!((answer.fact("environment"), answer.fact("region")), ("staging", "eu-de"));
    assert!(!answer.facts.contains_key("pep") && !check(&[]).facts.contains_key("region"));
}

fn a_fault_of_the_client_is_a_denial_never_an_error() {
    let long = format!("/v2.1/prod/servers/{}", "x".repeat(9_000));
    let answer = Check::alice("GET", &long).send();
    assert_eq!((answer.code, answer.http_status), (7, 400));
    let nothing = block_on(async {
        let mut client = AuthorizationClient::new(channel(server().await).await);
        client.check(CheckRequest::default()).await.expect("never a gRPC error").into_inner()
    });
    assert_eq!(Answer::of(nothing).outcome(), "UNAUTHENTICATED");
}

fn checks_are_served_only_where_they_are_configured() {
    let dir = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = RunningServer::start(config(dir.path())).await.unwrap();
        let mut client = AuthorizationClient::new(channel(&server).await);
        let error = client.check(CheckRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    });
}

fn a_configuration_is_read_strictly() {
    let load = |text: &str| {
        let dir = PolicyDir::new();
        dir.write("config.toml", text);
        let path = dir.path().join("config.toml");
        let message = Config::load(&path).unwrap_err().to_string();
        message.trim_start_matches(&*path.to_string_lossy()).to_owned()
    };
    let source = |text: &str| load(&format!("[[ext_authz.principal]]\n{text}"));
    assert!(load("[ext_auth]").starts_with(":1: unknown field `ext_auth`, expected one of `policies`, "));
    assert!(load("[ext_authz]").contains("missing field `principal`"));
    assert!(source("source = \"cookie\"").contains("unknown variant `cookie`"));
    let unknown = source(
        "source = \"jwt_metadata\"\npayload_key = \"p\"\nclaims = { domain_id = \"d\", user = \"u\" }",
    );
    assert!(unknown.contains("unknown field `user`"), "{unknown}");
    let unknown = source("source = \"mtls\"\nprincipal = {}\nprincipals = {}");
    assert!(unknown.contains("unknown field `principal`"), "{unknown}");
    assert!(
        source("source = \"headers\"\nnames = { domain_id = \"d\" }")
            .contains("missing field `trusted_peers`")
    );
    // Well-formed, and never a match.
    assert!(load("[ext_authz]\nprincipal = []").contains("expected at least one"));
    let headers = |names: &str, peer: &str| {
        source(&format!(
            "source = \"headers\"\nnames = {{ domain_id = \"{names}\" }}\ntrusted_peers = [\"{peer}\"]"
        ))
    };
    assert!(headers("X-Domain-Id", "spiffe://a/b").contains("lower case"));
    assert!(headers("x-domain-id", "gateway").contains("expected a SPIFFE id"));
    let key = "source = \"mtls\"\n[ext_authz.principal.principals.\"a.example\"]\ndomain_id = \"d\"";
    assert!(source(key).contains("expected a SPIFFE id"));
    let path = "source = \"jwt_metadata\"\npayload_key = \"p\"\nclaims = { domain_id = \".d\" }";
    assert!(source(path).contains("expected names joined by dots"));
}

fn the_shipped_configuration_is_read() {
    for (shipped, sources) in [
        (include_str!("../../deploy/envoy/ecs-authz.toml"), 1),
        (include_str!("../../deploy/envoy/ecs-authz-mtls.toml"), 2),
    ] {
        assert_eq!(parsed(shipped).ext_authz.unwrap().principal.len(), sources);
    }
}
