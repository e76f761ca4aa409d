//! References: tags and digests, told apart.

use proptest::prelude::{prop_assert_eq, proptest};

use super::{Reference, ReferenceError};
use crate::grammar::{accepts, assert_word, texts};

const TAG: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
const DIGEST: &str = "sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}";

#[test]
fn a_colon_makes_it_a_digest() {
    assert!(matches!("latest".parse(), Ok(Reference::Tag(_))));
    let digest = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(digest.parse(), Ok(Reference::Digest(_))));
    let error = "sha256:0".parse::<Reference>().unwrap_err();
    assert!(matches!(error, ReferenceError::Digest(_)));
    let error = "a b".parse::<Reference>().unwrap_err();
    assert!(matches!(error, ReferenceError::Tag(_)));
}

proptest! {
    #[test]
    fn references_are_tags_and_digests(text in texts(&format!("{TAG}|{DIGEST}"))) {
        let (tag, digest) = (accepts(TAG, &text), accepts(DIGEST, &text));
        assert_word::<Reference>(&text, tag || digest);
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.as_tag().is_some(), tag);
            prop_assert_eq!(reference.as_digest().is_some(), digest);
        }
    }
}
