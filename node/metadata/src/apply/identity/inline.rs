//! Policies that belong to one user, group or role.

use super::{DONE, Stop, Target, checks, limit, unknown};
use crate::command::{DeleteInlinePolicy, PutInlinePolicy};
use crate::limits::{
    INLINE_GROUP_CHARS_MAX, INLINE_POLICIES_MAX, INLINE_ROLE_CHARS_MAX, INLINE_USER_CHARS_MAX,
};
use crate::overlay::Overlay;
use crate::records::identity::EntityKind;
use crate::response::Outcome;

pub(in crate::apply) fn put(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutInlinePolicy,
) -> Result<Outcome, Stop> {
    checks::name(EntityKind::InlinePolicy, &command.policy)?;
    checks::document(&command.document)?;
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    target.modifiable()?;
    target
        .record
        .inline
        .insert(command.policy, command.document);
    let inline = &target.record.inline;
    if inline.len() > INLINE_POLICIES_MAX {
        return Err(limit("InlinePolicies", INLINE_POLICIES_MAX));
    }
    let mut size = 0;
    for document in inline.values() {
        size += checks::document(document)?;
    }
    let (quota, max) = match target.kind {
        EntityKind::Group => ("InlinePolicySizePerGroup", INLINE_GROUP_CHARS_MAX),
        EntityKind::Role => ("InlinePolicySizePerRole", INLINE_ROLE_CHARS_MAX),
        _ => ("InlinePolicySizePerUser", INLINE_USER_CHARS_MAX),
    };
    if size > max {
        return Err(limit(quota, max));
    }
    target.save(overlay, index)?;
    Ok(DONE)
}

pub(in crate::apply) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteInlinePolicy,
) -> Result<Outcome, Stop> {
    checks::name(EntityKind::InlinePolicy, &command.policy)?;
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    target.modifiable()?;
    if target.record.inline.remove(&command.policy).is_none() {
        return Err(unknown(EntityKind::InlinePolicy, &command.policy));
    }
    target.save(overlay, index)?;
    Ok(DONE)
}
