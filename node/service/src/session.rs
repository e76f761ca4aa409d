//! The name of an upload session: which node owns it, and a proof that a node
//! of this cluster made it, for this repository. Any node can therefore pass
//! bytes on to the owner, and nobody can guess or redirect a session.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_oci::{AccountId, RepositoryName};
use entrepot_proto::peers::ClusterSecret;
use subtle::ConstantTimeEq;

const OWNER_BYTES: usize = 8;
const RANDOM_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// A session, as its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionId {
    /// The node that holds the staged bytes.
    pub(crate) owner: u64,
    pub(crate) random: [u8; RANDOM_BYTES],
}

/// Makes and checks session names.
#[derive(Debug)]
pub(crate) struct SessionNames {
    key: [u8; 32],
}

// === impl SessionNames ===

impl SessionNames {
    pub(crate) fn new(secret: &ClusterSecret) -> Self {
        Self {
            key: blake3::derive_key("entrepot 2026 upload session names", secret.as_bytes()),
        }
    }

    pub(crate) fn name(
        &self,
        id: &SessionId,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> String {
        let mut name = Vec::with_capacity(OWNER_BYTES + RANDOM_BYTES + MAC_BYTES);
        name.extend_from_slice(&id.owner.to_be_bytes());
        name.extend_from_slice(&id.random);
        name.extend_from_slice(&self.mac(id, account, repository));
        URL_SAFE_NO_PAD.encode(name)
    }

    /// The session of that name; none if this cluster did not make it for this
    /// repository.
    pub(crate) fn parse(
        &self,
        name: &str,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> Option<SessionId> {
        let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
        let (owner, rest) = bytes.split_first_chunk::<OWNER_BYTES>()?;
        let (random, mac) = rest.split_first_chunk::<RANDOM_BYTES>()?;
        let id = SessionId {
            owner: u64::from_be_bytes(*owner),
            random: *random,
        };
        let right: bool = mac.ct_eq(&self.mac(&id, account, repository)).into();
        right.then_some(id)
    }

    fn mac(
        &self,
        id: &SessionId,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&id.owner.to_be_bytes());
        hasher.update(&id.random);
        hasher.update(account.as_str().as_bytes());
        hasher.update(b"\0");
        hasher.update(repository.as_str().as_bytes());
        let mut mac = [0; MAC_BYTES];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_for_its_own_cluster_and_repository_only() {
        let names = SessionNames::new(&ClusterSecret::new(&"a".repeat(32)).unwrap());
        let others = SessionNames::new(&ClusterSecret::new(&"b".repeat(32)).unwrap());
        let account: AccountId = "000000000001".parse().unwrap();
        let repository: RepositoryName = "app".parse().unwrap();
        let other: RepositoryName = "other".parse().unwrap();
        let id = SessionId {
            owner: 3,
            random: [7; RANDOM_BYTES],
        };

        let name = names.name(&id, &account, &repository);

        assert_eq!(names.parse(&name, &account, &repository), Some(id));
        assert_eq!(names.parse(&name, &account, &other), None);
        assert_eq!(others.parse(&name, &account, &repository), None);
        assert_eq!(names.parse("", &account, &repository), None);
        assert_eq!(names.parse(&name[1..], &account, &repository), None);
    }
}
