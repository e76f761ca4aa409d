//! The grammar of `entrepot image`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use entrepot_oci::{Digest, Reference, RepositoryName};

use super::collection::ImageDelete;

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List the images of a repository, or those that were deleted
    #[command(after_help = "\
The size is that of an image's config and layers; of an index, that of its manifest alone. The \
table shortens digests; --json has them whole. Images of the class ARCHIVE are listed and cannot be \
pulled.

With --deleted, the images that were deleted and can be restored, those that were deleted last \
first. How long they can be is a setting of the registry when they are deleted, see `entrepot \
registry set --undelete-window`.

Examples:
  entrepot image list team/app
  entrepot image list team/app --deleted

JSON:
  {\"repository\": \"team/app\",
   \"images\": [{\"digest\": \"sha256:9f86d0...\", \"tags\": [\"1.4\", \"latest\"],
               \"media_type\": \"application/vnd.oci.image.manifest.v1+json\",
               \"size_bytes\": 7340032, \"pushed_at_ms\": 1767225600000,
               \"storage_class\": \"STANDARD\", \"last_archived_at_ms\": null,
               \"last_activated_at_ms\": null}]}

JSON with --deleted (\"reason\" is client, lifecycle or replication; \"deleted_by\" is null where it \
is not known):
  {\"repository\": \"team/app\",
   \"deleted\": [{\"digest\": \"sha256:9f86d0...\", \"tags\": [\"1.4\"],
                \"media_type\": \"application/vnd.oci.image.manifest.v1+json\",
                \"size_bytes\": 7340032, \"pushed_at_ms\": 1767225600000,
                \"deleted_at_ms\": 1767312000000, \"restorable_until_ms\": 1767916800000,
                \"reason\": \"client\",
                \"deleted_by\": \"arn:aws:iam::123456789012:user/ci\"}]}")]
    List {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,

        /// Those that were deleted and can be restored
        #[arg(long)]
        deleted: bool,
    },

    /// Delete an image, or a tag of it, or show what that would free
    #[command(after_help = "\
REPOSITORY@DIGEST deletes the image with all its tags; an image that an index names stays, and the \
command fails. REPOSITORY:TAG deletes the tag, and the image with its last one unless an index names \
it. The manifests of an index stay, without a tag, unless --children is given: then those go with it \
that no other index and no tag names.

UNIQUE are blobs that no other repository has: of the region, for operators of the cluster; else of \
the registry. Their space is free as long after as is shown: when the image can no longer be \
restored, and nothing has named them for a while.

Where the deletion of a child fails, what went is shown, what failed with its cause, and what is \
left, and the command leaves with 1.

Examples:
  entrepot image delete team/app:1.4 --dry-run
  entrepot image delete team/app@sha256:9f86d0... --children --yes

JSON (\"children_left\" are manifests that stay without a tag and without an index, \"untried\" \
those behind the one that \"failed\": null if none did, else its digest and the failure):
  {\"repository\": \"team/app\", \"dry_run\": true, \"digest\": \"sha256:9f86d0...\",
   \"manifests\": [{\"digest\": \"sha256:9f86d0...\",
                  \"media_type\": \"application/vnd.oci.image.manifest.v1+json\", \"bytes\": 512}],
   \"tags\": [\"1.4\"], \"children_left\": 0, \"blobs\": 3, \"blob_bytes\": 7340032,
   \"unique_blobs\": 2, \"unique_bytes\": 512, \"of_region\": true,
   \"unreferenced_after_ms\": 86400000, \"failed\": null, \"untried\": []}")]
    Delete(ImageDelete),

    /// Put a deleted image back
    #[command(after_help = "\
The image comes back as it was, by its digest and with those of its tags that nothing has by now; \
an index with those of its images that were deleted too. Of a tag, it is the image that had it and \
was deleted last. It is copied by the registry's rules like a push, and counts like one. A \
lifecycle policy that let it go lets it go again: change that first.

Whoever may push to the repository (`ecr:PutImage`) may do this.

Examples:
  entrepot image restore team/app:1.4
  entrepot image restore team/app@sha256:9f86d0... --no-tags

JSON (\"tags_kept\" are those that point to other images by now, and stay there):
  {\"repository\": \"team/app\", \"digest\": \"sha256:9f86d0...\", \"images\": 1, \"tags\": [\"1.4\"],
   \"tags_kept\": [\"latest\"]}")]
    Restore(Restore),

    /// Let a deleted image go for good before its time is over
    #[command(after_help = "\
What it alone needs of the disks is free a day later, as after every deletion that cannot be taken \
back.

Example:
  entrepot image purge team/app@sha256:9f86d0... --yes

JSON:
  {\"repository\": \"team/app\", \"purged\": \"sha256:9f86d0...\"}")]
    Purge(Purge),

    /// Put an image into the archive: it stays listed and cannot be pulled
    #[command(after_help = "\
