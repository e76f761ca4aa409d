//! Tokens of identity providers (`OpenID` Connect): what CI systems and Kubernetes give
//! to what they run (RFC 7519, RFC 7515, RFC 7518).
//!
//! Signatures are checked by `ring`, which everything here is checked with: the
//! libraries made for such tokens bring either a second one, in C, or one of RSA that
//! tells its key by how long it takes. The invariants: nothing of a token is believed
//! before its signature is right, but for whose keys to look for; and the key says by
//! which algorithm, never the token alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token that is looked at (STS).
pub const WEB_IDENTITY_BYTES_MAX: usize = 20_000;
/// Keys of one issuer.
const KEYS_MAX: usize = 100;
/// Keys of one id, or of a token that names none, that are tried.
const KEYS_TRIED_MAX: usize = 4;
/// How far the clocks of who made a token and of this node may be apart.
const LEEWAY_S: i64 = 60;

/// Why a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebIdentityError {
    #[error("it is not a signed token")]
    Malformed,
    #[error("it is signed by the algorithm {0}, which is not taken")]
    Algorithm(String),
    /// Of those that are known; there may be newer ones.
    #[error("no key of its issuer fits it")]
    NoKey,
    #[error("its signature is not right")]
    Signature,
    /// In seconds since the Unix epoch.
    #[error("it expired at {expired_s}")]
    Expired { expired_s: i64 },
    #[error("it is not valid yet")]
    Early,
    #[error("it has no {0}")]
    Missing(&'static str),
}

/// The keys of an issuer (RFC 7517).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WebKeys {
    keys: Vec<WebKey>,
}

#[derive(Clone, Debug, Deserialize)]
struct WebKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What has to be understood; there is nothing of it here.
    #[serde(default)]
    crit: Option<Value>,
}

/// A token, of which nothing is believed yet.
#[derive(Debug)]
pub struct WebIdentity<'a> {
    header: Header,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// What a token says whose signature is right, and that is valid now.
#[derive(Clone, Debug, PartialEq)]
pub struct WebClaims {
    pub issuer: String,
    pub subject: String,
    /// At least one.
    pub audiences: Vec<String>,
    /// All of them.
    pub all: Map<String, Value>,
}

/// What a key is checked with.
enum Algorithm {
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm, &'static str),
}

// === impl WebKeys ===

impl WebKeys {
    /// None: that is no set of keys, or one of too many.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let keys: Self = serde_json::from_slice(json).ok()?;
        (keys.keys.len() <= KEYS_MAX).then_some(keys)
    }
}

// === impl WebIdentity ===

impl<'a> WebIdentity<'a> {
    /// # Errors
    /// `Malformed`, `Algorithm`
    pub fn parse(token: &'a str) -> Result<Self, WebIdentityError> {
        use WebIdentityError as E;
        if token.len() > WEB_IDENTITY_BYTES_MAX {
            return Err(E::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(E::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(E::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| E::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| E::Malformed)?;
        if header.crit.is_some() {
            return Err(E::Malformed);
        }
        if algorithm(&header.alg).is_none() {
            let shown: String = header.alg.chars().take(16).collect();
            return Err(E::Algorithm(shown.escape_debug().to_string()));
        }
        Ok(Self {
            header,
            signed,
            signature: decode(signature)?,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| E::Malformed)?,
        })
    }

    /// Who it says that it is from: nothing else of it is to be used before it was
    /// verified.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// What it says, if one of the keys has signed it and it is valid at `now_ms`.
    ///
    /// # Errors
    /// `NoKey`, `Signature`, `Expired`, `Early`, `Missing`
    pub fn verify(&self, keys: &WebKeys, now_ms: i64) -> Result<WebClaims, WebIdentityError> {
        use WebIdentityError as E;
        let fitting: Vec<&WebKey> = keys
            .keys
            .iter()
            .filter(|key| key.fits(&self.header))
            .collect();
        if fitting.is_empty() {
            return Err(E::NoKey);
        }
        // Anybody can send a token: what it costs to refuse one is bounded.
        let mut tried = fitting.into_iter().take(KEYS_TRIED_MAX);
        if !tried.any(|key| self.is_signed_by(key)) {
            return Err(E::Signature);
        }
        let now = now_ms.div_euclid(1_000);
        let time = |name| match self.claims.get(name) {
            None => Ok(None),
            // Of another type it would be no time, and so no end.
            Some(value) => seconds(value).map(Some).ok_or(E::Malformed),
        };
        let expired_s = time("exp")?.ok_or(E::Missing("exp"))?;
        if now >= expired_s.saturating_add(LEEWAY_S) {
            return Err(E::Expired { expired_s });
        }
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|at| at > now + LEEWAY_S) {
                return Err(E::Early);
            }
        }
        let text = |name: &'static str| {
            let found = self.claims.get(name).and_then(Value::as_str);
            let found = found.filter(|text| !text.is_empty());
            found.map(str::to_owned).ok_or(E::Missing(name))
        };
        Ok(WebClaims {
            issuer: text("iss")?,
            subject: text("sub")?,
            audiences: audiences(self.claims.get("aud")).ok_or(E::Missing("aud"))?,
            all: self.claims.clone(),
        })
    }

    fn is_signed_by(&self, key: &WebKey) -> bool {
        let message = self.signed.as_bytes();
        let verified = algorithm(&self.header.alg).and_then(|algorithm| match algorithm {
            Algorithm::Rsa(parameters) => {
                let (n, e) = (part(key.n.as_ref())?, part(key.e.as_ref())?);
                let public = RsaPublicKeyComponents { n, e };
                public.verify(parameters, message, &self.signature).ok()
            }
            Algorithm::Other(algorithm, curve) => {
                let public = key.point(curve)?;
                let public = UnparsedPublicKey::new(algorithm, public);
                public.verify(message, &self.signature).ok()
            }
        });
        verified.is_some()
    }
}

