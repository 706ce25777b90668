//! Changes: made whole, seen at their revision, refused with a reason, recorded.

use tokio_postgres::error::SqlState;

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("a_policy_is_written_read_and_removed", a_policy_is_written_read_and_removed),
    ("a_change_is_decided_by_at_its_revision", a_change_is_decided_by_at_its_revision),
    ("the_same_again_changes_nothing", the_same_again_changes_nothing),
    ("a_document_is_refused_with_each_of_its_faults", a_document_is_refused_with_each_of_its_faults),
    ("what_may_be_a_slip_is_told", what_may_be_a_slip_is_told),
    (
        "a_change_of_somebody_else_is_not_overwritten_unseen",
        a_change_of_somebody_else_is_not_overwritten_unseen,
    ),
    ("a_dry_run_checks_all_and_changes_nothing", a_dry_run_checks_all_and_changes_nothing),
    ("a_policy_that_is_granted_is_not_removed", a_policy_that_is_granted_is_not_removed),
    ("a_grant_needs_a_policy", a_grant_needs_a_policy),
    ("system_policies_are_granted_and_not_changed", system_policies_are_granted_and_not_changed),
    ("groups_have_the_members_that_they_are_given", groups_have_the_members_that_they_are_given),
    ("a_large_group_is_written_in_time", a_large_group_is_written_in_time),
    ("every_change_stands_in_the_history_with_its_actor", every_change_stands_in_the_history_with_its_actor),
    ("malformed_fields_are_named", malformed_fields_are_named),
    ("writers_of_all_kinds_take_turns", writers_of_all_kinds_take_turns),
    ("a_domain_that_somebody_holds_is_an_error_in_time", a_domain_that_somebody_holds_is_an_error_in_time),
    ("edits_that_nobody_waits_for_keep_nobody_waiting", edits_that_nobody_waits_for_keep_nobody_waiting),
    ("what_the_tables_refuse_is_told", what_the_tables_refuse_is_told),
    (
        "what_somebody_named_otherwise_can_be_found_and_removed",
        what_somebody_named_otherwise_can_be_found_and_removed,
    ),
    ("names_are_as_long_as_those_of_files", names_are_as_long_as_those_of_files),
];

fn a_policy_is_written_read_and_removed() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let text = document("Allow", "ecs:servers:start");
        let written = admin.put_policy(put_policy("starter", &text)).await.unwrap().into_inner();
        assert_eq!((written.change(), written.revision), (pb::ChangeKind::Created, 1));
        let get = pb::GetPolicyRequest { domain_id: "acme".into(), name: "starter".into() };
        let policy = admin.get_policy(get.clone()).await.unwrap().into_inner().policy.unwrap();
        assert_eq!((&*policy.name, &policy.document, &policy.etag), ("starter", &text, &written.etag));
        assert!(!policy.system && policy.create_time.is_some() && policy.create_time == policy.update_time);

        let other = format!(" {}", document("Deny", "ecs:servers:start"));
        let changed = admin.put_policy(put_policy("starter", &other)).await.unwrap().into_inner();
        assert_eq!((changed.change(), changed.revision), (pb::ChangeKind::Updated, 2));
        assert_ne!(changed.etag, written.etag);
        let policy = admin.get_policy(get.clone()).await.unwrap().into_inner().policy.unwrap();
        assert_eq!(policy.document, other);
        assert!(policy.create_time.unwrap().seconds <= policy.update_time.unwrap().seconds);

        let delete = pb::DeletePolicyRequest {
            domain_id: "acme".into(),
            name: "starter".into(),
            etag: Some(changed.etag),
            dry_run: false,
        };
        assert_eq!(admin.delete_policy(delete.clone()).await.unwrap().into_inner().revision, 3);
        assert_eq!(admin.get_policy(get).await.unwrap_err().code(), Code::NotFound);
        let again = pb::DeletePolicyRequest { etag: None, ..delete };
        assert_eq!(admin.delete_policy(again).await.unwrap_err().code(), Code::NotFound);
    });
}

