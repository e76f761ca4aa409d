//! What a registry is to scan and to sign, as its owners configure it. Nothing here
//! scans or signs.

use entrepot_metadata::query::{ItemKind, Repository, matches_wildcard};
use entrepot_oci::RepositoryName;
use serde::{Deserialize, Serialize};

use crate::registry_items::{Before, from_json, missing, to_json};
use crate::{Caller, Registry, ServiceError, Target};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScanType {
    #[default]
    Basic,
    Enhanced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScanFrequency {
    ScanOnPush,
    ContinuousScan,
    Manual,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryFilter {
    pub filter: String,
    pub filter_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanningRule {
    pub scan_frequency: ScanFrequency,
    pub repository_filters: Vec<RepositoryFilter>,
}

/// What a registry is to scan, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryScanning {
    pub scan_type: ScanType,
    pub rules: Vec<ScanningRule>,
}

/// When one repository is to be scanned, and because of which filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryScanning {
    pub frequency: ScanFrequency,
    pub filters: Vec<RepositoryFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningRule {
    /// ARN.
    pub signing_profile_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_filters: Option<Vec<RepositoryFilter>>,
}

/// Which images are to be signed, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    pub rules: Vec<SigningRule>,
}

impl Registry {
    pub async fn registry_scanning(&self, who: &Caller) -> Result<RegistryScanning, ServiceError> {
        let action = "ecr:GetRegistryScanningConfiguration";
        self.authorize(who, action, Target::Any)?;
        self.scanning_now(who).await
    }

    /// # Errors
    /// `Invalid` when a frequency does not go with the type.
    pub async fn put_registry_scanning(
        &self,
        who: &Caller,
        scanning: &RegistryScanning,
    ) -> Result<(), ServiceError> {
        let action = "ecr:PutRegistryScanningConfiguration";
        self.authorize(who, action, Target::Any)?;
        scanning.check()?;
        let (kind, body) = (ItemKind::ScanningConfiguration, to_json(scanning)?);
        let put = self.put_item(who, kind, "", body, Before::Either).await;
        put.map(drop)
    }

    /// When each of these repositories is to be scanned; none where there is no
    /// such repository.
    pub async fn repository_scanning(
        &self,
        who: &Caller,
        names: &[RepositoryName],
    ) -> Result<Vec<Option<RepositoryScanning>>, ServiceError> {
        let action = "ecr:BatchGetRepositoryScanningConfiguration";
        for name in names {
            self.authorize(who, action, Target::Repository(name))?;
        }
        let scanning = self.scanning_now(who).await?;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(match self.repository_now(who, name).await {
                Ok(repository) => Some(scanning.of(&repository)),
                Err(ServiceError::NameUnknown(_)) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(found)
    }

    async fn scanning_now(&self, who: &Caller) -> Result<RegistryScanning, ServiceError> {
        let found = self.item(who, ItemKind::ScanningConfiguration, "").await?;
        found.map_or_else(|| Ok(RegistryScanning::default()), |item| from_json(&item))
    }

    // === signing ===

    pub async fn put_signing(&self, who: &Caller, signing: &Signing) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutSigningConfiguration", Target::Any)?;
        let (kind, body) = (ItemKind::SigningConfiguration, to_json(signing)?);
        let put = self.put_item(who, kind, "", body, Before::Either).await;
        put.map(drop)
    }

    /// # Errors
    /// `NotFound` when there is none.
    pub async fn signing(&self, who: &Caller) -> Result<Signing, ServiceError> {
        self.authorize(who, "ecr:GetSigningConfiguration", Target::Any)?;
        let kind = ItemKind::SigningConfiguration;
        let found = self.item(who, kind, "").await?;
        found.map_or_else(|| Err(missing(kind, "")), |item| from_json(&item))
    }

    /// Removes it; what it was.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn delete_signing(&self, who: &Caller) -> Result<Signing, ServiceError> {
        self.authorize(who, "ecr:DeleteSigningConfiguration", Target::Any)?;
        from_json(
            &self
                .delete_item(who, ItemKind::SigningConfiguration, "")
                .await?,
        )
    }

    /// The profiles that images of a repository are to be signed as.
    pub async fn signing_profiles(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<Vec<String>, ServiceError> {
        self.authorize(
            who,
            "ecr:DescribeImageSigningStatus",
            Target::Repository(name),
        )?;
        let found = self.item(who, ItemKind::SigningConfiguration, "").await?;
        let Some(item) = found else {
            return Ok(Vec::new());
        };
        let signing: Signing = from_json(&item)?;
        let rules = signing.rules.into_iter();
        let is_for = |rule: &SigningRule| match &rule.repository_filters {
            None => true,
            Some(filters) => {
                let mut filters = filters.iter();
                filters.any(|filter| matches_wildcard(&filter.filter, name.as_str()))
            }
        };
        Ok(rules
            .filter(is_for)
            .map(|rule| rule.signing_profile_arn)
            .collect())
    }
}

// === impl RegistryScanning ===

impl RegistryScanning {
    fn check(&self) -> Result<(), ServiceError> {
        let other = match self.scan_type {
            ScanType::Basic => ScanFrequency::ContinuousScan,
            ScanType::Enhanced => ScanFrequency::Manual,
        };
        if self.rules.iter().any(|rule| rule.scan_frequency == other) {
            return Err(crate::repositories::invalid(
                "rules",
                match self.scan_type {
                    ScanType::Basic => "CONTINUOUS_SCAN goes with the scan type ENHANCED alone",
                    ScanType::Enhanced => "MANUAL goes with the scan type BASIC alone",
                },
            ));
        }
        let twice = match self.rules.as_slice() {
            [one, two] => one.scan_frequency == two.scan_frequency,
            _ => false,
        };
        if twice {
            return Err(crate::repositories::invalid(
                "rules",
                "There can be one rule for each scan frequency",
            ));
        }
        Ok(())
    }

    /// The most frequent of the rules that are for a repository.
    fn of(&self, repository: &Repository) -> RepositoryScanning {
        for frequency in [ScanFrequency::ContinuousScan, ScanFrequency::ScanOnPush] {
            let rules = self.rules.iter();
            let filters: Vec<RepositoryFilter> = rules
                .filter(|rule| rule.scan_frequency == frequency)
                .flat_map(|rule| &rule.repository_filters)
                .filter(|filter| filter.is_for(&repository.name))
                .cloned()
                .collect();
            if !filters.is_empty() {
                return RepositoryScanning { frequency, filters };
            }
        }
        let frequency = match self.scan_type {
            ScanType::Enhanced if self.rules.is_empty() => ScanFrequency::ContinuousScan,
            ScanType::Basic if repository.scan_on_push => ScanFrequency::ScanOnPush,
            _ => ScanFrequency::Manual,
        };
        RepositoryScanning {
            frequency,
            filters: Vec::new(),
        }
    }
}

// === impl RepositoryFilter ===

impl RepositoryFilter {
    /// Without a star, any name that contains it.
    fn is_for(&self, name: &RepositoryName) -> bool {
        if self.filter.contains('*') {
            matches_wildcard(&self.filter, name.as_str())
        } else {
            name.as_str().contains(&self.filter)
        }
    }
}
