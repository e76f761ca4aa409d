//! What replication rules copy, to whom, and what they take away again.

use bytes::Bytes;
use entrepot_access::hash_password;
use entrepot_metadata::command::{CreateAccount, CreateRepository};
use entrepot_metadata::{GroupId, Metadata};
use entrepot_oci::{AccountId, Digest, RepositoryName, media_type};
use entrepot_service::{
    Caller, Destination, ManifestPush, NewAccount, PrefixMapping, Principal, RuleInfo, RuleOptions,
    ServiceError, Task, TaskState,
};

use crate::cluster::{Cluster, EAST, Node, Plan, WEST, app, group, region, root, tag};
use crate::content::{content, eventually, image, sha256};

fn other() -> AccountId {
    "210987654321".parse().unwrap()
}

fn root_of(account: &AccountId) -> Caller {
    Caller::of(Principal::root(account.clone()))
}

fn to(name: &str, account: &AccountId) -> Destination {
    Destination::new(&region(name), account)
}

/// Two regions of one node each, and two accounts.
async fn two_accounts() -> Cluster {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let hash = hash_password("of root").unwrap();
    let command = CreateAccount::new(&root().principal.account, "root", &hash, 1).into();
    let made = cluster.metadata.propose(&GroupId::global(), command).await;
    made.unwrap().into_result().unwrap();
    let new = NewAccount {
        id: other(),
        name: String::new(),
        key: None,
    };
    let made = cluster.node(1).registry.create_account(&root(), new).await;
    made.unwrap();
    cluster
}

async fn rule(cluster: &Cluster, id: &str, to: Destination, options: RuleOptions) {
    let rule = RuleInfo {
        options,
        ..RuleInfo::new(id, vec![to])
    };
    let put = cluster.node(1).registry.put_rule(&root(), &rule).await;
    put.unwrap();
}

/// Lets the registry of the other account take what the first one sends.
async fn allow(node: &Node, actions: &str) {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"replicas","Effect":"Allow",
        "Principal":{{"AWS":"arn:aws:iam::{}:root"}},"Action":{actions},
        "Resource":"arn:aws:ecr:*:{}:repository/*"}}]}}"#,
        root().principal.account,
        other()
    );
    let who = root_of(&other());
    let put = node.registry.put_registry_policy(&who, &text);
    put.await.unwrap();
}

async fn tagged_of(
    node: &Node,
    who: &Caller,
    repository: &RepositoryName,
    name: &str,
) -> Option<Digest> {
    let found = node
        .registry
        .get_manifest(who, repository, &tag(name))
        .await;
    found.ok().map(|manifest| manifest.digest)
}

async fn ended(cluster: &Cluster) -> Vec<Task> {
    eventually("all tasks have ended", async || {
        let tasks = cluster.tasks(EAST).await;
        tasks.iter().all(|task| task.state != TaskState::InProgress)
    })
    .await;
    cluster.check(EAST);
    cluster.check(WEST);
    cluster.tasks(EAST).await
}

async fn has(node: &Node, digest: &Digest) -> bool {
    node.tagged(&digest.to_string()).await.is_some()
}

