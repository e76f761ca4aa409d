//! What people are told of a public registry and of its repositories.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_oci::RepositoryName;
use entrepot_service::{Catalog, ServiceError};
use serde::{Deserialize, Serialize};

use super::super::InRepository;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CatalogInput {
    description: Option<String>,
    architectures: Vec<String>,
    operating_systems: Vec<String>,
    logo_image_blob: Option<String>,
    about_text: Option<String>,
    usage_text: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CatalogOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    architectures: Vec<String>,
    operating_systems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_text: Option<String>,
    marketplace_certified: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutInput {
    repository_name: String,
    catalog_data: CatalogInput,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    catalog_data: CatalogOutput,
}

#[derive(Deserialize)]
pub(super) struct GetRegistryInput {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutRegistryInput {
    #[serde(default)]
    display_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegistryOutput {
    registry_catalog_data: RegistryCatalog,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegistryCatalog {
    #[serde(skip_serializing_if = "String::is_empty")]
    display_name: String,
}

pub(super) async fn get(call: &Call, input: InRepository) -> Result<Output, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let found = call
        .registry
        .repository_catalog(&call.caller, &repository)
        .await
        .map_err(|error| none(call, &repository, error))?;
    Ok(Output {
        catalog_data: CatalogOutput::of(call, &repository, found),
    })
}

pub(super) async fn put(call: &Call, input: PutInput) -> Result<Output, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let (catalog, logo) = input.catalog_data.read()?;
    let put = call
        .registry
        .put_repository_catalog(&call.caller, &repository, catalog, logo)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(Output {
        catalog_data: CatalogOutput::of(call, &repository, put),
    })
}

pub(super) async fn get_registry(
    call: &Call,
    _: GetRegistryInput,
) -> Result<RegistryOutput, ApiError> {
    let found = call.registry.display_name(&call.caller).await;
    Ok(registry(found.map_err(|error| call.failed(error))?))
}

pub(super) async fn put_registry(
    call: &Call,
    input: PutRegistryInput,
) -> Result<RegistryOutput, ApiError> {
    let name = input.display_name;
    let put = call.registry.put_display_name(&call.caller, &name).await;
    put.map_err(|error| call.failed(error))?;
    Ok(registry(name))
}

fn registry(display_name: String) -> RegistryOutput {
    RegistryOutput {
        registry_catalog_data: RegistryCatalog { display_name },
    }
}

fn none(call: &Call, repository: &RepositoryName, error: ServiceError) -> ApiError {
    call.failed_or(error, "RepositoryCatalogDataNotFoundException", || {
        let account = call.account();
        format!(
            "Catalog data does not exist for the repository with name '{repository}' in the \
             registry with id '{account}'"
        )
    })
}

// === impl CatalogInput ===

impl CatalogInput {
    /// As it is kept, and the logo.
    pub(super) fn read(self) -> Result<(Catalog, Option<Bytes>), ApiError> {
        let logo = self.logo_image_blob.filter(|text| !text.is_empty());
        let logo = logo.map(|text| STANDARD.decode(text)).transpose();
        let logo = logo.map_err(|_| ApiError::serialization("logoImageBlob: not base64"))?;
        let catalog = Catalog {
            description: self.description,
            architectures: self.architectures,
            operating_systems: self.operating_systems,
            logo: None,
            about: self.about_text,
            usage: self.usage_text,
        };
        Ok((catalog, logo.map(Bytes::from)))
    }
}

// === impl CatalogOutput ===

impl CatalogOutput {
    pub(super) fn of(call: &Call, repository: &RepositoryName, catalog: Catalog) -> Self {
        let logo = catalog.logo.as_ref();
        Self {
            description: catalog.description,
            architectures: catalog.architectures,
            operating_systems: catalog.operating_systems,
            logo_url: logo.map(|digest| call.public_blob_url(repository, digest)),
            about_text: catalog.about,
            usage_text: catalog.usage,
            marketplace_certified: false,
        }
    }
}
