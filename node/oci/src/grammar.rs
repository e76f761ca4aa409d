//! For tests: grammars as regular expressions, against which the parsers are
//! held, and texts that are in a grammar or only just outside.
//!
//! Must share no code with the parsers: its worth is that it is another reading
//! of the same specifications.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Mutex;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::Index;
use proptest::string::string_regex;
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Characters that grammars like to disagree about.
const SUSPECTS: &str = "aZ09._-/:+=, \t\n\0\\\"'%@!~#$&^é\u{212a}٣";

/// Whether the whole of `text` is in the grammar `pattern`.
pub(crate) fn accepts(pattern: &str, text: &str) -> bool {
    compiled(pattern).is_match(text)
}

/// The texts of the pattern's groups, in order; `None` if `text` is not in the
/// grammar.
pub(crate) fn groups<'t>(pattern: &str, text: &'t str) -> Option<Vec<Option<&'t str>>> {
    let groups = compiled(pattern).captures(text)?;
    let texts = groups.iter().skip(1).map(|group| Some(group?.as_str()));
    Some(texts.collect())
}

/// Compiling takes much longer than matching, and properties match often.
fn compiled(pattern: &str) -> Regex {
    static COMPILED: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap();
    let whole = || Regex::new(&format!("^(?:{pattern})$")).unwrap();
    compiled
        .entry(pattern.to_owned())
        .or_insert_with(whole)
        .clone()
}

/// Texts of the grammar `pattern`, the same with one character changed, added
/// or taken away, and arbitrary ones.
pub(crate) fn texts(pattern: &str) -> impl Strategy<Value = String> + use<> {
    let inside = string_regex(pattern).unwrap();
    let outside = (
        string_regex(pattern).unwrap(),
        any::<Index>(),
        any::<Index>(),
        0..3,
    )
        .prop_map(|(text, place, suspect, change)| damaged(&text, place, suspect, change));
    let suspects = proptest::collection::vec(proptest::sample::select(suspects()), 0..20)
        .prop_map(String::from_iter);
    prop_oneof![4 => inside, 6 => outside, 2 => suspects, 1 => any::<String>(), 1 => Just(String::new())]
}

fn damaged(text: &str, place: Index, suspect: Index, change: i32) -> String {
    let suspects = suspects();
    let mut characters: Vec<char> = text.chars().collect();
    let suspect = suspects[suspect.index(suspects.len())];
    let place = place.index(characters.len() + 1);
    match characters.get_mut(place) {
        Some(character) if change == 0 => *character = suspect,
        Some(_) if change == 1 => {
            characters.remove(place);
        }
        _ => characters.insert(place, suspect),
    }
    characters.into_iter().collect()
}

fn suspects() -> Vec<char> {
    SUSPECTS.chars().collect()
}

/// Parsing `text` succeeds exactly if `expected`; what it gives prints as `text`
/// again, and goes through serde just so.
pub(crate) fn assert_word<T>(text: &str, expected: bool)
where
    T: FromStr<Err: Debug> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let parsed = text.parse::<T>();
    assert_eq!(parsed.is_ok(), expected, "{text:?} as {parsed:?}");
    let json = serde_json::to_string(text).unwrap();
    let deserialized = serde_json::from_str::<T>(&json);
    assert_eq!(deserialized.is_ok(), expected, "{text:?} through serde");
    if let (Ok(parsed), Ok(deserialized)) = (parsed, deserialized) {
        assert_eq!(parsed, deserialized);
        assert_eq!(parsed.to_string(), text);
        assert_eq!(format!("{parsed:?}"), text);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
    }
}
