//! Names under which registries are reached: `<account>.dkr.ecr.<region>.<domain>`
//! names one, whoever asks, and `public.<domain>` all public ones. Under any other name, a caller means the registry of
//! their own account in the region of the node that they reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use entrepot_oci::{AccountId, RegionName};

/// Between a registry's account and its region.
const MIDDLE: &str = ".dkr.ecr.";
/// Before the domain, where the public registries are.
const PUBLIC: &str = "public";
/// A name of DNS (RFC 1035, 2.3.4), less what stands before the domain.
const DOMAIN_BYTES_MAX: usize = 160;

/// The domain of a cluster, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(Arc<str>);

/// The registry that a host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryHost {
    pub account: AccountId,
    pub region: RegionName,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a domain: {0:?}; it has labels of letters, digits and hyphens with dots between them, and \
     at most {DOMAIN_BYTES_MAX} characters"
)]
pub struct DomainError(String);

// === impl Domain ===

impl Domain {
    /// The registry that `host` names, with or without a port; none: it names
    /// none of this domain.
    pub fn registry(&self, host: &str) -> Option<RegistryHost> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.to_ascii_lowercase();
        let registry = name.strip_suffix(&*self.0)?.strip_suffix('.')?;
        let (account, region) = registry.split_once(MIDDLE)?;
        Some(RegistryHost {
            account: account.parse().ok()?,
            region: region.parse().ok()?,
        })
    }

    /// Whether `host`, with or without a port, is that of the public registries.
    pub fn is_public(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let (first, rest) = name.split_once('.').unwrap_or_default();
        first.eq_ignore_ascii_case(PUBLIC) && rest.eq_ignore_ascii_case(&self.0)
    }

    /// The host of the public registries.
    pub fn public_host(&self) -> String {
        format!("{PUBLIC}.{self}")
    }

    /// The host of a private registry.
    pub fn host(&self, account: &AccountId, region: &RegionName) -> String {
        format!("{account}{MIDDLE}{region}.{self}")
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_label = |label: &str| {
            let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > DOMAIN_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(DomainError(text.chars().take(DOMAIN_BYTES_MAX).collect()));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Domain, RegistryHost};

    #[test]
    fn a_host_names_a_registry() {
        let domain: Domain = "Registry.example.com".parse().unwrap();
        let registry = RegistryHost {
            account: "111122223333".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
        };
        let named = Some(registry.clone());
        let host = "111122223333.dkr.ecr.eu-west-1.registry.example.com";
        assert_eq!(domain.registry(host), named);
        assert_eq!(domain.registry(&format!("{host}:5000")), named);
        assert_eq!(domain.registry(&host.to_uppercase()), named);
        assert_eq!(domain.host(&registry.account, &registry.region), host);
        for other in [
            "",
            "registry.example.com",
            "eu-west-1.registry.example.com",
            "111122223333.dkr.ecr.eu-west-1.example.com",
            "111122223333.dkr.ecr.eu-west-1.otherregistry.example.com",
            "111122223333.dkr.ecr..registry.example.com",
            "11112222333.dkr.ecr.eu-west-1.registry.example.com",
            "111122223333.dkr.ecr.eu-west-1xregistry.example.com",
        ] {
            assert_eq!(domain.registry(other), None, "{other}");
        }
    }

    #[test]
    fn one_host_is_that_of_all_public_registries() {
        let domain: Domain = "Registry.example.com".parse().unwrap();
        assert_eq!(domain.public_host(), "public.registry.example.com");
        for host in [
            "public.registry.example.com",
            "PUBLIC.registry.EXAMPLE.com:5000",
        ] {
            assert!(domain.is_public(host), "{host}");
            assert_eq!(domain.registry(host), None);
        }
        for other in [
            "",
            "public",
            "registry.example.com",
            "public.example.com",
            "public.registry.example.com.evil.test",
            "a.public.registry.example.com",
            "public..registry.example.com",
            "public.111122223333.dkr.ecr.eu-west-1.registry.example.com",
        ] {
            assert!(!domain.is_public(other), "{other}");
        }
    }

    #[test]
    fn a_domain_is_a_name_of_dns() {
        for wrong in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b",
            "a b",
            "é.example",
            &"a.".repeat(99),
        ] {
            assert!(wrong.parse::<Domain>().is_err(), "{wrong}");
        }
        assert_eq!(
            "localhost".parse::<Domain>().unwrap().to_string(),
            "localhost"
        );
    }
}
