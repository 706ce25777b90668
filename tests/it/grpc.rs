//! The service over the wire, on a real server.

use std::collections::HashMap;
use std::time::Duration;

use ecs_authz::grpc::pb;
use ecs_authz::server::{Drain, RunningServer, StartError};
use libtest_mimic::Trial;
use tokio::sync::OnceCell;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{PolicyDir, block_on, channel, client, config, get, reload, serve, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_allow_carries_all_that_it_rests_on,
        a_deny_says_why,
        explain_lists_every_statement_about_the_action,
        each_decision_has_an_id_of_its_own,
        a_malformed_request_names_each_field,
        fields_have_limits_on_the_wire,
        a_message_over_the_limit_is_no_decision,
        a_batch_keeps_the_order_and_gives_each_its_own_result,
        a_batch_has_limits,
        a_batch_stops_at_its_deadline_and_lets_others_have_a_turn,
        one_of_a_batch_that_waits_for_a_revision_keeps_none_waiting,
        a_revision_that_is_awaited_arrives,
        a_revision_that_does_not_come_is_unavailable,
        enforcing_can_be_asked_for_and_not_be_undone,
        actions_are_listed_whole_and_by_pattern,
        an_operation_is_resolved_without_a_decision,
        health_is_served_and_ends_with_the_server,
        an_open_stream_does_not_keep_the_server,
        readiness_shows_faults_over_http,
        reflection_is_served_in_both_generations,
        additional_tables_are_served_and_clash_loudly,
        a_listener_beyond_loopback_needs_a_word,
        a_port_in_use_is_an_error_that_names_it,
    ]
}

/// Longer than any stop takes.
const PATIENCE: Duration = Duration::from_secs(60);
const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }

[[grant]]
subject = { user = "alice" }
policy = "no-deletion"
scope = "all_projects"
"#;
const NO_DELETION: &str =
    r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:servers:delete","ecs:*:stop"]}]}"#;

/// A directory in which alice operates the servers of `prod`, and may neither delete nor stop one.
fn directory() -> PolicyDir {
    PolicyDir::acme(&[("no-deletion", NO_DELETION)], GRANTS)
}

/// The server that tests share if they change nothing.
async fn server() -> &'static RunningServer {
    static SERVER: OnceCell<(PolicyDir, RunningServer)> = OnceCell::const_new();
    let start = || async {
        let dir = directory();
        let server = serve(dir.path()).await;
        (dir, server)
    };
    &SERVER.get_or_init(start).await.1
}

fn alice() -> pb::Principal {
    pb::Principal {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "prod".into(),
        ..Default::default()
    }
}

fn action_on_server(key: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: Some(alice()),
        method: "POST".into(),
        path: "/v2.1/prod/servers/1/action".into(),
        body: Some(pb::BodySummary { top_level_keys: vec![key.into()], ..Default::default() }),
        request_id: "r-1".into(),
        ..Default::default()
    }
}

fn authorize(request: pb::AuthorizeRequest) -> Result<pb::AuthorizeResponse, Status> {
    block_on(async { Ok(client(server().await).await.authorize(request).await?.into_inner()) })
}

fn statement(policy: &str, effect: pb::Effect) -> pb::StatementReference {
    pb::StatementReference { policy: policy.into(), statement_index: 0, effect: effect.into() }
}

fn an_allow_carries_all_that_it_rests_on() {
    let mut response = authorize(action_on_server("os-start")).unwrap();
    assert!(!std::mem::take(&mut response.decision_id).is_empty());
    let expected = pb::AuthorizeResponse {
        decision: pb::Decision::Allow.into(),
        action: "ecs:servers:start".into(),
        resource: "ecs::acme:instance:1".into(),
        operation: Some(pb::Operation {
            title: "Starting an ECS (native OpenStack API)".into(),
            method: "POST".into(),
            route: "/v2.1/{project_id}/servers/{server_id}/action".into(),
            body_key: "os-start".into(),
            actions: vec!["ecs:servers:start".into()],
        }),
        dependencies: vec![pb::DependencyDecision {
            action: "ecs:servers:list".into(),
            decision: pb::Decision::Allow.into(),
            reason: pb::DenyReason::Unspecified.into(),
        }],
        statements: vec![statement("ECS CommonOperations", pb::Effect::Allow)],
        revision: 1,
        request_id: "r-1".into(),
        ..Default::default()
    };
    assert_eq!(response, expected);
}

