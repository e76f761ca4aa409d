//! Refusals: their statuses, codes, headers and details.

use entrepot_oci::{Algorithm, Digest};
use serde_json::json;

use entrepot_service::{TagFixed, TagFound};

use super::{Failure, Refusal, RequestError, ServiceError};

fn digest(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

fn text() -> String {
    "text".to_owned()
}

/// Every error of the service with its status and code.
fn every() -> Vec<(ServiceError, u16, &'static str)> {
    use ServiceError as E;
    vec![
        (E::Unauthorized, 401, "UNAUTHORIZED"),
        (E::LoginsTooMany, 429, "TOOMANYREQUESTS"),
        (E::RateExceeded { retry_after_s: 3 }, 429, "TOOMANYREQUESTS"),
        (E::TokenInvalid, 400, "DENIED"),
        (E::TokenExpired, 403, "DENIED"),
        (E::Denied(text()), 403, "DENIED"),
        (E::NameUnknown("app".parse().unwrap()), 404, "NAME_UNKNOWN"),
        (E::CreationOff("app".parse().unwrap()), 404, "NAME_UNKNOWN"),
        (E::LimitExceeded(text()), 403, "DENIED"),
        (E::Unsupported(text()), 400, "UNSUPPORTED"),
        (E::RepositoryDeleting("app".parse().unwrap()), 409, "DENIED"),
        (E::RepositoryNotEmpty("app".parse().unwrap()), 409, "DENIED"),
        (E::BlobUnknown(digest(b"a")), 404, "BLOB_UNKNOWN"),
        (E::UploadUnknown, 404, "BLOB_UPLOAD_UNKNOWN"),
        (E::UploadInvalid(text()), 400, "BLOB_UPLOAD_INVALID"),
        (E::UploadStalled, 408, "BLOB_UPLOAD_INVALID"),
        (E::RangeInvalid { size: 7 }, 416, "BLOB_UPLOAD_INVALID"),
        (
            E::SizeInvalid {
                declared: 2,
                received: 1,
            },
            400,
            "SIZE_INVALID",
        ),
        (E::DigestInvalid(text()), 400, "DIGEST_INVALID"),
        (E::ManifestInvalid(text()), 400, "MANIFEST_INVALID"),
        (E::ManifestTooLarge { max: 4 }, 413, "MANIFEST_INVALID"),
        (E::BlobTooLarge { max: 4 }, 413, "BLOB_UPLOAD_INVALID"),
        (E::TagImmutable(TagFixed::default()), 400, "TAG_INVALID"),
        (E::TagNotAsExpected(TagFound::default()), 412, "DENIED"),
        (E::ManifestUnknown(text()), 404, "MANIFEST_UNKNOWN"),
        (E::ImageArchived(text()), 404, "MANIFEST_UNKNOWN"),
        (
            E::ManifestBlobsUnknown(vec![]),
            404,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (E::Referenced(text()), 409, "DENIED"),
        (
            E::Held {
                blob: Digest::of(Algorithm::Sha256, b""),
                image: text(),
            },
            405,
            "UNSUPPORTED",
        ),
        (E::Invalid(text()), 400, "UNSUPPORTED"),
        (E::NotFound(text()), 404, "UNSUPPORTED"),
        (E::Conflict(text()), 409, "DENIED"),
        (E::Unavailable { reason: text() }, 503, "UNAVAILABLE"),
        (E::NotReplicated(text()), 504, "UNAVAILABLE"),
        (E::Full, 507, "DENIED"),
        (E::Internal { id: text() }, 500, "UNKNOWN"),
    ]
}

#[test]
fn every_error_of_the_service_has_its_status_and_code() {
    for (error, status, code) in every() {
        let shown = format!("{error:?}");
        let refusal = Refusal::from(error);
        assert_eq!(
            (refusal.status.as_u16(), refusal.code),
            (status, code),
            "{shown}"
        );
    }
}

/// "The code field MUST be one of the following" (OCI distribution, "Error
/// Codes").
#[test]
fn the_codes_of_a_4xx_are_the_specifications() {
    const CODES: [&str; 14] = [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ];
    let of_requests = [
        RequestError::PathUnknown,
        RequestError::MethodNotAllowed { allow: "GET" },
        RequestError::DigestMissing,
        RequestError::SessionUnknown,
        RequestError::LengthMismatch {
            range: 1,
            length: 2,
        },
        RequestError::TagsTooMany { max: 1 },
        RequestError::TagsWithoutDigest,
        RequestError::PreconditionInvalid,
        RequestError::ContentEncoded,
        RequestError::PageSizeInvalid,
        RequestError::ArtifactTypesTooMany { max: 1 },
        RequestError::RangeNotSatisfiable { size: 1 },
        RequestError::NotThatContent,
        RequestError::ManifestTooLarge { max: 1 },
    ];
    let of_the_service = every().into_iter().map(|(error, ..)| error.into());
    let refusals = of_requests.into_iter().map(Refusal::from);
    for refusal in refusals.chain(of_the_service) {
        // Docker's, and ECR's for a tag that may not move.
        let is_listed = CODES.contains(&refusal.code) || refusal.code == "TAG_INVALID";
        assert!(is_listed || refusal.status.is_server_error(), "{refusal:?}");
    }
}

#[test]
fn refusals_carry_the_headers_a_client_needs() {
    let header = |refusal: Refusal| {
        let [(name, value)] = &refusal.headers[..] else {
            panic!("{refusal:?}");
        };
        (name.to_string(), value.clone())
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        header(ServiceError::LoginsTooMany.into()),
        pair("retry-after", "1")
    );
    assert_eq!(
        header(ServiceError::RateExceeded { retry_after_s: 3 }.into()),
        pair("retry-after", "3")
    );
    assert_eq!(
        header(ServiceError::RangeInvalid { size: 7 }.into()),
        pair("range", "0-6")
    );
    assert_eq!(
        header(ServiceError::Unavailable { reason: text() }.into()),
        pair("retry-after", "1")
    );
    assert_eq!(
        header(RequestError::RangeNotSatisfiable { size: 7 }.into()),
        pair("content-range", "bytes */7")
    );
    assert_eq!(
        header(RequestError::MethodNotAllowed { allow: "GET, HEAD" }.into()),
        pair("allow", "GET, HEAD")
    );
    assert_eq!(
        header(RequestError::ContentEncoded.into()),
        pair("accept-encoding", "identity")
    );
}

#[test]
fn an_upload_that_goes_on_is_told_where() {
    let refusal = |error| {
        let location = "/v2/app/blobs/uploads/s-1".to_owned();
        Refusal::from(Failure::Upload { error, location })
    };
    let refused = refusal(ServiceError::RangeInvalid { size: 7 });
    let names: Vec<_> = refused
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [("range", "0-6"), ("location", "/v2/app/blobs/uploads/s-1")];
    assert_eq!(names, expected);
    assert_eq!(refusal(ServiceError::UploadUnknown).headers, []);
}

#[test]
fn a_tag_that_is_not_as_expected_says_what_it_is() {
    let refusal = |digest: Option<&str>| {
        let found = TagFound {
            tag: "v1".to_owned(),
            digest: digest.map(str::to_owned),
        };
        Refusal::from(ServiceError::TagNotAsExpected(found))
    };
    let moved = refusal(Some("sha256:ab"));
    assert_eq!(
        moved.message,
        "tag v1 points to sha256:ab, which is not what the request expects"
    );
    assert_eq!(moved.details, [json!({"tag": "v1", "digest": "sha256:ab"})]);
    assert_eq!(
        refusal(None).details,
        [json!({"tag": "v1", "digest": null})]
    );
}

#[test]
fn absent_blobs_are_named_one_by_one() {
    let (a, b) = (digest(b"a"), digest(b"b"));
    let refusal = Refusal::from(ServiceError::ManifestBlobsUnknown(vec![a, b]));
    let expected = [a, b].map(|digest| json!({"digest": digest.to_string()}));
    assert_eq!(refusal.details, expected);
}
