//! Operations carried out: each is one use case of the service, or two, and the
//! rendering of what it brought.
//!
//! Whether the caller may is the service's question, asked first in each of its
//! methods; nothing here answers it. A manifest is served as it was pushed, in
//! its own media type, whatever `Accept` says: nothing is made into another
//! type, which would have another digest, and an image that is there is not
//! denied to a client because of what it forgot to list (RFC 9110, 12.5.1 allows
//! that; so does zot).

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use entrepot_oci::{Digest, MANIFEST_BYTES_MAX, Reference, RepositoryName};
use entrepot_service::{Caller, ManifestPush, Registry, ServiceError, UploadChunk};

use crate::body::RequestBody;
use crate::condition::Conditions;
use crate::error::Failure;
use crate::operation::{
    BlobOperation, Chunk, ManifestOperation, ManifestPut, NewBlob, Operation, UploadOperation,
};
use crate::page::{Page, ReferrersPage};
use crate::path::{Session, upload};
use crate::public::shown;
use crate::render;

/// On whose behalf, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Performer<'a> {
    pub(crate) registry: &'a Arc<Registry>,
    pub(crate) who: &'a Caller,
}

// === impl Performer ===

impl Performer<'_> {
    /// A repository by the name that clients know it by.
    fn shown<'r>(&self, repository: &'r RepositoryName) -> Cow<'r, RepositoryName> {
        shown(&self.who.account, repository)
    }

    /// Carries `operation` out. Operations that take no content leave `body`
    /// unread.
    pub(crate) async fn perform(
        self,
        operation: Operation,
        body: RequestBody,
    ) -> Result<Response, Failure> {
        match operation {
            Operation::Ping => Ok(render::base()),
            Operation::Catalog(page) => self.catalog(&page).await,
            Operation::Tags(repository, page) => self.tags(&repository, &page).await,
            Operation::Referrers(repository, subject, page) => {
                self.referrers(&repository, &subject, &page).await
            }
            Operation::Manifest(repository, reference, operation) => {
                self.manifest(&repository, &reference, operation, body)
                    .await
            }
            Operation::Blob(repository, digest, operation) => {
                self.blob(&repository, &digest, operation).await
            }
            Operation::NewBlob(repository, operation) => {
                self.new_blob(&repository, operation, body).await
            }
            Operation::Upload(repository, session, operation) => self
                .upload(&repository, &session, operation, body)
                .await
                .map_err(|error| Failure::Upload {
                    error,
                    location: upload(&shown(&self.who.account, &repository), session.as_str()),
                }),
        }
    }

    async fn catalog(self, page: &Page) -> Result<Response, Failure> {
        // As for tags: one is looked for where none is wanted.
        let limit = Some(page.limit.max(1));
        let found = self
            .registry
            .list_repositories(self.who, page.after.as_deref(), limit)
            .await?;
        Ok(render::catalog(&found, page))
    }

    async fn tags(self, repository: &RepositoryName, page: &Page) -> Result<Response, Failure> {
        // `n=0` asks whether the repository is there: one tag is looked for and
        // none shown.
        let limit = page.limit.max(1);
        let tags = self
            .registry
            .list_tags(self.who, repository, page.after.as_deref(), limit)
            .await?;
        Ok(render::tags(&self.shown(repository), &tags, page))
    }

    async fn referrers(
        self,
        repository: &RepositoryName,
        subject: &Digest,
        page: &ReferrersPage,
    ) -> Result<Response, Failure> {
        let (types, after) = (&page.types, page.after.as_ref());
        let found = self
            .registry
            .list_referrers(self.who, repository, subject, types, after, page.limit)
            .await?;
        let shown = self.shown(repository);
        Ok(render::referrers(&shown, subject, &found, page))
    }

    async fn manifest(
        self,
        repository: &RepositoryName,
        reference: &Reference,
        operation: ManifestOperation,
        body: RequestBody,
    ) -> Result<Response, Failure> {
        let Self { registry, who } = self;
        match operation {
            ManifestOperation::Get(conditions) => {
                let manifest = registry.get_manifest(who, repository, reference).await?;
                if conditions.has(&manifest.digest)? {
                    return Ok(render::not_modified(&manifest.digest));
                }
                let part = conditions.part(&manifest.digest, manifest.content.len() as u64)?;
                if conditions.are_of_a_get() {
                    registry.pulled(who, repository, &manifest.digest);
                }
                Ok(render::manifest(&manifest, part))
            }
            ManifestOperation::Put(put) => {
                self.put_manifest(repository, reference, put, body).await
            }
            ManifestOperation::Delete(condition) => {
                registry
                    .delete_manifest(who, repository, reference, condition)
                    .await?;
                Ok(render::removed(reference.as_digest()))
            }
        }
    }

    async fn put_manifest(
        self,
        repository: &RepositoryName,
        reference: &Reference,
        put: ManifestPut,
        body: RequestBody,
    ) -> Result<Response, Failure> {
        let Self { registry, who } = self;
        let ManifestPut {
            content_type,
            mut tags,
            condition,
        } = put;
        registry.before_body(who, "ecr:PutImage", repository)?;
        let mut gathering = registry.gathering();
        let content = body.manifest(MANIFEST_BYTES_MAX, &mut gathering).await?;
        let push = ManifestPush::new(reference, content);
        tags.extend(push.tags);
        let push = ManifestPush {
            tags,
            condition,
            content_type,
            ..push
        };
        let stored = registry.put_manifest(who, repository, push).await?;
        drop(gathering);
        Ok(render::manifest_created(&self.shown(repository), &stored))
    }

    async fn blob(
        self,
        repository: &RepositoryName,
        digest: &Digest,
        operation: BlobOperation,
    ) -> Result<Response, Failure> {
        let Self { registry, who } = self;
        match operation {
            BlobOperation::Stat(conditions) => {
                // In public registries everybody may ask: it is part of a pull.
                let blob = if who.account.is_public() {
                    registry.stat_for_download(who, repository, digest).await?
                } else {
                    registry.stat_blob(who, repository, digest).await?
                };
                Ok(if conditions.has(digest)? {
                    render::not_modified(digest)
                } else {
                    render::blob_facts(&blob)
                })
            }
            BlobOperation::Get(conditions) => self.get_blob(repository, digest, &conditions).await,
            BlobOperation::Delete => {
                registry.delete_blob(who, repository, digest).await?;
                Ok(render::removed(Some(digest)))
            }
        }
    }

    async fn get_blob(
        self,
        repository: &RepositoryName,
        digest: &Digest,
        conditions: &Conditions,
    ) -> Result<Response, Failure> {
        let Self { registry, who } = self;
        let part = if conditions.are_any() {
            let blob = registry.stat_for_download(who, repository, digest).await?;
            if conditions.has(digest)? {
                return Ok(render::not_modified(digest));
            }
            conditions.part(digest, blob.size)?
        } else {
            None
        };
        let (blob, content) = registry
            .open_blob(who, repository, digest, part.clone())
            .await?;
        Ok(render::blob(&blob, part, content))
    }

    async fn new_blob(
        self,
        repository: &RepositoryName,
        operation: NewBlob,
        body: RequestBody,
    ) -> Result<Response, Failure> {
        let Self { registry, who } = self;
        let algorithm = match operation {
            NewBlob::Open(algorithm) => algorithm,
            NewBlob::Push { digest, length } => {
                let blob = registry
                    .push_blob(who, repository, digest, length, Box::pin(body))
                    .await?;
                return Ok(render::blob_created(&self.shown(repository), &blob));
            }
            NewBlob::Mount { from, digest } => {
                let blob = registry
                    .mount_blob(who, repository, from.as_ref(), &digest)
                    .await?;
                if let Some(blob) = blob {
                    return Ok(render::blob_created(&self.shown(repository), &blob));
                }
                Some(digest.algorithm())
            }
        };
        let state = registry.open_upload(who, repository, algorithm).await?;
        Ok(render::upload_state(
            StatusCode::ACCEPTED,
            &self.shown(repository),
            &state,
        ))
    }

    async fn upload(
        self,
        repository: &RepositoryName,
        session: &Session,
        operation: UploadOperation,
        body: RequestBody,
    ) -> Result<Response, ServiceError> {
        let Self { registry, who } = self;
        let session = session.as_str();
        let bytes = |Chunk { offset, length }| UploadChunk {
            offset,
            length,
            body: Box::pin(body),
        };
        match operation {
            UploadOperation::State => {
                let state = registry.upload_state(who, repository, session).await?;
                Ok(render::upload_state(
                    StatusCode::NO_CONTENT,
                    &self.shown(repository),
                    &state,
                ))
            }
            UploadOperation::Append(chunk) => {
                let state = registry
                    .append_upload(who, repository, session, bytes(chunk))
                    .await?;
                Ok(render::upload_state(
                    StatusCode::ACCEPTED,
                    &self.shown(repository),
                    &state,
                ))
            }
            UploadOperation::Finish(chunk, digest) => {
                let blob = registry
                    .finish_upload(who, repository, session, bytes(chunk), digest)
                    .await?;
                Ok(render::blob_created(&self.shown(repository), &blob))
            }
            UploadOperation::Cancel => {
                registry.cancel_upload(who, repository, session).await?;
                Ok(render::upload_cancelled())
            }
        }
    }
}
