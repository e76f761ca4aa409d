//! Manifests against a naive check over plain JSON values: whatever is taken is
//! what the document says, and nothing else is taken.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::grammar::accepts;
use crate::media_type;
use crate::{Algorithm, Digest, Manifest, MediaType};

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

fn descriptors() -> impl Strategy<Value = Value> {
    let types = select(vec![
        media_type::OCI_LAYER,
        media_type::OCI_MANIFEST,
        FOREIGN,
        "text/plain",
    ]);
    let annotations = option::of(btree_map("[a-z.]{1,5}", "\\PC{0,5}", 0..3));
    let artifact = option::of(select(vec!["", "a/b"]));
    // The size follows from the digest: one content has one size.
    (types, 0..12_u64, any::<bool>(), annotations, artifact).prop_map(
        |(media_type, content, long, annotations, artifact)| {
            let algorithm = if long {
                Algorithm::Sha512
            } else {
                Algorithm::Sha256
            };
            let mut object = json!({
                "mediaType": media_type,
                "digest": Digest::of(algorithm, &content.to_le_bytes()),
                "size": content * 1000,
                "platform": { "os": "linux" },
            });
            if let Some(annotations) = annotations {
                object["annotations"] = json!(annotations);
            }
            if let Some(artifact) = artifact {
                object["artifactType"] = json!(artifact);
            }
            object
        },
    )
}

/// Valid documents of both shapes, and some that are neither or both.
fn documents() -> impl Strategy<Value = Value> {
    let types = option::of(select(media_type::MANIFESTS.to_vec()));
    let lists = || option::weighted(0.6, vec(descriptors(), 0..5));
    let single = || option::weighted(0.6, descriptors());
    let artifact = option::of(select(vec!["", "a/b"]));
    (types, single(), lists(), lists(), single(), artifact).prop_map(
        |(media_type, config, layers, manifests, subject, artifact)| {
            let mut object = Map::from_iter([("schemaVersion".to_owned(), json!(2))]);
            let mut put = |field: &str, value: Option<Value>| {
                value.and_then(|value| object.insert(field.to_owned(), value))
            };
            put("mediaType", media_type.map(|text| json!(text)));
            put("config", config);
            put("layers", layers.map(Value::from));
            put("manifests", manifests.map(Value::from));
            put("subject", subject);
            put("artifactType", artifact.map(|text| json!(text)));
            put("x-unknown", Some(json!({ "layers": [1] })));
            Value::Object(object)
        },
    )
}

/// Values that belong hardly anywhere.
fn oddities() -> impl Strategy<Value = Value> {
    let digest = Digest::of(Algorithm::Sha256, b"").to_string();
    select(vec![
        Value::Null,
        json!(-1),
        json!(1.5),
        json!(1),
        json!(2),
        json!(u64::MAX),
        json!(""),
        json!("a/b"),
        json!("a/b;c"),
        json!(digest),
        json!(digest.replace("sha256:", "SHA256:")),
        json!(digest.to_uppercase()),
        json!(media_type::DOCKER_MANIFEST_V1),
        json!(media_type::OCI_INDEX),
        json!([]),
        json!({}),
        json!([1]),
        json!({ "a": 1 }),
        json!({ "a": "b" }),
        json!(true),
    ])
}

/// The places in `value` where another value can be put: every field and item.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let place = format!("{at}/{}", name.replace('/', "~1"));
        places(child, &place, found);
        found.push(place);
    }
}

// === the naive check ===

fn is_media_type(value: &Value) -> bool {
    let pattern = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}";
    value.as_str().is_some_and(|text| accepts(pattern, text))
}

fn is_digest(value: &Value) -> bool {
    let pattern = "sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}";
    value.as_str().is_some_and(|text| accepts(pattern, text))
}

fn is_annotations(value: &Value) -> bool {
    let texts = |fields: &Map<String, Value>| fields.values().all(Value::is_string);
    value.is_null() || value.as_object().is_some_and(texts)
}

fn is_descriptor(value: &Value) -> bool {
    value.is_object()
        && is_media_type(&value["mediaType"])
        && is_digest(&value["digest"])
        && value["size"].as_i64().is_some_and(|size| size >= 0)
        && is_artifact_type(&value["artifactType"])
        && is_annotations(&value["annotations"])
}

fn is_artifact_type(value: &Value) -> bool {
    value.is_null() || value == "" || is_media_type(value)
}

