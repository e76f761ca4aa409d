//! `entrepot image list --deleted`, `image restore` and `image purge`

use std::cmp::Reverse;

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct DeletedImagesReport {
    repository: RepositoryName,
    /// Those that were deleted last first.
    deleted: Vec<Image>,
}

#[derive(Debug, Serialize)]
struct Image {
    digest: String,
    tags: Vec<String>,
    media_type: String,
    size_bytes: u64,
    pushed_at_ms: i64,
    deleted_at_ms: i64,
    restorable_until_ms: i64,
    reason: String,
    deleted_by: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RestoredImage {
    repository: RepositoryName,
    digest: String,
    images: u64,
    tags: Vec<String>,
    tags_kept: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PurgedImage {
    pub(crate) repository: RepositoryName,
    pub(crate) purged: String,
}

// === impl DeletedImagesReport ===

impl DeletedImagesReport {
    pub(crate) fn new(repository: RepositoryName, images: Vec<admin::DeletedImage>) -> Self {
        let images = images.into_iter().map(|image| Image {
            digest: image.digest,
            tags: image.tags,
            media_type: image.media_type,
            size_bytes: image.size,
            pushed_at_ms: image.pushed_at_ms,
            deleted_at_ms: image.deleted_at_ms,
            restorable_until_ms: image.restorable_until_ms,
            reason: image.reason,
            deleted_by: Some(image.deleted_by).filter(|by| !by.is_empty()),
        });
        let mut deleted: Vec<Image> = images.collect();
        deleted.sort_by_key(|image| Reverse(image.deleted_at_ms));
        Self {
            repository,
            deleted,
        }
    }
}

impl Report for DeletedImagesReport {
    fn people(&self, now_ms: i64) -> String {
        if self.deleted.is_empty() {
            let name = &self.repository;
            return format!("There are no deleted images in {name} that can be restored.");
        }
        human::table(
            ["DIGEST", "TAGS", "SIZE", "DELETED", "LEFT", "WHY", "BY"],
            self.deleted.iter().map(|image| {
                [
                    human::digest(&image.digest),
                    human::list(&image.tags),
                    human::size(image.size_bytes),
                    human::between(image.deleted_at_ms, now_ms),
                    human::between(now_ms, image.restorable_until_ms),
                    image.reason.clone(),
                    image.deleted_by.clone().unwrap_or_default(),
                ]
            }),
        )
    }
}

// === impl RestoredImage ===

impl RestoredImage {
    pub(crate) fn new(repository: RepositoryName, back: admin::RestoreImageReply) -> Self {
        Self {
            repository,
            digest: back.digest,
            images: back.manifests,
            tags: back.tags,
            tags_kept: back.tags_kept,
        }
    }
}

impl Report for RestoredImage {
    fn people(&self, _now_ms: i64) -> String {
        let digest = human::plain(&self.digest);
        let name = &self.repository;
        let with = match self.images.saturating_sub(1) {
            0 => String::new(),
            others => {
                let others = usize::try_from(others).unwrap_or(usize::MAX);
                format!(", with {} of it", human::count(others, "image"))
            }
        };
        let tags = match self.tags.as_slice() {
            [] => "without tags".to_owned(),
            tags => format!("as {}", human::plain(&human::list(tags))),
        };
        let kept = match self.tags_kept.as_slice() {
            [] => String::new(),
            kept => {
                let kept = human::plain(&human::list(kept));
                format!(" Other images have these tags by now, and keep them: {kept}.")
            }
        };
        format!("{name}@{digest} is back{with}, {tags}.{kept}")
    }
}

// === impl PurgedImage ===

impl Report for PurgedImage {
    fn people(&self, _now_ms: i64) -> String {
        let digest = human::plain(&self.purged);
        format!("{}@{digest} is gone for good.", self.repository)
    }
}
