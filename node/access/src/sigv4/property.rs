//! Against a second implementation, AWS's own for Rust: what it signs is taken,
//! and what is signed here has its signature.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use sha2::{Digest as _, Sha256};

use super::{Message, PathStyle, Payload, SigV4Error, Signature, Signer};
use crate::Secret;

const NOW: i64 = 1_800_000_000_000;
const HOST: &str = "111122223333.dkr.ecr.eu-west-1.example.com";

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    key: (String, String),
    token: Option<String>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let segment = select(vec![
        "",
        "a",
        "A-b_c.~",
        ".",
        "..",
        "v2",
        "x%20y",
        "%2F",
        "%E1%88%B4",
        "a@b:c",
        "sha256:00",
    ]);
    let path = vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")));
    let word = select(vec![
        "",
        "a",
        "b",
        "A",
        "a-b",
        "a%20b",
        "%2F",
        "%E1%88%B4",
        "%25",
        "1.2~_",
    ]);
    let pair = (word.clone(), word).prop_map(|(name, value)| format!("p{name}={value}"));
    let header = (
        select(vec!["x-amz-target", "content-type", "x-custom", "accept"]),
        select(vec![
            "",
            "a",
            "a  b",
            " a ",
            "x;y=z,w",
            "application/x-amz-json-1.1",
        ]),
    );
    let header = header.prop_map(|(name, value)| (name, value.to_owned()));
    (
        select(vec!["GET", "POST", "PUT", "HEAD"]),
        path,
        vec(pair, 0..4).prop_map(|pairs| pairs.join("&")),
        vec(header, 0..4),
        vec(any::<u8>(), 0..40),
        ("[A-Z0-9]{16,20}", "[!-~]{1,48}"),
        option::of("[A-Za-z0-9+/=_-]{1,200}"),
    )
        .prop_map(|(method, path, query, headers, body, key, token)| Sent {
            method,
            path,
            query,
            headers,
            body,
            key,
            token,
        })
}

/// Names and values.
type Pairs = Vec<(String, String)>;

impl Sent {
    fn uri(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("https://{HOST}{}{mark}{}", self.path, self.query)
    }

    fn payload(&self) -> Payload {
        Payload::Sha256(Sha256::digest(&self.body).into())
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        std::iter::once(("host", HOST)).chain(own).collect()
    }

