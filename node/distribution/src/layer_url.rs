//! Addresses of layers that are good by themselves: `GetDownloadUrlForLayer` of
//! ECR's API gives them out, and whoever has one reads that blob.

use axum::http::request::Parts;
use entrepot_oci::RegionName;
use entrepot_service::{Caller, Registry, RequestId, ServiceError};

use crate::caller;
use crate::decode::Query;
use crate::operation::{BlobOperation, Operation};

/// What makes it good by itself.
const GRANT: &str = "X-Entrepot-Grant";
/// Beside it: the region whose registry has the blob.
const REGION: &str = "X-Entrepot-Region";

/// The region that such an address names. It says where to ask, and gives nothing.
pub fn region<B>(request: &axum::http::Request<B>) -> Option<RegionName> {
    let query = Query::parse(request.uri().query());
    query.get(GRANT)?;
    query.get(REGION)?.parse().ok()
}

/// On whose behalf it is read, if this is one: of a blob that is read.
///
/// # Errors
/// `Denied` when it is not good any more, or for another blob.
pub(crate) fn caller(
    registry: &Registry,
    parts: &Parts,
    operation: &Operation,
    id: &RequestId,
) -> Result<Option<Caller>, ServiceError> {
    let Operation::Blob(repository, digest, BlobOperation::Get(_) | BlobOperation::Stat(_)) =
        operation
    else {
        return Ok(None);
    };
    let query = Query::parse(parts.uri.query());
    let Some(grant) = query.get(GRANT) else {
        return Ok(None);
    };
    let who = registry.presigned_layer(repository, digest, grant)?;
    Ok(Some(Caller {
        origin: caller::origin(parts, id),
        ..who
    }))
}
