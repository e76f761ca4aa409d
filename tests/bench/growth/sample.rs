//! One round of measurements on one node.

use anyhow::{Result, ensure};
use entrepot_harness::{Image, Random, Registry, media};
use serde_json::Value;

use crate::content::{self, Extent, TAGGED};
use crate::timed::{Timed, timed};

/// Requests on their way at a time: few, so that what is timed is the node and
/// not the queue in front of it.
pub(crate) const AT_ONCE: usize = 4;

/// Of a page of tags or repositories.
const PAGE: usize = 100;

const PUSHED_IMAGE_BYTES: usize = 4096;
const IMAGE_SEEDS: u64 = 1 << 42;

/// Operations of a round.
#[derive(Debug)]
pub(crate) struct Sizes {
    pushes: usize,
    pulls: usize,
    pages: usize,
}

impl Sizes {
    /// A p99 of 200 is the second longest: fewer say nothing, more fill the
    /// node that is to be empty.
    pub(crate) const FULL: Self = Self {
        pushes: 200,
        pulls: 4_000,
        pages: 1_000,
    };
    pub(crate) const QUICK: Self = Self {
        pushes: 20,
        pulls: 200,
        pages: 100,
    };
}

/// One round on one node; the same choices for both where they have the same to
/// choose from.
#[derive(Debug)]
struct Round<'a> {
    registry: &'a Registry,
    extent: &'a Extent,
    sizes: &'a Sizes,
    random: Random,
    /// Of images that no other round pushes.
    first_seed: u64,
}

/// What was done, and how long it took.
type Row = (&'static str, Timed);

pub(crate) async fn all(
    registry: &Registry,
    extent: &Extent,
    sizes: &Sizes,
    round: usize,
) -> Result<Vec<Row>> {
    let mut round = Round {
        registry,
        extent,
        sizes,
        random: Random::new(u64::try_from(round)?),
        first_seed: IMAGE_SEEDS + u64::try_from(2 * round * sizes.pushes)?,
    };
    let mut rows = Vec::new();
    rows.extend(round.pushes().await?);
    rows.extend(round.pulls().await?);
    rows.extend(round.pages().await?);
    Ok(rows)
}

/// Only the pulls of such a round.
pub(crate) async fn pulls(
    registry: &Registry,
    extent: &Extent,
    sizes: &Sizes,
    round: usize,
) -> Result<[Timed; 2]> {
    let mut round = Round {
        registry,
        extent,
        sizes,
        random: Random::new(u64::try_from(round)?),
        first_seed: IMAGE_SEEDS,
    };
    Ok(round.pulls().await?.map(|(_, timed)| timed))
}

// === impl Round ===

impl Round<'_> {
    async fn pushes(&mut self) -> Result<[Row; 2]> {
        let count = self.sizes.pushes;
        let images = images(self.first_seed, 2 * count);
        let (for_tagged, for_any) = images.split_at(count);
        let pushes = for_tagged
            .iter()
            .map(|image| push(self.registry, TAGGED.to_owned(), image));
        let into_tagged = timed(pushes, AT_ONCE).await?;
        let names = self.repositories(count);
        let pushes = names.into_iter().zip(for_any);
        let pushes = pushes.map(|(name, image)| push(self.registry, name, image));
        let into_any = timed(pushes, AT_ONCE).await?;
        Ok([
            (
                "push of a small image, the repository of many tags",
                into_tagged,
            ),
            ("push of a small image, one of many repositories", into_any),
        ])
    }

    async fn pulls(&mut self) -> Result<[Row; 2]> {
        let count = self.sizes.pulls;
        let tags = self.tags(self.extent.tags, count);
        let pulls = tags
            .into_iter()
            .map(|tag| pull(self.registry, TAGGED.to_owned(), tag));
        let from_tagged = timed(pulls, AT_ONCE).await?;
        let names = self.repositories(count);
        let tags = self.tags(self.extent.manifests_each, count);
        let pulls = names.into_iter().zip(tags);
        let pulls = pulls.map(|(name, tag)| pull(self.registry, name, tag));
        let from_any = timed(pulls, AT_ONCE).await?;
        Ok([
            ("pull by tag, the repository of many tags", from_tagged),
            ("pull by tag, one of many repositories", from_any),
        ])
    }

    async fn pages(&mut self) -> Result<[Row; 2]> {
        let count = self.sizes.pages;
        let starts: Vec<String> = (0..count)
            .map(|_| content::in_first_half_of_tags(&mut self.random))
            .collect();
        let pages = starts.into_iter().map(|last| {
            let path = format!("/v2/{TAGGED}/tags/list");
            page(self.registry, path, last, "tags")
        });
        let tags = timed(pages, AT_ONCE).await?;
        let starts: Vec<String> = (0..count)
            .map(|_| content::repository(self.below(self.extent.repositories / 2)))
            .collect();
        let pages = starts.into_iter().map(|last| {
            let path = "/v2/_catalog".to_owned();
            page(self.registry, path, last, "repositories")
        });
        let catalog = timed(pages, AT_ONCE).await?;
        Ok([
            ("page of 100 tags, the repository of many tags", tags),
            ("page of 100 repositories of the catalog", catalog),
        ])
    }

    /// Any repositories of few manifests.
    fn repositories(&mut self, count: usize) -> Vec<String> {
        let numbers = (0..count).map(|_| self.below(self.extent.repositories));
        numbers.map(content::repository).collect()
    }

    /// Any of the first `end` tags of a repository.
    fn tags(&mut self, end: u64, count: usize) -> Vec<String> {
        let numbers = (0..count).map(|_| self.below(end));
        numbers.map(content::tag).collect()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }
}

fn images(first: u64, count: usize) -> Vec<Image> {
    let seeds = (first..).take(count);
    seeds
        .map(|seed| Image::random(seed, 1, PUSHED_IMAGE_BYTES))
        .collect()
}

/// Config, layer and manifest, by a tag that is new.
async fn push(registry: &Registry, repository: String, image: &Image) -> Result<()> {
    for blob in &image.blobs {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        if registry.head(&path).send().await?.status != 200 {
            registry.push_blob(&repository, blob).await?;
        }
    }
    let tag = image.digest().replace(':', "-");
    let put = registry.put_manifest(&repository, &tag, &image.manifest);
    put.await?;
    Ok(())
}

async fn pull(registry: &Registry, repository: String, tag: String) -> Result<()> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let request = registry.get(&path).header("accept", media::MANIFEST);
    request.send().await?.expect(200)?;
    Ok(())
}

async fn page(registry: &Registry, path: String, last: String, key: &str) -> Result<()> {
    let path = format!("{path}?n={PAGE}&last={last}");
    let reply = registry.get(&path).send().await?.expect(200)?.json()?;
    let length = reply[key].as_array().map_or(0, Vec::len);
    ensure!(
        length == PAGE,
        "{path}: a page of {length}: {}",
        Value::to_string(&reply)
    );
    Ok(())
}
