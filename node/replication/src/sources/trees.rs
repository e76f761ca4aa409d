//! The hash tree of a blob from the other nodes.
//!
//! The invariant: a tree that is used has the root that the region agreed on.

use bytes::BytesMut;
use entrepot_blobs::{GROUP_BYTES, Tree};
use entrepot_proto::peer::TreeRequest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::{debug, error};

use super::PeerRead;
use super::segment::PIECE_TIMEOUT;

/// Who has lost its tree reads all of the blob to make it again.
const TREE_TIMEOUT_PER_GIB_S: u64 = 10;

// === impl PeerRead ===

impl PeerRead {
    /// Gets the tree from the first source that has the right one. Sources that
    /// have no copy are not asked for bytes then.
    pub(super) async fn find_tree(&mut self) {
        if self.blob.size <= GROUP_BYTES as u64 {
            self.tree = Some(Tree::of_one_group(self.blob.size, self.blob.root));
            return;
        }
        for node in self.sources.clone() {
            match self.tree_from(node).await {
                Ok(Some(tree)) => {
                    self.tree = Some(tree);
                    // It has a copy: it is asked first.
                    self.sources.retain(|other| *other != node);
                    self.sources.insert(0, node);
                    return;
                }
                Ok(None) => {
                    error!(node, digest = %self.blob.digest, "a peer has sent a wrong hash tree");
                    self.all_absent = false;
                    self.blobs.distrust(&self.blob.digest, node);
                    self.sources.retain(|other| *other != node);
                }
                Err(status) => {
                    debug!(node, digest = %self.blob.digest, %status, "a peer gives no hash tree");
                    if status.code() != Code::Unimplemented {
                        self.all_absent &= status.code() == Code::NotFound;
                        self.sources.retain(|other| *other != node);
                    }
                }
            }
        }
    }

    /// None: it is not the blob's.
    async fn tree_from(&self, node: u64) -> Result<Option<Tree>, Status> {
        let blob = &self.blob;
        let channel = self.blobs.peers.bulk_channel(node);
        let channel = channel.ok_or_else(|| Status::not_found("no such node"))?;
        let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = TreeRequest {
            digest: blob.digest.to_string(),
        };
        let patience = PIECE_TIMEOUT
            + std::time::Duration::from_secs((blob.size >> 30) * TREE_TIMEOUT_PER_GIB_S);
        let silent = |_| Status::deadline_exceeded("no answer");
        let reply = timeout(patience, client.tree(request))
            .await
            .map_err(silent)??;
        let mut stream = reply.into_inner();
        let expected = Tree::encoded_bytes(blob.size);
        let mut encoded = BytesMut::new();
        while let Some(piece) = timeout(PIECE_TIMEOUT, stream.message())
            .await
            .map_err(silent)??
        {
            encoded.extend_from_slice(&piece.data);
            if encoded.len() as u64 > expected || piece.data.is_empty() {
                return Ok(None);
            }
        }
        let right = |tree: &Tree| tree.root() == blob.root && tree.size() == blob.size;
        Ok(Tree::decode(&encoded).filter(right))
    }
}
