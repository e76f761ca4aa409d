//! How a destination says what became of what it was sent.

use entrepot_proto::peer::replica_reply::Result as Reply;
use entrepot_proto::peer::{Blank, Refusal, ReplicaReply};
use tonic::{Response, Status};
use tracing::warn;

use super::DENIED;
use crate::error::{ReplicationError, chain};

#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(super) fn reply(
    result: Result<(), ReplicationError>,
) -> Result<Response<ReplicaReply>, Status> {
    let result = match result {
        Ok(()) => Reply::Done(Blank {}),
        Err(ReplicationError::Refused(message)) => Reply::Refusal(Refusal {
            code: "refused".to_owned(),
            message,
            number: None,
        }),
        Err(ReplicationError::Denied(message)) => Reply::Refusal(Refusal {
            code: DENIED.to_owned(),
            message,
            number: None,
        }),
        Err(error) => return Err(status(&error)),
    };
    Ok(Response::new(ReplicaReply {
        result: Some(result),
    }))
}

pub(super) fn status(error: &ReplicationError) -> Status {
    let text = chain(error);
    if let ReplicationError::Denied(reason) = error {
        return Status::permission_denied(reason);
    }
    warn!(error = text, "a replica could not be taken");
    match error {
        ReplicationError::Full => Status::resource_exhausted("the destination's disks are full"),
        ReplicationError::Mismatch { .. } => Status::data_loss(error.to_string()),
        // What its reason at the source will say.
        _ => Status::unavailable(text),
    }
}