fn a_change_is_decided_by_at_its_revision() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let put = put_policy("p", &document("Allow", "ecs:*:*"));
        admin.put_policy(put).await.unwrap();
        assert!(!world.may_read("alice", 0).await);
        let put = put_grant(grant(user("alice"), "p"));
        let granted = admin.put_grant(put).await.unwrap().into_inner();
        assert!(world.may_read("alice", granted.revision).await);
        let put = put_policy("p", &document("Deny", "ecs:*:*"));
        let denied = admin.put_policy(put).await.unwrap().into_inner();
        assert!(!world.may_read("alice", denied.revision).await);
        let put = put_policy("p", &document("Allow", "ecs:*:*"));
        let allowed = admin.put_policy(put).await.unwrap().into_inner();
        assert!(world.may_read("alice", allowed.revision).await);
        let delete = pb::DeleteGrantRequest {
            domain_id: "acme".into(),
            grant: Some(grant(user("alice"), "p")),
            dry_run: false,
        };
        let taken = admin.delete_grant(delete.clone()).await.unwrap().into_inner();
        assert!(!world.may_read("alice", taken.revision).await);
        assert_eq!(admin.delete_grant(delete).await.unwrap_err().code(), Code::NotFound);
        // By a group, which the user joins and leaves.
        admin.put_grant(put_grant(grant(group("readers"), "p"))).await.unwrap();
        let joined = admin.put_group(put_group("readers", &["alice"])).await.unwrap().into_inner();
        assert!(world.may_read("alice", joined.revision).await);
        let left = admin.put_group(put_group("readers", &[])).await.unwrap().into_inner();
        assert!(!world.may_read("alice", left.revision).await);
    });
}

fn the_same_again_changes_nothing() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let policy = put_policy("p", &document("Allow", "ecs:*:*"));
        let (of_user, members) = (put_grant(grant(user("alice"), "p")), put_group("g", &["alice", "bob"]));
        let first = admin.put_policy(policy.clone()).await.unwrap().into_inner();
        admin.put_grant(of_user.clone()).await.unwrap();
        let written = admin.put_group(members).await.unwrap().into_inner();
        let again = admin.put_policy(policy).await.unwrap().into_inner();
        assert_eq!((again.change(), &again.etag), (pb::ChangeKind::Unchanged, &first.etag));
        let again = admin.put_grant(of_user).await.unwrap().into_inner();
        assert_eq!(again.change(), pb::ChangeKind::Unchanged);
        // In another order, and one twice.
        let members = put_group("g", &["bob", "alice", "bob"]);
        let again = admin.put_group(members).await.unwrap().into_inner();
        assert_eq!((again.change(), &again.etag), (pb::ChangeKind::Unchanged, &written.etag));
        assert_eq!(again.revision, written.revision);
    });
}

fn a_document_is_refused_with_each_of_its_faults() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let text = r#"{"Version":"1.1","Statement":[{"Effect":"allow","Action":["ecs"]}],"Depends":[]}"#;
        let status = admin.put_policy(put_policy("p", text)).await.unwrap_err();
        let expected = [
            ("document", "$.Statement[0].Effect: expected `Allow` or `Deny`, found `allow`"),
            ("document", "$.Statement[0].Action[0]: "),
            ("document", "$.Depends: "),
        ];
        let told = violations(&status);
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((field, description), (expected_field, start)) in told.iter().zip(expected) {
            assert!(field == expected_field && description.starts_with(start), "{field}: {description}");
        }
        for text in ["", "{}", "not json", "[1]", &format!("{}{}", " ".repeat(32_769), "{}")] {
            let status = admin.put_policy(put_policy("p", text)).await.unwrap_err();
            assert!(fields(&status).iter().all(|field| field == "document"), "{status:?}");
        }
        let empty = pb::ListPoliciesRequest { domain_id: "acme".into(), page: None };
        assert!(admin.list_policies(empty).await.unwrap().into_inner().policies.is_empty());
    });
}

