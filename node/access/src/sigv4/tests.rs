//! What is refused, and how AWS says it.

use super::{CLOCK_SKEW_MS, Message, PathStyle, Payload, Protocol, SigV4Error, Signature, Signer};
use crate::Secret;

/// 2026-03-04T05:06:07Z
const NOW: i64 = 1_772_600_767_000;
const BODY: Payload = Payload::Sha256([3; 32]);
const HEADERS: [(&str, &str); 2] = [
    ("host", "ecr.example.com"),
    (
        "x-amz-target",
        "AmazonEC2ContainerRegistry_V20150921.ListImages",
    ),
];

fn secret() -> Secret {
    Secret::new("secret".to_owned())
}

fn signer(secret: &Secret) -> Signer<'_> {
    Signer {
        key_id: "AKIA/WITH/SLASH",
        secret,
        session_token: None,
        region: "eu-west-1",
        service: "ecr",
        style: PathStyle::SERVICE,
    }
}

fn message<'a>(query: &'a str, headers: &'a [(&'a str, &'a str)]) -> Message<'a> {
    Message {
        method: "POST",
        path: "/",
        query,
        headers,
    }
}

/// The headers of a good request.
fn signed() -> Vec<(String, String)> {
    let secret = secret();
    let added = signer(&secret).headers(&message("", &HEADERS), BODY, NOW);
    let own = HEADERS
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let all = own.chain(added);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn verify(query: &str, headers: &[(String, String)], now_ms: i64) -> Result<(), SigV4Error> {
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let message = message(query, &headers);
    let read = Signature::read(&message)?;
    read.verify(&message, BODY, Some(&secret()), PathStyle::SERVICE, now_ms)
}

/// A good request with `from` in its authorization replaced.
fn with(from: &str, to: &str) -> Result<(), SigV4Error> {
    let mut headers = signed();
    for (name, value) in &mut headers {
        if name == "authorization" {
            assert!(value.contains(from), "{value}");
            *value = value.replace(from, to);
        }
    }
    verify("", &headers, NOW)
}

fn without(name: &str) -> Result<(), SigV4Error> {
    let mut headers = signed();
    headers.retain(|(own, _)| own != name);
    verify("", &headers, NOW)
}

fn and(name: &str, value: &str) -> Result<(), SigV4Error> {
    let mut headers = signed();
    headers.push((name.to_owned(), value.to_owned()));
    verify("", &headers, NOW)
}

fn presigned(expires_s: i64) -> String {
    let secret = secret();
    signer(&secret).query(&message("a=b", &HEADERS), BODY, expires_s, NOW)
}

fn of_query(query: &str, now_ms: i64) -> Result<(), SigV4Error> {
    let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    verify(query, &headers, now_ms)
}

#[test]
fn a_good_request_is_taken_within_five_minutes() {
    for now in [NOW, NOW - CLOCK_SKEW_MS, NOW + CLOCK_SKEW_MS] {
        assert_eq!(verify("", &signed(), now), Ok(()));
    }
    let expired = verify("", &signed(), NOW + CLOCK_SKEW_MS + 1).unwrap_err();
    assert_eq!(
        expired.to_string(),
        "Signature expired: 20260304T050607Z is now earlier than 20260304T050607Z \
         (20260304T051107Z - 5 min.)"
    );
    let early = verify("", &signed(), NOW - CLOCK_SKEW_MS - 1000).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20260304T050607Z is still later than 20260304T050606Z \
         (20260304T050106Z + 5 min.)"
    );
    for error in [expired, early] {
        assert_eq!(error.code(Protocol::Json), "InvalidSignatureException");
        assert_eq!(error.code(Protocol::Query), "SignatureDoesNotMatch");
        assert_eq!(error.status(Protocol::Query), 403);
    }
}

#[test]
fn a_presigned_request_is_good_for_as_long_as_it_says() {
    let query = presigned(60);
    for now in [NOW, NOW + 60_000, NOW - CLOCK_SKEW_MS] {
        assert_eq!(of_query(&query, now), Ok(()));
    }
    assert_eq!(of_query(&query, NOW + 60_001), Err(SigV4Error::Over));
    let early = of_query(&query, NOW - CLOCK_SKEW_MS - 1);
    assert!(matches!(early, Err(SigV4Error::NotYet { .. })));
    for expires_s in [0, -1, 604_801, 1_000_000] {
        let refused = of_query(&presigned(expires_s), NOW);
        assert!(
            matches!(refused, Err(SigV4Error::Incomplete(_))),
            "{expires_s}"
        );
    }
    assert_eq!(of_query(&presigned(604_800), NOW), Ok(()));
}

