//! Each refusal of the service with its gRPC code and details, and each broken
//! request with its own.

use entrepot_oci::{Algorithm, Digest, RepositoryName};
use entrepot_service::{ServiceError, TagFixed, TagFound};
use tonic::{Code, Status};

use super::status;
use crate::request::{RequestError, digest, media_type, reference, repository, tag};

fn text() -> String {
    "text".to_owned()
}

fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

fn code(status: &Status) -> &str {
    status
        .metadata()
        .get("entrepot-code")
        .unwrap()
        .to_str()
        .unwrap()
}

/// The values of a trailer.
fn trailer(status: &Status, name: &str) -> Vec<String> {
    let values = status.metadata().get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

fn app() -> RepositoryName {
    "app".parse().unwrap()
}

#[test]
fn every_error_of_the_service_has_its_status_and_code() {
    use Code as C;
    use ServiceError as E;
    let exceeded = E::RateExceeded { retry_after_s: 3 };
    let cases = [
        (E::Unauthorized, C::Unauthenticated, "UNAUTHORIZED"),
        (E::LoginsTooMany, C::ResourceExhausted, "TOOMANYREQUESTS"),
        (exceeded, C::ResourceExhausted, "TOOMANYREQUESTS"),
        (E::TokenInvalid, C::Unauthenticated, "DENIED"),
        (E::TokenExpired, C::Unauthenticated, "DENIED"),
        (E::Denied(text()), C::PermissionDenied, "DENIED"),
        (E::NameUnknown(app()), C::NotFound, "NAME_UNKNOWN"),
        (E::CreationOff(app()), C::NotFound, "NAME_UNKNOWN"),
        (E::RepositoryDeleting(app()), C::Aborted, "DENIED"),
        (E::LimitExceeded(text()), C::ResourceExhausted, "DENIED"),
        (E::Unsupported(text()), C::Unimplemented, "UNSUPPORTED"),
        (
            E::RepositoryNotEmpty(app()),
            C::FailedPrecondition,
            "DENIED",
        ),
        (E::BlobUnknown(sha256(b"a")), C::NotFound, "BLOB_UNKNOWN"),
        (E::UploadUnknown, C::NotFound, "BLOB_UPLOAD_UNKNOWN"),
        (
            E::UploadInvalid(text()),
            C::InvalidArgument,
            "BLOB_UPLOAD_INVALID",
        ),
        (
            E::RangeInvalid { size: 7 },
            C::OutOfRange,
            "BLOB_UPLOAD_INVALID",
        ),
        (E::BeyondEnd { size: 7 }, C::OutOfRange, "RANGE_INVALID"),
        (
            E::SizeInvalid {
                declared: 2,
                received: 1,
            },
            C::InvalidArgument,
            "SIZE_INVALID",
        ),
        (
            E::DigestInvalid(text()),
            C::InvalidArgument,
            "DIGEST_INVALID",
        ),
        (
            E::ManifestInvalid(text()),
            C::InvalidArgument,
            "MANIFEST_INVALID",
        ),
        (
            E::ManifestTooLarge { max: 4 },
            C::InvalidArgument,
            "MANIFEST_INVALID",
        ),
        (
            E::BlobTooLarge { max: 4 },
            C::InvalidArgument,
            "BLOB_UPLOAD_INVALID",
        ),
        (E::ManifestUnknown(text()), C::NotFound, "MANIFEST_UNKNOWN"),
        (E::ImageArchived(text()), C::NotFound, "MANIFEST_UNKNOWN"),
        (
            E::ManifestBlobsUnknown(vec![]),
            C::FailedPrecondition,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (E::Referenced(text()), C::FailedPrecondition, "DENIED"),
        (
            E::TagImmutable(TagFixed::default()),
            C::FailedPrecondition,
            "TAG_INVALID",
        ),
        (
            E::TagNotAsExpected(TagFound::default()),
            C::Aborted,
            "TAG_NOT_AS_EXPECTED",
        ),
        (E::Invalid(text()), C::InvalidArgument, "UNSUPPORTED"),
        (E::NotFound(text()), C::NotFound, "NOT_FOUND"),
        (E::Conflict(text()), C::Aborted, "DENIED"),
        (
            E::Unavailable { reason: text() },
            C::Unavailable,
            "UNAVAILABLE",
        ),
        (E::NotReplicated(text()), C::DeadlineExceeded, "UNAVAILABLE"),
        (E::Full, C::ResourceExhausted, "DENIED"),
        (E::Internal { id: text() }, C::Internal, "UNKNOWN"),
    ];
    for (error, expected, name) in cases {
        let status = status(&error);
        assert_eq!(
            (status.code(), code(&status)),
            (expected, name),
            "{error:?}"
        );
        assert_eq!(status.message(), error.to_string());
    }
}

#[test]
fn a_refusal_brings_what_a_client_goes_on_with() {
    let of = |error: ServiceError, name: &str| trailer(&status(&error), name);
    let received = of(ServiceError::RangeInvalid { size: 7 }, "entrepot-received");
    assert_eq!(received, ["7"]);
    let size = of(ServiceError::BeyondEnd { size: 7 }, "entrepot-size");
    assert_eq!(size, ["7"]);
    let large = of(ServiceError::BlobTooLarge { max: 4 }, "entrepot-size-max");
    assert_eq!(large, ["4"]);
    let slow = ServiceError::WatchTooSlow { resume_after: 9 };
    assert_eq!(of(slow, "entrepot-resume-after"), ["9"]);
    let range = ServiceError::WatchOutOfRange {
        after: 1,
        oldest: 2,
        newest: 3,
    };
    assert_eq!(of(range.clone(), "entrepot-oldest"), ["2"]);
    assert_eq!(of(range, "entrepot-newest"), ["3"]);
    let log = ServiceError::WatchOtherLog {
        log: "region/us-east-1/0".to_owned(),
    };
    assert_eq!(of(log, "entrepot-log"), ["region/us-east-1/0"]);
    let exceeded = ServiceError::RateExceeded { retry_after_s: 3 };
    assert_eq!(of(exceeded, "entrepot-retry-after-s"), ["3"]);
    let id = of(ServiceError::Internal { id: text() }, "entrepot-log-id");
    assert_eq!(id, ["text"]);
}

#[test]
fn a_tag_that_is_not_as_expected_is_named_with_what_it_points_to() {
    let status = |digest: Option<&str>| {
        status(&ServiceError::TagNotAsExpected(TagFound {
            tag: "v1".to_owned(),
            digest: digest.map(str::to_owned),
        }))
    };
    let there = status(Some("sha256:ab"));
    assert_eq!(trailer(&there, "entrepot-tag"), ["v1"]);
    assert_eq!(trailer(&there, "entrepot-digest"), ["sha256:ab"]);
    let absent = status(None);
    assert_eq!(trailer(&absent, "entrepot-tag"), ["v1"]);
    assert!(trailer(&absent, "entrepot-digest").is_empty());
}

#[test]
fn absent_content_is_named_one_by_one_and_not_without_end() {
    let absent: Vec<Digest> = (0..100_u8).map(|it| sha256(&[it])).collect();
    let status = status(&ServiceError::ManifestBlobsUnknown(absent.clone()));
    let expected: Vec<String> = absent[..32].iter().map(Digest::to_string).collect();
    assert_eq!(trailer(&status, "entrepot-digest"), expected);
}

#[test]
fn a_request_that_cannot_be_read_says_what_is_wrong() {
    let cases = [
        (repository("App").unwrap_err(), "NAME_INVALID"),
        (digest("sha256:1").unwrap_err(), "DIGEST_INVALID"),
        (reference("sha256:1").unwrap_err(), "DIGEST_INVALID"),
        (reference("-").unwrap_err(), "TAG_INVALID"),
        (tag("").unwrap_err(), "TAG_INVALID"),
        (media_type("text").unwrap_err(), "MANIFEST_INVALID"),
        (RequestError::Algorithm(9), "UNSUPPORTED"),
        (RequestError::HeaderMissing, "UNSUPPORTED"),
        (RequestError::ConditionEmpty, "UNSUPPORTED"),
        (RequestError::DataMissing, "UNSUPPORTED"),
        (
            RequestError::PieceTooLarge { size: 2, max: 1 },
            "BLOB_UPLOAD_INVALID",
        ),
    ];
    for (error, name) in cases {
        let message = error.to_string();
        let status = Status::from(error);
        assert_eq!(status.code(), Code::InvalidArgument, "{message}");
        assert_eq!(code(&status), name, "{message}");
        assert_eq!(status.message(), message);
    }
}