/// Nobody writes into the registry of an account that does not allow it.
#[tokio::test]
async fn another_account_takes_what_its_policy_allows_and_no_more() {
    let mut cluster = two_accounts().await;
    rule(&cluster, "out", to(WEST, &other()), RuleOptions::default()).await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let digest = east.push_image("v1", &[content(1, 9_000)]).await;
    let tasks = ended(&cluster).await;
    assert_eq!(tasks.len(), 1);
    assert_eq!((tasks[0].state, tasks[0].denied), (TaskState::Failed, true));
    let reason = tasks[0].reason.clone().unwrap();
    assert!(reason.contains("ecr:ReplicateImage"), "{reason}");
    let view = west.metadata.view(&group(WEST)).unwrap();
    let found = entrepot_metadata::query::repository(view.as_ref(), &other(), &app());
    assert_eq!(found.unwrap(), None);
    assert!(!west.holds(&sha256(&content(1, 9_000))).await);

    // Not the making of a repository.
    allow(west, r#"["ecr:ReplicateImage"]"#).await;
    let second = east.push_image("v2", &[content(2, 9_000)]).await;
    let tasks = ended(&cluster).await;
    assert!(tasks.iter().all(|task| task.denied), "{tasks:?}");
    let of_second = tasks.iter().find(|task| task.key.digest == second).unwrap();
    let reason = of_second.reason.clone().unwrap();
    assert!(reason.contains("ecr:CreateRepository"), "{reason}");

    // What was denied is tried again once it is allowed.
    allow(west, r#"["ecr:ReplicateImage","ecr:CreateRepository"]"#).await;
    eventually("what was denied arrives", async || {
        tagged_of(west, &root_of(&other()), &app(), "v1").await == Some(digest)
            && tagged_of(west, &root_of(&other()), &app(), "v2").await == Some(second)
    })
    .await;
    let tasks = ended(&cluster).await;
    assert!(tasks.iter().all(|task| task.state == TaskState::Complete));
    // It is the other account's, and nobody else's.
    assert_eq!(west.tagged("v1").await, None);

    let who = root_of(&other());
    let withdrawn = west.registry.delete_registry_policy(&who).await;
    withdrawn.unwrap();
    let third = east.push_image("v3", &[content(3, 9_000)]).await;
    let tasks = ended(&cluster).await;
    let task = tasks.iter().find(|task| task.key.digest == third).unwrap();
    assert!(task.denied, "{task:?}");
    assert_eq!(
        tagged_of(west, &root_of(&other()), &app(), "v3").await,
        None
    );
}

#[tokio::test]
async fn an_account_of_the_same_region_takes_images_too() {
    let mut cluster = two_accounts().await;
    rule(&cluster, "next", to(EAST, &other()), RuleOptions::default()).await;
    let east = cluster.node(1);
    allow(east, r#"["ecr:ReplicateImage"]"#).await;
    let made = CreateRepository::new(&other(), &app(), 1).into();
    let made = cluster.metadata.propose(&group(EAST), made).await;
    made.unwrap().into_result().unwrap();
    cluster.start_outbox();
    let east = cluster.node(1);
    let digest = east.push_image("v1", &[content(1, 9_000)]).await;
    let tasks = ended(&cluster).await;
    assert_eq!(tasks[0].state, TaskState::Complete, "{tasks:?}");
    let found = tagged_of(east, &root_of(&other()), &app(), "v1").await;
    assert_eq!(found, Some(digest));
}

#[tokio::test]
async fn deletions_are_copied_where_a_rule_says_so() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let deletions = RuleOptions {
        deletions: true,
        ..RuleOptions::default()
    };
    rule(
        &cluster,
        "all",
        to(WEST, &root().principal.account),
        deletions,
    )
    .await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let blobs = [content(1, 9_000)];
    let digest = east.push_image("v1", &blobs).await;
    east.push_image("v2", &blobs).await;
    let second = east.push_image("w", &[content(2, 9_000)]).await;
    ended(&cluster).await;
    // Somebody there gave it another name: that is nothing to the source.
    west.put_manifest("there", &image(&[(sha256(&blobs[0]), 9_000)]))
        .await;

    let untag = async |digest: &Digest, name: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        let (who, from) = (root(), app());
        let deleted = east
            .registry
            .delete_image(&who, &from, digest, name.as_ref());
        deleted.await.unwrap();
        ended(&cluster).await
    };
    untag(&digest, Some("v1")).await;
    assert_eq!(west.tagged("v1").await, None);
    assert_eq!(west.tagged("v2").await, Some(digest));
    // The last tag: the image goes at the source, and stays where it is wanted.
    let tasks = untag(&digest, Some("v2")).await;
    assert_eq!(tasks.len(), 1, "the other image's alone: {tasks:?}");
    assert_eq!(west.tagged("v2").await, None);
    assert_eq!(west.tagged("there").await, Some(digest));
    // By its digest.
    let tasks = untag(&second, None).await;
    assert!(!has(west, &second).await);
    assert_eq!(tasks, [], "a deletion that is done leaves no task");
    // And again, as if it had never been deleted.
    east.push_image("v1", &blobs).await;
    ended(&cluster).await;
    assert_eq!(west.tagged("v1").await, Some(digest));
}

#[tokio::test]
async fn deletions_stay_where_no_rule_copies_them() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let digest = east.push_image("v1", &[content(1, 9_000)]).await;
    ended(&cluster).await;
    let (who, from) = (root(), app());
    let deleted = east.registry.delete_image(&who, &from, &digest, None);
    deleted.await.unwrap();
    assert_eq!(ended(&cluster).await, []);
    assert_eq!(west.tagged("v1").await, Some(digest));
}

