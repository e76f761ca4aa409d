//! Manifests of every kind, what is refused of each, and what a manifest needs.

use serde_json::{Value, json};

use super::{
    ANNOTATIONS_MAX, DESCRIPTORS_MAX, MANIFEST_BYTES_MAX, Manifest, ManifestError, ManifestKind,
};
use crate::media_type::{self, MediaType};
use crate::{Algorithm, DESCRIPTOR_SIZE_MAX, Descriptor, Digest};

mod properties;

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

/// A descriptor of `content`, as JSON.
fn descriptor(media_type: &str, content: &str) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, "config"),
        "layers": [
            descriptor(media_type::OCI_LAYER_GZIP, "one"),
            descriptor(media_type::OCI_LAYER_GZIP, "three"),
        ],
    })
}

fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [
            descriptor(media_type::OCI_MANIFEST, "amd64"),
            descriptor(media_type::OCI_MANIFEST, "arm64"),
        ],
    })
}

fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

fn without(mut document: Value, field: &str) -> Value {
    document.as_object_mut().unwrap().remove(field);
    document
}

fn parse(document: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(document.to_string().as_bytes(), None)
}

fn parse_as(document: &Value, content_type: &str) -> Result<Manifest, ManifestError> {
    let content_type: MediaType = content_type.parse().unwrap();
    Manifest::parse(document.to_string().as_bytes(), Some(&content_type))
}

fn contents<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Vec<Digest> {
    let digests = descriptors.into_iter().map(|descriptor| descriptor.digest);
    digests.collect()
}

#[test]
fn image_needs_its_config_and_layers() {
    let manifest = parse(&image()).unwrap();
    let blobs = ["config", "one", "three"].map(digest);
    assert_eq!(contents(manifest.blobs()), blobs);
    assert_eq!(manifest.content_size(), 6 + 3 + 5);
    assert!(!manifest.is_index() && manifest.children().is_empty());
}

#[test]
fn index_has_children_and_no_blobs() {
    let manifest = parse(&index()).unwrap();
    assert_eq!(
        contents(manifest.children()),
        ["amd64", "arm64"].map(digest)
    );
    assert!(manifest.is_index() && manifest.blobs().is_empty());
    assert_eq!(manifest.content_size(), 0);
}

#[test]
fn docker_manifests_and_lists_are_read_alike() {
    let manifest = parse(&with(
        image(),
        "mediaType",
        json!(media_type::DOCKER_MANIFEST),
    ))
    .unwrap();
    assert_eq!(manifest.media_type, media_type::DOCKER_MANIFEST);
    assert!(!manifest.is_index());
    let list = parse(&with(index(), "mediaType", json!(media_type::DOCKER_LIST))).unwrap();
    assert_eq!(list.media_type, media_type::DOCKER_LIST);
    assert!(list.is_index());
}

#[test]
fn kinds_are_the_media_types() {
    for known in media_type::MANIFESTS {
        let kind = ManifestKind::of(&known.parse().unwrap()).unwrap();
        assert_eq!(kind.media_type(), known);
    }
    assert_eq!(
        ManifestKind::of(&media_type::OCI_LAYER.parse().unwrap()),
        None
    );
}

#[test]
fn without_a_media_type_the_client_decides_then_the_shape() {
    let image = without(image(), "mediaType");
    let declared = parse_as(&image, media_type::DOCKER_MANIFEST).unwrap();
    assert_eq!(declared.media_type, media_type::DOCKER_MANIFEST);
    assert_eq!(parse(&image).unwrap().media_type, media_type::OCI_MANIFEST);
    let index = without(index(), "mediaType");
    assert_eq!(parse(&index).unwrap().media_type, media_type::OCI_INDEX);
    let shapeless = without(index, "manifests");
    assert!(matches!(parse(&shapeless), Err(ManifestError::Shapeless)));
}

#[test]
fn declared_and_written_media_type_must_agree() {
    assert!(parse_as(&image(), media_type::OCI_MANIFEST).is_ok());
    for other in [
        media_type::DOCKER_MANIFEST,
        media_type::OCI_INDEX,
        "application/json",
    ] {
        let error = parse_as(&image(), other).unwrap_err();
        assert!(
            matches!(error, ManifestError::MediaTypeMismatch { .. }),
            "{error}"
        );
    }
}

#[test]
fn other_media_types_are_unsupported() {
    let artifact = with(
        image(),
        "mediaType",
        json!("application/vnd.oci.artifact.manifest.v1+json"),
    );
    assert!(matches!(
        parse(&artifact),
        Err(ManifestError::UnsupportedMediaType(_))
    ));
    let undeclared = without(image(), "mediaType");
    let error = parse_as(&undeclared, "application/json").unwrap_err();
    assert!(
        matches!(error, ManifestError::UnsupportedMediaType(_)),
        "{error}"
    );
}

