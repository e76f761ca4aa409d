//! What the nodes of a cluster know each other by: the cluster's certificate
//! authority, a certificate for each node, and the tokens that let new ones in.
//!
//! Everything here is a decision over bytes that are passed in, with the time
//! passed in too. The invariants: a certificate is issued for a key whose owner
//! signed the request, and says nothing but a node's number and its cluster; a
//! private key, the cluster's key and a token's secret are never printed.

mod authority;
mod certificate;
mod error;
#[cfg(test)]
mod hostile;
mod key;
mod name;
mod seal;
#[cfg(test)]
mod tests;
mod token;

pub use authority::{Authority, CERTIFICATE_LIFE, CERTIFICATE_LIFE_MAX, CERTIFICATE_LIFE_MIN};
pub use certificate::{CERTIFICATE_BYTES_MAX, Fingerprint, NodeCertificate, Root, Usage};
pub use error::TrustError;
pub use key::{NodeKey, REQUEST_BYTES_MAX, SigningRequest};
pub use name::{ClusterId, NodeName, Serial};
pub use seal::ClusterKey;
pub use token::{ADDRESSES_MAX, JoinToken, TOKEN_CHARS_MAX, TokenHash, TokenSecret};
