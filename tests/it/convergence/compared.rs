//! Both regions held against the books.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Admin, Cluster, Registry, wait_until};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::books::{Books, Listing};
use crate::support::{EU, US};

/// Reads at the same time.
const AT_ONCE: usize = 8;
/// Every node has applied what its region has.
const SOON: Duration = Duration::from_secs(30);

pub(super) async fn all(cluster: &Cluster, books: &Books) -> Result<()> {
    let (here, there) = (cluster.ids_in(US)[1], cluster.ids_in(EU)[2]);
    let (source, destination) = (cluster.admin(here)?, cluster.admin(there)?);
    hold(&source, books.here()).await.context("the source")?;
    let held = hold(&destination, books.there()).await;
    held.context("the destination")?;
    let registry = cluster.registry(there)?;
    let reads = books.there().iter().flat_map(|(repository, listing)| {
        let digests = listing.keys();
        digests.map(|digest| read(&registry, repository, digest, books))
    });
    let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
    let mut count = 0;
    while reads.try_next().await?.is_some() {
        count += 1;
    }
    println!("  {count} images are there to the byte");
    Ok(())
}

/// A region has these repositories, each with these images and tags, and no more.
async fn hold(admin: &Admin, expected: &BTreeMap<String, Listing>) -> Result<()> {
    wait_until("a region to hold what it shall", SOON, async || {
        let listed = admin.list(&["repository", "list"], "repositories").await?;
        let listed = listed.iter().filter_map(|it| it["name"].as_str());
        let listed: BTreeSet<&str> = listed.collect();
        let names: BTreeSet<&str> = expected.keys().map(String::as_str).collect();
        ensure!(listed == names, "{listed:?} instead of {names:?}");
        for (repository, listing) in expected {
            let found = list(admin, repository).await?;
            ensure!(
                found == *listing,
                "{}",
                difference(repository, &found, listing)
            );
        }
        Ok(Some(()))
    })
    .await
}

async fn list(admin: &Admin, repository: &str) -> Result<Listing> {
    let images = admin.list(&["image", "list", repository], "images").await?;
    let listing = images.iter().map(|image| {
        let digest = image["digest"]
            .as_str()
            .context("an image without a digest")?;
        let tags = image["tags"].as_array().context("an image without tags")?;
        let tags = tags
            .iter()
            .filter_map(|tag| tag.as_str().map(str::to_owned));
        Ok((digest.to_owned(), tags.collect()))
    });
    listing.collect()
}

fn difference(repository: &str, found: &Listing, expected: &Listing) -> String {
    let other = |these: &Listing, those: &Listing| -> Vec<String> {
        let these = these
            .iter()
            .filter(|(digest, tags)| those.get(*digest) != Some(tags));
        these
            .map(|(digest, tags)| format!("{digest} {tags:?}"))
            .collect()
    };
    format!(
        "{repository} has\n  {}\nand should have instead\n  {}",
        other(found, expected).join("\n  "),
        other(expected, found).join("\n  ")
    )
}

/// A manifest and all its blobs, to the byte.
async fn read(registry: &Registry, repository: &str, digest: &str, books: &Books) -> Result<()> {
    let manifest = books.manifest(digest).context("an image of nobody's")?;
    let path = format!("/v2/{repository}/manifests/{digest}");
    let reply = registry.get(&path).send().await?.expect(200)?;
    ensure!(reply.body == manifest.content, "{} differs", reply.what);
    for blob in books.blobs(digest) {
        registry.verify_blob(repository, blob).await?;
    }
    Ok(())
}
