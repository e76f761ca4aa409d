//! Placement by rendezvous hashing: every node ranks the nodes for a key the
//! same way, without asking anyone, and a node that comes or goes moves only
//! the keys that it wins or loses.

use entrepot_oci::{AccountId, RepositoryName};

/// `nodes` from the first choice for `key` to the last.
pub fn ranked(key: &[u8], nodes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut scored: Vec<([u8; 32], u64)> = nodes
        .into_iter()
        .map(|node| (score(key, node), node))
        .collect();
    scored.sort_by(|a, b| b.cmp(a));
    scored.into_iter().map(|(_, node)| node).collect()
}

/// The same for nodes that are to get as many keys as their weights say. Those
/// of equal weights, or of which one is not known (0), are ranked as above.
pub fn ranked_by_weight(key: &[u8], nodes: &[(u64, u64)]) -> Vec<u64> {
    let (_, least) = nodes
        .iter()
        .min_by_key(|(_, weight)| weight)
        .unwrap_or(&(0, 0));
    if *least == 0 || nodes.iter().all(|(_, weight)| weight == least) {
        return ranked(key, nodes.iter().map(|(node, _)| *node));
    }
    let mut scored: Vec<(f64, u64)> = nodes
        .iter()
        .map(|(node, weight)| (weighted(&score(key, *node), *weight), *node))
        .collect();
    scored.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(other.cmp(one)));
    scored.into_iter().map(|(_, node)| node).collect()
}

/// Of independent draws `u` between 0 and 1, `-w / ln(u)` is the largest as
/// often as its `w` says (weighted rendezvous hashing).
#[allow(clippy::cast_precision_loss, reason = "53 bits of a hash are enough")]
fn weighted(score: &[u8; 32], weight: u64) -> f64 {
    let (first, _) = score.split_at(8);
    let bits = first
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte))
        >> 11;
    let drawn = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
    -(weight as f64) / drawn.ln()
}

/// The first choice for `key`.
pub fn first(key: &[u8], nodes: impl IntoIterator<Item = u64>) -> Option<u64> {
    nodes
        .into_iter()
        .map(|node| (score(key, node), node))
        .max()
        .map(|(_, node)| node)
}

/// What chooses the node of a destination that takes what goes into a repository
/// there: the same one from all nodes of the source, so that it knows what is on
/// its way.
pub(crate) fn repository_key(account: &AccountId, repository: &RepositoryName) -> Vec<u8> {
    format!("{account}/{repository}").into_bytes()
}

/// How many of `copies` make a majority: what has to be durable before a write
/// is acknowledged.
pub fn majority(copies: usize) -> usize {
    copies / 2 + 1
}

fn score(key: &[u8], node: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&node.to_be_bytes());
    hasher.update(key);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_does_not_depend_on_the_order_of_the_nodes() {
        assert_eq!(ranked(b"k", [1, 2, 3]), ranked(b"k", [3, 1, 2]));
        assert_eq!(
            first(b"k", [1, 2, 3]),
            ranked(b"k", [1, 2, 3]).first().copied()
        );
    }

    #[test]
    fn a_node_that_goes_moves_only_its_own_keys() {
        for key in 0..500_u32 {
            let key = key.to_be_bytes();
            let before = ranked(&key, 1..=5);
            let after = ranked(&key, [1, 2, 4, 5]);
            let kept: Vec<u64> = before.into_iter().filter(|node| *node != 3).collect();
            assert_eq!(kept, after);
        }
    }

    #[test]
    fn keys_spread_over_the_nodes() {
        let mut wins = [0_u32; 5];
        for key in 0..5_000_u32 {
            let winner = first(&key.to_be_bytes(), 0..5).unwrap();
            wins[usize::try_from(winner).unwrap()] += 1;
        }
        for won in wins {
            assert!((850..1150).contains(&won), "{wins:?}");
        }
    }

    #[test]
    fn keys_spread_by_weight() {
        let nodes = [(1, 100), (2, 100), (3, 200)];
        let mut wins = [0_u32; 4];
        for key in 0..8_000_u32 {
            let winner = ranked_by_weight(&key.to_be_bytes(), &nodes)[0];
            wins[usize::try_from(winner).unwrap()] += 1;
        }
        assert!((1_800..2_200).contains(&wins[1]), "{wins:?}");
        assert!((1_800..2_200).contains(&wins[2]), "{wins:?}");
        assert!((3_700..4_300).contains(&wins[3]), "{wins:?}");
    }

    #[test]
    fn a_node_that_grows_only_wins_keys() {
        for key in 0..500_u32 {
            let key = key.to_be_bytes();
            let before = ranked_by_weight(&key, &[(1, 100), (2, 200), (3, 300)]);
            let after = ranked_by_weight(&key, &[(1, 150), (2, 200), (3, 300)]);
            let others = |ranked: &[u64]| -> Vec<u64> {
                ranked.iter().copied().filter(|node| *node != 1).collect()
            };
            let place = |ranked: &[u64]| ranked.iter().position(|node| *node == 1);
            assert_eq!(others(&before), others(&after));
            assert!(place(&after) <= place(&before));
        }
    }

    #[test]
    fn equal_and_unknown_weights_rank_as_none() {
        for key in 0..200_u32 {
            let key = key.to_be_bytes();
            let plain = ranked(&key, [1, 2, 3]);
            assert_eq!(ranked_by_weight(&key, &[(1, 7), (2, 7), (3, 7)]), plain);
            assert_eq!(ranked_by_weight(&key, &[(1, 0), (2, 7), (3, 9)]), plain);
        }
        assert!(ranked_by_weight(b"k", &[]).is_empty());
    }

    #[test]
    fn two_of_three_are_a_majority() {
        assert_eq!((1..=5).map(majority).collect::<Vec<_>>(), [1, 2, 2, 3, 3]);
    }
}
