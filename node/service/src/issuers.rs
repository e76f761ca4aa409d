//! The keys of those who issue web identities, as far as they are known.
//!
//! Fetched when a token of theirs comes, and kept for a while. The invariants: however
//! many tokens come, an issuer is asked once at a time and now and then; and no issuer
//! makes another one wait, or takes more than its memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_access::WebKeys;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Undelivered;
use crate::webhooks::Courier;

/// For how long keys are kept without a look.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// From one look to the next, where no key fits or nobody answers.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Issuers whose keys are kept.
const ISSUERS_MAX: usize = 256;
/// Requests that wait for one issuer's keys at a time.
const WAITING_MAX: usize = 64;
/// What an issuer's keys may take, as it sends them.
const KEYS_BYTES_MAX: usize = 128 * 1024;

/// What is known of everybody's keys.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    known: Mutex<HashMap<Box<str>, Arc<Issuer>>>,
}

/// One of them.
#[derive(Debug)]
struct Issuer {
    known: Mutex<Known>,
    /// Whoever looks holds it.
    looking: tokio::sync::Mutex<()>,
    /// Those who wait for a look.
    waiting: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Option<Arc<WebKeys>>,
    looked_at: Option<Instant>,
    /// Of the last look, if nothing came of it.
    failed: Option<Undelivered>,
}

// === impl Issuers ===

impl Issuers {
    /// The keys of the issuer `https://<name>`. `anew`: those that are known are not
    /// enough.
    ///
    /// # Errors
    /// Why nobody knows.
    pub(crate) async fn keys(
        &self,
        courier: &Arc<dyn Courier>,
        name: &str,
        anew: bool,
    ) -> Result<Arc<WebKeys>, Undelivered> {
        let issuer = self.issuer(name);
        let max = if anew { LOOK_INTERVAL } else { KEPT_FOR };
        if issuer.known().is_due(max) {
            let place = Arc::clone(&issuer.waiting).try_acquire_owned();
            let place = place.map_err(|_| {
                Undelivered::Unreachable("too many ask for its keys at a time".to_owned())
            })?;
            // Whoever asked may go away; the look goes on for the others, and counts.
            let (one, courier, name) = (Arc::clone(&issuer), Arc::clone(courier), name.to_owned());
            let looking = tokio::spawn(async move {
                one.look(&*courier, &name, max).await;
                drop(place);
            });
            let is_good_meanwhile = !anew && issuer.known().keys.is_some();
            if !is_good_meanwhile && let Err(error) = looking.await {
                return Err(Undelivered::Unreachable(error.to_string()));
            }
        }
        issuer.known().answer()
    }

    fn issuer(&self, name: &str) -> Arc<Issuer> {
        // Whole between any two statements that hold it.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Arc::clone(found);
        }
        if known.len() >= ISSUERS_MAX {
            // Any of those that nobody looks at: it is fetched again when it is needed.
            let idle = known.iter().find(|(_, it)| Arc::strong_count(it) == 1);
            if let Some(name) = idle.map(|(name, _)| name.clone()) {
                known.remove(&name);
            }
        }
        let new = Arc::<Issuer>::default();
        if known.len() < ISSUERS_MAX {
            known.insert(name.into(), Arc::clone(&new));
        }
        new
    }
}

// === impl Issuer ===

impl Default for Issuer {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }
}

impl Issuer {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Whole between any two statements that hold it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unless somebody else did meanwhile. What was known stays where nothing comes of
    /// it: a token that one of these keys has signed is as good as before.
    async fn look(&self, courier: &dyn Courier, name: &str, max: Duration) {
        let _turn = self.looking.lock().await;
        if !self.known().is_due(max) {
            return;
        }
        let found = courier.issuer_keys(name, KEYS_BYTES_MAX).await;
        let mut known = self.known();
        known.looked_at = Some(Instant::now());
        known.failed = None;
        match found.map(|bytes| WebKeys::parse(&bytes)) {
            Ok(Some(keys)) => known.keys = Some(Arc::new(keys)),
            Ok(None) => {
                let text = "what it answered is no set of keys";
                known.failed = Some(Undelivered::Unreachable(text.to_owned()));
            }
            Err(error) => known.failed = Some(error),
        }
    }
}

// === impl Known ===

impl Known {
    /// Whether the last look is as long ago as that, or as long as one may be where
    /// nothing is known.
    fn is_due(&self, max: Duration) -> bool {
        let max = if self.keys.is_none() {
            LOOK_INTERVAL
        } else {
            max
        };
        self.looked_at.is_none_or(|at| at.elapsed() >= max)
    }

    fn answer(&self) -> Result<Arc<WebKeys>, Undelivered> {
        match (&self.keys, &self.failed) {
            (Some(keys), _) => Ok(Arc::clone(keys)),
            (None, Some(failed)) => Err(failed.clone()),
            (None, None) => Err(Undelivered::Unreachable("nobody has asked yet".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::Message;

    #[derive(Debug, Default)]
    struct Asked {
        times: AtomicUsize,
        is_down: std::sync::atomic::AtomicBool,
    }

    #[async_trait]
    impl Courier for Asked {
        async fn deliver(&self, _message: Message) -> Result<(), Undelivered> {
            Ok(())
        }

        async fn issuer_keys(&self, _name: &str, _max: usize) -> Result<Bytes, Undelivered> {
            self.times.fetch_add(1, Ordering::Relaxed);
            if self.is_down.load(Ordering::Relaxed) {
                return Err(Undelivered::Status(503));
            }
            Ok(Bytes::from_static(br#"{"keys": []}"#))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_is_asked_now_and_then_whatever_comes() {
        let (issuers, asked) = (Issuers::default(), Arc::<Asked>::default());
        let courier: Arc<dyn Courier> = Arc::<Asked>::clone(&asked);
        let times = || asked.times.load(Ordering::Relaxed);
        for _ in 0..50 {
            issuers.keys(&courier, "ci.example", false).await.unwrap();
            issuers.keys(&courier, "ci.example", true).await.unwrap();
        }
        assert_eq!(times(), 1);
        // A token that no key fits may be of a new one.
        tokio::time::advance(LOOK_INTERVAL).await;
        issuers.keys(&courier, "ci.example", false).await.unwrap();
        assert_eq!(times(), 1);
        issuers.keys(&courier, "ci.example", true).await.unwrap();
        issuers.keys(&courier, "ci.example", true).await.unwrap();
        assert_eq!(times(), 2);
        // What is known is good when it is down.
        asked.is_down.store(true, Ordering::Relaxed);
        tokio::time::advance(KEPT_FOR).await;
        issuers.keys(&courier, "ci.example", false).await.unwrap();
        // Nobody waited for that look.
        issuers.keys(&courier, "ci.example", true).await.unwrap();
        assert_eq!(times(), 3);
        let other = issuers.keys(&courier, "other.example", false).await;
        assert_eq!(other.unwrap_err(), Undelivered::Status(503));
        issuers
            .keys(&courier, "other.example", false)
            .await
            .unwrap_err();
        assert_eq!(times(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_crowd_of_issuers_takes_more_than_its_memory() {
        let issuers = Issuers::default();
        let courier: Arc<dyn Courier> = Arc::<Asked>::default();
        for nth in 0..ISSUERS_MAX + 50 {
            let name = format!("ci-{nth}.example");
            issuers.keys(&courier, &name, false).await.unwrap();
        }
        assert_eq!(issuers.known.lock().unwrap().len(), ISSUERS_MAX);
    }
}