fn what_may_be_a_slip_is_told() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let put = put_policy("p", &document("Allow", "ecs:server:start"));
        let written = admin.put_policy(put).await.unwrap().into_inner();
        assert_eq!(written.change(), pb::ChangeKind::Created);
        let finding = &written.findings[0];
        assert_eq!(finding.path, "$.Statement[0].Action[0]");
        assert_eq!(finding.message, "`ecs:server:start` covers no action of the table");
        // A role of the domain is known, another one is not.
        let role = |name: &str| {
            format!(
                r#"{{"Version":"1.0","Statement":[{{"Effect":"Allow","Action":["ecs:*:*"]}}],
                    "Depends":[{{"catalog":"BASE","display_name":"{name}"}}]}}"#
            )
        };
        let known = admin.put_policy(put_policy("q", &role("p"))).await.unwrap().into_inner();
        assert_eq!(known.findings, []);
        let unknown = admin.put_policy(put_policy("q", &role("gone"))).await.unwrap().into_inner();
        assert_eq!(unknown.findings[0].path, "$.Depends[0].display_name");
    });
}

fn a_change_of_somebody_else_is_not_overwritten_unseen() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let with = |document: &str, etag: Option<&str>| pb::PutPolicyRequest {
            etag: etag.map(ToOwned::to_owned),
            ..put_policy("p", document)
        };
        let (allow, deny) = (document("Allow", "ecs:*:*"), document("Deny", "ecs:*:*"));
        // Expected not to be there, and it is not.
        let first = admin.put_policy(with(&allow, Some(""))).await.unwrap().into_inner();
        let status = admin.put_policy(with(&deny, Some(""))).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(
            status.message(),
            format!("the policy `p` is there with the etag `{}`: read it again", first.etag)
        );
        let second = admin.put_policy(with(&deny, Some(&first.etag))).await.unwrap().into_inner();
        for stale in [&first.etag, "0", "no etag"] {
            let status = admin.put_policy(with(&allow, Some(stale))).await.unwrap_err();
            assert_eq!(status.code(), Code::Aborted, "{stale}");
        }
        let delete = |etag: &str| pb::DeletePolicyRequest {
            domain_id: "acme".into(),
            name: "p".into(),
            etag: Some(etag.into()),
            dry_run: false,
        };
        assert_eq!(admin.delete_policy(delete(&first.etag)).await.unwrap_err().code(), Code::Aborted);
        admin.delete_policy(delete(&second.etag)).await.unwrap();
        // One that is made again is another one.
        let third = admin.put_policy(with(&deny, Some(""))).await.unwrap().into_inner();
        assert_ne!(third.etag, second.etag);

        let group = admin.put_group(put_group("g", &["alice"])).await.unwrap().into_inner();
        let with = |members: &[&str], etag: &str| pb::PutGroupRequest {
            etag: Some(etag.into()),
            ..put_group("g", members)
        };
        admin.put_group(with(&["alice", "bob"], &group.etag)).await.unwrap();
        let status = admin.put_group(with(&["carol"], &group.etag)).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(admin.put_group(with(&[], "")).await.unwrap_err().code(), Code::Aborted);
    });
}

fn a_dry_run_checks_all_and_changes_nothing() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let dry = |put: pb::PutPolicyRequest| pb::PutPolicyRequest { dry_run: true, ..put };
        let allow = put_policy("p", &document("Allow", "ecs:*:*"));
        let would = admin.put_policy(dry(allow.clone())).await.unwrap().into_inner();
        assert_eq!((would.change(), &*would.etag, would.revision), (pb::ChangeKind::Created, "", 1));
        let get = pb::GetPolicyRequest { domain_id: "acme".into(), name: "p".into() };
        assert_eq!(admin.get_policy(get.clone()).await.unwrap_err().code(), Code::NotFound);
        let no_domains = admin.list_domains(pb::ListDomainsRequest { page: None }).await.unwrap();
        assert_eq!(no_domains.into_inner().domains, []);

        let written = admin.put_policy(allow).await.unwrap().into_inner();
        admin.put_grant(put_grant(grant(user("alice"), "p"))).await.unwrap();
        let deny = put_policy("p", &document("Deny", "ecs:*:*"));
        let would = admin.put_policy(dry(deny)).await.unwrap().into_inner();
        assert_eq!((would.change(), would.revision), (pb::ChangeKind::Updated, 3));
        let policy = admin.get_policy(get).await.unwrap().into_inner().policy.unwrap();
        assert_eq!(policy.etag, written.etag);
        // All checks of the real thing.
        let status = admin.put_policy(dry(put_policy("p", "{}"))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let delete =
            pb::DeletePolicyRequest { domain_id: "acme".into(), name: "p".into(), etag: None, dry_run: true };
        assert_eq!(admin.delete_policy(delete).await.unwrap_err().code(), Code::FailedPrecondition);
        let take = pb::DeleteGrantRequest {
            domain_id: "acme".into(),
            grant: Some(grant(user("alice"), "p")),
            dry_run: true,
        };
        assert_eq!(admin.delete_grant(take).await.unwrap().into_inner().revision, 3);
        assert!(world.may_read("alice", 2).await);
    });
}

