//! Uploads that belong to another node: passing requests on to the owner
//! (client side) and taking them (server side). The node that speaks to the
//! client has already authenticated and authorised it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_oci::{Digest, RegistryId, RepositoryName};
use entrepot_proto::peer::upload_reply::Result as Reply;
use entrepot_proto::peer::upload_write::Part;
use entrepot_proto::peer::uploads_client::UploadsClient;
use entrepot_proto::peer::uploads_server::Uploads;
use entrepot_proto::peer::{Blank, Refusal, UploadHeader, UploadRef, UploadReply, UploadWrite};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use entrepot_replication::wire::{self, Outgoing, Pieces};
use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use crate::session::SessionId;
use crate::sessions::Session;
use crate::upload::{BodyStream, UploadChunk};
use crate::{Caller, Registry, ServiceError};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Relayed requests that carry a body are as slow as their client.
const BODY_TIMEOUT: Duration = Duration::from_hours(24);

/// Takes what other nodes pass on to this node's uploads.
#[derive(Debug, Clone)]
pub struct UploadsServer {
    registry: Arc<Registry>,
}

// === impl Registry: passing on ===

impl Registry {
    pub(crate) async fn relay_append(
        &self,
        id: &SessionId,
        upload: UploadRef,
        chunk: UploadChunk,
    ) -> Result<u64, ServiceError> {
        size(self.relay_write(id, upload, chunk, None).await?)
    }

    pub(crate) async fn relay_finish(
        &self,
        id: &SessionId,
        upload: UploadRef,
        chunk: UploadChunk,
        digest: &Digest,
    ) -> Result<(), ServiceError> {
        let digest = digest.to_string();
        let reply = self
            .relay_write(id, upload, chunk, Some(digest.clone()))
            .await?;
        match reply.result {
            Some(Reply::Digest(text)) if text == digest => Ok(()),
            Some(Reply::Refusal(refusal)) => Err(error(refusal)),
            _ => Err(unexpected(id)),
        }
    }

    async fn relay_write(
        &self,
        id: &SessionId,
        upload: UploadRef,
        chunk: UploadChunk,
        digest: Option<String>,
    ) -> Result<UploadReply, ServiceError> {
        let header = UploadHeader {
            upload: Some(upload),
            offset: chunk.offset,
            digest,
            length: chunk.length,
        };
        let owner = self.owner(id)?;
        let bulk = self
            .peers
            .bulk_channel(owner)
            .ok_or(ServiceError::UploadUnknown)?;
        let mut client = UploadsClient::new(bulk).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let stalled = Arc::new(AtomicBool::new(false));
        let body = telling_stalled(chunk.body, Arc::clone(&stalled));
        let mut request = Request::new(parts(header, body));
        request.set_timeout(BODY_TIMEOUT);
        let reply = client.write(request).await.map_err(|s| failed(id, &s))?;
        if stalled.load(Ordering::Relaxed) {
            // The owner only knows that the body has no end.
            return Err(ServiceError::UploadStalled);
        }
        Ok(reply.into_inner())
    }

    pub(crate) async fn relay_status(
        &self,
        id: &SessionId,
        upload: UploadRef,
    ) -> Result<u64, ServiceError> {
        let (mut owner, request) = self.ask(id, upload)?;
        let reply = owner.status(request).await.map_err(|s| failed(id, &s))?;
        size(reply.into_inner())
    }

    pub(crate) async fn relay_cancel(
        &self,
        id: &SessionId,
        upload: UploadRef,
    ) -> Result<(), ServiceError> {
        let (mut owner, request) = self.ask(id, upload)?;
        let reply = owner.cancel(request).await.map_err(|s| failed(id, &s))?;
        size(reply.into_inner()).map(drop)
    }

