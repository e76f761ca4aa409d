//! What tags pointed to before, and the way back to it.
//!
//! Where a tag goes is decided by the state machine alone, when the command is applied:
//! a tag that somebody moves meanwhile stays where that put it.

mod forgetting;

use entrepot_metadata::KeyValue;
use entrepot_metadata::limits::TAG_MOVES_MAX;
use entrepot_metadata::query::{self, Cause, TagEntry, TagMove};
use entrepot_metadata::response::TagFixed;
use entrepot_oci::{Digest, MediaType, RepositoryName, Tag};
use tracing::warn;

pub use self::forgetting::TagHistories;
use crate::admin::page;
use crate::{Caller, ManifestPush, Registry, ServiceError, TagCondition, Target, audit};

/// What the clock of whoever asks may be ahead.
const AHEAD_MS_MAX: i64 = 5 * 60 * 1_000;

/// A page of a tag's moves, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMovePage {
    pub moves: Vec<TagMove>,
    pub more: bool,
}

/// Where a tag is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRestoration {
    pub repository: RepositoryName,
    pub tag: Tag,
    /// To what it pointed to then.
    pub at_ms: i64,
    /// Nothing changes.
    pub dry_run: bool,
}

/// A tag that points to what it did before, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredTag {
    pub digest: Digest,
    /// What it pointed to until now; none: there was no such tag.
    pub previous: Option<Digest>,
    /// The image had been deleted, and is back as well.
    pub image_restored: bool,
}

/// A restoration that may be carried out.
struct Plan {
    restored: RestoredTag,
    /// It is there already.
    is_done: bool,
}

impl Registry {
    /// A page of the moves of a tag that are remembered, the newest first, those before
    /// the one of number `before`. The tag need not be there any more.
    pub async fn tag_history(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        tag: &Tag,
        before: Option<u64>,
        limit: Option<usize>,
    ) -> Result<TagMovePage, ServiceError> {
        self.authorize(who, "ecr:DescribeImages", Target::Repository(repository))?;
        let limit = page(limit);
        let view = self.current().await?;
        if query::repository(view.as_ref(), &who.account, repository)?.is_none() {
            return Err(ServiceError::NameUnknown(repository.clone()));
        }
        let mut moves = moves(view.as_ref(), who, repository, tag)?;
        moves.retain(|it| before.is_none_or(|before| it.number < before));
        moves.reverse();
        let more = moves.len() > limit;
        moves.truncate(limit);
        Ok(TagMovePage { moves, more })
    }

    /// Sets a tag to what it pointed to at a time, if nobody moves it meanwhile. An
    /// image that was deleted since comes back for it. Asked again, it finds the tag
    /// where it should be.
    ///
    /// # Errors
    /// `Invalid` for a time to come. `NotFound` when nothing is known of the tag at that
    /// time, there was none, or the image has gone for good; `TagImmutable` when it may
    /// not move; `TagNotAsExpected` when somebody moves it meanwhile. Whatever keeps an
    /// image from being restored or pushed.
    pub async fn restore_tag(
        &self,
        who: &Caller,
        wanted: &TagRestoration,
    ) -> Result<RestoredTag, ServiceError> {
        let (repository, tag) = (&wanted.repository, &wanted.tag);
        self.authorize(who, "ecr:PutImage", Target::Repository(repository))?;
        let Plan { restored, is_done } = self.plan_restoration(who, wanted).await?;
        if is_done || wanted.dry_run {
            return Ok(restored);
        }
        if restored.image_restored {
            self.restore_authorized(who, repository, &restored.digest, true)
                .await?;
        }
        let digest = &restored.digest;
        let stored = self
            .find(|view| query::manifest(view, &who.account, repository, digest))
            .await?
            .ok_or_else(|| gone(repository, digest))?;
        let content_type: MediaType = stored.entry.media_type;
        let push = ManifestPush {
            digest: Some(*digest),
            tags: vec![tag.clone()],
            condition: match &restored.previous {
                Some(previous) => TagCondition::Is(*previous),
                None => TagCondition::Absent,
            },
            content_type: Some(content_type),
            content: stored.content,
        };
        let put = self.put_for(who, repository, push, Cause::Restore).await;
        // It may be there in spite of an error: not at the destination of a synchronous
        // rule, say. Whoever asks again finds it there, which leaves no line.
        let is_there = match &put {
            Ok(_) => true,
            // Somebody else has moved it, if only there.
            Err(ServiceError::TagNotAsExpected(_)) => false,
            Err(error) => self.is_moved(who, wanted, &restored, error).await,
        };
        if is_there {
            audit::tag_restored(who, repository, tag, &restored, wanted.at_ms);
        }
        put.map(|_| restored)
    }

