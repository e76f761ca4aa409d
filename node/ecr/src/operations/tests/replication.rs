//! What a registry replicates where.

use entrepot_service::{Destination, RuleInfo, RuleOptions};
use serde_json::{Value, json};

use super::world::{ACCOUNT, World};

/// An account that is not the caller's.
const OTHER: &str = "999999999999";

fn destination(region: &str, account: &str) -> Value {
    json!({"region": region, "registryId": account})
}

fn filter(prefix: &str) -> Value {
    json!({"filter": prefix, "filterType": "PREFIX_MATCH"})
}

fn put(rules: &Value) -> Value {
    json!({"replicationConfiguration": {"rules": rules}})
}

async fn described(world: &World) -> Value {
    let mut found = world.done("DescribeRegistry", json!({})).await;
    assert_eq!(found["registryId"], ACCOUNT);
    found["replicationConfiguration"]["rules"].take()
}

#[tokio::test]
async fn a_configuration_is_told_as_it_was_given_and_becomes_rules() {
    let world = World::new();
    assert_eq!(described(&world).await, json!([]));
    let here = destination("eu-west-1", ACCOUNT);
    let rules = json!([
        {"destinations": [here], "repositoryFilters": [filter("team/b"), filter("team/a")],
            "deleteReplication": {"enabled": false}},
        {"destinations": [here], "repositoryFilters": [filter("team/ab"), filter("prod")],
            "deleteReplication": {"enabled": true}},
    ]);
    let answer = world.done("PutReplicationConfiguration", put(&rules)).await;
    assert_eq!(answer, put(&rules));
    assert_eq!(described(&world).await, rules);
    let kept = world.registry.list_rules(&world.caller()).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].destinations.len(), 1);
    assert_eq!(kept[0].destinations[0].region.as_str(), "eu-west-1");
    assert_eq!(kept[0].prefixes, ["team/a", "team/b"]);
    assert_eq!(kept[1].prefixes, ["prod", "team/ab"]);
    assert_eq!([false, true], [0, 1].map(|at| kept[at].options.deletions));
    // A rule that is made otherwise is described with the others.
    let rule = RuleInfo {
        id: "mine".to_owned(),
        prefixes: Vec::new(),
        destinations: vec![Destination::new(
            &"eu-west-1".parse().unwrap(),
            &ACCOUNT.parse().unwrap(),
        )],
        options: RuleOptions::default(),
    };
    world
        .registry
        .put_rule(&world.caller(), &rule)
        .await
        .unwrap();
    let found = described(&world).await;
    assert_eq!(found.as_array().unwrap().len(), 3);
    assert_eq!(found[2], json!({"destinations": [here]}));
    world
        .done("PutReplicationConfiguration", put(&json!([])))
        .await;
    assert_eq!(described(&world).await, json!([]));
    assert!(
        world
            .registry
            .list_rules(&world.caller())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_rule_has_several_destinations_in_any_account() {
    let world = World::new();
    let (own, other) = (
        destination("eu-west-1", ACCOUNT),
        destination("eu-west-1", OTHER),
    );
    let near = destination("us-east-1", OTHER);
    let rules = json!([{"destinations": [other, own, near]}]);
    world.done("PutReplicationConfiguration", put(&rules)).await;
    assert_eq!(described(&world).await, rules);
    world.create("app").await;
    world.push("app", "v1", "one").await;
    let input = json!({"repositoryName": "app", "imageId": {"imageTag": "v1"}});
    let found = world.done("DescribeImageReplicationStatus", input).await;
    let of = |region: &str, account: &str| json!({"region": region, "registryId": account, "status": "IN_PROGRESS"});
    assert_eq!(
        found["replicationStatuses"],
        json!([
            of("eu-west-1", ACCOUNT),
            of("eu-west-1", OTHER),
            of("us-east-1", OTHER)
        ])
    );
}

#[tokio::test]
async fn what_cannot_be_replicated_is_refused_and_changes_nothing() {
    let world = World::new();
    let here = destination("eu-west-1", ACCOUNT);
    let before = json!([{"destinations": [here]}]);
    world
        .done("PutReplicationConfiguration", put(&before))
        .await;
    let same = json!([{"destinations": [destination("us-east-1", ACCOUNT)]}]);
    let message = "Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: \
                   'Replication destination cannot be the same as the source registry'";
    let expected = ("InvalidParameterException", message);
    world
        .refused("PutReplicationConfiguration", put(&same), expected)
        .await;
    let eleven: Vec<Value> = (0..11).map(|_| json!({"destinations": [here]})).collect();
    for (rules, code) in [
        (
            json!([{"destinations": [destination("mars-north-1", ACCOUNT)]}]),
            "InvalidParameterException",
        ),
        (json!(eleven), "InvalidParameterException"),
    ] {
        let found = world.code("PutReplicationConfiguration", put(&rules)).await;
        assert_eq!(found, code, "{rules}");
    }
    assert_eq!(described(&world).await, before);
}

#[tokio::test]
async fn an_image_s_replication_is_told_by_region() {
    let world = World::new();
    world.create("app").await;
    let rules = json!([{"destinations": [destination("eu-west-1", ACCOUNT)]}]);
    let (old, _) = world.push("app", "old", "one").await;
    world.done("PutReplicationConfiguration", put(&rules)).await;
    let (digest, _) = world.push("app", "v1", "two").await;
    let status = async |id: Value| {
        let input = json!({"repositoryName": "app", "imageId": id});
        world.done("DescribeImageReplicationStatus", input).await
    };
    let under_way = json!([{"region": "eu-west-1", "registryId": ACCOUNT,
        "status": "IN_PROGRESS"}]);
    for id in [json!({"imageTag": "v1"}), json!({"imageDigest": digest})] {
        let found = status(id).await;
        assert_eq!(found["imageId"]["imageDigest"], json!(digest));
        assert_eq!(found["replicationStatuses"], under_way);
    }
    let found = status(json!({"imageDigest": old})).await;
    assert_eq!(found["replicationStatuses"], json!([]));
    for (repository, tag, code) in [
        ("app", "v2", "ImageNotFoundException"),
        ("no", "v1", "RepositoryNotFoundException"),
    ] {
        let input = json!({"repositoryName": repository, "imageId": {"imageTag": tag}});
        assert_eq!(
            world.code("DescribeImageReplicationStatus", input).await,
            code
        );
    }
}

#[tokio::test]
async fn a_backfill_is_started_told_and_stopped() {
    let world = World::new();
    world.create("app").await;
    world.push("app", "v1", "one").await;
    let there = destination("eu-west-1", ACCOUNT);
    let start = json!({"destination": there});
    let unknown = format!(
        "The destination with region 'eu-west-1' and registry id '{ACCOUNT}' is not configured in \
         the replication configuration of the registry with id '{ACCOUNT}'"
    );
    world
        .refused(
            "StartReplicationBackfill",
            start.clone(),
            ("ValidationException", &unknown),
        )
        .await;
    let rules = json!([{"destinations": [there, destination("eu-west-1", OTHER)]}]);
    world.done("PutReplicationConfiguration", put(&rules)).await;
    let begun = world.done("StartReplicationBackfill", start.clone()).await;
    assert_eq!(begun["registryId"], ACCOUNT);
    assert_eq!(begun["status"], "PREPARING");
    assert_eq!(begun["destination"], there);
    let id = json!({"replicationBackfillId": begun["replicationBackfillId"]});
    // One at a time to a region, whichever account.
    let other = json!({"destination": destination("eu-west-1", OTHER)});
    let running = (
        "ReplicationBackfillInProgressException",
        "A replication backfill is already in progress for region 'eu-west-1'",
    );
    world
        .refused("StartReplicationBackfill", other, running)
        .await;
    let found = world
        .done("DescribeReplicationBackfillResults", id.clone())
        .await;
    assert_eq!(found["status"], "PREPARING");
    for absent in ["progress", "results", "endedAt", "failureCode"] {
        assert_eq!(found.get(absent), None, "{found}");
    }
    let stopped = world.done("StopReplicationBackfill", id.clone()).await;
    assert_eq!(stopped["status"], "STOPPED");
    let found = world
        .done("DescribeReplicationBackfillResults", id.clone())
        .await;
    assert_eq!(
        (&found["status"], &found["results"]),
        (&json!("STOPPED"), &json!([]))
    );
    assert_eq!(
        world.code("StopReplicationBackfill", id).await,
        "ReplicationBackfillInvalidStatusException"
    );
    // The newest first, page by page.
    let second = world.done("StartReplicationBackfill", start).await;
    let first_page = world
        .done("ListReplicationBackfills", json!({"maxResults": 1}))
        .await;
    assert_eq!(
        first_page["backfills"][0]["replicationBackfillId"],
        second["replicationBackfillId"]
    );
    let next = json!({"maxResults": 1, "nextToken": first_page["nextToken"]});
    let second_page = world.done("ListReplicationBackfills", next).await;
    assert_eq!(
        second_page["backfills"][0]["replicationBackfillId"],
        begun["replicationBackfillId"]
    );
    assert_eq!(second_page.get("nextToken"), None);
    let nobody_s = json!({"replicationBackfillId": "6d2f4f4e-1111-4222-8333-944444444444"});
    for operation in [
        "StopReplicationBackfill",
        "DescribeReplicationBackfillResults",
    ] {
        assert_eq!(
            world.code(operation, nobody_s.clone()).await,
            "ReplicationBackfillNotFoundException"
        );
    }
}
