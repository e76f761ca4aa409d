//! Webhooks: told everything they want to hear, in order, at least once, by one
//! node, and never by whoever may not make one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use entrepot_metadata::Metadata;
use entrepot_metadata::command::{CreateRepository, DeleteTag, PutManifest};
use entrepot_metadata::limits::ENVELOPES_KEPT;
use entrepot_metadata::records::Origin;
use entrepot_oci::{RepositoryName, media_type};
use entrepot_service::{
    Courier, EventKind, Message, ServiceError, Undelivered, WebhookMetrics, WebhookSpec, Webhooks,
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, EAST, Plan, app, group, root};
use crate::content::{eventually, sha256};

const URL: &str = "https://ci.example.com/hook";

/// Keeps what it is given, or answers what it was told to first.
#[derive(Debug, Default)]
struct Recorder {
    taken: Mutex<Vec<Message>>,
    answers: Mutex<VecDeque<Undelivered>>,
    refused: Mutex<Vec<Message>>,
}

#[async_trait]
impl Courier for Recorder {
    async fn deliver(&self, message: Message) -> Result<(), Undelivered> {
        if let Some(answer) = self.answers.lock().unwrap().pop_front() {
            self.refused.lock().unwrap().push(message);
            return Err(answer);
        }
        self.taken.lock().unwrap().push(message);
        Ok(())
    }
}

impl Recorder {
    /// Once there are `count`.
    async fn taken(&self, count: usize) -> Vec<Message> {
        let what = format!("{count} messages");
        eventually(&what, async || self.taken.lock().unwrap().len() >= count).await;
        self.taken.lock().unwrap().clone()
    }
}

async fn nodes(count: u64, courier: &Arc<Recorder>) -> Cluster {
    let plan = Plan::new(&[(EAST, count)]).courier(courier);
    let mut cluster = plan.start().await.with_account().await;
    cluster.start_health();
    start(&mut cluster);
    cluster
}

/// On every node.
fn start(cluster: &mut Cluster) {
    let registries: Vec<_> = cluster
        .nodes()
        .map(|node| Arc::clone(&node.registry))
        .collect();
    for registry in registries {
        cluster.spawn(Webhooks::new(registry, WebhookMetrics::default()).run());
    }
}

fn to(repositories: &[&str], events: &[EventKind]) -> WebhookSpec {
    WebhookSpec {
        url: URL.to_owned(),
        repositories: repositories.iter().map(ToString::to_string).collect(),
        events: events.to_vec(),
        paused: false,
    }
}

async fn create(cluster: &Cluster, repository: &RepositoryName) {
    let command = CreateRepository::new(&root().account, repository, 1).into();
    let created = cluster.metadata.propose(&group(EAST), command).await;
    created.unwrap().into_result().unwrap();
}

async fn put(cluster: &Cluster, repository: &RepositoryName, content: &str, tags: &[&str]) {
    let command = manifest(repository, content, tags);
    let response = cluster.metadata.propose(&group(EAST), command.into()).await;
    response.unwrap().into_result().unwrap();
}

