//! Memory for what clients send and this node has to have whole: manifests, and
//! the messages of gRPC. What a client says of a length takes nothing; bytes do,
//! as they arrive.
//!
//! The invariant: all that is gathered at one moment, of all clients together,
//! is within [`GATHERED_BYTES_MAX`], [`PASSED_BYTES_MAX`] and [`SIGNED_BYTES_MAX`],
//! and what is worked on within [`WORKED_BYTES_MAX`]. Of bodies that are read
//! before it is known who sent them, nobody has more than a share ([`shares`]). Content of up to [`UNCOUNTED_BYTES`] is
//! passed by: as much waits for every request in the windows of HTTP/2, and so a
//! flood of large manifests keeps no ordinary one out.

mod shares;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::shares::{Share, Shares};
use crate::{Registry, ServiceError, Source};

/// Of each request: what is not counted.
pub const UNCOUNTED_BYTES: usize = 16 * 1024;
/// Manifests that arrive, wait or are worked on.
const GATHERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages of uploads, until each is complete.
const PASSED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bodies of signed requests, until each is complete and its signature checked.
const SIGNED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Manifests that are read, proposed and replicated. Each takes several times
/// its length on the way, and a peer that is sent more hears no heartbeat
/// meanwhile.
const WORKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For manifests that came before.
const WORK_WAIT_MAX: Duration = Duration::from_secs(10);

/// What is left of each.
#[derive(Debug)]
pub(crate) struct Budgets {
    gathered: Arc<Semaphore>,
    passed: Arc<Semaphore>,
    signed: Arc<Semaphore>,
    worked: Arc<Semaphore>,
    shares: Arc<Shares>,
}

/// What one request has gathered. Dropped, it is free for others.
#[derive(Debug)]
pub struct Gathering {
    left: Arc<Semaphore>,
    bytes: usize,
    counted: Option<OwnedSemaphorePermit>,
    /// What its sender has of it.
    share: Option<Share>,
}

// === impl Budgets ===

impl Default for Budgets {
    fn default() -> Self {
        let of = |bytes| Arc::new(Semaphore::new(bytes));
        Self {
            gathered: of(GATHERED_BYTES_MAX),
            passed: of(PASSED_BYTES_MAX),
            signed: of(SIGNED_BYTES_MAX),
            worked: of(WORKED_BYTES_MAX),
            shares: Arc::default(),
        }
    }
}

impl Budgets {
    /// Leave to work on content of `bytes`, in the order of asking.
    ///
    /// # Errors
    /// `Unavailable` when others take too long.
    pub(crate) async fn work(
        &self,
        bytes: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, ServiceError> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(None);
        }
        let share = permits(bytes.min(WORKED_BYTES_MAX));
        let leave = Arc::clone(&self.worked).acquire_many_owned(share);
        match timeout(WORK_WAIT_MAX, leave).await {
            Ok(Ok(leave)) => Ok(Some(leave)),
            Ok(Err(_)) | Err(_) => Err(used_up()),
        }
    }
}

impl Registry {
    /// For content that a request brings and that has to be whole.
    pub fn gathering(&self) -> Gathering {
        Gathering::new(&self.budgets.gathered)
    }

    /// For the messages of a stream, one after another.
    pub fn passing(&self) -> Gathering {
        Gathering::new(&self.budgets.passed)
    }

    /// For the body of a request that says to be signed with the key of that id,
    /// which has yet to prove true.
    pub fn signed_body(&self, source: Source, key_id: &str) -> Gathering {
        let is_known = self.logins.knows(source, key_id);
        let share = Share::new(&self.budgets.shares, source, key_id, is_known);
        Gathering {
            share: Some(share),
            ..Gathering::new(&self.budgets.signed)
        }
    }
}

// === impl Gathering ===

impl Gathering {
    /// Counts against `left`, of which each permit is a byte.
    pub fn new(left: &Arc<Semaphore>) -> Self {
        Self {
            left: Arc::clone(left),
            bytes: 0,
            counted: None,
            share: None,
        }
    }

    /// Notes that `bytes` more have arrived, before they are kept.
    ///
    /// # Errors
    /// `Unavailable` when there is no memory left for them. Not waited for: what
    /// this request has gathered may be what another one waits for.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ServiceError> {
        let counted = |bytes: usize| bytes.saturating_sub(UNCOUNTED_BYTES);
        let more = counted(self.bytes + bytes) - counted(self.bytes);
        if more > 0 {
            if let Some(share) = &mut self.share {
                share.grow(more)?;
            }
            let left = Arc::clone(&self.left);
            let permit = left.try_acquire_many_owned(permits(more));
            let permit = permit.map_err(|_| used_up())?;
            match &mut self.counted {
                Some(counted) => counted.merge(permit),
                None => self.counted = Some(permit),
            }
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Lets go of what was gathered; more may come.
    pub fn release(&mut self) {
        self.bytes = 0;
        self.counted = None;
        if let Some(share) = &mut self.share {
            share.release();
        }
    }
}

/// More than there are of any budget is as good as all that a number can say.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

pub(crate) fn used_up() -> ServiceError {
    ServiceError::unavailable(
        "this node has as many large manifests or messages in hand as it may; try again",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::{Budgets, Gathering, UNCOUNTED_BYTES, WORK_WAIT_MAX, WORKED_BYTES_MAX};
    use crate::ServiceError;

    fn is_used_up<T: std::fmt::Debug>(result: &Result<T, ServiceError>) -> bool {
        matches!(result, Err(ServiceError::Unavailable { .. }))
    }

    #[test]
    fn what_arrives_is_counted_for_all_together() {
        let left = Arc::new(Semaphore::new(1000));
        let mut first = Gathering::new(&left);
        first.grow(UNCOUNTED_BYTES + 600).unwrap();
        let mut second = Gathering::new(&left);
        second.grow(UNCOUNTED_BYTES).unwrap();
        second.grow(400).unwrap();
        assert!(is_used_up(&second.grow(1)));
        // Small ones are not kept out.
        Gathering::new(&left).grow(UNCOUNTED_BYTES).unwrap();
        drop(first);
        second.grow(1).unwrap();
        second.release();
        assert_eq!(left.available_permits(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_its_turn_and_not_for_ever() {
        let budgets = Budgets::default();
        let all = budgets.work(WORKED_BYTES_MAX).await.unwrap();
        assert!(budgets.work(UNCOUNTED_BYTES).await.unwrap().is_none());
        let start = tokio::time::Instant::now();
        assert!(is_used_up(&budgets.work(UNCOUNTED_BYTES + 1).await));
        assert_eq!(start.elapsed(), WORK_WAIT_MAX);
        let (next, ()) = tokio::join!(budgets.work(WORKED_BYTES_MAX), async { drop(all) });
        assert!(next.unwrap().is_some());
    }
}
