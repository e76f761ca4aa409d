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
    /// As quotas count it; none: nobody does.
    quota_bytes: Option<u64>,
    /// None: there is no such quota.
    max_bytes: Option<u64>,
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
            quota_bytes: reply.quota_bytes,
            max_bytes: reply.bytes_max,
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
        let mut text = match self.repositories_left_out {
            0 => table,
            more => format!("{table}\n\nAnd {more} repositories that keep less."),
        };
        if let Some(restorable) = self.restorable.as_ref().filter(|it| it.images > 0) {
            let images = usize::try_from(restorable.images).unwrap_or(usize::MAX);
            text = format!(
                "{text}\n\n{} can be restored: {} logical, {} kept for that alone.",
                human::count(images, "deleted image"),
                human::size(restorable.logical_bytes),
                human::size(restorable.unique_bytes),
            );
        }
        let Some(held) = self.quota_bytes.map(human::size) else {
            return text;
        };
        let max = self.max_bytes.map(human::size);
        let max = max.map_or("any number".to_owned(), |max| format!("at most {max}"));
        format!("{text}\n\nTo quotas it is {held}, and may be {max}.")
    }
}
