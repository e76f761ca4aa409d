//! How many bytes, as people give them: `500GiB`, or `0`.

/// The largest first.
const UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// A number and a unit; without one, of bytes.
///
/// # Errors
/// What is expected.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        "expected a number and one of B, KB, KiB, MB, MiB, GB, GiB, TB, TiB, PB, PiB, such as \
         500GiB"
            .to_owned()
    };
    let digits = text.find(|sign: char| !sign.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = match unit.trim_start() {
        "" => 1,
        unit => {
            let found = UNITS.iter().find(|(name, _)| *name == unit);
            found.ok_or_else(wrong)?.1
        }
    };
    let bytes = number.checked_mul(bytes);
    bytes.ok_or_else(|| "must be a number that exists".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_is_a_number_of_bytes_or_of_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("500GiB", 500 << 30),
            ("1 TiB", 1 << 40),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "1gib", "1 XB", "99999999999PiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
