//! Simulations: what a policy would change is what it then changes.

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("a_simulation_tells_what_the_change_then_does", a_simulation_tells_what_the_change_then_does),
    ("a_new_policy_is_tried_with_its_grants", a_new_policy_is_tried_with_its_grants),
    ("a_policy_that_would_be_gone_is_tried", a_policy_that_would_be_gone_is_tried),
    ("a_role_of_the_token_is_tried", a_role_of_the_token_is_tried),
    ("one_bad_request_keeps_no_other_from_its_result", one_bad_request_keeps_no_other_from_its_result),
    ("a_simulation_is_checked_as_a_change_is", a_simulation_is_checked_as_a_change_is),
    (
        "a_document_with_faults_is_named_and_its_mending_is_tried",
        a_document_with_faults_is_named_and_its_mending_is_tried,
    ),
];

fn request(user: &str, method: &str, path: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        method: method.into(),
        path: path.into(),
        request_id: format!("{user} {method}"),
        ..read_request(user)
    }
}

fn simulate(document: Option<&str>, requests: &[pb::AuthorizeRequest]) -> pb::SimulatePolicyRequest {
    pb::SimulatePolicyRequest {
        domain_id: "acme".into(),
        name: "p".into(),
        document: document.map(ToOwned::to_owned),
        grants: Vec::new(),
        requests: requests.to_vec(),
        all_results: false,
    }
}

/// The flips of a report: place, before, after.
fn flips(report: &pb::SimulatePolicyResponse) -> Vec<(u32, pb::Decision, pb::Decision)> {
    let decision = |side: &Option<pb::SimulatedDecision>| side.as_ref().expect("a decision").decision();
    report.results.iter().map(|it| (it.index, decision(&it.before), decision(&it.after))).collect()
}

fn counts(report: &pb::SimulatePolicyResponse) -> [u32; 4] {
    [report.newly_allowed, report.newly_denied, report.unchanged, report.failed]
}

const DETAIL: &str = "/v1/p/cloudservers/7";
const SERVER: &str = "/v2.1/p/servers/7";

fn a_simulation_tells_what_the_change_then_does() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let (allow, deny) =
            (document("Allow", "ecs:cloudServers:*"), document("Allow", "ecs:servers:delete"));
        admin.put_policy(put_policy("p", &allow)).await.unwrap();
        admin.put_policy(put_policy("q", &document("Allow", "ecs:servers:get"))).await.unwrap();
        for put in [grant(user("alice"), "p"), grant(user("alice"), "q"), grant(user("bob"), "q")] {
            admin.put_grant(put_grant(put)).await.unwrap();
        }
        let requests = [
            request("alice", "GET", DETAIL),
            request("alice", "DELETE", SERVER),
            request("alice", "GET", SERVER),
            request("bob", "GET", DETAIL),
            request("bob", "DELETE", SERVER),
            request("alice", "GET", "/nowhere"),
            request("alice", "GET", "/v1/another/cloudservers/7"),
        ];
        let report = admin.simulate_policy(simulate(Some(&deny), &requests)).await.unwrap().into_inner();
        assert_eq!(
            flips(&report),
            [(0, pb::Decision::Allow, pb::Decision::Deny), (1, pb::Decision::Deny, pb::Decision::Allow)]
        );
        assert_eq!((counts(&report), report.revision), ([1, 1, 5, 0], 5));
        let first = &report.results[0];
        assert_eq!(first.request_id, "alice GET");
        let (before, after) = (first.before.as_ref().unwrap(), first.after.as_ref().unwrap());
        assert_eq!((&*before.statements[0].policy, &*before.action), ("p", "ecs:cloudServers:showServer"));
        assert_eq!(after.reason(), pb::DenyReason::NoMatchingAllow);

        // Nothing has changed; then all of it does.
        assert!(world.may_read("alice", 0).await);
        let all = pb::SimulatePolicyRequest { all_results: true, ..simulate(Some(&deny), &requests) };
        let all = admin.simulate_policy(all).await.unwrap().into_inner();
        assert_eq!(all.results.len(), requests.len());
        let revision = admin.put_policy(put_policy("p", &deny)).await.unwrap().into_inner().revision;
        for (request, result) in requests.into_iter().zip(&all.results) {
            let request = pb::AuthorizeRequest { min_revision: revision, ..request };
            let decided = client(&world.server).await.authorize(request).await.unwrap().into_inner();
            let told = result.after.as_ref().unwrap();
            assert_eq!(
                (decided.decision, decided.reason, &decided.action),
                (told.decision, told.reason, &told.action)
            );
            assert_eq!(decided.statements, told.statements);
        }
    });
}

