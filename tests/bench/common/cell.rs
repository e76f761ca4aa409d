//! How values are shown in a table.

/// The median of what the rounds gave, with the range of it; `–`: nothing.
pub(crate) fn cell(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(least), Some(median), Some(most)) if sorted.len() > 1 => {
            format!("{} ({}–{})", shown(*median), shown(*least), shown(*most))
        }
        (_, Some(only), _) => shown(*only),
        _ => "–".to_owned(),
    }
}

/// Three digits, more or less.
fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
