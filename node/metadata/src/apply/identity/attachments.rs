//! Which managed policies users, groups and roles have, and what bounds them.
//!
//! The invariant: an index says of each policy who has it, so that none goes
//! that somebody has.

use super::{DONE, Stop, Target, limit, unknown};
use crate::apply::invalid;
use crate::command::{AttachPolicy, DetachPolicy, SetBoundary};
use crate::keys::{self, PolicyUse};
use crate::limits::{ATTACHED_MAX, POLICY_ARN_BYTES_MAX};
use crate::overlay::Overlay;
use crate::query::{self, AWS_POLICIES};
use crate::records::identity::EntityKind;
use crate::response::Outcome;

pub(in crate::apply) fn attach(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: AttachPolicy,
) -> Result<Outcome, Stop> {
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    target.modifiable()?;
    let arn = command.policy_arn;
    require(overlay, &target, &arn)?;
    let attached = &mut target.record.attached;
    let Err(place) = attached.binary_search(&arn) else {
        return Ok(DONE);
    };
    if attached.len() >= ATTACHED_MAX {
        let quota = match target.kind {
            EntityKind::Group => "PoliciesPerGroup",
            EntityKind::Role => "PoliciesPerRole",
            _ => "PoliciesPerUser",
        };
        return Err(limit(quota, ATTACHED_MAX));
    }
    overlay.mark(target.used(PolicyUse::Attached, &arn));
    target.record.attached.insert(place, arn);
    target.save(overlay, index)?;
    Ok(DONE)
}

/// Attaches what an identity is made with.
pub(super) fn attached(
    overlay: &mut Overlay<'_>,
    target: &mut Target,
    mut arns: Vec<String>,
) -> Result<(), Stop> {
    arns.sort();
    arns.dedup();
    if arns.len() > ATTACHED_MAX {
        return Err(limit("PoliciesPerRole", ATTACHED_MAX));
    }
    for arn in &arns {
        require(overlay, target, arn)?;
        overlay.mark(target.used(PolicyUse::Attached, arn));
    }
    target.record.attached = arns;
    Ok(())
}

pub(in crate::apply) fn detach(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DetachPolicy,
) -> Result<Outcome, Stop> {
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    target.modifiable()?;
    check_arn(&command.policy_arn)?;
    let Ok(place) = target.record.attached.binary_search(&command.policy_arn) else {
        return Err(unknown(EntityKind::Attachment, &command.policy_arn));
    };
    overlay.delete(target.used(PolicyUse::Attached, &command.policy_arn));
    target.record.attached.remove(place);
    target.save(overlay, index)?;
    Ok(DONE)
}

pub(in crate::apply) fn set_boundary(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetBoundary,
) -> Result<Outcome, Stop> {
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    target.modifiable()?;
    if target.kind == EntityKind::Group {
        return Err(invalid("group", "has no permissions boundary").into());
    }
    if command.policy_arn.is_empty() {
        if target.record.boundary.is_empty() {
            return Err(unknown(EntityKind::Boundary, &target.record.name));
        }
        unbound(overlay, &mut target);
    } else {
        bound(overlay, &mut target, &command.policy_arn)?;
    }
    target.save(overlay, index)?;
    Ok(DONE)
}

/// Gives a boundary in the place of the one that there may be.
pub(super) fn bound(overlay: &mut Overlay<'_>, target: &mut Target, arn: &str) -> Result<(), Stop> {
    require(overlay, target, arn)?;
    unbound(overlay, target);
    overlay.mark(target.used(PolicyUse::Boundary, arn));
    arn.clone_into(&mut target.record.boundary);
    Ok(())
}

pub(super) fn unbound(overlay: &mut Overlay<'_>, target: &mut Target) {
    let before = std::mem::take(&mut target.record.boundary);
    if !before.is_empty() {
        overlay.delete(target.used(PolicyUse::Boundary, &before));
    }
}

/// That it is a policy of AWS's own, or one that the account has.
fn require(overlay: &Overlay<'_>, target: &Target, arn: &str) -> Result<(), Stop> {
    check_arn(arn)?;
    if arn.starts_with(AWS_POLICIES) {
        return Ok(());
    }
    match query::policy_by_arn(overlay, &target.account, arn)? {
        Some(_) => Ok(()),
        None => Err(unknown(EntityKind::Policy, arn)),
    }
}

fn check_arn(arn: &str) -> Result<(), Stop> {
    let right = |byte: u8| byte.is_ascii_graphic();
    if (20..=POLICY_ARN_BYTES_MAX).contains(&arn.len()) && arn.bytes().all(right) {
        return Ok(());
    }
    Err(invalid(
        "policy ARN",
        "must be of 20 to 2048 printable ASCII characters",
    )
    .into())
}

// === impl Target ===

impl Target {
    pub(super) fn used(&self, how: PolicyUse, arn: &str) -> keys::Key {
        keys::policy_use(&self.account, arn, how, self.kind, &self.record.name)
    }
}
