//! `entrepot tag history` and `tag restore`

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;

use crate::arguments::Tagged;
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct TagHistoryReport {
    repository: RepositoryName,
    tag: String,
    /// The newest first.
    moves: Vec<Move>,
}

#[derive(Debug, Serialize)]
struct Move {
    at_ms: i64,
    from: Option<String>,
    to: Option<String>,
    reason: String,
    by: Option<String>,
    log_index: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RestoredTag {
    repository: RepositoryName,
    tag: String,
    digest: String,
    previous: Option<String>,
    image_restored: bool,
    dry_run: bool,
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

// === impl TagHistoryReport ===

impl TagHistoryReport {
    pub(crate) fn new(tag: Tagged, moves: Vec<admin::TagMove>) -> Self {
        let moves = moves.into_iter().map(|it| Move {
            at_ms: it.at_ms,
            from: given(it.from),
            to: given(it.to),
            reason: it.reason,
            by: given(it.by),
            log_index: it.log_index,
        });
        Self {
            repository: tag.repository,
            tag: tag.tag.to_string(),
            moves: moves.collect(),
        }
    }
}

impl Report for TagHistoryReport {
    fn people(&self, _now_ms: i64) -> String {
        if self.moves.is_empty() {
            return format!("Nothing is known of {}:{}.", self.repository, self.tag);
        }
        let digest = |digest: &Option<String>| digest.as_deref().map(human::digest);
        human::table(
            ["TIME", "FROM", "TO", "WHY", "BY"],
            self.moves.iter().map(|it| {
                [
                    human::time(it.at_ms),
                    digest(&it.from).unwrap_or_default(),
                    digest(&it.to).unwrap_or_default(),
                    it.reason.clone(),
                    it.by.clone().unwrap_or_default(),
                ]
            }),
        )
    }
}

// === impl RestoredTag ===

impl RestoredTag {
    pub(crate) fn new(tag: Tagged, back: admin::RestoreTagReply, dry_run: bool) -> Self {
        Self {
            repository: tag.repository,
            tag: tag.tag.to_string(),
            digest: back.digest,
            previous: given(back.previous),
            image_restored: back.image_restored,
            dry_run,
        }
    }
}

impl Report for RestoredTag {
    fn people(&self, _now_ms: i64) -> String {
        let Self {
            repository, tag, ..
        } = self;
        let digest = human::plain(&self.digest);
        let (points, back) = match (self.dry_run, self.image_restored) {
            (false, false) => ("points", ""),
            (false, true) => ("points", ", and the image is back"),
            (true, false) => ("would point", ""),
            (true, true) => ("would point", ", and the image would come back"),
        };
        match &self.previous {
            Some(previous) if *previous == self.digest => {
                format!("{repository}:{tag} points to {digest}, as it did then.")
            }
            Some(previous) => format!(
                "{repository}:{tag} {points} to {digest} again, no longer to {}{back}.",
                human::plain(previous)
            ),
            None => format!("{repository}:{tag} {points} to {digest} again{back}."),
        }
    }
}
