//! `entrepot image list`

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;

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
            ["DIGEST", "TAGS", "SIZE", "AGE", "MEDIA TYPE"],
            self.images.iter().map(|image| {
                [
                    human::digest(&image.digest),
                    human::list(&image.tags),
                    human::size(image.size_bytes),
                    human::between(image.pushed_at_ms, now_ms),
                    image.media_type.clone(),
                ]
            }),
        )
    }
}
