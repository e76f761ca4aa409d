//! Every operation of every service, and what carries it out.
//!
//! Owns the tables from which requests are dispatched and the compatibility
//! table in the documentation is written: what is not in them is not answered.
#![expect(
    clippy::struct_field_names,
    reason = "what goes in and out has the names of AWS's members"
)]

mod backfills;
mod cache_rules;
mod iam;
mod image_ids;
mod images;
mod layers;
mod lifecycle;
mod login;
mod policies;
mod public;
mod registry;
mod replication;
mod repositories;
mod scanning;
mod settings;
mod storage_class;
mod sts;
mod tags;
mod templates;
#[cfg(test)]
mod tests;

use std::pin::Pin;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;

type Answer = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send>>;

/// The input of an operation on a repository that needs no more than its name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InRepository {
    repository_name: String,
}

/// What carries an operation out.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    Works(fn(Call, Value) -> Answer),
    /// Answered with an error that says why.
    Refused(&'static str),
}

/// A handler that takes a call and its input as its own type.
macro_rules! works {
    ($operation:path) => {
        Handler::Works(|call, input| {
            Box::pin(async move {
                let input = $crate::operations::read(input)?;
                $crate::operations::answered($operation(&call, input).await?)
            })
        })
    };
}
use works;

/// Why some operations are refused.
const NO_SCANNER: &str = "this version of Entrepot has no scanner";

/// Those of ECR.
const ECR: &[(&str, Handler)] = &[
    ("BatchCheckLayerAvailability", works!(layers::check)),
    ("BatchDeleteImage", works!(images::delete)),
    ("BatchGetImage", works!(images::get)),
    (
        "BatchGetRepositoryScanningConfiguration",
        works!(scanning::batch),
    ),
    ("CompleteLayerUpload", works!(layers::complete)),
    ("CreatePullThroughCacheRule", works!(cache_rules::create)),
    ("CreateRepository", works!(repositories::create)),
    (
        "CreateRepositoryCreationTemplate",
        works!(templates::create),
    ),
    ("DeleteLifecyclePolicy", works!(lifecycle::delete)),
    ("DeletePullThroughCacheRule", works!(cache_rules::delete)),
    ("DeleteRegistryPolicy", works!(registry::delete_policy)),
    ("DeleteRepository", works!(repositories::delete)),
    (
        "DeleteRepositoryCreationTemplate",
        works!(templates::delete),
    ),
    ("DeleteRepositoryPolicy", works!(policies::delete)),
    (
        "DeleteSigningConfiguration",
        works!(scanning::delete_signing),
    ),
    (
        "DeregisterPullTimeUpdateExclusion",
        works!(registry::deregister),
    ),
    (
        "DescribeImageReplicationStatus",
        works!(replication::status),
    ),
    ("DescribeImageScanFindings", Handler::Refused(NO_SCANNER)),
    (
        "DescribeImageSigningStatus",
        works!(scanning::signing_status),
    ),
    ("DescribeImages", works!(images::describe)),
    (
        "DescribePullThroughCacheRules",
        works!(cache_rules::describe),
    ),
    ("DescribeRegistry", works!(replication::describe)),
    (
        "DescribeReplicationBackfillResults",
        works!(backfills::results),
    ),
    ("DescribeRepositories", works!(repositories::describe)),
    (
        "DescribeRepositoryCreationTemplates",
        works!(templates::describe),
    ),
    ("GetAccountSetting", works!(registry::get_setting)),
    ("GetAuthorizationToken", works!(login::token)),
    ("GetDownloadUrlForLayer", works!(layers::download_url)),
    ("GetLifecyclePolicy", works!(lifecycle::get)),
    ("GetLifecyclePolicyPreview", works!(lifecycle::preview)),
    ("GetRegistryPolicy", works!(registry::get_policy)),
    ("GetRegistryScanningConfiguration", works!(scanning::get)),
    ("GetRepositoryPolicy", works!(policies::get)),
    ("GetSigningConfiguration", works!(scanning::get_signing)),
    ("InitiateLayerUpload", works!(layers::initiate)),
    ("ListImageReferrers", works!(images::referrers)),
    ("ListImages", works!(images::list)),
    ("ListPullTimeUpdateExclusions", works!(registry::exclusions)),
    ("ListReplicationBackfills", works!(backfills::list)),
    ("ListTagsForResource", works!(tags::list)),
    ("PutAccountSetting", works!(registry::put_setting)),
    ("PutImage", works!(images::put)),
    (
        "PutImageScanningConfiguration",
        works!(repositories::put_scanning),
    ),
    (
        "PutImageTagMutability",
        works!(repositories::put_mutability),
    ),
    ("PutLifecyclePolicy", works!(lifecycle::put)),
    ("PutRegistryPolicy", works!(registry::put_policy)),
    ("PutRegistryScanningConfiguration", works!(scanning::put)),
    ("PutReplicationConfiguration", works!(replication::put)),
    ("PutSigningConfiguration", works!(scanning::put_signing)),
    (
        "RegisterPullTimeUpdateExclusion",
        works!(registry::register),
    ),
    ("SetRepositoryPolicy", works!(policies::set)),
    ("StartImageScan", Handler::Refused(NO_SCANNER)),
    (
        "StartLifecyclePolicyPreview",
        works!(lifecycle::start_preview),
    ),
    ("StartReplicationBackfill", works!(backfills::start)),
    ("StopReplicationBackfill", works!(backfills::stop)),
    ("TagResource", works!(tags::tag)),
    ("UntagResource", works!(tags::untag)),
    ("UpdateImageStorageClass", works!(storage_class::update)),
    ("UpdatePullThroughCacheRule", works!(cache_rules::update)),
    (
        "UpdateRepositoryCreationTemplate",
        works!(templates::update),
    ),
    ("UploadLayerPart", works!(layers::upload)),
    (
        "ValidatePullThroughCacheRule",
        works!(cache_rules::validate),
    ),
];

/// What carries out `operation` of `api`; none: nothing yet.
pub(crate) fn handler(api: Api, operation: &str) -> Option<Handler> {
    let table = match api {
        Api::Ecr => ECR,
        Api::Iam => iam::TABLE,
        Api::Sts => sts::TABLE,
        Api::EcrPublic => public::TABLE,
    };
    let found = table.iter().find(|(name, _)| *name == operation);
    found.map(|(_, handler)| *handler)
}

/// The input as its operation reads it. The model has let it pass, so that what
/// fails here is a type that says something else than the model.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, ApiError> {
    serde_json::from_value(input).map_err(|error| ApiError::serialization(error.to_string()))
}

fn answered<T: Serialize>(output: T) -> Result<Value, ApiError> {
    serde_json::to_value(output).map_err(|error| ApiError::serialization(error.to_string()))
}
