//! Every operation of every service, and what carries it out.
//!
//! Owns the tables from which requests are dispatched and the compatibility
//! table in the documentation is written: what is not in them is not answered.
#![expect(
    clippy::struct_field_names,
    reason = "what goes in and out has the names of AWS's members"
)]

mod iam;
mod images;
mod layers;
mod policies;
mod repositories;
mod settings;
mod tags;
#[cfg(test)]
mod tests;

use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;

type Answer = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send>>;

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

/// Those of ECR.
const ECR: &[(&str, Handler)] = &[
    ("BatchCheckLayerAvailability", works!(layers::check)),
    ("BatchDeleteImage", works!(images::delete)),
    ("BatchGetImage", works!(images::get)),
    ("CompleteLayerUpload", works!(layers::complete)),
    ("CreateRepository", works!(repositories::create)),
    ("DeleteRepository", works!(repositories::delete)),
    ("DeleteRepositoryPolicy", works!(policies::delete)),
    ("DescribeImages", works!(images::describe)),
    ("DescribeRepositories", works!(repositories::describe)),
    ("GetRepositoryPolicy", works!(policies::get)),
    ("InitiateLayerUpload", works!(layers::initiate)),
    ("ListImageReferrers", works!(images::referrers)),
    ("ListImages", works!(images::list)),
    ("ListTagsForResource", works!(tags::list)),
    ("PutImage", works!(images::put)),
    (
        "PutImageScanningConfiguration",
        works!(repositories::put_scanning),
    ),
    (
        "PutImageTagMutability",
        works!(repositories::put_mutability),
    ),
    ("SetRepositoryPolicy", works!(policies::set)),
    ("TagResource", works!(tags::tag)),
    ("UntagResource", works!(tags::untag)),
    ("UploadLayerPart", works!(layers::upload)),
];

/// What carries out `operation` of `api`; none: nothing yet.
pub(crate) fn handler(api: Api, operation: &str) -> Option<Handler> {
    let table = match api {
        Api::Ecr => ECR,
        Api::Iam => iam::TABLE,
        Api::EcrPublic | Api::Sts => &[],
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
