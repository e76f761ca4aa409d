//! Placement by rendezvous hashing: every node ranks the nodes for a key the
//! same way, without asking anyone, and a node that comes or goes moves only
//! the keys that it wins or loses.

/// `nodes` from the first choice for `key` to the last.
pub fn ranked(key: &[u8], nodes: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut scored: Vec<([u8; 32], u64)> = nodes
        .into_iter()
        .map(|node| (score(key, node), node))
        .collect();
    scored.sort_by(|a, b| b.cmp(a));
    scored.into_iter().map(|(_, node)| node).collect()
}

/// The first choice for `key`.
pub fn first(key: &[u8], nodes: impl IntoIterator<Item = u64>) -> Option<u64> {
    nodes
        .into_iter()
        .map(|node| (score(key, node), node))
        .max()
        .map(|(_, node)| node)
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
    fn two_of_three_are_a_majority() {
        assert_eq!((1..=5).map(majority).collect::<Vec<_>>(), [1, 2, 2, 3, 3]);
    }
}
