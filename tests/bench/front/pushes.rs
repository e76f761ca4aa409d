//! Pushes. Every one is made the same way for every system; digests are
//! computed and content is made before the clock starts.

use anyhow::Result;
use entrepot_harness::{Blob, Image, Random, Registry};

use crate::Sizes;
use crate::reads::{MIB, REPOSITORY};
use crate::system::System;
use crate::timed::{Timed, timed};
use crate::work::{Found, Units, Work};

pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Of the layers that are pushed whole.
pub(crate) const LAYER_BYTES: u64 = 32 * MIB;
const UPLOAD_BYTES: u64 = 100_000_000;
const CHUNK_BYTES: usize = 10 * 1024 * 1024;

const LAYERS: Work = Work {
    name: "push of 32 MiB layers, 4 connections",
    units: Units::Bytes,
};
const WHOLE: Work = Work {
    name: "push of 100 MB in one piece, 2 connections",
    units: Units::Bytes,
};
const CHUNKED: Work = Work {
    name: "push of 100 MB in 10 MiB chunks, 2 connections",
    units: Units::Bytes,
};
const IMAGES: Work = Work {
    name: "push of small images, 8 connections",
    units: Units::Images,
};
const CHUNKED_TO_WHOLE: &str = "100 MB in 10 MiB chunks: time to that in one piece";

pub(crate) async fn all(system: &System, registry: &Registry, sizes: &Sizes) -> Result<Vec<Found>> {
    let layers = blobs(100, sizes.layers, LAYER_BYTES)?;
    let pushes = layers.iter().map(|it| registry.push_blob(REPOSITORY, it));
    let bytes = LAYER_BYTES * sizes.layers;
    let (layers, _) = measured(system, &LAYERS, bytes, pushes, 4).await?;

    let bytes = UPLOAD_BYTES * sizes.uploads;
    let uploads = blobs(1_000, sizes.uploads, UPLOAD_BYTES)?;
    let pushes = uploads.iter().map(|it| registry.push_blob(REPOSITORY, it));
    let (whole, in_one) = measured(system, &WHOLE, bytes, pushes, 2).await?;

    let uploads = blobs(2_000, sizes.uploads, UPLOAD_BYTES)?;
    let pushes = uploads.iter().map(|it| in_chunks(registry, it));
    let (chunked, in_many) = measured(system, &CHUNKED, bytes, pushes, 2).await?;
    let ratio = Found::Value(CHUNKED_TO_WHOLE, in_many.took_s / in_one.took_s);

    let images: Vec<Image> = (0..sizes.images)
        .map(|seed| Image::random(1_000_000 + seed, 1, 4096))
        .collect();
    let pushes = images.iter().enumerate();
    let pushes = pushes.map(|(nth, image)| push(registry, format!("n{nth}"), image));
    let (images, _) = measured(system, &IMAGES, sizes.images, pushes, 8).await?;
    Ok(vec![layers, whole, chunked, ratio, images])
}

fn blobs(first_seed: u64, count: u64, bytes: u64) -> Result<Vec<Blob>> {
    let bytes = usize::try_from(bytes)?;
    let seeds = first_seed..first_seed + count;
    Ok(seeds
        .map(|seed| Blob::new(LAYER, Random::new(seed).bytes(bytes)))
        .collect())
}

/// `amount`: what all operations together count for.
async fn measured(
    system: &System,
    work: &'static Work,
    amount: u64,
    operations: impl IntoIterator<Item = impl Future<Output = Result<()>>>,
    at_once: usize,
) -> Result<(Found, Timed)> {
    let before = system.cpu_s()?;
    let timed = timed(operations, at_once).await?;
    let cpu_s = system.cpu_s()? - before;
    #[allow(clippy::cast_precision_loss, reason = "some GB")]
    let found = work.sample(amount as f64, timed, cpu_s);
    Ok((found, timed))
}

async fn in_chunks(registry: &Registry, blob: &Blob) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let opened = registry.post(&path).send().await?.expect(202)?;
    let mut location = opened.location()?;
    let mut offset = 0;
    for chunk in blob.content.chunks(CHUNK_BYTES) {
        let range = format!("{offset}-{}", offset + chunk.len() - 1);
        let sent = registry
            .patch(&location)
            .header("content-type", "application/octet-stream")
            .header("content-range", &range)
            .body(blob.content.slice_ref(chunk))
            .send();
        location = sent.await?.expect(202)?.location()?;
        offset += chunk.len();
    }
    let join = if location.contains('?') { '&' } else { '?' };
    let end = format!("{location}{join}digest={}", blob.digest);
    registry.put(&end).send().await?.expect(201)?;
    Ok(())
}

/// Config, a layer of 4 KiB and a manifest, as a client pushes them.
async fn push(registry: &Registry, tag: String, image: &Image) -> Result<()> {
    for blob in &image.blobs {
        let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
        if registry.head(&path).send().await?.status != 200 {
            registry.push_blob(REPOSITORY, blob).await?;
        }
    }
    let put = registry.put_manifest(REPOSITORY, &tag, &image.manifest);
    put.await?;
    Ok(())
}
