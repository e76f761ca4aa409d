//! The names of the blobs, in order.
//!
//! Owns the walk over the directories. Must never hold the names of more than
//! one of them. The invariant: the order is that of [`Digest`], so that a walk
//! can be continued after the last one seen.

use std::fs;

use entrepot_oci::Digest;

use super::layout::{ALGORITHMS, Layout, digest_of};
use crate::BlobError;

/// The first `limit` digests after `after` that name a file. Blocks the thread.
pub(super) fn following(
    layout: &Layout,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<Digest>, BlobError> {
    let mut found = Vec::new();
    for algorithm in ALGORITHMS {
        let first_byte = match after {
            Some(after) if after.algorithm() > algorithm => continue,
            Some(after) if after.algorithm() == algorithm => after.bytes()[0],
            _ => 0,
        };
        for byte in first_byte..=u8::MAX {
            if found.len() >= limit {
                return Ok(found);
            }
            let path = layout.shard(algorithm, byte);
            let failed = |error| BlobError::io("list directory", &path)(error);
            let start = found.len();
            for entry in fs::read_dir(&path).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                found.extend(digest_of(algorithm, &name).filter(|digest| Some(digest) > after));
            }
            found[start..].sort_unstable();
            found.truncate(limit);
        }
    }
    Ok(found)
}