With an index go the manifests that it names, unless they have a tag or another index names them; \
with an image, what refers to it, such as signatures. Its bytes stay where they are. Replicas in \
other regions stay as they are. A manifest that an index names goes with that index alone.

Examples:
  entrepot image archive team/app:1.4
  entrepot image archive team/app@sha256:9f86d0...

JSON (\"moved\" counts the image and what went along; 0: it was there. \"left\" is true if so much \
refers to it that some may have stayed):
  {\"image\": \"team/app:1.4\", \"digest\": \"sha256:9f86d0...\", \"storage_class\": \"ARCHIVE\",
   \"moved\": 1, \"left\": false}")]
    Archive(OneImage),

    /// Bring an image back from the archive: it can be pulled at once
    #[command(after_help = "\
With all that it names and what refers to it. Replication rules copy it as if it had been pushed. \
A push of the image does the same.

Example:
  entrepot image activate team/app:1.4

JSON (as of `entrepot image archive`):
  {\"image\": \"team/app:1.4\", \"digest\": \"sha256:9f86d0...\", \"storage_class\": \"STANDARD\",
   \"moved\": 1, \"left\": false}")]
    Activate(OneImage),
}

/// An image, by a tag or by its digest.
#[derive(Debug, Args)]
pub(crate) struct OneImage {
    /// The image: REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Named,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The image: REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Named,

    /// By its digest alone: its tags stay gone
    #[arg(long)]
    pub(crate) no_tags: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// The image: REPOSITORY@DIGEST
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ByDigest,

    /// Confirm that it shall go for good
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

/// An image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) repository: RepositoryName,
    pub(crate) reference: Reference,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByDigest {
    pub(crate) repository: RepositoryName,
    pub(crate) digest: Digest,
}

/// A number of days, or a time with its unit.
pub(crate) fn window(text: &str) -> Result<Duration, String> {
    if let Ok(days) = text.parse::<u32>() {
        return Ok(DAY * days);
    }
    let expected = "expected a number of days, or a time such as 12h";
    humantime::parse_duration(text).map_err(|_| expected.to_owned())
}

// === impl Named, ByDigest ===

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(f, "{}{sign}{}", self.repository, self.reference)
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A digest has a colon of its own.
        let split = text.split_once('@').or_else(|| text.split_once(':'));
        let (repository, reference) =
            split.ok_or("expected REPOSITORY:TAG or REPOSITORY@DIGEST")?;
        let by_digest = text.contains('@');
        let reference: Reference = reference.parse().map_err(|error| format!("{error}"))?;
        if by_digest != matches!(reference, Reference::Digest(_)) {
            return Err("expected a tag behind `:`, or a digest behind `@`".to_owned());
        }
        Ok(Self {
            repository: repository.parse().map_err(|error| format!("{error}"))?,
            reference,
        })
    }
}

impl FromStr for ByDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named: Named = text.parse()?;
        match named.reference {
            Reference::Digest(digest) => Ok(Self {
                repository: named.repository,
                digest,
            }),
            Reference::Tag(_) => Err("expected REPOSITORY@DIGEST".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_a_tag_or_by_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let named: Named = "team/app:1.4".parse().unwrap();
        assert_eq!(named.reference.to_string(), "1.4");
        let named: ByDigest = format!("team/app@{digest}").parse().unwrap();
        assert_eq!(named.digest.to_string(), digest);
        for wrong in [
            "team/app",
            "team/app@x",
            "team/app@1.4",
            "team/app:",
            "app@sha256:12",
        ] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong}");
        }
        assert!("team/app:1.4".parse::<ByDigest>().is_err());
    }

    #[test]
    fn a_window_is_a_number_of_days_or_a_time() {
        assert_eq!(window("7"), Ok(DAY * 7));
        assert_eq!(window("0"), Ok(Duration::ZERO));
        assert_eq!(window("12h"), Ok(DAY / 2));
        assert!(window("soon").is_err());
    }
}
