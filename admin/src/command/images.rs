//! `entrepot image`

use entrepot_oci::RepositoryName;

use super::{collection, print};
use crate::arguments::{Image, Named, Purge, Restore};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{DeletedImagesReport, ImagesReport, MovedImage, PurgedImage, RestoredImage};

pub(super) async fn image(client: &Client, command: Image, json: bool) -> Result<(), Failure> {
    match command {
        Image::List {
            repository,
            deleted: false,
        } => {
            let images = client.images(repository.as_str()).await;
            let images = images.map_err(|failure| unknown(failure, &repository))?;
            print(&ImagesReport::new(repository, images), json)
        }
        Image::List {
            repository,
            deleted: true,
        } => {
            let images = client.deleted_images(repository.as_str()).await;
            let images = images.map_err(|failure| unknown(failure, &repository))?;
            print(&DeletedImagesReport::new(repository, images), json)
        }
        Image::Delete(options) => collection::delete(client, options, json).await,
        Image::Restore(Restore { image, no_tags }) => {
            let name = image.repository.as_str();
            let back = client
                .restore_image(name, &image.reference, no_tags)
                .await?;
            print(&RestoredImage::new(image.repository, back), json)
        }
        Image::Purge(Purge { image, yes: _ }) => {
            let name = image.repository.as_str();
            client.purge_image(name, &image.digest).await?;
            let report = PurgedImage {
                repository: image.repository,
                purged: image.digest.to_string(),
            };
            print(&report, json)
        }
        Image::Archive(one) => set_class(client, &one.image, true, json).await,
        Image::Activate(one) => set_class(client, &one.image, false, json).await,
    }
}

async fn set_class(
    client: &Client,
    image: &Named,
    archive: bool,
    json: bool,
) -> Result<(), Failure> {
    let reference = image.reference.to_string();
    let set = client
        .set_storage_class(image.repository.as_str(), &reference, archive)
        .await?;
    print(&MovedImage::new(image, archive, set), json)
}

fn unknown(failure: Failure, repository: &RepositoryName) -> Failure {
    failure.or_missing(|| Failure::RepositoryUnknown(repository.clone()))
}
