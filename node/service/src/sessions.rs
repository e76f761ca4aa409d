//! The uploads that this node owns: what each has received, and who writes to
//! it at the moment.
//!
//! One request at a time has the staged bytes of a session; the number of bytes
//! can be read at any time. The invariant: whatever one principal opens and
//! leaves, others find room, and so does the principal itself after a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use entrepot_access::Principal;
use entrepot_oci::{Algorithm, RegistryId, RepositoryName};
use entrepot_replication::upload::Upload;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::commit::Settling;
use crate::session::SessionId;
use crate::{Caller, ServiceError};

/// Uploads that one node owns at the same time. One that has brought only what
/// the metadata itself may keep takes a few KiB.
const SESSIONS_MAX: usize = 10_000;
/// Those that have brought more. Each holds up to a few MiB here and a stream to
/// each holder, of which a peer takes 4,096 with all else that nodes say to each
/// other.
const RECEIVING_MAX: usize = 2_000;
/// Of both, what one principal may have: three of four places.
const SHARE: (usize, usize) = (3, 4);
/// An upload without a byte holds a place for less long than one that was
/// begun: the client has nothing to lose, and too many close the node to pushes.
const EMPTY_EXPIRY: Duration = Duration::from_mins(5);
/// When all places are taken, an upload that has brought next to nothing, and has
/// been without a request for as long, gives its place to a new one. Clients send
/// their next bytes at once.
const SMALL_IDLE_MIN: Duration = Duration::from_secs(10);
/// The same for one that has brought more, and whose client may be on its way
/// back.
const RECEIVING_IDLE_MIN: Duration = Duration::from_mins(10);
/// For the request before this one on the same session to end. Shorter than what
/// another node waits for an answer: its client is to hear what is going on.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The uploads that this node owns.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<[u8; 16], Arc<Session>>>,
    receiving: Arc<Mutex<Taken>>,
}

/// Who has how many places.
type Taken = HashMap<Principal, usize>;

/// A place among the uploads that hold more than a few KiB; dropped, it is free.
#[derive(Debug)]
struct Place {
    who: Principal,
    taken: Arc<Mutex<Taken>>,
}

/// One upload that this node owns.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who opened it.
    who: Principal,
    pub(crate) account: RegistryId,
    pub(crate) repository: RepositoryName,
    /// None: decided by the digest that finishes it, if that comes with the
    /// first byte, else sha256.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) random: [u8; 16],
    size: AtomicU64,
    /// How many it has come in, where that is bounded.
    parts: OnceLock<AtomicU64>,
    touched: Mutex<Instant>,
    /// Once it holds more than a few KiB.
    place: OnceLock<Place>,
    /// Whether somebody wants it gone.
    cancelled: watch::Sender<bool>,
    pub(crate) work: tokio::sync::Mutex<Work>,
}

/// What there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Places,
    /// Of the principal's own.
    Share,
}

#[derive(Debug)]
pub(crate) enum Work {
    /// Bytes that are few enough for the metadata to keep them; none at first.
    Small(BytesMut),
    /// More than that.
    Receiving(Box<Upload>),
    /// All bytes are here and right. What is missing is a copy or the link.
    Settling(Settling),
    Ended,
}

