//! Data folders: of an earlier release, of a later one, and with a part lost.
//!
//! `tests/it/data_folder/<release>.tar.gz` is what a node of that release left
//! behind when it was stopped. It stays when a later release changes a format,
//! and has to be read for ever. The one of this release is made by
//!
//! ```text
//! ENTREPOT_MAKE_FIXTURE=1 cargo test -p entrepot-tests --test it data_folder
//! ```
//!
//! after which the test below is given the release's number.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, Registry};

use crate::support::step;

const RELEASE: &str = env!("CARGO_PKG_VERSION");
const SEED: u64 = 4711;
const LAYERS: usize = 2;
/// Too many for a blob that is kept in the metadata.
const LAYER_BYTES: usize = 5_000;
const REPOSITORY: &str = "team/kept";

/// Does something to the index of a node.
type Lose = fn(&Path) -> Result<()>;

fn archive(release: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/data_folder");
    folder.join(format!("{release}.tar.gz"))
}

fn image(number: u64) -> Image {
    Image::random(SEED + number, LAYERS, LAYER_BYTES)
}

async fn fill(cluster: &Cluster) -> Result<()> {
    let registry = cluster.registry(1)?;
    for number in 0..3 {
        let tag = format!("v{number}");
        registry
            .push_image(REPOSITORY, &tag, &image(number))
            .await?;
    }
    registry.push_image(REPOSITORY, "moved", &image(0)).await?;
    registry.push_image(REPOSITORY, "moved", &image(2)).await
}

async fn find_all(registry: &Registry) -> Result<()> {
    for number in 0..3 {
        let tag = format!("v{number}");
        registry
            .verify_image(REPOSITORY, &tag, &image(number))
            .await?;
    }
    registry
        .verify_image(REPOSITORY, "moved", &image(2))
        .await?;
    let tags = registry.get(&format!("/v2/{REPOSITORY}/tags/list"));
    let tags = tags.send().await?.expect(200)?.json()?;
    let expected = serde_json::json!(["moved", "v0", "v1", "v2"]);
    ensure!(tags["tags"] == expected, "{tags}");
    Ok(())
}

async fn make() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(1).copies(1).start().await?;
    fill(&cluster).await?;
    cluster.stop(&[1]).await?;
    let file = File::create(archive(RELEASE)).context("create the archive")?;
    let packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    let mut tar = tar::Builder::new(packed);
    tar.append_dir_all(".", cluster.node(1)?.data())?;
    tar.into_inner()?.finish()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_of_release_0_1_0_left_is_found() -> Result<()> {
    if std::env::var_os("ENTREPOT_MAKE_FIXTURE").is_some() {
        make().await?;
    }
    let builder = Cluster::builder().nodes(1).copies(1);
    let cluster = builder.data(archive("0.1.0")).start().await?;
    let registry = cluster.registry(1)?;
    step("everything is there", find_all(&registry)).await?;
    step("pushes go on", async {
        registry.push_image(REPOSITORY, "new", &image(9)).await?;
        registry.verify_image(REPOSITORY, "new", &image(9)).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_torn_index_is_built_again() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(1).copies(1).start().await?;
    fill(&cluster).await?;
    let index = cluster.node(1)?.data().join("consensus/index");
    let losses: [(&str, Lose); 5] = [
        ("the whole index is gone", |index| {
            Ok(fs::remove_dir_all(index)?)
        }),
        ("the database is gone", |index| {
            Ok(fs::remove_dir_all(index.join("sled"))?)
        }),
        ("the database is torn", |index| tear(&index.join("sled/db"))),
        ("the database is empty", |index| {
            Ok(File::create(index.join("sled/db")).map(drop)?)
        }),
        ("nobody knows how it ended", |index| {
            Ok(fs::remove_file(index.join("state"))?)
        }),
    ];
    for (what, lose) in losses {
        step(what, async {
            cluster.stop(&[1]).await?;
            lose(&index)?;
            cluster.start(&[1]).await?;
            find_all(&cluster.registry(1)?).await
        })
        .await?;
    }
    cluster.finish().await
}

/// Overwrites the middle half of a file.
fn tear(path: &Path) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length / 4))?;
    file.write_all(&vec![0xa5; usize::try_from(length / 2)?])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_release_wrote_is_refused_in_one_line() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(1).copies(1).start().await?;
    fill(&cluster).await?;
    cluster.stop(&[1]).await?;
    let data = cluster.node(1)?.data().to_owned();

    let path = data.join("blobs/format");
    refused(
        &mut cluster,
        &path,
        b"entrepot-blobs 2\n",
        "this release reads up to 1",
    )
    .await?;

    let path = data.join("consensus/log/000000000001.log");
    let mut log = fs::read(&path)?;
    log[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let mut checksum = flate2::Crc::new();
    checksum.update(&log[..20]);
    log[20..24].copy_from_slice(&checksum.sum().to_le_bytes());
    refused(
        &mut cluster,
        &path,
        &log,
        "has format 2; this version knows 1",
    )
    .await?;

    let path = data.join("consensus/snapshots/region_us-east-1_0");
    let path = path.join("00000000000000000003-1-1.snapshot");
    let snapshot = [
        b"ENTRSNAP",
        &2_u32.to_le_bytes()[..],
        b"whatever that may be",
    ]
    .concat();
    refused(
        &mut cluster,
        &path,
        &snapshot,
        "has format 2; this version knows 1",
    )
    .await?;

    step("it was left alone, and is whole without that", async {
        cluster.start(&[1]).await?;
        find_all(&cluster.registry(1)?).await
    })
    .await?;
    cluster.finish().await
}

/// Puts `content` at `path` for one start, which has to be refused with `said`.
async fn refused(cluster: &mut Cluster, path: &Path, content: &[u8], said: &str) -> Result<()> {
    step(&format!("another {}", path.display()), async {
        let before = fs::read(path).ok();
        fs::write(path, content)?;
        let started = cluster.start(&[1]).await;
        let error = started.err().context("it was not refused")?;
        let text = format!("{error:#}");
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("entrepot-node: "));
        let line = lines.next_back().with_context(|| text.clone())?;
        ensure!(line.contains(said), "{line}");
        ensure!(fs::read(path)? == content, "it was changed");
        match before {
            Some(before) => fs::write(path, before)?,
            None => fs::remove_file(path)?,
        }
        Ok(())
    })
    .await
}
