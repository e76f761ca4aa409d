//! Images go into the archive and come back.

use entrepot_proto::admin::{SetStorageClassReply, SetStorageClassRequest};

use super::Client;
use crate::failure::{Effect, Failure};

impl Client {
    /// Into the archive, or out of it. `reference`: a tag or a digest.
    pub(crate) async fn set_storage_class(
        &self,
        repository: &str,
        reference: &str,
        archive: bool,
    ) -> Result<SetStorageClassReply, Failure> {
        let request = SetStorageClassRequest {
            repository: repository.to_owned(),
            reference: reference.to_owned(),
            archive,
        };
        let effect = Effect::ChangesRepository;
        self.call(effect, request, async |mut admin, request| {
            admin.set_storage_class(request).await
        })
        .await
    }
}
