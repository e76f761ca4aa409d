//! Expected output in files.
//!
//! `ENTREPOT_REGENERATE=1 cargo test -p entrepot-admin` writes them anew; the
//! difference is then for people to read.

use std::path::Path;

/// Holds `actual` against `tests/golden/<name>`.
pub(crate) fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("ENTREPOT_REGENERATE").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, actual, "left: {}", path.display());
}