fn is_list(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.iter().all(is_descriptor),
        Some(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// What the registry should take `document` for: its media type, if any.
fn expected(document: &Value, declared: Option<&str>) -> Option<&'static str> {
    let there = |field: &str| document.get(field);
    let well_formed = document["schemaVersion"].as_u64() == Some(2)
        && (document["mediaType"].is_null() || is_media_type(&document["mediaType"]))
        && is_artifact_type(&document["artifactType"])
        && is_annotations(&document["annotations"])
        && is_list(there("layers"))
        && is_list(there("manifests"))
        && ["config", "subject"]
            .iter()
            .all(|field| document[field].is_null() || is_descriptor(&document[field]));
    let written = document["mediaType"].as_str();
    let agree = written.is_none() || declared.is_none() || written == declared;
    let is_image = !document["config"].is_null() && there("layers").is_some();
    let by_shape = match (is_image, there("manifests")) {
        (true, _) => media_type::OCI_MANIFEST,
        (false, Some(_)) => media_type::OCI_INDEX,
        (false, None) => return None,
    };
    let named = written.or(declared).unwrap_or(by_shape);
    let known = media_type::MANIFESTS
        .into_iter()
        .find(|known| *known == named)?;
    let fits = if known == media_type::OCI_INDEX || known == media_type::DOCKER_LIST {
        there("manifests").is_some()
            && document["config"].is_null()
            && is_empty(&document["layers"])
    } else {
        is_image && is_empty(&document["manifests"])
    };
    (well_formed && agree && fits && one_size_each(document)).then_some(known)
}

fn one_size_each(document: &Value) -> bool {
    let mentions = mentions(document);
    mentions.iter().all(|one| {
        mentions
            .iter()
            .all(|other| one["digest"] != other["digest"] || one["size"] == other["size"])
    })
}

/// Config and layers, as they stand.
fn mentions(document: &Value) -> Vec<&Value> {
    let config = document.get("config").filter(|config| !config.is_null());
    let layers = document["layers"].as_array().into_iter().flatten();
    config.into_iter().chain(layers).collect()
}

fn digests(values: &[&Value]) -> Vec<String> {
    values
        .iter()
        .map(|value| value["digest"].as_str().unwrap().to_owned())
        .collect()
}

fn declared() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![3 => Just(None), 1 => select(media_type::MANIFESTS.to_vec()).prop_map(Some)]
}

fn parse(document: &Value, declared: Option<&str>) -> Option<Manifest> {
    let declared: Option<MediaType> = declared.map(|text| text.parse().unwrap());
    Manifest::parse(document.to_string().as_bytes(), declared.as_ref()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn takes_what_the_naive_check_takes(
        document in documents(),
        declared in declared(),
        damage in vec((any::<Index>(), oddities()), 0..3),
    ) {
        let mut document = document;
        for (place, oddity) in damage {
            let mut found = Vec::new();
            places(&document, "", &mut found);
            *document.pointer_mut(&found[place.index(found.len())]).unwrap() = oddity;
        }
        let manifest = parse(&document, declared);
        let media_type = manifest.as_ref().map(|manifest| manifest.media_type.as_str());
        prop_assert_eq!(media_type, expected(&document, declared), "{}", document);
    }

    #[test]
    fn reads_what_is_written(document in documents(), declared in declared()) {
        let Some(manifest) = parse(&document, declared) else { return Ok(()) };
        let mentions = mentions(&document);
        let size: u64 = mentions.iter().map(|blob| blob["size"].as_u64().unwrap()).sum();
        prop_assert_eq!(manifest.content_size(), size);

        let mut blobs = mentions;
        let is_config = |blob: &&Value| std::ptr::eq(*blob, &raw const document["config"]);
        blobs.retain(|blob| is_config(blob) || blob["mediaType"] != FOREIGN);
        let mut needed = digests(&blobs);
        let mut seen = Vec::new();
        needed.retain(|digest| !seen.contains(digest) && { seen.push(digest.clone()); true });
        let found: Vec<_> = manifest.blobs().iter().map(|blob| blob.digest.to_string()).collect();
        prop_assert_eq!(found, needed);

        let children: Vec<&Value> = document["manifests"].as_array().into_iter().flatten().collect();
        let found: Vec<_> = manifest.children().iter().map(|child| child.digest.to_string()).collect();
        prop_assert_eq!(found, digests(&children));
        let subject = manifest.subject.map(|subject| json!(subject.digest));
        prop_assert_eq!(subject.as_ref(), document["subject"].get("digest"));
    }

    #[test]
    fn a_torn_document_is_refused(document in documents(), end in any::<Index>()) {
        let content = document.to_string();
        let torn = &content.as_bytes()[..end.index(content.len())];
        prop_assert_eq!(Manifest::parse(torn, None).ok(), None);
    }

    #[test]
    fn arbitrary_bytes_are_refused(content in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Manifest::parse(&content, None).ok(), None);
    }
}
