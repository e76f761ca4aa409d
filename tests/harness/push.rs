//! Whole operations of an OCI client on a [`Registry`]: push a blob, push an
//! image, read everything back and compare it byte by byte.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::http::{Registry, Reply};
use crate::image::{Blob, Image, Index, hex};

/// An upload session: where its next request goes.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The path of the last `Location`; valid on every node of the region.
    pub path: String,
}

impl Upload {
    /// The path that ends the session. (OCI distribution, "Pushing blobs")
    pub fn end(&self, digest: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}digest={digest}", self.path)
    }
}

impl Registry {
    /// POST: opens an upload session.
    pub async fn open_upload(&self, repository: &str) -> Result<Upload> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let reply = self
            .post(&path)
            .header("content-length", "0")
            .send()
            .await?;
        let reply = reply.expect(202)?;
        Ok(Upload {
            path: reply.location()?,
        })
    }

    /// PATCH of one chunk that starts at `offset`; the session moves on.
    pub async fn send_chunk(
        &self,
        upload: &mut Upload,
        offset: usize,
        chunk: Bytes,
    ) -> Result<Reply> {
        let last = (offset + chunk.len()).saturating_sub(1);
        let reply = self
            .patch(&upload.path)
            .header("content-type", "application/octet-stream")
            .header("content-range", &format!("{offset}-{last}"))
            .header("content-length", &chunk.len())
            .body(chunk)
            .send()
            .await?
            .expect(202)?
            .expect_header("range", &format!("0-{last}"))?;
        upload.path = reply.location()?;
        Ok(reply)
    }

    /// POST, then PUT with the whole content.
    pub async fn push_blob(&self, repository: &str, blob: &Blob) -> Result<()> {
        let body = blob.content.clone();
        let size = blob.content.len() as u64;
        self.push_blob_body(repository, &blob.digest, size, body.into())
            .await
    }

    /// The same with a body that need not be in memory.
    pub async fn push_blob_body(
        &self,
        repository: &str,
        digest: &str,
        size: u64,
        body: reqwest::Body,
    ) -> Result<()> {
        let upload = self.open_upload(repository).await?;
        let reply = self
            .put(&upload.end(digest))
            .header("content-type", "application/octet-stream")
            .header("content-length", &size)
            .body(body)
            .send()
            .await?;
        reply
            .expect(201)?
            .expect_header("docker-content-digest", digest)?
            .location()?;
        Ok(())
    }

    /// PUT of a manifest; `reference` is a tag or a digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Blob,
    ) -> Result<Reply> {
        self.put(&format!("/v2/{repository}/manifests/{reference}"))
            .header("content-type", &manifest.media_type)
            .body(manifest.content.clone())
            .send()
            .await?
            .expect(201)?
            .expect_header("docker-content-digest", &manifest.digest)
    }

    /// Blobs, then the manifest under `reference`.
    pub async fn push_image(&self, repository: &str, reference: &str, image: &Image) -> Result<()> {
        for blob in &image.blobs {
            self.push_blob(repository, blob).await?;
        }
        self.put_manifest(repository, reference, &image.manifest)
            .await?;
        Ok(())
    }

    /// Every image by digest, then the index under `reference`.
    pub async fn push_index(&self, repository: &str, reference: &str, index: &Index) -> Result<()> {
        for image in &index.images {
            self.push_image(repository, image.digest(), image).await?;
        }
        self.put_manifest(repository, reference, &index.manifest)
            .await?;
        Ok(())
    }

    /// GET and HEAD of a manifest: bytes, media type and digest are those of
    /// `expected`.
    pub async fn verify_manifest(
        &self,
        repository: &str,
        reference: &str,
        expected: &Blob,
    ) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let reply = self
            .get(&path)
            .header("accept", &expected.media_type)
            .send()
            .await?
            .expect(200)?
            .expect_header("docker-content-digest", &expected.digest)?
            .expect_header("content-type", &expected.media_type)?;
        ensure!(
            reply.body == expected.content,
            "{}: the bytes differ from those pushed",
            reply.what
        );
        self.head(&path)
            .header("accept", &expected.media_type)
            .send()
            .await?
            .expect(200)?
            .expect_header("docker-content-digest", &expected.digest)?
            .expect_header("content-length", &expected.content.len().to_string())?;
        Ok(())
    }

    pub async fn verify_blob(&self, repository: &str, expected: &Blob) -> Result<()> {
        let path = format!("/v2/{repository}/blobs/{}", expected.digest);
        let reply = self.get(&path).send().await?.expect(200)?;
        ensure!(
            reply.body == expected.content,
            "{}: the bytes differ from those pushed",
            reply.what
        );
        Ok(())
    }

    /// Reads everything back and compares it.
    pub async fn verify_image(
        &self,
        repository: &str,
        reference: &str,
        image: &Image,
    ) -> Result<()> {
        self.verify_manifest(repository, reference, &image.manifest)
            .await?;
        for blob in &image.blobs {
            self.verify_blob(repository, blob).await?;
        }
        Ok(())
    }

    /// The index, every child of it by digest, and what the children name.
    pub async fn verify_index(
        &self,
        repository: &str,
        reference: &str,
        index: &Index,
    ) -> Result<()> {
        self.verify_manifest(repository, reference, &index.manifest)
            .await?;
        for image in &index.images {
            self.verify_image(repository, image.digest(), image).await?;
        }
        Ok(())
    }

    /// Streams a blob and returns `sha256:<hex>` and the number of bytes.
    pub async fn read_blob(&self, repository: &str, digest: &str) -> Result<(String, u64)> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let response = self.get(&path).stream(200).await?;
        let mut bytes = response.bytes_stream();
        let mut hasher = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = bytes.try_next().await.with_context(|| {
            format!("read blob {digest} of {repository}: broken off after {size} bytes")
        })? {
            hasher.update(&chunk);
            size += chunk.len() as u64;
        }
        Ok((format!("sha256:{}", hex(&hasher.finalize())), size))
    }
}
