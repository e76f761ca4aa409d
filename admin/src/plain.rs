//! Text from elsewhere, made safe to show. Part of both programs of this crate.

/// `text` on one line, without signs that steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}