/// What refers to `subject`.
fn referrer(subject: &Digest, config: &Bytes) -> Bytes {
    let kind = media_type::OCI_MANIFEST;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","subject":{{"mediaType":"{kind}","digest":"{subject}","size":7}},"artifactType":"application/spdx+json","layers":[],"config":{{"mediaType":"{}","digest":"{}","size":{}}}}}"#,
        media_type::OCI_CONFIG,
        sha256(config),
        config.len()
    )
    .into()
}

#[tokio::test]
async fn tags_decide_what_goes_and_referrers_follow_their_subject() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let filtered = RuleOptions {
        tags: vec!["v*".to_owned()],
        tags_excluded: vec!["*-rc".to_owned()],
        ..RuleOptions::default()
    };
    rule(
        &cluster,
        "releases",
        to(WEST, &root().principal.account),
        filtered,
    )
    .await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let config = content(9, 500);
    east.push(&config).await;
    let released = east.push_image("v1", &[content(1, 9_000)]).await;
    let candidate = east.push_image("v2-rc", &[content(2, 9_000)]).await;
    let nightly = east.push_image("nightly", &[content(3, 9_000)]).await;
    let sign = async |subject: &Digest| {
        let manifest = referrer(subject, &config);
        let digest = sha256(&manifest);
        east.put_manifest(&digest.to_string(), &manifest).await
    };
    let (of_released, of_candidate) = (sign(&released).await, sign(&candidate).await);
    let of_signature = sign(&of_candidate).await;
    ended(&cluster).await;
    assert!(has(west, &released).await && has(west, &of_released).await);
    for digest in [candidate, nightly, of_candidate, of_signature] {
        assert!(!has(west, &digest).await, "{digest}");
    }
    // The candidate is released: all that was said of it goes along.
    east.push_image("v2", &[content(2, 9_000)]).await;
    ended(&cluster).await;
    for digest in [candidate, of_candidate, of_signature] {
        assert!(has(west, &digest).await, "{digest}");
    }
    assert_eq!(west.tagged("v2-rc").await, None);
    assert!(!has(west, &nightly).await);
}

#[tokio::test]
async fn a_repository_is_copied_under_another_name() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let mapped = RuleOptions {
        mapping: Some(PrefixMapping {
            from: "team/".to_owned(),
            to: "mirror/east/".to_owned(),
        }),
        ..RuleOptions::default()
    };
    rule(
        &cluster,
        "mirror",
        to(WEST, &root().principal.account),
        mapped,
    )
    .await;
    cluster.start_outbox();
    let digest = cluster.node(1).push_image("v1", &[content(1, 9_000)]).await;
    ended(&cluster).await;
    let there = "mirror/east/app".parse().unwrap();
    let found = tagged_of(cluster.node(2), &root(), &there, "v1").await;
    assert_eq!(found, Some(digest));
    assert_eq!(cluster.node(2).tagged("v1").await, None);
}

fn synchronous(timeout_ms: u64) -> RuleOptions {
    RuleOptions {
        synchronous: true,
        synchronous_timeout_ms: timeout_ms,
        ..RuleOptions::default()
    }
}

#[tokio::test]
async fn a_synchronous_rule_acknowledges_what_its_destination_has() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let options = synchronous(60_000);
    rule(
        &cluster,
        "both",
        to(WEST, &root().account.account()),
        options,
    )
    .await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    for number in 0..5 {
        let name = format!("v{number}");
        let digest = east.push_image(&name, &[content(number, 9_000)]).await;
        // No waiting: it is there already.
        assert_eq!(west.tagged(&name).await, Some(digest));
    }
}

