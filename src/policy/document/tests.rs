use super::*;

fn faults(text: &str) -> Vec<String> {
    match Document::parse(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// A policy with one statement that has these members besides its effect.
fn statement(members: &str) -> String {
    format!(r#"{{"Version":"1.1","Statement":[{{"Effect":"Allow",{members}}}]}}"#)
}

fn repeated(item: &str, count: usize) -> String {
    vec![item; count].join(",")
}

#[test]
fn a_document_is_read_whole() {
    let text = r#"{"Version": "1.1", "Statement": [
        {"Effect": "Allow", "Action": ["ecs:*:get*"]},
        {"Effect": "Deny", "NotAction": ["ecs:servers:start", "*"],
         "Resource": ["ecs:*:*:instance:*"],
         "Condition": {"StringEquals": {"g:UserName": ["alice", "bob"]}}}
    ]}"#;
    let document = Document::parse(text).unwrap();
    assert_eq!(document.version, Version::Policy);
    let [first, second] = document.statements.as_slice() else { panic!("expected two statements") };
    assert_eq!(first.effect, Effect::Allow);
    assert!(matches!(&first.actions, Actions::Of(patterns) if patterns.len() == 1));
    assert!(matches!(&second.actions, Actions::AllBut(patterns) if patterns.len() == 2));
    assert_eq!(second.resources, Some(vec![ResourcePattern::parse("ecs:*:*:instance:*").unwrap()]));
    let condition = Condition::parse("StringEquals", "g:UserName", &["alice", "bob"]).unwrap();
    assert_eq!(second.conditions, [condition]);
}

#[test]
fn a_role_is_read_with_what_it_depends_on() {
    let text = r#"{"Version":"1.0","Statement":[{"Effect":"Allow","Action":["identity:assume role"]}],
        "Depends":[{"catalog":"BASE","display_name":"Tenant Guest"}]}"#;
    let document = Document::parse(text).unwrap();
    assert_eq!(document.version, Version::Role);
    let dependency = Dependency { catalog: "BASE".into(), display_name: "Tenant Guest".into() };
    assert_eq!(document.depends, [dependency]);
}

