//! The fake node's service `Collection`: of two nodes one does not answer, and of what
//! the other has some is wrong.

use entrepot_proto::admin::collection_server::Collection;
use entrepot_proto::admin::{
    CheckFilesReply, CheckFilesRequest, CheckRecordsReply, CheckRecordsRequest, Collectable,
    CollectionStatusReply, CollectionStatusRequest, DeleteImageReply, DeleteImageRequest,
    DeletedManifest, Finding, FindingKind, NodeCollection, PreviewCollectionReply,
    PreviewCollectionRequest, RunCollectionReply, RunCollectionRequest,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, HOUR_MS, Service};

const MIB: u64 = 1024 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CHILD: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Some time beyond the unit, so that it is shown as that.
fn hours(hours: i64) -> i64 {
    hours * HOUR_MS + 60_000
}

fn collectable(links: u64, blobs: u64) -> Collectable {
    Collectable {
        links,
        blobs,
        bytes: blobs * MIB,
        file_bytes: 3 * blobs * MIB,
    }
}

fn finding(kind: FindingKind, node: u64, repair: bool) -> Finding {
    let is_copy = matches!(kind, FindingKind::Missing | FindingKind::WrongSize);
    let is_lost = kind == FindingKind::WrongSize;
    Finding {
        kind: kind.into(),
        node,
        digest: if kind == FindingKind::Staging {
            String::new()
        } else {
            DIGEST.to_owned()
        },
        bytes: MIB,
        copies: if is_copy && !is_lost { 2 } else { 0 },
        copies_wanted: if is_copy { 3 } else { 0 },
        copies_unknown: u64::from(is_lost),
        detail: if kind == FindingKind::Staging {
            "2 files".to_owned()
        } else {
            String::new()
        },
        mended: repair && !is_lost,
        failure: if repair && is_lost {
            "no node of the region has it".to_owned()
        } else {
            String::new()
        },
    }
}

#[tonic::async_trait]
impl Collection for Service {
    async fn collection_status(
        &self,
        request: Request<CollectionStatusRequest>,
    ) -> Answer<CollectionStatusReply> {
        self.enter(request).await?;
        let one = NodeCollection {
            node: 1,
            answered: true,
            drives: true,
            driving_since_ms: now_ms() - hours(5),
            links: 12,
            blobs: 9,
            bytes: 9 * MIB,
            failures: 1,
            files_deleted: 9,
            file_failures: 0,
            files_pending: 0,
            last_failure: "this region's metadata has no leader".to_owned(),
        };
        let two = NodeCollection {
            node: 2,
            files_pending: 4,
            ..NodeCollection::default()
        };
        Ok(Response::new(CollectionStatusReply {
            region: "us-east-1".to_owned(),
            nodes: vec![one, two],
            begun: true,
            walked: true,
            floor: 1042,
            links_waiting: 10_000,
            oldest_goes_at_ms: now_ms() + hours(3),
            blobs_waiting: 2,
            counted_max: 10_000,
            unreferenced_after_ms: DAY_MS,
            at_ms: now_ms(),
        }))
    }

    async fn preview_collection(
        &self,
        request: Request<PreviewCollectionRequest>,
    ) -> Answer<PreviewCollectionReply> {
        let request = self.enter(request).await?;
        let is_first = request.after.is_empty();
        if is_first != (request.as_of_ms == 0) {
            return Err(Status::invalid_argument("all pages mean one moment"));
        }
        Ok(Response::new(PreviewCollectionReply {
            now: Some(collectable(5, 4)),
            later: Some(collectable(1, 0)),
            looked_at: 10,
            next: if is_first { "blob" } else { "" }.to_owned(),
            as_of_ms: 1_767_225_600_000,
            unreferenced_after_ms: request.unreferenced_after_ms.unwrap_or(DAY_MS),
            copies: 3,
        }))
    }

    async fn run_collection(
        &self,
        request: Request<RunCollectionRequest>,
    ) -> Answer<RunCollectionReply> {
        let request = self.enter(request).await?;
        let more = {
            let mut state = self.0.lock().unwrap();
            state.arrives = !state.arrives;
            state.arrives
        };
        Ok(Response::new(RunCollectionReply {
            links: 6,
            blobs: 4,
            bytes: 4 * MIB,
            more,
            files_pending: if request.unreferenced_after_ms == Some(0) {
                4
            } else {
                0
            },
        }))
    }

    async fn delete_image(&self, request: Request<DeleteImageRequest>) -> Answer<DeleteImageReply> {
        let request = self.enter(request).await?;
        let manifest = |digest: &str, bytes| DeletedManifest {
            digest: digest.to_owned(),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            bytes,
        };
        let mut manifests = vec![manifest(DIGEST, 512)];
        if request.with_children {
            manifests.push(manifest(CHILD, 1_024));
        }
        let is_torn = request.tag == "torn";
        let (failed, failure, untried) = if is_torn {
            manifests.truncate(1);
            let failure = "the metadata of this region has no leader";
            let untried = vec![CHILD.replace('9', "8")];
            (CHILD.to_owned(), failure.to_owned(), untried)
        } else {
            Default::default()
        };
        let tags = match request.tag.as_str() {
            "" => vec!["1.4".to_owned(), "latest".to_owned()],
            "latest" => {
                manifests.clear();
                vec!["latest".to_owned()]
            }
            tag => vec![tag.to_owned()],
        };
        Ok(Response::new(DeleteImageReply {
            digest: DIGEST.to_owned(),
            children_left: u64::from(!request.with_children),
            manifests,
            tags,
            blobs: 3,
            blob_bytes: 30 * MIB,
            unique_blobs: 2,
            unique_bytes: 20 * MIB,
            of_region: true,
            unreferenced_after_ms: DAY_MS,
            failed,
            failure,
            untried,
        }))
    }

    async fn check_files(&self, request: Request<CheckFilesRequest>) -> Answer<CheckFilesReply> {
        let request = self.enter(request).await?;
        let found = |kinds: &[FindingKind]| {
            let found = kinds.iter().map(|kind| finding(*kind, 1, request.repair));
            found.collect()
        };
        let is_first = request.after.is_empty();
        let silent = if is_first { vec![2] } else { vec![2, 3] };
        if request.silent != silent {
            return Err(Status::invalid_argument("who is silent is not asked again"));
        }
        Ok(Response::new(CheckFilesReply {
            answered: true,
            files: 500,
            records: 501,
            findings: if is_first {
                found(&[FindingKind::Orphan, FindingKind::Missing])
            } else {
                found(&[FindingKind::WrongSize, FindingKind::Staging])
            },
            next: if is_first { DIGEST } else { "" }.to_owned(),
            permille: if is_first { 888 } else { 1_000 },
            silent: vec![2, 3],
        }))
    }

    async fn check_records(
        &self,
        request: Request<CheckRecordsRequest>,
    ) -> Answer<CheckRecordsReply> {
        self.enter(request).await?;
        Ok(Response::new(CheckRecordsReply {
            manifests: 214,
            links: 1_042,
            blobs: 900,
            findings: vec![Finding {
                detail: format!("123456789012/team/app@{CHILD}"),
                ..finding(FindingKind::ManifestWithoutLink, 0, false)
            }],
            next: String::new(),
        }))
    }
}
