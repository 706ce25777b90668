//! Random policies, grants and calls: the compiled evaluator and the reference must agree on every one.
//!
//! `ECS_AUTHZ_CASES=100000 scripts/test random` asks more than every test run does.

use std::collections::BTreeMap;
use std::env;

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::evaluators::{by_pdp, pdp};
use crate::reference::{self, Body, Domain, Grant, Group, Principal, Question, Scope, Subject, Time};
use crate::support::{PolicyDir, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        both_evaluators_agree,
        one_more_deny_never_allows_more,
        one_more_allow_never_denies_more,
        one_more_limit_never_widens_a_statement,
        a_body_cut_short_never_allows_more,
        the_order_of_grants_and_names_of_files_make_no_difference,
    ]
}

/// Each case has several questions on one set of policies.
pub(crate) const QUESTIONS: usize = 8;

pub(crate) fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let cases = env::var("ECS_AUTHZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000_u32);
    let config =
        Config { cases: cases.div_ceil(QUESTIONS as u32), failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

pub(crate) fn operations() -> Vec<Value> {
    serde_json::from_str(include_str!("published/operations.json")).expect("published JSON")
}

/// Names that policies are likely to have: those of the table, parts of them, and others.
pub(crate) fn pattern() -> impl Strategy<Value = String> {
    let mut names: Vec<String> = operations()
        .iter()
        .flat_map(|row| row["actions"].as_array().into_iter().chain(row["dependencies"].as_array()).flatten())
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    names.extend(
        ["ecs:cloudServers:create", "ecs:cloudServers:delete", "ecs:cloudServers:put"].map(String::from),
    );
    let service = prop::sample::select(vec!["ecs", "ecs", "ecs", "vpc", "evs", "ims", "*", "e*", "obs"]);
    let kind = prop::sample::select(vec![
        "*",
        "servers",
        "cloudServers",
        "SERVERS",
        "*ervers",
        "cloud*",
        "s*s",
        "v*",
    ]);
    let verb = prop::sample::select(vec![
        "*", "get", "Get*", "list*", "*t*", "start", "st*", "delete", "create*", "use",
    ]);
    prop_oneof![
        3 => prop::sample::select(names),
        4 => (service, kind, verb).prop_map(|(service, kind, verb)| format!("{service}:{kind}:{verb}")),
        1 => prop::sample::select(vec!["*".to_owned(), "ecs:*".to_owned(), "vpc:*".to_owned()]),
    ]
}

/// A part of a resource, from those that calls have, parts of them, and others.
fn part(known: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    prop_oneof![1 => Just("*"), 1 => prop::sample::select(known.to_vec())]
}

pub(crate) fn resource() -> impl Strategy<Value = Value> {
    let service = part(&["ecs", "ecs", "evs", "vpc", "e*", "*cs"]);
    let region = part(&["eu-de", "eu-de", "eu-*", "ap-sg"]);
    let account = part(&["acme", "acme", "a*", "other"]);
    let kind = part(&["instance", "instance", "inst*", "volume", "serverGroup", "keypair", "flavor", "*s*"]);
    let path = part(&["s1", "s1", "s2", "s*", "*1", "server_id", "server*", "*_id", "x1"]);
    let five = (service, region, account, kind, path).prop_map(|(service, region, account, kind, path)| {
        format!("{service}:{region}:{account}:{kind}:{path}")
    });
    let one = prop_oneof![9 => five, 1 => Just("*".to_owned())];
    prop_oneof![
        12 => prop::collection::vec(one, 1..3).prop_map(|resources| json!(resources)),
        1 => Just(json!({"uri": ["/iam/agencies/07805aca"]})),
    ]
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
enum Family {
    Text,
    Number,
    Date,
    Bool,
    Address,
}

/// Keys with what they hold: those that the server derives, that calls declare, and that callers say.
const KEYS: [(&str, Family); 29] = [
    ("g:DomainId", Family::Text),
    ("g:DomainName", Family::Text),
    ("g:UserId", Family::Text),
    ("g:UserName", Family::Text),
    ("g:ProjectName", Family::Text),
    ("g:ServiceName", Family::Text),
    ("g:RequestedRegion", Family::Text),
    ("g:EnterpriseProjectId", Family::Text),
    ("g:TagKeys", Family::Text),
    ("g:ResourceTag/team", Family::Text),
    ("g:RequestTag/team", Family::Text),
    ("ecs:ServerId", Family::Text),
    ("ecs:FlavorId", Family::Text),
    ("ecs:FlavorId", Family::Text),
    ("ecs:SubnetId", Family::Text),
    ("ecs:VolumeId", Family::Text),
    ("ecs:PortId", Family::Text),
    ("ecs:imageID", Family::Text),
    ("ecs:VpcId", Family::Text),
    ("ecs:AvailabilityZone", Family::Text),
    ("ecs:KmsKeyId", Family::Text),
    ("ecs:SSHKeyPairName", Family::Text),
    ("obs:prefix", Family::Text),
    ("g:MFAAge", Family::Number),
    ("evs:Size", Family::Number),
    ("g:CurrentTime", Family::Date),
    ("evs:Encrypted", Family::Bool),
    ("g:MFAPresent", Family::Bool),
    ("g:SourceIp", Family::Address),
];

const TEXTS: [&str; 18] = [
    "x1",
    "x1",
    "x1",
    "s1",
    "s2",
    "server_id",
    "X1",
    "x",
    "1",
    "acme",
    "Acme",
    "alice",
    "ecs",
    "vpc",
    "eu-de",
    "ep",
    "volume_id",
    "",
];
const NUMBERS: [&str; 6] = ["10", "10.0", "9", "-10", "10.01", "0"];
const DATES: [&str; 4] =
    ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5Z", "2026-03-01T11:59:59Z", "2027-01-01T00:00:00Z"];
const BOOLS: [&str; 3] = ["true", "false", "True"];
const ADDRESSES: [&str; 3] = ["10.1.2.3", "192.0.2.7", "2001:db8::1"];

/// An operator for what a key holds, and the values that it may be given.
fn operator(family: Family) -> impl Strategy<Value = (String, Vec<&'static str>)> {
    let (names, values): (Vec<&str>, Vec<&str>) = match family {
        Family::Text => (
            vec![
                "StringEquals",
                "StringNotEquals",
                "StringEqualsIgnoreCase",
                "StringNotEqualsIgnoreCase",
                "StringLike",
                "StringNotLike",
                "StringStartWith",
                "StringEndWith",
                "StringMatch",
                "StringNotMatch",
            ],
            [&TEXTS[..17], &["x*", "?1", "*_id", "s?"]].concat(),
        ),
        Family::Number => (
            vec![
                "NumberEquals",
                "NumberNotEquals",
                "NumberLessThan",
                "NumberLessThanEquals",
                "NumberGreaterThan",
                "NumberGreaterThanEquals",
            ],
            NUMBERS.to_vec(),
        ),
        Family::Date => (
            vec!["DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"],
            DATES.to_vec(),
        ),
        Family::Bool => (vec!["Bool"], BOOLS.to_vec()),
        Family::Address => {
            let networks: [&str; 3] = ["10.0.0.0/8", "::/0", "192.0.2.0/25"];
            (vec!["IpAddress", "NotIpAddress"], [&ADDRESSES[..], &networks].concat())
        }
    };
    let prefix = prop::sample::select(vec!["", "", "ForAnyValue:", "ForAllValues:", "AnyOf"]);
    let named = (prop::sample::select(names), prefix, any::<bool>()).prop_map(|(name, prefix, if_exists)| {
        let if_exists = if if_exists { "IfExists" } else { "" };
        let can_be_any_of = name.starts_with("String") && !name.ends_with("Match");
        match prefix {
            "AnyOf" if can_be_any_of => format!("{name}AnyOf{if_exists}"),
            "AnyOf" => format!("{name}{if_exists}"),
            prefix => format!("{prefix}{name}{if_exists}"),
        }
    });
    let presence = prop::sample::select(vec!["Null", "IsNullOrEmpty"]).prop_map(ToOwned::to_owned);
    prop_oneof![
        9 => named.prop_map(move |name| (name, values.clone())),
        1 => presence.prop_map(|name| (name, vec!["true", "false"])),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let clause = prop::sample::select(KEYS.to_vec()).prop_flat_map(|(key, family)| {
        operator(family).prop_flat_map(move |(operator, values)| {
            let most = if values == ["true", "false"] { 1 } else { 2 };
            let values = prop::collection::btree_set(prop::sample::select(values), 1..=most);
            (Just(operator), Just(key), values)
        })
    });
    prop::collection::vec(clause, 1..3).prop_map(|clauses| {
        let mut condition = json!({});
        for (operator, key, values) in clauses {
            condition[&operator][key] = json!(values);
        }
        condition
    })
}

fn statement() -> impl Strategy<Value = Value> {
    let effect = prop_oneof![3 => Just("Allow"), 1 => Just("Deny")];
    let member = prop_oneof![4 => Just("Action"), 1 => Just("NotAction")];
    let patterns = prop::collection::vec(pattern(), 1..4);
    let (resource, condition) = (prop::option::of(resource()), prop::option::of(condition()));
    (effect, member, patterns, resource, condition).prop_map(
        |(effect, member, patterns, resource, condition)| {
            let mut statement = json!({"Effect": effect, member: patterns});
            for (name, value) in [("Resource", resource), ("Condition", condition)] {
                if let Some(value) = value {
                    statement[name] = value;
                }
            }
            statement
        },
    )
}

/// A policy, or a role that may depend on others.
fn document() -> impl Strategy<Value = Value> {
    let statements = prop::collection::vec(statement(), 1..4);
    let names = vec!["p0", "p1", "p2", "ECS ReadOnlyAccess", "Tenant Guest", "gone"];
    let depends = prop::collection::btree_set(prop::sample::select(names), 0..3);
    (statements, prop::option::weighted(0.3, depends)).prop_map(|(mut statements, depends)| {
        let Some(depends) = depends else { return json!({"Version": "1.1", "Statement": statements}) };
        for statement in &mut statements {
            let members = statement.as_object_mut().expect("a statement");
            members.retain(|name, _| name != "Resource" && name != "Condition");
        }
        let depends: Vec<Value> =
            depends.into_iter().map(|name| json!({"catalog": "BASE", "display_name": name})).collect();
        let mut document = json!({"Version": "1.0", "Statement": statements});
        if !depends.is_empty() {
            document["Depends"] = json!(depends);
        }
        document
    })
}

const POLICIES: [&str; 6] = ["p0", "p1", "p2", "ECS ReadOnlyAccess", "ECS CommonOperations", "Tenant Guest"];

fn grant() -> impl Strategy<Value = Grant> {
    let id = |ids: &[&'static str]| prop::sample::select(ids.to_vec()).prop_map(String::from);
    let subject = prop_oneof![
        3 => id(&["alice", "bob"]).prop_map(Subject::User),
        2 => id(&["g0", "g1"]).prop_map(Subject::Group),
        1 => id(&["alice", "a0"]).prop_map(Subject::Agency),
    ];
    let scope = prop_oneof![
        3 => id(&["p", "q"]).prop_map(Scope::Project),
        2 => Just(Scope::AllProjects),
        2 => id(&["ep", "other"]).prop_map(Scope::EnterpriseProject),
        1 => Just(Scope::Domain),
    ];
    (subject, id(&POLICIES), scope).prop_map(|(subject, policy, scope)| Grant { subject, policy, scope })
}

pub(crate) fn domain() -> impl Strategy<Value = Domain> {
    let grants = prop::collection::vec(grant(), 0..6);
    let members = prop::sample::subsequence(vec!["alice".to_owned(), "bob".to_owned()], 0..=2);
    (prop::array::uniform3(document()), grants, members).prop_map(|(documents, grants, members)| Domain {
        policies: POLICIES.map(String::from).into_iter().zip(documents).collect(),
        groups: vec![Group { id: "g0".into(), members }],
        grants,
    })
}

/// Nothing, or one of the texts.
fn optional(texts: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    let text = prop::sample::select(texts.to_vec()).prop_map(String::from);
    prop_oneof![1 => Just(String::new()), 2 => text]
}

fn principal() -> impl Strategy<Value = Principal> {
    let user = prop_oneof![4 => Just(("alice", "")), 1 => Just(("bob", "")), 1 => Just(("", "a0")), 1 => Just(("", "alice"))];
    let project = prop_oneof![14 => Just("p"), 1 => Just("q"), 1 => Just("")];
    let groups = prop::sample::subsequence(vec!["g1".to_owned(), "g2".to_owned()], 0..=2);
    let roles = prop::sample::subsequence(
        ["p2", "op_gated", POLICIES[3], "te_admin", "readonly"].map(String::from).to_vec(),
        0..=2,
    );
    let names = (optional(&["Acme", "acme"]), optional(&["alice", "x1"]), optional(&["eu-de", "x1"]));
    let facts = (names, prop::option::of(any::<bool>()));
    let parts = (user, project, groups, roles, facts);
    parts.prop_map(|((user, agency), project, groups, roles, (names, mfa_present))| Principal {
        domain_id: "acme".into(),
        user_id: user.into(),
        agency_id: agency.into(),
        project_id: project.into(),
        group_ids: if agency.is_empty() { groups } else { Vec::new() },
        role_names: roles,
        domain_name: names.0,
        user_name: names.1,
        project_name: names.2,
        mfa_present,
    })
}

/// Members that tell something, by how their routes end.
const MEMBERS: [(&str, &[&str]); 16] = [
    (
        "/v1/{project_id}/cloudservers",
        &[
            "server.flavorRef",
            "server.imageRef",
            "server.vpcid",
            "server.availability_zone",
            "server.nics.subnet_id",
            "server.nics.port_id",
            "server.key_name",
            "server.data_volumes.data_image_id",
            "server.extendparam.enterprise_project_id",
            "server.x",
        ],
    ),
    (
        "/servers",
        &[
            "server.flavorRef",
            "server.imageRef",
            "server.availability_zone",
            "server.networks.uuid",
            "server.networks.port",
            "server.block_device_mapping_v2",
            "server.x",
        ],
    ),
    ("/os-keypairs", &["keypair.name", "keypair.x"]),
    ("/os-volumes_boot", &["server.flavorRef", "server.imageRef", "server.networks.uuid"]),
    ("/cloudservers/delete", &["servers.id", "servers.x"]),
    ("/cloudservers/action", &["os-start.servers.id", "os-stop.servers.id", "reboot.servers.id", "reboot.x"]),
    (
        "/servers/{server_id}/action",
        &["resize.flavorRef", "rebuild.imageRef", "rebuild.key_name", "rebuild.x"],
    ),
    ("/{server_group_id}/action", &["add_member.instance_uuid", "remove_member.instance_uuid"]),
    ("/{server_id}/resize", &["resize.flavorRef", "resize.x"]),
    ("/changeos", &["os-change.imageid", "os-change.keyname"]),
    ("/reinstallos", &["os-reinstall.keyname"]),
    ("/attachvolume", &["volumeAttachment.volumeId"]),
    ("/os-volume_attachments", &["volumeAttachment.volumeId", "volumeAttachment.x"]),
    ("/{server_id}/nics", &["nics.subnet_id", "nics.x"]),
    ("/nics/delete", &["nics.id", "nics.x"]),
    ("/os-interface", &["interfaceAttachment.net_id", "interfaceAttachment.port_id"]),
];

/// A route with example bodies and members.
#[derive(Debug, Clone)]
struct Route {
    method: String,
    template: String,
    examples: Vec<String>,
    members: &'static [&'static str],
}

fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for row in operations() {
        let examples = row["body"].as_array().into_iter().flatten();
        let examples: Vec<String> = examples.map(|body| body["example"].to_string()).collect();
        for route in row["routes"].as_array().expect("routes") {
            let (method, template) = route.as_str().and_then(|route| route.split_once(' ')).expect("a route");
            let members = MEMBERS.iter().find(|(end, _)| method == "POST" && template.ends_with(end));
            routes.push(Route {
                method: method.to_owned(),
                template: template.to_owned(),
                examples: examples.clone(),
                members: members.map_or(&[], |(_, members)| members),
            });
        }
    }
    routes
}

/// JSON with a member at a path, mostly written in one of the usual ways.
fn with_member(path: &str, [value, other]: [&str; 2], shape: u8) -> String {
    let (parents, last) = path.rsplit_once('.').expect("a path");
    let object = |value: &str| format!("{{\"{last}\":{value}}}");
    let innermost = match shape {
        0..=3 => object(value),
        4 => format!("[{}]", object(value)),
        5..=7 => format!("[{},{}]", object(value), object(other)),
        8 => format!("{{\"{last}\":{value},\"{last}\":{other}}}"),
        _ => format!("[{},\"{last}\",null]", object(value)),
    };
    parents.rsplit('.').fold(innermost, |inner, name| format!("{{\"{name}\":{inner}}}"))
}

/// JSON with members beside each other, as far as their paths allow.
fn with_members(members: &[(&str, &str)]) -> String {
    let mut body = json!({});
    for (path, value) in members {
        let value: Value = serde_json::from_str(value).expect("a value");
        let place = path.split('.').fold(&mut body, |place, name| &mut place[name]);
        *place = value;
    }
    body.to_string()
}

fn body(route: &Route) -> impl Strategy<Value = Body> + use<> {
    let content = |text: &str| Body::Content { bytes: text.into(), truncated: false };
    let stray = vec!["{}", "[]", "{\"reboot\":1}", "{\"x\":1,\"y\":2}", "{\"server\":{}}", "{", ""];
    let mut bodies =
        vec![(1, Just(Body::None).boxed()), (1, prop::sample::select(stray).prop_map(content).boxed())];
    if route.examples.is_empty() && route.members.is_empty() {
        bodies.push((8, Just(Body::None).boxed()));
    }
    if !route.examples.is_empty() {
        let examples = prop::sample::select(route.examples.clone());
        bodies.push((8, examples.prop_map(move |text| content(&text)).boxed()));
    }
    if !route.members.is_empty() {
        let member = prop::sample::select(route.members.to_vec());
        let values = vec![
            "\"x1\"",
            "\"x1\"",
            "\"s1\"",
            "\"s2\"",
            "\"http://host/x1\"",
            "\"ep\"",
            "\"x1 \"",
            "[\"x1\",\"s2\"]",
            "null",
            "1",
            "true",
            "{}",
            "[]",
            "\"\"",
        ];
        let plain = prop::sample::select(values[..6].to_vec());
        let together = prop::collection::vec((member.clone(), plain), 1..4);
        bodies.push((6, together.prop_map(move |members| content(&with_members(&members))).boxed()));
        let values = [prop::sample::select(values.clone()), prop::sample::select(values)];
        let written = (member.clone(), values, 0..10_u8, prop::bool::weighted(0.1));
        let written = written.prop_map(|(member, values, shape, truncated)| Body::Content {
            bytes: with_member(member, values, shape).into(),
            truncated,
        });
        let values = prop::collection::vec(prop::sample::select(vec!["x1", "s1", "s2"]), 0..3);
        let summed_up = (member, values, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
        let summed_up = summed_up.prop_map(|(member, values, has_keys, has_attributes, truncated)| {
            let top = member.split('.').next().unwrap_or_default().to_owned();
            let values = values.into_iter().map(String::from).collect();
            Body::Summary {
                keys: has_keys.then_some(top).into_iter().collect(),
                attributes: has_attributes.then(|| (member.to_owned(), values)).into_iter().collect(),
                truncated,
            }
        });
        bodies.push((12, written.boxed()));
        bodies.push((4, summed_up.boxed()));
        bodies.push((1, Just(Body::Encoded).boxed()));
    }
    prop::strategy::Union::new_weighted(bodies)
}

/// A call of a published operation, mostly of the principal's project, with a body that mostly fits.
fn call() -> impl Strategy<Value = (String, String, Body)> {
    let telling: Vec<Route> = routes().into_iter().filter(|route| !route.members.is_empty()).collect();
    let route = prop_oneof![prop::sample::select(routes()), prop::sample::select(telling)];
    let project = prop_oneof![14 => Just("p"), 1 => Just("q")];
    let uuid = "616FB98F-46CA-475E-917E-2563E5A8CD19";
    let id = prop_oneof![4 => Just(""), 2 => Just("s1"), 2 => Just("x1"), 1 => Just(uuid)];
    (route, project, id).prop_flat_map(|(route, project, id)| {
        let path = route.template.replacen("{project_id}", project, 1);
        let path =
            if id.is_empty() { path } else { path.replace("{server_id}", id).replace("{volume_id}", id) };
        let path = path.replace(['{', '}'], "");
        (Just(route.method.clone()), Just(path), body(&route))
    })
}

/// What a caller says of keys, in values that mostly are what a key holds.
fn attributes() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    let said: Vec<(&str, Family)> = KEYS
        .into_iter()
        .filter(|(key, _)| {
            let others = ["g:MFAAge", "g:TagKeys", "g:ResourceTag/team", "g:RequestTag/team"];
            !key.starts_with("g:") || others.contains(key)
        })
        .collect();
    let entry = prop::sample::select(said).prop_flat_map(|(key, family)| {
        let fitting = match family {
            Family::Text => TEXTS.to_vec(),
            Family::Number => NUMBERS.to_vec(),
            Family::Date => DATES.to_vec(),
            Family::Bool => BOOLS.to_vec(),
            Family::Address => ADDRESSES.to_vec(),
        };
        let value =
            prop_oneof![8 => prop::sample::select(fitting), 1 => prop::sample::select(vec!["", "odd"])];
        let values = prop::collection::vec(value.prop_map(String::from), 0..3);
        (Just(key.to_owned()), values)
    });
    let enterprise_project = prop::option::of(prop_oneof![2 => Just("ep"), 1 => Just("unknown")]);
    (prop::collection::vec(entry, 0..6), enterprise_project).prop_map(|(entries, enterprise_project)| {
        let mut attributes: BTreeMap<_, _> = entries.into_iter().collect();
        let key = reference::ENTERPRISE_PROJECT.to_owned();
        attributes.extend(enterprise_project.map(|id| (key, vec![id.to_owned()])));
        attributes
    })
}

fn question() -> impl Strategy<Value = Question> {
    let time = prop_oneof![
        1 => Just(Time::Unknown),
        4 => prop::sample::select(DATES.to_vec()).prop_map(|date| Time::At(reference::seconds(date).expect("a date"))),
    ];
    let circumstances = (optional(&ADDRESSES), attributes(), time, optional(&["eu-de", "eu-nl"]));
    (principal(), call(), any::<bool>(), circumstances).prop_map(
        |(principal, (method, path, body), enforce, (source_ip, attributes, time, region))| Question {
            principal,
            method,
            path,
            body,
            enforce,
            source_ip,
            attributes,
            time,
            region,
        },
    )
}

pub(crate) fn questions() -> impl Strategy<Value = Vec<Question>> {
    prop::collection::vec(question(), QUESTIONS)
}

/// The domain as a directory.
pub(crate) fn directory(domain: &Domain) -> PolicyDir {
    let dir = PolicyDir::new();
    for (name, document) in &domain.policies {
        dir.write(&format!("acme/policies/{name}.json"), &document.to_string());
    }
    dir.write("acme/grants.toml", &reference::grants_file(domain));
    dir
}

fn both_evaluators_agree() {
    run((domain(), questions()), |(domain, questions)| {
        let dir = directory(&domain);
        let pdp = pdp(dir.path());
        let domains = BTreeMap::from([("acme".to_owned(), domain)]);
        for question in questions {
            let (ours, theirs) = (by_pdp(&pdp, &question), reference::decide(&domains, &question));
            assert_eq!(ours, theirs, "{question:?}");
        }
    });
}

/// Grants one more policy, of one statement, to every principal of the questions. No role depends on it.
fn with_statement(domain: &Domain, effect: &str, statement: &Value) -> Domain {
    let mut statement = statement.clone();
    statement["Effect"] = json!(effect);
    let document = json!({"Version": "1.1", "Statement": [statement]});
    let mut more = Domain {
        policies: domain.policies.clone(),
        groups: domain.groups.clone(),
        grants: domain.grants.clone(),
    };
    more.policies.insert("one-more".into(), document);
    let (users, agencies) = (["alice", "bob"].map(String::from), ["alice", "a0"].map(String::from));
    let subjects = users.map(Subject::User).into_iter().chain(agencies.map(Subject::Agency));
    more.grants.extend(subjects.map(|subject| Grant {
        subject,
        policy: "one-more".into(),
        scope: Scope::AllProjects,
    }));
    more
}

/// Whether each question is allowed, before and after.
fn before_and_after(before: &Domain, after: &Domain, questions: &[Question]) -> Vec<(bool, bool)> {
    let (before, after) = (directory(before), directory(after));
    let (before, after) = (pdp(before.path()), pdp(after.path()));
    let is_allowed = |pdp, question| by_pdp(pdp, question).decision == reference::Answer::Allow;
    questions.iter().map(|question| (is_allowed(&before, question), is_allowed(&after, question))).collect()
}

fn one_more_deny_never_allows_more() {
    run((domain(), statement(), questions()), |(domain, statement, questions)| {
        let after = with_statement(&domain, "Deny", &statement);
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert!(before || !after);
        }
    });
}

fn one_more_allow_never_denies_more() {
    run((domain(), statement(), questions()), |(domain, statement, questions)| {
        let after = with_statement(&domain, "Allow", &statement);
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert!(after || !before);
        }
    });
}

/// A domain with another text of one document.
fn with_document(domain: &Domain, name: &str, document: Value) -> Domain {
    let mut other = Domain {
        policies: domain.policies.clone(),
        groups: domain.groups.clone(),
        grants: domain.grants.clone(),
    };
    other.policies.insert(name.to_owned(), document);
    other
}

/// A condition more, on every statement of one effect in a policy: an allow so limited allows nothing more, and a deny
/// denies nothing more.
fn one_more_limit_never_widens_a_statement() {
    let strategy = (domain(), resource(), condition(), any::<bool>(), questions());
    run(strategy, |(domain, resource, condition, is_allow, questions)| {
        let mut document = domain.policies["p0"].clone();
        if document["Version"] != "1.1" {
            return;
        }
        let effect = if is_allow { "Allow" } else { "Deny" };
        let statements = document["Statement"].as_array_mut().expect("statements").iter_mut();
        for statement in statements.filter(|statement| statement["Effect"] == effect) {
            let members = statement.as_object_mut().expect("a statement");
            members.entry("Resource").or_insert(resource.clone());
            members.entry("Condition").or_insert(condition.clone());
        }
        let after = with_document(&domain, "p0", document);
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert!(if is_allow { before || !after } else { after || !before });
        }
    });
}