    /// Whether the tag points to where it was to go, though there was an error.
    async fn is_moved(
        &self,
        who: &Caller,
        wanted: &TagRestoration,
        restored: &RestoredTag,
        cause: &ServiceError,
    ) -> bool {
        let (repository, tag) = (&wanted.repository, &wanted.tag);
        let found = async {
            let view = self.current().await?;
            Ok::<_, ServiceError>(query::tag(view.as_ref(), &who.account, repository, tag)?)
        };
        match found.await {
            Ok(found) => found.is_some_and(|found| found.digest == restored.digest),
            Err(error) => {
                warn!(
                    %repository, %tag, digest = %restored.digest, %cause, %error,
                    "whether a tag was set back is not known: the audit log does not tell"
                );
                false
            }
        }
    }

    /// All is looked at before anything changes.
    async fn plan_restoration(
        &self,
        who: &Caller,
        wanted: &TagRestoration,
    ) -> Result<Plan, ServiceError> {
        let (repository, tag) = (&wanted.repository, &wanted.tag);
        let now_ms = self.cluster_clock.now_ms();
        if wanted.at_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return Err(ServiceError::Invalid(
                "that time has not come yet".to_owned(),
            ));
        }
        let (view, account) = (self.current().await?, &who.account);
        let found = query::repository(view.as_ref(), account, repository)?;
        let found = found.ok_or_else(|| ServiceError::NameUnknown(repository.clone()))?;
        let moves = moves(view.as_ref(), who, repository, tag)?;
        let now = query::tag(view.as_ref(), account, repository, tag)?;
        let digest = match then(&moves, now.as_ref(), wanted.at_ms) {
            Then::Was(digest) => digest,
            Then::NoTag => return Err(no_tag(repository, tag)),
            Then::Unknown => return Err(unknown(repository, tag)),
        };
        let previous = now.map(|now| now.digest);
        let mut plan = Plan {
            is_done: previous == Some(digest),
            restored: RestoredTag {
                digest,
                previous,
                image_restored: false,
            },
        };
        if plan.is_done {
            return Ok(plan);
        }
        if let Some(previous) = previous.filter(|_| found.mutability.is_fixed(tag)) {
            return Err(ServiceError::TagImmutable(TagFixed {
                tag: tag.to_string(),
                repository: repository.to_string(),
                digest: previous.to_string(),
            }));
        }
        if query::manifest_entry(view.as_ref(), account, repository, &digest)?.is_none() {
            query::deleted_image(view.as_ref(), account, repository, &digest)?
                .filter(|image| image.until_ms > now_ms)
                .ok_or_else(|| gone(repository, &digest))?;
            plan.restored.image_restored = true;
        }
        Ok(plan)
    }
}

/// All of them, the oldest first.
fn moves(
    view: &dyn KeyValue,
    who: &Caller,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Vec<TagMove>, ServiceError> {
    let limit = usize::try_from(TAG_MOVES_MAX).unwrap_or(usize::MAX);
    Ok(query::tag_moves(
        view,
        &who.account,
        repository,
        tag,
        limit,
    )?)
}

fn no_tag(repository: &RepositoryName, tag: &Tag) -> ServiceError {
    ServiceError::NotFound(format!(
        "there was no tag {tag} in {repository} at that time"
    ))
}

fn unknown(repository: &RepositoryName, tag: &Tag) -> ServiceError {
    ServiceError::NotFound(format!(
        "nothing is known of {repository}:{tag} at that time: `entrepot tag history \
         {repository}:{tag}` shows what is"
    ))
}

fn gone(repository: &RepositoryName, digest: &Digest) -> ServiceError {
    ServiceError::NotFound(format!(
        "what the tag pointed to then, {repository}@{digest}, has gone for good: it was deleted, \
         and can no longer be restored"
    ))
}

/// What a tag was at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Was(Digest),
    /// There was none.
    NoTag,
    Unknown,
}