fn a_policy_that_is_granted_is_not_removed() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        admin.put_grant(put_grant(grant(group("g"), "p"))).await.unwrap();
        let delete = pb::DeletePolicyRequest {
            domain_id: "acme".into(),
            name: "p".into(),
            etag: None,
            dry_run: false,
        };
        let status = admin.delete_policy(delete).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let expected = "the policy `p` is granted, such as to the group `g`: remove its grants first";
        assert_eq!(status.message(), expected);
    });
}

fn a_grant_needs_a_policy() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        for unknown in ["q", "P", "ecs fullaccess"] {
            let status = admin.put_grant(put_grant(grant(user("alice"), unknown))).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            let expected = format!("the policy `{unknown}` is neither one of the domain nor a system policy");
            assert_eq!(status.message(), expected);
        }
        // Nor does one of another domain count.
        let other = pb::PutGrantRequest { domain_id: "other".into(), ..put_grant(grant(user("alice"), "p")) };
        assert_eq!(admin.put_grant(other).await.unwrap_err().code(), Code::FailedPrecondition);
    });
}

fn system_policies_are_granted_and_not_changed() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let granted = admin.put_grant(put_grant(grant(user("alice"), "ECS ReadOnlyAccess"))).await.unwrap();
        assert!(world.may_read("alice", granted.into_inner().revision).await);
        for name in ["ECS ReadOnlyAccess", "ecs readonlyaccess", "te_admin"] {
            let put = put_policy(name, &document("Allow", "ecs:*:*"));
            assert_eq!(fields(&admin.put_policy(put).await.unwrap_err()), ["name"], "{name}");
            let delete = pb::DeletePolicyRequest {
                domain_id: "acme".into(),
                name: name.into(),
                etag: None,
                dry_run: false,
            };
            assert_eq!(fields(&admin.delete_policy(delete).await.unwrap_err()), ["name"], "{name}");
        }
        let get = pb::GetPolicyRequest { domain_id: "acme".into(), name: "ECS ReadOnlyAccess".into() };
        let policy = admin.get_policy(get).await.unwrap().into_inner().policy.unwrap();
        assert!(policy.system && policy.etag.is_empty() && policy.document.contains("ecs:*:get*"));
    });
}

