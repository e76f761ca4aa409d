//! Names of resources: `arn:<partition>:<service>:<region>:<account>:<resource>`.
//!
//! The invariant: an [`Arn`] has six parts, prints as it was written, and none of
//! its first five contains a colon.

use std::fmt;
use std::str::FromStr;

use entrepot_oci::{AccountId, RegionName, RegistryId, RepositoryName};

/// The longest ARN, in bytes (AWS).
pub const ARN_BYTES_MAX: usize = 2048;

const PREFIX: &str = "arn";
const PARTITION: &str = "aws";
const PARTS: usize = 6;

/// The name of one resource. A resource of its own kind may have colons and
/// slashes in its last part.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    text: Box<str>,
    /// Where the five colons are that part it.
    colons: [u16; PARTS - 1],
}

/// What is no ARN. Nothing of it is shown: it comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid ARN: {rule}")]
pub struct ArnError {
    pub rule: &'static str,
}

// === impl Arn ===

impl Arn {
    /// A repository of a registry in a region. Public ones are of no region.
    ///
    /// # Errors
    /// None: names are short enough. The type says it for what is built on it.
    pub fn repository(
        region: &RegionName,
        registry: &RegistryId,
        name: &RepositoryName,
    ) -> Result<Self, ArnError> {
        Self::in_registry(region, registry, &format!("repository/{name}"))
    }

    /// The public registry of an account.
    ///
    /// # Errors
    /// None, as of a repository.
    pub fn public_registry(account: &AccountId) -> Result<Self, ArnError> {
        format!("arn:{PARTITION}:ecr-public::{account}:registry/{account}").parse()
    }

    /// What is in a registry.
    ///
    /// # Errors
    /// [`ArnError`] unless `resource` may be the last part of an ARN.
    pub fn in_registry(
        region: &RegionName,
        registry: &RegistryId,
        resource: &str,
    ) -> Result<Self, ArnError> {
        let account = registry.account();
        if registry.is_public() {
            return format!("arn:{PARTITION}:ecr-public::{account}:{resource}").parse();
        }
        format!("arn:{PARTITION}:ecr:{region}:{account}:{resource}").parse()
    }

    /// What belongs to an account as such, of which IAM says the name: `root`,
    /// `user/<path><name>`, `role/...`, `policy/...`.
    ///
    /// # Errors
    /// [`ArnError`] unless `resource` may be the last part of an ARN.
    pub fn iam(account: &AccountId, resource: &str) -> Result<Self, ArnError> {
        format!("arn:{PARTITION}:iam::{account}:{resource}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn partition(&self) -> &str {
        self.part(1)
    }

    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// Empty where the resource has none.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// Empty where the resource has none; `aws` for what AWS itself brings.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// The account's number, where there is one.
    pub fn account_id(&self) -> Option<AccountId> {
        self.account().parse().ok()
    }

    pub fn resource(&self) -> &str {
        self.part(5)
    }

    fn part(&self, index: usize) -> &str {
        let at = |colon: u16| usize::from(colon);
        let start = index
            .checked_sub(1)
            .map_or(0, |before| at(self.colons[before]) + 1);
        let end = self
            .colons
            .get(index)
            .map_or(self.text.len(), |&colon| at(colon));
        &self.text[start..end]
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let refused = |rule| Err(ArnError { rule });
        if text.len() > ARN_BYTES_MAX {
            return refused("it must have at most 2048 bytes");
        }
        if text.contains(char::is_control) {
            return refused("it must not contain control characters");
        }
        let mut colons = [0; PARTS - 1];
        let mut found = text.match_indices(':').map(|(at, _)| at);
        for colon in &mut colons {
            let Some(at) = found.next().and_then(|at| u16::try_from(at).ok()) else {
                return refused("it must have six parts, separated by colons");
            };
            *colon = at;
        }
        let arn = Self {
            text: text.into(),
            colons,
        };
        let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if arn.part(0) != PREFIX {
            return refused("it must start with arn:");
        }
        if arn.partition().is_empty() || arn.service().is_empty() || arn.resource().is_empty() {
            return refused("it must name a partition, a service and a resource");
        }
        if ![1, 2, 3, 4]
            .into_iter()
            .all(|index| is_word(arn.part(index)))
        {
            return refused("its parts before the resource must be letters, digits and '-'");
        }
        Ok(arn)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use entrepot_oci::{AccountId, RegistryId};

    use super::{ARN_BYTES_MAX, Arn};

    fn parts(text: &str) -> [String; 5] {
        let arn: Arn = text.parse().unwrap();
        assert_eq!(arn.to_string(), text);
        [
            arn.partition(),
            arn.service(),
            arn.region(),
            arn.account(),
            arn.resource(),
        ]
        .map(str::to_owned)
    }

    #[test]
    fn an_arn_has_six_parts() {
        assert_eq!(
            parts("arn:aws:ecr:eu-west-1:111122223333:repository/team/app"),
            [
                "aws",
                "ecr",
                "eu-west-1",
                "111122223333",
                "repository/team/app"
            ]
        );
        assert_eq!(
            parts("arn:aws:iam::aws:policy/AdministratorAccess"),
            ["aws", "iam", "", "aws", "policy/AdministratorAccess"]
        );
        assert_eq!(parts("arn:aws:logs:a:1:group:b:c")[4], "group:b:c");
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("arn:aws:ecr:a:1:{}", "x".repeat(ARN_BYTES_MAX));
        for text in [
            "",
            "*",
            "arn",
            "arn:aws:ecr:eu-west-1:111122223333",
            "arn:aws:ecr:eu-west-1:111122223333:",
            "arn::ecr:eu-west-1:111122223333:repository/a",
            "arn:aws::eu-west-1:111122223333:repository/a",
            "urn:aws:ecr:eu-west-1:111122223333:repository/a",
            "arn:aws:ecr:eu west:111122223333:repository/a",
            "arn:aws:ecr:eu-*:111122223333:repository/a",
            "arn:aws:ecr:eu-west-1:111122223333:repository/a\n",
            &long,
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_repository_and_a_user_have_names() {
        let account: AccountId = "111122223333".parse().unwrap();
        let region = "eu-west-1".parse().unwrap();
        let app = Arn::repository(&region, &account, &"team/app".parse().unwrap()).unwrap();
        assert_eq!(
            app.as_str(),
            "arn:aws:ecr:eu-west-1:111122223333:repository/team/app"
        );
        assert_eq!(app.account_id(), Some(account.clone()));
        let user = Arn::iam(&account, "user/ann").unwrap();
        assert_eq!(user.as_str(), "arn:aws:iam::111122223333:user/ann");
        let public = RegistryId::public(&account);
        let app = Arn::repository(&region, &public, &"team/app".parse().unwrap()).unwrap();
        assert_eq!(
            app.as_str(),
            "arn:aws:ecr-public::111122223333:repository/team/app"
        );
        assert_eq!(app.account_id(), Some(account.clone()));
        let registry = Arn::public_registry(&account).unwrap();
        assert_eq!(
            registry.as_str(),
            "arn:aws:ecr-public::111122223333:registry/111122223333"
        );
    }

    proptest! {
        #[test]
        fn parts_make_up_the_text(text in "(arn|aws|[a-z0-9:/-]){0,3}(:[a-z0-9:/-]{0,6}){0,8}") {
            if let Ok(arn) = text.parse::<Arn>() {
                let joined = [
                    "arn", arn.partition(), arn.service(), arn.region(), arn.account(), arn.resource(),
                ]
                .join(":");
                prop_assert_eq!(joined, text);
            }
        }
    }
}
