//! What a node is filled with. Everything follows from a number, so that what
//! was pushed need not be remembered to be pulled.

use anyhow::Result;
use entrepot_harness::{Blob, Image, Random, media};
use serde_json::json;

/// The repository of many tags.
pub(crate) const TAGGED: &str = "growth/tagged";

/// Images that those tags point to.
pub(crate) const TAGGED_IMAGES: u64 = 100;

const LAYER_BYTES: usize = 2_000;
/// Steps in a config's history, which make it about 1 kB.
const HISTORY: usize = 8;
const TAG_SEEDS: u64 = 1 << 40;
const LAYER_SEEDS: u64 = 1 << 41;
/// Of the images in [`TAGGED`].
const TAGGED_FIRST: u64 = 1 << 43;

/// How much a node holds.
#[derive(Debug)]
pub(crate) struct Extent {
    /// In [`TAGGED`].
    pub(crate) tags: u64,
    pub(crate) repositories: u64,
    pub(crate) manifests_each: u64,
}

impl Extent {
    /// As little as has whole pages of 100 tags and of 100 repositories,
    /// wherever a page begins in the first half.
    pub(crate) const LEAST: Self = Self {
        tags: 400,
        repositories: 300,
        manifests_each: 1,
    };

    pub(crate) fn manifests(&self) -> u64 {
        self.repositories * self.manifests_each
    }
}

/// The nth repository of few manifests; their names sort by their numbers.
pub(crate) fn repository(nth: u64) -> String {
    format!("growth/team-{:02}/service-{nth:04}", nth / 100)
}

/// The nth tag of any repository, like a build's that is named by its commit:
/// in no order.
pub(crate) fn tag(nth: u64) -> String {
    format!("git-{:012x}", Random::new(TAG_SEEDS + nth).next_u64() >> 16)
}

/// Where a page of tags begins that has the later half of all tags behind it.
pub(crate) fn in_first_half_of_tags(random: &mut Random) -> String {
    format!("git-{:012x}", random.next_u64() >> 17)
}

/// The layer that all images of a repository share.
pub(crate) fn layer(repository: u64) -> Blob {
    Blob::new(
        media::LAYER,
        Random::new(LAYER_SEEDS + repository).bytes(LAYER_BYTES),
    )
}

/// The nth image of all: a config and a manifest of its own, on that layer.
pub(crate) fn image(layer: &Blob, nth: u64) -> Result<Image> {
    let created = "2025-01-01T00:00:00Z";
    let step = json!({"created": created, "created_by": "RUN make install # buildkit"});
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": created,
        "config": {"Entrypoint": ["/usr/bin/service"], "Env": ["PATH=/usr/bin:/bin"],
                   "Labels": {"build": nth}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": vec![step; HISTORY],
    });
    let config = Blob::new(media::CONFIG, config.to_string());
    let mut image = Image::of(media::MANIFEST, config, vec![layer.clone()]);
    let mut manifest = image.manifest_json()?;
    let revision = Random::new(nth).next_u64();
    manifest["annotations"] = json!({
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.revision": format!("{revision:016x}{nth:024x}"),
        "org.opencontainers.image.source": "https://git.example.com/team/service",
    });
    image.manifest = Blob::new(media::MANIFEST, manifest.to_string());
    Ok(image)
}

/// What the tags of [`TAGGED`] point to.
pub(crate) fn tagged_images() -> Result<Vec<Image>> {
    let layer = layer(TAGGED_FIRST);
    let numbers = TAGGED_FIRST..TAGGED_FIRST + TAGGED_IMAGES;
    numbers.map(|nth| image(&layer, nth)).collect()
}