fn groups_have_the_members_that_they_are_given() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let get = |id: &str| pb::GetGroupRequest { domain_id: "acme".into(), id: id.into(), page: None };
        let add = |members: &[&str]| pb::AddGroupMembersRequest {
            domain_id: "acme".into(),
            id: "g".into(),
            members: members.iter().map(|id| (*id).to_owned()).collect(),
            dry_run: false,
        };
        assert_eq!(admin.add_group_members(add(&["alice"])).await.unwrap_err().code(), Code::NotFound);
        admin.put_group(put_group("g", &["bob", "alice"])).await.unwrap();
        let added = admin.add_group_members(add(&["carol", "bob"])).await.unwrap().into_inner();
        assert_eq!(added.change(), pb::ChangeKind::Updated);
        let group = admin.get_group(get("g")).await.unwrap().into_inner();
        assert_eq!(
            (&group.members[..], &group.etag),
            (&["alice", "bob", "carol"].map(String::from)[..], &added.etag)
        );
        assert_eq!(group.group.unwrap().member_count, 3);
        let again = admin.add_group_members(add(&["carol"])).await.unwrap().into_inner();
        assert_eq!(again.change(), pb::ChangeKind::Unchanged);
        let pb::AddGroupMembersRequest { domain_id, id, members, dry_run } = add(&["alice", "nobody"]);
        let remove = pb::RemoveGroupMembersRequest { domain_id, id, members, dry_run };
        let removed = admin.remove_group_members(remove).await.unwrap().into_inner();
        assert_eq!(removed.change(), pb::ChangeKind::Updated);
        assert_eq!(admin.get_group(get("g")).await.unwrap().into_inner().members, ["bob", "carol"]);
        let delete = pb::DeleteGroupRequest {
            domain_id: "acme".into(),
            id: "g".into(),
            etag: Some(removed.etag),
            dry_run: false,
        };
        admin.delete_group(delete).await.unwrap();
        assert_eq!(admin.get_group(get("g")).await.unwrap_err().code(), Code::NotFound);
    });
}

fn a_large_group_is_written_in_time() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let members: Vec<String> = (0..10_000).map(|number| format!("user-{number:05}")).collect();
        let put = pb::PutGroupRequest { members: members.clone(), ..put_group("g", &[]) };
        let written = tokio::time::timeout(PATIENCE, admin.put_group(put)).await.expect("an answer in time");
        assert_eq!(written.unwrap().into_inner().revision, 1);
        let get = pb::GetGroupRequest { domain_id: "acme".into(), id: "g".into(), page: page(1_000, "") };
        let group = admin.get_group(get).await.unwrap().into_inner();
        assert_eq!((group.group.unwrap().member_count, group.members.len()), (10_000, 1_000));
        let too_many = pb::PutGroupRequest {
            members: members.into_iter().chain(["more".into()]).collect(),
            ..put_group("g", &[])
        };
        assert_eq!(fields(&admin.put_group(too_many).await.unwrap_err()), ["members"]);
    });
}

fn every_change_stands_in_the_history_with_its_actor() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        admin.put_group(put_group("g", &["alice", "bob"])).await.unwrap();
        admin.put_grant(put_grant(grant(group("g"), "p"))).await.unwrap();
        admin.put_policy(put_policy("p", &document("Deny", "ecs:*:*"))).await.unwrap();
        let by_hand = "DELETE FROM ecs_authz.group_member WHERE user_id = 'bob'";
        world.database.client().await.batch_execute(by_hand).await.unwrap();
        let list = pb::ListChangesRequest { domain_id: "acme".into(), policy: String::new(), page: None };
        let changes = admin.list_changes(list.clone()).await.unwrap().into_inner().changes;
        let told: Vec<(u64, &str, &str, bool, bool)> = changes
            .iter()
            .map(|it| (it.revision, &*it.actor, &*it.what, it.before.is_empty(), it.after.is_empty()))
            .collect();
        let expected = [
            (5, "sql:authz", "group_member", false, true),
            (4, "token:tests", "policy", false, false),
            (3, "token:tests", "policy_grant", true, false),
            (2, "token:tests", "group_member", true, false),
            (2, "token:tests", "group_member", true, false),
            (2, "token:tests", "user_group", true, false),
            (1, "token:tests", "policy", true, false),
        ];
        assert_eq!(told, expected);
        assert!(changes.iter().all(|change| change.time.is_some()));
        let before: serde_json::Value = serde_json::from_str(&changes[1].before).unwrap();
        assert_eq!(before["document"], document("Allow", "ecs:*:*"));
        // Of one policy alone.
        let list = pb::ListChangesRequest { policy: "p".into(), ..list };
        let changes = admin.list_changes(list).await.unwrap().into_inner().changes;
        assert_eq!(changes.iter().map(|it| it.revision).collect::<Vec<_>>(), [4, 1]);
    });
}

