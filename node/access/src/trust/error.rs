//! What can be wrong with certificates, keys and tokens. No variant carries
//! anything of a secret.

/// Errors of [`trust`](super).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// A verb phrase: "make a key", "sign a certificate".
    #[error("cannot {0}")]
    Crypto(&'static str),
    #[error("not a cluster's id: expected 16 hexadecimal digits in lower case")]
    ClusterId,
    #[error("not a certificate's serial number: expected 32 hexadecimal digits in lower case")]
    Serial,
    #[error("not a node's name: expected node-<id>.<cluster>.entrepot.internal")]
    NodeName,
    #[error("not the certificate of a cluster: {0}")]
    Root(&'static str),
    #[error("not a node's certificate: {0}")]
    Certificate(&'static str),
    #[error("the certificate is of another cluster")]
    OtherCluster,
    #[error("the certificate has expired, or the clock of this node is wrong")]
    Expired,
    #[error("the certificate is not valid yet, or the clock of this node is wrong")]
    NotYetValid,
    #[error("not a request for a certificate: {0}")]
    Request(&'static str),
    #[error("not a node's private key")]
    Key,
    #[error("not a cluster's key: expected 64 hexadecimal digits")]
    ClusterKey,
    #[error("it was sealed under the key of another cluster, or is damaged")]
    Sealed,
    #[error("not a join token: {0}")]
    Token(&'static str),
}
