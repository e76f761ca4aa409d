//! What the clients do: drawn from a seed.
//!
//! Each client has repositories of its own and does one thing after the other in
//! them, so what the registry holds in the end follows from the plan alone.

use std::collections::VecDeque;

use entrepot_harness::{Blob, Image, Random, artifact_of, media};
use serde_json::json;

pub(super) const CLIENTS: usize = 6;
/// Layers that images of all clients share: the newest ones.
const SHARED: usize = 8;
/// Repositories of a client that everything is copied of.
const OF_APP: usize = 3;
pub(super) const LAYER_BYTES: (usize, usize) = (30_000, 120_000);

/// Everything below `app/`, deletions too; of what is below `pick/` some tags, under
/// another name. Nothing takes what is below `own/`.
pub(super) const RULES: [&[&str]; 2] = [
    &[
        "rule",
        "put",
        "all",
        "--to",
        "eu-west-1",
        "--prefix",
        "app/",
        "--deletions",
    ],
    &[
        "rule",
        "put",
        "some",
        "--to",
        "eu-west-1",
        "--prefix",
        "pick/",
        "--tag",
        "v*",
        "--exclude-tag",
        "*-rc",
        "--map",
        "pick/=mirror/",
    ],
];

/// One thing that a client does, in a repository.
#[derive(Debug)]
pub(super) enum Act {
    /// Its blobs and its manifest; no tag: by its digest.
    Push {
        image: Image,
        tag: Option<String>,
    },
    /// A tag moves to, or is added to, a manifest that was pushed.
    Tag {
        manifest: Blob,
        tag: String,
    },
    DeleteTag {
        tag: String,
    },
    /// With all its tags.
    DeleteImage {
        digest: String,
    },
}

/// What one client does, in order.
pub(super) type Acts = VecDeque<(String, Act)>;

/// What is still to be drawn follows from what was.
pub(super) struct Plan {
    random: Random,
    seed: u64,
    shared: Vec<Blob>,
    newest: usize,
    next: u64,
    held: Vec<[Held; OF_APP]>,
}

