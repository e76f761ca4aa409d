//! Concurrent writers that record what was acknowledged to them, and the
//! check that nothing of it is missing afterwards.
//!
//! An answer that was received is an acknowledgement; a request without an
//! answer is *unknown*: it may have happened or not. Nothing else is assumed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::http::Registry;
use crate::image::{Blob, Image};

/// Reading everything back takes longer than writing it.
const IMAGES_PER_WRITER_MAX: u64 = 40;
const LAYERS: usize = 2;
const LAYER_BYTES: usize = 30_000;
/// The tag that each writer moves with every image.
const MOVING_TAG: &str = "latest";

/// Everything that was acknowledged.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// Repository and blob.
    pub blobs: Vec<(String, Blob)>,
    /// Repository, tag and image; each under a tag of its own.
    pub images: Vec<(String, String, Image)>,
    /// The moving tag of each repository.
    pub moving: BTreeMap<String, Moving>,
    /// The first error of each writer that had one.
    pub failures: Vec<String>,
}

/// Where a moving tag may point: at the last image that was acknowledged
/// there, or at one that was pushed after it and got no answer.
#[derive(Debug, Default, Clone)]
pub struct Moving {
    pub acknowledged: bool,
    pub possible: Vec<String>,
}

/// Writers that run until they are told to stop, a request fails, or they have
/// pushed their share.
#[derive(Debug)]
pub struct Writers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    ledger: Mutex<Ledger>,
}

impl Writers {
    /// One writer per registry given (give one twice for two writers). Writer
    /// N pushes into `<prefix>/writer-N`.
    pub fn start(prefix: &str, registries: Vec<Registry>) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for (number, registry) in (0u64..).zip(registries) {
            let shared = Arc::clone(&shared);
            let repository = format!("{prefix}/writer-{number}");
            // Seeds differ between writers and between prefixes.
            let first_seed = prefix.bytes().fold(number + 1, |seed, byte| {
                seed.wrapping_mul(1_000_003).wrapping_add(u64::from(byte))
            });
            tasks.spawn(async move {
                let failed = write(&shared, &registry, &repository, first_seed).await;
                if let Err(error) = failed {
                    let failure = format!("{repository}: {error:#}");
                    shared.with_ledger(|ledger| ledger.failures.push(failure));
                }
            });
        }
        Self { shared, tasks }
    }

    /// Images acknowledged so far, by all writers.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// The first error of each writer so far.
    pub fn failures(&self) -> Vec<String> {
        self.shared.with_ledger(|ledger| ledger.failures.clone())
    }

    /// Lets every writer end its image, and returns what was acknowledged.
    pub async fn stop(mut self) -> Result<Ledger> {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a writer panicked")?;
        }
        Ok(self.shared.with_ledger(std::mem::take))
    }
}

impl Shared {
    fn with_ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn write(shared: &Shared, registry: &Registry, repository: &str, seed: u64) -> Result<()> {
    for number in 0..IMAGES_PER_WRITER_MAX {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let seed = seed.wrapping_mul(1 << 20).wrapping_add(number);
        let image = Image::random(seed, LAYERS, LAYER_BYTES);
        for blob in &image.blobs {
            let pushed = registry.push_blob(repository, blob).await;
            pushed.with_context(|| format!("image {number}"))?;
            let acknowledged = (repository.to_owned(), blob.clone());
            shared.with_ledger(|ledger| ledger.blobs.push(acknowledged));
        }
        let tag = format!("n{number}");
        let pushed = registry.put_manifest(repository, &tag, &image.manifest);
        pushed.await.with_context(|| format!("image {number}"))?;
        let acknowledged = (repository.to_owned(), tag, image.clone());
        shared.with_ledger(|ledger| ledger.images.push(acknowledged));
        move_tag(shared, registry, repository, &image).await?;
        shared.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

async fn move_tag(
    shared: &Shared,
    registry: &Registry,
    repository: &str,
    image: &Image,
) -> Result<()> {
    let digest = image.digest().to_owned();
    shared.with_ledger(|ledger| {
        let moving = ledger.moving.entry(repository.to_owned()).or_default();
        moving.possible.push(digest.clone());
    });
    registry
        .put_manifest(repository, MOVING_TAG, &image.manifest)
        .await?;
    shared.with_ledger(|ledger| {
        let moving = Moving {
            acknowledged: true,
            possible: vec![digest],
        };
        ledger.moving.insert(repository.to_owned(), moving);
    });
    Ok(())
}

impl Ledger {
    /// Adds what others (in other repositories) recorded.
    pub fn merge(&mut self, other: Self) {
        self.blobs.extend(other.blobs);
        self.images.extend(other.images);
        self.moving.extend(other.moving);
        self.failures.extend(other.failures);
    }

    /// # Errors
    /// When a request failed that had no reason to.
    pub fn no_failures(&self) -> Result<()> {
        ensure!(
            self.failures.is_empty(),
            "{} writers failed:\n{}",
            self.failures.len(),
            self.failures.join("\n")
        );
        Ok(())
    }

    /// Reads back every image that was acknowledged, in turn through each of
    /// `registries`.
    pub async fn verify_images(&self, registries: &[Registry]) -> Result<()> {
        ensure!(
            !self.images.is_empty(),
            "nothing was acknowledged: this proves nothing"
        );
        let in_turn = registries.iter().cycle();
        for ((repository, tag, image), registry) in self.images.iter().zip(in_turn) {
            let found = registry.verify_image(repository, tag, image).await;
            found.with_context(|| format!("acknowledged {repository}:{tag}"))?;
        }
        Ok(())
    }

    /// Reads back everything that was acknowledged, in turn through each of
    /// `registries`, and every moving tag through all of them.
    pub async fn verify(&self, registries: &[Registry]) -> Result<()> {
        self.verify_images(registries).await?;
        let in_turn = registries.iter().cycle();
        for ((repository, blob), registry) in self.blobs.iter().zip(in_turn) {
            let found = registry.verify_blob(repository, blob).await;
            found.with_context(|| format!("acknowledged blob {}", blob.digest))?;
        }
        for (repository, moving) in &self.moving {
            for registry in registries {
                let path = format!("/v2/{repository}/manifests/{MOVING_TAG}");
                let reply = registry.head(&path).send().await?;
                if reply.status == 404 && !moving.acknowledged {
                    continue;
                }
                let digest = reply
                    .expect(200)?
                    .header("docker-content-digest")?
                    .to_owned();
                ensure!(
                    moving.possible.contains(&digest),
                    "{repository}:{MOVING_TAG} points at {digest}, expected one of {:?}",
                    moving.possible
                );
            }
        }
        Ok(())
    }
}
