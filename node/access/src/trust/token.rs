//! Join tokens: what an operator carries from the cluster to a new node.
//!
//! `entrepot_join_` and the base64url of: the secret, the fingerprint of the
//! cluster's certificate, the region if the token is for one, addresses of
//! nodes, and a check. The check tells a token that was torn while it was copied
//! from one that the cluster does not know; it proves nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_oci::RegionName;
use sha2::{Digest as _, Sha256};

use super::name::{drawn, hex, write_hex};
use super::{Fingerprint, TrustError};

/// Of nodes that the new one may ask.
pub const ADDRESSES_MAX: usize = 5;
/// Of a token as text.
pub const TOKEN_CHARS_MAX: usize = 4 * 1024;

const PREFIX: &str = "entrepot_join_";
const VERSION: u8 = 1;
const SECRET_BYTES: usize = 32;
const ADDRESS_BYTES_MAX: usize = 255;
const CHECK_BYTES: usize = 4;
const HASH_CONTEXT: &str = "entrepot 2026 hash of a join token";

/// What proves that its bearer was let in; of use once.
#[derive(Clone)]
pub struct TokenSecret([u8; SECRET_BYTES]);

/// What the cluster keeps of a token, and knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

/// A token, as it is printed once.
#[derive(Clone)]
pub struct JoinToken {
    pub secret: TokenSecret,
    /// Of the certificate that the cluster has to show.
    pub root: Fingerprint,
    /// Set: for nodes of this region only.
    pub region: Option<RegionName>,
    /// `host:port` of peer ports; 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<String>,
}

// === impl TokenSecret ===

impl TokenSecret {
    /// # Errors
    /// [`TrustError::Random`]
    pub fn generate() -> Result<Self, TrustError> {
        Ok(Self(drawn()?))
    }

    /// # Errors
    /// [`TrustError::Token`] unless there are 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TrustError> {
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| TrustError::Token("its secret has 32 bytes"))
    }

    /// The secret itself, for the node that lets its bearer in.
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::derive_key(HASH_CONTEXT, &self.0))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

// === impl TokenHash ===

impl TokenHash {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for TokenHash {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex(text);
        bytes
            .map(Self)
            .ok_or(TrustError::Token("its hash has 64 hexadecimal digits"))
    }
}

// === impl JoinToken ===

impl JoinToken {
    /// The token as it is handed over. Whoever has it can join a node, once.
    ///
    /// # Errors
    /// [`TrustError::Token`] when there are no addresses, too many, or one that
    /// is too long.
    pub fn expose(&self) -> Result<String, TrustError> {
        check_addresses(&self.addresses)?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.secret.0);
        bytes.extend_from_slice(self.root.as_bytes());
        let region = self.region.as_ref().map_or("", RegionName::as_str);
        let texts = std::iter::once(region).chain(self.addresses.iter().map(String::as_str));
        for text in texts {
            let len = u8::try_from(text.len());
            bytes.push(len.map_err(|_| TrustError::Token("a text in it is too long"))?);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&check(&bytes));
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl FromStr for JoinToken {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > TOKEN_CHARS_MAX {
            return Err(TrustError::Token("it is too long"));
        }
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or(TrustError::Token("it does not begin with entrepot_join_"))?;
        let torn = TrustError::Token("a part of it is missing or was changed");
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| torn.clone())?;
        let (content, checked) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .ok_or(torn.clone())?;
        if check(content) != *checked {
            return Err(torn);
        }
        parse_content(content).ok_or(TrustError::Token("this version cannot read it"))?
    }
}

/// None: not as this version writes it.
fn parse_content(content: &[u8]) -> Option<Result<JoinToken, TrustError>> {
    let (&version, rest) = content.split_first()?;
    if version != VERSION {
        return None;
    }
    let (secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
    let (root, mut rest) = rest.split_first_chunk::<32>()?;
    let mut texts = Vec::new();
    while let Some((&len, after)) = rest.split_first() {
        let (text, after) = after.split_at_checked(usize::from(len))?;
        if texts.len() > ADDRESSES_MAX {
            return None;
        }
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        rest = after;
    }
    let mut texts = texts.into_iter();
    let region = match texts.next()?.as_str() {
        "" => None,
        region => Some(region.parse().ok()?),
    };
    let addresses: Vec<String> = texts.collect();
    let token = JoinToken {
        secret: TokenSecret(*secret),
        root: Fingerprint::from_bytes(*root),
        region,
        addresses,
    };
    Some(check_addresses(&token.addresses).map(|()| token))
}

fn check_addresses(addresses: &[String]) -> Result<(), TrustError> {
    if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
        return Err(TrustError::Token("it has no addresses, or too many"));
    }
    let good = |address: &String| {
        (1..=ADDRESS_BYTES_MAX).contains(&address.len())
            && address.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if addresses.iter().all(good) {
        Ok(())
    } else {
        Err(TrustError::Token("an address in it is none"))
    }
}

fn check(content: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::digest(content);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("root", &self.root)
            .field("region", &self.region)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