/// What a client has in one of its repositories while the plan is drawn.
#[derive(Default)]
struct Held {
    /// Images with a tag each, the oldest first, that nothing refers to.
    plain: VecDeque<(Image, String)>,
    gone: Vec<(Image, String)>,
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shared = (0..SHARED).map(|_| layer(&mut random)).collect();
        Self {
            random,
            seed,
            shared,
            newest: 0,
            next: 0,
            held: (0..CLIENTS).map(|_| Default::default()).collect(),
        }
    }

    /// What each client does next, to push so many images together.
    pub(super) fn draw(&mut self, images: usize) -> Vec<Acts> {
        let shares = (0..CLIENTS).map(|client| {
            let share = images / CLIENTS + usize::from(client < images % CLIENTS);
            self.client(client, share)
        });
        shares.collect()
    }

    fn client(&mut self, client: usize, images: usize) -> Acts {
        let mut acts = Acts::new();
        let mut left = images;
        while left > 0 {
            left = left.saturating_sub(match self.random.below(20) {
                0 => self.own(client, &mut acts),
                1..4 => self.pick(client, &mut acts),
                _ => self.app(client, left, &mut acts),
            });
        }
        acts
    }

    /// What no rule takes.
    fn own(&mut self, client: usize, acts: &mut Acts) -> usize {
        let (image, nth) = self.image();
        let tag = Some(format!("n{nth}"));
        acts.push_back((format!("own/c{client}"), Act::Push { image, tag }));
        1
    }

    /// Under a tag that the rule takes, or under one that it does not.
    fn pick(&mut self, client: usize, acts: &mut Acts) -> usize {
        let name = format!("pick/c{client}");
        let (image, nth) = self.image();
        let tag = match self.random.below(4) {
            0 => format!("v{nth}-rc"),
            1 => format!("n{nth}"),
            _ => format!("v{nth}"),
        };
        let manifest = image.manifest.clone();
        let is_taken = takes(&tag);
        let tag = Some(tag);
        acts.push_back((name.clone(), Act::Push { image, tag }));
        if is_taken && self.random.below(3) == 0 {
            let tag = "v-newest".to_owned();
            acts.push_back((name, Act::Tag { manifest, tag }));
        }
        1
    }

    /// How many images this pushes.
    fn app(&mut self, client: usize, left: usize, acts: &mut Acts) -> usize {
        let place = self.random.below(OF_APP);
        let name = format!("app/c{client}-{place}");
        let mut add = |act| acts.push_back((name.clone(), act));
        let (image, nth) = self.image();
        let tag = format!("n{nth}");
        match self.random.below(12) {
            0 if left >= 3 => {
                let (other, _) = self.image();
                let index = index_of(&[&image, &other]);
                add(push(&image, None));
                add(push(&other, None));
                add(push(&index, Some(&tag)));
                return 3;
            }
            1 if left >= 2 => {
                let artifact = push(&artifact_of(&image, self.seed ^ nth), None);
                let image = push(&image, Some(&tag));
                // A signature may come before what it signs.
                let is_first = self.random.below(2) == 0;
                let [first, second] = if is_first {
                    [artifact, image]
                } else {
                    [image, artifact]
                };
                add(first);
                add(second);
                return 2;
            }
            _ => {}
        }
        add(push(&image, Some(&tag)));
        if self.random.below(4) == 0 {
            let manifest = image.manifest.clone();
            let tag = "newest".to_owned();
            add(Act::Tag { manifest, tag });
        }
        let chance = self.random.below(20);
        let held = &mut self.held[client][place];
        held.plain.push_back((image, tag));
        match chance {
            0 | 1 => held.delete(VecDeque::pop_front, add),
            // Young: it may not have arrived.
            2 => held.delete(VecDeque::pop_back, add),
            3 => {
                if let Some((_, tag)) = held.plain.pop_front() {
                    add(Act::DeleteTag { tag });
                }
            }
            // What was deleted comes again.
            4 => {
                if let Some((image, tag)) = held.gone.pop() {
                    add(push(&image, Some(&tag)));
                    held.plain.push_back((image, tag));
                }
            }
            _ => {}
        }
        1
    }

    /// An image of a config of its own and up to three layers: every third has one
    /// that no image before had.
    fn image(&mut self) -> (Image, u64) {
        let nth = self.next;
        self.next += 1;
        if self.random.below(3) == 0 {
            let layer = layer(&mut self.random);
            self.newest = (self.newest + 1) % SHARED;
            self.shared[self.newest] = layer;
        }
        let mut layers = vec![self.shared[self.newest].clone()];
        for _ in 0..self.random.below(3) {
            let shared = &self.shared[self.random.below(SHARED)];
            if !layers.contains(shared) {
                layers.push(shared.clone());
            }
        }
        let config = json!({"architecture": "amd64", "os": "linux", "author": format!("{nth}")});
        let config = Blob::new(media::CONFIG, config.to_string());
        (Image::of(media::MANIFEST, config, layers), nth)
    }
}

// === impl Held ===

impl Held {
    fn delete(
        &mut self,
        which: impl Fn(&mut VecDeque<(Image, String)>) -> Option<(Image, String)>,
        mut add: impl FnMut(Act),
    ) {
        if let Some((image, tag)) = which(&mut self.plain) {
            let digest = image.digest().to_owned();
            add(Act::DeleteImage { digest });
            self.gone.push((image, tag));
        }
    }
}

fn layer(random: &mut Random) -> Blob {
    let (least, most) = LAYER_BYTES;
    let bytes = least + random.below(most - least);
    Blob::new(media::LAYER, random.bytes(bytes))
}

fn push(image: &Image, tag: Option<&str>) -> Act {
    Act::Push {
        image: image.clone(),
        tag: tag.map(str::to_owned),
    }
}

/// Whether the rule takes that tag of what is below `pick/`.
pub(super) fn takes(tag: &str) -> bool {
    tag.starts_with('v') && !tag.ends_with("-rc")
}

/// Its images are pushed before: it has no blobs of its own.
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
