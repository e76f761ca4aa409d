//! The disks of a region, and what it says of itself, held against the books.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Admin, Cluster, Registry, digest_of, wait_until};

use super::books::{Books, Held};
use super::pool::INLINE_BYTES_MAX;

/// All windows have passed, and repair has looked at all copies: it does so each
/// minute.
const DEADLINE: Duration = Duration::from_secs(150);

/// Waits until each blob of each image of the books is on `copies` nodes, to the
/// byte, no node has another file, and the region says the same of itself.
pub(super) async fn region(
    cluster: &Cluster,
    region: &str,
    copies: usize,
    books: &Books,
) -> Result<()> {
    let held = books.all(region);
    ensure!(!held.is_empty(), "no images are left: this proves nothing");
    let ids = cluster.ids_in(region);
    let admin = cluster.admin(ids[0])?;
    let what = format!("the disks of {region}");
    let bytes = wait_until(&what, DEADLINE, async || {
        listed(&admin, &held).await?;
        let mut nodes: BTreeMap<String, (u64, usize)> = BTreeMap::new();
        for id in &ids {
            let node = cluster.node(*id)?;
            for (digest, bytes) in files(&node.data().join("blobs"))? {
                nodes.entry(digest).or_insert((bytes, 0)).1 += 1;
            }
            let staged = node.staging_files()?;
            ensure!(staged.is_empty(), "node {id}: {staged:?}");
        }
        on_disk(&held, &nodes, copies)?;
        let bytes = nodes.values().map(|(bytes, _)| bytes).sum();
        claimed(&admin, &held, bytes).await?;
        Ok(Some(bytes))
    })
    .await?;
    println!(
        "  {region}: {} images, {bytes} different bytes of layers, {copies} copies",
        held.len()
    );
    Ok(())
}

/// Every node serves every image.
pub(super) async fn pulls(registries: &[Registry], books: &Books) -> Result<()> {
    for held in books.all(crate::support::US) {
        for registry in registries {
            let pulled = registry.verify_image(&held.repository, held.image.digest(), &held.image);
            pulled.await?;
        }
    }
    Ok(())
}

/// The region has these images, with these tags, and no others.
async fn listed(admin: &Admin, held: &[Held]) -> Result<()> {
    let names = admin.list(&["repository", "list"], "repositories").await?;
    let mut found = BTreeSet::new();
    for name in names.iter().filter_map(|it| it["name"].as_str()) {
        for image in admin.list(&["image", "list", name], "images").await? {
            let digest = image["digest"].as_str().context("a digest")?;
            let tags = image["tags"].as_array().context("tags")?;
            let tag = tags.first().and_then(|tag| tag.as_str());
            found.insert((name.to_owned(), digest.to_owned(), tag.map(str::to_owned)));
        }
    }
    let expected = held.iter().map(|held| {
        let digest = held.image.digest().to_owned();
        (held.repository.clone(), digest, held.tag.clone())
    });
    let expected: BTreeSet<_> = expected.collect();
    let lost: Vec<_> = expected.difference(&found).collect();
    let left: Vec<_> = found.difference(&expected).collect();
    ensure!(
        lost.is_empty() && left.is_empty(),
        "images are missing: {lost:?}; too many: {left:?}"
    );
    Ok(())
}

/// Each blob that has to have files has them, and nothing else has one.
fn on_disk(held: &[Held], nodes: &BTreeMap<String, (u64, usize)>, copies: usize) -> Result<()> {
    let expected = held.iter().flat_map(|held| &held.image.blobs);
    let expected: BTreeSet<&str> = expected
        .filter(|blob| blob.content.len() > INLINE_BYTES_MAX)
        .map(|blob| blob.digest.as_str())
        .collect();
    let few = expected.iter().filter_map(|digest| {
        let found = nodes.get(*digest).map_or(0, |(_, nodes)| *nodes);
        (found < copies).then(|| format!("{digest} on {found} nodes"))
    });
    let few: Vec<String> = few.collect();
    let left: Vec<&String> = nodes
        .keys()
        .filter(|digest| !expected.contains(digest.as_str()))
        .collect();
    ensure!(
        few.is_empty() && left.is_empty(),
        "too few copies: {few:?}; not needed: {left:?}"
    );
    Ok(())
}

/// The region says that it keeps what is on the disks, the manifests, and the blobs
/// that are so small that they are no files.
async fn claimed(admin: &Admin, held: &[Held], disk_bytes: u64) -> Result<()> {
    let small = held.iter().flat_map(|held| &held.image.blobs);
    let small: BTreeMap<&str, usize> = small
        .map(|blob| (blob.digest.as_str(), blob.content.len()))
        .filter(|(_, bytes)| *bytes <= INLINE_BYTES_MAX)
        .collect();
    let manifests = held.iter().map(|held| held.image.manifest.content.len());
    let in_metadata: usize = small.values().sum::<usize>() + manifests.sum::<usize>();
    let usage = admin.json(&["usage"]).await?;
    let totals = usage["total"].as_array().context("a total")?;
    let claimed = totals.iter().filter_map(|it| it["unique_bytes"].as_u64());
    let claimed: u64 = claimed.sum();
    ensure!(
        claimed == disk_bytes + in_metadata as u64,
        "{claimed} bytes are claimed; {disk_bytes} are on disks, {in_metadata} in the metadata"
    );
    Ok(())
}

/// The blobs of a node, each of which has to be what its name says.
fn files(blobs: &Path) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let quarantine = fs::read_dir(blobs.join("quarantine"))?;
    ensure!(quarantine.count() == 0, "a copy was found to be damaged");
    for shard in fs::read_dir(blobs.join("sha256"))? {
        for entry in fs::read_dir(shard?.path())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.context("a name")?;
            let content = match fs::read(&path) {
                Ok(content) => content,
                // Deleted since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(path.display().to_string()),
            };
            let digest = format!("sha256:{name}");
            ensure!(digest_of(&content) == digest, "{digest} is something else");
            found.push((digest, content.len() as u64));
        }
    }
    Ok(found)
}
