//! What a command does to the state.
//!
//! Owns the order of things: decode, look for a repeat, run the command over
//! an overlay, remember the answer and what changed. A command that is refused
//! writes nothing but that memory. Only a failing or corrupt store is an error; bad input
//! never is, since every replica would fail on the same entry for ever.

mod accounts;
mod backfills;
mod blobs;
mod changes;
mod collection;
mod counts;
mod deletion;
mod envelopes;
mod following;
mod held;
mod history;
mod identity;
mod manifests;
mod members;
mod pulls;
mod registry;
mod replicas;
mod rules;
pub(crate) mod settings;
mod storage_class;
mod tags;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod trust;
mod undelete;

use std::fmt;
use std::str::FromStr;

use prost::Message as _;

use crate::command::{Command, Envelope, LEVEL};
use crate::limits::{DIGESTS_REPORTED_MAX, ENVELOPE_ID_BYTES};
use crate::overlay::Overlay;
use crate::response::{Digests, Outcome, Refused, Response};
use crate::store::{KeyValue, StorageError, Writes};

/// What the entry at log index `index` changes, and what its proposer is told.
/// `envelope` is an encoded [`Envelope`]. The caller stores the writes in one
/// atomic step; indexes rise from call to call.
///
/// An envelope whose id was applied among the last
/// [`ENVELOPES_KEPT`](crate::limits::ENVELOPES_KEPT) entries writes nothing and
/// is answered as it was then. One that comes too late for that to be known is
/// refused, without a trace.
///
/// # Errors
/// Only when the store cannot be read or holds what was never written there, or
/// when the entry takes a newer version of the state machine.
pub fn apply(
    view: &dyn KeyValue,
    index: u64,
    envelope: &[u8],
) -> Result<(Writes, Response), StorageError> {
    let envelope = match decode(envelope) {
        Ok(envelope) => envelope,
        Err(reason) => return Ok((Writes::default(), Response::new(index, reason.into()))),
    };
    if envelope.level > LEVEL {
        let level = envelope.level;
        return Err(StorageError::Newer { index, level });
    }
    if let Some(response) = envelopes::find(view, &envelope.id)? {
        return Ok((Writes::default(), response));
    }
    if envelopes::may_be_forgotten(index, envelope.known_index) {
        return Ok((
            Writes::default(),
            Response::new(index, Refused::Late(index).into()),
        ));
    }
    let mut overlay = Overlay::new(view);
    let outcome = match run(&mut overlay, index, envelope.command) {
        Ok(outcome) => outcome,
        Err(Stop::Refused(reason)) => {
            overlay.discard();
            reason.into()
        }
        Err(Stop::Storage(error)) => return Err(error),
    };
    let response = Response::new(index, outcome);
    let changed = changes::of(&overlay)?;
    envelopes::remember(&mut overlay, index, envelope.id, &response, changed)?;
    Ok((overlay.into_writes(), response))
}

/// Why a command ends early.
#[derive(Debug)]
enum Stop {
    Refused(Refused),
    Storage(StorageError),
}

/// An envelope with an id; without one it cannot be remembered.
fn decode(envelope: &[u8]) -> Result<Envelope, Refused> {
    let envelope = Envelope::decode(envelope).map_err(|error| invalid("envelope", error))?;
    if envelope.id.len() == ENVELOPE_ID_BYTES {
        Ok(envelope)
    } else {
        Err(invalid("envelope id", "must be of 16 bytes"))
    }
}

