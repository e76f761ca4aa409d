//! From a command to its answer on standard output.

mod accounts;
mod collection;
mod images;
mod lifecycle;
mod nodes;
mod replication;
mod rules;
mod tags;
mod webhooks;

use std::io::{self, Write};

use entrepot_proto::admin;
use entrepot_proto::environment::{Clock, SystemClock};

use crate::arguments::{
    Answer, Cli, Cluster, Command, Registry, RegistrySet, Repair, Replication, Repository,
    RepositoryDelete, RepositorySet, Scrub, Switch, Usage,
};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::report::{
    ClusterReport, CreatedRepository, DeletedRepository, RegistryReport, RepairReport, Report,
    RepositoriesReport, RepositoryReport, ScrubReport, StartedScrub, UsageReport,
};

/// Parts of a repository's deletion, each of up to some 50,000 images: more than
/// there are.
const DELETION_PARTS_MAX: usize = 10_000;

/// Asks the node and prints what it answers.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let credentials = Credentials::read(&cli.connection)?;
    let client = Client::connect(&cli.connection, credentials).await?;
    let json = cli.json;
    match cli.command {
        Command::Cluster(Cluster::Status) => {
            print(&ClusterReport::from(client.cluster_status().await?), json)
        }
        Command::Node(command) => nodes::node(&client, command, json).await,
        Command::Region(command) => nodes::region(&client, command, json).await,
        Command::Account(command) => accounts::account(&client, command, json).await,
        Command::Webhook(command) => webhooks::webhook(&client, command, json).await,
        Command::Usage(Usage { account }) => {
            print(&UsageReport::from(client.usage(account).await?), json)
        }
        Command::Lifecycle(command) => lifecycle::lifecycle(&client, command, json).await,
        Command::Registry(Registry::Show { account }) => {
            print(&RegistryReport::new(client.registry(account).await?)?, json)
        }
        Command::Registry(Registry::Set { set, account }) => {
            let registry = client
                .put_registry_settings(settings(&set), account)
                .await?;
            print(&RegistryReport::new(registry)?, json)
        }
        Command::Repository(Repository::Create { repository }) => {
            let created = client.create_repository(repository.as_str()).await?;
            let report = CreatedRepository {
                repository,
                created,
            };
            print(&report, json)
        }
        Command::Repository(Repository::Delete(delete)) => {
            print(&delete_repository(&client, delete).await?, json)
        }
        Command::Repository(Repository::Show { repository }) => {
            match client.repository(repository.as_str()).await {
                Ok(found) => print(&RepositoryReport::new(found)?, json),
                Err(failure) => Err(failure.or_missing(|| Failure::RepositoryUnknown(repository))),
            }
        }
        Command::Repository(Repository::Set(set)) => {
            print(&set_repository(&client, set).await?, json)
        }
        Command::Repository(Repository::List) => print(
            &RepositoriesReport::from(client.repositories().await?),
            json,
        ),
        Command::Rule(command) => rules::rule(&client, command, json).await,
        Command::Backfill(command) => replication::backfill(&client, command, json).await,
        Command::Replication(Replication::Status(status)) => {
            replication::status(&client, status, json).await
        }
        Command::Replication(Replication::Wait(wait)) => {
            replication::wait(&client, wait, cli.connection.timeout, json).await
        }
        Command::Image(command) => images::image(&client, command, json).await,
        Command::Gc(command) => collection::gc(&client, command, json).await,
        Command::Check(options) => collection::check(&client, &options, json).await,
        Command::Tag(command) => tags::tag(&client, command, json).await,
        Command::Repair(Repair::Status) => {
            print(&RepairReport::from(client.repair_status().await?), json)
        }
        Command::Scrub(Scrub::Start { node }) => match client.start_scrub(node).await {
            Ok(nodes) => print(&StartedScrub::from(nodes), json),
            Err(failure) => match node {
                Some(node) => Err(failure.or_missing(|| Failure::NodeUnknown(node))),
                None => Err(failure),
            },
        },
        Command::Scrub(Scrub::Status) => {
            print(&ScrubReport::from(client.scrub_status().await?), json)
        }
    }
}

/// What a quota is given in.
const MIB: u64 = 1024 * 1024;

fn settings(set: &RegistrySet) -> admin::RegistrySettings {
    admin::RegistrySettings {
        create_on_push: set.create_on_push.map(|switch| switch == Switch::On),
        repositories_max: set.max_repositories,
        images_max: set.max_images,
        tags_max: set.max_tags,
        layer_parts_max: set.max_layer_parts,
        layer_bytes_max: set.max_layer_mib.map(|mib| mib.saturating_mul(MIB)),
        undelete_window_s: set.undelete_window.map(|window| window.as_secs()),
        bytes_max: set.max_bytes,
        repository_bytes_max: set.max_repository_bytes,
        registry_images_max: set.max_registry_images,
    }
}

async fn delete_repository(
    client: &Client,
    delete: RepositoryDelete,
) -> Result<DeletedRepository, Failure> {
    let mut report = DeletedRepository {
        deleted: delete.repository,
        images: 0,
        tags: 0,
    };
    for part in 0..DELETION_PARTS_MAX {
        let name = report.deleted.as_str();
        let deleted = client.delete_repository(name, delete.force, part > 0);
        let deleted = deleted.await.map_err(|failure| {
            failure.or_missing(|| Failure::RepositoryUnknown(report.deleted.clone()))
        })?;
        report.images += deleted.manifests;
        report.tags += deleted.tags;
        if !deleted.more {
            return Ok(report);
        }
    }
    Err(Failure::Nonsense("a deletion that does not end"))
}

async fn set_repository(client: &Client, set: RepositorySet) -> Result<RepositoryReport, Failure> {
    let name = set.repository;
    let settings = admin::RepositorySettings {
        sparse_indexes: set
            .settings
            .sparse_indexes
            .map(|answer| answer == Answer::Allow),
        bytes_max: set.settings.max_bytes,
        images_max: set.settings.max_images,
    };
    match client
        .put_repository_settings(name.as_str(), settings)
        .await
    {
        Ok(changed) => RepositoryReport::new(changed),
        Err(failure) => Err(failure.or_missing(|| Failure::RepositoryUnknown(name))),
    }
}

/// A reader that has seen enough (`| head`) closes the pipe: no failure.
fn print(report: &impl Report, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(report).map_err(|error| Failure::Output(error.into()))?
    } else {
        report.people(SystemClock.now_ms())
    };
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}
