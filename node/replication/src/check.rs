//! Holds this node's files against the region's records, a page at a time.
//!
//! Both come in the order of their digests, so that neither list is ever kept. What
//! seems to be wrong is looked at again a little later, against the newest state, and
//! only counts if it is still so: everything else goes on meanwhile. The invariant:
//! nothing is deleted here. A file that nobody knows goes the way of all others, by a
//! command that looks again; a copy is only ever made.

mod mending;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_blobs::{Abandoned, BlobStat};
use entrepot_metadata::query::{self, Blob};
use entrepot_metadata::seam::MetadataError;
use entrepot_metadata::{GroupId, KeyValue};
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peer::{
    CheckReply, CheckRequest, FileFault, FileFinding, PingRequest, StatRequest,
};
use entrepot_proto::peers::PeerChannel;
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Request;
use tracing::{debug, warn};

use crate::ClusterBlobs;
use crate::collection::{Records, STAGING_IDLE};
use crate::error::{ReplicationError, chain};

/// Files and records of one page, each.
const PAGE: usize = 500;
/// Before a page, so that a check leaves the disk to others: some 10,000 files a
/// second at most.
const PAGE_REST: Duration = Duration::from_millis(50);
/// From the first look to the second.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(3);
/// For a node to answer what it has.
const STAT_TIMEOUT: Duration = Duration::from_secs(3);
/// Nodes that are asked at the same time.
const STATS_AT_ONCE: usize = 16;
/// For all of them to tell of all that is wrong on a page; of what is left then, the
/// copies are not known.
const STATS_TIME: Duration = Duration::from_secs(6);
/// For a page, with what is mended of it: whoever asks waits for it.
const PAGE_TIMEOUT: Duration = Duration::from_secs(22);
/// A node that looks at a page is asked so often whether it is still there, and has so
/// long to say so.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Files and records side by side.
#[derive(Debug, Default)]
struct Page {
    pairs: BTreeMap<Digest, Pair>,
    files: u64,
    records: u64,
    /// None: there is nothing behind it.
    up_to: Option<Digest>,
}

#[derive(Debug, Default)]
struct Pair {
    file_bytes: Option<u64>,
    blob: Option<Blob>,
}

/// What is wrong with one blob here.
#[derive(Debug, Clone)]
struct Suspect {
    digest: Digest,
    fault: FileFault,
    file_bytes: Option<u64>,
    /// None: nobody knows it.
    blob: Option<Blob>,
}

/// Who did not answer within a run of pages, and is not asked again.
#[derive(Debug, Default)]
struct Silent(Mutex<BTreeSet<u64>>);

// === impl Silent ===

