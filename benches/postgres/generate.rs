//! Domains with many policies, groups and users. The database makes the rows itself.
//!
//! In each domain there is a group for every four policies. It has two of them everywhere and one in one project. Of
//! twenty users in a row
//!
//! - thirteen are in one group, and four in two groups;
//! - one is in a group and has the fourth policy of some group besides;
//! - one has a system policy alone, and one has nothing.
//!
//! So there is a policy set for every eight principals: most share theirs with dozens, some with nobody. Every fifth
//! policy has a condition or a resource.

use ecs_authz::request::{Identity, Subject};

use super::database::Database;
use super::{Outcome, Sizes};

/// Projects of each domain; a user acts in one of them.
const PROJECTS: usize = 10;

/// The principal of a number.
pub(super) fn identity(number: usize, sizes: Sizes) -> Identity {
    let (domain, user) = (number % sizes.domains, number / sizes.domains);
    Identity {
        domain_id: id('d', domain),
        subject: Subject::User(id('u', user)),
        project_id: Some(id('p', user % PROJECTS)),
        group_ids: Vec::new(),
        role_names: Vec::new(),
    }
}

/// The numbers of a tenth of the principals, who have all policies among them.
pub(super) fn with_all_policies(sizes: Sizes) -> Vec<usize> {
    let is_one = |number: &usize| matches!(number / sizes.domains % 20, 16 | 17);
    (0..sizes.principals).filter(is_one).collect()
}

/// As long as the provider's ids.
fn id(kind: char, number: usize) -> String {
    format!("{kind}{number:031x}")
}

const ROWS: &str = "
    SET LOCAL search_path = ecs_authz;
    SET LOCAL synchronous_commit = off;
    -- Without the triggers and the checks of references, which cost a multiple of the rows: so no row is recorded as a
    -- change, and what the triggers would do, revisions and etags, is done here. Only a superuser may.
    SET LOCAL session_replication_role = replica;
    CREATE FUNCTION pg_temp.id(kind text, number bigint) RETURNS text LANGUAGE sql IMMUTABLE
      AS $$ SELECT kind || lpad(to_hex(number), 31, '0') $$;

    INSERT INTO domain (id, revision) SELECT pg_temp.id('d', d), 1 FROM generate_series(0, :domains - 1) d;

    INSERT INTO policy (domain_id, name, document, etag)
    SELECT pg_temp.id('d', d), 'policy-' || p, CASE
      WHEN p % 10 = 3 THEN '{\"Version\":\"1.1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"ecs:servers:*\"],'
        || '\"Condition\":{\"StringEquals\":{\"g:DomainName\":[\"domain-' || p || '\"]}}}]}'
      WHEN p % 10 = 7 THEN '{\"Version\":\"1.1\",\"Statement\":[{\"Effect\":\"Deny\",\"Action\":[\"ecs:servers:delete\"],'
        || '\"Resource\":[\"ecs:*:*:instance:' || pg_temp.id('i', p) || '\"]}]}'
      WHEN p % 10 = 9 THEN '{\"Version\":\"1.1\",\"Statement\":[{\"Effect\":\"Deny\",\"Action\":[\"ecs:*:delete*\"]}]}'
      ELSE '{\"Version\":\"1.1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"ecs:*:get*\",\"ecs:*:list*\",'
        || '\"ecs:servers:' || (ARRAY['start','stop','reboot','resize','create'])[1 + p % 5] || '\"]}]}'
      END, new_stamp()
    FROM generate_series(0, :domains - 1) d, generate_series(0, :policies - 1) p;

    INSERT INTO user_group (domain_id, id)
    SELECT pg_temp.id('d', d), pg_temp.id('g', g) FROM generate_series(0, :domains - 1) d, generate_series(0, :groups - 1) g;

    -- The first group, and for those who have two, the next one.
    INSERT INTO group_member (domain_id, group_id, user_id)
    SELECT pg_temp.id('d', d), pg_temp.id('g', (u / 20 * 31 + u % 20 * 389 + n) % :groups), pg_temp.id('u', u)
    FROM generate_series(0, :domains - 1) d, generate_series(0, :users - 1) u, generate_series(0, 1) n
    WHERE u % 20 <= 17 AND (n = 0 OR u % 20 BETWEEN 13 AND 16)
    ON CONFLICT DO NOTHING;

    INSERT INTO policy_grant (domain_id, subject_kind, subject_id, own_policy, scope_kind, scope_id)
    SELECT pg_temp.id('d', d), 'group', pg_temp.id('g', g), 'policy-' || (g * 4 + n) % :policies,
      (CASE n WHEN 2 THEN 'project' ELSE 'all_projects' END)::scope_kind,
      CASE n WHEN 2 THEN pg_temp.id('p', g % :projects) END
    FROM generate_series(0, :domains - 1) d, generate_series(0, :groups - 1) g, generate_series(0, 2) n
    ON CONFLICT DO NOTHING;

    INSERT INTO policy_grant (domain_id, subject_kind, subject_id, own_policy, system_policy, scope_kind)
    SELECT pg_temp.id('d', d), 'user', pg_temp.id('u', u), CASE u % 20 WHEN 17 THEN 'policy-' || (u / 20 * 4 + 3) % :policies END,
      CASE u % 20 WHEN 18 THEN 'ECS ReadOnlyAccess' END, 'all_projects'
    FROM generate_series(0, :domains - 1) d, generate_series(0, :users - 1) u
    WHERE u % 20 IN (17, 18);";

/// Writes all rows in one transaction, and returns how many.
pub(super) async fn generate(database: &Database, sizes: Sizes) -> Outcome<i64> {
    let policies = sizes.policies.div_ceil(sizes.domains);
    let places = [
        (":domains", sizes.domains),
        (":policies", policies),
        (":groups", policies.div_ceil(4)),
        (":users", sizes.principals.div_ceil(sizes.domains)),
        (":projects", PROJECTS),
    ];
    let fill = |text: String, (place, number): (&str, usize)| text.replace(place, &number.to_string());
    let rows = places.into_iter().fold(ROWS.to_owned(), fill);
    let client = database.client().await?;
    client.batch_execute(&format!("BEGIN; {rows} COMMIT; ANALYZE;")).await?;
    let count = "SELECT (SELECT count(*) FROM ecs_authz.policy) + (SELECT count(*) FROM ecs_authz.user_group)
        + (SELECT count(*) FROM ecs_authz.group_member) + (SELECT count(*) FROM ecs_authz.policy_grant)";
    Ok(client.query_one(count, &[]).await?.get(0))
}
