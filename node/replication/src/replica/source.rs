//! What this region lets others read through: what its rules copy there, by rules
//! that say so, and that is not there yet.
//!
//! Decided here, for every question: what a destination remembers of rules only
//! saves it from asking in vain. The invariant: nothing is offered that the rule
//! would not copy, nothing that was brought here by another region, and nothing
//! that has been at the destination: what was deleted there stays deleted.

use entrepot_metadata::query::{self, Destination, ManifestEntry, Rule, TaskKind, TaskState};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{AccountId, Digest, Reference, RegionName, RepositoryName, Tag};
use entrepot_proto::peer::offered_blob_reply::Part;
use entrepot_proto::peer::{
    Offer, OfferedBlobReply, OfferedBlobRequest, OfferedImage, OfferedPlace, OffersReply,
};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tonic::Status;

use super::ReplicaServer;
use super::through::Target;
use crate::error::ReplicationError;
use crate::wire;

/// Rules that are looked at, and offers that one region makes to another.
const RULES_MAX: usize = 20_000;
/// Of a manifest.
const TASKS_MAX: usize = 1_000;
const TAGS_MAX: usize = 1_000;
/// Images that name a blob, and indexes that name an image, that are looked at.
const USES_MAX: usize = 64;
/// Indexes of indexes.
const DEPTH_MAX: usize = 4;

/// A place at a destination, as its source sees it.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    source: AccountId,
    destination: Destination,
    repository: RepositoryName,
}

/// Where what is asked for is here.
#[derive(Debug)]
struct Home {
    repository: RepositoryName,
    rule: Rule,
}

