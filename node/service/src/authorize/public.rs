//! What may be done with public registries, and by whom.
//!
//! Use cases ask by the names that actions have in ECR; of a public registry the
//! same is asked by ECR Public's. The invariants: everybody may pull, nobody who is
//! not known may do anything else, and what ECR Public does not have is denied.

use entrepot_oci::RegistryId;

use super::Target;
use crate::Caller;

const PRIVATE: &str = "ecr:";
const PUBLIC: &str = "ecr-public:";

/// The actions of ECR Public.
const ACTIONS: [&str; 22] = [
    "ecr-public:BatchCheckLayerAvailability",
    "ecr-public:BatchDeleteImage",
    "ecr-public:CompleteLayerUpload",
    "ecr-public:CreateRepository",
    "ecr-public:DeleteRepository",
    "ecr-public:DeleteRepositoryPolicy",
    "ecr-public:DescribeImageTags",
    "ecr-public:DescribeImages",
    "ecr-public:DescribeRegistries",
    "ecr-public:DescribeRepositories",
    "ecr-public:GetRegistryCatalogData",
    "ecr-public:GetRepositoryCatalogData",
    "ecr-public:GetRepositoryPolicy",
    "ecr-public:InitiateLayerUpload",
    "ecr-public:ListTagsForResource",
    "ecr-public:PutImage",
    "ecr-public:PutRegistryCatalogData",
    "ecr-public:PutRepositoryCatalogData",
    "ecr-public:SetRepositoryPolicy",
    "ecr-public:TagResource",
    "ecr-public:UntagResource",
    "ecr-public:UploadLayerPart",
];

/// What a pull takes, and the list of a repository's tags. ECR Public has no
/// actions for these: everybody may.
const PULLS: [&str; 3] = [
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:ListImages",
];

/// Whether it is a pull from a public registry.
pub(super) fn is_pull(who: &Caller, action: &str, target: Target<'_>) -> bool {
    who.account.is_public() && PULLS.contains(&action) && matches!(target, Target::Repository(_))
}

/// What `action` is called of `registry`; none: there is no such thing there.
pub(crate) fn action_of<'a>(registry: &RegistryId, action: &'a str) -> Option<&'a str> {
    if !registry.is_public() {
        return Some(action);
    }
    let named = action.strip_prefix(PRIVATE);
    let name = named.or_else(|| action.strip_prefix(PUBLIC))?;
    let mut actions = ACTIONS.into_iter();
    actions.find(|known| known.strip_prefix(PUBLIC) == Some(name))
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{AccountId, RegistryId};

    use super::{ACTIONS, action_of};

    #[test]
    fn an_action_has_the_name_of_its_registry_s_service() {
        let account: AccountId = "123456789012".parse().unwrap();
        let public = RegistryId::public(&account);
        assert_eq!(action_of(&account, "ecr:PutImage"), Some("ecr:PutImage"));
        let put = Some("ecr-public:PutImage");
        assert_eq!(action_of(&public, "ecr:PutImage"), put);
        assert_eq!(action_of(&public, "ecr-public:PutImage"), put);
        for other in [
            "ecr:PutReplicationConfiguration",
            "ecr:PutAccountSetting",
            "ecr:BatchGetImage",
            "iam:CreateUser",
            "PutImage",
        ] {
            assert_eq!(action_of(&public, other), None, "{other}");
        }
        assert!(ACTIONS.is_sorted());
    }
}
