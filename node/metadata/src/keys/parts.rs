//! Takes a key apart: the other direction of [`Key`](super::Key).
//!
//! Whatever does not read as a part is a corrupt store, since every key was
//! made of valid parts.

use std::str::FromStr;

use entrepot_oci::{AccountId, Algorithm, Digest, RegistryId, RepositoryName};

use crate::query::{Destination, Source, TaskKey};
use crate::store::StorageError;

/// Takes a key apart.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// The parts after the namespace byte.
    pub(crate) fn of(key: &'a [u8]) -> Self {
        Self {
            key,
            rest: key.get(1..).unwrap_or_default(),
        }
    }

    fn corrupt(&self, what: &str) -> StorageError {
        StorageError::corrupt(self.key, format_args!("no {what} in the key"))
    }

    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], StorageError> {
        match self.rest.split_at_checked(count) {
            Some((part, rest)) => {
                self.rest = rest;
                Ok(part)
            }
            None => Err(self.corrupt(what)),
        }
    }

    /// A name up to its 0x00, as a type that checks it.
    pub(crate) fn name<T: FromStr>(&mut self, what: &str) -> Result<T, StorageError> {
        let name = self.text(what)?;
        name.parse().map_err(|_| self.corrupt(what))
    }

    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str, StorageError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| self.corrupt(what))?;
        let name = self.take(end, what)?;
        self.take(1, what)?;
        std::str::from_utf8(name).map_err(|_| self.corrupt(what))
    }

    pub(crate) fn account(&mut self) -> Result<AccountId, StorageError> {
        self.id("account")
    }

    pub(crate) fn registry(&mut self) -> Result<RegistryId, StorageError> {
        self.id("registry")
    }

    fn id<T: FromStr>(&mut self, what: &str) -> Result<T, StorageError> {
        let id = self.take(12, what)?;
        std::str::from_utf8(id)
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| self.corrupt(what))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StorageError> {
        let (algorithm, length) = match self.take(1, "digest")? {
            [1] => (Algorithm::Sha256, 32),
            [2] => (Algorithm::Sha512, 64),
            _ => return Err(self.corrupt("digest")),
        };
        let bytes = self.take(length, "digest")?;
        Digest::from_bytes(algorithm, bytes).map_err(|_| self.corrupt("digest"))
    }

    /// So many bytes as they are.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let bytes = <[u8; N]>::try_from(self.take(N, "bytes")?);
        bytes.map_err(|_| self.corrupt("bytes"))
    }

    pub(crate) fn number(&mut self) -> Result<u64, StorageError> {
        let bytes = self.take(8, "number")?;
        let bytes = bytes.try_into().map_err(|_| self.corrupt("number"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn task(&mut self) -> Result<TaskKey, StorageError> {
        let account = self.account()?;
        let repository = self.name("repository")?;
        let digest = self.digest()?;
        let tag = match self.text("tag")? {
            "" => None,
            tag => Some(tag.parse().map_err(|_| self.corrupt("tag"))?),
        };
        let destination = Destination::named(self.text("destination")?, &account)
            .map_err(|_| self.corrupt("destination"))?;
        Ok(TaskKey {
            account,
            repository,
            digest,
            tag,
            destination,
        })
    }

    /// The last part of a key, beside that repository.
    pub(crate) fn source(
        &mut self,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<Source, StorageError> {
        let region = self.name("source region")?;
        if self.rest.is_empty() {
            return Ok(Source {
                region,
                account: account.clone(),
                repository: repository.clone(),
            });
        }
        let source = Source {
            region,
            account: self.registry()?,
            repository: self.name("source repository")?,
        };
        if source.is_namesake(account, repository) {
            return Err(self.corrupt("source that is named shortly"));
        }
        Ok(source)
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), StorageError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(StorageError::corrupt(self.key, "more parts than expected"))
        }
    }
}
