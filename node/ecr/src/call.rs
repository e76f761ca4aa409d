//! One call: on whose behalf, to which registry, and under which names it is
//! known to clients.
//!
//! Owns what every operation says of itself: ARNs, URIs, and what the service's
//! errors mean in ECR's words.

use std::sync::Arc;

use entrepot_oci::{AccountId, Digest, RegionName, RepositoryName};
use entrepot_service::{Caller, Domain, Registry, ServiceError};

use crate::api::Api;
use crate::error::ApiError;

/// A call that was authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) registry: Arc<Registry>,
    pub(crate) caller: Caller,
    pub(crate) api: Api,
    /// Without scheme: what the client reached this node by.
    pub(crate) host: String,
    /// Under which registries have hosts of their own; none: any host is theirs.
    pub(crate) domain: Option<Domain>,
}

// === impl Call ===

impl Call {
    /// Whose registry is meant.
    pub(crate) fn account(&self) -> AccountId {
        self.caller.account.account()
    }

    pub(crate) fn region(&self) -> &RegionName {
        self.registry.region()
    }

    /// Where images of the registry are pushed to and pulled from, before their
    /// repository's name.
    pub(crate) fn registry_uri(&self) -> String {
        let registry = &self.caller.account;
        if registry.is_public() {
            return format!("{}/{registry}", self.public_host());
        }
        self.host_of(&self.account())
    }

    fn public_host(&self) -> String {
        match &self.domain {
            Some(domain) => domain.public_host(),
            // Served nowhere: public registries have a host under a domain alone.
            None => format!("public.{}", self.host),
        }
    }

    /// Where everybody reads a blob of a public repository.
    pub(crate) fn public_blob_url(&self, repository: &RepositoryName, digest: &Digest) -> String {
        let (host, registry) = (self.public_host(), &self.caller.account);
        format!("https://{host}/v2/{registry}/{repository}/blobs/{digest}")
    }

    /// The same with its scheme, for the registry of any account. A registry with
    /// a host of its own is reached by TLS, whatever ends that in front of nodes.
    pub(crate) fn registry_url(&self, account: &AccountId) -> String {
        let is_secure = self.domain.is_some() || self.caller.origin.is_secure;
        let scheme = if is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.host_of(account))
    }

    fn host_of(&self, account: &AccountId) -> String {
        match &self.domain {
            Some(domain) => domain.host(account, self.region()),
            None => self.host.clone(),
        }
    }

    /// What the client reached this node by, as an address begins.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.caller.origin.is_secure {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.host)
    }

    pub(crate) fn repository_uri(&self, repository: &RepositoryName) -> String {
        format!("{}/{repository}", self.registry_uri())
    }

    pub(crate) fn repository_arn(&self, repository: &RepositoryName) -> String {
        let account = self.account();
        if self.caller.account.is_public() {
            return format!("arn:aws:ecr-public::{account}:repository/{repository}");
        }
        let region = self.region();
        format!("arn:aws:ecr:{region}:{account}:repository/{repository}")
    }

    /// A name that the model has let pass.
    pub(crate) fn repository(&self, name: &str) -> Result<RepositoryName, ApiError> {
        name.parse().map_err(|_| self.repository_unknown(name))
    }

    pub(crate) fn repository_unknown(&self, name: &str) -> ApiError {
        let account = self.account();
        ApiError::new(
            "RepositoryNotFoundException",
            format!(
                "The repository with name '{name}' does not exist in the registry with id '{account}'"
            ),
        )
    }

    /// The same where something that was asked for may not be there, for which the
    /// operation has a code of its own.
    pub(crate) fn failed_or(
        &self,
        error: ServiceError,
        code: &'static str,
        message: impl FnOnce() -> String,
    ) -> ApiError {
        match error {
            ServiceError::NotFound(_) => ApiError::new(code, message()),
            error => self.failed(error),
        }
    }

    /// What a failed use case means to the client.
    pub(crate) fn failed(&self, error: ServiceError) -> ApiError {
        use ServiceError as E;
        let text = error.to_string();
        match error {
            E::NameUnknown(name) | E::CreationOff(name) => self.repository_unknown(name.as_str()),
            E::RepositoryNotEmpty(name) => {
                let account = self.account();
                let text = format!(
                    "The repository with name '{name}' in registry with id '{account}' cannot be \
                     deleted because it still contains images"
                );
                ApiError::new("RepositoryNotEmptyException", text)
            }
            E::Denied(text) => ApiError::denied(self.api, text),
            E::Unauthorized => ApiError::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            E::TokenInvalid => ApiError::new("UnrecognizedClientException", text),
            E::TokenExpired => ApiError::new("ExpiredTokenException", text),
            E::LoginsTooMany | E::RateExceeded { .. } => ApiError::throttled(self.api),
            E::UploadUnknown => ApiError::new("UploadNotFoundException", text),
            E::UploadInvalid(_) | E::UploadStalled | E::SizeInvalid { .. } => {
                ApiError::new("InvalidLayerPartException", text)
            }
            E::BlobTooLarge { .. } | E::LimitExceeded(_) => {
                ApiError::new("LimitExceededException", text)
            }
            E::Unsupported(text) => ApiError::not_here(self.api, &text),
            E::DigestInvalid(_) => ApiError::new("InvalidLayerException", text),
            E::BlobUnknown(_) => ApiError::new("LayersNotFoundException", text),
            E::ManifestUnknown(_) | E::ImageArchived(_) => {
                ApiError::new("ImageNotFoundException", text)
            }
            E::TagImmutable(_) => ApiError::new("ImageTagAlreadyExistsException", text),
            E::ImageExists(_) => ApiError::new("ImageAlreadyExistsException", text),
            E::ManifestBlobsUnknown(digests) => {
                let digests: Vec<String> = digests.iter().map(ToString::to_string).collect();
                let text = format!(
                    "Layers with digests '[{}]' required for pushing image into repository do not \
                     exist",
                    digests.join(", ")
                );
                ApiError::new("LayersNotFoundException", text)
            }
            E::RangeInvalid { .. }
            | E::BeyondEnd { .. }
            | E::ManifestInvalid(_)
            | E::ManifestTooLarge { .. }
            | E::Referenced(_)
            | E::Held { .. }
            | E::TagNotAsExpected(_)
            | E::Invalid(_)
            | E::NotFound(_)
            | E::Conflict(_)
            | E::RepositoryDeleting(_)
            | E::WatchOutOfRange { .. }
            | E::WatchTooSlow { .. }
            | E::WatchOtherLog { .. } => ApiError::new("InvalidParameterException", text),
            E::Unavailable { .. } | E::NotReplicated(_) | E::Full | E::Internal { .. } => {
                ApiError::internal(self.api)
            }
        }
    }
}
