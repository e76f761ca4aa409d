//! What a command answers: for programs by `Serialize`, for people as text.
//!
//! The JSON is a promise. Names are in snake case with the unit last; times are
//! milliseconds since the Unix epoch; what is not there is null; the outermost
//! value is always an object, so that fields can be added. No field changes its
//! meaning or goes away. The help of each command shows its shape.

mod account;
mod backfill;
mod check;
mod cluster;
mod collection;
mod image;
mod lifecycle;
mod node;
mod registry;
mod repair;
mod replication;
mod repository;
mod rule;
mod scrub;
mod tag;
mod trust;
mod undelete;
mod usage;
mod webhook;

use serde::Serialize;

pub(crate) use account::{AccountsReport, ChangedAccount, CreatedAccount};
pub(crate) use backfill::{BackfillImages, BackfillsReport, StartedBackfill, StoppedBackfill};
pub(crate) use check::CheckReport;
pub(crate) use cluster::ClusterReport;
pub(crate) use collection::{
    CollectedReport, CollectionPreviewReport, CollectionReport, DeletedImage,
};
pub(crate) use image::{ImagesReport, MovedImage};
pub(crate) use lifecycle::{
    DeletedPolicy, LifecyclePreviewReport, LifecycleRunReport, PolicyReport, PutPolicy,
};
pub(crate) use node::{
    AddedRegion, DrainReport, NodesReport, RegionsReport, RemovedNode, RemovedRegion,
};
pub(crate) use registry::RegistryReport;
pub(crate) use repair::RepairReport;
pub(crate) use replication::{Arrived, StatusReport, Totals};
pub(crate) use repository::{
    CreatedRepository, DeletedRepository, RepositoriesReport, RepositoryReport,
};
pub(crate) use rule::{DeletedRule, PutRuleReport, RulesReport};
pub(crate) use scrub::{ScrubReport, StartedScrub};
pub(crate) use tag::{RestoredTag, TagHistoryReport};
pub(crate) use trust::{RevokedNode, TokenReport};
pub(crate) use undelete::{DeletedImagesReport, PurgedImage, RestoredImage};
pub(crate) use usage::UsageReport;
pub(crate) use webhook::{DeletedWebhook, PutWebhook, ToldWebhook, WebhooksReport};

/// An answer.
pub(crate) trait Report: Serialize {
    /// The answer as text, without the last end of line.
    fn people(&self, now_ms: i64) -> String;
}
