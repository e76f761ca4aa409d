//! Checking credentials against an account: fast for those that were right
//! before, slow and always equally slow for all others.
//!
//! Must never hold a password or a plain hash of one: the cache keeps keyed
//! hashes under a key that dies with the process. The invariant: an entry stands
//! for exactly one (user, password, stored hash) that argon2 has confirmed, so a
//! changed password is a miss at once and nothing has to be invalidated.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use subtle::{Choice, ConstantTimeEq as _};

use crate::password::{hash_password, verify_password};
use crate::secret::random;
use crate::{AccessError, BasicCredentials, generate_password};

/// The most confirmed credentials that are remembered; beyond, the oldest goes.
/// Only right credentials get in, so a guesser cannot push anyone out.
pub const VERIFIED_MAX: usize = 4096;

/// For how long, and how many at most, wrong credentials are remembered: clients
/// that are set up wrong repeat theirs again and again.
const WRONG_FOR: Duration = Duration::from_secs(10);
const WRONG_MAX: usize = 4096;

/// What an account's record says: the user, and the PHC string of the password.
#[derive(Clone, Copy)]
pub struct AccountCredentials<'a> {
    pub user: &'a str,
    pub password_hash: &'a str,
}

/// Checks credentials; one per node, shared by all front ends. Ask
/// [`Verifier::check_cached`] first, from anywhere; on `false`, run
/// [`Verifier::verify`] where blocking is allowed.
pub struct Verifier {
    cache_key: [u8; blake3::KEY_LEN],
    /// Checked where there is no account, so that this takes as long.
    dummy_hash: String,
    verified: RwLock<Verified>,
    wrong: RwLock<Wrong>,
}

#[derive(Default)]
struct Verified {
    known: HashSet<blake3::Hash>,
    /// The same, oldest first.
    order: VecDeque<blake3::Hash>,
}

#[derive(Default)]
struct Wrong {
    known: HashMap<blake3::Hash, Instant>,
    /// The same, oldest first.
    order: VecDeque<blake3::Hash>,
}

/// What stands for something that a caller sent, so that it is known again and
/// need not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(blake3::Hash);

// === impl AccountCredentials ===

impl fmt::Debug for AccountCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

// === impl Verifier ===

impl Verifier {
    /// Takes as long as hashing one password.
    ///
    /// # Errors
    /// [`AccessError::Random`] or [`AccessError::Hash`]: the node cannot start.
    pub fn new() -> Result<Self, AccessError> {
        Ok(Self {
            cache_key: random()?,
            dummy_hash: hash_password(&generate_password()?)?,
            verified: RwLock::default(),
            wrong: RwLock::default(),
        })
    }

    /// Whether these very credentials were confirmed before for this very record:
    /// about a microsecond, never blocks. `false` says nothing about them; ask
    /// [`Verifier::verify`].
    pub fn check_cached(
        &self,
        credentials: &BasicCredentials,
        account: &AccountCredentials<'_>,
    ) -> bool {
        let key = self.key(credentials, account);
        let known = self
            .verified
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .contains(&key);
        (Choice::from(u8::from(known)) & same_user(credentials, account)).into()
    }

    /// Whether the credentials are the account's; `None` where there is no
    /// account to check them against, which is refused after the same work.
    ///
    /// Costs some 20 ms of CPU and 19 MiB of memory whatever the answer: call it
    /// from `spawn_blocking` (or the like), and bound how many run at once.
    /// Refusals are not remembered: see [`Verifier::remember_wrong`].
    ///
    /// # Errors
    /// [`AccessError::StoredHash`] if the account's record is unusable, and
    /// [`AccessError::Hash`] without memory: both the node's fault, not the
    /// caller's. [`AccessError::PasswordTooLong`] is the caller's.
    pub fn verify(
        &self,
        credentials: &BasicCredentials,
        account: Option<&AccountCredentials<'_>>,
    ) -> Result<bool, AccessError> {
        let password = credentials.password().expose();
        let Some(account) = account else {
            verify_password(password, &self.dummy_hash)?;
            return Ok(false);
        };
        // A wrong user's password goes through the account's own hash all the
        // same: no other work costs as much as that.
        let same_password = verify_password(password, account.password_hash)?;
        let same = Choice::from(u8::from(same_password)) & same_user(credentials, account);
        if !bool::from(same) {
            return Ok(false);
        }
        self.verified
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.key(credentials, account));
        Ok(true)
    }

    /// Notes that [`Verifier::verify`] has refused these credentials for this
    /// record. Another record of the account, as after a change of its password,
    /// knows nothing of it.
    pub fn remember_wrong(
        &self,
        credentials: &BasicCredentials,
        account: &AccountCredentials<'_>,
        now: Instant,
    ) {
        self.wrong
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.key(credentials, account), now);
    }

    /// Whether these very credentials were refused a moment ago for this very
    /// record.
    pub fn is_known_wrong(
        &self,
        credentials: &BasicCredentials,
        account: &AccountCredentials<'_>,
        now: Instant,
    ) -> bool {
        let key = self.key(credentials, account);
        let wrong = self.wrong.read().unwrap_or_else(PoisonError::into_inner);
        let since = wrong.known.get(&key).copied();
        since.is_some_and(|since| now.saturating_duration_since(since) < WRONG_FOR)
    }

    /// The mark of what was sent; dies with the process, as the cache does.
    pub fn mark(&self, sent: &str) -> Mark {
        Mark(blake3::keyed_hash(&self.cache_key, sent.as_bytes()))
    }

    fn key(
        &self,
        credentials: &BasicCredentials,
        account: &AccountCredentials<'_>,
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.cache_key);
        let password = credentials.password().expose();
        for part in [credentials.user(), password, account.password_hash] {
            // With its length, so that no two lists of parts read the same.
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

fn same_user(credentials: &BasicCredentials, account: &AccountCredentials<'_>) -> Choice {
    credentials.user().as_bytes().ct_eq(account.user.as_bytes())
}

// === impl Verified ===

impl Verified {
    fn insert(&mut self, key: blake3::Hash) {
        if !self.known.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > VERIFIED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

// === impl Wrong ===

impl Wrong {
    fn insert(&mut self, key: blake3::Hash, now: Instant) {
        if self.known.insert(key, now).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > WRONG_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
