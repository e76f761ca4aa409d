//! Backfills begin, go on step by step, and end.
//!
//! A step asks for the next few images as pushes do: with tasks of their own, whose
//! place in the order of each tag is that of the step. What the step finds under a
//! tag is what the tag shows then: nothing older comes over anything newer, and what
//! its destination has lost comes back. The invariants: whoever proposes a step, and
//! however often, each image is asked for once; a backfill is over when all that it
//! asked for is; as much is under way at a time as one step can look through.

use std::collections::BTreeSet;

use entrepot_oci::AccountId;

use super::tasks::ask_again;
use super::{Stop, following, invalid, parse};
use crate::command::{StartBackfill, StepBackfill, StopBackfill};
use crate::keys;
use crate::limits::{
    BACKFILL_FORGOTTEN_MAX, BACKFILL_ID_BYTES, BACKFILL_KEPT_MS, BACKFILL_STEP_TASKS,
    BACKFILL_WAITING_MAX, BACKFILLS_KEPT_MAX, BACKFILLS_MAX, DESTINATIONS_MAX, RULES_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, Backfill, Cursor, Destination, Place, Rule, TaskKind, TaskState};
use crate::read;
use crate::records::backfills::{
    BackfillCount, BackfillItemRecord, BackfillPhase, BackfillRecord, ItemState,
    WantedBackfillRecord,
};
use crate::records::rules::DestinationRecord;
use crate::response::{Done, Outcome, Refused};
use crate::store::StorageError;

/// No rule names the destination any more.
const NOT_CONFIGURED: &str = "DestinationNotConfigured";
/// Half of the images or more failed, as in ECR.
const TOO_MANY_FAILED: &str = "TooManyReplicationFailures";

/// Pairs of wanted backfills of one registry.
const WANTED_MAX: usize = RULES_MAX * DESTINATIONS_MAX;

/// A backfill under way, in a step.
struct Run<'a> {
    account: &'a AccountId,
    sequence: u64,
    destination: Destination,
    record: BackfillRecord,
    index: u64,
    at_ms: i64,
}

pub(super) fn start(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: StartBackfill,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    check_id(&command.id)?;
    let destination = Destination::named(&command.destination, &account)
        .map_err(|error| invalid("destination", error))?;
    let rule = Some(command.rule.as_str()).filter(|rule| !rule.is_empty());
    let known = query::backfills(overlay, &account)?;
    if known.iter().any(|it| it.id == command.id) {
        return Ok(Outcome::Done(Done {}));
    }
    if query::backfill_rules(overlay, &account, &destination, rule)?.is_empty() {
        return Err(Refused::DestinationUnknown(command.destination).into());
    }
    let running: Vec<&Backfill> = known.iter().filter(|it| !it.phase.is_over()).collect();
    let region = &destination.region;
    if running.iter().any(|it| it.destination.region == *region) {
        return Err(Refused::BackfillRunning(region.to_string()).into());
    }
    for (count, max) in [
        (running.len(), BACKFILLS_MAX),
        (known.len(), BACKFILLS_KEPT_MAX),
    ] {
        if count >= max {
            return Err(Refused::BackfillLimit(u32::try_from(max).unwrap_or(u32::MAX)).into());
        }
    }
    overlay.delete(keys::wanted_backfill(
        &account,
        &command.destination,
        &command.rule,
    ));
    let record = BackfillRecord {
        id: command.id,
        destination: Some(DestinationRecord {
            region: destination.region.to_string(),
            account: destination.account.to_string(),
        }),
        rule: command.rule,
        started_at_ms: command.at_ms,
        phase: BackfillPhase::Preparing.into(),
        ..BackfillRecord::default()
    };
    overlay.put(keys::backfill(&account, index), &record);
    overlay.mark(keys::running_backfill(&account, index));
    Ok(Outcome::Done(Done {}))
}

