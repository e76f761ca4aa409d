//! `entrepot gc` and `entrepot image delete`

use std::fmt::Write as _;

use entrepot_oci::RepositoryName;
use entrepot_proto::admin::{
    self, CollectionStatusReply, DeleteImageReply, NodeCollection, PreviewCollectionReply,
    RunCollectionReply,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::human;
use crate::report::Report;

// === gc status ===

#[derive(Debug, Serialize)]
pub(crate) struct CollectionReport {
    region: String,
    begun: bool,
    walked: bool,
    floor: u64,
    unreferenced_after_ms: u64,
    links_waiting: u64,
    blobs_waiting: u64,
    /// None: no link waits.
    oldest_goes_at_ms: Option<i64>,
    counted_max: u64,
    nodes: Vec<Node>,
}

/// Of a node that did not answer, only the files that it has still to delete are
/// known.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON")]
struct Node {
    node: u64,
    answered: bool,
    driving_since_ms: Option<i64>,
    links: Option<u64>,
    blobs: Option<u64>,
    bytes: Option<u64>,
    failures: Option<u64>,
    last_failure: Option<String>,
    files_deleted: Option<u64>,
    file_failures: Option<u64>,
    files_pending: u64,
}

impl From<NodeCollection> for Node {
    fn from(node: NodeCollection) -> Self {
        let known = |number: u64| node.answered.then_some(number);
        Self {
            node: node.node,
            answered: node.answered,
            driving_since_ms: Some(node.driving_since_ms).filter(|ms| *ms != 0),
            links: known(node.links),
            blobs: known(node.blobs),
            bytes: known(node.bytes),
            failures: known(node.failures),
            last_failure: Some(node.last_failure).filter(|text| !text.is_empty()),
            files_deleted: known(node.files_deleted),
            file_failures: known(node.file_failures),
            files_pending: node.files_pending,
        }
    }
}

impl From<CollectionStatusReply> for CollectionReport {
    fn from(reply: CollectionStatusReply) -> Self {
        Self {
            region: reply.region,
            begun: reply.begun,
            walked: reply.walked,
            floor: reply.floor,
            unreferenced_after_ms: reply.unreferenced_after_ms,
            links_waiting: reply.links_waiting,
            blobs_waiting: reply.blobs_waiting,
            oldest_goes_at_ms: Some(reply.oldest_goes_at_ms).filter(|ms| *ms != 0),
            counted_max: reply.counted_max,
            nodes: reply.nodes.into_iter().map(Node::from).collect(),
        }
    }
}

impl Node {
    fn row(&self, now_ms: i64) -> [String; 8] {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let since = self
            .driving_since_ms
            .map(|since| human::between(since, now_ms));
        let failures = self.failures.zip(self.file_failures);
        [
            self.node.to_string(),
            if self.answered {
                since.map(|since| format!("drives for {since}"))
            } else {
                Some("no answer".to_owned())
            }
            .unwrap_or_default(),
            number(self.links),
            number(self.blobs),
            self.bytes.map(human::size).unwrap_or_default(),
            number(self.files_deleted),
            self.files_pending.to_string(),
            number(failures.map(|(steps, files)| steps + files)),
        ]
    }
}

impl CollectionReport {
    fn waiting(&self, now_ms: i64) -> String {
        let counted = |number: u64| {
            if number >= self.counted_max {
                format!("{number} or more")
            } else {
                number.to_string()
            }
        };
        let after = human::duration(self.unreferenced_after_ms);
        let mut text = format!(
            "Waiting: {} blobs that no image of their repository names, which go after {after}; {} \
             that no repository has.",
            counted(self.links_waiting),
            counted(self.blobs_waiting)
        );
        if let Some(oldest) = self.oldest_goes_at_ms {
            let first = match human::between(now_ms, oldest) {
                _ if oldest <= now_ms => "\nThe first of them is due.".to_owned(),
                left => format!("\nThe first of them goes in {left}."),
            };
            text += &first;
        }
        text
    }
}

impl Report for CollectionReport {
    fn people(&self, now_ms: i64) -> String {
        let mut text = human::table(
            [
                "NODE",
                "COLLECTION",
                "LINKS",
                "BLOBS",
                "BYTES",
                "FILES DELETED",
                "PENDING",
                "FAILURES",
            ],
            self.nodes.iter().map(|node| node.row(now_ms)),
        );
        text += "\n\n";
        if !self.begun {
            text += "Collection has not begun: that needs all nodes of the cluster to know of it.";
            return text;
        }
        if !self.walked {
            text += "What was there before collection began is still being looked through.\n";
        }
        text += &self.waiting(now_ms);
        let _ = write!(
            text,
            "\nCopies count that were looked at from log index {} on.",
            self.floor
        );
        for node in &self.nodes {
            if let Some(failure) = &node.last_failure {
                let _ = write!(
                    text,
                    "\nThe last failure of node {}: {}",
                    node.node,
                    human::plain(failure)
                );
            }
        }
        text
    }
}

// === gc run ===

#[derive(Debug, Default, Serialize)]
pub(crate) struct CollectionPreviewReport {
    as_of_ms: i64,
    unreferenced_after_ms: u64,
    copies: u64,
    now: Amount,
    later: Amount,
    #[serde(skip)]
    looked_at: u64,
}

#[derive(Debug, Default, Serialize)]
struct Amount {
    links: u64,
    blobs: u64,
    bytes: u64,
    file_bytes: u64,
}

impl Amount {
    fn add(&mut self, page: Option<&admin::Collectable>) {
        let Some(page) = page else { return };
        self.links += page.links;
        self.blobs += page.blobs;
        self.bytes = self.bytes.saturating_add(page.bytes);
        self.file_bytes = self.file_bytes.saturating_add(page.file_bytes);
    }
}

impl CollectionPreviewReport {
    pub(crate) fn add(&mut self, page: &PreviewCollectionReply) {
        self.as_of_ms = page.as_of_ms;
        self.unreferenced_after_ms = page.unreferenced_after_ms;
        self.copies = page.copies;
        self.now.add(page.now.as_ref());
        self.later.add(page.later.as_ref());
        self.looked_at += page.looked_at;
    }

    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at
    }
}

