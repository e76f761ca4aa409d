//! What tags pointed to before, in the model: whatever differs after a command whose
//! proposer says who asked for it, or that moves a tag of which something is remembered.

use std::collections::{BTreeSet, HashMap};

use entrepot_metadata::command::{Author, ForgetTags, ForgottenTag};
use entrepot_metadata::limits::TAG_MOVES_MAX;
use entrepot_metadata::query;
use entrepot_metadata::records::Origin;
use entrepot_metadata::response::Done;
use entrepot_metadata::{Command, MemoryState, Outcome};
use entrepot_oci::{AccountId, Digest, RepositoryName};

use crate::oracle::{Home, Oracle};

/// Tags whose histories are looked at.
const TAGS: [&str; 3] = ["v1", "v1.0", "w"];

/// What became of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    index: u64,
    at_ms: i64,
    from: Option<String>,
    to: Option<String>,
    by: String,
    cause: i32,
}

type Tags = HashMap<(Home, String), (String, Option<Origin>)>;

/// When a command was asked for that may move tags, and by whom, if it says so.
pub(crate) fn asked(command: &Command) -> Option<(Option<Author>, i64)> {
    let (author, at_ms) = match command {
        Command::PutManifest(it) => (&it.author, it.at_ms),
        Command::DeleteManifest(it) => (&it.author, it.at_ms),
        Command::DeleteTag(it) => (&it.author, it.at_ms),
        Command::DeleteReplica(it) => (&it.author, it.at_ms),
        Command::RestoreImage(it) => (&it.author, it.at_ms),
        _ => return None,
    };
    Some((author.clone(), at_ms))
}

/// What would be proposed for tags that went then, or before.
pub(crate) fn due(state: &MemoryState, cutoff_ms: i64) -> Command {
    let gone = query::gone_tags(state, i64::MAX, 100).unwrap();
    let tags = gone
        .iter()
        .map(|it| ForgottenTag::new(&it.account, &it.repository, &it.tag));
    let command = ForgetTags {
        tags: tags.collect(),
        cutoff_ms,
    };
    command.into()
}

impl Oracle {
    pub(crate) fn remember_moves(
        &mut self,
        index: u64,
        (author, at_ms): &(Option<Author>, i64),
        before: &Tags,
    ) {
        let all: BTreeSet<_> = before.keys().chain(self.tags.keys()).cloned().collect();
        for key in all {
            let at = |tags: &Tags| tags.get(&key).map(|(digest, _)| digest.clone());
            let (from, to) = (at(before), at(&self.tags));
            let is_remembered = author.is_some() || self.moves.contains_key(&key);
            if from != to && is_remembered {
                let author = author.clone().unwrap_or_default();
                self.moves.entry(key).or_default().push(Moved {
                    index,
                    at_ms: *at_ms,
                    from,
                    to,
                    by: author.by,
                    cause: author.cause,
                });
            }
        }
    }

    /// The last that is known of each of them is that it went, long ago.
    pub(crate) fn forget_tags(&mut self, it: ForgetTags) -> Outcome {
        for tag in it.tags {
            let key = ((tag.account, tag.repository), tag.tag);
            let last = self.moves.get(&key).and_then(|moves| moves.last());
            if last.is_some_and(|last| last.to.is_none() && last.at_ms <= it.cutoff_ms) {
                self.moves.remove(&key);
            }
        }
        Outcome::Done(Done {})
    }
}

/// Whether the state shows what the model holds.
pub(crate) fn compare(
    state: &MemoryState,
    oracle: &Oracle,
    (account, repository): (&AccountId, &RepositoryName),
) {
    let home: Home = (account.to_string(), repository.to_string());
    let most = usize::try_from(TAG_MOVES_MAX).unwrap();
    let gone = oracle.moves.iter().filter(|((at, _), moves)| {
        *at == home && moves.last().is_some_and(|last| last.to.is_none())
    });
    let counted = query::gone_tag_count(state, account, repository).unwrap();
    assert_eq!(counted, gone.count() as u64, "deleted tags");
    for tag in TAGS {
        let key = (home.clone(), tag.to_owned());
        let expected = oracle.moves.get(&key).cloned().unwrap_or_default();
        let expected = expected.iter().rev().take(most).rev();
        let tag = tag.parse().unwrap();
        let found = query::tag_moves(state, account, repository, &tag, usize::MAX).unwrap();
        let text = |digest: Option<Digest>| digest.map(|it| it.to_string());
        let found = found.into_iter().map(|it| Moved {
            index: it.index,
            at_ms: it.at_ms,
            from: text(it.from),
            to: text(it.to),
            by: it.by,
            cause: it.cause.into(),
        });
        let found: Vec<Moved> = found.collect();
        assert!(found.iter().eq(expected), "{tag}: {found:?}");
    }
}
