//! Lists: whole over their pages, filtered, of one domain only.

use sha2::Digest as _;

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("pages_tell_all_once_and_in_order", pages_tell_all_once_and_in_order),
    ("grants_are_found_by_subject_and_by_policy", grants_are_found_by_subject_and_by_policy),
    ("groups_are_found_by_their_members", groups_are_found_by_their_members),
    ("a_group_and_its_etag_are_of_one_state", a_group_and_its_etag_are_of_one_state),
    ("domains_are_apart", domains_are_apart),
    (
        "a_page_of_large_changes_ends_before_it_is_too_large",
        a_page_of_large_changes_ends_before_it_is_too_large,
    ),
    ("pages_that_there_are_not_are_refused", pages_that_there_are_not_are_refused),
];

/// Ids whose order is that of their bytes, and of nothing else.
const IDS: [&str; 7] = ["B", "a", "a b", "a\"b", "b", "ä", "𝒫"];

/// All entries of a list, page by page.
async fn walk<T, F: Future<Output = (Vec<T>, String)>>(
    list: impl Fn(Option<pb::PageRequest>) -> F,
) -> Vec<T> {
    let (mut all, mut token) = (Vec::new(), String::new());
    for _ in 0..100 {
        let (entries, next) = list(page(2, &token)).await;
        assert!(entries.len() <= 2);
        all.extend(entries);
        if next.is_empty() {
            return all;
        }
        token = next;
    }
    panic!("a list without an end");
}

fn pages_tell_all_once_and_in_order() {
    on_world(async |world| {
        let admin = &world.admin;
        for id in IDS {
            let put = pb::PutPolicyRequest {
                domain_id: id.into(),
                ..put_policy("p", &document("Allow", "ecs:*:*"))
            };
            admin.clone().put_policy(put).await.unwrap();
            admin.clone().put_policy(put_policy(id, &document("Allow", "ecs:*:*"))).await.unwrap();
            admin.clone().put_group(put_group(id, &IDS)).await.unwrap();
            let project = pb::Scope { scope: Some(pb::scope::Scope::Project(id.into())) };
            let of_project = pb::Grant { scope: Some(project), ..grant(user("alice"), id) };
            admin.clone().put_grant(put_grant(of_project)).await.unwrap();
            admin.clone().put_grant(put_grant(grant(group(id), "ECS FullAccess"))).await.unwrap();
        }
        let domain_id = || "acme".to_owned();
        let domains = walk(async |page| {
            let list =
                admin.clone().list_domains(pb::ListDomainsRequest { page }).await.unwrap().into_inner();
            (list.domains.into_iter().map(|domain| domain.id).collect(), list.next_page_token)
        });
        assert_eq!(domains.await, ["B", "a", "a b", "a\"b", "acme", "b", "ä", "𝒫"]);
        let policies = walk(async |page| {
            let list = pb::ListPoliciesRequest { domain_id: domain_id(), page };
            let list = admin.clone().list_policies(list).await.unwrap().into_inner();
            assert!(list.policies.iter().all(|policy| policy.document.is_empty() && !policy.etag.is_empty()));
            (list.policies.into_iter().map(|policy| policy.name).collect(), list.next_page_token)
        });
        assert_eq!(policies.await, IDS);
        let groups = walk(async |page| {
            let list = pb::ListGroupsRequest { domain_id: domain_id(), user_id: String::new(), page };
            let list = admin.clone().list_groups(list).await.unwrap().into_inner();
            assert!(list.groups.iter().all(|group| group.member_count == 7));
            (list.groups.into_iter().map(|group| group.id).collect(), list.next_page_token)
        });
        assert_eq!(groups.await, IDS);
        let members = walk(async |page| {
            let get = pb::GetGroupRequest { domain_id: domain_id(), id: "a b".into(), page };
            let group = admin.clone().get_group(get).await.unwrap().into_inner();
            (group.members, group.next_page_token)
        });
        assert_eq!(members.await, IDS);
        let grants = walk(async |page| {
            let list = pb::ListGrantsRequest { domain_id: domain_id(), page, ..Default::default() };
            let list = admin.clone().list_grants(list).await.unwrap().into_inner();
            (list.grants, list.next_page_token)
        });
        let grants = grants.await;
        assert_eq!(grants.len(), 14);
        assert!(grants.iter().enumerate().all(|(at, grant)| !grants[..at].contains(grant)));
        let changes = walk(async |page| {
            let list = pb::ListChangesRequest { domain_id: domain_id(), policy: String::new(), page };
            let list = admin.clone().list_changes(list).await.unwrap().into_inner();
            (list.changes.into_iter().map(|change| change.revision).collect(), list.next_page_token)
        });
        let revisions = changes.await;
        assert_eq!(revisions.len(), 7 * (1 + 8 + 2));
        assert!(revisions.is_sorted_by(|later, earlier| later >= earlier));
    });
}