    /// What a question to the owner, which carries no body, is made of.
    fn ask(
        &self,
        id: &SessionId,
        upload: UploadRef,
    ) -> Result<(UploadsClient<PeerChannel>, Request<UploadRef>), ServiceError> {
        let owner = self.owner(id)?;
        let channel = self
            .peers
            .channel(owner)
            .ok_or(ServiceError::UploadUnknown)?;
        let mut request = Request::new(upload);
        request.set_timeout(CALL_TIMEOUT);
        Ok((UploadsClient::new(channel), request))
    }

    /// The owner. In another region the session is one of another registry, even
    /// where all names are the same.
    fn owner(&self, id: &SessionId) -> Result<u64, ServiceError> {
        self.peers
            .get(id.owner)
            .filter(|owner| owner.region == *self.region())
            .map(|owner| owner.id)
            .ok_or(ServiceError::UploadUnknown)
    }
}

pub(crate) fn upload_ref(who: &Caller, repository: &RepositoryName, session: &str) -> UploadRef {
    UploadRef {
        account: who.account.to_string(),
        repository: repository.to_string(),
        session: session.to_owned(),
    }
}

/// `body`, which notes in `stalled` that the client stopped sending it.
fn telling_stalled(body: BodyStream, stalled: Arc<AtomicBool>) -> BodyStream {
    Box::pin(body.inspect(move |item| {
        let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
        if item.as_ref().is_err_and(timed_out) {
            stalled.store(true, Ordering::Relaxed);
        }
    }))
}

/// The header, the body, and an end only if the body had one.
fn parts(header: UploadHeader, body: BodyStream) -> Outgoing<UploadWrite> {
    let header = stream::iter([Part::Header(header)]);
    let body = stream::unfold(Some((body, Pieces::default())), |state| async move {
        let (mut body, mut pieces) = state?;
        match body.next().await {
            Some(Ok(chunk)) => {
                let full = pieces.push(chunk).into_iter().map(Part::Data).collect();
                Some((full, Some((body, pieces))))
            }
            Some(Err(_)) => {
                let rest: Vec<_> = pieces.finish().map(Part::Data).into_iter().collect();
                Some((rest, None))
            }
            None => {
                let rest = pieces.finish().map(Part::Data);
                Some((
                    rest.into_iter().chain([Part::End(Blank {})]).collect(),
                    None,
                ))
            }
        }
    })
    .flat_map(stream::iter);
    let parts = header
        .chain(body)
        .map(|part| UploadWrite { part: Some(part) });
    Outgoing::new(parts)
}

fn size(reply: UploadReply) -> Result<u64, ServiceError> {
    match reply.result {
        Some(Reply::Size(size)) => Ok(size),
        Some(Reply::Refusal(refusal)) => Err(error(refusal)),
        _ => Err(ServiceError::unavailable(
            "the node that owns this upload gave no answer",
        )),
    }
}

fn failed(id: &SessionId, status: &Status) -> ServiceError {
    warn!(owner = id.owner, %status, "an upload could not be passed on to its owner");
    ServiceError::unavailable("the node that owns this upload does not answer; start it again")
}

fn unexpected(id: &SessionId) -> ServiceError {
    warn!(
        owner = id.owner,
        "the owner of an upload gave a senseless answer"
    );
    ServiceError::unavailable("the node that owns this upload gave a senseless answer")
}

// === impl UploadsServer ===

impl UploadsServer {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    fn session(
        &self,
        upload: Option<&UploadRef>,
    ) -> Result<Result<Arc<Session>, ServiceError>, Status> {
        let upload = upload.ok_or_else(|| Status::invalid_argument("no upload is named"))?;
        let account: RegistryId = wire::name(&upload.account)?;
        let repository: RepositoryName = wire::name(&upload.repository)?;
        let own = self.registry.peers.own().id;
        Ok(self
            .registry
            .names
            .parse(&upload.session, &account, &repository)
            .filter(|id| id.owner == own)
            .ok_or(ServiceError::UploadUnknown)
            .and_then(|id| self.registry.sessions.get(&id, &account, &repository)))
    }
}

