//! `entrepot check`

use std::collections::BTreeSet;
use std::fmt::Write as _;

use entrepot_proto::admin::{CheckFilesReply, CheckRecordsReply, Finding, FindingKind};
use serde::Serialize;

use crate::human;
use crate::report::Report;

/// Findings that are shown; the others are counted.
const SHOWN_MAX: usize = 10_000;

#[derive(Debug, Default, Serialize)]
pub(crate) struct CheckReport {
    repair: bool,
    /// In order of id.
    nodes: Vec<Node>,
    manifests: u64,
    links: u64,
    blobs: u64,
    findings: Vec<Found>,
    findings_left_out: u64,
    /// Nodes that did not say which copies they have.
    silent: BTreeSet<u64>,
    /// Of all findings, those that were mended.
    mended: u64,
    /// False: it ended before all was looked at.
    complete: bool,
    #[serde(skip)]
    left: u64,
}

#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON")]
struct Node {
    node: u64,
    answered: bool,
    files: u64,
    records: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    kind: &'static str,
    node: Option<u64>,
    digest: Option<String>,
    bytes: u64,
    copies: Option<u64>,
    copies_wanted: Option<u64>,
    copies_unknown: Option<u64>,
    detail: Option<String>,
    mended: bool,
    failure: Option<String>,
}

fn name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Unspecified => "unknown",
        FindingKind::Orphan => "orphan",
        FindingKind::Missing => "missing",
        FindingKind::WrongSize => "wrong_size",
        FindingKind::Staging => "staging",
        FindingKind::LinkWithoutBlob => "link_without_blob",
        FindingKind::ManifestWithoutLink => "manifest_without_link",
        FindingKind::BlobWithoutLink => "blob_without_link",
        FindingKind::LinkForgotten => "link_forgotten",
    }
}

impl From<Finding> for Found {
    fn from(found: Finding) -> Self {
        let kind = found.kind();
        let is_copy = found.copies_wanted > 0;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            kind: name(kind),
            node: Some(found.node).filter(|node| *node != 0),
            digest: given(found.digest),
            bytes: found.bytes,
            copies: is_copy.then_some(found.copies),
            copies_wanted: is_copy.then_some(found.copies_wanted),
            copies_unknown: is_copy.then_some(found.copies_unknown),
            detail: given(found.detail),
            mended: found.mended,
            failure: given(found.failure),
        }
    }
}

// === impl Found ===

impl Found {
    fn row(&self) -> [String; 7] {
        let mended = match (&self.failure, self.mended) {
            (Some(failure), _) => failure.clone(),
            (None, true) => "yes".to_owned(),
            (None, false) => String::new(),
        };
        let copies = self.copies.zip(self.copies_wanted);
        [
            self.node.map(|node| node.to_string()).unwrap_or_default(),
            self.kind.replace('_', " "),
            self.digest
                .as_deref()
                .map(human::digest)
                .unwrap_or_default(),
            human::size(self.bytes),
            copies
                .map(|(copies, wanted)| match self.copies_unknown {
                    None | Some(0) => format!("{copies} of {wanted}"),
                    Some(unknown) => format!("{copies} of {wanted}, {unknown} unknown"),
                })
                .unwrap_or_default(),
            self.detail.clone().unwrap_or_default(),
            mended,
        ]
    }
}

// === impl CheckReport ===

impl CheckReport {
    pub(crate) fn new(repair: bool) -> Self {
        Self {
            repair,
            ..Self::default()
        }
    }

    /// Nothing was looked at.
    pub(crate) fn is_empty(&self) -> bool {
        let files = self.nodes.iter().map(|node| node.files + node.records);
        let records = self.manifests + self.links + self.blobs;
        self.findings.is_empty() && records + files.sum::<u64>() == 0
    }

    /// All was looked at.
    pub(crate) fn finish(&mut self) {
        self.complete = true;
    }

    pub(crate) fn add_files(&mut self, node: u64, page: CheckFilesReply) {
        let at = self.at(node);
        at.files += page.files;
        at.records += page.records;
        self.silent.extend(page.silent);
        self.find(page.findings);
    }

    pub(crate) fn add_records(&mut self, page: CheckRecordsReply) {
        self.manifests += page.manifests;
        self.links += page.links;
        self.blobs += page.blobs;
        self.find(page.findings);
    }

    /// A node did not answer, or not to the end.
    pub(crate) fn silent(&mut self, node: u64) {
        self.at(node).answered = false;
        self.left += 1;
        self.silent.insert(node);
    }

    /// Those that did not answer: they are not asked again.
    pub(crate) fn silent_nodes(&self) -> Vec<u64> {
        self.silent.iter().copied().collect()
    }

    /// What is wrong, or is not known.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn progress(&self, node: Option<u64>) -> String {
        let found = self.findings.len() as u64 + self.findings_left_out;
        match node {
            Some(node) => format!("Looking at the files of node {node}: {found} findings so far."),
            None => format!("Looking at the records: {found} findings so far."),
        }
    }

    fn at(&mut self, node: u64) -> &mut Node {
        let found = self.nodes.binary_search_by_key(&node, |it| it.node);
        let index = found.unwrap_or_else(|index| {
            let new = Node {
                node,
                answered: true,
                files: 0,
                records: 0,
            };
            self.nodes.insert(index, new);
            index
        });
        &mut self.nodes[index]
    }

    fn find(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            if finding.mended {
                self.mended += 1;
            } else {
                self.left += 1;
            }
            if self.findings.len() < SHOWN_MAX {
                self.findings.push(finding.into());
            } else {
                self.findings_left_out += 1;
            }
        }
    }

    fn looked_at(&self) -> String {
        let files: u64 = self.nodes.iter().map(|node| node.files).sum();
        format!(
            "Looked at {files} files on {}, {} manifests, {} links and {} blobs.",
            human::count(self.nodes.len(), "node"),
            self.manifests,
            self.links,
            self.blobs
        )
    }
}

impl Report for CheckReport {
    fn people(&self, _now_ms: i64) -> String {
        let mut text = String::new();
        if !self.findings.is_empty() {
            text += &human::table(
                [
                    "NODE", "FINDING", "DIGEST", "SIZE", "COPIES", "WHERE", "MENDED",
                ],
                self.findings.iter().map(Found::row),
            );
            text += "\n\n";
        }
        if self.findings_left_out > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "And {} more.", self.findings_left_out);
        }
        text += &self.looked_at();
        for node in self.nodes.iter().filter(|node| !node.answered) {
            let _ = write!(
                text,
                "\nNode {} did not answer: nothing is known of the rest of its files.",
                node.node
            );
        }
        let found = self.findings.len() as u64 + self.findings_left_out;
        let summary = match (found, self.repair) {
            (0, _) if self.left > 0 || !self.complete => String::new(),
            (0, _) => "\nEverything is as it should be.".to_owned(),
            (_, true) => format!("\n{} of {found} findings were mended.", self.mended),
            (_, false) => String::new(),
        };
        text += &summary;
        if !self.complete {
            text += "\nIt ended before all was looked at.";
        }
        text
    }
}