impl Silent {
    fn add(&self, node: u64) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(node);
    }

    fn contains(&self, node: u64) -> bool {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.contains(&node)
    }

    fn into_nodes(self) -> Vec<u64> {
        let nodes = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        nodes.into_iter().collect()
    }
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// Has `node` look at a page of its files; none: it did not answer, which shows
    /// within seconds.
    pub async fn check_at(
        self: &Arc<Self>,
        node: u64,
        request: CheckRequest,
    ) -> Result<Option<CheckReply>, ReplicationError> {
        if node == self.own() {
            let page = timeout(PAGE_TIMEOUT, self.check_page(&request)).await;
            return page.map_or(Ok(None), |page| page.map(Some));
        }
        let Some(channel) = self.peers.channel(node) else {
            return Ok(None);
        };
        let mut asked = Request::new(request);
        asked.set_timeout(PAGE_TIMEOUT);
        let mut client = BlobsClient::new(channel.clone());
        let page = tokio::select! {
            page = timeout(PAGE_TIMEOUT, client.check(asked)) => page,
            () = silence(channel) => return Ok(None),
        };
        match page {
            Ok(Ok(reply)) => Ok(Some(reply.into_inner())),
            Ok(Err(status)) => {
                debug!(node, %status, "a node does not look at its files");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// Looks at the files and records behind `after`.
    pub(crate) async fn check_page(
        self: &Arc<Self>,
        request: &CheckRequest,
    ) -> Result<CheckReply, ReplicationError> {
        let after = match request.after.as_str() {
            "" => None,
            after => Some(after.parse().map_err(|_| {
                ReplicationError::Refused(format!("{after:?} is no place to go on from"))
            })?),
        };
        let start = Instant::now();
        let records = self.known_records()?;
        tokio::time::sleep(PAGE_REST).await;
        let page = Page::read(self, records, after.as_ref()).await?;
        let mut reply = CheckReply {
            files: page.files,
            records: page.records,
            findings: Vec::new(),
            next: page.up_to.map(|it| it.to_string()).unwrap_or_default(),
            silent: Vec::new(),
        };
        let mut suspects = page.suspects(self, records)?;
        if !suspects.is_empty() {
            tokio::time::sleep(SECOND_LOOK_AFTER).await;
            records.metadata.linearize(&records.group).await?;
            suspects = self.still(records, suspects).await?;
        }
        let (findings, silent) = self.findings(&suspects, &request.silent).await;
        reply.silent = silent;
        reply.findings = if request.repair {
            let mended = self.mend(records, suspects, findings, request.at_ms, start);
            let mended = mended.await;
            if let Some(cut_at) = mended.cut_at {
                reply.next = cut_at.to_string();
            }
            mended.findings
        } else {
            findings
        };
        if after.is_none() {
            reply
                .findings
                .extend(self.left_behind(request.repair).await);
        }
        Ok(reply)
    }

    fn known_records(&self) -> Result<&Records, ReplicationError> {
        self.records.get().ok_or_else(|| {
            ReplicationError::Metadata(MetadataError::Unavailable {
                group: GroupId::region(self.region().clone()),
                reason: "the node is starting".to_owned(),
            })
        })
    }

    /// What is wrong with a blob, as far as can be told now.
    fn fault(
        &self,
        view: &dyn KeyValue,
        digest: &Digest,
        file_bytes: Option<u64>,
        blob: Option<&Blob>,
    ) -> Result<Option<FileFault>, ReplicationError> {
        let Some(blob) = blob else {
            let is_orphan = file_bytes.is_some() && self.is_nobodys(view, digest)?;
            return Ok(is_orphan.then_some(FileFault::Orphan));
        };
        // What the metadata keeps needs no file.
        let is_filed = blob.content.is_none();
        Ok(match file_bytes {
            Some(bytes) if is_filed && bytes != blob.size => Some(FileFault::WrongSize),
            None if is_filed && self.placement(digest).contains(&self.own()) => {
                Some(FileFault::Missing)
            }
            _ => None,
        })
    }

    /// Those of which the newest state says the same.
    async fn still(
        &self,
        records: &Records,
        suspects: Vec<Suspect>,
    ) -> Result<Vec<Suspect>, ReplicationError> {
        let mut still = Vec::new();
        for suspect in suspects {
            let digest = suspect.digest;
            // Somebody writes or deletes it just now.
            let Some(_turn) = self.turns.try_take(&digest) else {
                continue;
            };
            let file = self.store.stat(&digest).await?;
            let file_bytes = file.map(|file| file.size);
            let view = records.metadata.view(&records.group)?;
            let blob = query::blob(view.as_ref(), &digest)?;
            let fault = self.fault(view.as_ref(), &digest, file_bytes, blob.as_ref())?;
            if fault == Some(suspect.fault) {
                still.push(Suspect {
                    file_bytes,
                    blob,
                    ..suspect
                });
            }
        }
        Ok(still)
    }

    /// Asks the others for their copies of what is not right here, but for those that
    /// are known to be silent. With whoever did not answer.
    async fn findings(&self, suspects: &[Suspect], known: &[u64]) -> (Vec<FileFinding>, Vec<u64>) {
        let silent = Silent::default();
        let here = self.peers.in_region(self.region());
        for node in here.iter().filter(|node| known.contains(node)) {
            silent.add(*node);
        }
        let until = Instant::now() + STATS_TIME;
        let asked = suspects.iter().map(|it| self.finding(it, &silent, until));
        let asked: Vec<_> = asked.collect();
        let findings = stream::iter(asked).buffered(STATS_AT_ONCE).collect().await;
        (findings, silent.into_nodes())
    }

    async fn finding(&self, suspect: &Suspect, silent: &Silent, until: Instant) -> FileFinding {
        let finding = FileFinding {
            fault: suspect.fault.into(),
            digest: suspect.digest.to_string(),
            files: suspect.file_bytes.map_or(0, |_| 1),
            ..FileFinding::default()
        };
        let Some(blob) = &suspect.blob else {
            return FileFinding {
                bytes: suspect.file_bytes.unwrap_or_default(),
                ..finding
            };
        };
        let (mut copies, mut copies_unknown) = (0, 0);
        for node in self.placement(&blob.digest) {
            if node == self.own() {
                continue;
            }
            match self.has_copy(node, blob, silent, until).await {
                Some(true) => copies += 1,
                Some(false) => {}
                None => copies_unknown += 1,
            }
        }
        FileFinding {
            bytes: blob.size,
            copies,
            copies_unknown,
            copies_wanted: self.copies() as u64,
            ..finding
        }
    }

    /// Whether a node has all of a blob; none: it does not say.
    async fn has_copy(
        &self,
        node: u64,
        blob: &Blob,
        silent: &Silent,
        until: Instant,
    ) -> Option<bool> {
        // One that is down, or hangs, would be waited for, for each of many blobs.
        if silent.contains(node) || Instant::now() >= until {
            return None;
        }
        let channel = self.peers.channel(node);
        let Some(channel) = channel.filter(|_| self.health.is_alive(node)) else {
            silent.add(node);
            return None;
        };
        let mut request = Request::new(StatRequest {
            digest: blob.digest.to_string(),
            verify: false,
        });
        request.set_timeout(STAT_TIMEOUT);
        let mut client = BlobsClient::new(channel);
        let own_end = Instant::now() + STAT_TIMEOUT;
        let reply = timeout_at(until.min(own_end), client.stat(request)).await;
        match reply {
            Ok(Ok(reply)) => {
                let stat = reply.into_inner();
                return Some(stat.found && stat.size == blob.size);
            }
            Ok(Err(status)) => {
                let digest = blob.digest;
                debug!(node, %digest, %status, "a node does not tell of its copy");
            }
            Err(_) => {}
        }
        // Where the page's time was over first, the node has had less than its own: of
        // this copy nothing is known, and nothing of whether the node answers.
        if Instant::now() >= own_end {
            silent.add(node);
        }
        None
    }

    /// That it cannot be looked at is a finding too: the others are no worse for it.
    async fn left_behind(&self, delete: bool) -> Option<FileFinding> {
        let staging = FileFinding {
            fault: FileFault::Staging.into(),
            ..FileFinding::default()
        };
        let found = match self.store.abandoned(STAGING_IDLE, delete).await {
            Ok(found) => found,
            Err(error) => {
                let failure = chain(&error);
                warn!(
                    error = failure,
                    "what uploads have left behind is not looked at"
                );
                return Some(FileFinding { failure, ..staging });
            }
        };
        let Abandoned {
            files,
            bytes,
            failed,
        } = found;
        let failure = match failed {
            0 => String::new(),
            failed => format!("{failed} could not be looked at or deleted: see the node's log"),
        };
        (files + failed > 0).then(|| FileFinding {
            files: files + failed,
            bytes,
            mended: delete && failed == 0,
            failure,
            ..staging
        })
    }
}

/// Returns when the node at the other end does not answer any more.
async fn silence(channel: PeerChannel) {
    let mut client = NodeClient::new(channel);
    while let Ok(Ok(_)) = timeout(PING_TIMEOUT, client.ping(PingRequest::default())).await {
        tokio::time::sleep(PING_INTERVAL).await;
    }
}

// === impl Page ===

impl Page {
    async fn read(
        blobs: &ClusterBlobs,
        records: &Records,
        after: Option<&Digest>,
    ) -> Result<Self, ReplicationError> {
        let files = blobs.store.list(after, PAGE).await?;
        let view = records.metadata.view(&records.group)?;
        let known = query::blobs(view.as_ref(), after, PAGE)?;
        drop(view);
        // Where one of them goes on, the other is only looked at up to there.
        let last_file = files.last().filter(|_| files.len() >= PAGE);
        let last_blob = known.last().filter(|_| known.len() >= PAGE);
        let last = last_file.map(|it| it.digest).into_iter();
        let up_to = last.chain(last_blob.map(|it| it.digest)).min();
        let is_within = |digest: &Digest| up_to.is_none_or(|up_to| *digest <= up_to);
        let mut page = Self {
            up_to,
            ..Self::default()
        };
        for BlobStat { digest, size } in files {
            if is_within(&digest) {
                page.pairs.entry(digest).or_default().file_bytes = Some(size);
                page.files += 1;
            }
        }
        for blob in known {
            if is_within(&blob.digest) {
                page.records += 1;
                let digest = blob.digest;
                page.pairs.entry(digest).or_default().blob = Some(blob);
            }
        }
        Ok(page)
    }

    fn suspects(
        self,
        blobs: &ClusterBlobs,
        records: &Records,
    ) -> Result<Vec<Suspect>, ReplicationError> {
        let view = records.metadata.view(&records.group)?;
        let mut suspects = Vec::new();
        for (digest, Pair { file_bytes, blob }) in self.pairs {
            let fault = blobs.fault(view.as_ref(), &digest, file_bytes, blob.as_ref())?;
            suspects.extend(fault.map(|fault| Suspect {
                digest,
                fault,
                file_bytes,
                blob,
            }));
        }
        Ok(suspects)
    }
}
