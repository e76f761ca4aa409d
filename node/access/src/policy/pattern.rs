//! Texts to compare with: `*`, `?` and variables.
//!
//! Compiled once. Matching takes the product of both lengths at the worst, never
//! more: each piece between two `*` is looked for from the left and never again.

use std::borrow::Cow;

use super::error::Problem;

/// What is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    pieces: Box<[Piece]>,
    has_variables: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// `?`: one character.
    One,
    /// `*`: any number of them.
    Many,
    Variable(Box<Variable>),
}

#[derive(Clone, Debug, PartialEq)]
struct Variable {
    /// In lower case.
    key: String,
    default: Option<String>,
}

/// What of a pattern's signs means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) wildcards: bool,
    pub(super) variables: bool,
}

/// A variable has no value in this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unresolved;

/// Where values of variables come from: one value by its key in lower case.
pub(super) trait Variables {
    fn variable(&self, key: &str) -> Option<&str>;
}

// === impl Pattern ===

impl Pattern {
    /// # Errors
    /// [`Problem::Syntax`] for a variable that cannot be read.
    pub(super) fn parse(text: &str, signs: Signs) -> Result<Self, Problem> {
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let after = &rest[character.len_utf8()..];
            match character {
                '*' if signs.wildcards => pieces.many(),
                '?' if signs.wildcards => pieces.0.push(Piece::One),
                '$' if signs.variables && after.starts_with('{') => {
                    let (inside, end) = after[1..].split_once('}').ok_or(Problem::Syntax)?;
                    pieces.variable(inside)?;
                    rest = end;
                    continue;
                }
                _ => pieces.text(character),
            }
            rest = after;
        }
        let pieces = pieces.0.into_boxed_slice();
        let is_variable = |piece: &Piece| matches!(piece, Piece::Variable(_));
        Ok(Self {
            has_variables: pieces.iter().any(is_variable),
            pieces,
        })
    }

    pub(super) fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// In lower case, for comparisons that pass over case.
    pub(super) fn into_lower_case(mut self) -> Self {
        for piece in &mut self.pieces {
            if let Piece::Text(text) = piece {
                *text = text.to_lowercase();
            }
        }
        self
    }

    /// Whether `text` is one that this stands for.
    ///
    /// # Errors
    /// [`Unresolved`]
    pub(super) fn matches(
        &self,
        text: &str,
        variables: &impl Variables,
    ) -> Result<bool, Unresolved> {
        Ok(pieces_match(&self.resolved(variables, false)?, text))
    }

    /// The same without regard to case: `text` in lower case, and the pattern
    /// made by [`Pattern::into_lower_case`].
    pub(super) fn matches_lower(
        &self,
        text: &str,
        variables: &impl Variables,
    ) -> Result<bool, Unresolved> {
        Ok(pieces_match(&self.resolved(variables, true)?, text))
    }

    /// The same for patterns without variables.
    pub(super) fn matches_plainly(&self, text: &str) -> bool {
        pieces_match(&self.pieces, text)
    }

    /// Values of variables are texts: a `*` in one stands for itself.
    fn resolved(
        &self,
        variables: &impl Variables,
        lower: bool,
    ) -> Result<Cow<'_, [Piece]>, Unresolved> {
        if !self.has_variables {
            return Ok(Cow::Borrowed(&self.pieces));
        }
        let resolve = |piece: &Piece| match piece {
            Piece::Variable(it) => {
                let value = variables.variable(&it.key).or(it.default.as_deref());
                let value = value.ok_or(Unresolved)?;
                let text = if lower {
                    value.to_lowercase()
                } else {
                    value.to_owned()
                };
                Ok(Piece::Text(text))
            }
            piece => Ok(piece.clone()),
        };
        let pieces: Result<Vec<Piece>, Unresolved> = self.pieces.iter().map(resolve).collect();
        pieces.map(Cow::Owned)
    }
}

// === parsing ===

/// Parts `text` at its colons into `parts_max` at the most. With `variables`, the
/// colons within `${...}` belong to these.
pub(super) fn parts(text: &str, parts_max: usize, variables: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut is_inside = false;
    for (at, character) in text.char_indices() {
        match character {
            '{' if variables && text[..at].ends_with('$') => is_inside = true,
            '}' => is_inside = false,
            ':' if !is_inside && parts.len() + 1 < parts_max => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn text(&mut self, character: char) {
        if let Some(Piece::Text(text)) = self.0.last_mut() {
            text.push(character);
        } else {
            self.0.push(Piece::Text(character.into()));
        }
    }

    fn many(&mut self) {
        if self.0.last() != Some(&Piece::Many) {
            self.0.push(Piece::Many);
        }
    }

    /// `*`, `?` and `$` stand for themselves; else `<key>` or
    /// `<key>, '<default>'`.
    fn variable(&mut self, inside: &str) -> Result<(), Problem> {
        if let "*" | "?" | "$" = inside {
            inside.chars().for_each(|character| self.text(character));
            return Ok(());
        }
        let (key, default) = match inside.split_once(',') {
            None => (inside, None),
            Some((key, default)) => {
                let default = default.trim().strip_prefix('\'');
                let default = default.and_then(|default| default.strip_suffix('\''));
                (key, Some(default.ok_or(Problem::Syntax)?.to_owned()))
            }
        };
        let key = key.trim().to_lowercase();
        if !key.contains(':') || key.contains(['$', '{', '\'']) {
            return Err(Problem::Syntax);
        }
        let variable = Box::new(Variable { key, default });
        self.0.push(Piece::Variable(variable));
        Ok(())
    }
}

// === matching ===

fn pieces_match(pieces: &[Piece], text: &str) -> bool {
    let mut segments = pieces.split(|piece| *piece == Piece::Many).peekable();
    let Some(mut rest) = segments.next().and_then(|first| after(first, text)) else {
        return false;
    };
    if segments.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            return ends_with(segment, rest);
        }
        match found(segment, rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What of `text` follows `segment`, which it starts with.
fn after<'a>(segment: &[Piece], mut text: &'a str) -> Option<&'a str> {
    for piece in segment {
        text = match piece {
            Piece::Text(piece) => text.strip_prefix(piece.as_str())?,
            Piece::One => {
                let mut characters = text.chars();
                characters.next()?;
                characters.as_str()
            }
            // Resolved, and split at, before.
            Piece::Many | Piece::Variable(_) => return None,
        };
    }
    Some(text)
}

/// What of `text` follows the first place where `segment` is.
fn found<'a>(segment: &[Piece], text: &'a str) -> Option<&'a str> {
    match segment {
        [] => Some(text),
        [Piece::Text(piece)] => text.split_once(piece.as_str()).map(|(_, after)| after),
        _ => text
            .char_indices()
            .find_map(|(at, _)| after(segment, &text[at..])),
    }
}