#[tonic::async_trait]
impl Uploads for UploadsServer {
    async fn write(
        &self,
        request: Request<Streaming<UploadWrite>>,
    ) -> Result<Response<UploadReply>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|write| write.part) else {
            return Err(Status::invalid_argument("the first message is the header"));
        };
        let session = match self.session(header.upload.as_ref())? {
            Ok(session) => session,
            Err(error) => return Ok(Response::new(refused(&error))),
        };
        let chunk = UploadChunk {
            offset: header.offset,
            length: header.length,
            body: body(parts),
        };
        let answer = match header.digest {
            None => match self.registry.append_owned(session, chunk).await {
                Ok(size) => reply(Reply::Size(size)),
                Err(error) => refused(&error),
            },
            Some(digest) => {
                let digest = wire::digest(&digest)?;
                match self.registry.finish_owned(session, chunk, digest).await {
                    Ok(blob) => reply(Reply::Digest(blob.digest.to_string())),
                    Err(error) => refused(&error),
                }
            }
        };
        Ok(Response::new(answer))
    }

    async fn status(&self, request: Request<UploadRef>) -> Result<Response<UploadReply>, Status> {
        let answer = match self.session(Some(request.get_ref()))? {
            Ok(session) => reply(Reply::Size(session.size())),
            Err(error) => refused(&error),
        };
        Ok(Response::new(answer))
    }

    async fn cancel(&self, request: Request<UploadRef>) -> Result<Response<UploadReply>, Status> {
        let cancelled = match self.session(Some(request.get_ref()))? {
            Ok(session) => self.registry.cancel_owned(&session).await,
            Err(error) => Err(error),
        };
        Ok(Response::new(match cancelled {
            Ok(()) => reply(Reply::Size(0)),
            Err(error) => refused(&error),
        }))
    }
}

/// The relayed body; a stream that ends without its end is torn.
fn body(parts: Streaming<UploadWrite>) -> BodyStream {
    Box::pin(stream::unfold(Some(parts), |parts| async move {
        let mut parts = parts?;
        match parts.message().await {
            Ok(Some(UploadWrite {
                part: Some(Part::Data(data)),
            })) => Some((Ok(data), Some(parts))),
            Ok(Some(UploadWrite {
                part: Some(Part::End(_)),
            })) => None,
            Ok(_) => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), None)),
            Err(status) => Some((Err(std::io::Error::other(status)), None)),
        }
    }))
}

fn reply(result: Reply) -> UploadReply {
    UploadReply {
        result: Some(result),
    }
}

fn refused(error: &ServiceError) -> UploadReply {
    reply(Reply::Refusal(refusal(error)))
}

// === errors on the wire ===

const UPLOAD_UNKNOWN: &str = "upload_unknown";
const UPLOAD_INVALID: &str = "upload_invalid";
const UPLOAD_STALLED: &str = "upload_stalled";
const RANGE_INVALID: &str = "range_invalid";
const SIZE_INVALID: &str = "size_invalid";
const LIMIT_EXCEEDED: &str = "limit_exceeded";
const BLOB_TOO_LARGE: &str = "blob_too_large";
const DIGEST_INVALID: &str = "digest_invalid";
const CONFLICT: &str = "conflict";
const UNAVAILABLE: &str = "unavailable";
const NAME_UNKNOWN: &str = "name_unknown";
const CREATION_OFF: &str = "creation_off";
const DELETING: &str = "repository_deleting";
const FULL: &str = "full";
const INTERNAL: &str = "internal";
const INVALID: &str = "invalid";

