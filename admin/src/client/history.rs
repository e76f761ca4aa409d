//! The service `History`: what was deleted, and the way back.

use entrepot_oci::{Digest, Reference};
use entrepot_proto::admin::{
    DeletedImage, GetTagHistoryRequest, ListDeletedImagesRequest, PurgeImageRequest,
    RestoreImageReply, RestoreImageRequest, RestoreTagReply, RestoreTagRequest, TagMove,
};

use super::{Client, PAGE_ITEMS, pages};
use crate::failure::{Effect, Failure};

impl Client {
    pub(crate) async fn deleted_images(
        &self,
        repository: &str,
    ) -> Result<Vec<DeletedImage>, Failure> {
        pages(async |after| {
            let request = ListDeletedImagesRequest {
                repository: repository.to_owned(),
                after,
                limit: PAGE_ITEMS,
            };
            let mut history = self.history.clone();
            let reply = self
                .timed(Effect::Reads, request, async |request| {
                    history.list_deleted_images(request).await
                })
                .await?;
            Ok((reply.images, reply.next))
        })
        .await
    }

    pub(crate) async fn restore_image(
        &self,
        repository: &str,
        reference: &Reference,
        without_tags: bool,
    ) -> Result<RestoreImageReply, Failure> {
        let request = RestoreImageRequest {
            repository: repository.to_owned(),
            reference: reference.to_string(),
            without_tags,
        };
        let mut history = self.history.clone();
        self.timed(Effect::ChangesImages, request, async |request| {
            history.restore_image(request).await
        })
        .await
    }

    pub(crate) async fn tag_history(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Vec<TagMove>, Failure> {
        pages(async |after| {
            let request = GetTagHistoryRequest {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                after,
                limit: PAGE_ITEMS,
            };
            let mut history = self.history.clone();
            let reply = self
                .timed(Effect::Reads, request, async |request| {
                    history.get_tag_history(request).await
                })
                .await?;
            Ok((reply.moves, reply.next))
        })
        .await
    }

    pub(crate) async fn restore_tag(
        &self,
        repository: &str,
        tag: &str,
        at_ms: i64,
        dry_run: bool,
    ) -> Result<RestoreTagReply, Failure> {
        let request = RestoreTagRequest {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            at_ms,
            dry_run,
        };
        let effect = if dry_run {
            Effect::Reads
        } else {
            Effect::ChangesImages
        };
        let mut history = self.history.clone();
        self.timed(effect, request, async |request| {
            history.restore_tag(request).await
        })
        .await
    }

    pub(crate) async fn purge_image(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let request = PurgeImageRequest {
            repository: repository.to_owned(),
            digest: digest.to_string(),
        };
        let mut history = self.history.clone();
        self.timed(Effect::ChangesImages, request, async |request| {
            history.purge_image(request).await
        })
        .await
        .map(drop)
    }
}
