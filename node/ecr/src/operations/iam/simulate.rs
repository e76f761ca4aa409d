//! What policies would decide.

use entrepot_service::iam::{Simulated, SimulatedOutcome, Simulation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, failed, iam, listed};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    policy_source_arn: String,
    action_names: Vec<String>,
    #[serde(default)]
    resource_arns: Vec<String>,
    #[serde(default)]
    policy_input_list: Vec<String>,
    #[serde(default)]
    permissions_boundary_policy_input_list: Vec<String>,
    #[serde(default)]
    policy_exclusion_list: Vec<Value>,
    #[serde(default)]
    context_entries: Vec<ContextEntry>,
    resource_policy: Option<String>,
    caller_arn: Option<String>,
    #[serde(flatten)]
    part: Part,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextEntry {
    context_key_name: Option<String>,
    #[serde(default)]
    context_key_values: Vec<String>,
}

/// `ResourceOwner` and `ResourceHandlingOption` change nothing: the owner is in the
/// ARN, and no action here has scenarios.
pub(super) async fn simulate(call: &Call, input: Input) -> Result<Value, ApiError> {
    if !input.policy_exclusion_list.is_empty() {
        return Err(ApiError::new(
            "InvalidInput",
            "PolicyExclusionList is not supported here.",
        ));
    }
    let start: usize = input.part.start()?.unwrap_or_default();
    let size = input.part.size();
    let context = input.context_entries.into_iter();
    let context =
        context.filter_map(|entry| Some((entry.context_key_name?, entry.context_key_values)));
    let asked = Simulation {
        source: input.policy_source_arn,
        actions: input.action_names,
        resources: input.resource_arns,
        policies: input.policy_input_list,
        boundaries: input.permissions_boundary_policy_input_list,
        resource_policy: input.resource_policy,
        caller: input.caller_arn,
        context: context.collect(),
    };
    let answers = iam(call).simulate(asked).await;
    let answers = answers.map_err(|error| failed(call, &error))?;
    let end = start.saturating_add(size);
    let shown: Vec<_> = answers.iter().skip(start).take(size).map(answer).collect();
    let last = Some(&end).filter(|end| **end < answers.len());
    Ok(listed("EvaluationResults", &shown, last))
}

fn answer(answer: &Simulated) -> Value {
    let decision = match answer.outcome {
        SimulatedOutcome::Allowed => "allowed",
        SimulatedOutcome::Explicit => "explicitDeny",
        SimulatedOutcome::Implicit => "implicitDeny",
    };
    let by = answer.by.iter();
    let by = by.map(|it| json!({ "SourcePolicyId": it.id, "SourcePolicyType": it.kind }));
    let boundary = answer.within_boundary;
    json!({
        "EvalActionName": answer.action,
        "EvalResourceName": answer.resource,
        "EvalDecision": decision,
        "MatchedStatements": by.collect::<Vec<_>>(),
        "MissingContextValues": [],
        "PermissionsBoundaryDecisionDetail":
            boundary.map(|within| json!({ "AllowedByPermissionsBoundary": within })),
    })
}