impl Report for CollectionPreviewReport {
    fn people(&self, _now_ms: i64) -> String {
        let row = |when: String, amount: &Amount| {
            [
                when,
                amount.links.to_string(),
                amount.blobs.to_string(),
                human::size(amount.bytes),
                human::size(amount.file_bytes),
            ]
        };
        let after = human::duration(self.unreferenced_after_ms);
        human::table(
            ["WHEN", "LINKS", "BLOBS", "BYTES", "ON DISKS"],
            [
                row("now".to_owned(), &self.now),
                row(format!("later, within {after}"), &self.later),
            ],
        )
    }
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct CollectedReport {
    links: u64,
    blobs: u64,
    bytes: u64,
    files_pending: u64,
    /// Why nobody knows which of the files are still there; none: it is known.
    files_failure: Option<String>,
    /// False: it ended before its time.
    complete: bool,
}

impl CollectedReport {
    /// Nothing has gone.
    pub(crate) fn is_empty(&self) -> bool {
        (self.links, self.blobs) == (0, 0)
    }

    /// All is done that was due.
    pub(crate) fn finish(&mut self) {
        self.complete = true;
    }

    /// Nobody tells any more what becomes of the files.
    pub(crate) fn lose_sight(&mut self, failure: &Failure) {
        self.files_failure = Some(failure.to_string());
    }

    pub(crate) fn add(&mut self, step: &RunCollectionReply) {
        self.links += step.links;
        self.blobs += step.blobs;
        self.bytes = self.bytes.saturating_add(step.bytes);
        self.files_pending = step.files_pending;
    }

    pub(crate) fn files_pending(&self) -> u64 {
        self.files_pending
    }

    pub(crate) fn pend(&mut self, files: u64) {
        self.files_pending = files;
    }