fn a_new_policy_is_tried_with_its_grants() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_group(put_group("readers", &["bob"])).await.unwrap();
        let requests = ["alice", "bob", "carol"].map(|user| request(user, "GET", DETAIL));
        let allow = document("Allow", "ecs:*:*");
        // Without a grant, it would change nothing.
        let report = admin.simulate_policy(simulate(Some(&allow), &requests)).await.unwrap().into_inner();
        assert_eq!(counts(&report), [0, 0, 3, 0]);
        let elsewhere = pb::Scope { scope: Some(pb::scope::Scope::Project("elsewhere".into())) };
        let with = |grants: Vec<pb::Grant>| pb::SimulatePolicyRequest {
            grants,
            ..simulate(Some(&allow), &requests)
        };
        let grants = vec![
            grant(user("alice"), ""),
            grant(group("readers"), "p"),
            pb::Grant { scope: Some(elsewhere), ..grant(user("carol"), "p") },
        ];
        let report = admin.simulate_policy(with(grants)).await.unwrap().into_inner();
        assert_eq!(report.results.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(counts(&report), [2, 0, 1, 0]);
        // Groups that the token names count too.
        let mut of_token = request("carol", "GET", DETAIL);
        of_token.principal.as_mut().unwrap().group_ids = vec!["readers".into()];
        let grants = vec![grant(group("readers"), "p")];
        let try_it = pb::SimulatePolicyRequest { requests: vec![of_token], ..with(grants) };
        assert_eq!(counts(&admin.simulate_policy(try_it).await.unwrap().into_inner()), [1, 0, 0, 0]);
    });
}

fn a_policy_that_would_be_gone_is_tried() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Deny", "ecs:*:*"))).await.unwrap();
        for put in [grant(user("alice"), "p"), grant(user("alice"), "ECS FullAccess")] {
            admin.put_grant(put_grant(put)).await.unwrap();
        }
        let requests = [request("alice", "GET", DETAIL)];
        let report = admin.simulate_policy(simulate(None, &requests)).await.unwrap().into_inner();
        assert_eq!(flips(&report), [(0, pb::Decision::Deny, pb::Decision::Allow)]);
        assert!(!world.may_read("alice", 3).await);
    });
}

fn a_role_of_the_token_is_tried() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let mut with_role = request("alice", "GET", DETAIL);
        with_role.principal.as_mut().unwrap().role_names = vec!["p".into()];
        let requests = [with_role, request("alice", "GET", DETAIL)];
        let allow = document("Allow", "ecs:*:*");
        let report = admin.simulate_policy(simulate(Some(&allow), &requests)).await.unwrap().into_inner();
        assert_eq!(flips(&report), [(0, pb::Decision::Deny, pb::Decision::Allow)]);
        admin.put_policy(put_policy("p", &allow)).await.unwrap();
        let report = admin.simulate_policy(simulate(None, &requests)).await.unwrap().into_inner();
        assert_eq!(flips(&report), [(0, pb::Decision::Allow, pb::Decision::Deny)]);
    });
}