fn manifest(repository: &RepositoryName, content: &str, tags: &[&str]) -> PutManifest {
    PutManifest {
        account: root().account.to_string(),
        repository: repository.to_string(),
        digest: sha256(content.as_bytes()).to_string(),
        media_type: media_type::OCI_MANIFEST.to_owned(),
        content: content.to_owned().into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..PutManifest::default()
    }
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

/// Of each message: what was done, and to which tag.
fn told(messages: &[Message]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = messages.iter().map(|message| {
        let data = &body(message)["data"];
        (text(&data["action-type"]), text(&data["image-tag"]))
    });
    each.collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_signed() {
    let courier = Arc::new(Recorder::default());
    let cluster = nodes(3, &courier).await;
    create(&cluster, &app()).await;
    put(&cluster, &app(), "before", &["old"]).await;
    let registry = &cluster.node(2).registry;
    let made = registry
        .put_webhook(&root(), "ci", to(&[], &[]))
        .await
        .unwrap();
    let secret = made.1.unwrap();

    put(&cluster, &app(), "one", &["v1", "v2"]).await;
    put(&cluster, &app(), "two", &[]).await;
    let replica = PutManifest {
        origin: Some(Origin {
            region: "eu-west-1".to_owned(),
            sequence: 7,
            ..Origin::default()
        }),
        ..manifest(&app(), "three", &["v3"])
    };
    let put = cluster.metadata.propose(&group(EAST), replica.into()).await;
    put.unwrap().into_result().unwrap();
    let gone = DeleteTag::new(&root().account, &app(), &"v1".parse().unwrap());
    let gone = cluster.metadata.propose(&group(EAST), gone.into()).await;
    gone.unwrap().into_result().unwrap();

    let taken = courier.taken(5).await;
    let expected = [
        ("PUSH", "v1"),
        ("PUSH", "v2"),
        ("PUSH", ""),
        ("REPLICATE", "v3"),
        ("DELETE", "v1"),
    ];
    assert_eq!(told(&taken), pairs(&expected));
    let event = body(&taken[3]);
    let source = format!(
        "arn:aws:ecr:us-east-1:{}:repository/{}",
        root().account,
        app()
    );
    assert_eq!(
        (
            &event["specversion"],
            &event["type"],
            &event["source"],
            &event["detailtype"]
        ),
        (
            &json!("1.0"),
            &json!("aws.ecr.replication-action"),
            &json!(source),
            &json!("ECR Replication Action")
        )
    );
    assert_eq!(event["data"]["source-region"], "eu-west-1");
    for message in &taken {
        assert_eq!(message.url, URL);
        let header = |name| {
            let found = message.headers.iter().find(|(known, _)| *known == name);
            found.unwrap().1.clone()
        };
        let id = header("webhook-id");
        assert_eq!(body(message)["id"], id);
        let seconds = header("webhook-timestamp").parse().unwrap();
        let signed = secret.sign(&id, seconds, &message.body);
        assert_eq!(header("webhook-signature"), signed);
    }
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let courier = Arc::new(Recorder::default());
    let cluster = nodes(1, &courier).await;
    let other: RepositoryName = "web/shop".parse().unwrap();
    for repository in [&app(), &other] {
        create(&cluster, repository).await;
    }
    let registry = &cluster.node(1).registry;
    let spec = to(&["web/*"], &[EventKind::Push]);
    registry.put_webhook(&root(), "ci", spec).await.unwrap();
    put(&cluster, &app(), "one", &["no"]).await;
    put(&cluster, &other, "one", &["v1"]).await;
    let gone = DeleteTag::new(&root().account, &other, &"v1".parse().unwrap());
    let gone = cluster.metadata.propose(&group(EAST), gone.into()).await;
    gone.unwrap().into_result().unwrap();
    put(&cluster, &other, "two", &["v2"]).await;
    let taken = courier.taken(2).await;
    assert_eq!(told(&taken), pairs(&[("PUSH", "v1"), ("PUSH", "v2")]));
}

#[tokio::test]
async fn what_fails_is_sent_again_and_what_was_told_is_not() {
    let courier = Arc::new(Recorder::default());
    let mut cluster = nodes(1, &courier).await;
    create(&cluster, &app()).await;
    let registry = Arc::clone(&cluster.node(1).registry);
    registry
        .put_webhook(&root(), "ci", to(&[], &[]))
        .await
        .unwrap();
    let refusals = [Undelivered::Status(503), Undelivered::Status(503)];
    courier.answers.lock().unwrap().extend(refusals);
    put(&cluster, &app(), "one", &["v1"]).await;
    let mut reason = String::new();
    eventually("the list shows that it fails", async || {
        let listed = registry.webhooks(&root()).await.unwrap();
        let failing = listed[0].failing.as_ref();
        reason = failing.map_or_else(String::new, |failing| failing.reason.clone());
        failing.is_some()
    })
    .await;
    assert!(reason.contains("503"), "{reason}");
    put(&cluster, &app(), "two", &["v2"]).await;
    courier.taken(2).await;
    // How far it got is noted within a second; the note is an entry of its own.
    eventually("what it was told is noted", async || {
        registry.webhooks(&root()).await.unwrap()[0].entries_behind <= 1
    })
    .await;
    // Another worker goes on where this one was.
    start(&mut cluster);
    put(&cluster, &app(), "three", &["v3"]).await;
    let taken = courier.taken(3).await;
    assert_eq!(told(&taken)[..2], pairs(&[("PUSH", "v1"), ("PUSH", "v2")]));
    assert!(told(&taken[2..]).iter().all(|it| it.1 == "v3"), "{taken:?}");
    let info = &registry.webhooks(&root()).await.unwrap()[0];
    assert!(info.failing.is_none() && info.delivered_at_ms.is_some());
}

#[tokio::test]
async fn whoever_was_away_too_long_is_told_so() {
    let courier = Arc::new(Recorder::default());
    let mut cluster = nodes(1, &courier).await;
    create(&cluster, &app()).await;
    let registry = Arc::clone(&cluster.node(1).registry);
    let paused = WebhookSpec {
        paused: true,
        ..to(&[], &[])
    };
    let made = registry.put_webhook(&root(), "ci", paused).await.unwrap();
    assert!(made.1.is_some());
    for number in 0..=ENVELOPES_KEPT {
        let name = format!("filler-{}", number % 8);
        create(&cluster, &name.parse().unwrap()).await;
    }
    let down = Undelivered::Status(503);
    courier.answers.lock().unwrap().push_back(down);
    let again = registry
        .put_webhook(&root(), "ci", to(&[], &[]))
        .await
        .unwrap();
    assert!(again.1.is_none(), "a secret is told once");
    eventually("the gap was told once", async || {
        !courier.refused.lock().unwrap().is_empty()
    })
    .await;
    // Meanwhile more is forgotten, and somebody else tells it as well.
    for number in 0..32 {
        let name = format!("later-{number}");
        create(&cluster, &name.parse().unwrap()).await;
    }
    start(&mut cluster);
    put(&cluster, &app(), "one", &["v1"]).await;
    let taken = courier.taken(2).await;
    let first = body(&courier.refused.lock().unwrap()[0]);
    assert_eq!(first["type"], "entrepot.events.lost");
    let is_lost = |message: &&Message| body(message)["type"] == first["type"];
    for lost in taken.iter().filter(is_lost) {
        let lost = body(lost);
        assert_eq!((&lost["id"], &lost["data"]), (&first["id"], &first["data"]));
    }
    assert!(is_lost(&&taken[0]), "{taken:?}");
    eventually("what came after the gap is told", async || {
        let taken = courier.taken.lock().unwrap().clone();
        told(&taken).contains(&pairs(&[("PUSH", "v1")])[0])
    })
    .await;
}

#[tokio::test]
async fn what_came_from_another_region_stays_that() {
    let courier = Arc::new(Recorder::default());
    let cluster = nodes(1, &courier).await;
    create(&cluster, &app()).await;
    let registry = &cluster.node(1).registry;
    let paused = WebhookSpec {
        paused: true,
        ..to(&[], &[])
    };
    registry.put_webhook(&root(), "ci", paused).await.unwrap();
    let replica = PutManifest {
        origin: Some(Origin {
            region: "eu-west-1".to_owned(),
            sequence: 7,
            ..Origin::default()
        }),
        ..manifest(&app(), "one", &["v1"])
    };
    let copied = cluster.metadata.propose(&group(EAST), replica.into()).await;
    copied.unwrap().into_result().unwrap();
    // Before anybody is told, the tag is elsewhere.
    put(&cluster, &app(), "two", &["v1"]).await;
    registry
        .put_webhook(&root(), "ci", to(&[], &[]))
        .await
        .unwrap();
    let taken = courier.taken(2).await;
    assert_eq!(told(&taken), pairs(&[("REPLICATE", "v1"), ("PUSH", "v1")]));
}

#[tokio::test]
async fn the_secret_of_one_that_was_deleted_does_not_come_back() {
    let courier = Arc::new(Recorder::default());
    let cluster = nodes(1, &courier).await;
    let registry = &cluster.node(1).registry;
    let (who, none) = (root(), to(&["none"], &[EventKind::Delete]));
    let new = registry.put_webhook(&who, "ci", none.clone()).await;
    assert!(new.unwrap().1.is_some());
    for round in 1..=40 {
        let (changed, renewed) =
            tokio::join!(registry.put_webhook(&who, "ci", none.clone()), async {
                registry.delete_webhook(&who, "ci").await.unwrap();
                registry.put_webhook(&who, "ci", none.clone()).await
            });
        let told = [changed.unwrap().1, renewed.unwrap().1];
        let [secret] = &told.iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{told:?}");
        };
        registry.test_webhook(&who, "ci").await.unwrap();
        let message = courier.taken(round).await.pop().unwrap();
        let header = |name| {
            let found = message.headers.iter().find(|(known, _)| *known == name);
            found.unwrap().1.clone()
        };
        let seconds = header("webhook-timestamp").parse().unwrap();
        let signed = secret.sign(&header("webhook-id"), seconds, &message.body);
        assert_eq!(header("webhook-signature"), signed, "in round {round}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_strangers_are_denied() {
    let courier = Arc::new(Recorder::default());
    let cluster = nodes(1, &courier).await;
    let registry = &cluster.node(1).registry;
    for url in [
        "",
        "ftp://a",
        "https://",
        "https:///path",
        "http://user:password@host/",
        "https://a b",
        "HTTPS:host",
    ] {
        let spec = WebhookSpec {
            url: url.to_owned(),
            ..WebhookSpec::default()
        };
        let refused = registry.put_webhook(&root(), "ci", spec).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{url}: {refused:?}"
        );
    }
    for name in ["", "a b", "a/b", &"n".repeat(65)] {
        let refused = registry.put_webhook(&root(), name, to(&[], &[])).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{name}: {refused:?}"
        );
    }
    let missing = registry.delete_webhook(&root(), "none").await;
    assert!(
        matches!(missing, Err(ServiceError::NotFound(_))),
        "{missing:?}"
    );

    registry
        .put_webhook(&root(), "ci", to(&[], &[]))
        .await
        .unwrap();
    registry.test_webhook(&root(), "ci").await.unwrap();
    assert_eq!(
        body(&courier.taken(1).await[0])["type"],
        "entrepot.webhook.test"
    );
    courier
        .answers
        .lock()
        .unwrap()
        .push_back(Undelivered::Status(404));
    let failed = registry.test_webhook(&root(), "ci").await.unwrap_err();
    assert!(failed.to_string().contains("404"), "{failed}");

    registry.delete_webhook(&root(), "ci").await.unwrap();
    assert_eq!(registry.webhooks(&root()).await.unwrap(), []);
    cluster.check(EAST);
}
