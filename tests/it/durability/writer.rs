//! Writers that push until their node is gone, and note what it acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use entrepot_harness::{Blob, Image, Moving, Random, Registry, media};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::ledger::{Ledger, Named};

/// The sizes of blobs: in the metadata, in one small file, in pieces.
const SIZES: [usize; 8] = [
    100, 5_120, 5_121, 20_000, 20_000, 150_000, 600_000, 3_000_000,
];
/// Of one writer in one round: what is written has to be read, too.
const BYTES_MAX: usize = 24_000_000;
const LAYERS_MAX: usize = 3;
const MOVING_TAG: &str = "latest";

#[derive(Debug)]
pub(super) struct Writers {
    pub(super) ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

struct Writer {
    node: Registry,
    repository: String,
    random: Random,
    ledger: Arc<Mutex<Ledger>>,
    written_bytes: usize,
}

impl Writers {
    /// One writer for each of `nodes`, with a repository of its own.
    pub(super) fn start(seed: u64, round: usize, nodes: Vec<Registry>) -> Self {
        let ledger = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (number, node) in (0..).zip(nodes) {
            let mut writer = Writer {
                node,
                repository: format!("durable/round-{round}/writer-{number}"),
                random: Random::new(seed ^ number),
                ledger: Arc::clone(&ledger),
                written_bytes: 0,
            };
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let mut image = 0;
                while !stop.load(Ordering::SeqCst) && writer.written_bytes < BYTES_MAX {
                    // The first request that fails ends it: its node is gone.
                    if writer.push(image).await.is_err() {
                        break;
                    }
                    image += 1;
                }
            });
        }
        Self {
            ledger,
            stop,
            tasks,
        }
    }

    pub(super) async fn stop(mut self) -> Result<Ledger> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a writer panicked")?;
        }
        Ok(std::mem::take(&mut *self.ledger.lock().await))
    }
}

impl Writer {
    /// An image under a tag of its own, which the moving tag follows.
    async fn push(&mut self, image: usize) -> Result<()> {
        let config = self.random.next_u64().to_string();
        let config = Blob::new(media::CONFIG, format!("{{\"author\":\"{config}\"}}"));
        self.push_blob(&config).await?;
        let mut layers = Vec::new();
        for _ in 0..=self.random.below(LAYERS_MAX) {
            let size = SIZES[self.random.below(SIZES.len())];
            let layer = Blob::new(media::LAYER, self.random.bytes(size));
            self.push_blob(&layer).await?;
            // Only its name and size are needed from here on.
            layers.push(layer);
        }
        let image_tag = format!("n{image}");
        let manifest = Image::of(media::MANIFEST, config, layers).manifest;
        self.push_tag(&image_tag, &manifest).await?;
        self.push_tag(MOVING_TAG, &manifest).await
    }

    async fn push_blob(&mut self, blob: &Blob) -> Result<()> {
        let size = blob.content.len();
        if self.random.below(3) == 0 {
            self.push_chunks(blob).await?;
        } else {
            self.node.push_blob(&self.repository, blob).await?;
        }
        self.written_bytes += size;
        let mut ledger = self.ledger.lock().await;
        ledger.bytes += size as u64;
        ledger.blobs.push(self.named(blob));
        Ok(())
    }

    /// Two requests with bytes, and one that ends the upload.
    async fn push_chunks(&self, blob: &Blob) -> Result<()> {
        let mut upload = self.node.open_upload(&self.repository).await?;
        let half = blob.content.len() / 2;
        let (first, second) = (blob.content.slice(..half), blob.content.slice(half..));
        self.node.send_chunk(&mut upload, 0, first).await?;
        self.node.send_chunk(&mut upload, half, second).await?;
        let end = self.node.put(&upload.end(&blob.digest));
        let end = end.header("content-length", "0").body(Bytes::new());
        end.send().await?.expect(201)?;
        Ok(())
    }

    async fn push_tag(&self, tag: &str, manifest: &Blob) -> Result<()> {
        let name = (self.repository.clone(), tag.to_owned());
        {
            let mut ledger = self.ledger.lock().await;
            let moving = ledger.tags.entry(name.clone()).or_default();
            moving.possible.push(manifest.digest.clone());
        }
        self.node
            .put_manifest(&self.repository, tag, manifest)
            .await?;
        let mut ledger = self.ledger.lock().await;
        let moving = Moving {
            acknowledged: true,
            possible: vec![manifest.digest.clone()],
        };
        ledger.tags.insert(name, moving);
        ledger.manifests.push(self.named(manifest));
        Ok(())
    }

    fn named(&self, blob: &Blob) -> Named {
        Named {
            repository: self.repository.clone(),
            digest: blob.digest.clone(),
            size: blob.content.len() as u64,
        }
    }
}