#[test]
fn what_is_missing_is_named() {
    let rows = [
        (
            without("authorization"),
            "Request is missing Authentication Token",
        ),
        (
            with("AWS4-HMAC-SHA256 ", "Basic "),
            "Request is missing Authentication Token",
        ),
        (
            with("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
            "Unsupported AWS 'algorithm'.",
        ),
        (
            with("Credential=", "Credentials="),
            "Authorization header has an unknown parameter.",
        ),
        (
            with("Signature=", "SignedHeaders="),
            "Authorization header has a parameter twice.",
        ),
        (
            with(", Signature=", ",Signature"),
            "Authorization header has a part that is not a valid key=value pair (missing equal-sign).",
        ),
        (
            with(
                "Credential=AKIA/WITH/SLASH/20260304/eu-west-1/ecr/aws4_request, ",
                "",
            ),
            "Authorization header requires 'Credential' parameter.",
        ),
        (
            with("SignedHeaders=host;x-amz-date;x-amz-target, ", ""),
            "Authorization header requires 'SignedHeaders' parameter.",
        ),
        (
            without("x-amz-date"),
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ),
        (
            with("AKIA/WITH/SLASH/", ""),
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
        ),
        (
            with("SignedHeaders=host;", "SignedHeaders="),
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            without("host"),
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            with(";x-amz-target", ""),
            "Every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            and("X-Amz-Anything", "1"),
            "Every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.",
        ),
        (
            with("host;x-amz-date", "x-amz-date;host"),
            "'SignedHeaders' must be names in lower case, sorted, each once, and not too many.",
        ),
        (
            with("host;", "host;host;"),
            "'SignedHeaders' must be names in lower case, sorted, each once, and not too many.",
        ),
        (
            with("host;", "Host;"),
            "'SignedHeaders' must be names in lower case, sorted, each once, and not too many.",
        ),
        (
            and("Host", "ecr.example.com"),
            "A header that the signature depends on comes twice.",
        ),
        (
            and("Authorization", "AWS4-HMAC-SHA256 x"),
            "A header that the signature depends on comes twice.",
        ),
        (
            and("x-amz-date", "20260304T050607Z"),
            "A header that the signature depends on comes twice.",
        ),
    ];
    for (refused, message) in rows {
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), message);
        let code = match error {
            SigV4Error::Missing => "MissingAuthenticationToken",
            _ => "IncompleteSignature",
        };
        assert_eq!(error.code(Protocol::Query), code);
        assert_eq!(error.code(Protocol::Json), format!("{code}Exception"));
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let mismatch = SigV4Error::Mismatch;
    assert!(
        mismatch
            .to_string()
            .starts_with("The request signature we calculated does not match")
    );
    assert_eq!(with("Signature=", "Signature=0"), Err(mismatch.clone()));
    assert_eq!(with("SLASH/2026", "SLASH/x/2026"), Ok(()));
    assert_eq!(with("eu-west-1", "eu-west-2"), Err(mismatch.clone()));
    assert_eq!(with("/ecr/", "/iam/"), Err(mismatch));
    let date = with("/20260304/", "/20260305/").unwrap_err();
    assert_eq!(
        date.to_string(),
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
         HTTP: '20260305' != '20260304'."
    );
    let terminator = with("aws4_request", "aws5_request").unwrap_err();
    assert_eq!(
        terminator.to_string(),
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."
    );
    assert_eq!(
        and("x-amz-content-sha256", "x")
            .unwrap_err()
            .status(Protocol::Query),
        400
    );
}

#[test]
fn a_scope_is_for_one_region_and_service() {
    let headers = signed();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let read = Signature::read(&message("", &headers)).unwrap();
    assert_eq!(read.check_scope(&["iam", "ecr"], None), Ok(()));
    assert_eq!(read.check_scope(&["ecr"], Some("eu-west-1")), Ok(()));
    let region = read.check_scope(&["ecr"], Some("us-east-1")).unwrap_err();
    assert_eq!(
        region.to_string(),
        "Credential should be scoped to a valid Region, not 'eu-west-1'."
    );
    let service = read.check_scope(&["iam", "sts"], None).unwrap_err();
    assert_eq!(
        service.to_string(),
        "Credential should be scoped to correct service: 'iam', 'sts'."
    );
    for error in [region, service] {
        assert_eq!(error.code(Protocol::Json), "InvalidSignatureException");
    }
}

