//! Whose password is checked next. Checking one is slow by design, and few are
//! checked at a time: so nobody may take more than a turn, however many
//! connections they have.
//!
//! Only credentials that are not known to be right come here. From each source
//! one is checked at a time, and after a few wrong ones only now and then. What
//! is remembered of a source is one small record, for as long as it has guesses
//! to make up for. `guesses` counts the same by whom they were for.

mod guesses;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::guesses::Guesses;
use crate::ServiceError;

/// Passwords checked at the same time; each takes 19 MiB and tens of
/// milliseconds.
const CHECKS_MAX: usize = 2;
/// Wrong passwords that a source may try in a row; then one for each `GUESS_TIME`.
const GUESSES_MAX: u32 = 20;
const GUESS_TIME: Duration = Duration::from_secs(1);
/// Requests of one source that wait for its turn.
const WAITING_MAX: usize = 64;
/// Sources that are told apart; beyond, new ones share a turn.
const SOURCES_MAX: usize = 4_096;
/// For a turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Where a request came from. What nobody can tell apart is not slowed down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Source(Option<IpAddr>);

/// The turns of everybody.
#[derive(Debug)]
pub(crate) struct Logins {
    checks: Arc<Semaphore>,
    sources: Mutex<HashMap<Source, Arc<Turns>>>,
    guesses: Arc<Guesses>,
}

/// Those of one source.
#[derive(Debug)]
struct Turns {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// When all wrong guesses are made up for; each adds a `GUESS_TIME`.
    even_at: Mutex<Instant>,
}

/// May have one password checked.
#[derive(Debug)]
pub(crate) struct Login {
    turns: Option<Arc<Turns>>,
    source: Source,
    claimed: Box<str>,
    guesses: Arc<Guesses>,
    _turn: Option<OwnedSemaphorePermit>,
    _check: OwnedSemaphorePermit,
}

// === impl Source ===

impl Source {
    /// An address. One who has an IPv6 address has 2^64 of them.
    pub fn address(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        }))
    }

    /// Whether anybody can tell.
    pub(crate) fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// The address, or the network that it stands for; none: nobody can tell.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.0
    }

    /// Those for whom there is no record.
    const OTHERS: Self = Self(Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
}

// === impl Logins ===

impl Default for Logins {
    fn default() -> Self {
        Self {
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            sources: Mutex::default(),
            guesses: Arc::default(),
        }
    }
}

impl Logins {
    /// That `source` may try what proves it to be `claimed`, and costs little to
    /// check: the secret of a key. Whoever has logged in so from
    /// there always may.
    ///
    /// # Errors
    /// `LoginsTooMany`
    pub(crate) fn may_try(&self, source: Source, claimed: &str) -> Result<(), ServiceError> {
        if source.0.is_none() || self.guesses.knows(source, claimed) {
            return Ok(());
        }
        if let Some(turns) = lock(&self.sources).get(&source) {
            turns.may_guess()?;
        }
        self.guesses.may_guess(source, claimed)
    }

    /// The same for a signature by the key of that id, which is no secret: what
    /// others guess does not count.
    ///
    /// # Errors
    /// `LoginsTooMany`
    pub(crate) fn may_sign(&self, source: Source, key_id: &str) -> Result<(), ServiceError> {
        let turns = lock(&self.sources).get(&source).cloned();
        match turns.map(|turns| turns.may_guess()) {
            Some(Err(_)) if self.guesses.knows(source, key_id) => Ok(()),
            Some(may_guess) => may_guess,
            None => Ok(()),
        }
    }

    /// A signature was wrong: it counts for where it came from, and for nobody
    /// whose key it names.
    pub(crate) fn wrong(&self, source: Source) {
        if source.0.is_some() {
            self.turns(source).wrong();
        }
    }

    /// Whether what proves somebody to be `claimed` was right from there before.
    pub(crate) fn knows(&self, source: Source, claimed: &str) -> bool {
        self.guesses.knows(source, claimed)
    }

    /// What was tried was right.
    pub(crate) fn right(&self, source: Source, claimed: &str) {
        if source.0.is_some() {
            self.guesses.right(source, claimed);
        }
    }

    /// Waits until it is this source's turn; `decided` says whether that is
    /// needed no more, once nobody else of the source is being checked.
    ///
    /// # Errors
    /// `LoginsTooMany` for a source that has guessed wrong too often or has too
    /// many requests waiting, and `Unavailable` when it takes too long.
    pub(crate) async fn turn<T>(
        &self,
        source: Source,
        claimed: &str,
        decided: impl FnOnce() -> Option<T>,
    ) -> Result<Result<Login, T>, ServiceError> {
        let waited = tokio::time::timeout(WAIT_MAX, self.wait(source, claimed, decided));
        waited.await.unwrap_or_else(|_| {
            Err(ServiceError::unavailable(
                "this node has too many logins to check; try again",
            ))
        })
    }

