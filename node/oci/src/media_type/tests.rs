//! Media types against RFC 6838, and the constants.

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::MediaType;
use crate::grammar::{accepts, assert_word, texts};

const NAME: &str = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}";

fn media_type() -> String {
    format!("{NAME}/{NAME}")
}

#[test]
fn constants_are_media_types() {
    for known in [
        super::OCI_MANIFEST,
        super::OCI_INDEX,
        super::OCI_CONFIG,
        super::OCI_LAYER,
        super::OCI_LAYER_GZIP,
        super::OCI_LAYER_ZSTD,
        super::OCI_EMPTY,
        super::DOCKER_MANIFEST,
        super::DOCKER_LIST,
        super::DOCKER_CONFIG,
        super::DOCKER_LAYER_GZIP,
        super::DOCKER_MANIFEST_V1,
        super::DOCKER_MANIFEST_V1_SIGNED,
    ] {
        assert_eq!(known.parse::<MediaType>().unwrap(), known);
        assert_eq!(known.parse::<MediaType>().unwrap(), MediaType::known(known));
    }
}

#[test]
fn each_name_has_at_most_127_bytes() {
    let (longest, longer) = ("a".repeat(127), "a".repeat(128));
    assert!(format!("{longest}/{longest}").parse::<MediaType>().is_ok());
    assert!(format!("{longer}/a").parse::<MediaType>().is_err());
    assert!(format!("a/{longer}").parse::<MediaType>().is_err());
}

#[test]
fn content_type_loses_parameters_blanks_and_case() {
    for (header, expected) in [
        ("application/json", Some("application/json")),
        ("Application/JSON; charset=utf-8", Some("application/json")),
        ("\t text/plain ;q=\"a;b\"", Some("text/plain")),
        ("application/json;", Some("application/json")),
        ("application", None),
        ("", None),
        ("; charset=utf-8", None),
        ("a/b/c", None),
        ("*/*", None),
        ("a/b, c/d", None),
    ] {
        let parsed = MediaType::from_content_type(header).ok();
        assert_eq!(
            parsed.as_ref().map(MediaType::as_str),
            expected,
            "{header:?}"
        );
    }
}

#[test]
fn foreign_layers_are_known_whatever_their_compression() {
    for (text, expected) in [
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            true,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            true,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tarball",
            false,
        ),
        (super::OCI_LAYER_GZIP, false),
        (super::DOCKER_LAYER_GZIP, false),
    ] {
        let media_type: MediaType = text.parse().unwrap();
        assert_eq!(media_type.is_foreign_layer(), expected, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn media_types_are_their_grammar(text in texts(&media_type())) {
        assert_word::<MediaType>(&text, accepts(&media_type(), &text));
    }

    #[test]
    fn content_type_of_a_media_type_is_itself(text in "[a-z0-9][a-z0-9.+-]{0,40}/[a-z0-9][a-z0-9.+-]{0,40}") {
        let parsed = MediaType::from_content_type(&text);
        prop_assert_eq!(parsed, text.parse());
    }
}
