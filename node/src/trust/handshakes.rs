//! The TLS handshakes under way on the peer port.
//!
//! Whoever connects and says nothing keeps a place until its time is over. So
//! that nobody who has something to say waits for that, the port goes on
//! accepting: when all places are taken, or all that one address may have, the
//! oldest handshake gives way. An honest one takes milliseconds, and is never
//! among the oldest for long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// In all.
pub(crate) const HANDSHAKES_MAX: usize = 1_024;
/// Of one address; there may be several nodes behind one.
const HANDSHAKES_OF_ADDRESS_MAX: usize = 128;

/// Who has a place.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<Underway>);

#[derive(Debug, Default)]
struct Underway {
    next: u64,
    /// In the order in which they came.
    places: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    /// None: it cannot be told.
    from: Option<IpAddr>,
    ended: CancellationToken,
}

/// A handshake's place, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    ended: CancellationToken,
    handshakes: Arc<Handshakes>,
}

// === impl Handshakes ===

impl Handshakes {
    /// A place for a connection that has just come. There always is one.
    pub(crate) fn begin(self: &Arc<Self>, from: Option<IpAddr>) -> Place {
        let mut underway = self.lock();
        if let Some(oldest) = underway.to_give_way(from)
            && let Some(holder) = underway.places.remove(&oldest)
        {
            holder.ended.cancel();
        }
        let number = underway.next;
        underway.next += 1;
        let ended = CancellationToken::new();
        let holder = Holder {
            from,
            ended: ended.clone(),
        };
        underway.places.insert(number, holder);
        Place {
            number,
            ended,
            handshakes: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Underway> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Underway ===

impl Underway {
    /// Whose place somebody from there takes; none: there is a free one.
    fn to_give_way(&self, from: Option<IpAddr>) -> Option<u64> {
        if from.is_some() {
            let mut of_address = self.places.iter().filter(|(_, it)| it.from == from);
            let oldest = of_address.next().map(|(number, _)| *number);
            if oldest.is_some() && of_address.count() + 1 >= HANDSHAKES_OF_ADDRESS_MAX {
                return oldest;
            }
        }
        let oldest = self.places.keys().next().copied();
        oldest.filter(|_| self.places.len() >= HANDSHAKES_MAX)
    }
}

// === impl Place ===

impl Place {
    /// Does `handshake` while it has its place; none: it has lost it.
    pub(crate) async fn hold<T>(self, handshake: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = handshake => Some(done),
            () = self.ended.cancelled() => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn lost(place: &Place) -> bool {
        place.ended.is_cancelled()
    }

    #[test]
    fn the_oldest_of_an_address_gives_way_to_the_next_and_nobody_else_does() {
        let handshakes = Arc::new(Handshakes::default());
        let other = handshakes.begin(Some(address(1)));
        let mut flood: Vec<Place> = (0..HANDSHAKES_OF_ADDRESS_MAX)
            .map(|_| handshakes.begin(Some(address(2))))
            .collect();
        assert!(!flood.iter().any(lost));
        let next = handshakes.begin(Some(address(2)));
        assert!(lost(&flood[0]) && !lost(&flood[1]));
        assert!(!lost(&next) && !lost(&other));
        // A place that is given back can be taken.
        drop(flood.pop());
        drop(handshakes.begin(Some(address(2))));
        assert!(!lost(&flood[1]));
    }

    #[test]
    fn the_oldest_of_all_gives_way_when_all_places_are_taken() {
        let handshakes = Arc::new(Handshakes::default());
        let all: Vec<Place> = (0..u32::try_from(HANDSHAKES_MAX).unwrap())
            .map(|nth| handshakes.begin((nth >= 200).then(|| address(nth / 100))))
            .collect();
        assert!(!all.iter().any(lost));
        let next = handshakes.begin(Some(address(99)));
        assert!(lost(&all[0]) && !all[1..].iter().any(lost) && !lost(&next));
        drop(all);
        drop(next);
        assert!(handshakes.lock().places.is_empty());
    }

    #[tokio::test]
    async fn whoever_loses_its_place_ends() {
        let handshakes = Arc::new(Handshakes::default());
        let silent = handshakes.begin(Some(address(1)));
        let silent = tokio::spawn(silent.hold(std::future::pending::<()>()));
        let done = handshakes
            .begin(Some(address(1)))
            .hold(std::future::ready(7));
        assert_eq!(done.await, Some(7));
        let _flood: Vec<Place> = (0..HANDSHAKES_OF_ADDRESS_MAX)
            .map(|_| handshakes.begin(Some(address(1))))
            .collect();
        assert_eq!(silent.await.unwrap(), None);
    }
}