    pub(crate) fn progress(&self) -> String {
        format!(
            "{} blobs of {} collected, {} files to delete.",
            self.blobs,
            human::size(self.bytes),
            self.files_pending
        )
    }
}

impl Report for CollectedReport {
    fn people(&self, _now_ms: i64) -> String {
        let mut text = format!(
            "{} blobs were taken out of repositories, and {} of {} are gone that no repository has \
             any more.",
            self.links,
            self.blobs,
            human::size(self.bytes)
        );
        if let Some(failure) = &self.files_failure {
            let _ = write!(
                text,
                "\n{} files had still to be deleted, and it is not known how many are: {failure}",
                self.files_pending
            );
        } else if self.files_pending > 0 {
            let _ = write!(
                text,
                "\n{} files are still there, on nodes that do not answer or are at it.",
                self.files_pending
            );
        }
        if !self.complete {
            text += "\nIt ended before all was done.";
        }
        text
    }
}

// === image delete ===

#[derive(Debug, Serialize)]
pub(crate) struct DeletedImage {
    repository: RepositoryName,
    dry_run: bool,
    digest: String,
    manifests: Vec<Manifest>,
    tags: Vec<String>,
    children_left: u64,
    blobs: u64,
    blob_bytes: u64,
    unique_blobs: u64,
    unique_bytes: u64,
    of_region: bool,
    unreferenced_after_ms: u64,
    /// Of a child that may have gone or not; none: all went.
    failed: Option<Failed>,
    /// Children that stay since another one failed before.
    untried: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Failed {
    digest: String,
    failure: String,
}

#[derive(Debug, Serialize)]
struct Manifest {
    digest: String,
    media_type: String,
    bytes: u64,
}

impl DeletedImage {
    pub(crate) fn new(repository: RepositoryName, reply: DeleteImageReply, dry_run: bool) -> Self {
        let manifests = reply.manifests.into_iter().map(|it| Manifest {
            digest: it.digest,
            media_type: it.media_type,
            bytes: it.bytes,
        });
        Self {
            repository,
            dry_run,
            digest: reply.digest,
            manifests: manifests.collect(),
            tags: reply.tags,
            children_left: reply.children_left,
            blobs: reply.blobs,
            blob_bytes: reply.blob_bytes,
            unique_blobs: reply.unique_blobs,
            unique_bytes: reply.unique_bytes,
            of_region: reply.of_region,
            unreferenced_after_ms: reply.unreferenced_after_ms,
            failed: (!reply.failed.is_empty()).then_some(Failed {
                digest: reply.failed,
                failure: reply.failure,
            }),
            untried: reply.untried,
        }
    }

    /// Manifests that were to go and may be there.
    pub(crate) fn left(&self) -> usize {
        self.untried.len() + usize::from(self.failed.is_some())
    }

    /// Of what was to go with an index and did not.
    fn not_gone(&self, failed: &Failed) -> String {
        let failure = human::plain(&failed.failure);
        let mut text = format!(
            "\n{} may have gone or not: {failure}",
            human::plain(&failed.digest)
        );
        if self.untried.is_empty() {
            return text;
        }
        let number = human::count(self.untried.len(), "manifest");
        let _ = write!(
            text,
            "\n{number} left without a tag, to be deleted by digest:"
        );
        for digest in &self.untried {
            let _ = write!(text, "\n  {}", human::plain(digest));
        }
        text
    }
}

impl Report for DeletedImage {
    fn people(&self, _now_ms: i64) -> String {
        let (goes, go, frees) = if self.dry_run {
            ("would go", "would go", "That would free")
        } else {
            ("is gone", "are gone", "That frees")
        };
        let tags: Vec<String> = self.tags.iter().map(|tag| human::plain(tag)).collect();
        let tags = human::list(&tags);
        let digest = human::digest(&self.digest);
        if self.manifests.is_empty() {
            return format!("The tag {tags} {goes}. The image {digest} stays: others name it.");
        }
        let number = self.manifests.len();
        let mut text = format!(
            "{} of {digest} {}",
            human::count(number, "manifest"),
            if number == 1 { goes } else { go }
        );
        if tags.is_empty() {
            text += ".";
        } else {
            let _ = write!(text, ", with the tags: {tags}.");
        }
        if self.children_left > 0 {
            let _ = write!(
                text,
                "\n{} of the index {} without a tag: --children takes them with it.",
                self.children_left,
                if self.dry_run { "would stay" } else { "stay" }
            );
        }
        if let Some(failed) = &self.failed {
            // What that frees is not known.
            return text + &self.not_gone(failed);
        }
        let whose = if self.of_region {
            "no other repository"
        } else {
            "no other repository of this registry"
        };
        let _ = write!(
            text,
            "\n{} blobs of {} are named by no other image of {}; {} of {} {whose} has.\n{frees} {} \
             of each copy, {} after.",
            self.blobs,
            human::size(self.blob_bytes),
            self.repository,
            self.unique_blobs,
            human::size(self.unique_bytes),
            human::size(self.unique_bytes),
            human::duration(self.unreferenced_after_ms)
        );
        text
    }
}
