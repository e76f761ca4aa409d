//! The service `Lifecycle`: which images go, and when.

use entrepot_proto::admin::{
    DeleteLifecyclePolicyRequest, GetLifecyclePolicyReply, GetLifecyclePolicyRequest,
    LifecycleImage, PreviewLifecycleRequest, PutLifecyclePolicyRequest, RunLifecycleReply,
    RunLifecycleRequest,
};

use super::{Client, PAGE_ITEMS, pages};
use crate::failure::{Effect, Failure};

impl Client {
    /// The policy as it is kept.
    pub(crate) async fn put_lifecycle_policy(
        &self,
        repository: &str,
        policy: String,
    ) -> Result<String, Failure> {
        let request = PutLifecyclePolicyRequest {
            repository: repository.to_owned(),
            policy,
        };
        let mut lifecycle = self.lifecycle.clone();
        let reply = self
            .timed(Effect::ChangesLifecycle, request, async |request| {
                lifecycle.put_lifecycle_policy(request).await
            })
            .await?;
        Ok(reply.policy)
    }

    pub(crate) async fn lifecycle_policy(
        &self,
        repository: &str,
    ) -> Result<GetLifecyclePolicyReply, Failure> {
        let request = GetLifecyclePolicyRequest {
            repository: repository.to_owned(),
        };
        let mut lifecycle = self.lifecycle.clone();
        self.timed(Effect::Reads, request, async |request| {
            lifecycle.get_lifecycle_policy(request).await
        })
        .await
    }

    pub(crate) async fn delete_lifecycle_policy(&self, repository: &str) -> Result<(), Failure> {
        let request = DeleteLifecyclePolicyRequest {
            repository: repository.to_owned(),
        };
        let mut lifecycle = self.lifecycle.clone();
        self.timed(Effect::ChangesLifecycle, request, async |request| {
            lifecycle.delete_lifecycle_policy(request).await
        })
        .await
        .map(drop)
    }

    /// What `policy` would do; empty: that of the repository.
    pub(crate) async fn lifecycle_preview(
        &self,
        repository: &str,
        policy: &str,
    ) -> Result<Vec<LifecycleImage>, Failure> {
        pages(async |after| {
            let request = PreviewLifecycleRequest {
                repository: repository.to_owned(),
                policy: policy.to_owned(),
                after,
                limit: PAGE_ITEMS,
            };
            let mut lifecycle = self.lifecycle.clone();
            let reply = self
                .timed(Effect::Reads, request, async |request| {
                    lifecycle.preview_lifecycle(request).await
                })
                .await?;
            Ok((reply.images, reply.next))
        })
        .await
    }

    /// One part of what is due.
    pub(crate) async fn run_lifecycle(
        &self,
        repository: &str,
    ) -> Result<RunLifecycleReply, Failure> {
        let request = RunLifecycleRequest {
            repository: repository.to_owned(),
        };
        let mut lifecycle = self.lifecycle.clone();
        self.timed(Effect::ChangesLifecycle, request, async |request| {
            lifecycle.run_lifecycle(request).await
        })
        .await
    }
}