fn a_deny_says_why() {
    let messages = [
        (action_on_server("os-stop"), "statement 0 of policy `no-deletion` denies `ecs:servers:stop`"),
        (action_on_server("lock"), "no statement allows `ecs:servers:lock`"),
        (
            pb::AuthorizeRequest { path: "/v2.1/test/servers/1/action".into(), ..action_on_server("lock") },
            "the path's project is not the principal's; a principal without a project has none",
        ),
        (
            pb::AuthorizeRequest { path: "/v2.1/prod/servers//action".into(), ..action_on_server("lock") },
            "the path is not canonical: there is an empty segment at offset 19",
        ),
        (
            pb::AuthorizeRequest {
                method: "PATCH".into(),
                path: "/v2.1/prod/servers/1".into(),
                ..action_on_server("x")
            },
            "no operation is published for this method and path: the path has operations for DELETE, GET, PUT, and letter case matters",
        ),
    ];
    for (request, message) in messages {
        let response = authorize(request).unwrap();
        assert_eq!(response.decision(), pb::Decision::Deny);
        assert_ne!(response.reason(), pb::DenyReason::Unspecified);
        assert_eq!(response.message, message);
    }
}

fn explain_lists_every_statement_about_the_action() {
    let request = pb::AuthorizeRequest { explain: true, ..action_on_server("os-stop") };
    let considered =
        [statement("ECS CommonOperations", pb::Effect::Allow), statement("no-deletion", pb::Effect::Deny)];
    assert_eq!(authorize(request).unwrap().statements, considered);
    let decided = authorize(action_on_server("os-stop")).unwrap().statements;
    assert_eq!(decided, [statement("no-deletion", pb::Effect::Deny)]);
}

fn each_decision_has_an_id_of_its_own() {
    let ids = [(); 2].map(|()| authorize(action_on_server("os-start")).unwrap().decision_id);
    assert_ne!(ids[0], ids[1]);
}

/// The fields that an INVALID_ARGUMENT names in its details.
fn violations(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("google.rpc.BadRequest").field_violations;
    violations.iter().map(|violation| violation.field.clone()).collect()
}

fn a_malformed_request_names_each_field() {
    let good = || action_on_server("os-start");
    let both = pb::BodySummary {
        top_level_keys: vec!["os-start".into()],
        content: Some(b"{}".to_vec()),
        ..Default::default()
    };
    let without_user = pb::Principal { user_id: String::new(), ..alice() };
    let without_domain = pb::Principal { domain_id: String::new(), ..alice() };
    let cases: Vec<(pb::AuthorizeRequest, &[&str])> = vec![
        (pb::AuthorizeRequest { method: String::new(), ..good() }, &["method"]),
        (pb::AuthorizeRequest { path: "v1/x".into(), ..good() }, &["path"]),
        (pb::AuthorizeRequest { path: String::new(), ..good() }, &["path"]),
        (pb::AuthorizeRequest { principal: Some(without_user), ..good() }, &["principal.user_id"]),
        (pb::AuthorizeRequest { principal: Some(without_domain), ..good() }, &["principal.domain_id"]),
        (pb::AuthorizeRequest { principal: None, ..good() }, &["principal.domain_id", "principal.user_id"]),
        (pb::AuthorizeRequest { body: Some(both), ..good() }, &["body.content"]),
        (pb::AuthorizeRequest { dependency_mode: 7, ..good() }, &["dependency_mode"]),
    ];
    for (request, fields) in cases {
        assert_eq!(violations(&authorize(request).unwrap_err()), fields);
    }
}

fn fields_have_limits_on_the_wire() {
    let good = || action_on_server("os-start");
    let values = pb::Values { values: vec!["x".into(); 257] };
    let context =
        pb::RequestContext { attributes: HashMap::from([("k".into(), values)]), ..Default::default() };
    let content = pb::BodySummary { content: Some(vec![b' '; 131_073]), ..Default::default() };
    let groups = pb::Principal { group_ids: vec!["g".into(); 257], ..alice() };
    let cases: Vec<(pb::AuthorizeRequest, &str)> = vec![
        (pb::AuthorizeRequest { method: "X".repeat(33), ..good() }, "method"),
        (pb::AuthorizeRequest { path: format!("/{}", "x".repeat(8_192)), ..good() }, "path"),
        (pb::AuthorizeRequest { request_id: "x".repeat(129), ..good() }, "request_id"),
        (pb::AuthorizeRequest { principal: Some(groups), ..good() }, "principal.group_ids"),
        (pb::AuthorizeRequest { context: Some(context), ..good() }, "context.attributes[k]"),
        (pb::AuthorizeRequest { body: Some(content), ..good() }, "body.content"),
    ];
    for (request, field) in cases {
        assert_eq!(violations(&authorize(request).unwrap_err()), [field]);
    }
}

