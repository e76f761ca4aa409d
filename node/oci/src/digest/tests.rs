//! Digests against their grammar, their order, and known hashes.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::{Algorithm, Digest, DigestError, Hasher};
use crate::grammar::{accepts, assert_word, texts};

const DIGEST: &str = "sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}";

/// "abc" (FIPS 180-4, examples).
const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                       2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

fn algorithms() -> impl Strategy<Value = Algorithm> {
    select(vec![Algorithm::Sha256, Algorithm::Sha512])
}

fn digests() -> impl Strategy<Value = Digest> {
    prop_oneof![
        vec(any::<u8>(), 32).prop_map(|bytes| Digest::from_bytes(Algorithm::Sha256, &bytes)),
        vec(any::<u8>(), 64).prop_map(|bytes| Digest::from_bytes(Algorithm::Sha512, &bytes)),
    ]
    .prop_map(Result::unwrap)
}

#[test]
fn of_known_content_is_the_published_digest() {
    assert_eq!(Digest::of(Algorithm::Sha256, b"abc").to_string(), ABC_256);
    assert_eq!(Digest::of(Algorithm::Sha512, b"abc").to_string(), ABC_512);
}

#[test]
fn a_text_says_what_is_wrong_with_it() {
    let error = |text: &str| text.parse::<Digest>().unwrap_err();
    assert!(matches!(error("latest"), DigestError::Form { .. }));
    assert!(matches!(error("md5:00"), DigestError::Algorithm { .. }));
    assert!(matches!(error("SHA256:00"), DigestError::Algorithm { .. }));
    assert!(matches!(error("sha256:00"), DigestError::Hex { .. }));
    let upper = format!("sha256:{}", "A".repeat(64));
    assert!(matches!(error(&upper), DigestError::Hex { .. }));
    let other_length = ABC_512.replace("sha512", "sha256");
    assert!(matches!(error(&other_length), DigestError::Hex { .. }));
}

#[test]
fn from_bytes_takes_the_algorithms_length_alone() {
    assert!(Digest::from_bytes(Algorithm::Sha256, &[0; 32]).is_ok());
    assert!(Digest::from_bytes(Algorithm::Sha512, &[0; 64]).is_ok());
    let error = Digest::from_bytes(Algorithm::Sha256, &[0; 64]).unwrap_err();
    assert!(matches!(
        error,
        DigestError::Length {
            expected: 32,
            actual: 64,
            ..
        }
    ));
}

#[test]
fn algorithms_parse_as_they_print() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        assert_eq!(
            Digest::of(algorithm, b"").bytes().len(),
            algorithm.digest_bytes()
        );
    }
}

proptest! {
    #[test]
    fn digests_are_their_grammar(text in texts(DIGEST)) {
        assert_word::<Digest>(&text, accepts(DIGEST, &text));
    }

    #[test]
    fn parts_make_the_whole_again(digest in digests()) {
        let text = format!("{}:{}", digest.algorithm(), digest.hex());
        prop_assert_eq!(text.parse(), Ok(digest));
        prop_assert_eq!(Digest::from_bytes(digest.algorithm(), digest.bytes()), Ok(digest));
    }

    #[test]
    fn order_is_that_of_the_text(one in digests(), other in digests()) {
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }

    #[test]
    fn content_in_pieces_hashes_as_content_in_one(
        algorithm in algorithms(),
        pieces in vec(vec(any::<u8>(), 0..200), 0..8),
    ) {
        let mut hasher = Hasher::new(algorithm);
        for piece in &pieces {
            hasher.update(piece);
            prop_assert_eq!(hasher.clone().finish().algorithm(), hasher.algorithm());
        }
        prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &pieces.concat()));
    }
}