#[tokio::test]
async fn a_push_that_a_destination_lacks_is_not_acknowledged_and_kept() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let options = synchronous(200);
    rule(
        &cluster,
        "both",
        to(WEST, &root().account.account()),
        options,
    )
    .await;
    let east = cluster.node(1);
    let blob = content(1, 9_000);
    east.push(&blob).await;
    let manifest = image(&[(sha256(&blob), blob.len())]);
    let push = ManifestPush::new(&tag("v1"), manifest.clone());
    // Nobody works on the tasks.
    let late = east.registry.put_manifest(&root(), &app(), push).await;
    let Err(ServiceError::NotReplicated(reason)) = late else {
        panic!("{late:?}");
    };
    assert!(reason.contains(WEST), "{reason}");
    assert_eq!(east.tagged("v1").await, Some(sha256(&manifest)));
    cluster.start_outbox();
    let tasks = ended(&cluster).await;
    assert_eq!(tasks[0].state, TaskState::Complete);
    assert_eq!(cluster.node(2).tagged("v1").await, Some(sha256(&manifest)));
}

#[tokio::test]
async fn many_pushes_wait_and_each_is_acknowledged_when_it_has_arrived() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let options = synchronous(60_000);
    let own = to(WEST, &root().account.account());
    rule(&cluster, "both", own, options).await;
    cluster.start_outbox();
    let (east, west) = (cluster.node(1), cluster.node(2));
    let blob = content(1, 9_000);
    east.push(&blob).await;
    let manifest = image(&[(sha256(&blob), blob.len())]);
    let push = async |number: u32| {
        let name = format!("v{number}");
        let push = ManifestPush::new(&tag(&name), manifest.clone());
        let put = east.registry.put_manifest(&root(), &app(), push).await;
        put.unwrap();
        assert_eq!(west.tagged(&name).await, Some(sha256(&manifest)));
    };
    futures::future::join_all((0..40).map(push)).await;
}

#[tokio::test]
async fn a_push_that_is_deleted_while_it_waits_is_not_acknowledged() {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let options = synchronous(60_000);
    let own = to(WEST, &root().account.account());
    rule(&cluster, "both", own, options).await;
    let east = cluster.node(1);
    let blob = content(1, 9_000);
    east.push(&blob).await;
    let manifest = image(&[(sha256(&blob), blob.len())]);
    let digest = sha256(&manifest);
    let push = ManifestPush::new(&tag("v1"), manifest);
    let (who, name) = (root(), app());
    let put = east.registry.put_manifest(&who, &name, push);
    let deleted = async {
        eventually("the push has a task", async || {
            !cluster.tasks(EAST).await.is_empty()
        })
        .await;
        let deleted = east.registry.delete_image(&who, &name, &digest, None).await;
        deleted.unwrap();
    };
    let (put, ()) = futures::future::join(put, deleted).await;
    let Err(ServiceError::NotReplicated(reason)) = put else {
        panic!("{put:?}");
    };
    assert!(reason.contains("deleted"), "{reason}");
}

/// What is not let in is not read through either.
#[tokio::test]
async fn another_account_reads_through_what_its_policy_allows_and_no_more() {
    let cluster = two_accounts().await;
    let options = RuleOptions {
        tags: vec!["v*".to_owned()],
        read_through: true,
        ..RuleOptions::default()
    };
    rule(&cluster, "out", to(WEST, &other()), options).await;
    let (east, west) = (cluster.node(1), cluster.node(2));
    let whole = content(31, 2_000_000);
    let digest = east.push_image("v1", std::slice::from_ref(&whole)).await;
    west.through.refresh().await;
    let (who, repository, blob) = (root_of(&other()), app(), sha256(&whole));
    let registry = &west.registry;
    let opened = async || registry.open_blob(&who, &repository, &blob, None).await;
    assert_eq!(tagged_of(west, &who, &repository, "v1").await, None);
    assert!(matches!(
        opened().await.map(|_| ()),
        Err(ServiceError::NameUnknown(_))
    ));
    // Nor is the registry that nothing is sent to.
    assert_eq!(tagged_of(west, &root(), &repository, "v1").await, None);
    allow(west, r#"["ecr:ReplicateImage","ecr:CreateRepository"]"#).await;
    let found = tagged_of(west, &who, &repository, "v1").await;
    assert_eq!(found, Some(digest));
    let (_, stream) = opened().await.unwrap();
    assert!(crate::content::read(stream).await.unwrap() == whole);
    // What was withdrawn is shut again, but for what was let in.
    registry.delete_registry_policy(&who).await.unwrap();
    assert_eq!(tagged_of(west, &who, &repository, "v1").await, None);
    assert!(opened().await.is_ok());
    cluster.check(WEST);
}
