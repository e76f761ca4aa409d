//! What a registry replicates where, and how far an image has come.

use std::collections::BTreeMap;

use entrepot_oci::Tag;
use entrepot_service::{Destination, ReplicationConfiguration, TaskState};
use serde::{Deserialize, Serialize};

use super::image_ids::{self, ImageId};
use super::registry::NoInput;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutInput {
    replication_configuration: ReplicationConfiguration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutOutput {
    replication_configuration: ReplicationConfiguration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeOutput {
    registry_id: String,
    replication_configuration: ReplicationConfiguration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusInput {
    repository_name: String,
    image_id: ImageId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusOutput {
    repository_name: String,
    image_id: ImageId,
    replication_statuses: Vec<Status>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    region: String,
    registry_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_code: Option<String>,
}

/// How an image stands at one destination, over its tags: what is worst comes last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Complete,
    InProgress,
    Failed(Option<String>),
}

pub(super) async fn put(call: &Call, input: PutInput) -> Result<PutOutput, ApiError> {
    let replication_configuration = input.replication_configuration;
    call.registry
        .put_replication_configuration(&call.caller, &replication_configuration)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(PutOutput {
        replication_configuration,
    })
}

pub(super) async fn describe(call: &Call, _: NoInput) -> Result<DescribeOutput, ApiError> {
    let found = call.registry.replication_configuration(&call.caller).await;
    Ok(DescribeOutput {
        registry_id: call.account().to_string(),
        replication_configuration: found.map_err(|error| call.failed(error))?,
    })
}

pub(super) async fn status(call: &Call, input: StatusInput) -> Result<StatusOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let action = "ecr:DescribeImageReplicationStatus";
    let image = image_ids::existing(call, action, &repository, &input.image_id).await?;
    let tasks = call
        .registry
        .image_replication(&call.caller, &repository, &image.digest)
        .await
        .map_err(|error| call.failed(error))?;
    // Of the tag that was asked for, or of all of them.
    let tag = input.image_id.image_tag.as_deref();
    let tasks = tasks.into_iter().filter(|task| {
        let of = task.key.tag.as_ref().map(Tag::as_str);
        tag.is_none() || tag == of
    });
    let mut standings: BTreeMap<Destination, Standing> = BTreeMap::new();
    for task in tasks {
        let standing = match task.state {
            TaskState::Complete => Standing::Complete,
            TaskState::InProgress => Standing::InProgress,
            TaskState::Failed => Standing::Failed(task.reason),
        };
        let before = standings
            .entry(task.key.destination)
            .or_insert(Standing::Complete);
        if standing > *before {
            *before = standing;
        }
    }
    let statuses = standings.into_iter().map(|(destination, standing)| {
        let (status, failure_code) = match standing {
            Standing::Complete => ("COMPLETE", None),
            Standing::InProgress => ("IN_PROGRESS", None),
            Standing::Failed(reason) => ("FAILED", reason),
        };
        Status {
            region: destination.region.to_string(),
            registry_id: destination.account.to_string(),
            status,
            failure_code,
        }
    });
    Ok(StatusOutput {
        repository_name: input.repository_name,
        image_id: ImageId {
            image_digest: Some(image.digest.to_string()),
            image_tag: input.image_id.image_tag.clone(),
        },
        replication_statuses: statuses.collect(),
    })
}
