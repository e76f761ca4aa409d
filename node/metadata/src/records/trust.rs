//! Records of the cluster's certificate authority, of join tokens, and of the
//! certificates that nodes have.

use bytes::Bytes;

/// The cluster's certificate authority.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthorityRecord {
    /// DER.
    #[prost(bytes = "bytes", tag = "1")]
    pub certificate: Bytes,
    /// Its private key, sealed under the cluster's key.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed_key: Bytes,
    #[prost(int64, tag = "3")]
    pub created_at_ms: i64,
}

/// A token by which one node may join.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JoinTokenRecord {
    /// Empty: for any region.
    #[prost(string, tag = "1")]
    pub region: String,
    #[prost(int64, tag = "2")]
    pub created_at_ms: i64,
    #[prost(int64, tag = "3")]
    pub expires_at_ms: i64,
    /// The node that joined by it; 0: none yet.
    #[prost(uint64, tag = "4")]
    pub used_by: u64,
    /// SHA-256 of the public key of the node that joined by it.
    #[prost(bytes = "bytes", tag = "5")]
    pub used_key: Bytes,
}

/// A certificate that a node was given.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CertificateRecord {
    #[prost(int64, tag = "1")]
    pub issued_at_ms: i64,
    #[prost(int64, tag = "2")]
    pub not_after_ms: i64,
    #[prost(int64, optional, tag = "3")]
    pub revoked_at_ms: Option<i64>,
}

/// A serial number that is good no more.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RevokedRecord {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}