fn grants_are_found_by_subject_and_by_policy() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        let agency = || pb::Subject { subject: Some(pb::subject::Subject::Agency("alice".into())) };
        let scopes = [
            pb::scope::Scope::Project("x".into()),
            pb::scope::Scope::EnterpriseProject("x".into()),
            pb::scope::Scope::AllProjects(pb::AllProjects {}),
            pb::scope::Scope::Domain(pb::WholeDomain {}),
        ];
        let of_alice: Vec<pb::Grant> = scopes
            .into_iter()
            .map(|scope| pb::Grant {
                scope: Some(pb::Scope { scope: Some(scope) }),
                ..grant(user("alice"), "p")
            })
            .chain([grant(user("alice"), "ECS FullAccess")])
            .collect();
        let others = [grant(group("alice"), "p"), grant(agency(), "p"), grant(user("Alice"), "p")];
        for grant in of_alice.iter().chain(&others) {
            admin.put_grant(put_grant(grant.clone())).await.unwrap();
        }
        let mut find = async |subject: Option<pb::Subject>, policy: &str| {
            let list = pb::ListGrantsRequest {
                domain_id: "acme".into(),
                subject,
                policy: policy.into(),
                page: None,
            };
            admin.list_grants(list).await.unwrap().into_inner().grants
        };
        let is_same = |found: &[pb::Grant], expected: &[pb::Grant]| {
            found.len() == expected.len() && expected.iter().all(|grant| found.contains(grant))
        };
        assert!(is_same(&find(Some(user("alice")), "").await, &of_alice));
        assert!(is_same(&find(Some(user("alice")), "p").await, &of_alice[..4]));
        assert!(is_same(&find(Some(group("alice")), "").await, &others[..1]));
        assert!(is_same(&find(Some(agency()), "").await, &others[1..2]));
        assert!(is_same(&find(None, "ECS FullAccess").await, &of_alice[4..]));
        assert!(is_same(&find(None, "p").await, &[&of_alice[..4], &others].concat()));
        assert!(is_same(&find(None, "").await, &[&of_alice[..], &others].concat()));
        assert!(find(Some(user("bob")), "").await.is_empty());
    });
}

fn groups_are_found_by_their_members() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_group(put_group("a", &["alice"])).await.unwrap();
        admin.put_group(put_group("b", &["alice", "bob"])).await.unwrap();
        admin.put_group(put_group("c", &[])).await.unwrap();
        let mut find = async |user_id: &str| {
            let list =
                pb::ListGroupsRequest { domain_id: "acme".into(), user_id: user_id.into(), page: None };
            let groups = admin.list_groups(list).await.unwrap().into_inner().groups;
            groups.into_iter().map(|group| (group.id, group.member_count)).collect::<Vec<_>>()
        };
        let (a, b, c) = (("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 0));
        let all = [a, b, c];
        assert_eq!(find("alice").await, all[..2]);
        assert_eq!(find("bob").await, all[1..2]);
        assert_eq!(find("nobody").await, []);
        assert_eq!(find("").await, all);
    });
}