/// Under which names a rule finds here what is called `name` at its destinations.
pub(super) fn names_at_source(rule: &Rule, name: &RepositoryName) -> Vec<RepositoryName> {
    let mapped = rule.options.mapping.as_ref().and_then(|mapping| {
        let rest = name.as_str().strip_prefix(&mapping.to)?;
        format!("{}{rest}", mapping.from).parse().ok()
    });
    let mut names: Vec<RepositoryName> =
        [Some(name.clone()), mapped].into_iter().flatten().collect();
    names.dedup();
    names.retain(|own| {
        rule.matches(own)
            && rule
                .name_at_destination(own)
                .is_ok_and(|there| there == *name)
    });
    names
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// What rules offer to `region`.
    pub(super) fn offers_to(&self, region: &RegionName) -> Result<OffersReply, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let mut offers = Vec::new();
        for (account, rule) in query::rules_of_all(view.as_ref(), RULES_MAX)? {
            if !rule.options.read_through {
                continue;
            }
            let there = rule.destinations.iter().filter(|it| it.region == *region);
            for destination in there {
                let options = &rule.options;
                let mapping = options.mapping.clone().unwrap_or_default();
                offers.push(Offer {
                    source_account: account.to_string(),
                    account: destination.account.to_string(),
                    prefixes: rule.prefixes.clone(),
                    repositories: options.repositories.clone(),
                    repositories_excluded: options.repositories_excluded.clone(),
                    map_from: mapping.from,
                    map_to: mapping.to,
                });
            }
        }
        offers.truncate(RULES_MAX);
        Ok(OffersReply { offers })
    }

    /// The manifest that a pull at a destination asks for, if it is offered there.
    pub(super) async fn find_offered(
        &self,
        place: &Offered,
        reference: &Reference,
    ) -> Result<Option<OfferedImage>, ReplicationError> {
        if let Reference::Digest(_) = reference
            && let Some(found) = self.look_for(place, reference)?
        {
            return Ok(Some(found));
        }
        // Where a tag points to, and that something is not here, is only said after
        // a linearizable look.
        self.metadata.linearize(&self.group).await?;
        self.look_for(place, reference)
    }

    fn look_for(
        &self,
        place: &Offered,
        reference: &Reference,
    ) -> Result<Option<OfferedImage>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let view = view.as_ref();
        for home in self.homes(view, place)? {
            let (digest, tag, moved_at) = match reference {
                Reference::Digest(digest) => (*digest, None, None),
                Reference::Tag(tag) => {
                    let found = query::tag(view, &place.source, &home.repository, tag)?;
                    // What a rule brings is not copied any further.
                    let Some(found) = found.filter(|found| found.origin.is_none()) else {
                        continue;
                    };
                    (found.digest, Some(tag), Some(found.index))
                }
            };
            let found = query::manifest(view, &place.source, &home.repository, &digest)?;
            let Some(found) = found else { continue };
            if !is_offered(view, place, &home, &found.entry, tag)? {
                continue;
            }
            return Ok(Some(OfferedImage {
                digest: digest.to_string(),
                media_type: found.entry.media_type.to_string(),
                content: found.content,
                source_region: self.blobs.region().to_string(),
                source_repository: home.repository.to_string(),
                source_sequence: moved_at.unwrap_or(found.entry.index),
            }));
        }
        Ok(None)
    }

    /// Answers who reads a blob: a destination, or another node of this region.
    pub(super) async fn serve_offered(
        self,
        request: OfferedBlobRequest,
        replies: mpsc::Sender<Result<OfferedBlobReply, Status>>,
    ) {
        let place = request.place.clone().unwrap_or_default();
        let served = if place.source_account.is_empty() {
            self.pass_on(&place, &request, &replies).await
        } else {
            self.send_offered(&place, &request, &replies).await
        };
        if let Err(status) = served {
            // Nobody listening: nobody cares.
            let _ = replies.send(Err(status)).await;
        }
    }

    /// Reads a blob through for another node of this region.
    async fn pass_on(
        &self,
        place: &OfferedPlace,
        request: &OfferedBlobRequest,
        replies: &mpsc::Sender<Result<OfferedBlobReply, Status>>,
    ) -> Result<(), Status> {
        let fail = |error: ReplicationError| super::status(&error);
        let absent = || Status::not_found("no region has it");
        let target = Target::read(place)?;
        let digest = wire::digest(&request.digest)?;
        if request.size_only {
            let sources = self.sources(&target).map_err(fail)?;
            let found = self.find_blob(&target, &sources, &digest).await;
            let found = found.map_err(fail)?.ok_or_else(absent)?;
            return say(replies, Part::Size(found.size)).await;
        }
        let end = request.offset.saturating_add(request.length);
        let range = (request.length > 0).then_some(request.offset..end);
        let opened = self.open_through(&target, &digest, range).await;
        let (size, mut content) = opened.map_err(fail)?.ok_or_else(absent)?;
        say(replies, Part::Size(size)).await?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|error| Status::unavailable(error.to_string()))?;
            for piece in wire::cut(chunk) {
                say(replies, Part::Data(piece)).await?;
            }
        }
        Ok(())
    }

    /// Sends the bytes of a blob that is offered; before them, how many there are.
    async fn send_offered(
        &self,
        place: &OfferedPlace,
        request: &OfferedBlobRequest,
        replies: &mpsc::Sender<Result<OfferedBlobReply, Status>>,
    ) -> Result<(), Status> {
        let place = &Offered::read(place)?;
        let digest = &wire::digest(&request.digest)?;
        let offset = request.offset;
        let fail = |error: ReplicationError| super::status(&error);
        let mut found = self.look_for_blob(place, digest).map_err(fail)?;
        if found.is_none() {
            let linearized = self.metadata.linearize(&self.group).await;
            linearized.map_err(|error| fail(error.into()))?;
            found = self.look_for_blob(place, digest).map_err(fail)?;
        }
        let Some((blob, rule)) = found else {
            return Err(Status::not_found("no such blob is offered"));
        };
        let size = blob.size;
        say(replies, Part::Size(size)).await?;
        if request.size_only {
            return Ok(());
        }
        if offset > size {
            return Err(Status::out_of_range("it is not that long"));
        }
        let limit = self.blobs.pace(&place.source, &place.destination, &rule);
        let content = self.blobs.open(blob, Some(offset..size)).await;
        let mut content = content.map_err(fail)?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|error| Status::internal(error.to_string()))?;
            for piece in wire::cut(chunk) {
                if let Some(limit) = &limit {
                    limit.spend(piece.len() as u64).await;
                }
                let sent = piece.len() as u64;
                say(replies, Part::Data(piece)).await?;
                self.blobs.metrics().offered_bytes.inc_by(sent);
            }
        }
        Ok(())
    }

    fn look_for_blob(
        &self,
        place: &Offered,
        digest: &Digest,
    ) -> Result<Option<(query::Blob, Rule)>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let view = view.as_ref();
        for home in self.homes(view, place)? {
            let (account, repository) = (&place.source, &home.repository);
            // A blob that no image names was never to go anywhere.
            for image in query::images_naming(view, account, repository, digest, USES_MAX)? {
                let Some(image) = query::manifest_entry(view, account, repository, &image)? else {
                    continue;
                };
                if is_offered(view, place, &home, &image, None)?
                    && query::linked(view, account, repository, digest)?
                    && let Some(blob) = query::blob(view, digest)?
                {
                    return Ok(Some((blob, home.rule)));
                }
            }
        }
        Ok(None)
    }

    /// The repositories that rules copy to a place, and let be read through.
    fn homes(&self, view: &dyn KeyValue, place: &Offered) -> Result<Vec<Home>, ReplicationError> {
        let mut homes = Vec::new();
        for rule in query::rules(view, &place.source)? {
            let is_asked = rule.options.read_through
                && rule.destinations.contains(&place.destination)
                && rule.options.is_open_at(self.clock.now_ms());
            if !is_asked {
                continue;
            }
            for repository in names_at_source(&rule, &place.repository) {
                // Of several rules, the one that copies it has the say.
                let mut rules = query::destinations(view, &place.source, &repository)?;
                let first = rules.remove(&place.destination);
                if first.is_some_and(|first| first.id == rule.id) {
                    let rule = rule.clone();
                    homes.push(Home { repository, rule });
                }
            }
        }
        Ok(homes)
    }
}

