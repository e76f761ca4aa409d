//! How far something is that takes a while: one line on standard error, which a
//! terminal shows as a bar. Standard output holds the answer alone.

use std::io::{self, IsTerminal as _, Write as _};

use entrepot_proto::admin::Counting;

use crate::human;

/// Signs between the ends of a bar.
const BAR_SIGNS: u32 = 20;
/// Where there is no terminal, a line tells of as much more than the one before.
const STEP_PER_MILLE: u32 = 100;

/// What was shown last.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
    shown: String,
    /// Of something long.
    counted_per_mille: Option<u32>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            shown: String::new(),
            counted_per_mille: None,
        }
    }

    /// The count of the blobs of a region, before it is known what is missing
    /// without a node.
    pub(crate) fn counting(&mut self, node: u64, counting: &Counting) {
        let blobs = human::count(
            usize::try_from(counting.blobs).unwrap_or(usize::MAX),
            "blob",
        );
        let text = format!("Looking for other copies of what node {node} has: {blobs} so far.");
        self.step(&text, counting.per_mille);
    }

    /// A part of something long: where there is no terminal, not every one is told of.
    pub(crate) fn step(&mut self, text: &str, done_per_mille: u32) {
        let step = |per_mille: u32| per_mille / STEP_PER_MILLE;
        let now = done_per_mille.min(1_000);
        let is_news = self
            .counted_per_mille
            .is_none_or(|it| step(it) != step(now));
        if !self.is_terminal && !is_news {
            return;
        }
        self.counted_per_mille = Some(now);
        self.show(text, now);
    }

    /// How far something is of which nobody knows the end: on a terminal alone.
    pub(crate) fn tell(&mut self, text: &str) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            let _ = io::stderr().flush();
            text.clone_into(&mut self.shown);
        }
    }

    /// Something else than before.
    pub(crate) fn show(&mut self, text: &str, done_per_mille: u32) {
        let line = if self.is_terminal {
            format!("\r\x1b[K{} {text}", bar(done_per_mille))
        } else {
            format!("{text}\n")
        };
        if line != self.shown {
            // Nobody depends on it.
            let _ = write!(io::stderr(), "{line}");
            let _ = io::stderr().flush();
            self.shown = line;
        }
    }

    /// The answer comes: a bar goes.
    pub(crate) fn clear(&mut self) {
        if self.is_terminal && !self.shown.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.shown.clear();
        }
    }
}

/// `[######..............]  31 %`
fn bar(per_mille: u32) -> String {
    let per_mille = per_mille.min(1_000);
    let full = per_mille * BAR_SIGNS / 1_000;
    let sign = |nth| if nth < full { '#' } else { '.' };
    let signs: String = (0..BAR_SIGNS).map(sign).collect();
    format!("[{signs}] {:>3} %", per_mille / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_from_nothing_to_all() {
        assert_eq!(bar(0), "[....................]   0 %");
        assert_eq!(bar(314), "[######..............]  31 %");
        assert_eq!(bar(1_000), "[####################] 100 %");
    }
}
