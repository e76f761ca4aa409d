//! `entrepot repository create`, `delete`, `show`, `set` and `list`

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;

use crate::failure::Failure;
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct CreatedRepository {
    pub(crate) repository: RepositoryName,
    /// False: there was one already.
    pub(crate) created: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeletedRepository {
    pub(crate) deleted: RepositoryName,
    /// That were deleted with it.
    pub(crate) images: u64,
    pub(crate) tags: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RepositoryReport {
    name: String,
    created_at_ms: i64,
    deleting: bool,
    sparse_indexes: Answer,
    /// None: nobody counts it, as of the images.
    bytes: Option<u64>,
    /// None: as any repository of the registry, as of the images.
    max_bytes: Option<u64>,
    images: Option<u64>,
    max_images: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Allow,
    Refuse,
}

#[derive(Debug, Serialize)]
pub(crate) struct RepositoriesReport {
    repositories: Vec<Repository>,
}

#[derive(Debug, Serialize)]
struct Repository {
    name: String,
    created_at_ms: i64,
    deleting: bool,
}

// === impl RepositoryReport ===

impl RepositoryReport {
    /// # Errors
    /// When the answer lacks a setting, which no node leaves out.
    pub(crate) fn new(repository: admin::Repository) -> Result<Self, Failure> {
        let settings = repository.settings.unwrap_or_default();
        let sparse_indexes = match settings.sparse_indexes {
            Some(true) => Answer::Allow,
            Some(false) => Answer::Refuse,
            None => return Err(Failure::Nonsense("a repository without its settings")),
        };
        Ok(Self {
            name: repository.name,
            created_at_ms: repository.created_at_ms,
            deleting: repository.deleting,
            sparse_indexes,
            bytes: repository.bytes,
            max_bytes: settings.bytes_max,
            images: repository.images,
            max_images: settings.images_max,
        })
    }
}

impl Report for RepositoryReport {
    fn people(&self, now_ms: i64) -> String {
        let (value, meaning) = match self.sparse_indexes {
            Answer::Allow => ("allow", "an index may name manifests that are not here"),
            Answer::Refuse => ("refuse", "an index is taken once all that it names is here"),
        };
        let of_any = || "of any".to_owned();
        let has = |what: &str, held: Option<String>| match held {
            Some(held) => format!("{what} that it may have, and it has {held}"),
            None => format!("{what} that it may have"),
        };
        let table = human::table(
            ["SETTING", "VALUE", "MEANING"],
            [
                ["sparse-indexes", value, meaning].map(str::to_owned),
                [
                    "max-bytes".to_owned(),
                    self.max_bytes.map_or_else(of_any, human::size),
                    has("bytes", self.bytes.map(human::size)),
                ],
                [
                    "max-images".to_owned(),
                    self.max_images.map_or_else(of_any, |max| max.to_string()),
                    has("images", self.images.map(|number| number.to_string())),
                ],
            ],
        );
        format!(
            "Repository {}, created {} ago{}\n\n{table}",
            human::plain(&self.name),
            human::between(self.created_at_ms, now_ms),
            if self.deleting { ", being deleted" } else { "" }
        )
    }
}

// === impl RepositoriesReport ===

impl From<Vec<admin::Repository>> for RepositoriesReport {
    fn from(repositories: Vec<admin::Repository>) -> Self {
        let repositories = repositories
            .into_iter()
            .map(|repository| Repository {
                name: repository.name,
                created_at_ms: repository.created_at_ms,
                deleting: repository.deleting,
            })
            .collect();
        Self { repositories }
    }
}

impl Report for CreatedRepository {
    fn people(&self, _now_ms: i64) -> String {
        if self.created {
            format!("Created repository {}.", self.repository)
        } else {
            format!("Repository {} exists already.", self.repository)
        }
    }
}

impl Report for DeletedRepository {
    fn people(&self, _now_ms: i64) -> String {
        let Self {
            deleted,
            images,
            tags,
        } = self;
        format!("Deleted repository {deleted}, with {images} images and {tags} tags.")
    }
}

impl Report for RepositoriesReport {
    fn people(&self, now_ms: i64) -> String {
        if self.repositories.is_empty() {
            return "There are no repositories.".to_owned();
        }
        human::table(
            ["REPOSITORY", "AGE", "STATE"],
            self.repositories.iter().map(|repository| {
                let state = if repository.deleting {
                    "being deleted"
                } else {
                    "active"
                };
                [
                    repository.name.clone(),
                    human::between(repository.created_at_ms, now_ms),
                    state.to_owned(),
                ]
            }),
        )
    }
}
