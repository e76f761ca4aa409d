//! What happened, as webhooks are told it: a `CloudEvent` (1.0) whose data is what ECR
//! puts into the `detail` of its events (`ECR Image Action`, `ECR Replication
//! Action`).
//!
//! The invariant: an event's id follows from the log alone, so that whoever gets
//! it twice can tell.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use entrepot_metadata::query::{Change, RepositoryChanges};
use entrepot_oci::{Digest, RegionName, RegistryId, RepositoryName, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What webhooks may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An image was pushed, or a tag moved.
    Push,
    /// An image or a tag was deleted.
    Delete,
    /// An image arrived from another region.
    Replicate,
    /// An image went into the archive, or came back.
    StorageClass,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// Whose order it belongs to; none: the whole registry's.
    pub(super) repository: Option<RepositoryName>,
    /// None: everybody is told.
    pub(super) kind: Option<EventKind>,
    pub(super) id: String,
    /// A `CloudEvent`, JSON.
    pub(super) content: Bytes,
}

/// Makes the events of what one entry of the log changed in one repository.
struct Maker<'a> {
    region: &'a RegionName,
    changed: &'a RepositoryChanges,
    index: u64,
    at_ms: i64,
    /// Of the next event.
    number: usize,
    events: Vec<Event>,
}

/// The events of what the entry at `index` changed in a repository. `at_ms`: when
/// that is looked at.
pub(super) fn of_changes(
    region: &RegionName,
    index: u64,
    changed: &RepositoryChanges,
    at_ms: i64,
) -> Vec<Event> {
    let mut maker = Maker {
        region,
        changed,
        index,
        at_ms,
        number: 0,
        events: Vec::new(),
    };
    let tagged = |wanted: &Digest| {
        changed.changes.iter().any(|change| match change {
            Change::TagMoved { digest, .. } => digest == wanted,
            Change::TagDeleted { previous, .. } => previous.as_ref() == Some(wanted),
            _ => false,
        })
    };
    for change in &changed.changes {
        match change {
            Change::TagMoved {
                tag,
                digest,
                source_region,
                ..
            } => maker.arrived(digest, Some(tag), source_region.as_ref()),
            // With a tag, it is told as the tag's.
            Change::ManifestPut { digest, .. } if !tagged(digest) => {
                maker.arrived(digest, None, None);
            }
            Change::TagDeleted { tag, previous } => maker.deleted(previous.as_ref(), Some(tag)),
            Change::ManifestDeleted { digest } if !tagged(digest) => {
                maker.deleted(Some(digest), None);
            }
            Change::StorageClass { digest, archived } => maker.moved(digest, *archived),
            Change::ManifestPut { .. } | Change::ManifestDeleted { .. } => {}
        }
    }
    if changed.truncated {
        maker.unlisted();
    }
    maker.events
}

/// That what happened from one log index to another is not remembered any more.
pub(super) fn lost(
    region: &RegionName,
    account: &RegistryId,
    (from, to): (u64, u64),
    at_ms: i64,
) -> Event {
    let id = id_of(&format!("{region}/{account}/{from}-{to}"));
    let data = json!({ "from-index": from, "to-index": to });
    Event {
        repository: None,
        kind: None,
        content: cloud_event(&Head {
            id: &id,
            at_ms,
            kind: "entrepot.events.lost",
            detail_type: "Entrepot Events Lost",
            source: format!("arn:aws:ecr:{region}:{account}:registry"),
            subject: None,
            data,
        }),
        id,
    }
}

/// A message that says nothing.
pub(super) fn test(region: &RegionName, account: &RegistryId, webhook: &str, at_ms: i64) -> Event {
    let id = id_of(&format!("{region}/{account}/{webhook}/{at_ms}"));
    Event {
        repository: None,
        kind: None,
        content: cloud_event(&Head {
            id: &id,
            at_ms,
            kind: "entrepot.webhook.test",
            detail_type: "Entrepot Webhook Test",
            source: format!("arn:aws:ecr:{region}:{account}:registry"),
            subject: Some(webhook.to_owned()),
            data: json!({ "webhook": webhook }),
        }),
        id,
    }
}

/// The same for the same text, and of signs that every receiver takes.
fn id_of(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("evt_{}", &hash[..32])
}

struct Head<'a> {
    id: &'a str,
    at_ms: i64,
    kind: &'a str,
    /// As the events of ECR itself have it.
    detail_type: &'a str,
    source: String,
    subject: Option<String>,
    data: Value,
}

