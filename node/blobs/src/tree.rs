//! BLAKE3 hash trees: what proves a part of a blob without the rest of it.
//!
//! Owns the shape of the tree. BLAKE3 is a tree of hashes by itself; kept of it
//! is one layer, the hashes of all groups of [`GROUP_BYTES`]: 32 bytes for each,
//! 128 KiB for a GiB. What is above that layer follows from it, and its top is
//! the blob's root. The invariant: a tree is worth exactly what its root is:
//! whoever gets one from elsewhere compares the root first.

use std::{fmt, ops::Range, sync::Arc};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes that are proven together: what a reader waits for, and what a peer
/// sends in one message. Smaller groups make trees larger and parts of blobs
/// cheaper; below 64 KiB hashing gets slower.
pub const GROUP_BYTES: usize = 256 * 1024;

/// A blob of more than this has a tree; any other is small enough to be proven
/// as a whole whenever a part of it is wanted.
pub const TREE_ABOVE_BYTES: u64 = 1024 * 1024;

const HASH_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"b3tree01";
/// The magic, the size of the content and its root.
const HEADER_BYTES: usize = MAGIC.len() + 8 + HASH_BYTES;

/// The hashes of a blob's groups. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    /// Of the content, bytes.
    size: u64,
    root: [u8; HASH_BYTES],
    /// One for each group; of a content of one group, its root.
    groups: Arc<[ChainingValue]>,
}

/// Hashes content into a tree while it arrives.
#[derive(Clone)]
pub(crate) struct TreeHasher {
    /// Of the groups that something follows.
    groups: Vec<ChainingValue>,
    /// The last group.
    last: blake3::Hasher,
    bytes: u64,
}

// === impl Tree ===

impl Tree {
    /// The tree of `content`.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = TreeHasher::new();
        hasher.update(content);
        hasher.tree()
    }

    /// The tree of a content of `size` bytes, at most [`GROUP_BYTES`], whose
    /// BLAKE3 hash is `root`.
    pub fn of_one_group(size: u64, root: [u8; HASH_BYTES]) -> Self {
        Self {
            size,
            root,
            groups: Arc::new([root]),
        }
    }

    /// Of the content, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// BLAKE3 of the content.
    pub fn root(&self) -> [u8; HASH_BYTES] {
        self.root
    }

    /// How many groups there are, at least one.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether `content` is that of group `number`.
    pub fn proves(&self, number: usize, content: &[u8]) -> bool {
        let Some(expected) = self.groups.get(number) else {
            return false;
        };
        let bytes = group_bytes(self.size, number);
        if bytes.end - bytes.start != content.len() as u64 {
            return false;
        }
        let mut hasher = group_hasher(bytes.start);
        hasher.update(content);
        let actual = match self.groups.len() {
            1 => *hasher.finalize().as_bytes(),
            _ => hasher.finalize_non_root(),
        };
        actual == *expected
    }

    /// As it is kept and sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(HEADER_BYTES + HASH_BYTES * self.groups.len());
        encoded.extend_from_slice(MAGIC);
        encoded.extend_from_slice(&self.size.to_le_bytes());
        encoded.extend_from_slice(&self.root);
        encoded.extend(self.groups.iter().flatten());
        encoded
    }

    /// Bytes of an encoded tree of a blob of `size` bytes.
    pub fn encoded_bytes(size: u64) -> u64 {
        HEADER_BYTES as u64 + HASH_BYTES as u64 * group_count(size)
    }

    /// None for what is torn, damaged, or no tree.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let (header, hashes) = encoded.split_at_checked(HEADER_BYTES)?;
        let (magic, header) = header.split_at(MAGIC.len());
        let (size, root) = header.split_first_chunk()?;
        let size = u64::from_le_bytes(*size);
        let (groups, rest) = hashes.as_chunks::<HASH_BYTES>();
        let whole = magic == MAGIC && rest.is_empty() && groups.len() as u64 == group_count(size);
        if !whole {
            return None;
        }
        let tree = Self {
            size,
            root: root_of(groups, size),
            groups: groups.into(),
        };
        (tree.root == *root).then_some(tree)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("size", &self.size)
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

// === impl TreeHasher ===

impl TreeHasher {
    pub(crate) fn new() -> Self {
        Self {
            groups: Vec::new(),
            last: group_hasher(0),
            bytes: 0,
        }
    }

    pub(crate) fn update(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            let start = self.groups.len() as u64 * GROUP_BYTES as u64;
            let room = GROUP_BYTES as u64 - (self.bytes - start);
            if room == 0 {
                // Only now that something follows is it known not to be the last.
                let full = std::mem::replace(&mut self.last, group_hasher(self.bytes));
                self.groups.push(full.finalize_non_root());
                continue;
            }
            let length =
                usize::try_from(room).map_or(content.len(), |room| room.min(content.len()));
            let (part, rest) = content.split_at(length);
            self.last.update(part);
            self.bytes += length as u64;
            content = rest;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// BLAKE3 of the content so far.
    pub(crate) fn root(&self) -> [u8; HASH_BYTES] {
        if self.groups.is_empty() {
            return *self.last.finalize().as_bytes();
        }
        root_of(&self.all_groups(), self.bytes)
    }

    /// The tree of the content so far.
    pub(crate) fn tree(&self) -> Tree {
        let groups = self.all_groups();
        Tree {
            size: self.bytes,
            root: root_of(&groups, self.bytes),
            groups: groups.into(),
        }
    }

    fn all_groups(&self) -> Vec<ChainingValue> {
        if self.groups.is_empty() {
            return vec![*self.last.finalize().as_bytes()];
        }
        let mut groups = self.groups.clone();
        groups.push(self.last.finalize_non_root());
        groups
    }
}

// === the shape ===

/// The groups that the bytes of `range` lie in.
pub fn groups_of(range: &Range<u64>) -> Range<usize> {
    let group = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let start = range.start / GROUP_BYTES as u64;
    group(start)..group(range.end.div_ceil(GROUP_BYTES as u64).max(start))
}

/// The bytes of group `number` of a blob of `size` bytes.
pub fn group_bytes(size: u64, number: usize) -> Range<u64> {
    let start = (number as u64).saturating_mul(GROUP_BYTES as u64).min(size);
    start..size.min(start + GROUP_BYTES as u64)
}

/// `range`, widened to whole groups of a blob of `size` bytes.
pub fn widened(size: u64, range: &Range<u64>) -> Range<u64> {
    let group = GROUP_BYTES as u64;
    let end = range.end.div_ceil(group).saturating_mul(group);
    range.start / group * group..end.min(size)
}

fn group_count(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES as u64).max(1)
}

