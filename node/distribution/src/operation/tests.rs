//! Heads of requests and the operations they mean.

use axum::http::Request;
use entrepot_oci::{Algorithm, Digest};
use entrepot_service::TagCondition;

use super::{
    BlobOperation, Chunk, ManifestOperation, ManifestPut, NewBlob, Operation, TAGS_MAX,
    UploadOperation,
};
use crate::condition::Conditions;
use crate::error::RequestError;
use crate::page::{Page, REFERRERS_PAGE_MAX, ReferrersPage, TAGS_PAGE_MAX};
use crate::path::Session;

const UPLOADS: &str = "/v2/app/blobs/uploads/";

fn parse(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    length: Option<u64>,
) -> Result<Operation, RequestError> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    Operation::parse(&parts, length)
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha512, b"content")
}

fn new_blob(query: &str) -> Result<NewBlob, RequestError> {
    match parse("POST", &format!("{UPLOADS}?{query}"), &[], Some(7))? {
        Operation::NewBlob(_, operation) => Ok(operation),
        other => panic!("{query}: {other:?}"),
    }
}

fn upload(
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    length: Option<u64>,
) -> Result<UploadOperation, RequestError> {
    match parse(method, &format!("{UPLOADS}s-1{query}"), headers, length)? {
        Operation::Upload(_, session, operation) => {
            assert_eq!(session, "s-1".parse::<Session>().unwrap());
            Ok(operation)
        }
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn a_body_comes_as_it_is_or_in_chunks() {
    let put = |codings: &[&str]| {
        let lines: Vec<_> = codings
            .iter()
            .map(|it| ("transfer-encoding", *it))
            .collect();
        parse("PUT", "/v2/app/manifests/v1", &lines, None)
    };
    assert!(put(&["chunked"]).is_ok() && put(&["Chunked"]).is_ok());
    for codings in [
        &["gzip, chunked"] as &[_],
        &["gzip", "chunked"],
        &["identity, chunked"],
        &[",chunked"],
        &["chunked, chunked"],
        &["chunked", "chunked"],
    ] {
        let refused = put(codings);
        assert!(
            matches!(refused, Err(RequestError::TransferEncoded)),
            "{codings:?}: {refused:?}"
        );
    }
}

#[test]
fn of_two_lines_none_counts() {
    let ranges = [("content-range", "0-6"), ("content-range", "7-13")];
    let refused = upload("PATCH", "", &ranges, Some(7));
    assert!(
        matches!(refused, Err(RequestError::ContentRangeInvalid(_))),
        "{refused:?}"
    );
    let types = ["application/vnd.oci.image.index.v1+json"; 2].map(|it| ("content-type", it));
    let refused = parse("PUT", "/v2/app/manifests/v1", &types, None);
    assert!(
        matches!(refused, Err(RequestError::ContentTypeInvalid(_))),
        "{refused:?}"
    );
}

#[test]
fn a_post_opens_pushes_or_mounts() {
    let digest = digest();
    let escaped = digest.to_string().replace(':', "%3A");
    let push = NewBlob::Push {
        digest,
        length: Some(7),
    };
    let mount = NewBlob::Mount {
        from: "other/app".parse().ok(),
        digest,
    };
    let mount_any = NewBlob::Mount { from: None, digest };
    let cases = [
        (String::new(), NewBlob::Open(None)),
        (
            "digest-algorithm=sha512".to_owned(),
            NewBlob::Open(Some(Algorithm::Sha512)),
        ),
        (format!("digest={escaped}"), push.clone()),
        (format!("digest={digest}"), push),
        (format!("mount={escaped}&from=other%2Fapp"), mount.clone()),
        (format!("from=other/app&mount={digest}"), mount),
        (format!("mount={digest}"), mount_any.clone()),
        (format!("mount={digest}&from="), mount_any),
    ];
    for (query, expected) in cases {
        assert_eq!(new_blob(&query).unwrap(), expected, "{query}");
    }
}

#[test]
fn a_bad_query_is_refused() {
    let digest = digest();
    assert!(matches!(
        new_blob("digest=sha256:12"),
        Err(RequestError::DigestInvalid(_))
    ));
    assert!(matches!(
        new_blob("mount=x&from=app"),
        Err(RequestError::DigestInvalid(_))
    ));
    assert!(matches!(
        new_blob(&format!("mount={digest}&from=App")),
        Err(RequestError::NameInvalid(_))
    ));
    assert!(matches!(
        new_blob("digest-algorithm=md5"),
        Err(RequestError::AlgorithmUnknown(_))
    ));
    assert!(matches!(
        upload("PUT", "", &[], Some(0)),
        Err(RequestError::DigestMissing)
    ));
    assert!(matches!(
        upload("PUT", "?digest=sha256%3Azz", &[], Some(0)),
        Err(RequestError::DigestInvalid(_))
    ));
}

#[test]
fn a_chunk_knows_its_place_as_far_as_the_client_says() {
    let chunk = |offset, length| Chunk { offset, length };
    let cases = [
        (None, None, chunk(None, None)),
        (None, Some(5), chunk(None, Some(5))),
        (Some("10-14"), Some(5), chunk(Some(10), Some(5))),
        (Some("10-14"), None, chunk(Some(10), Some(5))),
        (Some("bytes 0-4/*"), Some(5), chunk(Some(0), Some(5))),
    ];
    for (range, length, expected) in cases {
        let headers: Vec<_> = range.map(|r| ("content-range", r)).into_iter().collect();
        let patch = upload("PATCH", "", &headers, length).unwrap();
        assert_eq!(patch, UploadOperation::Append(expected), "{range:?}");
        let query = format!("?digest={}", digest());
        let put = upload("PUT", &query, &headers, length).unwrap();
        assert_eq!(
            put,
            UploadOperation::Finish(expected, digest()),
            "{range:?}"
        );
    }
}

#[test]
fn a_chunk_that_contradicts_itself_is_refused() {
    let patch = |range, length| upload("PATCH", "", &[("content-range", range)], length);
    assert!(matches!(
        patch("0-4", Some(4)),
        Err(RequestError::LengthMismatch {
            range: 5,
            length: 4
        })
    ));
    for range in ["4-0", "x", "0-", "bytes */5"] {
        assert!(
            matches!(
                patch(range, Some(5)),
                Err(RequestError::ContentRangeInvalid(_))
            ),
            "{range}"
        );
    }
}

#[test]
fn lists_are_read_in_pages() {
    let catalog = parse("GET", "/v2/_catalog?n=2&last=team/app", &[], Some(0)).unwrap();
    let after = Some("team/app".to_owned());
    assert_eq!(catalog, Operation::Catalog(Page { after, limit: 2 }));

    let tags = parse("HEAD", "/v2/app/tags/list", &[], Some(0)).unwrap();
    let page = Page {
        after: None,
        limit: TAGS_PAGE_MAX,
    };
    assert_eq!(tags, Operation::Tags("app".parse().unwrap(), page));

    let digest = digest();
    let target = format!("/v2/app/referrers/{digest}?artifactType=a/b&last={digest}");
    let referrers = parse("GET", &target, &[], Some(0)).unwrap();
    let page = ReferrersPage {
        types: vec!["a/b".to_owned()],
        after: Some(digest),
        limit: REFERRERS_PAGE_MAX,
    };
    let expected = Operation::Referrers("app".parse().unwrap(), digest, page);
    assert_eq!(referrers, expected);
}

#[test]
fn other_methods_are_refused_with_those_that_are_taken() {
    let blob = format!("/v2/app/blobs/{}", digest());
    let session = format!("{UPLOADS}s-1");
    let referrers = format!("/v2/app/referrers/{}", digest());
    let cases = [
        ("/v2/", "POST", "GET, HEAD"),
        ("/v2/_catalog", "POST", "GET, HEAD"),
        ("/v2/app/tags/list", "DELETE", "GET, HEAD"),
        (referrers.as_str(), "PUT", "GET, HEAD"),
        ("/v2/app/manifests/v1", "POST", "GET, HEAD, PUT, DELETE"),
        (blob.as_str(), "PUT", "GET, HEAD, DELETE"),
        (UPLOADS, "GET", "POST"),
        (session.as_str(), "POST", "GET, HEAD, PATCH, PUT, DELETE"),
    ];
    for (path, method, expected) in cases {
        match parse(method, path, &[], Some(0)) {
            Err(RequestError::MethodNotAllowed { allow }) => assert_eq!(allow, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn a_tag_that_cannot_be_is_unknown_to_readers_and_invalid_to_writers() {
    let request = |method| parse(method, "/v2/app/manifests/.tag", &[], Some(0));
    for method in ["GET", "HEAD", "DELETE"] {
        assert!(
            matches!(request(method), Err(RequestError::TagUnknown(_))),
            "{method}"
        );
    }
    assert!(matches!(request("PUT"), Err(RequestError::TagInvalid(_))));
}

#[test]
fn a_content_type_is_read_without_its_parameters() {
    let put = |value: &str| {
        let headers = [("content-type", value)];
        parse("PUT", "/v2/app/manifests/v1", &headers, Some(2))
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    match put(&format!("{media_type}; charset=utf-8")).unwrap() {
        Operation::Manifest(_, _, ManifestOperation::Put(put)) => {
            assert_eq!(put.content_type, media_type.parse().ok());
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        put("nonsense"),
        Err(RequestError::ContentTypeInvalid(_))
    ));
}

#[test]
fn a_range_is_for_get_alone() {
    let target = format!("/v2/app/blobs/{}", digest());
    let operation =
        |method| match parse(method, &target, &[("range", "bytes=0-1")], Some(0)).unwrap() {
            Operation::Blob(_, _, operation) => operation,
            other => panic!("{other:?}"),
        };
    assert_eq!(
        operation("HEAD"),
        BlobOperation::Stat(Conditions::default())
    );
    assert_ne!(operation("GET"), BlobOperation::Get(Conditions::default()));
}

fn put(target: &str, headers: &[(&str, &str)]) -> Result<ManifestPut, RequestError> {
    match parse("PUT", target, headers, Some(2))? {
        Operation::Manifest(_, _, ManifestOperation::Put(put)) => Ok(put),
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn tags_come_with_a_digest() {
    let by_digest = format!("/v2/app/manifests/{}", digest());
    let tags = |query: &str| {
        put(&format!("{by_digest}{query}"), &[]).map(|put| {
            let tags: Vec<String> = put.tags.iter().map(ToString::to_string).collect();
            tags.join(" ")
        })
    };
    assert_eq!(tags("").unwrap(), "");
    assert_eq!(tags("?tag=v1").unwrap(), "v1");
    assert_eq!(
        tags("?tag=1.2.3&x=y&tag=1%2E2&tag=1.2.3").unwrap(),
        "1.2.3 1.2"
    );
    for query in ["?tag=", "?tag=.v1", "?tag=a,b"] {
        assert!(
            matches!(tags(query), Err(RequestError::TagInvalid(_))),
            "{query}"
        );
    }
    let many = |count| {
        let tags: Vec<String> = (0..count).map(|n| format!("tag=t{n}")).collect();
        format!("?{}", tags.join("&"))
    };
    assert!(tags(&many(TAGS_MAX)).is_ok());
    assert!(matches!(
        tags(&many(TAGS_MAX + 1)),
        Err(RequestError::TagsTooMany { max: TAGS_MAX })
    ));
    assert!(matches!(
        put("/v2/app/manifests/v1?tag=v2", &[]),
        Err(RequestError::TagsWithoutDigest)
    ));
}

#[test]
fn a_write_of_a_manifest_may_have_a_condition() {
    let condition = |method: &str, header: (&str, &str)| match parse(
        method,
        "/v2/app/manifests/v1",
        &[header],
        Some(0),
    )
    .unwrap()
    {
        Operation::Manifest(_, _, ManifestOperation::Put(put)) => put.condition,
        Operation::Manifest(_, _, ManifestOperation::Delete(condition)) => condition,
        other => panic!("{other:?}"),
    };
    let digest = digest();
    for method in ["PUT", "DELETE"] {
        assert_eq!(condition(method, ("x", "y")), TagCondition::None);
        assert_eq!(
            condition(method, ("if-match", &digest.to_string())),
            TagCondition::Is(digest)
        );
        assert_eq!(
            condition(method, ("if-none-match", "*")),
            TagCondition::Absent
        );
        let headers = [("if-match", "nonsense")];
        assert!(matches!(
            parse(method, "/v2/app/manifests/v1", &headers, Some(0)),
            Err(RequestError::PreconditionInvalid)
        ));
    }
}

#[test]
fn content_comes_as_it_is() {
    let session = format!("{UPLOADS}s-1");
    let blob = format!("{session}?digest={}", digest());
    for (method, target) in [
        ("PUT", "/v2/app/manifests/v1"),
        ("PATCH", session.as_str()),
        ("PUT", blob.as_str()),
        ("POST", UPLOADS),
    ] {
        let with = |coding| parse(method, target, &[("content-encoding", coding)], Some(7));
        for coding in ["gzip", "identity, gzip", "x", ""] {
            assert!(
                matches!(with(coding), Err(RequestError::ContentEncoded)),
                "{method} {target} {coding}"
            );
        }
        assert!(with("Identity").is_ok(), "{method} {target}");
    }
    let get = parse("GET", "/v2/", &[("content-encoding", "gzip")], Some(0));
    assert_eq!(get.unwrap(), Operation::Ping);
}