#[test]
fn what_is_said_of_the_body_must_be_true() {
    let secret = secret();
    let said = |value: &str, payload| {
        let headers = [HEADERS[0], ("x-amz-content-sha256", value)];
        let added = signer(&secret).headers(&message("", &headers), BODY, NOW);
        let mut all = headers.to_vec();
        all.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let message = message("", &all);
        let read = Signature::read(&message).unwrap();
        read.verify(&message, payload, Some(&secret), PathStyle::SERVICE, NOW)
    };
    assert_eq!(said(&"03".repeat(32), BODY), Ok(()));
    assert_eq!(said(&"04".repeat(32), BODY), Err(SigV4Error::Payload));
    assert_eq!(said("UNSIGNED-PAYLOAD", BODY), Err(SigV4Error::Payload));
    assert_eq!(
        said("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", BODY),
        Err(SigV4Error::Payload)
    );
    assert_eq!(
        said(&"03".repeat(32), Payload::Unsigned),
        Err(SigV4Error::Payload)
    );
}

#[test]
fn a_body_may_stay_unsigned_where_the_caller_says_so() {
    let secret = secret();
    let query = signer(&secret).query(&message("", &HEADERS), Payload::Unsigned, 60, NOW);
    let message = message(&query, &HEADERS);
    let read = Signature::read(&message).unwrap();
    let verify = |payload| read.verify(&message, payload, Some(&secret), PathStyle::SERVICE, NOW);
    assert_eq!(verify(Payload::Unsigned), Ok(()));
    assert_eq!(verify(BODY), Err(SigV4Error::Mismatch));
}

#[test]
fn a_query_is_whole_and_says_everything_once() {
    let query = presigned(60);
    assert_eq!(of_query(&query, NOW), Ok(()));
    // The order of parameters is of no account.
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.reverse();
    assert_eq!(of_query(&pairs.join("&"), NOW), Ok(()));
    for name in [
        "Credential",
        "Date",
        "Expires",
        "SignedHeaders",
        "Signature",
    ] {
        let name = format!("X-Amz-{name}=");
        let kept: Vec<&str> = query
            .split('&')
            .filter(|it| !it.starts_with(&name))
            .collect();
        let error = of_query(&kept.join("&"), NOW).unwrap_err();
        let said = format!(
            "AWS query-string parameters must include '{}'.",
            &name[..name.len() - 1]
        );
        assert_eq!(error.to_string(), said);
        let pair = query.split('&').find(|it| it.starts_with(&name)).unwrap();
        let twice = of_query(&format!("{query}&{pair}"), NOW);
        assert!(matches!(twice, Err(SigV4Error::Incomplete(_))), "{twice:?}");
    }
    assert_eq!(
        of_query(&query.replace("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""), NOW),
        Err(SigV4Error::Algorithm)
    );
    assert_eq!(
        of_query(&query.replace("a=b", "a=c"), NOW),
        Err(SigV4Error::Mismatch)
    );
    assert_eq!(
        of_query(&format!("{query}&c=d"), NOW),
        Err(SigV4Error::Mismatch)
    );
    let both = verify(&query, &signed(), NOW);
    assert!(matches!(both, Err(SigV4Error::Incomplete(_))));
}

#[test]
fn nothing_shows_a_secret() {
    let secret = secret();
    let shown = format!("{:?} {:?}", signer(&secret), secret);
    assert_eq!(shown.find("\"secret\""), None);
    let unknown = SigV4Error::UnknownKey;
    assert_eq!(unknown.code(Protocol::Json), "UnrecognizedClientException");
    assert_eq!(unknown.code(Protocol::Query), "InvalidClientTokenId");
    assert_eq!(
        SigV4Error::ExpiredToken.code(Protocol::Json),
        "ExpiredTokenException"
    );
    assert_eq!(
        SigV4Error::ExpiredToken.code(Protocol::Query),
        "ExpiredToken"
    );
}
