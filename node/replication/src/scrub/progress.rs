//! How far a scrub has come, and what it has found: what survives a restart.
//!
//! Owns the note's text: a first line that says what it is, then `name value` in
//! a line each. The invariant: what cannot be read as such is no progress, and a
//! scrub that has none begins anew.

use std::fmt::Write as _;

use entrepot_oci::Digest;

const FIRST_LINE: &str = "entrepot-scrub 1";

/// Two passes over the copies of a node: the last, and the one under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// None: no pass is under way.
    pub(crate) pass: Option<Pass>,
    /// None: none has ended yet.
    pub(crate) last: Option<Ended>,
}

/// A pass that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) started_at_ms: i64,
    /// The last blob that is done.
    pub(crate) after: Option<Digest>,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged: u64,
    pub(crate) repaired: u64,
}

/// A pass that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) started_at_ms: i64,
    pub(crate) at_ms: i64,
    pub(crate) damaged: u64,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {value}");
        };
        if let Some(pass) = &self.pass {
            line("started_at_ms", &pass.started_at_ms);
            if let Some(after) = &pass.after {
                line("after", after);
            }
            line("blobs", &pass.blobs);
            line("bytes", &pass.bytes);
            line("damaged", &pass.damaged);
            line("repaired", &pass.repaired);
        }
        if let Some(last) = &self.last {
            line("last_started_at_ms", &last.started_at_ms);
            line("last_ended_at_ms", &last.at_ms);
            line("last_damaged", &last.damaged);
        }
        text
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?.lines();
        let fields: Vec<(&str, &str)> = lines
            .map(|line| line.split_once(' '))
            .collect::<Option<_>>()?;
        let find = |name: &str| {
            let found = fields.iter().find(|(field, _)| *field == name);
            found.map(|(_, value)| *value)
        };
        let number = |name: &str| find(name).map_or(Some(0), |value| value.parse().ok());
        let time = |name: &str| find(name).map(|value| value.parse::<i64>().ok());
        let pass = match time("started_at_ms") {
            None => None,
            Some(started_at_ms) => Some(Pass {
                started_at_ms: started_at_ms?,
                after: match find("after") {
                    Some(after) => Some(after.parse().ok()?),
                    None => None,
                },
                blobs: number("blobs")?,
                bytes: number("bytes")?,
                damaged: number("damaged")?,
                repaired: number("repaired")?,
            }),
        };
        let last = match time("last_ended_at_ms") {
            None => None,
            Some(ended_at_ms) => Some(Ended {
                started_at_ms: time("last_started_at_ms")??,
                at_ms: ended_at_ms?,
                damaged: number("last_damaged")?,
            }),
        };
        Some(Self { pass, last })
    }
}

// === impl Pass ===

impl Pass {
    /// Done of it, in thousandths: digests are spread evenly, so the place of
    /// the last one tells how many come before it.
    pub(crate) fn permille(&self) -> u32 {
        let Some(after) = &self.after else { return 0 };
        let first = u32::from(after.bytes()[0]) << 8 | u32::from(after.bytes()[1]);
        // Few clients use another algorithm, which comes after all of the first.
        match after.algorithm() {
            entrepot_oci::Algorithm::Sha256 => first * 1000 / 0x1_0000,
            entrepot_oci::Algorithm::Sha512 => 999,
        }
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn some() -> Progress {
        Progress {
            pass: Some(Pass {
                started_at_ms: 5,
                after: Some(Digest::of(Algorithm::Sha512, b"x")),
                blobs: 1,
                bytes: 2,
                damaged: 3,
                repaired: 4,
            }),
            last: Some(Ended {
                started_at_ms: -1,
                at_ms: 9,
                damaged: 8,
            }),
        }
    }

    #[test]
    fn progress_is_read_back() {
        let half = |pass, last| Progress { pass, last };
        for progress in [
            Progress::default(),
            some(),
            half(some().pass, None),
            half(None, some().last),
            half(Some(Pass::default()), None),
        ] {
            assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        }
    }

    #[test]
    fn what_is_no_progress_is_none() {
        for text in [
            "",
            "entrepot-scrub 2\n",
            "entrepot-scrub 1\nblobs",
            "entrepot-scrub 1\nstarted_at_ms soon\n",
            "entrepot-scrub 1\nstarted_at_ms 1\nafter sha256:1\n",
            "entrepot-scrub 1\nlast_ended_at_ms 1\n",
        ] {
            assert_eq!(Progress::decode(text), None, "{text}");
        }
    }

    #[test]
    fn the_place_of_a_digest_tells_how_much_is_done() {
        let at = |first: u8| Pass {
            after: format!("sha256:{first:02x}{}", "0".repeat(62)).parse().ok(),
            ..Pass::default()
        };
        assert_eq!(
            [0, 0x80, 0xff].map(|first| at(first).permille()),
            [0, 500, 996]
        );
    }
}
