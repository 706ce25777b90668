//! What is counted of a database.

use ecs_authz::grpc::pb;
use ecs_authz::server::{PolicySource, RunningServer, ServerConfig};

use super::{Scrape, action};
use crate::conformance::postgres::Database;
use crate::edge::until;
use crate::support::{block_on, client, config};

const NUMBERS: [&str; 2] = ["ecs_authz_domains", "ecs_authz_policy_changes_total"];

pub(crate) fn a_database_is_watched_over() {
    let database = Database::create();
    block_on(async {
        let owner = database.client().await;
        let put = async |domain: &str| {
            let columns = "ecs_authz.policy (domain_id, name, document)";
            let insert = format!("INSERT INTO {columns} VALUES ('{domain}', 'p', '{{}}')");
            owner.batch_execute(&insert).await.unwrap();
        };
        put("acme").await;
        let config =
            ServerConfig { policies: PolicySource::Postgres(database.settings()), ..config("".as_ref()) };
        let server = RunningServer::start(config).await.expect("a server");
        let seen = Scrape::of(&server).await;
        assert_eq!(seen.get_all(NUMBERS), [1.0, 1.0]);
        assert_eq!(seen.of_metric("ecs_authz_store_health"), [(r#"{state="current"}"#, 1.0)].into());
        assert!(seen.of_metric("ecs_authz_directory_reloads_total").is_empty());

        put("other").await;
        let update = "UPDATE ecs_authz.policy SET document = '{ }' WHERE domain_id = 'acme'";
        owner.batch_execute(update).await.unwrap();
        let request = pb::AuthorizeRequest { min_revision: 2, ..action("os-start") };
        client(&server).await.authorize(request).await.expect("the second revision");
        until("all is learnt", async || Scrape::of(&server).await.get_all(NUMBERS) == [2.0, 3.0]).await;

        let age = async || Scrape::of(&server).await.get("ecs_authz_store_age_seconds");
        until("it is asked again", async || age().await > age().await).await;
    });
}