fn malformed_fields_are_named() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        let put = pb::PutPolicyRequest { domain_id: " ".into(), ..put_policy("a/b", "{}") };
        let told = fields(&admin.put_policy(put).await.unwrap_err());
        assert_eq!(told, ["domain_id", "name", "document", "document"]);
        let put = pb::PutGrantRequest { grant: None, ..put_grant(pb::Grant::default()) };
        let told = fields(&admin.put_grant(put).await.unwrap_err());
        assert_eq!(told, ["grant.policy", "grant.subject", "grant.scope"]);
        let scope = pb::Scope { scope: Some(pb::scope::Scope::Project(String::new())) };
        let odd = pb::Grant { scope: Some(scope), ..grant(user("a\tb"), "p") };
        let told = fields(&admin.put_grant(put_grant(odd)).await.unwrap_err());
        assert_eq!(told, ["grant.subject.user", "grant.scope.project"]);
        let told = fields(&admin.put_group(put_group("", &["", "a"])).await.unwrap_err());
        assert_eq!(told, ["id", "members[0]"]);
        let add =
            pb::AddGroupMembersRequest { domain_id: "acme".into(), id: "g".into(), ..Default::default() };
        assert_eq!(fields(&admin.add_group_members(add).await.unwrap_err()), ["members"]);
        // A NUL, which the database knows no text with.
        let nul = put_policy("p\0", &document("Allow", "ecs:*:*"));
        assert_eq!(fields(&admin.put_policy(nul).await.unwrap_err()), ["name"]);
    });
}

fn writers_of_all_kinds_take_turns() {
    const TURNS: u64 = 6;
    on_world(async |world| {
        world.admin.clone().put_group(put_group("g", &[])).await.unwrap();
        world.admin.clone().put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        let mut writers = Vec::new();
        for writer in 0..6 {
            let world = world.clone();
            writers.push(tokio::spawn(async move {
                for turn in 0..TURNS {
                    let member = format!("user-{writer}-{turn}");
                    match writer {
                        // Locks rows in another order than the service.
                        0 => {
                            let write = format!(
                                "UPDATE ecs_authz.policy SET document = document || ' ';
                                 INSERT INTO ecs_authz.group_member VALUES ('acme', 'g', '{member}')"
                            );
                            let client = world.database.client().await;
                            // The database ends one of two that wait for each other; the service tries again by itself.
                            while let Err(error) = client.batch_execute(&write).await {
                                assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{error}");
                            }
                        }
                        _ => {
                            let mut admin = world.admin.clone();
                            let add = pb::AddGroupMembersRequest {
                                domain_id: "acme".into(),
                                id: "g".into(),
                                members: vec![member],
                                dry_run: false,
                            };
                            admin.add_group_members(add).await.unwrap();
                            let deny = document("Deny", &format!("ecs:servers:a{writer}x{turn}"));
                            admin.put_policy(put_policy("p", &deny)).await.unwrap();
                        }
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let get = pb::GetGroupRequest { domain_id: "acme".into(), id: "g".into(), page: None };
        let group = world.admin.clone().get_group(get).await.unwrap().into_inner();
        assert_eq!(group.group.unwrap().member_count, 6 * TURNS);
        // Each transaction was one revision.
        let domains = world.admin.clone().list_domains(pb::ListDomainsRequest { page: None }).await.unwrap();
        assert_eq!(domains.into_inner().domains[0].revision, 2 + TURNS + 5 * TURNS * 2);
    });
}

fn a_domain_that_somebody_holds_is_an_error_in_time() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        let mut client = world.database.client().await;
        let hold = client.transaction().await.unwrap();
        hold.batch_execute("SELECT 1 FROM ecs_authz.domain FOR UPDATE").await.unwrap();
        let mut put = Request::new(put_policy("p", &document("Deny", "ecs:*:*")));
        put.set_timeout(Duration::from_secs(1));
        let status = tokio::time::timeout(PATIENCE, admin.put_policy(put)).await.unwrap().unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status:?}");
        // Another domain is not concerned, nor is reading.
        let elsewhere = pb::PutPolicyRequest {
            domain_id: "other".into(),
            ..put_policy("p", &document("Allow", "ecs:*:*"))
        };
        admin.put_policy(elsewhere).await.unwrap();
        hold.rollback().await.unwrap();
        let get = pb::GetPolicyRequest { domain_id: "acme".into(), name: "p".into() };
        let policy = admin.get_policy(get).await.unwrap().into_inner().policy.unwrap();
        assert_eq!(policy.document, document("Allow", "ecs:*:*"), "what ended late was undone");
        admin.put_policy(put_policy("p", &document("Deny", "ecs:*:*"))).await.unwrap();
    });
}

fn edits_that_nobody_waits_for_keep_nobody_waiting() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        let mut client = world.database.client().await;
        let hold = client.transaction().await.unwrap();
        hold.batch_execute("SELECT 1 FROM ecs_authz.policy FOR UPDATE").await.unwrap();
        // More than there are connections.
        for _ in 0..12 {
            let mut put = Request::new(put_policy("p", &document("Deny", "ecs:*:*")));
            put.set_timeout(Duration::from_millis(200));
            assert!(admin.put_policy(put).await.is_err());
        }
        let list = admin.list_domains(pb::ListDomainsRequest::default());
        let listed = tokio::time::timeout(PATIENCE, list).await.expect("an answer in time");
        assert_eq!(listed.unwrap().into_inner().domains.len(), 1);
        hold.rollback().await.unwrap();
    });
}