fn ends_with(segment: &[Piece], text: &str) -> bool {
    let length = |piece: &Piece| match piece {
        Piece::Text(text) => text.chars().count(),
        _ => 1,
    };
    let characters: usize = segment.iter().map(length).sum();
    let Some(before) = characters.checked_sub(1) else {
        return true;
    };
    let Some((start, _)) = text.char_indices().rev().nth(before) else {
        return false;
    };
    after(segment, &text[start..]) == Some("")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{Pattern, Signs, Unresolved, Variables, parts};

    pub(in crate::policy) const ALL: Signs = Signs {
        wildcards: true,
        variables: true,
    };

    impl Variables for HashMap<&str, &str> {
        fn variable(&self, key: &str) -> Option<&str> {
            self.get(key).copied()
        }
    }

    fn matches(pattern: &str, text: &str) -> Result<bool, Unresolved> {
        let variables = HashMap::from([("aws:username", "a*b"), ("aws:userid", "")]);
        Pattern::parse(pattern, ALL)
            .unwrap()
            .matches(text, &variables)
    }

    #[test]
    fn wildcards_stand_for_characters() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("*é?", "aébé€", true),
            ("*é?", "aé", false),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("a*b?d*e", "a--bxbcd-e", true),
            ("*?*?*", "a", false),
            ("*?*?*", "ab", true),
            ("ab", "abc", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), Ok(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn variables_stand_for_one_text() {
        let rows = [
            ("x/${aws:username}/*", "x/a*b/c", Ok(true)),
            ("x/${aws:username}/*", "x/axb/c", Ok(false)),
            ("x/${AWS:UserName}", "x/a*b", Ok(true)),
            ("${ aws:username }", "a*b", Ok(true)),
            ("a${*}b", "a*b", Ok(true)),
            ("a${*}b", "axb", Ok(false)),
            ("a${?}b${$}", "a?b$", Ok(true)),
            ("$a{b}", "$a{b}", Ok(true)),
            ("a${aws:userid}b", "ab", Ok(true)),
            ("a${aws:missing, 'none'}", "anone", Ok(true)),
            ("a${aws:username, 'none'}", "aa*b", Ok(true)),
            ("a${aws:missing, ''}", "a", Ok(true)),
            ("a${aws:missing}", "a", Err(Unresolved)),
            ("zzz${aws:missing}", "a", Err(Unresolved)),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn signs_that_mean_nothing_stand_for_themselves() {
        let plain = Signs {
            wildcards: false,
            variables: false,
        };
        let pattern = Pattern::parse("a*?${aws:username}", plain).unwrap();
        assert!(pattern.matches_plainly("a*?${aws:username}"));
        assert!(!pattern.matches_plainly("abc"));
        let lower = Pattern::parse("A${aws:username}", ALL)
            .unwrap()
            .into_lower_case();
        let variables = HashMap::from([("aws:username", "ANN")]);
        assert_eq!(lower.matches_lower("aann", &variables), Ok(true));
    }

    #[test]
    fn variables_that_cannot_be_read_are_refused() {
        for text in [
            "${",
            "${aws:username",
            "${}",
            "${username}",
            "${aws:${aws:username}}",
            "${aws:username, none}",
            "${aws:username,}",
        ] {
            assert!(Pattern::parse(text, ALL).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_at_colons_beside_variables() {
        assert_eq!(parts("a:b:c", 2, true), ["a", "b:c"]);
        assert_eq!(parts("a:${b:c}:d", 6, true), ["a", "${b:c}", "d"]);
        assert_eq!(parts("a:${b:c}", 6, false), ["a", "${b", "c}"]);
        assert_eq!(parts("{:}", 6, true), ["{", "}"]);
        assert_eq!(parts("", 6, true), [""]);
    }

    /// As slowly as it can be written down.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                plainly(rest, text) || text.split_first().is_some_and(|(_, t)| plainly(pattern, t))
            }
            (Some(('?', rest)), Some((_, text))) => plainly(rest, text),
            (Some((p, rest)), Some((t, text))) => p == t && plainly(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_plain_way_does(pattern in "[ab?*é]{0,10}", text in "[abé]{0,10}") {
            let characters: Vec<char> = pattern.chars().collect();
            let expected = plainly(&characters, &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &text), Ok(expected));
        }
    }
}
