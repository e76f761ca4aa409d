//! Many tasks in one call: each image with its manifests and its small blobs, as
//! if the destination had all the rest.
//!
//! The invariant: a task ends only by an answer of the destination's that is about
//! it. What is not answered is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, TaskKind};
use entrepot_oci::RepositoryName;
use entrepot_proto::peer::replica_image_reply::Result as Reply;
use entrepot_proto::peer::{
    MissingReply, ReplicaImage, ReplicaImageBlob, ReplicaImageManifest, ReplicaImageReply,
    ReplicaImages,
};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{CALL_TIMEOUT, Destination, asking, deleted, known, name_there, wanted_image};
use crate::backlog::{Class, Failure, Running};
use crate::error::ReplicationError;
use crate::outbox::{Outbox, Outcome};
use crate::replica::{DENIED, IMAGES_MAX};

/// Of one image's manifests and small blobs; what is larger is asked about first.
const IMAGE_BYTES_MAX: usize = 1024 * 1024;
/// Of one call's images.
const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Blobs that are missing at a destination and are more than this in all have to
/// wait for other places than those that are less, bytes.
const LIGHT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A task that is ready to be sent.
struct Ready {
    running: Running,
    image: ReplicaImage,
}

/// Tasks for one node.
struct Calls {
    destination: Destination,
    /// By call, with its bytes.
    calls: Vec<(usize, Vec<Ready>)>,
}

// === impl Outbox ===

impl Outbox {
    /// Sends these tasks' images, which are for one region. Places are given back
    /// before the tasks' ends are written down.
    pub(crate) async fn call_all(
        self: Arc<Self>,
        tasks: Vec<Running>,
        place: OwnedSemaphorePermit,
    ) {
        let mut settling = FuturesUnordered::new();
        let mut calls: BTreeMap<u64, Calls> = BTreeMap::new();
        for running in tasks {
            match self.ready(&running) {
                Ok(Ok((destination, image))) => calls
                    .entry(destination.node)
                    .or_insert_with(|| Calls::new(destination))
                    .add(Ready { running, image }),
                Ok(Err(outcome)) => settling.push(self.settle(running, Ok(outcome))),
                Err(error) => settling.push(self.settle(running, Err(error))),
            }
        }
        let calls = calls.into_values().flat_map(|calls| {
            let destination = calls.destination;
            let calls = calls.calls.into_iter();
            calls.map(move |(_, ready)| (destination.clone(), ready))
        });
        let calls = calls.map(|(destination, ready)| self.call(destination, ready));
        let settled = async { while settling.next().await.is_some() {} };
        let (answered, ()) = futures::future::join(join_all(calls), settled).await;
        drop(place);
        let ends = answered.into_iter().flatten();
        join_all(ends.map(|(running, outcome)| self.settle(running, outcome))).await;
    }

    /// What to send where; or what has become of the task instead.
    fn ready(
        &self,
        running: &Running,
    ) -> Result<Result<(Destination, ReplicaImage), Outcome>, ReplicationError> {
        let task = &running.task;
        if !self.is_wanted(task)? {
            return Ok(Err(Outcome::NotMine));
        }
        let view = self.metadata.view(&self.group)?;
        let rule = asking(view.as_ref(), task)?;
        if !self.is_open(&rule) {
            return Ok(Err(Outcome::Closed));
        }
        if task.kind == TaskKind::Delete || task.deleted_before.is_some() {
            return Ok(Err(Outcome::Becomes(Class::Light, Vec::new())));
        }
        let name = name_there(task)?;
        let unanswered = self.backlog.unanswered(&task.key.destination.region);
        let destination = self.destination(task, running.failures.max(unanswered))?;
        let Some(image) = whole_image(view.as_ref(), running, &name)? else {
            return Ok(Err(Outcome::Becomes(Class::Heavy, Vec::new())));
        };
        Ok(Ok((destination, image)))
    }

    /// One call, and what became of those of its tasks that were answered for.
    /// The others are put off.
    async fn call(
        &self,
        destination: Destination,
        ready: Vec<Ready>,
    ) -> Vec<(Running, Result<Outcome, ReplicationError>)> {
        let (running, images): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .map(|it| (Some(it.running), it.image))
            .unzip();
        let mut left = running;
        let request = ReplicaImages {
            source_region: self.blobs.region().to_string(),
            images,
        };
        let mut answered = Vec::with_capacity(left.len());
        let ended = self
            .answers(&destination, request, &mut left, &mut answered)
            .await;
        let Err(status) = ended else {
            return answered;
        };
        let is_old = status.code() == Code::Unimplemented;
        if is_old && let Some(running) = left.iter().flatten().next() {
            self.backlog.answered(&running.task.key.destination.region);
        }
        let error = ReplicationError::peer(destination.node, status);
        for running in left.into_iter().flatten() {
            if is_old {
                answered.push((running, Ok(Outcome::Becomes(Class::Heavy, Vec::new()))));
            } else {
                self.postpone(running, Failure::Destination, &error);
            }
        }
        answered
    }

