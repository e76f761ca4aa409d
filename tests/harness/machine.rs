//! A real multi-layer image built from files of this machine: a shell that
//! runs, and programs and libraries as ballast. Gzip layers, at least
//! 50 MB as they travel. The same machine gives the same image every time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::image::{Blob, hex, media};
use crate::layout::Layout;

/// What a container of the image prints.
pub const SHELL_GREETING: &str = "hello from an image that travelled";

const BALLAST_FOLDERS: [&str; 3] = ["/usr/bin", "/usr/lib", "/usr/share"];
const BALLAST_LAYERS: usize = 4;
const LAYER_BYTES_MIN: u64 = 13_500_000;
const IMAGE_BYTES_MIN: u64 = 50_000_000;
/// Larger files would make the layers too uneven.
const FILE_BYTES_MAX: u64 = 8_000_000;
const FOLDER_DEPTH_MAX: usize = 4;

/// The image, in an OCI layout.
#[derive(Debug)]
pub struct MachineImage {
    layout: Layout,
    /// The digest of its manifest.
    pub digest: String,
    /// Config and layers as they travel.
    pub size_bytes: u64,
    pub layers: usize,
}

impl MachineImage {
    /// The name inside the layout.
    pub const NAME: &'static str = "machine";

    /// Builds it into `folder`; takes a few seconds.
    pub async fn build(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || build(&folder))
            .await
            .context("build an image")?
    }

    /// The layout's folder, for `oci:FOLDER:NAME`.
    pub fn folder(&self) -> &Path {
        self.layout.folder()
    }
}

/// A layer on disk.
struct Layer {
    digest: String,
    /// Of the tar archive before gzip.
    diff_id: String,
    size: u64,
}

fn build(folder: &Path) -> Result<MachineImage> {
    let mut layout = Layout::create(folder)?;
    let mut layers = vec![shell_layer(&layout)?];
    let mut ballast = ballast_files()?.into_iter();
    for _ in 0..BALLAST_LAYERS {
        layers.push(ballast_layer(&layout, &mut ballast)?);
    }
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/bin"],
            "Cmd": ["/bin/sh", "-c", format!("echo {SHELL_GREETING}")],
        },
        "rootfs": {"type": "layers",
            "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()},
        "history": layers.iter().map(|_| json!({"created": "2024-01-01T00:00:00Z"}))
            .collect::<Vec<_>>(),
    });
    let config = Blob::new(media::CONFIG, config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "config": config.descriptor(),
        "layers": layers.iter().map(|layer| json!({
            "mediaType": media::LAYER, "digest": layer.digest, "size": layer.size,
        })).collect::<Vec<_>>(),
    });
    let manifest = Blob::new(media::MANIFEST, manifest.to_string());
    layout.add_blob(&config)?;
    layout.name_manifest(MachineImage::NAME, &manifest)?;
    let size_bytes =
        config.content.len() as u64 + layers.iter().map(|layer| layer.size).sum::<u64>();
    ensure!(
        size_bytes >= IMAGE_BYTES_MIN,
        "the files of this machine gave an image of {size_bytes} bytes only"
    );
    Ok(MachineImage {
        layout,
        digest: manifest.digest,
        size_bytes,
        layers: layers.len(),
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/bin/sh` with the libraries it needs, at the paths where it looks for them.
fn shell_layer(layout: &Layout) -> Result<Layer> {
    let shell = fs::canonicalize("/bin/sh").context("find /bin/sh")?;
    let listed = Command::new("ldd")
        .arg(&shell)
        .output()
        .context("run ldd")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries: BTreeSet<&str> = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    let mut layer = LayerWriter::create(layout)?;
    layer.add(&shell, Path::new("/bin/sh"))?;
    for library in libraries {
        let path = Path::new(library);
        layer.add(&fs::canonicalize(path).context("find a library")?, path)?;
    }
    layer.finish(layout)
}

/// Takes files until the layer is large enough or no file is left.
fn ballast_layer(layout: &Layout, files: &mut impl Iterator<Item = PathBuf>) -> Result<Layer> {
    let mut layer = LayerWriter::create(layout)?;
    while layer.size()? < LAYER_BYTES_MIN {
        let Some(path) = files.next() else { break };
        let inside = Path::new("/ballast").join(path.strip_prefix("/").unwrap_or(&path));
        layer.add(&path, &inside)?;
    }
    layer.finish(layout)
}

/// Readable regular files in a fixed order.
fn ballast_files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in BALLAST_FOLDERS {
        list_files(Path::new(folder), FOLDER_DEPTH_MAX, &mut found)?;
    }
    Ok(found)
}

fn list_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .with_context(|| format!("list {}", folder.display()))?;
    paths.sort();
    for path in paths {
        let Ok(about) = fs::symlink_metadata(&path) else {
            continue;
        };
        if about.is_dir() && depth > 1 {
            list_files(&path, depth - 1, found)?;
        } else if about.is_file() && about.len() <= FILE_BYTES_MAX && File::open(&path).is_ok() {
            found.push(path);
        }
    }
    Ok(())
}

/// tar -> hash (diff id) -> gzip -> hash (digest) -> file.
struct LayerWriter {
    path: PathBuf,
    archive: tar::Builder<Hashing<GzEncoder<Hashing<BufWriter<File>>>>>,
}

impl LayerWriter {
    fn create(layout: &Layout) -> Result<Self> {
        let path = layout.folder().join("layer.part");
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let file = Hashing::new(BufWriter::new(file));
        let gzip = GzEncoder::new(file, Compression::fast());
        Ok(Self {
            path,
            archive: tar::Builder::new(Hashing::new(gzip)),
        })
    }

    fn add(&mut self, from: &Path, inside: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_704_067_200);
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        self.archive
            .append_data(&mut header, inside, content.as_slice())
            .with_context(|| format!("archive {}", from.display()))
    }

    /// Bytes that have left the compressor.
    fn size(&mut self) -> Result<u64> {
        let gzip = &mut self.archive.get_mut().inner;
        gzip.flush().context("compress a layer")?;
        Ok(gzip.get_ref().bytes)
    }

    fn finish(self, layout: &Layout) -> Result<Layer> {
        let tar = self.archive.into_inner().context("end an archive")?;
        let diff_id = tar.digest();
        let mut file = tar.inner.finish().context("compress a layer")?;
        file.flush().context("write a layer")?;
        let layer = Layer {
            digest: file.digest(),
            diff_id,
            size: file.bytes,
        };
        fs::rename(&self.path, layout.blob_path(&layer.digest)).context("name a layer")?;
        Ok(layer)
    }
}

/// Hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", hex(&self.hasher.clone().finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(content)?;
        self.hasher.update(&content[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