fn a_message_over_the_limit_is_no_decision() {
    let content = pb::BodySummary { content: Some(vec![b' '; 5 << 20]), ..Default::default() };
    let request = pb::AuthorizeRequest { body: Some(content), ..action_on_server("os-start") };
    assert_eq!(authorize(request).unwrap_err().code(), Code::OutOfRange);
}

async fn batch(requests: Vec<pb::AuthorizeRequest>) -> Result<Vec<pb::BatchAuthorizeResult>, Status> {
    let mut client = client(server().await).await;
    Ok(client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await?.into_inner().results)
}

fn a_batch_keeps_the_order_and_gives_each_its_own_result() {
    use pb::batch_authorize_result::Result as Item;
    let malformed =
        pb::AuthorizeRequest { method: String::new(), request_id: "r-2".into(), ..action_on_server("lock") };
    let requests = vec![action_on_server("os-start"), malformed, action_on_server("os-stop")];
    let results = block_on(batch(requests)).unwrap();
    let results = results.into_iter().map(|result| result.result.expect("a result"));
    let [first, second, third] = results.collect::<Vec<_>>().try_into().expect("three results");
    assert!(matches!(first, Item::Response(response) if response.decision() == pb::Decision::Allow));
    assert!(matches!(third, Item::Response(response) if response.reason() == pb::DenyReason::ExplicitDeny));
    let Item::Error(error) = second else { panic!("expected an error, found {second:?}") };
    let violation = pb::FieldViolation { field: "method".into(), description: "expected a value".into() };
    assert_eq!(
        error,
        pb::AuthorizeError {
            code: Code::InvalidArgument.into(),
            message: "the request is malformed: method: expected a value".into(),
            field_violations: vec![violation],
            request_id: "r-2".into(),
        }
    );
}

fn a_batch_has_limits() {
    for count in [0, 1_001] {
        let error = block_on(batch(vec![action_on_server("lock"); count])).unwrap_err();
        assert_eq!(violations(&error), ["requests"], "{count}");
    }
    assert_eq!(block_on(batch(vec![action_on_server("lock"); 1_000])).unwrap().len(), 1_000);
}

fn a_revision_that_is_awaited_arrives() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        dir.write("acme/policies/no-deletion.json", &NO_DELETION.replace("ecs:*:stop", "ecs:*:lock"));
        let request = pb::AuthorizeRequest { min_revision: 2, ..action_on_server("os-stop") };
        let waiting = tokio::spawn(async move { client.authorize(request).await });
        // The watch would do it too, in its own time.
        reload(&server).unwrap();
        let response = waiting.await.unwrap().unwrap().into_inner();
        assert_eq!((response.decision(), response.revision), (pb::Decision::Allow, 2));
        server.stop(PATIENCE).await.unwrap();
    });
}

fn a_revision_that_does_not_come_is_unavailable() {
    let mut request = Request::new(pb::AuthorizeRequest { min_revision: 9, ..action_on_server("os-start") });
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let error = block_on(async { client(server().await).await.authorize(request).await }).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(error.message(), "the policies of the domain have not reached revision 9: try again");
}

fn a_batch_stops_at_its_deadline_and_lets_others_have_a_turn() {
    use pb::batch_authorize_result::Result as Item;
    let requests = vec![action_on_server("os-start"); 1_000];
    let mut request = Request::new(pb::BatchAuthorizeRequest { requests });
    // So short that it is over before the first decision.
    request.metadata_mut().insert("grpc-timeout", "1u".parse().unwrap());
    let answer = block_on(async { client(server().await).await.batch_authorize(request).await });
    // Whether our answer or the client's own deadline comes first, nothing was decided.
    let results = answer.map(|answer| answer.into_inner().results).unwrap_or_default();
    let is_deadline = |result: pb::BatchAuthorizeResult| match result.result {
        Some(Item::Error(error)) => error.code == i32::from(Code::DeadlineExceeded),
        _ => false,
    };
    assert!(results.into_iter().all(is_deadline));
}

fn one_of_a_batch_that_waits_for_a_revision_keeps_none_waiting() {
    use pb::batch_authorize_result::Result as Item;
    let behind = pb::AuthorizeRequest { min_revision: 9, ..action_on_server("os-start") };
    let results = block_on(batch(vec![behind, action_on_server("os-start")])).unwrap();
    let [first, second] = results.try_into().expect("two results");
    assert!(matches!(first.result, Some(Item::Error(error)) if error.code == i32::from(Code::Unavailable)));
    assert!(
        matches!(second.result, Some(Item::Response(answer)) if answer.decision() == pb::Decision::Allow)
    );
}