    /// Makes a call; takes those who are answered from `left`.
    async fn answers(
        &self,
        destination: &Destination,
        request: ReplicaImages,
        left: &mut [Option<Running>],
        answered: &mut Vec<(Running, Result<Outcome, ReplicationError>)>,
    ) -> Result<(), Status> {
        let silent = |_| Status::deadline_exceeded("no answer");
        let mut client = destination.client.clone();
        let replies = timeout(CALL_TIMEOUT, client.put_images(request)).await;
        let mut replies = replies.map_err(silent)??.into_inner();
        while left.iter().any(Option::is_some) {
            let reply = timeout(CALL_TIMEOUT, replies.message()).await;
            let reply = reply.map_err(silent)??;
            let reply = reply.ok_or_else(|| Status::aborted("answers are missing"))?;
            let place = left.get_mut(reply.image as usize);
            let Some(running) = place.and_then(Option::take) else {
                return Err(Status::aborted("an answer to no question"));
            };
            self.backlog.answered(&running.task.key.destination.region);
            let outcome = self.outcome(&running, destination.node, reply);
            answered.push((running, outcome));
        }
        Ok(())
    }

    fn outcome(
        &self,
        running: &Running,
        node: u64,
        reply: ReplicaImageReply,
    ) -> Result<Outcome, ReplicationError> {
        match reply.result {
            Some(Reply::Done(_)) => Ok(self.complete(&running.task)),
            Some(Reply::Refusal(refusal)) if refusal.code == DENIED => {
                Err(ReplicationError::Denied(refusal.message))
            }
            Some(Reply::Refusal(refusal)) => Err(ReplicationError::Refused(refusal.message)),
            Some(Reply::Missing(missing)) => {
                let class = self.class(&missing)?;
                Ok(Outcome::Becomes(class, missing.blobs))
            }
            Some(Reply::Retry(why)) => Err(ReplicationError::peer(node, Status::unavailable(why))),
            None => Err(ReplicationError::peer(
                node,
                Status::unknown("an empty answer"),
            )),
        }
    }

    /// By the bytes that are missing.
    fn class(&self, missing: &MissingReply) -> Result<Class, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let mut bytes = 0;
        for text in &missing.blobs {
            if let Ok(digest) = text.parse() {
                bytes += query::blob(view.as_ref(), &digest)?.map_or(0, |blob| blob.size);
            }
        }
        Ok(if bytes > LIGHT_BYTES_MAX {
            Class::Heavy
        } else {
            Class::Light
        })
    }
}

/// None: it is too large.
fn whole_image(
    view: &dyn KeyValue,
    running: &Running,
    name: &RepositoryName,
) -> Result<Option<ReplicaImage>, ReplicationError> {
    let task = &running.task;
    let (account, repository) = (&task.key.account, &task.key.repository);
    let image = wanted_image(view, task)?;
    let mut bytes = 0;
    let mut manifests = Vec::with_capacity(image.manifests.len());
    for digest in &image.manifests {
        let manifest = query::manifest(view, account, repository, digest)?;
        let manifest = manifest.ok_or_else(deleted)?;
        let manifest = ReplicaImageManifest {
            digest: digest.to_string(),
            media_type: manifest.entry.media_type.to_string(),
            absent: image.absent(&manifest.entry),
            content: manifest.content,
        };
        bytes += manifest.encoded_len();
        if bytes > IMAGE_BYTES_MAX {
            return Ok(None);
        }
        manifests.push(manifest);
    }
    let mut contents = Vec::new();
    for digest in &image.blobs {
        let blob = known(view, digest)?;
        bytes += digest.to_string().len();
        if let Some(content) = blob.content {
            let digest = digest.to_string();
            let blob = ReplicaImageBlob { digest, content };
            bytes += blob.encoded_len();
            contents.push(blob);
        }
        if bytes > IMAGE_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(ReplicaImage {
        account: task.key.destination.account.to_string(),
        source_account: account.to_string(),
        source_repository: repository.to_string(),
        repository: name.to_string(),
        tag: task
            .key
            .tag
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        source_sequence: task.sequence,
        manifests,
        blobs: image.blobs.iter().map(ToString::to_string).collect(),
        contents,
    }))
}

// === impl Calls ===

impl Calls {
    fn new(destination: Destination) -> Self {
        Self {
            destination,
            calls: Vec::new(),
        }
    }

    fn add(&mut self, ready: Ready) {
        let size = ready.image.encoded_len();
        if let Some((bytes, call)) = self.calls.last_mut()
            && *bytes + size <= CALL_BYTES_MAX
            && call.len() < IMAGES_MAX
        {
            *bytes += size;
            call.push(ready);
        } else {
            self.calls.push((size, vec![ready]));
        }
    }
}