// === impl WebKey ===

impl WebKey {
    /// Whether it is the one that a token names, and made for its algorithm.
    fn fits(&self, header: &Header) -> bool {
        let kind = match algorithm(&header.alg) {
            Some(Algorithm::Rsa(_)) => "RSA",
            Some(Algorithm::Other(_, "Ed25519")) => "OKP",
            Some(Algorithm::Other(..)) => "EC",
            None => return false,
        };
        let is_named = header.kid.is_none() || self.kid == header.kid;
        let is_for_it = self.alg.as_ref().is_none_or(|alg| *alg == header.alg);
        let is_for_signing = self.usage.as_ref().is_none_or(|usage| usage == "sig");
        self.kty == kind && is_named && is_for_it && is_for_signing
    }

    /// The public key as ring has it: of a curve, uncompressed.
    fn point(&self, curve: &str) -> Option<Vec<u8>> {
        if self.crv.as_deref() != Some(curve) {
            return None;
        }
        let x = part(self.x.as_ref())?;
        if curve == "Ed25519" {
            return Some(x);
        }
        let y = part(self.y.as_ref())?;
        Some([&[4][..], &x, &y].concat())
    }
}

fn part(text: Option<&String>) -> Option<Vec<u8>> {
    let text = text?.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Of those that issuers sign by. None of them is one that a token's reader could
/// sign by as well.
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Algorithm::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "ES256" => Algorithm::Other(&signature::ECDSA_P256_SHA256_FIXED, "P-256"),
        "ES384" => Algorithm::Other(&signature::ECDSA_P384_SHA384_FIXED, "P-384"),
        "EdDSA" => Algorithm::Other(&signature::ED25519, "Ed25519"),
        _ => return None,
    })
}

/// A `NumericDate`, which may have a fraction.
fn seconds(value: &Value) -> Option<i64> {
    let whole = value.as_i64();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float that is too large becomes the largest number"
    )]
    let rounded = || value.as_f64().map(|seconds| seconds.floor() as i64);
    whole.or_else(rounded)
}

