//! `entrepot image`

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;

use crate::arguments::Named;
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct ImagesReport {
    repository: RepositoryName,
    images: Vec<Image>,
}

#[derive(Debug, Serialize)]
struct Image {
    digest: String,
    tags: Vec<String>,
    media_type: String,
    /// Config and layers of an image; of an index, its manifest alone.
    size_bytes: u64,
    pushed_at_ms: i64,
    storage_class: &'static str,
    last_archived_at_ms: Option<i64>,
    last_activated_at_ms: Option<i64>,
}

/// An image that went into the archive, or came back.
#[derive(Debug, Serialize)]
pub(crate) struct MovedImage {
    /// As it was asked for.
    image: String,
    digest: String,
    storage_class: &'static str,
    /// It, and what went along.
    moved: u64,
    left: bool,
}

fn class(archived: bool) -> &'static str {
    if archived { "ARCHIVE" } else { "STANDARD" }
}

impl MovedImage {
    pub(crate) fn new(image: &Named, archive: bool, reply: admin::SetStorageClassReply) -> Self {
        let digest = reply.image.map(|image| image.digest);
        Self {
            image: image.to_string(),
            digest: digest.unwrap_or_default(),
            storage_class: class(archive),
            moved: reply.moved,
            left: reply.left,
        }
    }
}

impl Report for MovedImage {
    fn people(&self, _now_ms: i64) -> String {
        let image = &self.image;
        let is_archived = self.storage_class == class(true);
        let done = match (self.moved, is_archived) {
            (0, true) => return format!("{image} is in the archive already."),
            (0, false) => return format!("{image} is not in the archive."),
            (_, true) => "is in the archive, and cannot be pulled",
            (_, false) => "is back from the archive, and can be pulled",
        };
        let along = match self.moved - 1 {
            0 => String::new(),
            more => format!(" With it: {more} more that it names or that refer to it."),
        };
        let left = if self.left {
            " So much refers to it that some may be where it was."
        } else {
            ""
        };
        format!("{image} {done}.{along}{left}")
    }
}

impl ImagesReport {
    pub(crate) fn new(repository: RepositoryName, images: Vec<admin::Image>) -> Self {
        let images = images
            .into_iter()
            .map(|image| Image {
                digest: image.digest,
                tags: image.tags,
                media_type: image.media_type,
                size_bytes: image.size,
                pushed_at_ms: image.pushed_at_ms,
                storage_class: class(image.archived),
                last_archived_at_ms: image.last_archived_at_ms,
                last_activated_at_ms: image.last_activated_at_ms,
            })
            .collect();
        Self { repository, images }
    }
}

impl Report for ImagesReport {
    fn people(&self, now_ms: i64) -> String {
        if self.images.is_empty() {
            return format!("There are no images in {}.", self.repository);
        }
        human::table(
            ["DIGEST", "TAGS", "SIZE", "AGE", "CLASS", "MEDIA TYPE"],
            self.images.iter().map(|image| {
                [
                    human::digest(&image.digest),
                    human::list(&image.tags),
                    human::size(image.size_bytes),
                    human::between(image.pushed_at_ms, now_ms),
                    image.storage_class.to_lowercase(),
                    image.media_type.clone(),
                ]
            }),
        )
    }
}
