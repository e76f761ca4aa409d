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
    for (operation, input) in [
        ("StartReplicationBackfill", json!({"destination": here})),
        ("ListReplicationBackfills", json!({})),
    ] {
        assert_eq!(world.code(operation, input).await, "ValidationException");
    }
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