    fn message<'a>(&'a self, query: &'a str, headers: &'a [(&'a str, &'a str)]) -> Message<'a> {
        Message {
            method: self.method,
            path: &self.path,
            query,
            headers,
        }
    }

    fn secret(&self) -> Secret {
        Secret::new(self.key.1.clone())
    }

    fn signer<'a>(&'a self, secret: &'a Secret) -> Signer<'a> {
        Signer {
            key_id: &self.key.0,
            secret,
            session_token: self.token.as_deref(),
            region: "eu-west-1",
            service: "ecr",
            style: PathStyle::SERVICE,
        }
    }

    /// What AWS's implementation adds: headers, and parameters of the query.
    fn by_aws(&self, location: SignatureLocation) -> (Pairs, Pairs) {
        let (id, secret) = self.key.clone();
        let credentials = Credentials::new(id, secret, self.token.clone(), None, "test");
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        if location == SignatureLocation::QueryParams {
            settings.expires_in = Some(Duration::from_mins(10));
        }
        let now = Duration::from_millis(NOW.unsigned_abs());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("ecr")
            .time(SystemTime::UNIX_EPOCH + now)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = self.headers();
        let body = SignableBody::Bytes(&self.body);
        let request =
            SignableRequest::new(self.method, self.uri(), headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = instructions.headers().map(owned).collect();
        let parameter =
            |(name, value): &(&str, Cow<'_, str>)| ((*name).to_owned(), value.to_string());
        (
            headers,
            instructions.params().iter().map(parameter).collect(),
        )
    }
}

fn find<'a>(added: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = added.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// The whole query after AWS's implementation has signed it.
fn presigned(sent: &Sent) -> String {
    let (_, params) = sent.by_aws(SignatureLocation::QueryParams);
    let own = (!sent.query.is_empty()).then(|| sent.query.clone());
    let added = params
        .iter()
        .map(|(name, value)| format!("{name}={}", super::canonical::encoded(value)));
    own.into_iter().chain(added).collect::<Vec<_>>().join("&")
}

proptest! {
    #[test]
    fn takes_and_makes_the_headers_of_aws(sent in sent()) {
        let (added, _) = sent.by_aws(SignatureLocation::Headers);
        let mut headers = sent.headers();
        headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let message = sent.message(&sent.query, &headers);
        let read = Signature::read(&message).unwrap();
        let secret = sent.secret();
        let verify = |secret| read.verify(&message, sent.payload(), secret, PathStyle::SERVICE, NOW);
        prop_assert_eq!(verify(Some(&secret)), Ok(()));
        prop_assert_eq!(read.key_id(), sent.key.0.as_str());
        prop_assert_eq!((read.region(), read.service()), ("eu-west-1", "ecr"));
        prop_assert_eq!(verify(None), Err(SigV4Error::UnknownKey));
        let other = Secret::new(format!("{}x", sent.key.1));
        prop_assert_eq!(verify(Some(&other)), Err(SigV4Error::Mismatch));

        let unsigned = sent.headers();
        let own = sent.signer(&secret).headers(
            &sent.message(&sent.query, &unsigned), sent.payload(), NOW,
        );
        let own = own.iter().find(|(name, _)| *name == "authorization");
        let signature = |text: &str| text.rsplit('=').next().unwrap().to_owned();
        prop_assert_eq!(
            signature(&own.unwrap().1), signature(find(&added, "authorization").unwrap())
        );
    }

    #[test]
    fn takes_and_makes_the_queries_of_aws(sent in sent()) {
        let query = presigned(&sent);
        let headers = sent.headers();
        let message = sent.message(&query, &headers);
        let read = Signature::read(&message).unwrap();
        let secret = sent.secret();
        let verified = read.verify(
            &message, sent.payload(), Some(&secret), PathStyle::SERVICE, NOW + 599_000,
        );
        prop_assert_eq!(verified, Ok(()));
        prop_assert!(read.is_presigned());
        prop_assert_eq!(read.session_token(), sent.token.as_deref());
        let own = sent.signer(&secret).query(
            &sent.message(&sent.query, &headers), sent.payload(), 600, NOW,
        );
        let own = Signature::read(&sent.message(&own, &headers)).unwrap();
        prop_assert_eq!(own.digits, read.digits);
    }

    /// Whatever is changed on the way, the signature is no longer one.
    #[test]
    fn nothing_that_is_signed_can_be_changed(sent in sent(), what in 0..6_usize, at in 0..1000_usize) {
        let secret = sent.secret();
        let unsigned = sent.headers();
        let added = sent.signer(&secret).headers(
            &sent.message(&sent.query, &unsigned), sent.payload(), NOW,
        );
        let mut headers = sent.headers();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let message = sent.message(&sent.query, &headers);
        let (mut method, mut path, mut query) = (sent.method, sent.path.clone(), sent.query.clone());
        let mut payload = sent.payload();
        let changed = format!("{}x", headers[at % headers.len()].1);
        let mut others = headers.clone();
        match what {
            0 => method = "DELETE",
            1 => path.push('x'),
            2 => query.push_str("&x"),
            3 => payload = Payload::Sha256([7; 32]),
            4 => others[at % headers.len()].1 = &changed,
            _ => payload = Payload::Unsigned,
        }
        let forged = Message { method, path: &path, query: &query, headers: &others };
        let verify = |message: &Message<'_>, payload| {
            let read = Signature::read(message)?;
            read.verify(message, payload, Some(&secret), PathStyle::SERVICE, NOW)
        };
        prop_assert_eq!(verify(&message, sent.payload()), Ok(()));
        prop_assert!(verify(&forged, payload).is_err(), "{:?}", forged);
    }
}
