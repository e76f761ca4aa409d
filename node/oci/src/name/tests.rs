//! Names against their grammars.

use proptest::prelude::{ProptestConfig, proptest};

use super::{NameError, RegionName, RepositoryName, Tag};
use crate::AccountId;
use crate::grammar::{accepts, assert_word, texts};

const ACCOUNT: &str = "[0-9]{12}";
const REGION: &str = "[a-z][a-z0-9-]{0,31}";
const COMPONENT: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
const TAG: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";

fn repository() -> String {
    format!("{COMPONENT}(/{COMPONENT})*")
}

/// The same with every repetition cut short: else hardly any text is within the
/// length.
fn short_repository() -> String {
    let component = r"[a-z0-9]{1,40}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}";
    format!("{component}(/{component}){{0,4}}")
}

fn names<T: std::str::FromStr>(texts: &[&str]) -> Vec<bool> {
    texts.iter().map(|text| text.parse::<T>().is_ok()).collect()
}

#[test]
fn account_ids_have_twelve_digits() {
    let texts = [
        "000000000000",
        "12345678901",
        "1234567890123",
        "12345678901a",
    ];
    assert_eq!(names::<AccountId>(&texts), [true, false, false, false]);
}

#[test]
fn region_names_end_in_no_dash() {
    let texts = ["us-east-1", "a", "a--b", "a-", "1a", "-a", "A", ""];
    let expected = [true, true, true, false, false, false, false, false];
    assert_eq!(names::<RegionName>(&texts), expected);
    assert!("a".repeat(32).parse::<RegionName>().is_ok());
    assert!("a".repeat(33).parse::<RegionName>().is_err());
}

#[test]
fn repository_names_take_each_separator_as_the_grammar_has_it() {
    for name in [
        "ab",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a----b",
        "a/b",
        "team/app-1.x/y__z",
    ] {
        assert!(name.parse::<RepositoryName>().is_ok(), "{name}");
    }
    for name in [
        "a", "", "a..b", "a___b", "a.-b", "a-_b", ".ab", "ab-", "a/", "/ab", "a//b", "Ab", "a b",
        "a/../b", "..", "a\\b", "a:b", "aé",
    ] {
        assert!(name.parse::<RepositoryName>().is_err(), "{name}");
    }
}

#[test]
fn repository_names_are_2_to_256_bytes() {
    assert!("a".repeat(256).parse::<RepositoryName>().is_ok());
    assert!("a".repeat(257).parse::<RepositoryName>().is_err());
}

#[test]
fn tags_are_up_to_128_bytes() {
    assert!("v".repeat(128).parse::<Tag>().is_ok());
    assert!("v".repeat(129).parse::<Tag>().is_err());
    let texts = ["_", "1.0-rc.1", "Latest", ".x", "-x", "a:b", "a/b", "a+b"];
    let expected = [true, true, true, false, false, false, false, false];
    assert_eq!(names::<Tag>(&texts), expected);
}

#[test]
fn errors_quote_only_the_beginning_of_a_value() {
    let error = "é".repeat(10_000).parse::<Tag>().unwrap_err();
    let value = "é".repeat(64) + "...";
    assert_eq!(error, NameError::Tag { value });
}

#[test]
fn errors_escape_what_a_terminal_would_obey() {
    let error = "a\u{1b}[2J\n".parse::<Tag>().unwrap_err().to_string();
    assert!(
        error.starts_with(r#"invalid tag "a\u{1b}[2J\n": "#),
        "{error}"
    );
}

#[test]
fn names_are_strings_and_nothing_else_to_serde() {
    for json in ["123456789012", "null", r#"["123456789012"]"#, "{}"] {
        assert!(serde_json::from_str::<AccountId>(json).is_err(), "{json}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn account_ids_are_their_grammar(text in texts(ACCOUNT)) {
        assert_word::<AccountId>(&text, accepts(ACCOUNT, &text));
    }

    #[test]
    fn region_names_are_their_grammar(text in texts(REGION)) {
        let expected = accepts(REGION, &text) && !text.ends_with('-');
        assert_word::<RegionName>(&text, expected);
    }

    #[test]
    fn repository_names_are_their_grammar(text in texts(&short_repository())) {
        let in_length = text.len() >= 2 && text.len() <= 256;
        let expected = in_length && accepts(&repository(), &text);
        assert_word::<RepositoryName>(&text, expected);
    }

    #[test]
    fn tags_are_their_grammar(text in texts(TAG)) {
        assert_word::<Tag>(&text, accepts(TAG, &text));
    }
}