/// What an upload's owner tells the node that speaks to the client.
fn refusal(error: &ServiceError) -> Refusal {
    let (code, number) = match error {
        ServiceError::UploadUnknown => (UPLOAD_UNKNOWN, None),
        ServiceError::UploadInvalid(_) => (UPLOAD_INVALID, None),
        ServiceError::UploadStalled => (UPLOAD_STALLED, None),
        ServiceError::RangeInvalid { size } => (RANGE_INVALID, Some(*size)),
        ServiceError::SizeInvalid { received, .. } => (SIZE_INVALID, Some(*received)),
        ServiceError::BlobTooLarge { max } => (BLOB_TOO_LARGE, Some(*max)),
        ServiceError::LimitExceeded(_) => (LIMIT_EXCEEDED, None),
        ServiceError::DigestInvalid(_) => (DIGEST_INVALID, None),
        ServiceError::Conflict(_) => (CONFLICT, None),
        ServiceError::NameUnknown(_) => (NAME_UNKNOWN, None),
        ServiceError::CreationOff(_) => (CREATION_OFF, None),
        ServiceError::RepositoryDeleting(_) => (DELETING, None),
        ServiceError::Full => (FULL, None),
        ServiceError::Internal { .. } => (INTERNAL, None),
        ServiceError::Invalid(_) => (INVALID, None),
        _ => (UNAVAILABLE, None),
    };
    let message = match error {
        ServiceError::Internal { id } => id.clone(),
        ServiceError::NameUnknown(name)
        | ServiceError::CreationOff(name)
        | ServiceError::RepositoryDeleting(name) => name.to_string(),
        ServiceError::SizeInvalid { declared, .. } => declared.to_string(),
        other => other.to_string(),
    };
    Refusal {
        code: code.to_owned(),
        message,
        number,
    }
}

/// The error that a refusal stands for.
fn error(refusal: Refusal) -> ServiceError {
    let message = refusal.message;
    let number = refusal.number.unwrap_or_default();
    match refusal.code.as_str() {
        UPLOAD_UNKNOWN => ServiceError::UploadUnknown,
        UPLOAD_INVALID => ServiceError::UploadInvalid(message),
        UPLOAD_STALLED => ServiceError::UploadStalled,
        RANGE_INVALID => ServiceError::RangeInvalid { size: number },
        SIZE_INVALID => ServiceError::SizeInvalid {
            declared: message.parse().unwrap_or_default(),
            received: number,
        },
        BLOB_TOO_LARGE => ServiceError::BlobTooLarge { max: number },
        LIMIT_EXCEEDED => ServiceError::LimitExceeded(message),
        DIGEST_INVALID => ServiceError::DigestInvalid(message),
        CONFLICT => ServiceError::Conflict(message),
        FULL => ServiceError::Full,
        INTERNAL => ServiceError::Internal { id: message },
        INVALID => ServiceError::Invalid(message),
        NAME_UNKNOWN => match message.parse() {
            Ok(name) => ServiceError::NameUnknown(name),
            Err(_) => ServiceError::NotFound(message),
        },
        DELETING => match message.parse() {
            Ok(name) => ServiceError::RepositoryDeleting(name),
            Err(_) => ServiceError::NotFound(message),
        },
        CREATION_OFF => match message.parse() {
            Ok(name) => ServiceError::CreationOff(name),
            Err(_) => ServiceError::NotFound(message),
        },
        _ => ServiceError::Unavailable { reason: message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_another_node() {
        for original in [
            ServiceError::UploadUnknown,
            ServiceError::UploadInvalid("torn".to_owned()),
            ServiceError::UploadStalled,
            ServiceError::RangeInvalid { size: 7 },
            ServiceError::SizeInvalid {
                declared: 9,
                received: 8,
            },
            ServiceError::BlobTooLarge { max: 9 },
            ServiceError::LimitExceeded("enough".to_owned()),
            ServiceError::DigestInvalid("wrong".to_owned()),
            ServiceError::Conflict("busy".to_owned()),
            ServiceError::NameUnknown("app".parse().unwrap()),
            ServiceError::CreationOff("app".parse().unwrap()),
            ServiceError::RepositoryDeleting("app".parse().unwrap()),
            ServiceError::Full,
            ServiceError::Internal {
                id: "1f".to_owned(),
            },
            ServiceError::Invalid("nonsense".to_owned()),
            ServiceError::Unavailable {
                reason: "later".to_owned(),
            },
        ] {
            assert_eq!(error(refusal(&original)), original);
        }
    }
}