#[test]
fn agencies_are_named_by_uri() {
    let text = statement(r#""Action":["iam:agencies:assume"],"Resource":{"uri":["/iam/agencies/1"]}"#);
    let document = Document::parse(&text).unwrap();
    let agency = ResourcePattern::Agency("/iam/agencies/1".into());
    assert_eq!(document.statements[0].resources, Some(vec![agency]));
    let other = statement(r#""Action":["iam:agencies:assume"],"Resource":{"url":[]}"#);
    assert_eq!(
        faults(&other),
        [
            "$.Statement[0].Resource.url: unknown member, expected one of: uri",
            "$.Statement[0].Resource: expected a member `uri`"
        ]
    );
}

#[test]
fn the_published_limits_hold() {
    let at = |path: &str, limit: &str| format!("$.Statement[0]{path}: expected {limit}");
    let action = r#""Action":["*"]"#;
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    let cases = [
        (statement(r#""Action":[]"#), at(".Action", "1 to 100 actions, found 0")),
        (
            statement(&format!("\"Action\":[{}]", repeated("\"*\"", 101))),
            at(".Action", "1 to 100 actions, found 101"),
        ),
        (
            statement(&format!("\"NotAction\":[{}]", repeated("\"*\"", 101))),
            at(".NotAction", "1 to 100 actions, found 101"),
        ),
        (
            statement(&format!("{action},\"Resource\":[{}]", repeated("\"*\"", 11))),
            at(".Resource", "1 to 10 resources, found 11"),
        ),
        (
            statement(&format!("{action},\"Resource\":[{}]", long(1_501))),
            at(".Resource[0]", "1 to 1500 characters, found 1501"),
        ),
        (
            statement(&format!("{action},\"Resource\":{{\"uri\":[{}]}}", repeated("\"/\"", 21))),
            at(".Resource.uri", "1 to 20 resources, found 21"),
        ),
        (
            statement(&format!("{action},\"Condition\":{{\"Bool\":{{\"k\":[{}]}}}}", long(1_025))),
            at(".Condition.Bool['k'][0]", "1 to 1024 characters, found 1025"),
        ),
        (
            statement(&format!("{action},\"Condition\":{{\"Bool\":{{}}}}")),
            at(".Condition.Bool", "1 to 10 keys, found 0"),
        ),
        (
            statement(&format!("{action},\"Condition\":{{\"Bool\":{{\"k\":\"true\"}}}}")),
            at(".Condition.Bool['k']", "an array, found a string"),
        ),
    ];
    for (text, fault) in cases {
        assert_eq!(faults(&text), [fault]);
    }
    let nine = repeated(r#"{"Effect":"Allow","Action":["*"]}"#, 9);
    assert_eq!(
        faults(&format!(r#"{{"Version":"1.1","Statement":[{nine}]}}"#)),
        ["$.Statement: expected 1 to 8 statements, found 9"]
    );
    assert_eq!(
        faults(r#"{"Version":"1.1","Statement":[]}"#),
        ["$.Statement: expected 1 to 8 statements, found 0"]
    );
    let depends = repeated(r#"{"catalog":"a","display_name":"b"}"#, 21);
    let role = format!(
        r#"{{"Version":"1.0","Statement":[{{"Effect":"Allow","Action":["*"]}}],"Depends":[{depends}]}}"#
    );
    assert_eq!(faults(&role), ["$.Depends: expected 0 to 20 dependencies, found 21"]);
    let role = role.replace(&depends, &format!(r#"{{"catalog":{},"display_name":""}}"#, long(65)));
    assert_eq!(
        faults(&role),
        [
            "$.Depends[0].catalog: expected 1 to 64 characters, found 65",
            "$.Depends[0].display_name: expected 1 to 64 characters, found 0"
        ]
    );
}

#[test]
fn size_is_counted_without_white_space_between_tokens() {
    let action = |length: usize| format!("\"ecs:servers:{}\"", "x".repeat(length));
    let many = |count: usize| statement(&format!("\"Action\":[{}]", repeated(&action(100), count)));
    assert_eq!(faults(&many(50)), [""; 0]);
    let indented = many(50).replace(',', ",\n          ");
    assert!(indented.len() > MAX_CHARACTERS - 100);
    assert_eq!(faults(&indented), [""; 0]);
    let found = faults(&many(60));
    assert!(found[0].starts_with("$: expected 0 to 6144 characters, found 69"), "{found:?}");
    let padded = many(1) + &" ".repeat(MAX_BYTES);
    assert!(faults(&padded)[0].starts_with("$: expected 0 to 32768 bytes"));
    assert_eq!(significant_characters(r#" { "a b" : "\" \\" } "#), r#"{"a b":"\" \\"}"#.len());
}

#[test]
fn what_has_two_readings_is_no_document() {
    for text in [
        r#"{"Version":"1.1","Version":"1.1","Statement":[]}"#,
        r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Effect":"Deny","Action":["*"]}]}"#,
        r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["*"],"\u0041ction":["*"]}]}"#,
    ] {
        let found = faults(text);
        assert!(found[0].contains("expected each member once"), "{text}: {found:?}");
    }
    let found = faults(&r#"{"NAME":1,"NAME":2}"#.replace("NAME", &format!("a\\n{}", "x".repeat(100))));
    let shown = format!("a\\n{}", "x".repeat(62));
    assert!(
        found[0].starts_with(&format!("$: expected each member once, found `{shown}` twice")),
        "{found:?}"
    );
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    assert_eq!(faults("\u{feff}{}"), ["$: expected an object, found a byte order mark"]);
    for text in ["", "{", "{}}", "{\"Version\": NaN}", "// x\n{}"] {
        let found = faults(text);
        assert!(found[0].starts_with("$: ") && found[0].contains(" at line "), "{text}: {found:?}");
    }
    assert_eq!(faults("7"), ["$: expected an object, found a number"]);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    assert!(faults(&deep)[0].starts_with("$: "), "too deep or too long, no crash");
    let deep = "[".repeat(3_000) + &"]".repeat(3_000);
    assert!(faults(&deep)[0].contains("recursion limit exceeded"));
}

#[test]
fn one_of_action_and_not_action_is_needed() {
    let expected = "$.Statement[0]: expected exactly one of `Action` and `NotAction`";
    assert_eq!(faults(&statement(r#""Action":["*"],"NotAction":["*"]"#)), [expected]);
    assert_eq!(faults(r#"{"Version":"1.1","Statement":[{"Effect":"Allow"}]}"#), [expected]);
    let wrong = faults(&statement(r#""Action":["*", 1, "ecs:servers"]"#));
    assert_eq!(wrong, ["$.Statement[0].Action[1]: expected a string, found a number"]);
}

#[test]
fn a_faulty_resource_or_condition_is_told_with_its_place() {
    let condition = |text: &str| statement(&format!("\"Action\":[\"*\"],\"Condition\":{text}"));
    let at = "$.Statement[0].Condition";
    let cases = [
        (
            statement(r#""Action":["*"],"Resource":["*","ecs:x"]"#),
            "$.Statement[0].Resource[1]: expected `*` or a resource `service:region:account:type:path`, found `ecs:x`"
                .to_owned(),
        ),
        (
            statement(r#""Action":["*"],"Resource":"*""#),
            "$.Statement[0].Resource: expected an array, found a string".to_owned(),
        ),
        (
            condition(r#"{"StringEqual":{"g:UserName":["a"]}}"#),
            format!(
                "{at}.StringEqual['g:UserName']: unknown operator `StringEqual`: the nearest known one is `StringEquals`"
            ),
        ),
        (
            condition(r#"{"StringEquals":{"g:Username":["a"]}}"#),
            format!(
                "{at}.StringEquals['g:Username']: unknown key `g:Username`: letter case matters, expected `g:UserName`"
            ),
        ),
        (
            condition(r#"{"StringEquals":{"user":["a"]}}"#),
            format!("{at}.StringEquals['user']: expected a key `service:Name`, found `user`"),
        ),
        (
            condition(r#"{"NumberEquals":{"g:UserName":["1"]}}"#),
            format!("{at}.NumberEquals['g:UserName']: the operator compares numbers, and the key is a text"),
        ),
        (
            condition(r#"{"IpAddress":{"g:SourceIp":["10.0.0.0/8","10.0.0.1/8"]}}"#),
            format!(
                "{at}.IpAddress['g:SourceIp'][1]: expected an address such as 10.0.0.7, or a network such as \
                 10.0.0.0/8 without bits behind its length, found `10.0.0.1/8`"
            ),
        ),
        (
            condition(r#"{"DateLessThan":{"g:CurrentTime":["tomorrow"]}}"#),
            format!(
                "{at}.DateLessThan['g:CurrentTime'][0]: expected a time in UTC such as 2026-11-24T08:30:00Z, found \
                 `tomorrow`"
            ),
        ),
        (
            condition(r#"{"Bool":{"g:MFAPresent":["yes"]}}"#),
            format!("{at}.Bool['g:MFAPresent'][0]: expected `true` or `false`, found `yes`"),
        ),
        (
            condition(r#"{"Null":{"g:UserName":["true","false"]}}"#),
            format!("{at}.Null['g:UserName']: expected one value, `true` or `false`, found 2"),
        ),
        (
            condition(r#"{"StringEquals":{"g:UserName":[]}}"#),
            format!("{at}.StringEquals['g:UserName']: expected 1 to 6144 values, found 0"),
        ),
    ];
    for (text, fault) in cases {
        assert_eq!(faults(&text), [fault], "{text}");
    }
}