fn a_group_and_its_etag_are_of_one_state() {
    on_world(async |world| {
        let members: Vec<String> = (0..50).map(|number| format!("user-{number:02}")).collect();
        let put =
            |count: usize| pb::PutGroupRequest { members: members[..count].to_vec(), ..put_group("g", &[]) };
        world.admin.clone().put_group(put(0)).await.unwrap();
        let writer = async {
            for turn in 0..60 {
                world.admin.clone().put_group(put(turn * 7 % 51)).await.unwrap();
            }
        };
        let mut writer = std::pin::pin!(writer);
        let mut reads = 0;
        loop {
            let get = pb::GetGroupRequest { domain_id: "acme".into(), id: "g".into(), page: page(100, "") };
            let mut admin = world.admin.clone();
            let read = async { admin.get_group(get).await.unwrap().into_inner() };
            let group = tokio::select! {
                () = &mut writer => break,
                group = read => group,
            };
            let digest = sha2::Sha256::digest(group.members.join("\n"));
            assert_eq!(group.etag, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            assert_eq!(group.group.unwrap().member_count, group.members.len() as u64);
            reads += 1;
        }
        assert!(reads > 10, "{reads}");
    });
}

fn domains_are_apart() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        admin.put_policy(put_policy("p", &document("Allow", "ecs:*:*"))).await.unwrap();
        admin.put_group(put_group("g", &["alice"])).await.unwrap();
        admin.put_grant(put_grant(grant(user("alice"), "p"))).await.unwrap();
        let other = || "other".to_owned();
        let get = pb::GetPolicyRequest { domain_id: other(), name: "p".into() };
        assert_eq!(admin.get_policy(get).await.unwrap_err().code(), Code::NotFound);
        let get = pb::GetGroupRequest { domain_id: other(), id: "g".into(), page: None };
        assert_eq!(admin.get_group(get).await.unwrap_err().code(), Code::NotFound);
        let list = pb::ListGrantsRequest { domain_id: other(), ..Default::default() };
        assert!(admin.list_grants(list).await.unwrap().into_inner().grants.is_empty());
        let list = pb::ListChangesRequest { domain_id: other(), ..Default::default() };
        assert!(admin.list_changes(list).await.unwrap().into_inner().changes.is_empty());
        let take = pb::DeleteGrantRequest {
            domain_id: other(),
            grant: Some(grant(user("alice"), "p")),
            dry_run: false,
        };
        assert_eq!(admin.delete_grant(take).await.unwrap_err().code(), Code::NotFound);
        assert!(world.may_read("alice", 3).await);
    });
}

fn a_page_of_large_changes_ends_before_it_is_too_large() {
    on_world(async |world| {
        // Each change holds two documents of which a quote takes two bytes.
        let large = format!(
            r#"{{"Version":"1.1","Statement":[{}{{"Effect":"Deny","Action":["ecs:*:*"]}}]}}"#,
            " ".repeat(30_000)
        );
        let client = world.database.client().await;
        let write = "INSERT INTO ecs_authz.policy (domain_id, name, document) VALUES ('acme', 'p', $1)";
        client.execute(write, &[&large]).await.unwrap();
        for turn in 0..120 {
            let document = format!("{large}{}", " ".repeat(turn % 7));
            client.execute("UPDATE ecs_authz.policy SET document = $1", &[&document]).await.unwrap();
        }
        let (mut revisions, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let list = pb::ListChangesRequest {
                domain_id: "acme".into(),
                policy: String::new(),
                page: page(1_000, &token),
            };
            // The client takes 4 MiB, as clients do by default.
            let list = world.admin.clone().list_changes(list).await.unwrap().into_inner();
            revisions.extend(list.changes.iter().map(|change| change.revision));
            pages += 1;
            if list.next_page_token.is_empty() {
                break;
            }
            token = list.next_page_token;
        }
        assert_eq!(revisions, (1..=121).rev().collect::<Vec<_>>());
        assert!(pages > 1, "{pages}");
    });
}

fn pages_that_there_are_not_are_refused() {
    on_world(async |world| {
        let mut admin = world.admin.clone();
        for (size, token, field) in [
            (1_001, "", "page.size"),
            (70_000, "", "page.size"),
            (1, "x", "page.token"),
            (1, "[]", "page.token"),
            (1, r#"["a","b"]"#, "page.token"),
            (1, "[1]", "page.token"),
            (1, r#"["a\u0000"]"#, "page.token"),
        ] {
            let list = pb::ListDomainsRequest { page: page(size, token) };
            assert_eq!(fields(&admin.list_domains(list).await.unwrap_err()), [field], "{size} {token}");
        }
        let list = |token: &str| pb::ListChangesRequest {
            domain_id: "acme".into(),
            policy: String::new(),
            page: page(1, token),
        };
        for token in [r#"["a"]"#, r#"["99999999999999999999"]"#] {
            let status = admin.list_changes(list(token)).await.unwrap_err();
            assert_eq!(fields(&status), ["page.token"], "{token}");
        }
        // The token of another list.
        let list = pb::ListGrantsRequest {
            domain_id: "acme".into(),
            page: page(1, r#"["nobody","a","p","domain",""]"#),
            ..Default::default()
        };
        assert_eq!(fields(&admin.list_grants(list).await.unwrap_err()), ["page.token"]);
    });
}
