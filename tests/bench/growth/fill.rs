//! Fills a node, and watches whether it gets slower while it fills.

use anyhow::Result;
use entrepot_harness::{Blob, Registry};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::content::{self, Extent, TAGGED};
use crate::timed::{Timed, timed};

/// Pushes on their way at a time.
const AT_ONCE: usize = 16;
const TENTHS: u64 = 10;

/// What pushing a tenth of all showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenth {
    pub(crate) per_s: f64,
    pub(crate) timed: Timed,
}

/// Pushes few images by many tags.
pub(crate) async fn tags(registry: &Registry, extent: &Extent) -> Result<Vec<Tenth>> {
    let mut manifests = Vec::new();
    for image in content::tagged_images()? {
        for blob in &image.blobs {
            registry.push_blob(TAGGED, blob).await?;
        }
        manifests.push(image.manifest);
    }
    in_tenths(extent.tags, async |nth| {
        let manifest = &manifests[usize::try_from(nth)? % manifests.len()];
        let tag = content::tag(nth);
        registry.put_manifest(TAGGED, &tag, manifest).await?;
        Ok(())
    })
    .await
}

/// Pushes many images, each by one tag, to all repositories in turn.
pub(crate) async fn manifests(registry: &Registry, extent: &Extent) -> Result<Vec<Tenth>> {
    let layers: Vec<Blob> = (0..extent.repositories).map(content::layer).collect();
    futures::stream::iter((0..).zip(&layers))
        .map(async |(nth, layer)| registry.push_blob(&content::repository(nth), layer).await)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    in_tenths(extent.manifests(), async |nth| {
        let (repository, within) = (nth % extent.repositories, nth / extent.repositories);
        let image = content::image(&layers[usize::try_from(repository)?], nth)?;
        let (name, tag) = (content::repository(repository), content::tag(within));
        registry.push_blob(&name, &image.blobs[0]).await?;
        registry.put_manifest(&name, &tag, &image.manifest).await?;
        Ok(())
    })
    .await
}

async fn in_tenths(total: u64, push: impl AsyncFn(u64) -> Result<()>) -> Result<Vec<Tenth>> {
    let mut tenths = Vec::new();
    for tenth in 0..TENTHS {
        let nths = total * tenth / TENTHS..total * (tenth + 1) / TENTHS;
        #[allow(clippy::cast_precision_loss, reason = "some ten thousand")]
        let count = (nths.end - nths.start) as f64;
        let timed = timed(nths.map(|nth| push(nth)), AT_ONCE).await?;
        let per_s = count / timed.took_s;
        eprintln!(
            "  {} of {TENTHS}: {per_s:.0}/s, {:.2}, {:.2} ms",
            tenth + 1,
            timed.p50_ms,
            timed.p99_ms
        );
        tenths.push(Tenth { per_s, timed });
    }
    Ok(tenths)
}