/// `now`: the tag as it is. `moves`: what is remembered, the oldest first. Between two of
/// them may be others of which nothing is: then what it was moved from is not where the
/// one before took it.
fn then(moves: &[TagMove], now: Option<&TagEntry>, at_ms: i64) -> Then {
    if let Some(now) = now.filter(|now| now.updated_at_ms <= at_ms) {
        return Then::Was(now.digest);
    }
    let after = moves.iter().rposition(|it| it.at_ms <= at_ms);
    let after = after.map_or(0, |before| before + 1);
    let (before, next) = moves.split_at(after);
    if let Some(next) = next.first() {
        // What it moved away from then, also if how it came there is not remembered.
        if next.since_ms.is_some_and(|since_ms| since_ms <= at_ms) {
            return next.from.map_or(Then::Unknown, Then::Was);
        }
    }
    let Some(last) = before.last() else {
        return Then::Unknown;
    };
    let left = match next.first() {
        Some(next) => next.from,
        None => now.map(|now| now.digest),
    };
    if left != last.to {
        return Then::Unknown;
    }
    last.to.map_or(Then::NoTag, Then::Was)
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    fn moved(number: u64, at_ms: i64, to: Option<u8>) -> TagMove {
        TagMove {
            number,
            index: number,
            at_ms,
            from: None,
            to: to.map(digest),
            since_ms: None,
            cause: Cause::Push,
            by: String::new(),
        }
    }

    /// A move from what it had been since then.
    fn moved_from(from: u8, since_ms: i64, it: TagMove) -> TagMove {
        TagMove {
            from: Some(digest(from)),
            since_ms: Some(since_ms),
            ..it
        }
    }

    fn tagged(number: u8, updated_at_ms: i64) -> TagEntry {
        TagEntry {
            tag: "v1".parse().unwrap(),
            digest: digest(number),
            updated_at_ms,
            index: 1,
            origin: None,
        }
    }

    #[test]
    fn a_tag_pointed_to_where_its_last_move_before_took_it() {
        let moves = [
            moved(1, 10, Some(1)),
            moved_from(1, 10, moved(2, 20, None)),
            moved(3, 30, Some(2)),
        ];
        let now = tagged(2, 30);
        let at = |at_ms| then(&moves, Some(&now), at_ms);
        assert_eq!(at(9), Then::Unknown);
        assert_eq!(at(10), Then::Was(digest(1)));
        assert_eq!(at(19), Then::Was(digest(1)));
        assert_eq!(at(20), Then::NoTag);
        assert_eq!(at(29), Then::NoTag);
        assert_eq!(at(i64::MAX), Then::Was(digest(2)));
        assert_eq!(then(&moves[..2], None, 20), Then::NoTag);
    }

    #[test]
    fn a_move_that_nobody_noted_is_seen_by_the_next_one() {
        // To 2 it went at 20.
        let moves = [
            moved(1, 10, Some(1)),
            moved_from(2, 20, moved(2, 30, Some(3))),
        ];
        let now = tagged(3, 30);
        let at = |at_ms| then(&moves, Some(&now), at_ms);
        assert_eq!(at(10), Then::Unknown);
        assert_eq!(at(19), Then::Unknown);
        assert_eq!(at(20), Then::Was(digest(2)));
        assert_eq!(at(25), Then::Was(digest(2)));
        assert_eq!(at(30), Then::Was(digest(3)));
        // A tag that was deleted, and came back.
        let moves = [moved(1, 10, Some(1)), moved(2, 30, Some(3))];
        assert_eq!(then(&moves, Some(&now), 25), Then::Unknown);
    }

    #[test]
    fn a_last_move_that_nobody_noted_is_seen_by_where_the_tag_is() {
        let moves = [moved(1, 10, Some(1))];
        assert_eq!(then(&moves, Some(&tagged(2, 20)), 15), Then::Unknown);
        assert_eq!(then(&moves, Some(&tagged(2, 20)), 20), Then::Was(digest(2)));
        assert_eq!(then(&moves, None, 15), Then::Unknown);
        // Another push of the same image moved nothing.
        assert_eq!(then(&moves, Some(&tagged(1, 20)), 15), Then::Was(digest(1)));
        let gone = [moved_from(1, 5, moved(1, 10, None))];
        assert_eq!(then(&gone, Some(&tagged(2, 20)), 15), Then::Unknown);
        assert_eq!(then(&gone, None, 15), Then::NoTag);
    }

    #[test]
    fn the_first_move_tells_what_was_before_it() {
        let first = moved_from(0, 5, moved(7, 10, Some(1)));
        assert_eq!(then(std::slice::from_ref(&first), None, 4), Then::Unknown);
        assert_eq!(then(&[first], None, 5), Then::Was(digest(0)));
    }

    #[test]
    fn a_tag_that_has_not_moved_since_points_to_what_it_did() {
        let now = tagged(3, 5);
        assert_eq!(then(&[], Some(&now), 5), Then::Was(digest(3)));
        assert_eq!(then(&[], Some(&now), 4), Then::Unknown);
    }
}
