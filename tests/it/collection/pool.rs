//! The layers that all images are made of: so few that what is just being collected
//! is often just being pushed, and so many that about half of them are in no image.

use entrepot_harness::{Blob, Image, Random, artifact_of, media};
use serde_json::json;

const LAYERS: usize = 120;
/// Too large to be kept in the metadata, so that each is a file.
const LAYER_BYTES: (usize, usize) = (8_000, 60_000);

/// Blobs up to this size are kept in the metadata, and no node has a file of them.
pub(super) const INLINE_BYTES_MAX: usize = 6 * 1024;

#[derive(Debug)]
pub(super) struct Pool {
    layers: Vec<Blob>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x706f_6f6c);
        let (least, most) = LAYER_BYTES;
        let layers = (0..LAYERS).map(|_| {
            let bytes = least + random.below(most - least);
            Blob::new(media::LAYER, random.bytes(bytes))
        });
        Self {
            layers: layers.collect(),
        }
    }

    pub(super) fn layer(&self, random: &mut Random) -> Blob {
        self.layers[random.below(LAYERS)].clone()
    }

    /// An image of a config of its own, called `name`, and up to three layers.
    pub(super) fn image(&self, random: &mut Random, name: &str) -> Image {
        let mut layers: Vec<Blob> = Vec::new();
        for _ in 0..=random.below(3) {
            let layer = self.layer(random);
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        let config = json!({"architecture": "amd64", "os": "linux", "author": name});
        let config = Blob::new(media::CONFIG, config.to_string());
        Image::of(media::MANIFEST, config, layers)
    }

    /// What is pushed, and deleted, together: an image, two below an index, or one
    /// with what refers to it. In the order in which they are pushed.
    pub(super) fn group(&self, random: &mut Random, name: &str) -> Vec<Image> {
        let image = self.image(random, name);
        match random.below(8) {
            0 => {
                let other = self.image(random, &format!("{name} too"));
                let index = index_of(&[&image, &other]);
                vec![image, other, index]
            }
            1 => {
                let artifact = artifact_of(&image, random.next_u64());
                vec![image, artifact]
            }
            _ => vec![image],
        }
    }
}

fn index_of(images: &[&Image]) -> Image {
    let entries = images.iter().zip(["amd64", "arm64"]).map(|(image, arch)| {
        let mut entry = image.manifest.descriptor();
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        entry
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::INDEX,
        "manifests": entries.collect::<Vec<_>>(),
    });
    Image {
        manifest: Blob::new(media::INDEX, manifest.to_string()),
        blobs: Vec::new(),
    }
}
