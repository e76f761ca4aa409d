//! The end of an upload: its bytes become a blob, and the blob part of its
//! repository.
//!
//! What is durable here is never asked for again because copies, or the metadata,
//! could not be had at that moment: the session stays until the blob is linked,
//! or until it expires, and the same request once more does what is missing.

use entrepot_oci::Digest;
use entrepot_replication::ReplicationError;
use entrepot_replication::upload::{self, Stored};
use futures::StreamExt;

use crate::sessions::{Session, Work};
use crate::upload::UploadChunk;
use crate::{BlobInfo, BodyStream, Registry, ServiceError};

/// Collections of a blob that come in between, one after the other, before its upload
/// has to be finished anew.
const COLLECTIONS_MAX: usize = 4;

/// What an upload has come to whose content has proved right.
#[derive(Debug)]
pub(crate) enum Settling {
    /// To be kept by the metadata.
    Inline(Stored),
    Copied(Box<upload::Settling>),
}

impl Registry {
    pub(crate) async fn finish_here(
        &self,
        session: &Session,
        chunk: UploadChunk,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let mut work = session.lock().await?;
        if matches!(*work, Work::Settling(_)) {
            // The last chunk once more, or nothing.
            let passed = pass_over(chunk.body, session.size());
            tokio::time::timeout(self.settings.upload_expiry, passed)
                .await
                .map_err(|_| invalid("the request body stalled"))??;
        } else {
            self.receive(session, &mut work, chunk, Some(&digest))
                .await?;
        }
        self.commit(session, &mut work, digest).await
    }

    async fn commit(
        &self,
        session: &Session,
        work: &mut Work,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let settling = match std::mem::replace(work, Work::Ended) {
            Work::Small(content) => Stored::inline(digest, content.freeze()).map(Settling::Inline),
            Work::Receiving(upload) => {
                let settling = upload.commit_here(digest).await;
                settling.map(|settling| Settling::Copied(Box::new(settling)))
            }
            Work::Settling(settling) if *settling.digest() == digest => Ok(settling),
            Work::Settling(settling) => {
                let text = format!("the upload is {}, not {digest}", settling.digest());
                *work = Work::Settling(settling);
                return Err(ServiceError::DigestInvalid(text));
            }
            Work::Ended => return Err(ServiceError::UploadUnknown),
        };
        let mut settling = settling.inspect_err(|_| self.sessions.remove(&session.random))?;
        let linked = self.settle(session, &mut settling).await;
        if matches!(linked, Err(ServiceError::Unavailable { .. })) {
            *work = Work::Settling(settling);
            session.touch();
        } else {
            self.sessions.remove(&session.random);
        }
        linked
    }

    async fn settle(
        &self,
        session: &Session,
        settling: &mut Settling,
    ) -> Result<BlobInfo, ServiceError> {
        for _ in 0..COLLECTIONS_MAX {
            let stored = match settling {
                Settling::Inline(stored) => stored.clone(),
                Settling::Copied(settling) => settling.finish().await?,
            };
            let blob = BlobInfo {
                digest: stored.digest,
                size: stored.size,
            };
            let linked = self.link_blob(&session.account, &session.repository, stored);
            if linked.await? {
                if let Settling::Copied(settling) = settling {
                    settling.linked();
                }
                return Ok(blob);
            }
            // An old blob of the same content went in between.
            if let Settling::Copied(settling) = settling {
                match settling.look_again().await {
                    // The client has to send it again.
                    Err(ReplicationError::NotFound(_)) => return Err(ServiceError::UploadUnknown),
                    other => other?,
                }
            }
        }
        let why = format!("{} is collected over and over", settling.digest());
        Err(ServiceError::unavailable(why))
    }
}

// === impl Settling ===

impl Settling {
    fn digest(&self) -> &Digest {
        match self {
            Self::Inline(stored) => &stored.digest,
            Self::Copied(settling) => settling.digest(),
        }
    }
}

/// Takes a body whose bytes are here already, so that its client gets to read the
/// answer.
async fn pass_over(mut body: BodyStream, bytes_max: u64) -> Result<(), ServiceError> {
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| invalid("the request body ended early"))?;
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            return Err(ServiceError::RangeInvalid { size: bytes_max });
        }
    }
    Ok(())
}

fn invalid(text: &str) -> ServiceError {
    ServiceError::UploadInvalid(text.to_owned())
}
