//! One upload's bytes on their way to one destination.
//!
//! A stream that is torn is opened again and goes on where the destination says,
//! a few times; then it is left to the task of the push.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::{AccountId, Digest};
use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{Blank, DepositFinish, DepositHeader, DepositName, DepositPart};
use entrepot_proto::peers::PeerChannel;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::{debug, info};

use super::TapHeader;
use crate::ClusterBlobs;
use crate::deposit::{Ended, PIECES_WAITING_MAX, Start, last, send, start, stopped};
use crate::feed::{Feed, Next};
use crate::pace::Pace;
use crate::wire::cut;

/// Between the tries to open a stream that was torn.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// For a destination to say where to go on.
const OFFSET_TIMEOUT: Duration = Duration::from_secs(10);
const NAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the tries to tell it a name; the first are sooner than a task tries again
/// that would send the blob anew.
const NAME_AGAIN: [Duration; 6] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Who takes an upload's bytes.
#[derive(Debug)]
pub(super) struct To {
    pub(super) node: u64,
    pub(super) account: AccountId,
    /// Whether the destination says what it lacks before the first byte is sent.
    pub(super) asks_first: bool,
    /// None: as fast as the link takes them.
    pub(super) pace: Option<Arc<Pace>>,
}

#[derive(Debug)]
pub(super) struct Sender {
    /// All but the digest.
    name: DepositName,
    channel: Option<PeerChannel>,
    task: JoinHandle<()>,
}

struct Sending {
    bulk: PeerChannel,
    header: DepositHeader,
    feed: Arc<Feed>,
    pace: Option<Arc<Pace>>,
}

/// Whether it would be said again.
fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::Unimplemented
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::ResourceExhausted
    )
}

// === impl Sender ===

impl Sender {
    pub(super) fn start(
        blobs: &Arc<ClusterBlobs>,
        to: To,
        header: &TapHeader,
        feed: &Arc<Feed>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let feed = Arc::clone(feed);
        let name = DepositName {
            upload: header.upload.to_vec().into(),
            digest: String::new(),
            account: to.account.to_string(),
            source_account: header.account.to_string(),
            repository: header.repository.to_string(),
        };
        let header = DepositHeader {
            account: to.account.to_string(),
            source_account: header.account.to_string(),
            repository: header.repository.to_string(),
            upload: name.upload.clone(),
            digest: header.digest.map(|it| it.to_string()).unwrap_or_default(),
            size: 0,
            from_start: !to.asks_first,
        };
        let node = to.node;
        let bulk = blobs.peers().bulk_channel(node);
        let task = tokio::spawn(async move {
            let Some(bulk) = bulk else { return };
            let mut sending = Sending {
                bulk,
                header,
                feed,
                pace: to.pace,
            };
            if let Err(status) = sending.run().await {
                info!(node, %status, "an upload is not sent on; its task will");
            }
            drop(place);
        });
        Self {
            name,
            channel: blobs.peers().channel(node),
            task,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Tells the destination what the upload has become, ahead of the bytes that
    /// are still on their way: a task may ask for it any moment.
    pub(super) fn name(&self, digest: Digest) {
        let Some(channel) = self.channel.clone() else {
            return;
        };
        let name = DepositName {
            digest: digest.to_string(),
            ..self.name.clone()
        };
        tokio::spawn(async move {
            let mut client = ReplicationClient::new(channel);
            let mut again = NAME_AGAIN.into_iter();
            loop {
                let named = timeout(NAME_TIMEOUT, client.name_deposit(name.clone())).await;
                let (pause, error) = match named {
                    Ok(Ok(_)) => return,
                    // What was said may have got there, and is the same once more.
                    Ok(Err(status)) if !is_lasting(status.code()) => (again.next(), Some(status)),
                    Ok(Err(status)) => (None, Some(status)),
                    Err(_) => (None, None),
                };
                let Some(pause) = pause else {
                    debug!(%digest, ?error, "a destination was not told the name of a deposit");
                    return;
                };
                tokio::time::sleep(pause).await;
            }
        });
    }
}

// === impl Sending ===

impl Sending {
    async fn run(&mut self) -> Result<(), Status> {
        let mut again = AGAIN.into_iter();
        loop {
            let status = match self.once().await {
                Ok(Ended::Done | Ended::Held | Ended::Cancelled) => return Ok(()),
                Err(status) => status,
            };
            if is_lasting(status.code()) || self.feed.is_cancelled() {
                return Err(status);
            }
            let Some(pause) = again.next() else {
                return Err(status);
            };
            tokio::time::sleep(pause).await;
            self.header.from_start = false;
        }
    }

    async fn once(&self) -> Result<Ended, Status> {
        let (parts, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        let header = Part::Header(self.header.clone());
        send(&parts, header).await?;
        let mut client = ReplicationClient::new(self.bulk.clone());
        let mut call = std::pin::pin!(client.deposit(ReceiverStream::new(receiver)));
        if self.header.from_start {
            // The call is answered while its first pieces are on their way.
            let mut pump = std::pin::pin!(self.pump(0, &parts));
            tokio::select! {
                pumped = &mut pump => {
                    let cancelled = pumped?;
                    let replies = call.await?.into_inner();
                    return last(replies, cancelled).await;
                }
                replies = &mut call => {
                    let mut replies = replies?.into_inner();
                    return tokio::select! {
                        reply = stopped(&mut replies) => reply,
                        pumped = &mut pump => {
                            let cancelled = pumped?;
                            last(replies, cancelled).await
                        }
                    };
                }
            }
        }
        let silent = |_| Status::deadline_exceeded("no answer");
        let mut replies = timeout(OFFSET_TIMEOUT, call)
            .await
            .map_err(silent)??
            .into_inner();
        let offset = match start(&mut replies, OFFSET_TIMEOUT).await? {
            Start::At(offset) => offset,
            Start::Ended(ended) => return Ok(ended),
        };
        let cancelled = tokio::select! {
            reply = stopped(&mut replies) => return reply,
            pumped = self.pump(offset, &parts) => pumped?,
        };
        last(replies, cancelled).await
    }

    /// Sends what there is from `offset` on, to the end; whether that is a cancel.
    async fn pump(
        &self,
        mut offset: u64,
        parts: &mpsc::Sender<DepositPart>,
    ) -> Result<bool, Status> {
        loop {
            match self.feed.next(offset).await {
                Next::Bytes(bytes) => {
                    offset += bytes.len() as u64;
                    for piece in cut(bytes) {
                        if let Some(pace) = &self.pace {
                            pace.spend(piece.len() as u64).await;
                        }
                        send(parts, Part::Data(piece)).await?;
                    }
                }
                Next::Finished { digest, size } => {
                    let digest = digest.to_string();
                    send(parts, Part::Finish(DepositFinish { digest, size })).await?;
                    return Ok(false);
                }
                Next::Cancelled => {
                    send(parts, Part::Cancel(Blank {})).await?;
                    return Ok(true);
                }
                Next::Lost => return Err(Status::aborted("its bytes cannot be read back")),
            }
        }
    }
}
