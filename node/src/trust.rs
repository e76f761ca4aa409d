//! What this node and its peers know each other by: the certificates, who may
//! connect, and the commands that make a machine a node.
//!
//! The invariants: nothing but a join is served to whoever shows no certificate
//! of the cluster; a certificate that the records refuse is refused at the
//! handshake, with every request, and within seconds on connections that are
//! open. Only a node that was removed is let in so far that it hears so.

mod enroll;
mod folder;
mod gate;
mod guarded;
mod handshakes;
mod issue;
mod own;
mod parts;
#[cfg(test)]
mod tests;
mod tls;
mod verify;

pub(crate) use self::enroll::{init, join};
pub use self::folder::TrustFolder;
pub(crate) use self::gate::PeerCertificate;
pub(crate) use self::handshakes::{HANDSHAKES_MAX, Handshakes};
pub(crate) use self::issue::issue_all;
pub(crate) use self::parts::Trusted;
pub(crate) use self::tls::PeerTls;
