//! What a rule promises, as it is given and printed: `99.9% within 30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use entrepot_proto::admin;

/// Digits behind the point of a per cent.
const DIGITS_MAX: usize = 4;
const PERCENT: u32 = 10_000;
const MILLION: u32 = 100 * PERCENT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slo(pub(crate) admin::Objective);

// === impl Slo ===

impl Slo {
    /// How many times as many are late as may be.
    #[allow(clippy::cast_precision_loss, reason = "counts of copies")]
    pub(crate) fn burn(self, counted: u64, in_time: u64) -> Option<f64> {
        let late = counted.checked_sub(in_time)?;
        let may_be = MILLION.checked_sub(self.0.per_million)?;
        if counted == 0 || may_be == 0 {
            return None;
        }
        let part = late as f64 / counted as f64;
        Some(part * f64::from(MILLION) / f64::from(may_be))
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected a part and a time, such as \"99% within 30s\"".to_owned();
        let (part, time) = text.split_once(" within ").ok_or_else(wrong)?;
        let part = part.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
        let (whole, digits) = part.split_once('.').unwrap_or((part, ""));
        if digits.len() > DIGITS_MAX || (digits.is_empty() && part.contains('.')) {
            return Err(format!("at most {DIGITS_MAX} digits behind the point"));
        }
        let is_digits = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(digits) {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let digits: u32 = format!("{digits:0<DIGITS_MAX$}")
            .parse()
            .map_err(|_| wrong())?;
        let per_million = whole
            .checked_mul(PERCENT)
            .and_then(|it| it.checked_add(digits));
        let per_million = per_million.filter(|it| (1..MILLION).contains(it));
        let per_million = per_million.ok_or("must be more than 0% and less than 100%")?;
        let within = humantime::parse_duration(time.trim()).map_err(|error| error.to_string())?;
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        if within_ms == 0 {
            return Err("must be within 1ms or more".to_owned());
        }
        Ok(Self(admin::Objective {
            per_million,
            within_ms,
        }))
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.per_million / PERCENT, self.0.per_million % PERCENT);
        write!(f, "{whole}")?;
        if rest > 0 {
            let digits = format!("{rest:0DIGITS_MAX$}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        let within = Duration::from_millis(self.0.within_ms);
        write!(f, "% within {}", humantime::format_duration(within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_printed_as_it_is_read() {
        for (text, per_million, within_ms) in [
            ("99% within 30s", 990_000, 30_000),
            ("99.95% within 5m", 999_500, 300_000),
            ("0.0001% within 1ms", 1, 1),
            ("90% within 1h 30m", 900_000, 5_400_000),
        ] {
            let read: Slo = text.parse().unwrap();
            assert_eq!(read.0.per_million, per_million, "{text}");
            assert_eq!(read.0.within_ms, within_ms, "{text}");
            assert_eq!(read.to_string(), text);
        }
        for wrong in [
            "",
            "99%",
            "99 within 30s",
            "100% within 30s",
            "0% within 30s",
            "99.00001% within 30s",
            "99.% within 30s",
            "-1% within 30s",
            "99% within",
            "99% within 0s",
            "99% within soon",
            "99999999999% within 30s",
        ] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_burn_is_how_many_times_as_many_are_late_as_may_be() {
        let slo: Slo = "99% within 30s".parse().unwrap();
        assert_eq!(slo.burn(0, 0), None);
        assert_eq!(slo.burn(100, 100), Some(0.0));
        let twice = slo.burn(100, 98).unwrap();
        assert!((twice - 2.0).abs() < 1e-9, "{twice}");
        // What a node that counts wrongly says is not believed.
        assert_eq!(slo.burn(1, 2), None);
    }
}