// === impl Sessions ===

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Session>>> {
        // The map is whole between any two statements that hold it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of this node, `owner`, that others find by its name.
    pub(crate) fn open(
        &self,
        owner: u64,
        who: &Caller,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<Arc<Session>, ServiceError> {
        let session = Session::new(owner, who, repository, algorithm)?;
        let mut open = self.lock();
        let own = |session: &Session| session.who == who.principal;
        let is_small = |session: &Session| session.place.get().is_none();
        // Counted only where it can matter: most nodes are never near it.
        let is_full = open.len() >= SESSIONS_MAX;
        let has_share = open.len() >= share(SESSIONS_MAX)
            && open.values().filter(|session| own(session)).count() >= share(SESSIONS_MAX);
        let may_end = |session: &Session| {
            is_small(session) && session.is_idle(SMALL_IDLE_MIN) && (!has_share || own(session))
        };
        if (is_full || has_share) && end_the_most_idle(&mut open, may_end).is_none() {
            return Err(too_many());
        }
        open.insert(session.random, Arc::clone(&session));
        Ok(session)
    }

    /// A session for one request, which nobody else can find.
    pub(crate) fn unnamed(
        owner: u64,
        who: &Caller,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Arc<Session>, ServiceError> {
        Session::new(owner, who, repository, Some(algorithm))
    }

    /// Gives `session` the place that it needs for more than a few KiB. What had
    /// to give way, the caller discards.
    pub(crate) fn give_place(&self, session: &Session) -> Result<Option<Work>, ServiceError> {
        if session.place.get().is_some() {
            return Ok(None);
        }
        let who = &session.who;
        let mut ended = None;
        let place = match Place::take(&self.receiving, who) {
            Ok(place) => place,
            Err(lack) => {
                let may_end = |other: &Session| {
                    other.place.get().is_some()
                        && other.is_idle(RECEIVING_IDLE_MIN)
                        && (lack == Lack::Places || other.who == *who)
                };
                ended = end_the_most_idle(&mut self.lock(), may_end);
                Place::take(&self.receiving, who).map_err(|_| too_many())?
            }
        };
        // Whoever holds its work alone sets it.
        let _ = session.place.set(place);
        Ok(ended)
    }

    pub(crate) fn get(
        &self,
        id: &SessionId,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<Arc<Session>, ServiceError> {
        let open = self.lock();
        let session = open
            .get(&id.random)
            .filter(|it| it.account == *account && it.repository == *repository)
            .ok_or(ServiceError::UploadUnknown)?;
        // Before the lock goes: it is not idle any more.
        session.touch();
        Ok(Arc::clone(session))
    }

    pub(crate) fn remove(&self, random: &[u8; 16]) {
        self.lock().remove(random);
    }

    /// Those that nobody has used for `expiry`, or less while they are empty.
    pub(crate) fn expired(&self, expiry: Duration) -> Vec<Arc<Session>> {
        self.lock()
            .values()
            .filter(|session| session.is_expired(expiry))
            .cloned()
            .collect()
    }
}

/// Ends the upload that has been idle for longest of those that may be ended:
/// what it held; none: there is none.
fn end_the_most_idle(
    open: &mut HashMap<[u8; 16], Arc<Session>>,
    may_end: impl Fn(&Session) -> bool,
) -> Option<Work> {
    let (random, ended) = open
        .values()
        .filter(|session| may_end(session))
        // Busy means in use.
        .filter_map(|session| Some((session, session.work.try_lock().ok()?)))
        .max_by_key(|(session, _)| session.idle())
        .map(|(session, mut work)| {
            let ended = std::mem::replace(&mut *work, Work::Ended);
            (session.random, ended)
        })?;
    open.remove(&random);
    Some(ended)
}

fn share(places: usize) -> usize {
    let (part, whole) = SHARE;
    places / whole * part
}

fn too_many() -> ServiceError {
    ServiceError::unavailable("this node has too many uploads in progress; try again")
}

// === impl Place ===

impl Place {
    fn take(taken: &Arc<Mutex<Taken>>, who: &Principal) -> Result<Self, Lack> {
        let mut places = locked(taken);
        if places.values().sum::<usize>() >= RECEIVING_MAX {
            return Err(Lack::Places);
        }
        let own = places.entry(who.clone()).or_default();
        if *own >= share(RECEIVING_MAX) {
            return Err(Lack::Share);
        }
        *own += 1;
        Ok(Self {
            who: who.clone(),
            taken: Arc::clone(taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = locked(&self.taken);
        if let Some(own) = places.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.who);
            }
        }
    }
}

fn locked(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // It is whole between any two statements that hold it.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Session ===

impl Session {
    fn new(
        owner: u64,
        who: &Caller,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<Arc<Self>, ServiceError> {
        let id = SessionId::new(owner).map_err(|error| ServiceError::internal(&error))?;
        Ok(Arc::new(Self {
            who: who.principal.clone(),
            account: who.account.clone(),
            repository: repository.clone(),
            algorithm,
            random: id.random,
            size: AtomicU64::new(0),
            parts: OnceLock::new(),
            touched: Mutex::new(Instant::now()),
            place: OnceLock::new(),
            cancelled: watch::Sender::new(false),
            work: tokio::sync::Mutex::new(Work::Small(BytesMut::new())),
        }))
    }

    /// From now on its parts are counted.
    pub(crate) fn count_parts(&self) {
        self.parts.get_or_init(AtomicU64::default);
    }

    /// How many parts have come; none: nobody counts them.
    pub(crate) fn parts(&self) -> Option<u64> {
        let parts = self.parts.get();
        parts.map(|parts| parts.load(Ordering::Relaxed))
    }

    /// One more has come.
    pub(crate) fn add_part(&self) {
        if let Some(parts) = self.parts.get() {
            parts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets whoever takes a body for it stop.
    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Ends when somebody wants it gone.
    pub(crate) async fn cancelled(&self) {
        // It has no sender but this one, which lives as long.
        let _ = self.cancelled.subscribe().wait_for(|gone| *gone).await;
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Notes how many bytes there are now.
    pub(crate) fn grown_to(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
        self.touch();
    }

    pub(crate) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn is_expired(&self, expiry: Duration) -> bool {
        self.is_idle(match self.size() {
            0 => expiry.min(EMPTY_EXPIRY),
            _ => expiry,
        })
    }

    fn is_idle(&self, at_least: Duration) -> bool {
        self.idle() >= at_least
    }

    fn idle(&self) -> Duration {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed()
    }

    pub(crate) async fn lock(&self) -> Result<tokio::sync::MutexGuard<'_, Work>, ServiceError> {
        tokio::time::timeout(LOCK_TIMEOUT, self.work.lock())
            .await
            .map_err(|_| {
                ServiceError::Conflict("another request has this upload in hand".to_owned())
            })
    }
}