fn run(overlay: &mut Overlay<'_>, index: u64, command: Option<Command>) -> Result<Outcome, Stop> {
    let Some(command) = command else {
        return Err(invalid("envelope", "no command that this version knows").into());
    };
    match command {
        Command::CreateAccount(command) => accounts::create(overlay, index, command),
        Command::CreateRepository(command) => registry::create_repository(overlay, index, command),
        Command::PutRegistrySettings(command) => registry::put_settings(overlay, &command),
        Command::PutRepositorySettings(command) => {
            registry::put_repository_settings(overlay, index, command)
        }
        Command::LinkBlob(command) => blobs::link(overlay, index, command),
        Command::MountBlob(command) => blobs::mount(overlay, index, &command),
        Command::UnlinkBlob(command) => blobs::unlink(overlay, &command),
        Command::PutManifest(command) => manifests::put(overlay, index, command),
        Command::DeleteManifest(command) => manifests::delete(overlay, index, &command),
        Command::DeleteTag(command) => tags::delete(overlay, index, &command),
        Command::PutRule(command) => rules::put(overlay, index, command),
        Command::DeleteRule(command) => rules::delete(overlay, &command),
        Command::ReplaceRules(command) => rules::replace(overlay, index, command),
        Command::EndTask(command) => tasks::end(overlay, command),
        Command::RetryTasks(command) => tasks::retry(overlay, &command),
        Command::DeleteReplica(command) => replicas::delete(overlay, index, &command),
        Command::StartBackfill(command) => backfills::start(overlay, index, command),
        Command::StopBackfill(command) => backfills::stop(overlay, &command),
        Command::StepBackfill(command) => backfills::step(overlay, index, &command),
        Command::SettleReplicas(command) => replicas::settle(overlay, command),
        Command::BeginCollection(command) => collection::begin(overlay, command),
        Command::CollectLinks(command) => collection::links(overlay, index, &command),
        Command::CollectBlobs(command) => collection::blobs(overlay, index, &command),
        Command::CollectFiles(command) => collection::files(overlay, index, &command),
        Command::ConfirmCollected(command) => collection::confirm(overlay, &command),
        Command::CountHeld(command) => held::count(overlay, &command),
        Command::ForgetCollected(command) => collection::forget(overlay, index, &command),
        Command::RestoreImage(command) => undelete::restore(overlay, index, &command),
        Command::ExpireDeleted(command) => undelete::expire(overlay, &command),
        Command::ForgetTags(command) => history::forget(overlay, &command),
        Command::PutReplicaSettings(command) => following::put(overlay, index, command),
        Command::EndSettingsTask(command) => following::end(overlay, &command),
        Command::RecordPulls(command) => pulls::record(overlay, &command),
        Command::FormCluster(command) => members::form(overlay, index, command),
        Command::AddMember(command) => members::add(overlay, index, command),
        Command::SetMemberState(command) => members::set_state(overlay, &command),
        Command::UpdateMember(command) => members::update(overlay, command),
        Command::RemoveMember(command) => members::remove(overlay, &command),
        Command::AddRegion(command) => members::add_region(overlay, &command),
        Command::RemoveRegion(command) => members::remove_region(overlay, &command),
        Command::PutAuthority(command) => trust::put_authority(overlay, command),
        Command::CreateJoinToken(command) => trust::create_token(overlay, command),
        Command::Join(command) => trust::join(overlay, index, command),
        Command::RecordCertificate(command) => trust::record_certificate(overlay, &command),
        Command::RevokeCertificates(command) => trust::revoke(overlay, command),
        Command::DeleteRepository(command) => deletion::step(overlay, &command),
        Command::SetAccountState(command) => accounts::set_state(overlay, index, &command),
        Command::CreateAccessKey(command) => accounts::create_key(overlay, index, command),
        Command::SetAccessKeyState(command) => accounts::set_key_state(overlay, index, &command),
        Command::DeleteAccessKey(command) => accounts::delete_key(overlay, index, &command),
        Command::CreateEntity(command) => identity::create(overlay, index, command),
        Command::DeleteEntity(command) => identity::delete(overlay, index, &command),
        Command::UpdateRole(command) => identity::update_role(overlay, index, command),
        Command::PutInlinePolicy(command) => identity::put_inline(overlay, index, command),
        Command::DeleteInlinePolicy(command) => identity::delete_inline(overlay, index, &command),
        Command::AttachPolicy(command) => identity::attach(overlay, index, command),
        Command::DetachPolicy(command) => identity::detach(overlay, index, &command),
        Command::SetBoundary(command) => identity::set_boundary(overlay, index, &command),
        Command::TagEntity(command) => identity::tag(overlay, index, &command),
        Command::SetGroupMember(command) => identity::set_member(overlay, index, &command),
        Command::CreatePolicy(command) => identity::create_policy(overlay, index, command),
        Command::CreatePolicyVersion(command) => identity::create_version(overlay, index, command),
        Command::SetDefaultPolicyVersion(command) => {
            identity::set_default_version(overlay, index, &command)
        }
        Command::DeletePolicyVersion(command) => identity::delete_version(overlay, index, &command),
        Command::DeletePolicy(command) => identity::delete_policy(overlay, index, &command),
        Command::UpdateEntity(command) => identity::update(overlay, index, command),
        Command::TagRepository(command) => settings::tag_repository(overlay, index, command),
        Command::PutRepositoryText(command) => settings::put_text(overlay, index, command),
        Command::PutRegistryItem(command) => settings::put_item(overlay, command),
        Command::DeleteRegistryItem(command) => settings::delete_item(overlay, &command),
        Command::SetStorageClass(command) => storage_class::set(overlay, index, &command),
    }
}

fn invalid(what: &str, why: impl fmt::Display) -> Refused {
    Refused::Invalid(format!("{what}: {why}"))
}

/// A name or digest of a command as the type that checks it.
fn parse<T>(what: &str, text: &str) -> Result<T, Refused>
where
    T: FromStr<Err: fmt::Display>,
{
    text.parse().map_err(|error| invalid(what, error))
}

fn parse_each<T, C>(what: &str, texts: &[String]) -> Result<C, Refused>
where
    T: FromStr<Err: fmt::Display>,
    C: FromIterator<T>,
{
    texts.iter().map(|text| parse(what, text)).collect()
}

/// The first few of them, as a refusal names them.
fn reported<'a>(digests: impl IntoIterator<Item = &'a entrepot_oci::Digest>) -> Digests {
    Digests {
        digests: digests
            .into_iter()
            .take(DIGESTS_REPORTED_MAX)
            .map(ToString::to_string)
            .collect(),
    }
}

// === impl Stop ===

impl From<Refused> for Stop {
    fn from(reason: Refused) -> Self {
        Self::Refused(reason)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
