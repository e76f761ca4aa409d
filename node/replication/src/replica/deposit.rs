//! The receiving end of a deposit.
//!
//! Bytes are staged here and on other nodes of the region as an upload's are. They
//! count once all are here and are the blob's. What a task brings is linked then;
//! what was sent along with an upload is, once an image names it (`claims.rs`):
//! until then nothing shows that there was an upload at all.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query;
use entrepot_oci::{AccountId, Algorithm, Digest, RepositoryName};
use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::deposit_reply::Result as Reply;
use entrepot_proto::peer::{
    Blank, DepositFinish, DepositHeader, DepositName, DepositPart, DepositReply, Refusal,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::claims::Place;
use super::deposits::{Deposit, Name, State, UploadId};
use super::{ReplicaServer, status};
use crate::error::ReplicationError;
use crate::wire;

/// For the source to send the next piece of a blob that it has.
const PIECE_TIMEOUT: Duration = Duration::from_mins(2);
/// The same of an upload, whose client may take its time.
const UPLOAD_PIECE_TIMEOUT: Duration = Duration::from_hours(1);
/// For an upload whose name was told to bring its first byte.
const BEGIN_WAIT: Duration = Duration::from_secs(1);
/// What an image waits for blobs that are about to be here.
const ARRIVING_WAIT: Duration = Duration::from_millis(500);

pub(super) type Replies = mpsc::Sender<Result<DepositReply, Status>>;

/// A header, as precise types.
struct Header {
    /// Whose blob it is at its source.
    source: String,
    account: AccountId,
    repository: RepositoryName,
    name: Name,
    digest: Option<Digest>,
    from_start: bool,
}

/// How the pieces of one stream ended.
enum Pieces {
    Finish(DepositFinish),
    Cancel,
    /// What was brought stays.
    Torn(Status),
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// Takes what one sender has of a blob.
    pub(super) async fn receive(self, mut parts: Streaming<DepositPart>, replies: Replies) {
        if let Err(status) = self.try_receive(&mut parts, &replies).await {
            // Nobody listening: nobody cares.
            let _ = replies.send(Err(status)).await;
        }
    }

    async fn try_receive(
        &self,
        parts: &mut Streaming<DepositPart>,
        replies: &Replies,
    ) -> Result<(), Status> {
        let first = parts.message().await?.and_then(|part| part.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument("the first message is the header"));
        };
        let header = Header::read(&header)?;
        self.allow(&header)?;
        if let Some(reply) = self.known(&header).await? {
            return say(replies, reply).await;
        }
        let deposit = self.deposits.enter(&header.name);
        let deposit = deposit.ok_or_else(|| Status::resource_exhausted("too many deposits"))?;
        if let Name::Digest(_) = header.name {
            // An upload that was named a moment ago may still be about to begin.
            deposit.begun(BEGIN_WAIT).await;
        }
        // Whoever sends it now may well bring it to its end.
        let mut state = deposit.state.lock().await;
        deposit.begin();
        match &*state {
            State::Done => return say(replies, Reply::Done(Blank {})).await,
            State::Gone => return Err(Status::aborted("it has just gone")),
            State::Whole(..) => {
                let ended = match header.name {
                    Name::Upload(_) => Ok(()),
                    Name::Digest(_) => self.keep(&deposit, &mut state, &header.place()).await,
                };
                drop(state);
                return say_ended(replies, ended).await;
            }
            State::Empty | State::Receiving(_) => {}
        }
        let received = self
            .fill(&deposit, &mut state, &header, parts, replies)
            .await;
        deposit.touch();
        let finish = match received {
            Ok(Pieces::Finish(finish)) => finish,
            Ok(Pieces::Torn(status)) => {
                drop(state);
                self.deposits.abandon();
                return Err(status);
            }
            Ok(Pieces::Cancel) => {
                self.discard(&deposit, &mut state).await;
                return Ok(());
            }
            Err(status) => {
                self.discard(&deposit, &mut state).await;
                return Err(status);
            }
        };
        let finished = self.finish(&deposit, &mut state, &header, finish).await;
        if finished.is_err() {
            *state = State::Gone;
            self.deposits.leave(&deposit);
        }
        drop(state);
        say_ended(replies, finished).await
    }

    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn allow(&self, header: &Header) -> Result<(), Status> {
        self.admit(&header.source, &header.account, &header.repository)
            .map_err(|error| status(&error))
    }

    /// What is to be said if no bytes are needed.
    async fn known(&self, header: &Header) -> Result<Option<Reply>, Status> {
        let Some(digest) = &header.digest else {
            return Ok(None);
        };
        let fail = |error: ReplicationError| status(&error);
        if let Name::Upload(id) = header.name {
            // Not linked before the source has it.
            let view = self
                .metadata
                .view(&self.group)
                .map_err(|error| fail(error.into()))?;
            let found = query::blob(view.as_ref(), digest).map_err(|error| fail(error.into()))?;
            let arriving = self.deposits.has_other(digest, &id);
            return Ok((found.is_some() || arriving).then_some(Reply::Held(Blank {})));
        }
        let has = self
            .has_blob(&header.account, &header.repository, digest)
            .await;
        Ok(has.map_err(fail)?.then_some(Reply::Done(Blank {})))
    }

    async fn fill(
        &self,
        deposit: &Arc<Deposit>,
        state: &mut State,
        header: &Header,
        parts: &mut Streaming<DepositPart>,
        replies: &Replies,
    ) -> Result<Pieces, Status> {
        if let State::Empty = state {
            let (algorithm, key) = header.staged_as();
            let begun = self.blobs.begin(algorithm, &key).await;
            let begun = begun.map_err(|error| status(&error))?;
            // Whoever pulls the blob may go on with it.
            begun.want();
            *state = State::Receiving(Box::new(begun));
        }
        let State::Receiving(upload) = state else {
            return Err(Status::internal("a deposit that takes no bytes"));
        };
        upload.flush().await.map_err(|error| status(&error))?;
        if header.from_start && upload.size() > 0 {
            return Ok(Pieces::Torn(Status::aborted("it was begun already")));
        }
        if let Err(gone) = say(replies, Reply::Offset(upload.size())).await {
            return Ok(Pieces::Torn(gone));
        }
        let patience = match header.name {
            Name::Upload(_) => UPLOAD_PIECE_TIMEOUT,
            Name::Digest(_) => PIECE_TIMEOUT,
        };
        loop {
            let part = match timeout(patience, parts.message()).await {
                Ok(Ok(part)) => part.and_then(|part| part.part),
                Ok(Err(torn)) => return Ok(Pieces::Torn(torn)),
                Err(_) => {
                    let silent = Status::deadline_exceeded("the source went silent");
                    return Ok(Pieces::Torn(silent));
                }
            };
            match part {
                Some(Part::Data(data)) => {
                    // What was allowed may not be any more.
                    self.allow(header)?;
                    upload.append(data).await.map_err(|error| status(&error))?;
                    deposit.touch();
                }
                Some(Part::Finish(finish)) => return Ok(Pieces::Finish(finish)),
                Some(Part::Cancel(_)) => return Ok(Pieces::Cancel),
                Some(Part::Header(_)) => {
                    return Err(Status::invalid_argument("a second header"));
                }
                None => return Ok(Pieces::Torn(Status::aborted("the stream ended early"))),
            }
        }
    }

    /// All bytes have come. Those of an upload wait for an image.
    async fn finish(
        &self,
        deposit: &Arc<Deposit>,
        state: &mut State,
        header: &Header,
        finish: DepositFinish,
    ) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let digest = wire::digest(&finish.digest).map_err(bad)?;
        let State::Receiving(mut upload) = std::mem::replace(state, State::Gone) else {
            return Err(ReplicationError::Refused("an end without bytes".to_owned()));
        };
        upload.flush().await?;
        if upload.size() != finish.size {
            upload.discard().await;
            return Err(ReplicationError::peer(
                0,
                Status::data_loss("it is not as long as its source says"),
            ));
        }
        if upload.is(&digest) == Some(false) {
            upload.discard().await;
            return Err(ReplicationError::Mismatch { expected: digest });
        }
        *state = State::Whole(upload, digest);
        if let Name::Digest(_) = header.name {
            return self.keep(deposit, state, &header.place()).await;
        }
        let is_first = self.deposits.whole(deposit, &digest);
        deposit.set_whole();
        if !is_first {
            self.discard(deposit, state).await;
        }
        Ok(())
    }

    pub(super) async fn discard(&self, deposit: &Arc<Deposit>, state: &mut State) {
        match std::mem::replace(state, State::Gone) {
            State::Receiving(upload) | State::Whole(upload, _) => upload.discard().await,
            State::Empty | State::Done | State::Gone => {}
        }
        self.deposits.leave(deposit);
    }

    /// An upload that is deposited here has become a blob.
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub(super) fn name(&self, name: &DepositName) -> Result<(), Status> {
        if name.account.is_empty() {
            // Of an older release. It is found by its digest when all of it is here.
            return Ok(());
        }
        let (account, repository) = (wire::name(&name.account)?, wire::name(&name.repository)?);
        self.admit(&name.source_account, &account, &repository)
            .map_err(|error| status(&error))?;
        let digest = wire::digest(&name.digest)?;
        self.deposits.name(&upload_id(&name.upload)?, digest);
        Ok(())
    }

    /// Waits a moment for those of `blobs` that are about to be here.
    pub(super) async fn await_arrivals(&self, blobs: &[Digest]) -> bool {
        let arriving: Option<Vec<_>> = blobs
            .iter()
            .map(|digest| self.deposits.of(digest))
            .map(|found| found.filter(|deposit| deposit.is_arriving()))
            .collect();
        // If one has to be sent anyway, so has the image.
        let Some(arriving) = arriving else {
            return false;
        };
        let arrived = arriving.iter().map(|deposit| deposit.arrived());
        timeout(ARRIVING_WAIT, futures::future::join_all(arrived))
            .await
            .is_ok()
    }
}

