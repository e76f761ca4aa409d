//! What nothing refers to, deletions of images, and checks.

use std::time::Duration;

use entrepot_proto::admin::{
    CheckFilesReply, CheckFilesRequest, CheckRecordsReply, CheckRecordsRequest,
    CollectionStatusReply, CollectionStatusRequest, DeleteImageReply, DeleteImageRequest,
    PreviewCollectionReply, PreviewCollectionRequest, RunCollectionReply, RunCollectionRequest,
};

use super::Client;
use crate::failure::{Effect, Failure};

fn ms(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Client {
    pub(crate) async fn collection_status(&self) -> Result<CollectionStatusReply, Failure> {
        let mut collection = self.collection.clone();
        self.timed(Effect::Reads, CollectionStatusRequest {}, async |request| {
            collection.collection_status(request).await
        })
        .await
    }

    /// The page behind `after`.
    pub(crate) async fn preview_collection(
        &self,
        after: String,
        as_of_ms: i64,
        older_than: Option<Duration>,
    ) -> Result<PreviewCollectionReply, Failure> {
        let request = PreviewCollectionRequest {
            after,
            as_of_ms,
            unreferenced_after_ms: ms(older_than),
        };
        let mut collection = self.collection.clone();
        self.timed(Effect::Reads, request, async |request| {
            collection.preview_collection(request).await
        })
        .await
    }

    /// One step.
    pub(crate) async fn run_collection(
        &self,
        older_than: Option<Duration>,
    ) -> Result<RunCollectionReply, Failure> {
        let request = RunCollectionRequest {
            unreferenced_after_ms: ms(older_than),
        };
        let mut collection = self.collection.clone();
        self.timed(Effect::Collects, request, async |request| {
            collection.run_collection(request).await
        })
        .await
    }

    pub(crate) async fn delete_image(
        &self,
        request: DeleteImageRequest,
    ) -> Result<DeleteImageReply, Failure> {
        let effect = if request.dry_run {
            Effect::Reads
        } else {
            Effect::DeletesImage
        };
        let mut collection = self.collection.clone();
        self.timed(effect, request, async |request| {
            collection.delete_image(request).await
        })
        .await
    }

    /// The page behind `after`. `silent`: nodes that are not asked.
    pub(crate) async fn check_files(
        &self,
        node: u64,
        after: String,
        repair: bool,
        silent: Vec<u64>,
    ) -> Result<CheckFilesReply, Failure> {
        let request = CheckFilesRequest {
            node,
            after,
            repair,
            silent,
        };
        let effect = if repair { Effect::Mends } else { Effect::Reads };
        let mut collection = self.collection.clone();
        self.timed(effect, request, async |request| {
            collection.check_files(request).await
        })
        .await
    }

    /// The page behind `after`.
    pub(crate) async fn check_records(&self, after: String) -> Result<CheckRecordsReply, Failure> {
        let mut collection = self.collection.clone();
        self.timed(
            Effect::Reads,
            CheckRecordsRequest { after },
            async |request| collection.check_records(request).await,
        )
        .await
    }
}
