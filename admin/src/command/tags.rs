//! `entrepot tag`

use entrepot_proto::environment::{Clock as _, SystemClock};

use super::print;
use crate::arguments::{Tag, TagRestore};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{RestoredTag, TagHistoryReport};

pub(super) async fn tag(client: &Client, command: Tag, json: bool) -> Result<(), Failure> {
    match command {
        Tag::History { tag } => {
            let name = tag.repository.as_str();
            let moves = client.tag_history(name, tag.tag.as_str()).await;
            let moves = moves.map_err(|failure| {
                failure.or_missing(|| Failure::RepositoryUnknown(tag.repository.clone()))
            })?;
            print(&TagHistoryReport::new(tag, moves), json)
        }
        Tag::Restore(TagRestore { tag, at, dry_run }) => {
            let name = tag.repository.as_str();
            let at_ms = at.ms(SystemClock.now_ms());
            let back = client
                .restore_tag(name, tag.tag.as_str(), at_ms, dry_run)
                .await?;
            print(&RestoredTag::new(tag, back, dry_run), json)
        }
    }
}