fn cloud_event(head: &Head<'_>) -> Bytes {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(head.at_ms).unwrap_or(0));
    let mut event = json!({
        "specversion": "1.0",
        "id": head.id,
        "type": head.kind,
        "source": head.source,
        "time": humantime::format_rfc3339_millis(at).to_string(),
        "datacontenttype": "application/json",
        "detailtype": head.detail_type,
        "data": head.data,
    });
    if let (Some(subject), Some(members)) = (&head.subject, event.as_object_mut()) {
        members.insert("subject".to_owned(), Value::from(subject.as_str()));
    }
    event.to_string().into()
}

// === impl Maker ===

impl Maker<'_> {
    fn arrived(&mut self, digest: &Digest, tag: Option<&Tag>, source: Option<&RegionName>) {
        let mut detail = self.detail(Some(digest), tag);
        let Some(source) = source else {
            detail.insert("action-type".to_owned(), "PUSH".into());
            self.image_action(EventKind::Push, tag, Some(digest), detail);
            return;
        };
        detail.insert("action-type".to_owned(), "REPLICATE".into());
        detail.insert("source-region".to_owned(), source.as_str().into());
        let names = ("aws.ecr.replication-action", "ECR Replication Action");
        self.push(EventKind::Replicate, names, tag, Some(digest), detail);
    }

    fn deleted(&mut self, digest: Option<&Digest>, tag: Option<&Tag>) {
        let mut detail = self.detail(digest, tag);
        detail.insert("action-type".to_owned(), "DELETE".into());
        self.image_action(EventKind::Delete, tag, digest, detail);
    }

    /// Into the archive, or out of it.
    fn moved(&mut self, digest: &Digest, archived: bool) {
        let mut detail = self.detail(Some(digest), None);
        let class = if archived { "ARCHIVE" } else { "STANDARD" };
        detail.insert("action-type".to_owned(), "UPDATE_STORAGE_CLASS".into());
        detail.insert("target-storage-class".to_owned(), class.into());
        self.image_action(EventKind::StorageClass, None, Some(digest), detail);
    }

    /// The entry changed more than is remembered: the repository is to be listed.
    fn unlisted(&mut self) {
        let repository = &self.changed.repository;
        let id = self.next_id();
        let content = cloud_event(&Head {
            id: &id,
            at_ms: self.at_ms,
            kind: "entrepot.repository.changed",
            detail_type: "Entrepot Repository Changed",
            source: self.source(),
            subject: None,
            data: json!({ "repository-name": repository.as_str() }),
        });
        self.events.push(Event {
            repository: Some(repository.clone()),
            kind: None,
            id,
            content,
        });
    }

    fn detail(&self, digest: Option<&Digest>, tag: Option<&Tag>) -> Map<String, Value> {
        let mut detail = Map::new();
        let mut put = |name: &str, value: String| {
            detail.insert(name.to_owned(), Value::from(value));
        };
        put("result", "SUCCESS".to_owned());
        put("repository-name", self.changed.repository.to_string());
        if let Some(digest) = digest {
            put("image-digest", digest.to_string());
        }
        if let Some(tag) = tag {
            put("image-tag", tag.to_string());
        }
        detail
    }

    fn image_action(
        &mut self,
        kind: EventKind,
        tag: Option<&Tag>,
        digest: Option<&Digest>,
        detail: Map<String, Value>,
    ) {
        let names = ("aws.ecr.image-action", "ECR Image Action");
        self.push(kind, names, tag, digest, detail);
    }

    fn push(
        &mut self,
        kind: EventKind,
        (name, detail_type): (&str, &str),
        tag: Option<&Tag>,
        digest: Option<&Digest>,
        detail: Map<String, Value>,
    ) {
        let id = self.next_id();
        let subject = tag
            .map(ToString::to_string)
            .or_else(|| digest.map(ToString::to_string));
        let content = cloud_event(&Head {
            id: &id,
            at_ms: self.at_ms,
            kind: name,
            detail_type,
            source: self.source(),
            subject,
            data: Value::Object(detail),
        });
        self.events.push(Event {
            repository: Some(self.changed.repository.clone()),
            kind: Some(kind),
            id,
            content,
        });
    }

    fn source(&self) -> String {
        let RepositoryChanges {
            account,
            repository,
            ..
        } = self.changed;
        let region = self.region;
        format!("arn:aws:ecr:{region}:{account}:repository/{repository}")
    }

    /// One for each event of the region, for ever.
    fn next_id(&mut self) -> String {
        let number = self.number;
        self.number += 1;
        let RepositoryChanges {
            account,
            repository,
            ..
        } = self.changed;
        let (region, index) = (self.region, self.index);
        id_of(&format!("{region}/{index}/{account}/{repository}/{number}"))
    }
}
