//! `entrepot lifecycle`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use entrepot_oci::RepositoryName;

use super::print;
use crate::arguments::{Lifecycle, LifecyclePut};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{
    DeletedPolicy, LifecyclePreviewReport, LifecycleRunReport, PolicyReport, PutPolicy,
};

/// More than a node takes: what is wrong with a policy, the node says.
const POLICY_BYTES_MAX: u64 = 1024 * 1024;
/// Parts of a run, each of some 500 images: more than there are.
const RUN_PARTS_MAX: usize = 10_000;

pub(super) async fn lifecycle(
    client: &Client,
    command: Lifecycle,
    json: bool,
) -> Result<(), Failure> {
    match command {
        Lifecycle::Put(options) => put(client, options, json).await,
        Lifecycle::Get { repository } => {
            let found = client.lifecycle_policy(repository.as_str()).await;
            let found = found.map_err(|failure| none(failure, &repository))?;
            print(&PolicyReport::new(repository, &found)?, json)
        }
        Lifecycle::Delete { repository } => {
            let deleted = client.delete_lifecycle_policy(repository.as_str()).await;
            deleted.map_err(|failure| none(failure, &repository))?;
            let deleted = repository;
            print(&DeletedPolicy { deleted }, json)
        }
        Lifecycle::Preview { repository, file } => {
            let policy = file.as_deref().map(read).transpose()?.unwrap_or_default();
            let found = client.lifecycle_preview(repository.as_str(), &policy).await;
            let images = found.map_err(|failure| none(failure, &repository))?;
            print(&LifecyclePreviewReport::new(repository, images), json)
        }
        Lifecycle::Run { repository, yes: _ } => run(client, repository, json).await,
    }
}

async fn put(client: &Client, options: LifecyclePut, json: bool) -> Result<(), Failure> {
    let (repository, policy) = (options.repository, read(&options.file)?);
    let kept = client.put_lifecycle_policy(repository.as_str(), policy);
    let kept = kept.await.map_err(|failure| none(failure, &repository))?;
    print(&PutPolicy::new(repository, &kept)?, json)
}

async fn run(client: &Client, repository: RepositoryName, json: bool) -> Result<(), Failure> {
    let mut report = LifecycleRunReport::new(repository.clone());
    for _ in 0..RUN_PARTS_MAX {
        let part = client.run_lifecycle(repository.as_str()).await;
        let part = part.map_err(|failure| none(failure, &repository));
        match part.and_then(|part| report.add(part)) {
            Ok(true) => {}
            Ok(false) => {
                print(&report, json)?;
                return report.failure().map_or(Ok(()), Err);
            }
            Err(failure) if report.is_empty() => return Err(failure),
            // What the parts before have done is not lost with it.
            Err(failure) => {
                print(&report, json)?;
                return Err(failure);
            }
        }
    }
    print(&report, json)?;
    Err(Failure::Nonsense("a run that does not end"))
}

fn none(failure: Failure, repository: &RepositoryName) -> Failure {
    failure.or_missing(|| Failure::PolicyUnknown(repository.clone()))
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let reading = if file == Path::new("-") {
        let input = io::stdin().lock().take(POLICY_BYTES_MAX);
        { input }.read_to_string(&mut text)
    } else {
        File::open(file).and_then(|open| open.take(POLICY_BYTES_MAX).read_to_string(&mut text))
    };
    match reading {
        Ok(_) => Ok(text),
        Err(cause) => Err(Failure::PolicyUnreadable {
            place: file.display().to_string(),
            cause,
        }),
    }
}
