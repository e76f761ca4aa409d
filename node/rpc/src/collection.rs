//! `entrepot.admin.v1.Collection`: what nothing refers to, and whether disks and records
//! agree.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::Reference;
use entrepot_proto::admin;
use entrepot_proto::admin::collection_server::Collection;
use entrepot_proto::peer::{FileFault, FileFinding};
use entrepot_service::{
    Collectable, CollectionStanding, ImageDeletionRequest, NodeStanding, RecordFault,
    RecordFinding, Registry, ServiceError,
};
use tonic::{Request, Response, Status};

use crate::admin::parse;
use crate::caller;
use crate::request::given;
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct CollectionServer {
    registry: Arc<Registry>,
}

// === impl CollectionServer ===

impl CollectionServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Collection for CollectionServer {
    async fn collection_status(
        &self,
        request: Request<admin::CollectionStatusRequest>,
    ) -> Result<Response<admin::CollectionStatusReply>, Status> {
        let who = caller::of(&request)?;
        let standing = self.registry.collection_standing(&who).await;
        let standing = standing.map_err(|error| status(&error))?;
        let region = self.registry.region().to_string();
        Ok(Response::new(shown(region, standing)))
    }

    async fn preview_collection(
        &self,
        request: Request<admin::PreviewCollectionRequest>,
    ) -> Result<Response<admin::PreviewCollectionReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let after = given(&request.after).map(parse).transpose()?;
        let as_of_ms = Some(request.as_of_ms).filter(|ms| *ms != 0);
        let after_ms = request.unreferenced_after_ms;
        let preview = self
            .registry
            .preview_collection(&who, after, after_ms, as_of_ms);
        let preview = preview.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::PreviewCollectionReply {
            now: Some(collectable(preview.now)),
            later: Some(collectable(preview.later)),
            looked_at: preview.looked_at,
            next: preview.next.map(|it| it.to_string()).unwrap_or_default(),
            as_of_ms: preview.as_of_ms,
            unreferenced_after_ms: unsigned(preview.unreferenced_after_ms),
            copies: preview.copies,
        }))
    }

    async fn run_collection(
        &self,
        request: Request<admin::RunCollectionRequest>,
    ) -> Result<Response<admin::RunCollectionReply>, Status> {
        let who = caller::of(&request)?;
        let after = request.into_inner().unreferenced_after_ms;
        let after = after.map(Duration::from_millis);
        let step = self.registry.collect_now(&who, after).await;
        let step = step.map_err(|error| status(&error))?;
        Ok(Response::new(admin::RunCollectionReply {
            links: step.links,
            blobs: step.blobs,
            bytes: step.bytes,
            more: step.more,
            files_pending: step.files_pending as u64,
        }))
    }

    async fn delete_image(
        &self,
        request: Request<admin::DeleteImageRequest>,
    ) -> Result<Response<admin::DeleteImageReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let reference = match (given(&request.tag), given(&request.digest)) {
            (Some(tag), None) => Reference::Tag(parse(tag)?),
            (None, Some(digest)) => Reference::Digest(parse(digest)?),
            _ => {
                let text = "either a tag or a digest has to be given";
                return Err(status(&ServiceError::Invalid(text.to_owned())));
            }
        };
        let request = ImageDeletionRequest {
            repository: parse(&request.repository)?,
            reference,
            with_children: request.with_children,
            dry_run: request.dry_run,
        };
        let deleted = self.registry.remove_image(&who, &request).await;
        let deleted = deleted.map_err(|error| status(&error))?;
        let (failed, failure, untried) = match deleted.failed {
            None => Default::default(),
            Some(it) => (
                it.digest.to_string(),
                status(&it.error).message().to_owned(),
                it.untried.iter().map(ToString::to_string).collect(),
            ),
        };
        let manifests = deleted.manifests.into_iter();
        let manifests = manifests.map(|it| admin::DeletedManifest {
            digest: it.digest.to_string(),
            media_type: it.media_type.to_string(),
            bytes: it.bytes,
        });
        Ok(Response::new(admin::DeleteImageReply {
            digest: deleted.digest.to_string(),
            manifests: manifests.collect(),
            tags: deleted.tags.iter().map(ToString::to_string).collect(),
            children_left: deleted.children_left,
            blobs: deleted.blobs,
            blob_bytes: deleted.blob_bytes,
            unique_blobs: deleted.unique_blobs,
            unique_bytes: deleted.unique_bytes,
            of_region: deleted.of_region,
            unreferenced_after_ms: unsigned(deleted.unreferenced_after_ms),
            failed,
            failure,
            untried,
        }))
    }

    async fn check_files(
        &self,
        request: Request<admin::CheckFilesRequest>,
    ) -> Result<Response<admin::CheckFilesReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let (node, repair) = (request.node, request.repair);
        let checked = self
            .registry
            .check_files(&who, node, &request.after, repair, request.silent)
            .await;
        let checked = checked.map_err(|error| status(&error))?;
        Ok(Response::new(match checked {
            None => admin::CheckFilesReply::default(),
            Some(page) => admin::CheckFilesReply {
                answered: true,
                files: page.files,
                records: page.records,
                permille: permille(&page.next),
                findings: page
                    .findings
                    .into_iter()
                    .map(|it| file_finding(node, it))
                    .collect(),
                next: page.next,
                silent: page.silent,
            },
        }))
    }

    async fn check_records(
        &self,
        request: Request<admin::CheckRecordsRequest>,
    ) -> Result<Response<admin::CheckRecordsReply>, Status> {
        let who = caller::of(&request)?;
        let after = request.into_inner().after;
        let after = given(&after).map(parse).transpose()?;
        let page = self.registry.check_records(&who, after).await;
        let page = page.map_err(|error| status(&error))?;
        Ok(Response::new(admin::CheckRecordsReply {
            manifests: page.manifests,
            links: page.links,
            blobs: page.blobs,
            findings: page.findings.iter().map(record_finding).collect(),
            next: page.next.map(|it| it.to_string()).unwrap_or_default(),
        }))
    }
}

