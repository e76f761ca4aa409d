//! Settings of repositories follow them to another region, the newest last.

use std::collections::BTreeMap;

use entrepot_oci::RepositoryName;
use entrepot_service::{
    Destination, Mutability, MutabilityMode, PrefixMapping, RepositoryChange, RuleInfo, RuleOptions,
};

use crate::cluster::{Cluster, EAST, Node, Plan, WEST, app, region, root};
use crate::content::{content, eventually};

const LIFECYCLE: &str = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged",
    "countType":"imageCountMoreThan","countNumber":5},"action":{"type":"expire"}}]}"#;

fn policy(action: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"pull","Effect":"Allow",
        "Principal":"*","Action":["{action}"]}}]}}"#
    )
}

fn named(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

async fn following(cluster: &Cluster, mapping: Option<PrefixMapping>) {
    let account = root().principal.account;
    let destination = Destination::new(&region(WEST), &account);
    let options = RuleOptions {
        settings: true,
        mapping,
        ..RuleOptions::default()
    };
    let rule = RuleInfo {
        options,
        ..RuleInfo::new("all", vec![destination])
    };
    let put = cluster.node(1).registry.put_rule(&root(), &rule).await;
    put.unwrap();
}

async fn set_policy(node: &Node, action: &str) {
    let (who, name, text) = (root(), app(), policy(action));
    let set = node
        .registry
        .set_repository_policy(&who, &name, &text, true);
    set.await.unwrap();
}

async fn has_policy(node: &Node, name: &RepositoryName, action: &str) -> bool {
    let found = node.registry.repository_policy(&root(), name).await;
    found.is_ok_and(|text| text.contains(action))
}

#[tokio::test]
async fn what_is_set_at_the_source_is_set_at_the_destination() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)])
        .start()
        .await
        .with_account()
        .await;
    following(&cluster, None).await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let (who, name) = (root(), app());
    east.push_image("v1", &[content(1, 9_000)]).await;
    let registry = &east.registry;
    set_policy(east, "ecr:BatchGetImage").await;
    let lifecycle = registry.put_lifecycle_policy(&who, &name, LIFECYCLE);
    lifecycle.await.unwrap();
    let tags = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let tagged = registry.tag_resource(&who, &name, tags.clone());
    tagged.await.unwrap();
    let immutable = RepositoryChange {
        mutability: Some(Mutability {
            mode: MutabilityMode::Immutable,
            filters: Vec::new(),
        }),
        ..RepositoryChange::default()
    };
    let put = registry.put_repository_settings(&who, &name, immutable);
    put.await.unwrap();
    let there = &west.registry;
    eventually("all of it is there", async || {
        let info = there.repository_info(&who, &name).await;
        let tags_there = there.resource_tags(&who, &name).await;
        has_policy(west, &name, "ecr:BatchGetImage").await
            && there.lifecycle_policy(&who, &name).await.is_ok()
            && tags_there.is_ok_and(|there| there == tags)
            && info.is_ok_and(|info| info.mutability.mode == MutabilityMode::Immutable)
    })
    .await;
    // What is taken away goes there too.
    let deleted = registry.delete_repository_policy(&who, &name);
    deleted.await.unwrap();
    eventually("the policy goes", async || {
        there.repository_policy(&who, &name).await.is_err()
    })
    .await;
    cluster.check(EAST);
    cluster.check(WEST);
}

#[tokio::test]
async fn they_wait_for_a_destination_and_go_under_its_name() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)])
        .start()
        .await
        .with_account()
        .await;
    let mapping = PrefixMapping {
        from: String::new(),
        to: "mirror/".to_owned(),
    };
    following(&cluster, Some(mapping)).await;
    let east = cluster.node(1);
    east.push_image("v1", &[content(1, 9_000)]).await;
    // Nobody sends yet: the last one is what arrives.
    for action in ["ecr:BatchGetImage", "ecr:ListImages", "ecr:DescribeImages"] {
        set_policy(east, action).await;
    }
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let there = named(&format!("mirror/{}", app()));
    eventually("the last policy is there", async || {
        has_policy(west, &there, "ecr:DescribeImages").await
    })
    .await;
    set_policy(east, "ecr:PutImage").await;
    eventually("so is the next", async || {
        has_policy(west, &there, "ecr:PutImage").await
    })
    .await;
    cluster.check(EAST);
    cluster.check(WEST);
}
