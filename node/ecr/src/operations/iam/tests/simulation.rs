//! What policies would decide.

use serde_json::{Value, json};

use super::{Iam, PULL, READ_ONLY, error, missing, names};

const ANN: &str = "arn:aws:iam::123456789012:user/ann";
const APP: &str = "arn:aws:ecr:us-east-1:123456789012:repository/app";

fn statement(effect: &str, action: &str, more: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "{effect}", "Action": "{action}",
            "Resource": "*"{more}}}]}}"#
    )
}

async fn with_ann() -> Iam {
    let iam = Iam::start().await;
    iam.user("ann").await;
    iam.group("dev").await;
    let input = json!({"UserName": "ann", "PolicyName": "pull", "PolicyDocument": PULL});
    iam.get("PutUserPolicy", input).await;
    let input = json!({"GroupName": "dev", "PolicyArn": READ_ONLY});
    iam.get("AttachGroupPolicy", input).await;
    let input = json!({"GroupName": "dev", "UserName": "ann"});
    iam.get("AddUserToGroup", input).await;
    iam
}

/// Decisions, and the policies behind each.
async fn ask(iam: &Iam, actions: &[&str], rest: Value) -> Vec<(String, Vec<String>)> {
    let mut input = rest;
    if input["PolicySourceArn"].is_null() {
        input["PolicySourceArn"] = ANN.into();
    }
    input["ActionNames"] = json!(actions);
    let answers = iam.paged("SimulatePrincipalPolicy", "EvaluationResults", input);
    let decision = |answer: &Value| {
        let by = answer["MatchedStatements"].as_array().unwrap();
        let decision = answer["EvalDecision"].as_str().unwrap().to_owned();
        (decision, names(by, "SourcePolicyId"))
    };
    answers.await.iter().map(decision).collect()
}

fn decided(decision: &str, by: &[&str]) -> (String, Vec<String>) {
    let by = by.iter().map(|it| (*it).to_owned()).collect();
    (decision.to_owned(), by)
}

#[tokio::test]
async fn the_policies_of_a_user_and_its_groups_decide() {
    let iam = with_ann().await;
    let actions = ["ecr:BatchGetImage", "ecr:ListImages", "ecr:PutImage"];
    let managed = "AmazonEC2ContainerRegistryReadOnly";
    let expected = [
        decided("allowed", &["user_ann_pull", managed]),
        decided("allowed", &[managed]),
        decided("implicitDeny", &[]),
    ];
    assert_eq!(ask(&iam, &actions, json!({})).await, expected);
    assert_eq!(
        ask(&iam, &actions, json!({"ResourceArns": [APP]})).await,
        expected
    );
    let deny = statement("Deny", "ecr:List*", "");
    let more = statement("Allow", "ecr:*", "");
    let input = json!({"PolicyInputList": [deny, more]});
    let expected = [
        decided("allowed", &["user_ann_pull", managed, "PolicyInputList.2"]),
        decided("explicitDeny", &["PolicyInputList.1"]),
        decided("allowed", &["PolicyInputList.2"]),
    ];
    assert_eq!(ask(&iam, &actions, input).await, expected);
    let of_group = json!({"PolicySourceArn": "arn:aws:iam::123456789012:group/dev"});
    let expected = [decided("allowed", &[managed])];
    assert_eq!(ask(&iam, &["ecr:ListImages"], of_group).await, expected);
}

#[tokio::test]
async fn boundaries_conditions_and_the_resource_have_a_say() {
    let iam = with_ann().await;
    let pull = ["ecr:BatchGetImage"];
    let boundary = statement("Allow", "ecr:ListImages", "");
    let input = json!({"PermissionsBoundaryPolicyInputList": [boundary]});
    assert_eq!(
        ask(&iam, &pull, input.clone()).await,
        [decided("implicitDeny", &[])]
    );
    let mut asked = input;
    asked["PolicySourceArn"] = ANN.into();
    asked["ActionNames"] = json!(pull);
    let answer = iam.get("SimulatePrincipalPolicy", asked).await;
    let within = &answer["EvaluationResults"][0]["PermissionsBoundaryDecisionDetail"];
    assert_eq!(*within, json!({"AllowedByPermissionsBoundary": false}));
    let condition = r#", "Condition": {"StringEquals": {"aws:SourceVpc": "v"}}"#;
    let put = ["ecr:PutImage"];
    let more = statement("Allow", "ecr:PutImage", condition);
    let input = json!({"PolicyInputList": [more], "ContextEntries": [{
        "ContextKeyName": "aws:SourceVpc", "ContextKeyType": "string", "ContextKeyValues": ["v"]}]});
    let expected = [decided("allowed", &["PolicyInputList.1"])];
    assert_eq!(ask(&iam, &put, input.clone()).await, expected);
    let mut input = input;
    input["ContextEntries"] = json!([]);
    assert_eq!(ask(&iam, &put, input).await, [decided("implicitDeny", &[])]);
    let on_resource = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/ann"}, "Action": "ecr:PutImage"}]}"#;
    let input = json!({"ResourceArns": [APP], "ResourcePolicy": on_resource});
    assert_eq!(
        ask(&iam, &put, input).await,
        [decided("allowed", &["ResourcePolicy"])]
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let iam = with_ann().await;
    let input = |source: &str, more: Value| {
        let mut input = more;
        input["PolicySourceArn"] = source.into();
        input["ActionNames"] = json!(["ecr:PutImage"]);
        input
    };
    let name = "SimulatePrincipalPolicy";
    let nobody = "arn:aws:iam::123456789012:user/nobody";
    let text = "The user with name nobody cannot be found.";
    assert_eq!(
        iam.refused(name, input(nobody, json!({}))).await,
        missing(text)
    );
    let other = "arn:aws:iam::123456789012:policy/ann";
    let text = format!("{other} is not the ARN of a user, a group or a role.");
    let refused = iam.refused(name, input(other, json!({}))).await;
    assert_eq!(refused, error(400, "InvalidInput", &text));
    let refused = iam
        .refused(name, input(ANN, json!({"PolicyInputList": ["x"]})))
        .await;
    assert_eq!(
        refused,
        error(400, "InvalidInput", "Syntax errors in policy.")
    );
    let refused = iam
        .refused(name, input(ANN, json!({"ResourceArns": ["x"]})))
        .await;
    assert_eq!(refused, error(400, "InvalidInput", "ARN x is not valid."));
}

#[tokio::test]
async fn many_questions_of_much_policy_are_refused() {
    let iam = with_ann().await;
    let long = format!("arn:aws:ecr:*:*:{}", "x".repeat(1_800));
    let large = PULL.replace("\"*\"", &format!("\"{long}\""));
    let asked = |questions: usize| {
        let resources: Vec<String> = (0..questions).map(|at| format!("{APP}{at}")).collect();
        json!({"PolicySourceArn": ANN, "ActionNames": ["ecr:PutImage"], "ResourceArns": resources,
            "PolicyInputList": vec![large.as_str(); 90], "MaxItems": 1_000})
    };
    let name = "SimulatePrincipalPolicy";
    let answers = iam.get(name, asked(100)).await;
    let answers = answers["EvaluationResults"].as_array().unwrap();
    assert_eq!(answers.len(), 100);
    let text = "A simulation takes at most 67108864 bytes of policies times questions: ask for \
                fewer actions or resources.";
    let refused = iam.refused(name, asked(1_000)).await;
    assert_eq!(refused, error(400, "InvalidInput", text));
}
