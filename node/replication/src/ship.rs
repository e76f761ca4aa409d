//! One task: an image goes to one destination region.
//!
//! It is sent as if all it names were there (`ship/call.rs`). What the destination
//! then says it lacks is brought here: asked for once more, digest by digest, so
//! that what another repository has there is linked; only the rest is streamed.
//! An image too large for a call, or for a destination of an older release, goes
//! manifest by manifest, from the leaves to the root, so that nothing becomes
//! visible before what it names. An index that the source took without some of
//! its manifests goes without those that are still not here; one that comes later
//! has a task of its own.

mod blob;
mod call;
mod image;
mod legacy;
mod relay;
mod removal;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Blob, Rule, Task, TaskKind};
use entrepot_oci::{Digest, RepositoryName};
use entrepot_proto::peer::replica_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{
    DepositHeader, MissingReply, MissingRequest, ReplicaManifest, ReplicaReply,
};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tonic::{Code, Request};
use tracing::debug;

use self::image::Image;
use self::relay::{Passed, Relay};
pub(crate) use self::relay::{pass_on, relay_of};
use crate::backlog::{Class, Running};
use crate::error::ReplicationError;
use crate::outbox::{Outbox, Outcome};
use crate::pace::Pace;
use crate::replica::{ASKED_MAX, DENIED};
use crate::{ClusterBlobs, placement};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Blobs of one task under way at the same time.
const BLOBS_AT_ONCE: usize = 4;
/// For another region to get what it is to pass on.
const RELAYED_PAUSE: Duration = Duration::from_millis(500);
/// Digests asked about in one call.
const ASK_MAX: usize = 5_000;
const _: () = assert!(ASK_MAX <= ASKED_MAX);

/// One destination node for the length of a task.
#[derive(Debug, Clone)]
struct Destination {
    node: u64,
    client: ReplicationClient<PeerChannel>,
    /// For blobs.
    bulk: ReplicationClient<PeerChannel>,
    /// None: as fast as the link takes them.
    pace: Option<Arc<Pace>>,
}

/// What goes there, and under which name.
struct Sent<'a> {
    task: &'a Task,
    name: &'a RepositoryName,
    image: &'a Image,
}

// === impl Outbox ===

impl Outbox {
    /// Brings what the destination lacks of a task's image, and the image itself
    /// where nothing was lacking. Safe to repeat.
    pub(crate) async fn bring(&self, running: &Running) -> Result<Outcome, ReplicationError> {
        let task = &running.task;
        if !self.is_wanted(task)? {
            return Ok(Outcome::NotMine);
        }
        let view = self.metadata.view(&self.group)?;
        let rule = asking(view.as_ref(), task)?;
        if !self.is_open(&rule) {
            return Ok(Outcome::Closed);
        }
        if task.kind == TaskKind::Delete {
            drop(view);
            self.ship_deletion(task, task.sequence, running.failures)
                .await?;
            return Ok(self.complete(task));
        }
        let name = name_there(task)?;
        let pace = self
            .blobs
            .pace(&task.key.account, &task.key.destination, &rule);
        let image = wanted_image(view.as_ref(), task)?;
        let destination = Destination {
            pace,
            ..self.destination(task, running.failures)?
        };
        if let Some(sequence) = task.deleted_before {
            match self.ship_deletion(task, sequence, running.failures).await {
                // The copy is newer. What the destination lets nobody delete, or will
                // hear nothing of any more, does not keep it away.
                Err(ReplicationError::Denied(reason) | ReplicationError::Refused(reason)) => {
                    debug!(task = %task.key, reason, "a deletion before the copy was refused");
                }
                sent => sent?,
            }
        }
        let sent = Sent {
            task,
            name: &name,
            image: &image,
        };
        let mut missing = MissingReply::default();
        if running.missing.is_empty() {
            missing = destination.missing(task, &name, &image).await?;
        } else {
            missing.blobs.clone_from(&running.missing);
        }
        if !missing.blobs.is_empty() {
            if running.brought {
                return Err(destination.lacks(missing.blobs.len()));
            }
            let relay = self.relay(view.as_ref(), &sent, running.failures)?;
            let shipped =
                self.ship_blobs(view.as_ref(), &destination, relay, &sent, &missing.blobs);
            return Ok(if shipped.await? {
                Outcome::Becomes(Class::Call, Vec::new())
            } else {
                Outcome::Later(RELAYED_PAUSE)
            });
        }
        let absent: BTreeSet<&str> = missing.manifests.iter().map(String::as_str).collect();
        for digest in &image.manifests {
            if *digest == task.key.digest || absent.contains(digest.to_string().as_str()) {
                self.ship_manifest(view.as_ref(), &destination, &sent, digest)
                    .await?;
            }
        }
        Ok(self.complete(task))
    }

