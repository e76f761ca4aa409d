//! When images were last pulled.
//!
//! The invariants: what is recorded is of an image that is there, and goes with it;
//! a pull that is recorded late takes nothing back.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Stop, invalid, parse};
use crate::command::{Pull, RecordPulls};
use crate::keys;
use crate::limits::PULLS_PER_COMMAND_MAX;
use crate::overlay::Overlay;
use crate::read;
use crate::records::pulls::{PullRecord, PullsSinceRecord};
use crate::response::{Done, Outcome};
use crate::store::StorageError;

pub(super) fn record(overlay: &mut Overlay<'_>, command: &RecordPulls) -> Result<Outcome, Stop> {
    if command.pulls.len() > PULLS_PER_COMMAND_MAX {
        return Err(invalid("pulls", "must be at most 500").into());
    }
    let since = keys::pulls_since();
    if !read::exists(overlay, &since)? {
        let since_ms = command.at_ms;
        overlay.put(since, &PullsSinceRecord { since_ms });
    }
    for pull in &command.pulls {
        one(overlay, pull)?;
    }
    Ok(Outcome::Done(Done {}))
}

fn one(overlay: &mut Overlay<'_>, pull: &Pull) -> Result<(), Stop> {
    let account: RegistryId = parse("account", &pull.account)?;
    let repository: RepositoryName = parse("repository", &pull.repository)?;
    let digest: Digest = parse("digest", &pull.digest)?;
    if !read::exists(overlay, &keys::manifest(&account, &repository, &digest))? {
        return Ok(());
    }
    let key = keys::pull(&account, &repository, &digest);
    let before: Option<PullRecord> = read::record(overlay, &key)?;
    if before.is_none_or(|before| before.pulled_at_ms < pull.at_ms) {
        let pulled_at_ms = pull.at_ms;
        overlay.put(key, &PullRecord { pulled_at_ms });
    }
    Ok(())
}

/// The image goes; how many pairs that is.
pub(super) fn forget(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<usize, StorageError> {
    let key = keys::pull(account, repository, digest);
    if !read::exists(overlay, &key)? {
        return Ok(0);
    }
    overlay.delete(key);
    Ok(1)
}
