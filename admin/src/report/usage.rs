//! `entrepot usage`

use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct UsageReport {
    account: String,
    region: String,
    /// By storage class.
    total: Vec<Amount>,
    repositories: Vec<Repository>,
    repositories_left_out: u64,
    /// None: the node is older than that.
    restorable: Option<Restorable>,
}

/// Deleted images that can be restored.
#[derive(Debug, Serialize)]
struct Restorable {
    images: u64,
    logical_bytes: u64,
    /// What nothing else needs.
    unique_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Amount {
    storage_class: String,
    images: u64,
    logical_bytes: u64,
    unique_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Repository {
    repository: String,
    usage: Vec<Amount>,
}

fn amounts(amounts: Vec<admin::UsageAmount>) -> Vec<Amount> {
    let amounts = amounts.into_iter();
    amounts
        .map(|amount| Amount {
            storage_class: amount.storage_class,
            images: amount.images,
            logical_bytes: amount.logical_bytes,
            unique_bytes: amount.unique_bytes,
        })
        .collect()
}

// === impl UsageReport ===

impl From<admin::GetUsageReply> for UsageReport {
    fn from(reply: admin::GetUsageReply) -> Self {
        let repositories = reply.repositories.into_iter();
        Self {
            account: reply.account,
            region: reply.region,
            total: amounts(reply.amounts),
            repositories: repositories
                .map(|one| Repository {
                    repository: one.repository,
                    usage: amounts(one.amounts),
                })
                .collect(),
            repositories_left_out: reply.repositories_left_out,
            restorable: reply.restorable.map(|amount| Restorable {
                images: amount.images,
                logical_bytes: amount.logical_bytes,
                unique_bytes: amount.unique_bytes,
            }),
        }
    }
}

impl Report for UsageReport {
    fn people(&self, _now_ms: i64) -> String {
        let row = |name: &str, amount: &Amount| {
            [
                name.to_owned(),
                amount.storage_class.to_lowercase(),
                amount.images.to_string(),
                human::size(amount.logical_bytes),
                human::size(amount.unique_bytes),
            ]
        };
        let each = self.repositories.iter();
        let each = each.flat_map(|one| one.usage.iter().map(|it| row(&one.repository, it)));
        let total = self.total.iter().map(|it| row("(all)", it));
        let table = human::table(
            ["REPOSITORY", "CLASS", "IMAGES", "LOGICAL", "UNIQUE"],
            each.chain(total),
        );
        let text = match self.repositories_left_out {
            0 => table,
            more => format!("{table}\n\nAnd {more} repositories that keep less."),
        };
        match self.restorable.as_ref().filter(|it| it.images > 0) {
            None => text,
            Some(restorable) => format!(
                "{text}\n\n{} can be restored: {} logical, {} kept for that alone.",
                human::count(
                    usize::try_from(restorable.images).unwrap_or(usize::MAX),
                    "deleted image"
                ),
                human::size(restorable.logical_bytes),
                human::size(restorable.unique_bytes),
            ),
        }
    }
}