fn enforcing_can_be_asked_for_and_not_be_undone() {
    // ECS CommonOperations does not grant this dependency of createImage.
    let decide = |server: &RunningServer, mode: pb::DependencyMode| {
        let request =
            pb::AuthorizeRequest { dependency_mode: mode.into(), ..action_on_server("createImage") };
        let response =
            block_on(async { client(server).await.authorize(request).await }).unwrap().into_inner();
        assert_eq!(response.missing_dependencies, ["ims:quotas:get"]);
        response.reason()
    };
    use pb::DependencyMode::{Enforce, Report, Unspecified};
    let missing = pb::DenyReason::MissingDependency;
    assert_eq!(decide(block_on(server()), Unspecified), pb::DenyReason::Unspecified);
    assert_eq!(decide(block_on(server()), Report), pb::DenyReason::Unspecified);
    assert_eq!(decide(block_on(server()), Enforce), missing);

    let dir = directory();
    let config = ecs_authz::server::ServerConfig {
        defaults: ecs_authz::pdp::Defaults {
            dependency_mode: ecs_authz::decision::DependencyMode::Enforce,
            ..Default::default()
        },
        ..config(dir.path())
    };
    let enforcing = block_on(RunningServer::start(config)).unwrap();
    assert_eq!([Unspecified, Report, Enforce].map(|mode| decide(&enforcing, mode)), [missing; 3]);
    block_on(enforcing.stop(PATIENCE)).unwrap();
}

async fn list(pattern: &str) -> Result<Vec<pb::Action>, Status> {
    let request = pb::ListActionsRequest { pattern: pattern.into() };
    Ok(client(server().await).await.list_actions(request).await?.into_inner().actions)
}

fn actions_are_listed_whole_and_by_pattern() {
    let all = block_on(list("")).unwrap();
    assert_eq!(all.len(), 102);
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    assert_eq!(all.iter().map(|action| action.operations.len()).sum::<usize>(), 151, "one has two actions");

    let started = block_on(list("ecs:servers:start")).unwrap();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].operations.len(), 2);
    assert_eq!(started[0].dependencies, ["ecs:servers:list"]);
    let by_older_name = block_on(list("ecs:cloudServers:delete")).unwrap();
    assert_eq!(by_older_name[0].name, "ecs:cloudServers:deleteServers");
    let created = block_on(list("ecs:cloudServers:createServers")).unwrap();
    assert_eq!(created[0].dependencies, ["vpc:publicIps:create", "vpc:publicIps:update"]);
    assert_eq!(violations(&block_on(list("ECS:*")).unwrap_err()), ["pattern"]);
}

fn an_operation_is_resolved_without_a_decision() {
    let resolve = |request: pb::ResolveOperationRequest| {
        block_on(async {
            Ok::<_, Status>(client(server().await).await.resolve_operation(request).await?.into_inner())
        })
    };
    let pb::AuthorizeRequest { method, path, body, .. } = action_on_server("os-stop");
    let request = pb::ResolveOperationRequest { method, path, body };
    let known = resolve(request.clone()).unwrap();
    assert_eq!(known.action, "ecs:servers:stop");
    assert_eq!(known.dependencies, ["ecs:servers:get", "ecs:servers:list"]);
    let parameters = [("project_id", "prod"), ("server_id", "1")];
    assert_eq!(known.path_parameters, parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).into());

    let unknown = resolve(pb::ResolveOperationRequest { body: None, ..request.clone() }).unwrap();
    assert_eq!(unknown.reason(), pb::DenyReason::BodyRequired);
    assert_eq!(unknown.operation, None);
    let error = resolve(pb::ResolveOperationRequest { path: "x".into(), ..request }).unwrap_err();
    assert_eq!(violations(&error), ["path"]);
}

