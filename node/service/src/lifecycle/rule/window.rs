//! For how long what a rule deletes can be restored.

use entrepot_metadata::limits::UNDELETE_WINDOW_MS_MAX;
use serde::Serialize;

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const _: () = assert!(UNDELETE_WINDOW_MS_MAX.is_multiple_of(DAY_MS));
/// Digits of its number: enough for the longest window in hours.
const DIGITS_MAX: usize = 4;

/// `0`, or a number of days or hours, as in `3d` and `12h`; kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(in super::super) struct UndeleteWindow {
    text: String,
    #[serde(skip)]
    ms: u64,
}

// === impl UndeleteWindow ===

impl UndeleteWindow {
    /// # Errors
    /// What is wrong with it, in the words of a schema.
    pub(in super::super) fn parse(text: String) -> Result<Self, String> {
        let Some(ms) = ms_of(&text) else {
            return Err(format!(
                "ECMA 262 regex \"^(0|[1-9][0-9]{{0,3}}[dh])$\" does not match input string \
                 \"{text}\""
            ));
        };
        if ms > UNDELETE_WINDOW_MS_MAX {
            let days = UNDELETE_WINDOW_MS_MAX / DAY_MS;
            return Err(format!(
                "the undelete window \"{text}\" is longer than {days} days"
            ));
        }
        Ok(Self { text, ms })
    }

    /// 0: what the rule deletes goes at once.
    pub(in super::super) fn ms(&self) -> u64 {
        self.ms
    }
}

fn ms_of(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (number, unit_ms) = match text.strip_suffix('d') {
        Some(days) => (days, DAY_MS),
        None => (text.strip_suffix('h')?, HOUR_MS),
    };
    let is_number = (1..=DIGITS_MAX).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0');
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    number.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, HOUR_MS, UndeleteWindow};

    #[test]
    fn a_window_is_a_number_of_days_or_hours_or_none() {
        for (text, ms) in [
            ("0", 0),
            ("1h", HOUR_MS),
            ("36h", 36 * HOUR_MS),
            ("3d", 3 * DAY_MS),
            ("366d", 366 * DAY_MS),
            ("8784h", 366 * DAY_MS),
        ] {
            assert_eq!(UndeleteWindow::parse(text.to_owned()).unwrap().ms(), ms);
        }
        for text in [
            "", "d", "7", "0d", "07d", "+7d", "7 d", "7D", "1.5d", "-1h", "10000h", "7dh",
        ] {
            let error = UndeleteWindow::parse(text.to_owned()).unwrap_err();
            let expected = "ECMA 262 regex \"^(0|[1-9][0-9]{0,3}[dh])$\" does not match input";
            assert_eq!(error, format!("{expected} string \"{text}\""));
        }
        for text in ["367d", "8785h", "9999d"] {
            let error = UndeleteWindow::parse(text.to_owned()).unwrap_err();
            let expected = format!("the undelete window \"{text}\" is longer than 366 days");
            assert_eq!(error, expected);
        }
    }
}
