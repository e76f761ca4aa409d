//! Many callers, one round of asking.
//!
//! A linearizable read needs to know, from a moment after it was asked for, up
//! to where the log is committed. The answer of one round serves everybody who
//! asked before the round began, and nobody who asked after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

/// Rounds of a group that are under way at a time. Two, so that a caller who
/// just missed one does not wait for all of it.
const ROUNDS_MAX: usize = 2;

/// One round's outcome, for everybody who waits for it.
pub(crate) type Round<T> = Shared<BoxFuture<'static, T>>;

/// The rounds of one question.
#[derive(Debug)]
pub(crate) struct Rounds<T: Clone> {
    slots: Arc<Semaphore>,
    /// The round that has not begun.
    next: Arc<Mutex<Option<Round<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Rounds<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(ROUNDS_MAX)),
            next: Arc::new(Mutex::new(None)),
        }
    }

    /// Joins the round that has not begun yet; if there is none, `ask` becomes
    /// it.
    pub(crate) fn join(&self, ask: impl Future<Output = T> + Send + 'static) -> Round<T> {
        let mut next = lock(&self.next);
        if let Some(round) = &*next {
            return round.clone();
        }
        let slots = Arc::clone(&self.slots);
        let waiting = Arc::downgrade(&self.next);
        let round = async move {
            // Never closed; if it were, more rounds than planned would run.
            let _slot = slots.acquire_owned().await;
            // From here on it is too late to join.
            if let Some(waiting) = Weak::upgrade(&waiting) {
                lock(&waiting).take();
            }
            ask.await
        };
        let round = round.boxed().shared();
        *next = Some(round.clone());
        round
    }

    /// Lets go of a round that nobody waits for.
    pub(crate) fn clear(&self) {
        lock(&self.next).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    /// Answers with the number of the round, 10 ms after it began: of the paused
    /// clock, so that a round takes time and no test waits for it.
    fn ask(counter: &Arc<AtomicU64>) -> impl Future<Output = u64> + Send + 'static {
        let counter = Arc::clone(counter);
        async move {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_at_once_share_a_round() {
        let (rounds, counter) = (Rounds::new(), Arc::new(AtomicU64::new(0)));
        let callers = (0..100).map(|_| rounds.join(ask(&counter)));
        let answers = futures::future::join_all(callers).await;
        assert_eq!(answers, vec![0; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_has_begun_is_not_joined() {
        let (rounds, counter) = (Rounds::new(), Arc::new(AtomicU64::new(0)));
        let mut first = rounds.join(ask(&counter));
        assert!((&mut first).now_or_never().is_none());
        let second = rounds.join(ask(&counter));
        assert_eq!(futures::future::join(first, second).await, (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn late_callers_wait_together_for_a_slot() {
        let (rounds, counter) = (Rounds::new(), Arc::new(AtomicU64::new(0)));
        let mut running = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut round = rounds.join(ask(&counter));
            assert!((&mut round).now_or_never().is_none());
            running.push(round);
        }
        let late: Vec<_> = (0..50).map(|_| rounds.join(ask(&counter))).collect();
        running.extend(late);
        futures::future::join_all(running).await;
        assert_eq!(counter.load(Ordering::SeqCst), ROUNDS_MAX as u64 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_nobody_waits_for_blocks_nobody() {
        let (rounds, counter) = (Rounds::new(), Arc::new(AtomicU64::new(0)));
        for _ in 0..10 {
            let mut round = rounds.join(ask(&counter));
            assert!((&mut round).now_or_never().is_none());
            // Dropped: its caller gave up.
        }
        let before = counter.load(Ordering::SeqCst);
        let answer = tokio::time::timeout(Duration::from_secs(1), rounds.join(ask(&counter)));
        assert!(answer.await.unwrap() >= before);
    }
}
