//! Layers: whether they are there, and uploads of them in parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_oci::{Digest, RepositoryName};
use entrepot_service::{BodyStream, ServiceError, UploadChunk};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;

/// What makes a layer's address good by itself, in its query.
const LAYER_GRANT: &str = "X-Entrepot-Grant";
/// Beside it: where to ask.
const LAYER_REGION: &str = "X-Entrepot-Region";

/// What a client is told to send in one part, bytes.
const PART_BYTES: u64 = 20 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckInput {
    repository_name: String,
    layer_digests: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckOutput {
    layers: Vec<Layer>,
    failures: Vec<LayerFailure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    layer_digest: String,
    layer_availability: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_size: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerFailure {
    layer_digest: String,
    failure_code: &'static str,
    failure_reason: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitiateInput {
    repository_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitiateOutput {
    upload_id: String,
    part_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadInput {
    repository_name: String,
    upload_id: String,
    part_first_byte: u64,
    part_last_byte: u64,
    layer_part_blob: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadOutput {
    registry_id: String,
    repository_name: String,
    upload_id: String,
    last_byte_received: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CompleteInput {
    repository_name: String,
    upload_id: String,
    layer_digests: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CompleteOutput {
    registry_id: String,
    repository_name: String,
    upload_id: String,
    layer_digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UrlInput {
    repository_name: String,
    layer_digest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UrlOutput {
    download_url: String,
    layer_digest: String,
}

/// An address from which the layer is read without any credentials.
pub(super) async fn download_url(call: &Call, input: UrlInput) -> Result<UrlOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let unknown = || {
        let account = call.account();
        let digest = &input.layer_digest;
        let message = format!(
            "Layer with digest '{digest}' does not exist in the repository with name \
             '{repository}' in the registry with id '{account}'"
        );
        ApiError::new("LayersNotFoundException", message)
    };
    let digest: Digest = input.layer_digest.parse().map_err(|_| unknown())?;
    let grant = call
        .registry
        .presign_layer(&call.caller, &repository, &digest)
        .await
        .map_err(|error| match error {
            ServiceError::BlobUnknown(_) => unknown(),
            ServiceError::ImageArchived(_) => ApiError::new(
                "LayerInaccessibleException",
                format!(
                    "The layer with digest '{digest}' in the repository with name '{repository}' \
                     is archived: restore an image that has it"
                ),
            ),
            error => call.failed(error),
        })?;
    let (origin, region) = (call.origin(), call.region());
    Ok(UrlOutput {
        download_url: format!(
            "{origin}/v2/{repository}/blobs/{digest}?{LAYER_REGION}={region}&{LAYER_GRANT}={grant}"
        ),
        layer_digest: input.layer_digest,
    })
}

pub(super) async fn check(call: &Call, input: CheckInput) -> Result<CheckOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let mut output = CheckOutput {
        layers: Vec::new(),
        failures: Vec::new(),
    };
    for text in input.layer_digests {
        let Ok(digest) = text.parse::<Digest>() else {
            output.failures.push(LayerFailure {
                layer_digest: text,
                failure_code: "InvalidLayerDigest",
                failure_reason: "Invalid layer digest",
            });
            continue;
        };
        let found = call
            .registry
            .stat_blob(&call.caller, &repository, &digest)
            .await;
        let size = match found {
            Ok(blob) => Some(blob.size),
            Err(ServiceError::BlobUnknown(_)) => None,
            Err(error) => return Err(call.failed(error)),
        };
        let archived = match size {
            Some(_) => call
                .registry
                .is_layer_archived(&call.caller, &repository, &digest)
                .await
                .map_err(|error| call.failed(error))?,
            None => false,
        };
        output.layers.push(Layer {
            layer_digest: text,
            layer_availability: match size {
                Some(_) if archived => "ARCHIVED",
                Some(_) => "AVAILABLE",
                None => "UNAVAILABLE",
            },
            layer_size: size,
        });
    }
    Ok(output)
}

pub(super) async fn initiate(
    call: &Call,
    input: InitiateInput,
) -> Result<InitiateOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let opened = call.registry.open_part_upload(&call.caller, &repository);
    Ok(InitiateOutput {
        upload_id: opened.await.map_err(|error| call.failed(error))?,
        part_size: PART_BYTES,
    })
}

pub(super) async fn upload(call: &Call, input: UploadInput) -> Result<UploadOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let session = session(call, &repository, &input.upload_id)?;
    let bytes = STANDARD
        .decode(&input.layer_part_blob)
        .map_err(|_| ApiError::serialization("layerPartBlob: not base64"))?;
    let length = bytes.len() as u64;
    let declared = (input.part_last_byte + 1).checked_sub(input.part_first_byte);
    if declared != Some(length) {
        let message = format!(
            "Layer part has {length} bytes, which are not those from {} to {}",
            input.part_first_byte, input.part_last_byte
        );
        let part = upload_error(call, &repository, &input.upload_id, message);
        return Err(part);
    }
    let chunk = UploadChunk {
        offset: Some(input.part_first_byte),
        length: Some(length),
        body: body(bytes.into()),
    };
    let appended = call
        .registry
        .append_upload(&call.caller, &repository, &session, chunk)
        .await;
    let state = appended.map_err(|error| match error {
        ServiceError::RangeInvalid { size } => {
            let first = input.part_first_byte;
            let message = format!("First byte of the layer part is {first} instead of {size}");
            upload_error(call, &repository, &input.upload_id, message)
                .with_detail("lastValidByteReceived", size.saturating_sub(1))
        }
        error => call.failed(error),
    })?;
    Ok(UploadOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        upload_id: input.upload_id,
        last_byte_received: state.size.saturating_sub(1),
    })
}

fn upload_error(
    call: &Call,
    repository: &RepositoryName,
    upload_id: &str,
    message: String,
) -> ApiError {
    ApiError::new("InvalidLayerPartException", message)
        .with_detail("registryId", call.account().as_str())
        .with_detail("repositoryName", repository.as_str())
        .with_detail("uploadId", upload_id)
}

pub(super) async fn complete(
    call: &Call,
    input: CompleteInput,
) -> Result<CompleteOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let session = session(call, &repository, &input.upload_id)?;
    // Several name the same content by several algorithms; one is enough to
    // prove it, and the only one that clients send.
    let [text] = input.layer_digests.as_slice() else {
        return Err(ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'layerDigests' failed to satisfy constraint: \
             'Exactly one digest is supported'",
        ));
    };
    let invalid = |_| ApiError::new("InvalidLayerException", format!("Invalid digest '{text}'"));
    let digest: Digest = text.parse().map_err(invalid)?;
    let state = call
        .registry
        .upload_state(&call.caller, &repository, &session)
        .await
        .map_err(|error| call.failed(error))?;
    if state.size == 0 {
        let message = format!("The upload with id '{}' has no parts", input.upload_id);
        return Err(ApiError::new("EmptyUploadException", message));
    }
    let nothing = UploadChunk {
        offset: None,
        length: Some(0),
        body: body(Bytes::new()),
    };
    call.registry
        .finish_upload(&call.caller, &repository, &session, nothing, digest)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(CompleteOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        upload_id: input.upload_id,
        layer_digest: digest.to_string(),
    })
}

/// The upload under the name that the service knows it by.
fn session(call: &Call, repository: &RepositoryName, upload_id: &str) -> Result<String, ApiError> {
    let session = call
        .registry
        .part_upload(&call.caller, repository, upload_id);
    session.ok_or_else(|| {
        let account = call.account();
        ApiError::new(
            "UploadNotFoundException",
            format!(
                "The upload with id '{upload_id}' does not exist in the repository with name \
                 '{repository}' in the registry with id '{account}'"
            ),
        )
    })
}

fn body(bytes: Bytes) -> BodyStream {
    Box::pin(futures::stream::iter([Ok(bytes)]))
}