fn shown(region: String, standing: CollectionStanding) -> admin::CollectionStatusReply {
    let known = standing.begun;
    admin::CollectionStatusReply {
        region,
        nodes: standing.nodes.into_iter().map(node).collect(),
        begun: known.is_some(),
        walked: known.is_some_and(|known| known.walked),
        floor: known.map_or(0, |known| known.floor),
        links_waiting: standing.waiting.links as u64,
        oldest_goes_at_ms: standing.oldest_goes_at_ms.unwrap_or_default(),
        blobs_waiting: standing.waiting.blobs as u64,
        counted_max: standing.counted_max as u64,
        unreferenced_after_ms: unsigned(standing.unreferenced_after_ms),
        at_ms: standing.at_ms,
    }
}

fn node(node: NodeStanding) -> admin::NodeCollection {
    let answered = node.state.is_some();
    let state = node.state.unwrap_or_default();
    admin::NodeCollection {
        node: node.node,
        answered,
        drives: state.driving_since_ms != 0,
        driving_since_ms: state.driving_since_ms,
        links: state.links,
        blobs: state.blobs,
        bytes: state.bytes,
        failures: state.failures,
        files_deleted: state.files_deleted,
        file_failures: state.file_failures,
        files_pending: node.files_pending as u64,
        last_failure: state.last_failure,
    }
}

fn collectable(found: Collectable) -> admin::Collectable {
    admin::Collectable {
        links: found.links,
        blobs: found.blobs,
        bytes: found.bytes,
        file_bytes: found.file_bytes,
    }
}

fn file_finding(node: u64, found: FileFinding) -> admin::Finding {
    use admin::FindingKind as Kind;
    let kind = match found.fault() {
        FileFault::Unspecified => Kind::Unspecified,
        FileFault::Orphan => Kind::Orphan,
        FileFault::Missing => Kind::Missing,
        FileFault::WrongSize => Kind::WrongSize,
        FileFault::Staging => Kind::Staging,
    };
    let detail = match kind {
        Kind::Staging => format!("{} files", found.files),
        _ => String::new(),
    };
    admin::Finding {
        kind: kind.into(),
        node,
        digest: found.digest,
        bytes: found.bytes,
        copies: found.copies,
        copies_wanted: found.copies_wanted,
        copies_unknown: found.copies_unknown,
        detail,
        mended: found.mended,
        failure: found.failure,
    }
}

fn record_finding(found: &RecordFinding) -> admin::Finding {
    use admin::FindingKind as Kind;
    let kind = match found.fault {
        RecordFault::LinkWithoutBlob => Kind::LinkWithoutBlob,
        RecordFault::ManifestWithoutLink => Kind::ManifestWithoutLink,
        RecordFault::BlobWithoutLink => Kind::BlobWithoutLink,
        RecordFault::LinkForgotten => Kind::LinkForgotten,
    };
    let mut detail = String::new();
    if let Some(place) = &found.place {
        detail = format!("{}/{}", place.account, place.repository);
    }
    if let Some(manifest) = &found.manifest {
        detail = format!("{detail}@{manifest}");
    }
    admin::Finding {
        kind: kind.into(),
        digest: found.digest.to_string(),
        bytes: found.bytes,
        detail,
        ..admin::Finding::default()
    }
}

/// How much of all digests lies before one, in thousandths. None: all of them.
fn permille(next: &str) -> u32 {
    match next.split_once(':') {
        Some(("sha256", hash)) => {
            let first = hash
                .get(..4)
                .and_then(|it| u32::from_str_radix(it, 16).ok());
            first.unwrap_or(0) * 1_000 / 0x1_0000
        }
        // Few clients use another algorithm, which comes after all of the first.
        Some(_) => 999,
        None => 1_000,
    }
}

fn unsigned(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_check_is_follows_from_the_digest() {
        assert_eq!(permille("sha256:0000ab"), 0);
        assert_eq!(permille("sha256:8000ab"), 500);
        assert_eq!(permille("sha512:0000ab"), 999);
        assert_eq!(permille(""), 1_000);
    }
}