fn group_hasher(offset: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// `groups` are those of a content of `size` bytes, at least one.
fn root_of(groups: &[ChainingValue], size: u64) -> [u8; HASH_BYTES] {
    if let [only] = groups {
        return *only;
    }
    let (left, right) = children(groups, size);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

fn inner(groups: &[ChainingValue], size: u64) -> ChainingValue {
    if let [only] = groups {
        return *only;
    }
    let (left, right) = children(groups, size);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

fn children(groups: &[ChainingValue], size: u64) -> (ChainingValue, ChainingValue) {
    let left_bytes = left_subtree_len(size);
    let count = usize::try_from(left_bytes / GROUP_BYTES as u64).unwrap_or(usize::MAX);
    let (left, right) = groups.split_at(count.min(groups.len() - 1));
    (inner(left, left_bytes), inner(right, size - left_bytes))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        let mut content = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    }

    fn within(bytes: &Range<u64>) -> Range<usize> {
        usize::try_from(bytes.start).unwrap()..usize::try_from(bytes.end).unwrap()
    }

    #[test]
    fn the_root_is_the_hash_of_the_content() {
        for groups in [0, 1, 2, 3, 4, 5, 8, 9, 17] {
            for odd in [-1_i64, 0, 1] {
                let Ok(length) =
                    usize::try_from(groups * i64::try_from(GROUP_BYTES).unwrap() + odd)
                else {
                    continue;
                };
                let content = content(length);
                let tree = Tree::of(&content);
                if length <= GROUP_BYTES {
                    assert_eq!(tree, Tree::of_one_group(length as u64, tree.root()));
                }
                assert_eq!(tree.root(), *blake3::hash(&content).as_bytes(), "{length}");
                assert_eq!(Tree::decode(&tree.encode()), Some(tree.clone()));
                assert_eq!(
                    tree.encode().len() as u64,
                    Tree::encoded_bytes(length as u64)
                );
                for number in 0..tree.groups() {
                    let bytes = group_bytes(length as u64, number);
                    let part = &content[within(&bytes)];
                    assert!(tree.proves(number, part), "{length} {number}");
                    assert!(!tree.proves(number + 1, part));
                }
            }
        }
    }

    #[test]
    fn what_is_no_tree_is_none() {
        let encoded = Tree::of(&content(3 * GROUP_BYTES)).encode();
        for length in 0..encoded.len() {
            assert_eq!(Tree::decode(&encoded[..length]), None, "{length}");
        }
        for place in 0..encoded.len() {
            let mut damaged = encoded.clone();
            damaged[place] ^= 4;
            // A size of as many groups of the same shape is found out when it is
            // compared with the file's.
            let is_size = (8..16).contains(&place);
            assert!(is_size || Tree::decode(&damaged).is_none(), "{place}");
        }
    }

    #[test]
    fn parts_are_widened_to_groups() {
        let group = GROUP_BYTES as u64;
        assert_eq!(groups_of(&(0..1)), 0..1);
        assert_eq!(groups_of(&(group - 1..group + 1)), 0..2);
        assert_eq!(groups_of(&(group..group)), 1..1);
        assert_eq!(
            widened(3 * group, &(group + 1..group + 2)),
            group..2 * group
        );
        assert_eq!(widened(group + 5, &(group..group + 1)), group..group + 5);
    }

    proptest! {
        #[test]
        fn every_cut_into_chunks_is_the_same_tree(
            lengths in vec(0..3 * GROUP_BYTES / 2, 0..6),
        ) {
            let content = content(lengths.iter().sum());
            let mut hasher = TreeHasher::new();
            let mut left = content.as_slice();
            for length in lengths {
                let (chunk, rest) = left.split_at(length);
                hasher.update(chunk);
                left = rest;
            }
            prop_assert_eq!(hasher.bytes(), content.len() as u64);
            prop_assert_eq!(hasher.root(), *blake3::hash(&content).as_bytes());
            prop_assert_eq!(hasher.tree(), Tree::of(&content));
        }

        /// From a peer it may be anything.
        #[test]
        fn hostile_bytes_are_no_tree(bytes in vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() >= MAGIC.len() {
                bytes[..MAGIC.len()].copy_from_slice(MAGIC);
            }
            prop_assert!(Tree::decode(&bytes).is_none());
        }

        #[test]
        fn a_flipped_bit_is_found_in_its_group(
            length in 1..5 * GROUP_BYTES, place in any::<usize>(), bit in 0..8_u32,
        ) {
            let mut content = content(length);
            let tree = Tree::of(&content);
            let place = place % length;
            content[place] ^= 1_u8 << bit;
            for number in 0..tree.groups() {
                let bytes = group_bytes(length as u64, number);
                let part = &content[within(&bytes)];
                let hit = bytes.contains(&(place as u64));
                prop_assert!(tree.proves(number, part) != hit);
            }
        }
    }
}
