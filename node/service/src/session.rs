//! The name of an upload session: which node owns it, and a proof that a node
//! of this cluster made it, for this repository. Any node can therefore pass
//! bytes on to the owner, and nobody can guess or redirect a session.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_oci::{RegistryId, RepositoryName};
use entrepot_proto::peers::ClusterSecret;
use subtle::ConstantTimeEq;
use uuid::Uuid;

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

/// The owner's id in front of what is random, so that this alone, as a UUID,
/// finds the session from any node.
const UUID_OWNER_BYTES: usize = 4;

/// Makes and checks session names.
#[derive(Debug)]
pub(crate) struct SessionNames {
    key: [u8; 32],
}

// === impl SessionId ===

impl SessionId {
    /// A new one. Node ids beyond 32 bits would be found under no UUID; the
    /// cluster counts them from 1.
    pub(crate) fn new(owner: u64) -> Result<Self, getrandom::Error> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)?;
        let id = u32::try_from(owner).unwrap_or(u32::MAX);
        random[..UUID_OWNER_BYTES].copy_from_slice(&id.to_be_bytes());
        Ok(Self { owner, random })
    }

    /// Has no proof: whoever makes one up finds no session.
    pub(crate) fn uuid(&self) -> String {
        Uuid::from_bytes(self.random).to_string()
    }

    /// The session of that UUID, if there is one.
    pub(crate) fn of_uuid(text: &str) -> Option<Self> {
        let random = Uuid::try_parse(text).ok()?.into_bytes();
        let (owner, _) = random.split_first_chunk::<UUID_OWNER_BYTES>()?;
        let owner = u32::from_be_bytes(*owner).into();
        Some(Self { owner, random })
    }
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
        account: &RegistryId,
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
        account: &RegistryId,
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
        account: &RegistryId,
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
        let account: RegistryId = "000000000001".parse().unwrap();
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

    #[test]
    fn a_session_is_found_by_its_uuid() {
        let id = SessionId::new(7).unwrap();
        let uuid = id.uuid();
        assert!(uuid.starts_with("00000007-"), "{uuid}");
        assert_eq!(uuid.len(), 36);
        assert_eq!(SessionId::of_uuid(&uuid), Some(id.clone()));
        assert_eq!(SessionId::of_uuid(&uuid.to_uppercase()), Some(id));
        for wrong in [
            "",
            "7",
            &uuid[1..],
            &uuid.replace('-', "x"),
            &format!("{uuid}0"),
        ] {
            assert_eq!(SessionId::of_uuid(wrong), None, "{wrong}");
        }
    }
}
