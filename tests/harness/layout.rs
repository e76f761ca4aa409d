//! An OCI image layout on disk, which skopeo reads. (OCI image specification,
//! "Image Layout")

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::image::{Blob, Image, Index};

/// A layout folder; it is complete after every call.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    pub fn create(folder: &Path) -> Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
        let layout = Self {
            folder: folder.to_owned(),
            manifests: Vec::new(),
        };
        layout.write(
            "oci-layout",
            json!({"imageLayoutVersion": "1.0.0"})
                .to_string()
                .as_bytes(),
        )?;
        layout.write_index()?;
        Ok(layout)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the blob of `digest` (sha256) lies.
    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder.join("blobs/sha256").join(hex)
    }

    pub fn add_image(&mut self, name: &str, image: &Image) -> Result<()> {
        self.add_blobs(image)?;
        self.name_manifest(name, &image.manifest)
    }

    pub fn add_index(&mut self, name: &str, index: &Index) -> Result<()> {
        for image in &index.images {
            self.add_blobs(image)?;
        }
        self.name_manifest(name, &index.manifest)
    }

    fn add_blobs(&self, image: &Image) -> Result<()> {
        for blob in image.blobs.iter().chain([&image.manifest]) {
            self.add_blob(blob)?;
        }
        Ok(())
    }

    pub(crate) fn add_blob(&self, blob: &Blob) -> Result<()> {
        let path = self.blob_path(&blob.digest);
        fs::write(&path, &blob.content).with_context(|| format!("write {}", path.display()))
    }

    /// Stores a manifest under a name that `oci:FOLDER:NAME` finds.
    pub(crate) fn name_manifest(&mut self, name: &str, manifest: &Blob) -> Result<()> {
        self.add_blob(manifest)?;
        let mut entry = manifest.descriptor();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.manifests.push(entry);
        self.write_index()
    }

    fn write_index(&self) -> Result<()> {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        self.write("index.json", index.to_string().as_bytes())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }
}