fn health_is_served_and_ends_with_the_server() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut health = HealthClient::new(channel(&server).await);
        let check = |service: &str| HealthCheckRequest { service: service.into() };
        for service in ["", "ecs.authz.v1.AuthorizationService"] {
            let answer = health.check(check(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
        let unknown = health.check(check("unheard.of")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);

        let mut watched = health.watch(check("")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let stopping = tokio::spawn(server.stop(PATIENCE));
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(watched.message().await.unwrap().is_none());
        drop((watched, health));
        stopping.await.unwrap().unwrap();
    });
}

fn an_open_stream_does_not_keep_the_server() {
    let dir = directory();
    // Within the limit the watch is ended; a limit that is over before that cuts it.
    for (limit, expected) in [(PATIENCE, Drain::Complete), (Duration::from_millis(50), Drain::CutShort)] {
        block_on(async {
            let server = serve(dir.path()).await;
            let mut health = HealthClient::new(channel(&server).await);
            let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
            assert!(watched.message().await.unwrap().is_some());
            assert_eq!(server.stop(limit).await.unwrap(), expected);
        });
    }
}

fn readiness_shows_faults_over_http() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        assert_eq!(get(&server, "/livez").await, ("HTTP/1.1 200 OK".into(), "ok\n".into()));
        let ready = "{\"status\":\"ready\"}\n";
        assert_eq!(get(&server, "/readyz").await, ("HTTP/1.1 200 OK".into(), ready.into()));
        dir.write("acme/policies/no-deletion.json", "[]");
        reload(&server).unwrap_err();
        let degraded = "{\"status\":\"degraded\",\"faults\":\
            [\"acme/policies/no-deletion.json: $: expected an object, found an array\"]}\n";
        assert_eq!(get(&server, "/readyz").await, ("HTTP/1.1 200 OK".into(), degraded.into()));
        let mut client = client(&server).await;
        let response = client.authorize(action_on_server("os-stop")).await.unwrap().into_inner();
        assert_eq!(response.reason(), pb::DenyReason::ExplicitDeny, "the last good policies decide");
        drop(client);
        server.stop(PATIENCE).await.unwrap();
    });
}

fn reflection_is_served_in_both_generations() {
    use tonic_reflection::pb::{v1, v1alpha};
    let expected = ["ecs.authz.v1.AuthorizationService", "grpc.health.v1.Health"];
    block_on(async {
        let channel = channel(server().await).await;
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
        let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let once = tokio_stream::once(request);
        let answer = client.server_reflection_info(once).await.unwrap().into_inner().message().await.unwrap();
        let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
            answer.unwrap().message_response
        else {
            panic!("expected a list of services");
        };
        let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        assert!(expected.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");

        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
        let ask =
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(expected[0].into());
        let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let once = tokio_stream::once(request);
        let answer = client.server_reflection_info(once).await.unwrap().into_inner().message().await.unwrap();
        assert!(matches!(
            answer.unwrap().message_response,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ));
    });
}

fn additional_tables_are_served_and_clash_loudly() {
    let dir = directory();
    let table = |path: &str, text: &str| {
        dir.write(path, text);
        let tables = vec![dir.path().join(path)];
        let config = ecs_authz::server::ServerConfig { tables, ..config(dir.path()) };
        block_on(RunningServer::start(config))
    };
    let private = "table = \"t\"\ntitle = \"T\"\n[[operation]]\ntitle = \"x\"\n\
        routes = [\"GET /v9/{project_id}/things\"]\nactions = [\"private:things:list\"]\n";
    let server = table(".private.toml", private).unwrap();
    let request = pb::AuthorizeRequest {
        method: "GET".into(),
        path: "/v9/prod/things".into(),
        ..action_on_server("x")
    };
    let response = block_on(async { client(&server).await.authorize(request).await }).unwrap().into_inner();
    assert_eq!(
        (response.reason(), response.action),
        (pb::DenyReason::NoMatchingAllow, "private:things:list".into())
    );
    block_on(server.stop(PATIENCE)).unwrap();

    let clash = private.replace("/v9/{project_id}/things", "/v1/{project_id}/cloudservers/limits");
    let error = table(".clash.toml", &clash).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, StartError::Tables(_)));
    assert!(
        message.contains(
            ".clash.toml:3: `GET /v1/{project_id}/cloudservers/limits` is matched by the row at \
             src/catalog/tables/tenant_quota_management.toml:"
        ),
        "{message}"
    );
    let missing = ecs_authz::server::ServerConfig { tables: vec!["gone.toml".into()], ..config(dir.path()) };
    assert!(matches!(block_on(RunningServer::start(missing)), Err(StartError::TableFile { .. })));
}

fn a_listener_beyond_loopback_needs_a_word() {
    let dir = directory();
    let exposed =
        ecs_authz::server::ServerConfig { grpc_addr: ([0, 0, 0, 0], 0).into(), ..config(dir.path()) };
    let error = block_on(RunningServer::start(exposed)).unwrap_err();
    assert!(error.to_string().starts_with("0.0.0.0:0 is not a loopback address"), "{error}");
    assert!(error.to_string().contains("--insecure"), "{error}");
}

fn a_port_in_use_is_an_error_that_names_it() {
    let dir = directory();
    let taken =
        ecs_authz::server::ServerConfig { grpc_addr: block_on(server()).grpc_addr, ..config(dir.path()) };
    let error = block_on(RunningServer::start(taken)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't listen on {}: ", block_on(server()).grpc_addr)), "{error}");
}