    /// See [`Destination::of`]; the next node after each failure.
    fn destination(&self, task: &Task, failures: u32) -> Result<Destination, ReplicationError> {
        // As whoever reads through finds it there.
        let name = name_there(task)?;
        Destination::of(&self.blobs, &task.key.destination, &name, failures)
    }

    /// False: some are not where they are to be had from by now.
    async fn ship_blobs(
        &self,
        view: &dyn KeyValue,
        destination: &Destination,
        relay: Option<Relay>,
        sent: &Sent<'_>,
        missing: &[String],
    ) -> Result<bool, ReplicationError> {
        let (task, image) = (sent.task, sent.image);
        let absent: BTreeSet<&str> = missing.iter().map(String::as_str).collect();
        let mut wanted = Vec::new();
        for digest in &image.blobs {
            if absent.contains(digest.to_string().as_str()) {
                wanted.push(known(view, digest)?);
            }
        }
        let mut transfers: Vec<BoxFuture<'static, Result<bool, ReplicationError>>> =
            Vec::with_capacity(wanted.len());
        for blob in wanted {
            let into = DepositHeader {
                account: task.key.destination.account.to_string(),
                source_account: task.key.account.to_string(),
                repository: sent.name.to_string(),
                ..DepositHeader::default()
            };
            let (blobs, relay) = (Arc::clone(&self.blobs), relay.clone());
            let destination = destination.clone();
            let transfer = async move {
                if let Some(relay) = relay {
                    match relay.pass_on(&blob.digest).await {
                        Passed::On => return Ok(true),
                        Passed::NotYet if relay.waits => return Ok(false),
                        Passed::NotYet | Passed::Failed => {}
                    }
                }
                blob::put(destination, blobs, into, blob)
                    .await
                    .map(|()| true)
            };
            transfers.push(transfer.boxed());
        }
        stream::iter(transfers)
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_fold(true, |all, one| async move { Ok(all && one) })
            .await
    }

