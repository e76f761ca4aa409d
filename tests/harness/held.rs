//! Requests that are held in the middle, so that something can happen while
//! they are in flight: a push whose second half waits, a pull that stops
//! reading.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::Registry;
use crate::image::{Blob, media};
use crate::random::Random;

const PIECE_BYTES: usize = 256 * 1024;

/// A push of one blob that has sent its first half.
#[derive(Debug)]
pub struct HeldPush {
    pub repository: String,
    pub blob: Blob,
    release: oneshot::Sender<()>,
    push: JoinHandle<Result<()>>,
}

impl HeldPush {
    /// Starts the push of a random blob; returns when its first half is on its
    /// way and the second waits.
    pub async fn start(
        registry: &Registry,
        repository: &str,
        seed: u64,
        bytes: usize,
    ) -> Result<Self> {
        let blob = Blob::new(media::LAYER, Random::new(seed).bytes(bytes));
        let pieces: Vec<Bytes> = (0..bytes)
            .step_by(PIECE_BYTES)
            .map(|start| blob.content.slice(start..bytes.min(start + PIECE_BYTES)))
            .collect();
        let half = pieces.len() / 2;
        let (release, released) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let gate = futures::stream::once(async move {
            let _ = tell.send(());
            // Dropped without a word: the push is given up, which fails it.
            released.await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(Bytes::new())
        });
        let (first, second) = (pieces[..half].to_vec(), pieces[half..].to_vec());
        let body = futures::stream::iter(first.into_iter().map(Ok))
            .chain(gate)
            .chain(futures::stream::iter(second.into_iter().map(Ok)))
            .try_filter(|piece| std::future::ready(!piece.is_empty()));
        let body = reqwest::Body::wrap_stream(body);
        let (registry, name) = (registry.clone(), repository.to_owned());
        let (digest, size) = (blob.digest.clone(), bytes as u64);
        let push =
            tokio::spawn(async move { registry.push_blob_body(&name, &digest, size, body).await });
        told.await
            .context("a push ended before its first half was sent")?;
        Ok(Self {
            repository: repository.to_owned(),
            blob,
            release,
            push,
        })
    }

    /// Sends the rest.
    ///
    /// # Errors
    /// When the push fails.
    pub async fn finish(self) -> Result<(String, Blob)> {
        let _ = self.release.send(());
        let pushed = self.push.await.context("a push panicked")?;
        pushed.with_context(|| format!("the held push into {}", self.repository))?;
        Ok((self.repository, self.blob))
    }
}

/// A pull that has had its first bytes and reads no further for now.
#[derive(Debug)]
pub struct HeldPull {
    response: reqwest::Response,
    received: Vec<u8>,
}

impl HeldPull {
    pub async fn start(registry: &Registry, repository: &str, digest: &str) -> Result<Self> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut response = registry.get(&path).stream(200).await?;
        let first = response.chunk().await.context("read the first bytes")?;
        let received = first.context("an empty body")?.to_vec();
        Ok(Self { response, received })
    }

    /// Reads the rest and compares all of it.
    pub async fn finish(mut self, expected: &Blob) -> Result<()> {
        loop {
            let chunk = self.response.chunk().await;
            let chunk = chunk.with_context(|| {
                format!(
                    "the held pull broke off after {} bytes",
                    self.received.len()
                )
            })?;
            let Some(chunk) = chunk else { break };
            self.received.extend_from_slice(&chunk);
        }
        ensure!(
            self.received == expected.content,
            "the held pull brought {} bytes that differ from those pushed",
            self.received.len()
        );
        Ok(())
    }
}