    async fn wait<T>(
        &self,
        source: Source,
        claimed: &str,
        decided: impl FnOnce() -> Option<T>,
    ) -> Result<Result<Login, T>, ServiceError> {
        let turns = source.0.map(|_| self.turns(source));
        let mut turn = None;
        if let Some(turns) = &turns {
            turns.may_guess()?;
            self.guesses.may_guess(source, claimed)?;
            let waiting = Arc::clone(&turns.waiting).try_acquire_owned();
            let _waiting = waiting.map_err(|_| ServiceError::LoginsTooMany)?;
            turn = Some(acquire(&turns.turn).await?);
            if let Some(known) = decided() {
                return Ok(Err(known));
            }
            // Those who came before may have used them up.
            turns.may_guess()?;
            self.guesses.may_guess(source, claimed)?;
        }
        Ok(Ok(Login {
            turns,
            source,
            claimed: claimed.into(),
            guesses: Arc::clone(&self.guesses),
            _turn: turn,
            _check: acquire(&self.checks).await?,
        }))
    }

    fn turns(&self, source: Source) -> Arc<Turns> {
        let mut sources = lock(&self.sources);
        if !sources.contains_key(&source) && sources.len() >= SOURCES_MAX {
            sources.retain(|_, turns| !turns.is_idle());
        }
        let full = sources.len() >= SOURCES_MAX && !sources.contains_key(&source);
        let source = if full { Source::OTHERS } else { source };
        Arc::clone(sources.entry(source).or_insert_with(Turns::new))
    }
}

async fn acquire(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ServiceError> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|error| ServiceError::internal(&error))
}

// === impl Turns ===

impl Turns {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            even_at: Mutex::new(Instant::now()),
        })
    }

    fn may_guess(&self) -> Result<(), ServiceError> {
        let ahead = lock(&self.even_at).saturating_duration_since(Instant::now());
        if ahead > GUESS_TIME * (GUESSES_MAX - 1) {
            return Err(ServiceError::LoginsTooMany);
        }
        Ok(())
    }

    fn wrong(&self) {
        let mut even_at = lock(&self.even_at);
        *even_at = (*even_at).max(Instant::now()) + GUESS_TIME;
    }

    fn is_idle(&self) -> bool {
        self.waiting.available_permits() == WAITING_MAX
            && self.turn.available_permits() == 1
            && *lock(&self.even_at) <= Instant::now()
    }
}

// === impl Login ===

impl Login {
    /// The password was wrong.
    pub(crate) fn wrong(&self) {
        if let Some(turns) = &self.turns {
            turns.wrong();
            self.guesses.wrong(&self.claimed);
        }
    }

    pub(crate) fn right(&self) {
        if self.turns.is_some() {
            self.guesses.right(self.source, &self.claimed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    async fn guess(logins: &Logins, source: Source) -> Result<(), ServiceError> {
        // At another principal from each source.
        let claimed = format!("{source:?}");
        let login = logins.turn(source, &claimed, || None::<()>).await?;
        login.unwrap().wrong();
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_guesses_a_few_times_and_then_now_and_then() {
        let logins = Logins::default();
        for _ in 0..GUESSES_MAX {
            assert_eq!(guess(&logins, source(1)).await, Ok(()));
        }
        let refused = Err(ServiceError::LoginsTooMany);
        assert_eq!(guess(&logins, source(1)).await, refused);
        assert_eq!(guess(&logins, source(2)).await, Ok(()));
        tokio::time::advance(GUESS_TIME).await;
        assert_eq!(guess(&logins, source(1)).await, Ok(()));
        assert_eq!(guess(&logins, source(1)).await, refused);
        for _ in 0..100 {
            assert_eq!(guess(&logins, Source::default()).await, Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_has_one_turn_at_a_time_and_so_leaves_others_theirs() {
        let logins = Logins::default();
        let turn = || logins.turn(source(1), "ann", || None::<()>);
        let held = turn().await.unwrap().unwrap();
        let mut next = Box::pin(turn());
        assert!(futures::poll!(&mut next).is_pending());
        assert!(
            logins
                .turn(source(2), "ann", || None::<()>)
                .await
                .unwrap()
                .is_ok()
        );
        drop(held);
        assert!(next.await.unwrap().is_ok());
        // What another has found out meanwhile needs no turn.
        assert_eq!(
            logins
                .turn(source(1), "ann", || Some(7))
                .await
                .unwrap()
                .unwrap_err(),
            7
        );
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_few() {
        let logins = Logins::default();
        let _held = logins.turn(source(1), "ann", || None::<()>).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| Box::pin(logins.turn(source(1), "ann", || None::<()>)))
            .collect();
        for wait in &mut waiting {
            assert!(futures::poll!(wait).is_pending());
        }
        let more = logins.turn(source(1), "ann", || None::<()>).await;
        assert_eq!(more.unwrap_err(), ServiceError::LoginsTooMany);
        // It is the time that ends this, and it ends it.
        let ended = waiting.remove(0).await;
        assert!(matches!(ended, Err(ServiceError::Unavailable { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn no_crowd_of_sources_takes_more_than_its_memory() {
        let logins = Logins::default();
        let crowd = (0..SOURCES_MAX + 100).map(|nth| {
            let [high, low, ..] = nth.to_le_bytes();
            Source::address(Ipv4Addr::new(198, 51, high, low).into())
        });
        for source in crowd {
            // Those beyond share what a source may do.
            let _ = guess(&logins, source).await;
        }
        assert!(lock(&logins.sources).len() <= SOURCES_MAX + 1);
        tokio::time::advance(GUESS_TIME * 200).await;
        assert_eq!(guess(&logins, source(1)).await, Ok(()));
        assert_eq!(lock(&logins.sources).len(), 1);
    }

    #[test]
    fn one_network_is_one_source() {
        let of = |text: &str| Source::address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