    async fn ship_manifest(
        &self,
        view: &dyn KeyValue,
        destination: &Destination,
        sent: &Sent<'_>,
        digest: &Digest,
    ) -> Result<(), ReplicationError> {
        let (task, image) = (sent.task, sent.image);
        let (account, repository) = (&task.key.account, &task.key.repository);
        // Read one by one: an index may name gigabytes of them.
        let manifest = query::manifest(view, account, repository, digest)?.ok_or_else(deleted)?;
        // The tag belongs to the image as a whole.
        let tag = task.key.tag.as_ref().filter(|_| *digest == task.key.digest);
        let mut request = Request::new(ReplicaManifest {
            account: task.key.destination.account.to_string(),
            source_account: task.key.account.to_string(),
            repository: sent.name.to_string(),
            digest: digest.to_string(),
            media_type: manifest.entry.media_type.to_string(),
            content: manifest.content,
            tag: tag.map(ToString::to_string).unwrap_or_default(),
            source_region: self.blobs.region().to_string(),
            source_sequence: task.sequence,
            source_repository: repository.to_string(),
            absent: image.absent(&manifest.entry),
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = destination.client.clone();
        let reply = client.put_manifest(request).await;
        destination.done(reply)
    }
}

/// The rule that asks for what the task does.
fn asking(view: &dyn KeyValue, task: &Task) -> Result<Rule, ReplicationError> {
    let mut asking = Vec::new();
    for rule in query::rules(view, &task.key.account)? {
        if rule.wants(view, task)? {
            asking.push(rule);
        }
    }
    let mut rules = query::by_destination(asking);
    rules
        .remove(&task.key.destination)
        .ok_or_else(|| ReplicationError::Refused("no rule asks for it any more".to_owned()))
}

/// The names of the task's repository at its destination.
fn names_there(task: &Task) -> Result<Vec<RepositoryName>, ReplicationError> {
    task.names_there().map_err(|error| {
        ReplicationError::Refused(format!("its name there would be wrong: {error}"))
    })
}

/// The one that a copy goes under.
fn name_there(task: &Task) -> Result<RepositoryName, ReplicationError> {
    let first = names_there(task)?.into_iter().next();
    Ok(first.unwrap_or_else(|| task.key.repository.clone()))
}

/// What a task is about.
fn wanted_image(view: &dyn KeyValue, task: &Task) -> Result<Image, ReplicationError> {
    image::collect(view, task)?.ok_or_else(deleted)
}

/// It was deleted after it was pushed; the deletion may not have taken the task
/// with it yet.
fn deleted() -> ReplicationError {
    ReplicationError::Refused("the image was deleted at the source".to_owned())
}

fn known(view: &dyn KeyValue, digest: &Digest) -> Result<Blob, ReplicationError> {
    query::blob(view, digest)?.ok_or_else(|| ReplicationError::NotFound(*digest))
}

// === impl Destination ===

impl Destination {
    /// A node of a destination's region that answers: the same one for the same
    /// repository there while the region does not change, another one in each turn.
    fn of(
        blobs: &ClusterBlobs,
        to: &query::Destination,
        name: &RepositoryName,
        turn: u32,
    ) -> Result<Self, ReplicationError> {
        let down = || ReplicationError::RegionDown(to.region.to_string());
        let key = placement::repository_key(&to.account, name);
        let ranked = placement::ranked(&key, blobs.health().alive_in(&to.region));
        let turn = (turn as usize).checked_rem(ranked.len());
        let node = turn.map(|turn| ranked[turn]).ok_or_else(down)?;
        let channel = blobs.peers().channel(node).ok_or_else(down)?;
        let bulk = blobs.peers().bulk_channel(node).ok_or_else(down)?;
        let client = |channel| {
            ReplicationClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        Ok(Self {
            node,
            client: client(channel),
            bulk: client(bulk),
            pace: None,
        })
    }

    async fn missing(
        &self,
        task: &Task,
        name: &RepositoryName,
        image: &Image,
    ) -> Result<MissingReply, ReplicationError> {
        let mut missing = MissingReply::default();
        let blobs: Vec<String> = image.blobs.iter().map(ToString::to_string).collect();
        let manifests: Vec<String> = image.manifests.iter().map(ToString::to_string).collect();
        let blobs = blobs
            .chunks(ASK_MAX)
            .map(|part| (part.to_vec(), Vec::new()));
        let manifests = manifests
            .chunks(ASK_MAX)
            .map(|part| (Vec::new(), part.to_vec()));
        for (blobs, manifests) in blobs.chain(manifests) {
            let mut request = Request::new(MissingRequest {
                account: task.key.destination.account.to_string(),
                source_account: task.key.account.to_string(),
                repository: name.to_string(),
                blobs,
                manifests,
            });
            request.set_timeout(CALL_TIMEOUT);
            let reply = self
                .client
                .clone()
                .missing(request)
                .await
                .map_err(|status| self.failed(status))?
                .into_inner();
            missing.blobs.extend(reply.blobs);
            missing.manifests.extend(reply.manifests);
        }
        Ok(missing)
    }

    /// Blobs are missing that were brought a moment ago. Whoever said so, the region
    /// that passes on or the destination, did not mean it: that is a failure, after
    /// which the task waits, and the source sends them by itself.
    fn lacks(&self, blobs: usize) -> ReplicationError {
        let said = format!("{blobs} blobs are missing though they were brought there");
        ReplicationError::peer(self.node, tonic::Status::aborted(said))
    }

    fn failed(&self, status: tonic::Status) -> ReplicationError {
        if status.code() == Code::PermissionDenied {
            ReplicationError::Denied(status.message().to_owned())
        } else {
            ReplicationError::peer(self.node, status)
        }
    }

    fn done(
        &self,
        reply: Result<tonic::Response<ReplicaReply>, tonic::Status>,
    ) -> Result<(), ReplicationError> {
        let reply = reply.map_err(|status| self.failed(status))?;
        match reply.into_inner().result {
            Some(Reply::Done(_)) => Ok(()),
            Some(Reply::Refusal(refusal)) if refusal.code == DENIED => {
                Err(ReplicationError::Denied(refusal.message))
            }
            Some(Reply::Refusal(refusal)) => Err(ReplicationError::Refused(refusal.message)),
            None => Err(ReplicationError::peer(
                self.node,
                tonic::Status::unknown("an empty answer"),
            )),
        }
    }
}
