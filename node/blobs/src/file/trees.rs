//! The hash trees beside large blobs.
//!
//! Owns their files. A tree is never synced: it can be made again from the blob,
//! and proves itself when it is read, so that a power cut may take it. The
//! invariant: what [`load`] returns has a root that is the hash of its groups;
//! what was saved under a digest was made of that digest's content.

use std::{fs, io};

use entrepot_oci::{Digest, Hasher};

use super::{durable, layout::Layout, random_name, source::read_at};
use crate::{
    READ_BYTES,
    tree::{Tree, TreeHasher},
};

/// The tree of a blob of `size` bytes; none where it is missing, torn, damaged
/// or that of another file. Blocks the thread.
pub(super) fn load(layout: &Layout, digest: &Digest, size: u64) -> Option<Tree> {
    let path = layout.tree(digest);
    let length = fs::metadata(&path).ok()?.len();
    if length != Tree::encoded_bytes(size) {
        return None;
    }
    Tree::decode(&fs::read(path).ok()?).filter(|tree| tree.size() == size)
}

/// Keeps the tree of a blob's content, if that is possible: what cannot be kept
/// is made again. Blocks the thread.
pub(super) fn save(layout: &Layout, digest: &Digest, tree: &Tree) {
    let save = || -> io::Result<()> {
        let staged = layout.staging().join(random_name()?);
        let saved = fs::write(&staged, tree.encode())
            .and_then(|()| durable::publish(&staged, &layout.tree(digest)));
        if saved.is_err() {
            let _ = fs::remove_file(&staged);
        }
        saved
    };
    if let Err(error) = save() {
        tracing::debug!(%digest, %error, "a hash tree cannot be kept");
    }
}

/// Blocks the thread.
pub(super) fn remove(layout: &Layout, digest: &Digest) {
    // What stays is of no use and does no harm.
    let _ = fs::remove_file(layout.tree(digest));
}

/// Reads all of a file; its tree, and whether its content is that of `digest`.
/// Blocks the thread.
pub(super) fn make(file: &fs::File, digest: &Digest) -> io::Result<(Tree, bool)> {
    let mut tree = TreeHasher::new();
    let mut hasher = Hasher::new(digest.algorithm());
    loop {
        let piece = read_at(file, tree.bytes(), READ_BYTES)?;
        if piece.is_empty() {
            return Ok((tree.tree(), hasher.finish() == *digest));
        }
        hasher.update(&piece);
        tree.update(&piece);
    }
}