/// Whether a manifest is one that the rule copies, and that is not there yet.
fn is_offered(
    view: &dyn KeyValue,
    place: &Offered,
    home: &Home,
    image: &ManifestEntry,
    tag: Option<&Tag>,
) -> Result<bool, StorageError> {
    if image.archived_at_ms.is_some() {
        return Ok(false);
    }
    let (account, repository) = (&place.source, &home.repository);
    let tasks = query::tasks_of(view, account, repository, &image.digest, TASKS_MAX)?;
    let mut is_there = false;
    for task in tasks {
        let is_of_tag = tag.is_none() || task.key.tag.as_ref() == tag;
        if task.key.destination != place.destination || !is_of_tag || task.kind != TaskKind::Copy {
            continue;
        }
        if task.state != TaskState::Complete {
            return Ok(true);
        }
        is_there = true;
    }
    if is_there || query::is_replica(view, account, repository, &image.digest)? {
        return Ok(false);
    }
    takes(view, (account, repository), &home.rule, image, DEPTH_MAX)
}

/// Whether a rule takes a manifest, under one of its tags or without any, or an
/// index that names it.
fn takes(
    view: &dyn KeyValue,
    (account, repository): (&AccountId, &RepositoryName),
    rule: &Rule,
    image: &ManifestEntry,
    depth: usize,
) -> Result<bool, StorageError> {
    if !rule.options.filters_images() {
        return Ok(true);
    }
    let tags = query::tags_of(view, account, repository, &image.digest, TAGS_MAX)?;
    let untagged = tags.is_empty().then_some(None);
    for tag in tags.iter().map(Some).chain(untagged) {
        if rule.takes(view, account, repository, image, tag)? {
            return Ok(true);
        }
    }
    if depth == 0 {
        return Ok(false);
    }
    for index in query::indexes_naming(view, account, repository, &image.digest, USES_MAX)? {
        if let Some(index) = query::manifest_entry(view, account, repository, &index)?
            && takes(view, (account, repository), rule, &index, depth - 1)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn say(
    replies: &mpsc::Sender<Result<OfferedBlobReply, Status>>,
    part: Part,
) -> Result<(), Status> {
    let reply = OfferedBlobReply { part: Some(part) };
    let gone = |_| Status::cancelled("nobody listens");
    replies.send(Ok(reply)).await.map_err(gone)
}

// === impl Offered ===

impl Offered {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub(super) fn read(place: &OfferedPlace) -> Result<Self, Status> {
        Ok(Self {
            source: wire::name(&place.source_account)?,
            destination: Destination {
                region: wire::name(&place.region)?,
                account: wire::name(&place.account)?,
            },
            repository: wire::name(&place.repository)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::query::{PrefixMapping, RuleOptions};

    use super::*;

    #[test]
    fn a_name_at_a_destination_has_the_names_at_its_source_that_lead_there() {
        let rule = Rule {
            id: "mapped".to_owned(),
            prefixes: vec!["team/".to_owned(), "mirror/other/".to_owned()],
            destinations: Vec::new(),
            options: RuleOptions {
                mapping: Some(PrefixMapping {
                    from: "team/".to_owned(),
                    to: "mirror/".to_owned(),
                }),
                ..RuleOptions::default()
            },
            updated_at_ms: 0,
        };
        let names = |name: &str| {
            let names = names_at_source(&rule, &name.parse().unwrap());
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("mirror/app"), ["team/app"]);
        assert_eq!(
            names("mirror/other/app"),
            ["mirror/other/app", "team/other/app"]
        );
        assert_eq!(names("team/app"), [""; 0]);
        assert_eq!(names("elsewhere/app"), [""; 0]);
    }
}
