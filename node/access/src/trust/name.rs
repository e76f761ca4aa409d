//! Names: of a cluster, of a node in it, of one certificate.

use std::fmt;
use std::str::FromStr;

use super::TrustError;
use crate::secret::random;

const DOMAIN: &str = "entrepot.internal";
const NODE_PREFIX: &str = "node-";
const CLUSTER_BYTES: usize = 8;
const SERIAL_BYTES: usize = 16;

/// Which cluster: 16 hexadecimal digits, drawn when it is made. Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId([u8; CLUSTER_BYTES]);

/// A node as its certificate names it: `node-<id>.<cluster>.entrepot.internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeName {
    pub node: u64,
    pub cluster: ClusterId,
}

/// The serial number of a certificate: 16 random bytes, positive, and as many
/// bytes in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES]);

// === impl ClusterId ===

impl ClusterId {
    /// # Errors
    /// [`TrustError::Random`]
    pub fn generate() -> Result<Self, TrustError> {
        Ok(Self(drawn()?))
    }

    /// What every name of its nodes ends in.
    pub(super) fn domain(self) -> String {
        format!("{self}.{DOMAIN}")
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for ClusterId {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex(text).map(Self).ok_or(TrustError::ClusterId)
    }
}

// === impl NodeName ===

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NODE_PREFIX}{}.{}.{DOMAIN}", self.node, self.cluster)
    }
}

impl FromStr for NodeName {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (node, rest) = text.strip_prefix(NODE_PREFIX)?.split_once('.')?;
            let (cluster, domain) = rest.split_once('.')?;
            let name = Self {
                node: node.parse().ok().filter(|node| *node > 0)?,
                cluster: cluster.parse().ok()?,
            };
            // There is one way to write it.
            (domain == DOMAIN && name.to_string() == text).then_some(name)
        };
        parse().ok_or(TrustError::NodeName)
    }
}

// === impl Serial ===

impl Serial {
    /// # Errors
    /// [`TrustError::Random`]
    pub fn generate() -> Result<Self, TrustError> {
        let mut bytes: [u8; SERIAL_BYTES] = drawn()?;
        // Neither negative nor shorter, as DER writes it.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        Ok(Self(bytes))
    }

    /// # Errors
    /// [`TrustError::Serial`] when it is none that [`Serial::generate`] makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TrustError> {
        let bytes: [u8; SERIAL_BYTES] = bytes.try_into().map_err(|_| TrustError::Serial)?;
        if bytes[0] & 0xc0 == 0x40 {
            Ok(Self(bytes))
        } else {
            Err(TrustError::Serial)
        }
    }

    pub fn as_bytes(&self) -> &[u8; SERIAL_BYTES] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Serial {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; SERIAL_BYTES] = hex(text).ok_or(TrustError::Serial)?;
        Self::from_bytes(&bytes)
    }
}

// === bytes as text ===

pub(super) fn drawn<const N: usize>() -> Result<[u8; N], TrustError> {
    random().map_err(|error| match error {
        crate::AccessError::Random(error) => TrustError::Random(error),
        _ => TrustError::Crypto("draw random bytes"),
    })
}

pub(super) fn write_hex(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// `N` bytes as hexadecimal digits in lower case, two for each.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}