fn one_bad_request_keeps_no_other_from_its_result() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let mut of_another = request("alice", "GET", DETAIL);
        of_another.principal.as_mut().unwrap().domain_id = "other".into();
        let requests = [
            request("", "GET", DETAIL),
            request("alice", "GET", DETAIL),
            of_another,
            request("alice", "", DETAIL),
        ];
        let allow = document("Allow", "ecs:*:*");
        let try_it = pb::SimulatePolicyRequest {
            grants: vec![grant(user("alice"), "p")],
            ..simulate(Some(&allow), &requests)
        };
        let report = admin.simulate_policy(try_it).await.unwrap().into_inner();
        assert_eq!(counts(&report), [1, 0, 0, 3]);
        assert_eq!(report.results.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let fields: Vec<&str> = report
            .results
            .iter()
            .filter_map(|it| Some(&*it.error.as_ref()?.field_violations[0].field))
            .collect();
        assert_eq!(fields, ["principal.user_id", "principal.domain_id", "method"]);
    });
}

fn a_simulation_is_checked_as_a_change_is() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let bad = pb::SimulatePolicyRequest {
            name: "te_admin".into(),
            grants: vec![grant(user("alice"), "q"), pb::Grant::default()],
            ..simulate(Some("{}"), &[])
        };
        let status = admin.simulate_policy(bad).await.unwrap_err();
        let expected = [
            "name",
            "document",
            "document",
            "grants[0].policy",
            "grants[1].subject",
            "grants[1].scope",
            "requests",
        ];
        assert_eq!(fields(&status), expected);
        let many = vec![request("alice", "GET", DETAIL); 1_001];
        assert_eq!(fields(&admin.simulate_policy(simulate(None, &many)).await.unwrap_err()), ["requests"]);
        // What is not there can't be gone, and nobody can have what is gone.
        let status = admin.simulate_policy(simulate(None, &many[..1])).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "there is no policy `p` in the domain")
        );
        admin.put_policy(put_policy("p", &document("Deny", "ecs:*:*"))).await.unwrap();
        let grants = vec![grant(user("alice"), "p")];
        let gone = pb::SimulatePolicyRequest { grants, ..simulate(None, &many[..1]) };
        assert_eq!(fields(&admin.simulate_policy(gone).await.unwrap_err()), ["grants"]);
        // A thousand, all of one principal, take one read.
        let report = admin.simulate_policy(simulate(None, &many[1..])).await.unwrap().into_inner();
        assert_eq!(counts(&report), [0, 0, 1_000, 0]);
        // A slip is told here too.
        let slip = document("Allow", "ecs:server:start");
        let report = admin.simulate_policy(simulate(Some(&slip), &many[1_000..])).await.unwrap().into_inner();
        assert_eq!(report.findings.len(), 1);
    });
}

fn a_document_with_faults_is_named_and_its_mending_is_tried() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        for name in ["p", "q"] {
            admin.put_policy(put_policy(name, &document("Deny", "ecs:*:*"))).await.unwrap();
        }
        for put in [grant(user("alice"), "p"), grant(user("bob"), "p"), grant(user("bob"), "q")] {
            admin.put_grant(put_grant(put)).await.unwrap();
        }
        let poison = "UPDATE ecs_authz.policy SET document = '{}'";
        world.database.client().await.batch_execute(poison).await.unwrap();
        let requests = ["alice", "bob"].map(|user| request(user, "GET", DETAIL));
        let allow = document("Allow", "ecs:*:*");
        let report = admin.simulate_policy(simulate(Some(&allow), &requests)).await.unwrap().into_inner();
        assert_eq!(counts(&report), [0, 0, 0, 2]);
        let errors: Vec<&pb::AuthorizeError> =
            report.results.iter().map(|it| it.error.as_ref().expect("an error")).collect();
        let told = "policy `p`: $: expected a member `Version` (and 1 more): mend it first";
        assert_eq!((errors[0].code, &*errors[0].message), (Code::FailedPrecondition.into(), told));
        // What alice could do is known all the same; bob has another one that has to be mended.
        assert_eq!(report.results[0].after.as_ref().unwrap().decision(), pb::Decision::Allow);
        assert_eq!(report.results[1].after, None);
        assert!(errors[1].message.starts_with("policy `q`: "), "{errors:?}");
    });
}
