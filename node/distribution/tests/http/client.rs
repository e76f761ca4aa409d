//! A client of the front end, without a network between them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_blobs::{BlobStore, Fault, MemoryStore, Operation};
use entrepot_distribution::router;
use entrepot_metadata::Metadata;
use entrepot_oci::{Algorithm, Digest};
use entrepot_service::{Domain, Registry};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::registry;

/// Far longer than any test waits.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_mins(2);
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Under which hosts name registries.
pub(crate) fn domain() -> Domain {
    "registry.test".parse().unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Client {
    router: Router,
    /// What answers.
    pub(crate) registry: Arc<Registry>,
    pub(crate) metadata: Arc<dyn Metadata>,
    store: MemoryStore,
}

// === impl Client ===

impl Client {
    pub(crate) async fn new() -> Self {
        let store = MemoryStore::new();
        let (registry, metadata) = registry::registry_over(store.clone()).await;
        Self {
            router: router(Arc::clone(&registry), BODY_TIMEOUT, Some(domain())),
            registry,
            metadata,
            store,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        self.try_send(request).await.unwrap()
    }

    /// An error where the answer's body breaks off.
    pub(crate) async fn try_send(&self, request: Request<Body>) -> Result<Reply, axum::Error> {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// Lets the only copy of a blob vanish.
    pub(crate) async fn lose(&self, digest: &Digest) {
        assert!(self.store.delete(digest).await.unwrap());
    }

    /// Lets that many pieces of a blob be read, and not the next one.
    pub(crate) fn break_reads_after(&self, pieces: u32) {
        let faults = self.store.faults();
        faults.fail_after(Operation::Read, pieces, Fault::Broken);
    }

    pub(crate) async fn call(&self, method: &str, target: &str) -> Reply {
        self.with(method, target, &[], Body::empty()).await
    }

    pub(crate) async fn with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", authorization());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.with("POST", &target, &[], content.to_vec()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        content: &str,
    ) -> Reply {
        let target = format!("/v2/{repository}/manifests/{reference}");
        self.with(
            "PUT",
            &target,
            &[("content-type", MANIFEST)],
            content.to_owned(),
        )
        .await
    }

    /// The Location of a new upload.
    pub(crate) async fn open_upload(&self, repository: &str) -> String {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let reply = self.call("POST", &target).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        reply.header("location").to_owned()
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["errors"][0]["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

pub(crate) fn authorization() -> String {
    let credentials = format!("{}:{}", registry::USER, registry::PASSWORD);
    format!("Basic {}", STANDARD.encode(credentials))
}

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub(crate) fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn image(config: &Digest, size: usize) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.to_string(),
            "size": size,
        },
        "layers": [],
    })
    .to_string()
}
