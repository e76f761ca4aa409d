//! Addresses of layers that are good by themselves, for a while: whoever has one
//! reads that one blob of that one repository, and nothing else.
//!
//! What makes them so is sealed under the cluster's key, so that every node can
//! tell and nobody can change it. The invariant: what one is good for is in what is
//! sealed, and nothing of it is taken from the request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_access::Principal;
use entrepot_metadata::query::{self, AccountState};
use entrepot_oci::{Digest, RegionName, RegistryId, RepositoryName};
use serde::{Deserialize, Serialize};

use crate::{Caller, Registry, ServiceError, Target};

/// For how long one is good, as in ECR.
const LIFE_MS: i64 = 60 * 60 * 1_000;
/// The longest that is looked at, in characters: names have at most 256 bytes.
const CHARS_MAX: usize = 2_048;
const VERSION: u8 = 1;
const PURPOSE: &str = "layer url";

/// What one is good for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "a")]
    account: RegistryId,
    #[serde(rename = "r")]
    region: String,
    #[serde(rename = "n")]
    repository: String,
    #[serde(rename = "d")]
    digest: String,
    #[serde(rename = "e")]
    expires_ms: i64,
}

impl Registry {
    /// What an address has to carry so that it is good for this layer.
    ///
    /// # Errors
    /// `BlobUnknown`, `NameUnknown`; `ImageArchived` when all images that name it are
    /// in the archive.
    pub async fn presign_layer(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<String, ServiceError> {
        let action = "ecr:GetDownloadUrlForLayer";
        self.authorize(who, action, Target::Repository(repository))?;
        self.known_blob(who, repository, digest).await?;
        if self.layer_archived(who, repository, digest).await? {
            return Err(ServiceError::ImageArchived(digest.to_string()));
        }
        let grant = Grant {
            version: VERSION,
            account: who.account.clone(),
            region: self.region().to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            expires_ms: self.clock.now_ms().saturating_add(LIFE_MS),
        };
        let plain = serde_json::to_vec(&grant).map_err(|error| ServiceError::internal(&error))?;
        let sealed = self
            .sealing
            .seal(PURPOSE, &plain)
            .map_err(|error| ServiceError::internal(&error))?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// On whose behalf an address is read that carries `grant`: the registry's
    /// owner, who let somebody have it.
    ///
    /// # Errors
    /// `Denied` unless it is good for this blob now. Why not, is not told.
    pub fn presigned_layer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        grant: &str,
    ) -> Result<Caller, ServiceError> {
        let denied = || {
            ServiceError::Denied(
                "the address of this layer is not valid, or has expired".to_owned(),
            )
        };
        let grant = self.open_grant(grant).ok_or_else(denied)?;
        let now_ms = self.clock.now_ms();
        if !grant.is_for(self.region(), repository, digest, now_ms) {
            return Err(denied());
        }
        let view = self.metadata.view(&self.global)?;
        let owner = grant.account.account();
        let account = query::account(view.as_ref(), &owner)?;
        if account.is_some_and(|account| account.state == AccountState::Disabled) {
            return Err(denied());
        }
        Ok(Caller::of(Principal::root(owner)).meaning(grant.account))
    }

    fn open_grant(&self, grant: &str) -> Option<Grant> {
        if grant.len() > CHARS_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(grant).ok()?;
        let plain = self.sealing.open(PURPOSE, &sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

// === impl Grant ===

impl Grant {
    fn is_for(
        &self,
        region: &RegionName,
        repository: &RepositoryName,
        digest: &Digest,
        now_ms: i64,
    ) -> bool {
        self.version == VERSION
            && self.region == region.as_str()
            && self.repository == repository.as_str()
            && self.digest == digest.to_string()
            && now_ms < self.expires_ms
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{Algorithm, Digest};

    use super::{Grant, VERSION};

    #[test]
    fn a_grant_is_for_one_layer_and_ends() {
        let [one, other] = [1, 2].map(|number| Digest::of(Algorithm::Sha256, &[number]));
        let grant = Grant {
            version: VERSION,
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".to_owned(),
            repository: "team/app".to_owned(),
            digest: one.to_string(),
            expires_ms: 1_000,
        };
        for (region, repository, digest, now_ms, expected) in [
            ("us-east-1", "team/app", &one, 999, true),
            ("us-east-1", "team/app", &one, 1_000, false),
            ("eu-west-1", "team/app", &one, 0, false),
            ("us-east-1", "team/ap", &one, 0, false),
            ("us-east-1", "team/app", &other, 0, false),
        ] {
            let (region, repository) = (region.parse().unwrap(), repository.parse().unwrap());
            assert_eq!(grant.is_for(&region, &repository, digest, now_ms), expected);
        }
        let later = Grant {
            version: VERSION + 1,
            ..grant
        };
        let (region, repository) = ("us-east-1".parse().unwrap(), "team/app".parse().unwrap());
        assert!(!later.is_for(&region, &repository, &one, 0));
    }
}