pub(super) fn stop(overlay: &mut Overlay<'_>, command: &StopBackfill) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    check_id(&command.id)?;
    let known = query::backfills(overlay, &account)?;
    let Some(found) = known.into_iter().find(|it| it.id == command.id) else {
        return Err(Refused::BackfillUnknown(command.id.clone()).into());
    };
    if found.phase.is_over() {
        return Err(Refused::BackfillOver(command.id.clone()).into());
    }
    if let Some(mut run) = Run::of(overlay, &account, found.sequence, 0, command.at_ms)? {
        run.record.phase = BackfillPhase::Stopping.into();
        run.end_if_done();
        run.store(overlay);
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn step(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &StepBackfill,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let (sequence, at_ms) = (command.sequence, command.at_ms);
    let done = Outcome::Done(Done {});
    let Some(mut run) = Run::of(overlay, &account, sequence, index, at_ms)? else {
        return Ok(done);
    };
    let before = run.record.clone();
    match run.phase() {
        BackfillPhase::Preparing => run.prepared(command.counted),
        BackfillPhase::InProgress => {
            run.settle(overlay)?;
            run.walk(overlay)?;
        }
        BackfillPhase::Stopping => run.settle(overlay)?,
        BackfillPhase::Complete | BackfillPhase::Failed | BackfillPhase::Stopped => {
            run.forget(overlay)?;
            return Ok(done);
        }
    }
    run.end_if_done();
    if run.record != before {
        run.store(overlay);
    }
    Ok(done)
}

/// A rule that was made or changed asks for what is there, if it says so.
pub(super) fn want(
    overlay: &mut Overlay<'_>,
    account: &AccountId,
    id: &str,
    index: u64,
) -> Result<(), StorageError> {
    forget_unwanted(overlay, account)?;
    let Some(rule) = query::rule(overlay, account, id)?.filter(|rule| rule.options.backfill) else {
        return Ok(());
    };
    for destination in &rule.destinations {
        let key = keys::wanted_backfill(account, &destination.name(account), id);
        overlay.put(key, &WantedBackfillRecord { index });
    }
    Ok(())
}

/// After a change of the rules: what no rule asks for any more does not begin.
pub(super) fn forget_unwanted(
    overlay: &mut Overlay<'_>,
    account: &AccountId,
) -> Result<(), StorageError> {
    let rules = query::rules(overlay, account)?;
    let prefix = keys::wanted_backfills(account);
    for (key, _) in read::page(overlay, &prefix, None, WANTED_MAX)? {
        let wanted = query::wanted_of(&key)?;
        let asks = |rule: &Rule| {
            rule.id == wanted.rule
                && rule.options.backfill
                && rule.destinations.contains(&wanted.destination)
        };
        if !rules.iter().any(asks) {
            overlay.delete(keys::Key::of(key.to_vec()));
        }
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), Refused> {
    let is_valid = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if id.len() == BACKFILL_ID_BYTES && id.bytes().all(is_valid) {
        Ok(())
    } else {
        Err(invalid("backfill id", "must be a UUID"))
    }
}

// === impl Run ===

impl<'a> Run<'a> {
    fn of(
        overlay: &Overlay<'_>,
        account: &'a AccountId,
        sequence: u64,
        index: u64,
        at_ms: i64,
    ) -> Result<Option<Self>, StorageError> {
        let key = keys::backfill(account, sequence);
        let Some(record) = read::record::<BackfillRecord>(overlay, &key)? else {
            return Ok(None);
        };
        let found = query::backfill(overlay, account, sequence)?;
        Ok(found.map(|found| Self {
            account,
            sequence,
            destination: found.destination,
            record,
            index,
            at_ms,
        }))
    }

    fn phase(&self) -> BackfillPhase {
        self.record.phase()
    }

    fn store(&self, overlay: &mut Overlay<'_>) {
        overlay.put(keys::backfill(self.account, self.sequence), &self.record);
        if self.phase().is_over() {
            overlay.delete(keys::running_backfill(self.account, self.sequence));
        }
    }

    fn prepared(&mut self, counted: Option<BackfillCount>) {
        if counted.is_some() {
            self.record.counted = counted;
            self.record.phase = BackfillPhase::InProgress.into();
        }
    }

    /// Notes what has ended of all that was asked for.
    fn settle(&mut self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let (account, sequence) = (self.account, self.sequence);
        let limit = usize::try_from(BACKFILL_WAITING_MAX).unwrap_or(usize::MAX);
        // A page may bring a few more than it was to.
        let limit = limit + BACKFILL_STEP_TASKS;
        let state = ItemState::Waiting;
        for item in query::backfill_items(overlay, account, sequence, state, None, limit)? {
            let task = query::task(overlay, &item.place.task(account, &self.destination))?;
            // Deleted since, or no rule asks for it any more: there is nothing to copy.
            let task = task.filter(|task| task.kind == TaskKind::Copy);
            let state = task.as_ref().map(|task| task.state);
            if state == Some(TaskState::InProgress) {
                continue;
            }
            let key = |state| keys::backfill_item(account, sequence, state, &item.place);
            overlay.delete(key(ItemState::Waiting));
            self.record.waiting = self.record.waiting.saturating_sub(1);
            match task {
                Some(task) if task.state == TaskState::Failed => {
                    self.record.failed += 1;
                    self.record.any_denied |= task.denied;
                    self.record.any_refused |= !task.denied;
                    let record = BackfillItemRecord {
                        reason: task.reason,
                        denied: task.denied,
                    };
                    overlay.put(key(ItemState::Failed), &record);
                }
                Some(_) => {
                    self.record.completed += 1;
                    overlay.put(key(ItemState::Complete), &BackfillItemRecord::default());
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Asks for the next few images.
    fn walk(&mut self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let failed_all = self.record.failed >= self.half_of_counted();
        if failed_all && self.record.failure.is_none() {
            self.record.failure = Some(TOO_MANY_FAILED.to_owned());
        }
        if self.record.walked
            || self.record.failure.is_some()
            || self.record.waiting >= BACKFILL_WAITING_MAX
        {
            return Ok(());
        }
        let rule = Some(self.record.rule.as_str()).filter(|rule| !rule.is_empty());
        let rules = query::backfill_rules(overlay, self.account, &self.destination, rule)?;
        if rules.is_empty() {
            self.record.failure = Some(NOT_CONFIGURED.to_owned());
            return Ok(());
        }
        let key = keys::backfill(self.account, self.sequence);
        let after = self.record.cursor.as_ref();
        let after = after.map(|it| Cursor::of(key.as_bytes(), it)).transpose()?;
        let limit = BACKFILL_STEP_TASKS;
        let page = query::backfill_page(overlay, self.account, &rules, after.as_ref(), limit)?;
        self.settings(overlay, &rules, &page.places)?;
        // Under whichever name a push would go.
        let all = query::backfill_rules(overlay, self.account, &self.destination, None)?;
        for place in page.places {
            let task = place.task(self.account, &self.destination);
            let Some(rule) = query::rule_for(overlay, self.account, &all, &place)? else {
                continue;
            };
            let name = rule.name_there(&place.repository);
            ask_again(overlay, &task, name, self.index, self.at_ms)?;
            let state = ItemState::Waiting;
            let key = keys::backfill_item(self.account, self.sequence, state, &place);
            if !read::exists(overlay, &key)? {
                self.record.waiting += 1;
                overlay.put(key, &BackfillItemRecord::default());
            }
        }
        self.record.walked = page.next.is_none();
        self.record.cursor = page.next.as_ref().map(Cursor::record);
        Ok(())
    }

    /// The settings of repositories that are come upon follow as well, where a rule
    /// says so.
    fn settings(
        &self,
        overlay: &mut Overlay<'_>,
        rules: &[Rule],
        places: &[Place],
    ) -> Result<(), StorageError> {
        let repositories: BTreeSet<_> = places.iter().map(|it| &it.repository).collect();
        for repository in repositories {
            let mut rules = rules.iter();
            if rules.any(|rule| rule.options.settings && rule.matches(repository)) {
                let (account, to) = (self.account, &self.destination);
                following::ask(overlay, account, repository, to, self.index)?;
            }
        }
        Ok(())
    }

    /// Of what was counted, how many may fail at most, and one more.
    fn half_of_counted(&self) -> u64 {
        let counted = self.record.counted.map_or(0, |counted| counted.images);
        counted.div_ceil(2).max(1)
    }

    /// Nothing of it is under way, and nothing more will be.
    fn end_if_done(&mut self) {
        let record = &mut self.record;
        let phase = record.phase();
        let is_last = match phase {
            BackfillPhase::Stopping => true,
            BackfillPhase::InProgress => record.walked || record.failure.is_some(),
            _ => false,
        };
        if !is_last || record.waiting > 0 {
            return;
        }
        let total = record.completed + record.failed;
        if record.failed > 0 && 2 * record.failed >= total && record.failure.is_none() {
            record.failure = Some(TOO_MANY_FAILED.to_owned());
        }
        let end = match phase {
            BackfillPhase::Stopping => BackfillPhase::Stopped,
            _ if record.failure.is_some() => BackfillPhase::Failed,
            _ => BackfillPhase::Complete,
        };
        if end == BackfillPhase::Stopped {
            record.failure = None;
        }
        record.phase = end.into();
        record.ended_at_ms = Some(self.at_ms);
    }

    /// Removes what is left of one that ended long ago, a part at a time.
    fn forget(&mut self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let ended_at_ms = self.record.ended_at_ms.unwrap_or_default();
        if self.at_ms.saturating_sub(ended_at_ms) < BACKFILL_KEPT_MS {
            return Ok(());
        }
        let mut left = BACKFILL_FORGOTTEN_MAX;
        for state in ItemState::ALL {
            let prefix = keys::backfill_items(self.account, self.sequence, state);
            let page = read::page(overlay, &prefix, None, left)?;
            left -= page.len();
            for (key, _) in page {
                overlay.delete(keys::Key::of(key.to_vec()));
            }
            if left == 0 {
                return Ok(());
            }
        }
        overlay.delete(keys::backfill(self.account, self.sequence));
        Ok(())
    }
}