fn names_are_as_long_as_those_of_files() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        // 60 characters of four bytes, and a document of 32 KiB, most of it blanks.
        let name = "𝒫".repeat(60);
        let text = document("Allow", "ecs:*:*");
        let text = format!("{text}{}", " ".repeat(32_768 - text.len()));
        admin.put_policy(put_policy(&name, &text)).await.unwrap();
        let granted = admin.put_grant(put_grant(grant(user("alice"), &name))).await.unwrap();
        assert!(world.may_read("alice", granted.into_inner().revision).await);
        for longer in ["𝒫".repeat(61), "p".repeat(65)] {
            let longer = put_policy(&longer, &text);
            assert_eq!(fields(&admin.put_policy(longer).await.unwrap_err()), ["name"]);
        }
    });
}

fn what_the_tables_refuse_is_told() {
    on_world(async |world| {
        let refuse = "
            CREATE FUNCTION no_grants() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not on a Saturday'; END $$;
            CREATE TRIGGER no_grants BEFORE INSERT ON ecs_authz.policy_grant FOR EACH ROW EXECUTE FUNCTION no_grants()";
        world.database.client().await.batch_execute(refuse).await.unwrap();
        let put = put_grant(grant(user("alice"), "ECS FullAccess"));
        let status = world.admin.clone().put_grant(put).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "the database refuses it: not on a Saturday");
    });
}

fn what_somebody_named_otherwise_can_be_found_and_removed() {
    on_world(async |world| {
        // A zero-width space, which could not be made here.
        let odd = "a\u{200b}";
        let write = format!(
            "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', '{odd}', '{{}}');
             INSERT INTO ecs_authz.user_group (domain_id, id) VALUES ('acme', '{odd}');
             INSERT INTO ecs_authz.policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind)
               VALUES ('acme', 'user', '{odd}', '{odd}', 'all_projects')"
        );
        world.database.client().await.batch_execute(&write).await.unwrap();
        let mut admin = world.admin.clone();
        let domain_id = || "acme".to_owned();
        assert_eq!(fields(&admin.put_group(put_group(odd, &[])).await.unwrap_err()), ["id"]);
        let get = pb::GetPolicyRequest { domain_id: domain_id(), name: odd.into() };
        admin.get_policy(get).await.unwrap();
        let take = pb::DeleteGrantRequest {
            domain_id: domain_id(),
            grant: Some(grant(user(odd), odd)),
            dry_run: false,
        };
        admin.delete_grant(take).await.unwrap();
        let delete =
            pb::DeletePolicyRequest { domain_id: domain_id(), name: odd.into(), etag: None, dry_run: false };
        admin.delete_policy(delete).await.unwrap();
        let delete =
            pb::DeleteGroupRequest { domain_id: domain_id(), id: odd.into(), etag: None, dry_run: false };
        admin.delete_group(delete).await.unwrap();
    });
}
