//! The service's answers as messages.

use bytes::Bytes;
use entrepot_oci::{Descriptor, Digest};
use entrepot_proto::registry as wire;
use entrepot_proto::registry::change::Kind;
use entrepot_proto::registry::read_blob_reply::Part;
use entrepot_service::{
    BlobInfo, BlobStream, Change, ManifestContent, ReferrerPage, RepositoryPage, ServiceError,
    TagPage, Watch, WatchEvent,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tonic::Status;
use tracing::warn;

use crate::status::status;

/// One message's share of a blob, bytes.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// The messages of a streaming answer.
pub(crate) type Messages<M> = BoxStream<'static, Result<M, Status>>;

pub(crate) fn blob(blob: &BlobInfo) -> wire::Blob {
    wire::Blob {
        digest: blob.digest.to_string(),
        size: blob.size,
    }
}

/// What the blob is, and then the bytes.
pub(crate) fn content(info: &BlobInfo, content: BlobStream) -> Messages<wire::ReadBlobReply> {
    let digest = info.digest;
    let head = stream::iter([Ok(part(Part::Blob(blob(info))))]);
    let data = content.flat_map(move |chunk| {
        let parts: Vec<_> = match chunk {
            Ok(chunk) => pieces(chunk)
                .map(|piece| Ok(part(Part::Data(piece))))
                .collect(),
            Err(error) => {
                warn!(%digest, %error, "a blob could not be read to its end");
                let broken = ServiceError::Unavailable {
                    reason: format!(
                        "blob {digest} could not be read on; resume it, or read it at another node"
                    ),
                };
                vec![Err(status(&broken))]
            }
        };
        stream::iter(parts)
    });
    head.chain(data).boxed()
}

fn part(part: Part) -> wire::ReadBlobReply {
    wire::ReadBlobReply { part: Some(part) }
}

/// Cut without copying; none of them is empty.
fn pieces(mut chunk: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = chunk.split_to(chunk.len().min(PIECE_BYTES_MAX));
        (!piece.is_empty()).then_some(piece)
    })
}

pub(crate) fn manifest(manifest: ManifestContent, with_content: bool) -> wire::GetManifestReply {
    wire::GetManifestReply {
        digest: manifest.digest.to_string(),
        media_type: manifest.media_type,
        size: manifest.content.len() as u64,
        content: if with_content {
            manifest.content
        } else {
            Bytes::new()
        },
    }
}

pub(crate) fn tags(page: &TagPage) -> wire::ListTagsReply {
    let next = page.tags.last().filter(|_| page.more);
    wire::ListTagsReply {
        next: next.map(ToString::to_string).unwrap_or_default(),
        tags: page.tags.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn referrers(page: ReferrerPage) -> wire::ListReferrersReply {
    let descriptor = |descriptor: Descriptor| wire::Descriptor {
        media_type: descriptor.media_type.to_string(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
        artifact_type: descriptor
            .artifact_type
            .map(|it| it.to_string())
            .unwrap_or_default(),
        annotations: descriptor.annotations.into_iter().collect(),
    };
    wire::ListReferrersReply {
        referrers: page.referrers.into_iter().map(descriptor).collect(),
        next: page.next.map(|it| it.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn repositories(page: &RepositoryPage) -> wire::ListRepositoriesReply {
    let next = page.repositories.last().filter(|_| page.more);
    let repositories = page.repositories.iter().map(|it| wire::Repository {
        name: it.name.to_string(),
        created_at_ms: it.created_at_ms,
    });
    wire::ListRepositoriesReply {
        next: next.map(|last| last.name.to_string()).unwrap_or_default(),
        repositories: repositories.collect(),
    }
}

/// What happens in a repository, until the watch ends or its client goes away.
pub(crate) fn watch(watch: Watch, log: String) -> Messages<wire::WatchRepositoryReply> {
    let events = stream::unfold((watch, log), |(mut watch, log)| async move {
        let message = match watch.next().await? {
            Ok(told) => Ok(event(told, &log)),
            Err(error) => Err(status(&error)),
        };
        Some((message, (watch, log)))
    });
    events.boxed()
}

fn event(event: WatchEvent, log: &str) -> wire::WatchRepositoryReply {
    wire::WatchRepositoryReply {
        index: event.index,
        log: log.to_owned(),
        changes: event.changes.into_iter().map(change).collect(),
        truncated: event.truncated,
    }
}

fn change(change: Change) -> wire::Change {
    let text = |value: Option<_>| value.map_or_else(String::new, |it: Digest| it.to_string());
    let kind = match change {
        Change::ManifestPut {
            digest,
            media_type,
            artifact_type,
            subject,
        } => Kind::ManifestPut(wire::ManifestPut {
            digest: digest.to_string(),
            media_type: media_type.to_string(),
            artifact_type: artifact_type.map(|it| it.to_string()).unwrap_or_default(),
            subject: text(subject),
        }),
        Change::ManifestDeleted { digest } => Kind::ManifestDeleted(wire::ManifestDeleted {
            digest: digest.to_string(),
        }),
        Change::TagMoved {
            tag,
            digest,
            previous,
            source_region: _,
        } => Kind::TagMoved(wire::TagMoved {
            tag: tag.to_string(),
            digest: digest.to_string(),
            previous_digest: text(previous),
        }),
        Change::TagDeleted { tag, previous } => Kind::TagDeleted(wire::TagDeleted {
            tag: tag.to_string(),
            previous_digest: text(previous),
        }),
        Change::StorageClass { digest, archived } => Kind::StorageClassSet(wire::StorageClassSet {
            digest: digest.to_string(),
            archived,
        }),
    };
    wire::Change { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::{PIECE_BYTES_MAX, pieces};
    use bytes::Bytes;

    #[test]
    fn pieces_are_small_enough_and_keep_every_byte() {
        for size in [
            0,
            1,
            PIECE_BYTES_MAX,
            PIECE_BYTES_MAX + 1,
            3 * PIECE_BYTES_MAX,
        ] {
            let chunk: Bytes = (0..size).map(|at| at.to_le_bytes()[0]).collect();
            let pieces: Vec<Bytes> = pieces(chunk.clone()).collect();
            assert_eq!(pieces.len(), size.div_ceil(PIECE_BYTES_MAX));
            assert!(
                pieces
                    .iter()
                    .all(|piece| !piece.is_empty() && piece.len() <= PIECE_BYTES_MAX)
            );
            assert_eq!(pieces.concat(), chunk);
        }
    }
}