/// One text, or a list of texts.
fn audiences(value: Option<&Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = match value? {
        Value::Array(values) => values.iter().map(text).collect::<Option<Vec<_>>>()?,
        value => vec![text(value)?],
    };
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const NOW_S: i64 = NOW_MS / 1_000;

    struct Issuer {
        pair: EcdsaKeyPair,
        keys: Value,
    }

    fn encoded(part: &Value) -> String {
        URL_SAFE_NO_PAD.encode(part.to_string())
    }

    impl Issuer {
        fn new(kid: &str) -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            let point = pair.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|it| URL_SAFE_NO_PAD.encode(it));
            let key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid,
                "use": "sig", "alg": "ES256"});
            let keys = json!({ "keys": [key] });
            Self { pair, keys }
        }

        fn keys(&self) -> WebKeys {
            WebKeys::parse(self.keys.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let signed = format!("{}.{}", encoded(header), encoded(claims));
            let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
            let signature = URL_SAFE_NO_PAD.encode(signature.unwrap().as_ref());
            format!("{signed}.{signature}")
        }

        fn token(&self, changed: &Value) -> String {
            let mut claims = json!({"iss": "https://ci.example", "sub": "repo:a/b",
                "aud": "sts.amazonaws.com", "exp": NOW_S + 300, "iat": NOW_S, "nbf": NOW_S});
            for (name, value) in changed.as_object().unwrap() {
                claims[name] = value.clone();
            }
            self.sign(
                &json!({"alg": "ES256", "kid": "one", "typ": "JWT"}),
                &claims,
            )
        }
    }

    fn verified(token: &str, keys: &WebKeys) -> Result<WebClaims, WebIdentityError> {
        WebIdentity::parse(token)?.verify(keys, NOW_MS)
    }

    #[test]
    fn a_token_says_who_it_is_of() {
        let issuer = Issuer::new("one");
        let token = issuer.token(&json!({"aud": ["x", "y"], "ref": "main"}));
        let parsed = WebIdentity::parse(&token).unwrap();
        assert_eq!(parsed.claimed_issuer(), Some("https://ci.example"));
        let claims = parsed.verify(&issuer.keys(), NOW_MS).unwrap();
        assert_eq!(claims.subject, "repo:a/b");
        assert_eq!(claims.audiences, ["x", "y"]);
        assert_eq!(claims.all["ref"], "main");
    }

    #[test]
    fn a_key_of_another_kind_signs_as_well() {
        let random = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]});
        let keys = WebKeys::parse(keys.to_string().as_bytes()).unwrap();
        let claims = json!({"iss": "https://i", "sub": "s", "aud": "a", "exp": NOW_S + 1});
        let signed = format!("{}.{}", encoded(&json!({"alg": "EdDSA"})), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).as_ref());
        assert!(verified(&format!("{signed}.{signature}"), &keys).is_ok());
        // The same as one of a curve.
        let signed = format!("{}.{}", encoded(&json!({"alg": "ES256"})), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).as_ref());
        let other = verified(&format!("{signed}.{signature}"), &keys);
        assert_eq!(other, Err(WebIdentityError::NoKey));
    }

    #[test]
    fn what_is_not_right_is_refused() {
        use WebIdentityError as E;
        let issuer = Issuer::new("one");
        let keys = issuer.keys();
        for (changed, expected) in [
            (
                json!({"exp": NOW_S - 61}),
                E::Expired {
                    expired_s: NOW_S - 61,
                },
            ),
            (json!({"exp": null}), E::Malformed),
            // Another type would be none, and so never in the past.
            (json!({"exp": "9999999999"}), E::Malformed),
            (json!({"nbf": "0"}), E::Malformed),
            (json!({"nbf": NOW_S + 61}), E::Early),
            (json!({"iat": NOW_S + 61}), E::Early),
            (json!({"sub": ""}), E::Missing("sub")),
            (json!({"sub": 7}), E::Missing("sub")),
            (json!({"aud": []}), E::Missing("aud")),
            (json!({"aud": [1]}), E::Missing("aud")),
            (json!({"iss": null}), E::Missing("iss")),
        ] {
            let found = verified(&issuer.token(&changed), &keys);
            assert_eq!(found, Err(expected), "{changed}");
        }
        let claims = json!({"iss": "https://i", "sub": "s", "aud": "a"});
        let endless = issuer.sign(&json!({"alg": "ES256"}), &claims);
        assert_eq!(verified(&endless, &keys), Err(E::Missing("exp")));
    }

    #[test]
    fn nobody_else_signs() {
        use WebIdentityError as E;
        let (issuer, other) = (Issuer::new("one"), Issuer::new("one"));
        let keys = issuer.keys();
        let good = issuer.token(&json!({}));
        assert!(verified(&good, &keys).is_ok());
        assert_eq!(verified(&other.token(&json!({})), &keys), Err(E::Signature));
        assert_eq!(verified(&good, &Issuer::new("two").keys()), Err(E::NoKey));
        assert_eq!(verified(&good, &WebKeys::default()), Err(E::NoKey));
        // A key that is for something else.
        for (member, value) in [("use", "enc"), ("alg", "RS256"), ("kty", "RSA")] {
            let mut keys = issuer.keys.clone();
            keys["keys"][0][member] = value.into();
            let keys = WebKeys::parse(keys.to_string().as_bytes()).unwrap();
            assert_eq!(verified(&good, &keys), Err(E::NoKey), "{member}");
        }
        let claims = json!({"iss": "https://ci.example", "sub": "s", "aud": "a",
            "exp": NOW_S + 300});
        for alg in ["none", "None", "HS256", "PS256", "ES512", ""] {
            let header = json!({"alg": alg, "kid": "one"});
            let token = issuer.sign(&header, &claims);
            assert!(
                matches!(verified(&token, &keys), Err(E::Algorithm(_))),
                "{alg}"
            );
            let bare = format!("{}.{}.", encoded(&header), encoded(&claims));
            assert!(verified(&bare, &keys).is_err());
        }
        let critical = issuer.sign(&json!({"alg": "ES256", "crit": ["b64"]}), &claims);
        assert_eq!(verified(&critical, &keys), Err(E::Malformed));
    }

    #[test]
    fn no_character_may_differ() {
        let issuer = Issuer::new("one");
        let (keys, good) = (issuer.keys(), issuer.token(&json!({})));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verified(&changed, &keys).is_err(), "at {at}");
            assert!(verified(&good[..at], &keys).is_err(), "up to {at}");
        }
        for more in [".", "x", ".x", "="] {
            assert!(verified(&format!("{good}{more}"), &keys).is_err());
        }
        let long = "x".repeat(WEB_IDENTITY_BYTES_MAX + 1);
        assert!(WebIdentity::parse(&long).is_err());
    }
}
