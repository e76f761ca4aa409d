//! What repositories are made with that come to be as replicas.

use std::slice::from_ref;

use entrepot_service::{CreatedFor, Mutability, MutabilityMode, TemplateChange};

use crate::cluster::{EAST, Plan, WEST, app, root};
use crate::content::{content, eventually};

#[tokio::test]
async fn a_replica_s_repository_is_made_as_its_region_s_template_says() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let immutable = Mutability {
        mode: MutabilityMode::Immutable,
        filters: Vec::new(),
    };
    let template = TemplateChange {
        mutability: Some(immutable.clone()),
        applied_for: Some(vec![CreatedFor::Replication]),
        ..TemplateChange::default()
    };
    let there = &cluster.first_of(WEST).registry;
    there
        .create_template(&root(), "team", template)
        .await
        .unwrap();
    cluster.replicate(EAST, WEST).await;
    cluster.start_outbox();
    let here = cluster.first_of(EAST);
    let digest = here.push_image("v1", from_ref(&content(1, 100))).await;
    let there = cluster.first_of(WEST);
    eventually("the image is there", async || {
        there.tagged("v1").await == Some(digest)
    })
    .await;
    let mutability = async |node: &crate::cluster::Node| {
        let described = node.registry.describe_repository(&root(), &app()).await;
        described.unwrap().mutability
    };
    assert_eq!(mutability(there).await, immutable);
    assert_eq!(mutability(here).await, Mutability::default());
    cluster.check(WEST);
}
