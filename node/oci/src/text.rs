//! What all validated words have in common: how they are built, printed,
//! compared, and carried through serde as plain strings.
//!
//! The invariant: `T::from_str` is the only way in from outside, so that serde
//! cannot bring in what a parse would refuse.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// An error shows at most so many characters of the value it complains about:
/// the value came from outside and may be megabytes long.
const EXCERPT_CHARS_MAX: usize = 64;

/// The beginning of `value`, for an error message.
pub(crate) fn excerpt(value: &str) -> String {
    match value.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// `text`, without its middle where it is long: what an error says of its place
/// stands at the end.
pub(crate) fn without_middle(text: String) -> String {
    let count = text.chars().count();
    if count <= 4 * EXCERPT_CHARS_MAX {
        return text;
    }
    let start = text.chars().take(2 * EXCERPT_CHARS_MAX);
    let end = text.chars().skip(count - 2 * EXCERPT_CHARS_MAX);
    start.chain("...".chars()).chain(end).collect()
}

/// Deserializes a `T` from a string by parsing it.
pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

/// Implements `FromStr`, `as_str` and all of [`text_traits`] for the newtype
/// `$name($inner)`, whose text `$check` accepts; what it refuses is the
/// `NameError` variant `$error`.
macro_rules! text_type {
    ($name:ident($inner:ty), $check:path, $error:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::name::NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $check(text) {
                    Ok(Self(<$inner>::from(text.to_owned())))
                } else {
                    Err($crate::name::NameError::$error {
                        value: $crate::text::excerpt(text),
                    })
                }
            }
        }

        $crate::text::text_traits!($name);
    };
}
pub(crate) use text_type;

/// Implements `AsRef`, `Display`, `Debug` and serde for a type that has `as_str`
/// and `FromStr`.
macro_rules! text_traits {
    ($name:ident) => {
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::deserialize(deserializer)
            }
        }
    };
}
pub(crate) use text_traits;
