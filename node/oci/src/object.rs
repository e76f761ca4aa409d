//! JSON objects as other readers see them.
//!
//! A derived `Deserialize` knows the names of its fields and passes over all
//! others. Readers written in Go do not: they take `Layers` for `layers`, and
//! the last one counts. Content with both would be one thing to this registry
//! and another to the client that pulls it. The invariant: of an [`Object`], no
//! member that is passed over is one that somebody else would read as a member
//! that is not.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

/// A `T` written as a JSON object. A derived `Deserialize` takes an array of the
/// fields' values too, which is no descriptor and no manifest.
pub(crate) struct Object<T>(pub(crate) T);

/// What is read of an object.
pub(crate) trait Members {
    /// Names that no other member may differ from by case alone.
    const NAMES: &'static [&'static str];
}

/// How many entries a map of texts has. The texts are checked and let go: they
/// take many times their length in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextsCount(pub(crate) usize);

/// A text that is checked and let go.
struct Text;

/// A list of texts that are checked and let go.
#[derive(Default)]
pub(crate) struct Texts;

// === impl Object ===

impl<'de, T: Deserialize<'de> + Members> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Members> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                let names = T::NAMES;
                T::deserialize(MapAccessDeserializer::new(Spelled { map, names }))
            }
        }

        deserializer
            .deserialize_map(ObjectVisitor(PhantomData))
            .map(Self)
    }
}

// === spelling ===

/// A map whose keys are looked at on their way.
struct Spelled<A> {
    map: A,
    names: &'static [&'static str],
}

struct Key<S> {
    seed: S,
    names: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Spelled<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let names = self.names;
        self.map.next_key_seed(Key { seed, names })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Key<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Value, E> {
        check_spelling(key, self.names)?;
        self.seed.deserialize(key.into_deserializer())
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<S::Value, E> {
        check_spelling(key, self.names)?;
        self.seed.deserialize(BorrowedStrDeserializer::new(key))
    }
}

fn check_spelling<E: Error>(key: &str, names: &[&str]) -> Result<(), E> {
    let alike =
        |name: &&&str| key != **name && key.chars().map(folded).eq(name.chars().map(folded));
    match names.iter().find(alike) {
        None => Ok(()),
        Some(name) => Err(E::custom(format!(
            "the member {key:?} differs from {name:?} by case alone, which some readers take for \
             the same"
        ))),
    }
}

/// As Go's encoding/json folds: the two letters beyond ASCII that stand for ASCII
/// ones in Unicode's simple folding are the long s and the Kelvin sign.
fn folded(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

// === texts ===

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for TextsCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl<'de> Visitor<'de> for CountVisitor {
            type Value = TextsCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextsCount, A::Error> {
                let mut count = 0;
                while map.next_entry::<Text, Text>()?.is_some() {
                    count += 1;
                }
                Ok(TextsCount(count))
            }
        }

        deserializer.deserialize_map(CountVisitor)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of a type without size, which takes no memory however many there are.
        Vec::<Text>::deserialize(deserializer).map(|_| Self)
    }
}

/// What is read of a manifest that was taken once. Its spelling was looked at
/// then, or was no matter yet.
#[derive(Deserialize)]
pub(crate) struct Notes {
    #[serde(default, deserialize_with = "crate::descriptor::null_as_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Members for Notes {
    const NAMES: &'static [&'static str] = &[];
}
