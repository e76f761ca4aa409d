//! Commands about what nodes know each other by. All of them belong into the
//! `global` group.

use std::fmt;

use bytes::Bytes;

use super::MemberSpec;

/// Keeps the cluster's certificate authority. There is one, for good:
/// `AuthorityExists` when there is another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct PutAuthority {
    /// DER.
    #[prost(bytes = "bytes", tag = "1")]
    pub certificate: Bytes,
    /// Its private key, sealed under the cluster's key.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed_key: Bytes,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
}

/// Lets one node join, once, for a while. Tokens that have expired go.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateJoinToken {
    /// Of the secret, which the cluster does not keep; 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub hash: Bytes,
    /// The node has to be of this region; empty: of any.
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(int64, tag = "3")]
    pub expires_at_ms: i64,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

/// A node joins by a token, which it uses up, and gets its id and its first
/// certificate. The same node may ask again, by the same token and key: it gets
/// the same id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Join {
    #[prost(bytes = "bytes", tag = "1")]
    pub token_hash: Bytes,
    /// SHA-256 of the node's public key. Its first 16 bytes are the id of the
    /// member's folder: whoever has the folder has the key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key_hash: Bytes,
    /// Without an id and a folder.
    #[prost(message, optional, tag = "3")]
    pub member: Option<MemberSpec>,
    /// The serial number that the certificate will have; 16 bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub serial: Bytes,
    #[prost(int64, tag = "5")]
    pub not_after_ms: i64,
    #[prost(int64, tag = "6")]
    pub at_ms: i64,
}

/// Notes a certificate that a node has. Those of it that expired more than a
/// day ago go.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RecordCertificate {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub serial: Bytes,
    #[prost(int64, tag = "3")]
    pub not_after_ms: i64,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

/// All certificates of a node are good no more, and it gets no new ones.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RevokeCertificates {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}

// === impl PutAuthority ===

impl fmt::Debug for PutAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Sealed as it is, the key has no business in a log.
        f.debug_struct("PutAuthority")
            .field("certificate_bytes", &self.certificate.len())
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}
