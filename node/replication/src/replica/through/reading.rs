//! One reader of a blob that is under way.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::BlobStream;
use futures::{StreamExt as _, stream};

use super::super::ReplicaServer;
use super::flight::{Flight, Stage};
use crate::feed::Next;

/// Reads what is staged, then what arrives; or the blob, once it is one.
pub(super) struct Reading {
    pub(super) server: ReplicaServer,
    pub(super) flight: Arc<Flight>,
    pub(super) left: Range<u64>,
    /// Once it is a blob of this region.
    pub(super) here: Option<BlobStream>,
}

// === impl Reading ===

impl Reading {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        if self.here.is_none() {
            match self.flight.feed.next(self.left.start).await {
                Next::Bytes(mut bytes) => {
                    let most = self.left.end - self.left.start;
                    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()));
                    self.left.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Next::Finished { .. } => return Err(io::ErrorKind::UnexpectedEof.into()),
                Next::Cancelled | Next::Lost => self.here = Some(self.elsewhere().await?),
            }
        }
        let Some(here) = &mut self.here else {
            return Ok(None);
        };
        let piece = here.next().await.transpose()?;
        self.left.start += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// The rest, from this region's own copy.
    async fn elsewhere(&mut self) -> io::Result<BlobStream> {
        let mut stage = self.flight.stage.subscribe();
        let ended = |stage: &Stage| !matches!(stage, Stage::Looking | Stage::Coming(_));
        let ended = stage.wait_for(ended).await.map(|stage| stage.clone());
        match ended {
            Ok(Stage::Here(blob)) => {
                let blobs = &self.server.blobs;
                let opened = blobs.open(*blob, Some(self.left.clone())).await;
                opened.map_err(io::Error::other)
            }
            Ok(Stage::Failed(why)) => Err(io::Error::other(why)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn stream(self) -> BlobStream {
        stream::try_unfold(self, |mut reading| async move {
            Ok(reading.piece().await?.map(|piece| (piece, reading)))
        })
        .boxed()
    }
}
