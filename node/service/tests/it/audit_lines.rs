//! What the audit log says of a request is what was asked for, and nothing else.

use std::fmt;
use std::sync::{Arc, Mutex};

use entrepot_service::ImageDeletionRequest;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::authorize::world::{ANY, World, allow, first, inline, policy};
use crate::cluster::{app, tag};
use crate::content::content;

/// The lines of the audit log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

// === impl Lines ===

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "audit"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Lines {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push(format!("{value:?}"));
    }
}

#[tokio::test]
async fn the_deletion_of_an_image_is_one_line_and_asks_for_nothing_else() {
    let world = World::new().await;
    let node = world.cluster.node(1);
    node.push_image("v1", &[content(1, 100)]).await;
    let ann = world.user(&first(), "ann").await;
    let all = policy(&[allow("ecr:*", ANY)]);
    world.global(inline(&first(), "ann", &all)).await;
    let request = ImageDeletionRequest {
        repository: app(),
        reference: tag("v1"),
        with_children: false,
        dry_run: false,
    };
    let lines = Lines::default();
    let logged = tracing::subscriber::set_default(lines.clone());
    let deleted = node.registry.remove_image(&ann, &request).await.unwrap();
    drop(logged);
    // She is not told of other accounts' repositories.
    assert!(!deleted.of_region);
    let lines = lines.all();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.contains("ecr:BatchDeleteImage"), "{line}");
    }
}