/// Less is known, so no more is allowed.
fn a_body_cut_short_never_allows_more() {
    run((domain(), questions()), |(domain, questions)| {
        let dir = directory(&domain);
        let pdp = pdp(dir.path());
        for question in questions {
            let Body::Content { bytes, .. } = question.body.clone() else { continue };
            let cut = Question { body: Body::Content { bytes, truncated: true }, ..question.clone() };
            let is_allowed = |question| by_pdp(&pdp, question).decision == reference::Answer::Allow;
            assert!(is_allowed(&question) || !is_allowed(&cut), "{question:?}");
        }
    });
}

fn the_order_of_grants_and_names_of_files_make_no_difference() {
    run((domain(), questions()), |(domain, questions)| {
        // Other names sort otherwise, so files are read and statements met in another order.
        let renamed = |name: &str| match name {
            "p0" => "z0".to_owned(),
            "p1" => "a1".to_owned(),
            other => other.to_owned(),
        };
        let grants = domain.grants.iter().rev().cloned();
        let after = Domain {
            policies: domain
                .policies
                .iter()
                .map(|(name, document)| {
                    let mut document = document.clone();
                    for entry in
                        document.get_mut("Depends").and_then(Value::as_array_mut).into_iter().flatten()
                    {
                        entry["display_name"] =
                            json!(renamed(entry["display_name"].as_str().expect("a name")));
                    }
                    (renamed(name), document)
                })
                .collect(),
            groups: domain.groups.clone(),
            grants: grants.map(|grant| Grant { policy: renamed(&grant.policy), ..grant }).collect(),
        };
        for (before, after) in before_and_after(&domain, &after, &questions) {
            assert_eq!(before, after);
        }
    });
}
