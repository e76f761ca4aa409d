//! The fake node's service `Lifecycle`: one policy, and images that go in two parts.

use entrepot_proto::admin::lifecycle_server::Lifecycle;
use entrepot_proto::admin::{
    DeleteLifecyclePolicyReply, DeleteLifecyclePolicyRequest, GetLifecyclePolicyReply,
    GetLifecyclePolicyRequest, LifecycleAction, LifecycleEvaluation, LifecycleImage,
    PreviewLifecycleReply, PreviewLifecycleRequest, PutLifecyclePolicyReply,
    PutLifecyclePolicyRequest, RunLifecycleReply, RunLifecycleRequest,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service, State, hours_ago_ms};

pub(crate) fn sample_policy() -> String {
    concat!(
        r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","#,
        r#""countType":"sinceImagePushed","countUnit":"days","countNumber":14},"#,
        r#""action":{"type":"expire"}},{"rulePriority":2,"description":"builds","#,
        r#""selection":{"tagStatus":"tagged","tagPrefixList":["dev-","pr-"],"#,
        r#""countType":"sinceImagePulled","countUnit":"days","countNumber":30},"#,
        r#""action":{"type":"transition","targetStorageClass":"archive"}},{"rulePriority":3,"#,
        r#""selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":500},"#,
        r#""action":{"type":"expire","undeleteWindow":"12h"}}]}"#
    )
    .to_owned()
}

fn due(state: &State) -> Vec<LifecycleImage> {
    let image = |tags: &[&str], hash: &str, hours, rule, action: LifecycleAction| LifecycleImage {
        digest: format!("sha256:{}", hash.repeat(64)),
        tags: tags.iter().map(ToString::to_string).collect(),
        pushed_at_ms: hours_ago_ms(hours),
        rule,
        action: action.into(),
    };
    match state.policy {
        None => Vec::new(),
        Some(_) => vec![
            image(&[], "a", 600, 1, LifecycleAction::Expire),
            image(&["dev-1", "pr-2"], "b", 900, 2, LifecycleAction::Archive),
        ],
    }
}

fn missing(state: &State, repository: &str) -> Result<(), Status> {
    let is_known = matches!(repository, "team/app" | "team/torn" | "team/lost");
    if is_known && state.policy.is_some() {
        return Ok(());
    }
    Err(Status::not_found("there is no policy"))
}

#[tonic::async_trait]
impl Lifecycle for Service {
    async fn put_lifecycle_policy(
        &self,
        request: Request<PutLifecyclePolicyRequest>,
    ) -> Answer<PutLifecyclePolicyReply> {
        let policy = self.enter(request).await?.policy;
        if !policy.starts_with('{') {
            return Err(Status::invalid_argument("this is no policy"));
        }
        self.0.lock().unwrap().policy = Some(policy.clone());
        Ok(Response::new(PutLifecyclePolicyReply { policy }))
    }

    async fn get_lifecycle_policy(
        &self,
        request: Request<GetLifecyclePolicyRequest>,
    ) -> Answer<GetLifecyclePolicyReply> {
        let asked = self.enter(request).await?;
        let state = self.0.lock().unwrap();
        missing(&state, &asked.repository)?;
        Ok(Response::new(GetLifecyclePolicyReply {
            policy: state.policy.clone().unwrap_or_default(),
            last: Some(LifecycleEvaluation {
                evaluated_at_ms: hours_ago_ms(3),
                images: 214,
                expired: 3,
                kept: 1,
                ..LifecycleEvaluation::default()
            }),
        }))
    }

    async fn delete_lifecycle_policy(
        &self,
        request: Request<DeleteLifecyclePolicyRequest>,
    ) -> Answer<DeleteLifecyclePolicyReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        missing(&state, &asked.repository)?;
        let policy = state.policy.take().unwrap_or_default();
        Ok(Response::new(DeleteLifecyclePolicyReply { policy }))
    }

    /// A page for each image.
    async fn preview_lifecycle(
        &self,
        request: Request<PreviewLifecycleRequest>,
    ) -> Answer<PreviewLifecycleReply> {
        let asked = self.enter(request).await?;
        let state = self.0.lock().unwrap();
        if asked.policy.is_empty() {
            missing(&state, &asked.repository)?;
        }
        let (at, due) = (asked.after.parse().unwrap_or(0), due(&state));
        let next = if at + 1 < due.len() { "1" } else { "" };
        Ok(Response::new(PreviewLifecycleReply {
            images: due.into_iter().skip(at).take(1).collect(),
            next: next.to_owned(),
        }))
    }

    /// In two parts.
    async fn run_lifecycle(
        &self,
        request: Request<RunLifecycleRequest>,
    ) -> Answer<RunLifecycleReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        missing(&state, &asked.repository)?;
        let is_first = !state.arrives;
        if asked.repository == "team/lost" && !is_first {
            return Err(Status::unavailable("this region's metadata has no leader"));
        }
        state.arrives = true;
        let failure = if asked.repository == "team/torn" && !is_first {
            "this region's metadata has no leader"
        } else {
            ""
        };
        let images = due(&state).into_iter();
        Ok(Response::new(RunLifecycleReply {
            evaluation: Some(LifecycleEvaluation {
                expired: u64::from(is_first),
                archived: u64::from(!is_first),
                more: is_first,
                failure: failure.to_owned(),
                ..LifecycleEvaluation::default()
            }),
            images: images.skip(usize::from(!is_first)).take(1).collect(),
        }))
    }
}