// === impl Header ===

impl Header {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn read(header: &DepositHeader) -> Result<Self, Status> {
        let digest = match header.digest.as_str() {
            "" => None,
            text => Some(wire::digest(text)?),
        };
        let name = match (&header.upload[..], digest) {
            ([], Some(digest)) => Name::Digest(digest),
            (upload, _) => Name::Upload(upload_id(upload)?),
        };
        Ok(Self {
            source: header.source_account.clone(),
            account: wire::name(&header.account)?,
            repository: wire::name(&header.repository)?,
            name,
            digest,
            from_start: header.from_start,
        })
    }

    /// Where a task brings its blob.
    fn place(&self) -> Place<'_> {
        Place {
            account: &self.account,
            repository: &self.repository,
        }
    }

    /// What hashes the bytes, and what chooses the nodes that get copies.
    fn staged_as(&self) -> (Algorithm, Vec<u8>) {
        let key = match (self.name, self.digest) {
            (_, Some(digest)) | (Name::Digest(digest), None) => digest.to_string().into_bytes(),
            (Name::Upload(id), None) => id.to_vec(),
        };
        let algorithm = self.digest.map_or(Algorithm::Sha256, |it| it.algorithm());
        (algorithm, key)
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn upload_id(bytes: &[u8]) -> Result<UploadId, Status> {
    let bad = |_| Status::invalid_argument("an upload's id has 16 bytes");
    bytes.try_into().map_err(bad)
}

async fn say_ended(replies: &Replies, ended: Result<(), ReplicationError>) -> Result<(), Status> {
    match ended {
        Ok(()) => say(replies, Reply::Done(Blank {})).await,
        Err(ReplicationError::Refused(message)) => {
            let code = "refused".to_owned();
            let refusal = Refusal {
                code,
                message,
                number: None,
            };
            say(replies, Reply::Refusal(refusal)).await
        }
        Err(error) => Err(status(&error)),
    }
}

async fn say(replies: &Replies, reply: Reply) -> Result<(), Status> {
    let reply = DepositReply {
        result: Some(reply),
    };
    let gone = |_| Status::cancelled("nobody listens");
    replies.send(Ok(reply)).await.map_err(gone)
}
