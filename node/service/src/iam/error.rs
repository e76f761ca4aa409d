//! Why IAM refuses something, and how it says so. Clients and tools look for
//! these very sentences, so they keep AWS's case and full stops.

use entrepot_metadata::StorageError;
use entrepot_metadata::query::EntityKind;
use entrepot_metadata::response::{Entity, EntityLimit, Refused};
use entrepot_metadata::seam::MetadataError;

use crate::ServiceError;

/// `Display` is what the client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IamError {
    #[error("{0}")]
    NoSuchEntity(String),
    #[error("{0}")]
    EntityExists(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    DeleteConflict(String),
    #[error("{0}")]
    MalformedPolicy(String),
    /// The policies of a session leave no room for it in a token.
    #[error("{0}")]
    PackedPolicyTooLarge(String),
    #[error("{0}")]
    InvalidInput(String),
    /// A service's role.
    #[error(
        "Cannot perform the operation on the protected role '{0}' - this role is only modifiable \
         by AWS"
    )]
    Unmodifiable(String),
    #[error("{0}")]
    NotAttachable(String),
    /// A token of an identity provider is not good, or nobody trusts that one.
    #[error("{0}")]
    InvalidIdentityToken(String),
    #[error("{0}")]
    ExpiredIdentityToken(String),
    /// Its keys are not known.
    #[error("the identity provider does not tell its keys: {0}")]
    IdentityProviderSilent(String),
    /// What the request says does not go together.
    #[error("{0}")]
    Validation(String),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

// === impl IamError ===

impl IamError {
    pub(super) fn arn(arn: &str) -> Self {
        Self::InvalidInput(format!("ARN {arn} is not valid."))
    }

    /// A denial that names what was asked for in the place of `arn`, as AWS's do:
    /// whoever is denied does not learn whether it is there, or where.
    pub(super) fn without(self, arn: &str, asked: &str) -> Self {
        match self {
            Self::Service(ServiceError::Denied(text)) => {
                let (found, shown) = (
                    format!("on resource: {arn}"),
                    format!("on resource: {asked}"),
                );
                Self::Service(ServiceError::Denied(text.replacen(&found, &shown, 1)))
            }
            other => other,
        }
    }

    pub(super) fn unknown(kind: EntityKind, name: &str) -> Self {
        Self::NoSuchEntity(match kind {
            EntityKind::AccessKey => format!("The Access Key with id {name} cannot be found."),
            EntityKind::Policy => format!("Policy {name} does not exist or is not attachable."),
            EntityKind::PolicyVersion => {
                format!("Policy version {name} does not exist or is not attachable.")
            }
            EntityKind::Attachment => format!("Policy {name} was not found."),
            EntityKind::InlinePolicy => format!("The policy with name {name} cannot be found."),
            EntityKind::Boundary => format!("{name} does not have a permissions boundary."),
            EntityKind::User | EntityKind::Group | EntityKind::Role => {
                format!("The {} with name {name} cannot be found.", kind.name())
            }
        })
    }

    fn exists(kind: EntityKind, name: &str) -> Self {
        Self::EntityExists(match kind {
            EntityKind::Policy => {
                format!("A policy called {name} already exists. Duplicate names are not allowed.")
            }
            kind => format!("{} with name {name} already exists.", capital(kind.name())),
        })
    }

    fn limit(limit: &EntityLimit) -> Self {
        let (quota, max) = (limit.quota.as_str(), limit.max);
        Self::LimitExceeded(match quota {
            "VersionsPerPolicy" => format!(
                "A managed policy can have up to {max} versions. Before you create a new version, \
                 you must delete an existing version."
            ),
            quota => format!("Cannot exceed quota for {quota}: {max}"),
        })
    }
}

impl From<StorageError> for IamError {
    fn from(error: StorageError) -> Self {
        Self::Service(error.into())
    }
}

impl From<MetadataError> for IamError {
    fn from(error: MetadataError) -> Self {
        Self::Service(error.into())
    }
}

/// What a refused command means to a client.
pub(super) fn refused(refused: Refused) -> IamError {
    let of = |entity: &Entity| EntityKind::try_from(entity.kind).unwrap_or(EntityKind::User);
    match refused {
        Refused::NoSuchEntity(entity) => IamError::unknown(of(&entity), &entity.name),
        Refused::EntityExists(entity) => IamError::exists(of(&entity), &entity.name),
        Refused::EntityLimit(limit) => IamError::limit(&limit),
        Refused::DeleteConflict(why) => IamError::DeleteConflict(conflict(&why)),
        Refused::Unmodifiable(entity) => IamError::Unmodifiable(entity.name),
        Refused::Invalid(why) => IamError::InvalidInput(why),
        other => crate::metadata::refused(other).into(),
    }
}

/// The state machine's reason as AWS writes it.
fn conflict(why: &str) -> String {
    if why.starts_with("this policy has more than one version") {
        return "This policy has more than one version. Before you delete a policy, you must \
                delete the policy's versions. The default version is deleted with the policy."
            .to_owned();
    }
    format!("{}.", capital(why))
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
