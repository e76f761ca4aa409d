//! Sets of digests, summed up: whether two nodes mean the same copies is told by
//! comparing 512 sums, not by listing all they have.
//!
//! The invariant: a sum depends on which digests were added, not on their order.
//! Two sets of the same sum are taken to be the same: the hashes of different
//! ones agree by chance less often than a disk's bits flip unseen.

use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::peer::RangeSummary;

/// One for each first byte of a digest, sha256 before sha512.
pub(crate) const RANGES: usize = 512;

/// A set of digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    count: u64,
    /// XOR of the digests' hashes.
    hash: [u8; 32],
}

/// Sets of digests, one for each range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums(Box<[Sum]>);

// === impl Sum ===

impl Sum {
    fn add(&mut self, digest: &Digest) {
        self.count += 1;
        let hash = blake3::hash(digest.to_string().as_bytes());
        for (byte, other) in self.hash.iter_mut().zip(hash.as_bytes()) {
            *byte ^= other;
        }
    }

    /// Whether it is that of as many digests with the hash that a peer sent.
    fn is(&self, count: u64, hash: &[u8]) -> bool {
        self.count == count && self.hash == *hash
    }
}

// === impl Sums ===

impl Sums {
    pub(crate) fn new() -> Self {
        Self(vec![Sum::default(); RANGES].into())
    }

    pub(crate) fn add(&mut self, digest: &Digest) {
        if let Some(sum) = self.0.get_mut(range_of(digest)) {
            sum.add(digest);
        }
    }

    /// As it is sent: what a node should hold, and what it holds of that.
    pub(crate) fn summaries(should: &Self, held: &Self) -> Vec<RangeSummary> {
        let pairs = should.0.iter().zip(held.0.iter());
        pairs
            .map(|(should, held)| RangeSummary {
                should: should.count,
                should_hash: should.hash.to_vec().into(),
                held: held.count,
                held_hash: held.hash.to_vec().into(),
            })
            .collect()
    }

    /// The ranges in which a peer holds exactly what these sums name.
    pub(crate) fn agreeing(&self, peer: &[RangeSummary]) -> Vec<bool> {
        let mut agreeing = vec![false; RANGES];
        for ((own, theirs), agrees) in self.0.iter().zip(peer).zip(&mut agreeing) {
            *agrees = own.is(theirs.held, &theirs.held_hash);
        }
        agreeing
    }
}

pub(crate) fn range_of(digest: &Digest) -> usize {
    let first = match digest.algorithm() {
        Algorithm::Sha256 => 0,
        Algorithm::Sha512 => RANGES / 2,
    };
    first + usize::from(digest.bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> Vec<Digest> {
        (0..2_000_u32)
            .map(|number| {
                let algorithm = match number % 5 {
                    0 => Algorithm::Sha512,
                    _ => Algorithm::Sha256,
                };
                Digest::of(algorithm, &number.to_be_bytes())
            })
            .collect()
    }

    fn sums<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Sums {
        let mut sums = Sums::new();
        for digest in digests {
            sums.add(digest);
        }
        sums
    }

    #[test]
    fn the_order_does_not_matter() {
        let digests = digests();
        assert_eq!(sums(&digests), sums(digests.iter().rev()));
    }

    #[test]
    fn one_that_is_missing_is_seen_in_its_range_and_in_no_other() {
        let digests = digests();
        let all = sums(&digests);
        for place in [0, 1, 999, 1_999] {
            let mut some = digests.clone();
            let missing = some.remove(place);
            let held = sums(&some);
            let agreeing = all.agreeing(&Sums::summaries(&all, &held));
            for (range, agrees) in agreeing.into_iter().enumerate() {
                assert_eq!(agrees, range != range_of(&missing), "{range}");
            }
        }
    }

    #[test]
    fn a_peer_that_sends_less_agrees_in_nothing_more() {
        let all = sums(&digests());
        let mut sent = Sums::summaries(&all, &all);
        assert!(all.agreeing(&sent).into_iter().all(|agrees| agrees));
        sent.truncate(3);
        assert_eq!(
            all.agreeing(&sent)
                .into_iter()
                .filter(|agrees| *agrees)
                .count(),
            3
        );
        assert!(!all.agreeing(&[]).into_iter().any(|agrees| agrees));
    }
}
