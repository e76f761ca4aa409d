//! Hostile bytes: `Authorization` of signed requests, and presigned queries.

use entrepot_fuzz::{Verdict, target};

use super::{Message, PathStyle, Payload, SigV4Error, Signature, Signer};
use crate::Secret;

const NOW: i64 = 1_800_000_000_000;
/// A sentence, and what is shown of a scope.
const ERROR_BYTES_MAX: usize = 800;
const HOST: (&str, &str) = ("host", "ecr.example.com");

fn secret() -> Secret {
    Secret::new("secret".to_owned())
}

fn signer(secret: &Secret) -> Signer<'_> {
    Signer {
        key_id: "AKIAEXAMPLE",
        secret,
        session_token: None,
        region: "eu-west-1",
        service: "ecr",
        style: PathStyle::SERVICE,
    }
}

fn message<'a>(query: &'a str, headers: &'a [(&'a str, &'a str)]) -> Message<'a> {
    Message {
        method: "GET",
        path: "/",
        query,
        headers,
    }
}

fn check(message: &Message<'_>) -> Result<(), SigV4Error> {
    let read = Signature::read(message);
    let verified = read.and_then(|read| {
        let payload = Payload::Unsigned;
        read.verify(message, payload, Some(&secret()), PathStyle::SERVICE, NOW)
    });
    if let Err(error) = &verified {
        assert!(format!("{error} {error:?}").len() <= ERROR_BYTES_MAX);
    }
    verified
}

/// What is taken says what was signed, in whatever order.
#[test]
fn aws_authorization() {
    let secret = secret();
    let added = signer(&secret).headers(&message("", &[HOST]), Payload::Unsigned, NOW);
    let value = |name: &str| &added.iter().find(|(own, _)| *own == name).unwrap().1;
    let good = value("authorization");
    let signature = good.rsplit('=').next().unwrap();
    target!("aws-authorization")
        .seed("good-signed", good.clone())
        .seed("bad-empty", "")
        .seed("bad-basic", "Basic QVdTOng=")
        .seed(
            "bad-many-headers",
            good.replace("host;", &"a;".repeat(5_000)),
        )
        .seed("bad-many-parts", ",=".repeat(4_000))
        .words([
            "AWS4-HMAC-SHA256 ",
            "Credential=",
            "SignedHeaders=",
            "Signature=",
            "/aws4_request",
            "host;x-amz-date",
            ",",
            ";",
            "/",
            signature,
        ])
        .memory(64 * 1024, 16)
        .check_text(|header| {
            let headers = [
                HOST,
                ("x-amz-date", value("x-amz-date").as_str()),
                ("x-amz-content-sha256", value("x-amz-content-sha256")),
                ("authorization", header),
            ];
            let checked = check(&message("", &headers));
            if checked.is_ok() {
                assert!(header.contains(signature));
            }
            Verdict::of(&checked)
        });
}

#[test]
fn presigned_query() {
    let secret = secret();
    let good = signer(&secret).query(&message("a=b&c", &[HOST]), Payload::Unsigned, 600, NOW);
    let signature = good.rsplit('=').next().unwrap();
    target!("presigned-query")
        .seed("good-signed", good.clone())
        .seed("bad-empty", "")
        .seed("bad-unsigned", "a=b")
        .seed(
            "bad-many-parameters",
            format!("{good}{}", "&a".repeat(4_000)),
        )
        .words([
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=",
            "X-Amz-Date=",
            "X-Amz-Expires=",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Signature=",
            "&",
            "=",
            "%2F",
            "%",
            "+",
            signature,
        ])
        .memory(64 * 1024, 128)
        .check_text(|query| {
            let checked = check(&message(query, &[HOST]));
            if checked.is_ok() {
                assert!(query.contains(signature));
            }
            Verdict::of(&checked)
        });
}
