//! Deleted images: seeds for the targets.

use crate::apply::tests::{Machine, account, digest, image, index_of};
use crate::command::{
    Author, Command, DeleteManifest, ExpireDeleted, ExpiredImage, ForgetTags, ForgottenTag,
    PutManifest, PutRegistrySettings, RestoreImage,
};
use crate::query::{self, Cause};
use crate::store::{KeyValue, StorageError};

/// Deleted images read at a time.
const FEW: usize = 10;

fn delete(number: u8) -> DeleteManifest {
    DeleteManifest {
        at_ms: 30,
        author: Some(author(Cause::Client)),
        ..DeleteManifest::new(&account(), &"app".parse().unwrap(), &digest(number))
    }
}

fn restore(number: u8) -> RestoreImage {
    RestoreImage::new(&account(), &"app".parse().unwrap(), &digest(number), 40)
}

fn author(cause: Cause) -> Author {
    Author::new("arn:aws:iam::123456789012:root", cause)
}

/// An index and its one manifest, whose tag has moved before.
pub(super) fn prepare(machine: &mut Machine) {
    for number in [22, 20] {
        machine.done(PutManifest {
            author: Some(author(Cause::Push)),
            ..image(number, &[2], &["gone"])
        });
    }
    machine.done(index_of(21, &[20]));
    machine.done(delete(21));
    machine.done(delete(20));
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let due = query::due_images(&super::state(), i64::MAX, FEW).unwrap();
    let images = due.iter().map(|it| {
        let digest = &it.image.manifest.digest;
        ExpiredImage::new(&it.account, &it.repository, digest, it.image.index)
    });
    let window = PutRegistrySettings {
        undelete_window_ms: Some(1_000),
        ..PutRegistrySettings::new(&account())
    };
    vec![
        ("good-delete-kept", delete(12).into()),
        ("good-restore-index", restore(21).into()),
        ("bad-restore-what-is-here", restore(10).into()),
        ("good-window", window.into()),
        (
            "good-expire",
            ExpireDeleted {
                images: images.collect(),
                cutoff_ms: i64::MAX,
                now: false,
            }
            .into(),
        ),
        (
            "good-forget-tag",
            ForgetTags {
                tags: vec![ForgottenTag::new(
                    &account(),
                    &"app".parse().unwrap(),
                    &"gone".parse().unwrap(),
                )],
                cutoff_ms: i64::MAX,
            }
            .into(),
        ),
    ]
}

pub(super) fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    query::deleted_images(view, &account(), &"app".parse().unwrap(), None, FEW)?;
    query::due_images(view, i64::MAX, FEW)?;
    query::registries_kept(view, None, FEW)?;
    query::registries_held(view, None, FEW)?;
    query::repository_kept(view, &account(), &"app".parse().unwrap())?;
    query::gone_tags(view, i64::MAX, FEW)?;
    query::tag_moves(
        view,
        &account(),
        &"app".parse().unwrap(),
        &"gone".parse().unwrap(),
        FEW,
    )?;
    Ok(())
}
