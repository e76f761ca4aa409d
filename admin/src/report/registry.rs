//! `entrepot registry show` and `set`

use entrepot_proto::admin;
use serde::Serialize;

use crate::failure::Failure;
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct RegistryReport {
    account: String,
    region: String,
    create_on_push: bool,
    /// None: they are not all counted yet.
    repositories: Option<u64>,
    /// None, as of the following: the node is older than quotas.
    max_repositories: Option<u64>,
    max_images: Option<u64>,
    max_tags: Option<u64>,
    max_layer_parts: Option<u64>,
    max_layer_bytes: Option<u64>,
    /// None: the node is older than that.
    undelete_window_s: Option<u64>,
    /// None: nobody has counted it, as of the images.
    bytes: Option<u64>,
    /// None, as of the following: there is no such quota.
    max_bytes: Option<u64>,
    max_repository_bytes: Option<u64>,
    images: Option<u64>,
    max_registry_images: Option<u64>,
}

// === impl RegistryReport ===

impl RegistryReport {
    /// # Errors
    /// When the answer lacks a setting, which no node leaves out.
    pub(crate) fn new(registry: admin::Registry) -> Result<Self, Failure> {
        let settings = registry.settings.unwrap_or_default();
        Ok(Self {
            account: registry.account,
            region: registry.region,
            create_on_push: settings
                .create_on_push
                .ok_or(Failure::Nonsense("a registry without its settings"))?,
            repositories: registry.repositories,
            max_repositories: settings.repositories_max,
            max_images: settings.images_max,
            max_tags: settings.tags_max,
            max_layer_parts: settings.layer_parts_max,
            max_layer_bytes: settings.layer_bytes_max,
            undelete_window_s: settings.undelete_window_s,
            bytes: registry.bytes,
            max_bytes: settings.bytes_max,
            max_repository_bytes: settings.repository_bytes_max,
            images: registry.images,
            max_registry_images: settings.registry_images_max,
        })
    }
}

impl Report for RegistryReport {
    fn people(&self, _now_ms: i64) -> String {
        let (value, meaning) = if self.create_on_push {
            ("on", "a push makes its repository if there is none")
        } else {
            (
                "off",
                "a push to a repository that does not exist is refused",
            )
        };
        let mut rows = vec![["create-on-push", value, meaning].map(str::to_owned)];
        let has = match self.repositories {
            Some(number) => format!("repositories of the registry, which has {number}"),
            None => "repositories of the registry".to_owned(),
        };
        let mib = |bytes: u64| bytes / (1024 * 1024);
        for (name, value, meaning) in [
            ("max-repositories", self.max_repositories, has.as_str()),
            ("max-images", self.max_images, "images of a repository"),
            ("max-tags", self.max_tags, "tags of an image"),
            (
                "max-layer-parts",
                self.max_layer_parts,
                "parts of a layer, over ECR's API",
            ),
            (
                "max-layer-mib",
                self.max_layer_bytes.map(mib),
                "MiB of a layer",
            ),
        ] {
            if let Some(value) = value {
                rows.push([name.to_owned(), value.to_string(), meaning.to_owned()]);
            }
        }
        if let Some(window_s) = self.undelete_window_s {
            rows.push([
                "undelete-window".to_owned(),
                match window_s {
                    0 => "0".to_owned(),
                    _ => human::duration(window_s.saturating_mul(1_000)),
                },
                "how long a deleted image can be restored".to_owned(),
            ]);
        }
        let has = |what: &str, held: Option<String>| match held {
            Some(held) => format!("{what} of the registry, which has {held}"),
            None => format!("{what} of the registry"),
        };
        let none = || "none".to_owned();
        rows.push([
            "max-bytes".to_owned(),
            self.max_bytes.map_or_else(none, human::size),
            has("bytes", self.bytes.map(human::size)),
        ]);
        rows.push([
            "max-repository-bytes".to_owned(),
            self.max_repository_bytes.map_or_else(none, human::size),
            "bytes of a repository".to_owned(),
        ]);
        rows.push([
            "max-registry-images".to_owned(),
            self.max_registry_images
                .map_or_else(none, |max| max.to_string()),
            has("images", self.images.map(|number| number.to_string())),
        ]);
        let table = human::table(["SETTING", "VALUE", "MEANING"], rows);
        format!(
            "Registry of account {} in region {}\n\n{table}",
            human::plain(&self.account),
            human::plain(&self.region)
        )
    }
}