#[test]
fn schema_1_is_refused_by_name() {
    let schema_1 = json!({ "schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [] });
    let v1 = media_type::DOCKER_MANIFEST_V1;
    let signed = media_type::DOCKER_MANIFEST_V1_SIGNED;
    for refused in [
        parse(&schema_1),
        parse_as(&schema_1, "application/json"),
        parse_as(&schema_1, signed),
        parse(&with(schema_1.clone(), "mediaType", json!(signed))),
        parse(&with(image(), "mediaType", json!(v1))),
        Manifest::parse(b"not json", Some(&v1.parse().unwrap())),
    ] {
        assert!(
            matches!(refused, Err(ManifestError::Schema1)),
            "{refused:?}"
        );
    }
}

#[test]
fn schema_version_must_be_2() {
    let error = parse(&without(image(), "schemaVersion")).unwrap_err();
    assert!(matches!(error, ManifestError::SchemaVersionMissing));
    let error = parse(&with(image(), "schemaVersion", json!(3))).unwrap_err();
    assert!(matches!(error, ManifestError::SchemaVersion(3)));
    for wrong in [json!("2"), json!(2.0), json!(-2), json!([2])] {
        let error = parse(&with(image(), "schemaVersion", wrong)).unwrap_err();
        assert!(matches!(error, ManifestError::Document(_)));
    }
}

#[test]
fn each_kind_must_have_its_fields_and_none_of_the_others() {
    let manifests = index()["manifests"].clone();
    let config = image()["config"].clone();
    let layers = image()["layers"].clone();
    for missing in ["config", "layers"] {
        let error = parse(&without(image(), missing)).unwrap_err();
        assert!(matches!(error, ManifestError::FieldMissing { field, .. } if field == missing));
    }
    let error = parse(&without(index(), "manifests")).unwrap_err();
    assert!(matches!(
        error,
        ManifestError::FieldMissing {
            field: "manifests",
            ..
        }
    ));
    for both in [
        with(image(), "manifests", manifests.clone()),
        with(without(image(), "mediaType"), "manifests", manifests),
        with(index(), "config", config),
        with(index(), "layers", layers.clone()),
        with(without(index(), "mediaType"), "layers", layers),
    ] {
        assert!(
            matches!(parse(&both), Err(ManifestError::Ambiguous)),
            "{both}"
        );
    }
}

#[test]
fn nulls_and_empty_texts_of_go_clients_are_absences() {
    let mut image = image();
    for field in ["annotations", "subject", "manifests", "layers"] {
        image[field] = Value::Null;
    }
    image["artifactType"] = json!("");
    image["config"]["annotations"] = Value::Null;
    image["config"]["urls"] = Value::Null;
    let manifest = parse(&image).unwrap();
    assert_eq!((manifest.layers.len(), manifest.artifact_type), (0, None));
    let empty_index = with(index(), "manifests", Value::Null);
    assert!(parse(&empty_index).unwrap().children().is_empty());
}

#[test]
fn foreign_layers_need_not_be_here() {
    let mut image = image();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    image["layers"][0]["mediaType"] = json!(foreign);
    image["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    let manifest = parse(&image).unwrap();
    assert_eq!(contents(manifest.blobs()), ["config", "three"].map(digest));
    assert_eq!(manifest.content_size(), 6 + 3 + 5);
}

#[test]
fn a_config_is_never_elsewhere() {
    let mut image = image();
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    image["config"]["mediaType"] = json!(foreign);
    let manifest = parse(&image).unwrap();
    let all = ["config", "one", "three"].map(digest);
    assert_eq!(contents(manifest.blobs()), all);
}

#[test]
fn a_member_that_is_known_but_for_case_is_refused() {
    let misspelt = [
        ("", "Layers"),
        ("", "LAYERS"),
        ("", "layer\u{17f}"),
        ("", "Manifests"),
        ("", "Config"),
        ("", "mediatype"),
        ("", "SchemaVersion"),
        ("", "\u{17f}ubject"),
        ("/config", "Digest"),
        ("/layers/1", "SIZE"),
        ("/layers/0", "MediaType"),
        ("/layers/0", "Data"),
    ];
    for (place, name) in misspelt {
        let mut image = image();
        image.pointer_mut(place).unwrap()[name] = Value::Null;
        let error = parse(&image).unwrap_err().detail();
        assert!(error.contains("by case alone"), "{name}: {error}");
    }
    for harmless in ["layer", "layers_", "l\u{e4}yers", "x-Config"] {
        assert!(parse(&with(image(), harmless, json!([]))).is_ok());
    }
}

#[test]
fn what_was_taken_once_is_read_whatever_its_spelling() {
    let old = with(image(), "Annotations", json!({ "a": "c" }));
    let old = with(old, "annotations", json!({ "a": "b" }));
    assert!(parse(&old).is_err());
    let read = Manifest::annotations_of(old.to_string().as_bytes()).unwrap();
    assert_eq!(read["a"], "b");
}

#[test]
fn annotations_have_a_limit() {
    let annotations = |count: usize| {
        let all = (0..count).map(|number| (number.to_string(), json!("")));
        parse(&with(image(), "annotations", Value::Object(all.collect())))
    };
    assert!(annotations(ANNOTATIONS_MAX).is_ok());
    let error = annotations(ANNOTATIONS_MAX + 1).unwrap_err();
    assert!(
        matches!(error, ManifestError::TooManyAnnotations(4097)),
        "{error}"
    );
}

#[test]
fn a_blob_named_twice_is_needed_once_and_has_one_size() {
    let mut image = image();
    image["layers"][1] = image["layers"][0].clone();
    let manifest = parse(&image).unwrap();
    assert_eq!(contents(manifest.blobs()), ["config", "one"].map(digest));
    assert_eq!(manifest.content_size(), 6 + 3 + 3);
    for wrong in [2, 4] {
        image["layers"][1]["size"] = json!(wrong);
        let error = parse(&image).unwrap_err();
        assert!(
            matches!(error, ManifestError::SizeConflict { first: 3, second, .. } if second == wrong)
        );
    }
}

#[test]
fn subject_and_artifact_type_are_read() {
    let mut image = image();
    image["subject"] = descriptor(media_type::OCI_MANIFEST, "subject");
    image["annotations"] = json!({ "a": "b" });
    let manifest = parse(&image).unwrap();
    assert_eq!(manifest.subject.as_ref().unwrap().digest, digest("subject"));
    assert_eq!(manifest.referrer_type().unwrap(), &media_type::OCI_CONFIG);
    image["artifactType"] = json!("application/vnd.example");
    let manifest = parse(&image).unwrap();
    assert_eq!(
        manifest.referrer_type().unwrap(),
        &"application/vnd.example"
    );
    assert_eq!(parse(&index()).unwrap().referrer_type(), None);
}

#[test]
fn annotations_are_read_alone() {
    let mut image = image();
    image["annotations"] = json!({ "a": "b", "c": "" });
    let read = |document: &Value| Manifest::annotations_of(document.to_string().as_bytes());
    let expected = [("a", "b"), ("c", "")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(read(&image).unwrap(), expected.into());
    image["annotations"] = Value::Null;
    assert_eq!(read(&image).unwrap().len(), 0);
    // What else became of the rules does not matter here.
    assert_eq!(
        read(&json!({ "annotations": { "a": "b" }, "layers": 1 })).unwrap()["a"],
        "b"
    );
    for broken in [json!([{ "a": "b" }]), json!({ "annotations": { "a": 1 } })] {
        assert!(
            matches!(read(&broken), Err(ManifestError::Document(_))),
            "{broken}"
        );
    }
}

#[test]
fn embedded_data_must_be_the_content() {
    let config = |algorithm, data: Value| {
        let mut image = image();
        image["config"]["digest"] = json!(Digest::of(algorithm, b"config"));
        image["config"]["data"] = data;
        parse(&image)
    };
    let right = json!("Y29uZmln");
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for data in [&right, &Value::Null, &json!("")] {
            assert!(config(algorithm, data.clone()).is_ok(), "{data}");
        }
        for (data, reason) in [
            (json!("Q29uZmln"), "has another digest"),
            (json!("Y29uZmlncw=="), "has 7 bytes, not the 6"),
            (json!("Y29uZmln\n"), "is no base64"),
            (json!("Y29uZmlncw"), "is no base64"),
            (json!(6), "expected a string"),
        ] {
            let detail = config(algorithm, data).unwrap_err().detail();
            assert!(detail.contains(reason), "{detail}");
        }
    }
    // Wherever a descriptor stands.
    for (mut document, place) in [
        (image(), "/layers/1"),
        (index(), "/manifests/0"),
        (
            with(
                image(),
                "subject",
                descriptor(media_type::OCI_MANIFEST, "amd64"),
            ),
            "/subject",
        ),
    ] {
        document.pointer_mut(place).unwrap()["data"] = json!("d3Jvbmc=");
        let detail = parse(&document).unwrap_err().detail();
        assert!(detail.contains("the embedded data of"), "{place}: {detail}");
    }
}

#[test]
fn bad_descriptors_are_refused_with_the_reason() {
    let upper = digest("one").to_string().replace("sha256:", "SHA256:");
    for (field, value, reason) in [
        (
            "digest",
            json!("sha256:abc"),
            "sha256 takes 64 lower-case hex digits",
        ),
        ("digest", json!(upper), "unsupported digest algorithm"),
        ("digest", Value::Null, "expected a string"),
        ("size", json!(-1), "expected u64"),
        ("size", json!(1.0), "expected u64"),
        ("size", json!("1"), "expected u64"),
        ("size", json!(DESCRIPTOR_SIZE_MAX + 1), "at most 2^63 - 1"),
        ("mediaType", json!("tar"), "invalid media type"),
        ("mediaType", json!("a/b; c=d"), "invalid media type"),
        ("artifactType", json!("sbom"), "invalid media type"),
        ("annotations", json!({ "a": 1 }), "expected a string"),
        ("urls", json!("https://example.com"), "expected a sequence"),
    ] {
        let mut image = image();
        image["layers"][1][field] = value;
        let detail = parse(&image).unwrap_err().detail();
        assert!(detail.starts_with("cannot read the manifest: "), "{detail}");
        assert!(detail.contains(reason), "{detail}");
    }
}

#[test]
fn arrays_are_no_objects() {
    let config = json!([media_type::OCI_CONFIG, digest("config"), 6]);
    let image = with(image(), "config", config);
    assert!(matches!(parse(&image), Err(ManifestError::Document(_))));
    let manifest = json!([
        2,
        media_type::OCI_MANIFEST,
        null,
        null,
        null,
        null,
        null,
        null
    ]);
    assert!(matches!(parse(&manifest), Err(ManifestError::Document(_))));
}

#[test]
fn repeated_fields_are_refused() {
    let content = image().to_string();
    let layers = image()["layers"].to_string();
    let twice = content.replacen('{', &format!("{{\"layers\":{layers},"), 1);
    assert!(Manifest::parse(content.as_bytes(), None).is_ok());
    let error = Manifest::parse(twice.as_bytes(), None).unwrap_err();
    assert!(
        error.detail().contains("duplicate field"),
        "{}",
        error.detail()
    );
}

#[test]
fn unknown_fields_are_passed_over_however_deep() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let content = image().to_string();
    let unknown = content.replacen('{', &format!("{{\"x-unknown\":{},", nested(1_000_000)), 1);
    assert!(Manifest::parse(unknown.as_bytes(), None).is_ok());
    let known = content.replacen('{', &format!("{{\"subject\":{},", nested(1_000_000)), 1);
    assert!(Manifest::parse(known.as_bytes(), None).is_err());
}

#[test]
fn bytes_beyond_the_limit_are_refused_unread() {
    let mut content = image().to_string().into_bytes();
    content.resize(MANIFEST_BYTES_MAX, b' ');
    assert!(Manifest::parse(&content, None).is_ok());
    content.push(b' ');
    let error = Manifest::parse(&content, None).unwrap_err();
    assert!(matches!(error, ManifestError::TooLarge { size } if size == content.len()));
}

#[test]
fn descriptors_are_bounded() {
    for (document, field) in [(image(), "layers"), (index(), "manifests")] {
        let one = document[field][0].clone();
        let largest = with(
            document.clone(),
            field,
            json!(vec![one.clone(); DESCRIPTORS_MAX]),
        );
        assert!(parse(&largest).is_ok());
        let error = parse(&with(
            document,
            field,
            json!(vec![one; DESCRIPTORS_MAX + 1]),
        ))
        .unwrap_err();
        assert!(
            matches!(error, ManifestError::TooManyDescriptors { .. }),
            "{error}"
        );
    }
}

#[test]
fn content_size_does_not_wrap() {
    let mut image = image();
    for blob in ["config", "layers"] {
        let target = if blob == "config" {
            &mut image["config"]
        } else {
            &mut image["layers"][0]
        };
        target["size"] = json!(DESCRIPTOR_SIZE_MAX);
    }
    image["layers"][1]["size"] = json!(DESCRIPTOR_SIZE_MAX);
    assert_eq!(parse(&image).unwrap().content_size(), u64::MAX);
}

#[test]
fn descriptors_serialize_as_the_specification_has_them() {
    let json = descriptor(media_type::OCI_MANIFEST, "subject");
    let parsed: Descriptor = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), json);
    let mut full = json;
    full["artifactType"] = json!("application/vnd.example");
    let mut parsed: Descriptor = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), full);
    full["annotations"] = json!({ "a": "b" });
    parsed.annotations = [("a".to_owned(), "b".to_owned())].into();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), full);
    // Of what is read they are let go.
    full["urls"] = json!(["https://example.com"]);
    parsed.annotations.clear();
    assert_eq!(serde_json::from_value::<Descriptor>(full).unwrap(), parsed);
}
