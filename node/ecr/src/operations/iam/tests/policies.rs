//! Policies of users, groups and roles: inline and attached.

use serde_json::{Value, json};

use super::{Iam, PULL, READ_ONLY, error, missing, names};

const KINDS: [(&str, &str); 3] = [("User", "user"), ("Group", "group"), ("Role", "role")];

async fn with_all() -> Iam {
    let iam = Iam::start().await;
    iam.user("n").await;
    iam.group("n").await;
    iam.role("n").await;
    iam
}

fn of(kind: &str, name: &str, rest: &[(&str, &str)]) -> Value {
    let mut input = json!({ (format!("{kind}Name")): name });
    for (name, value) in rest {
        input[*name] = (*value).into();
    }
    input
}

#[tokio::test]
async fn inline_policies_are_put_read_listed_and_deleted() {
    let iam = with_all().await;
    for (kind, lower) in KINDS {
        let (put, get) = (format!("Put{kind}Policy"), format!("Get{kind}Policy"));
        let (list, delete) = (format!("List{kind}Policies"), format!("Delete{kind}Policy"));
        for policy in ["b", "a"] {
            let rest = [("PolicyName", policy), ("PolicyDocument", PULL)];
            iam.get(&put, of(kind, "n", &rest)).await;
        }
        let found = iam.get(&get, of(kind, "n", &[("PolicyName", "a")])).await;
        assert_eq!(found[format!("{kind}Name")], "n");
        let document = found["PolicyDocument"].as_str().unwrap();
        assert!(document.contains("%22ecr%3ABatchGetImage%22"), "{document}");
        let listed = iam.paged(&list, "PolicyNames", of(kind, "n", &[])).await;
        assert_eq!(listed, ["a", "b"]);
        iam.get(&delete, of(kind, "n", &[("PolicyName", "a")]))
            .await;
        let text = format!("The {lower} policy with name a cannot be found.");
        for name in [&get, &delete] {
            let refused = iam.refused(name, of(kind, "n", &[("PolicyName", "a")]));
            assert_eq!(refused.await, missing(&text));
        }
        let nobody = missing(&format!("The {lower} with name x cannot be found."));
        let rest = [("PolicyName", "a"), ("PolicyDocument", PULL)];
        assert_eq!(iam.refused(&put, of(kind, "x", &rest)).await, nobody);
        assert_eq!(iam.refused(&get, of(kind, "x", &rest[..1])).await, nobody);
        assert_eq!(
            iam.refused(&delete, of(kind, "x", &rest[..1])).await,
            nobody
        );
        assert_eq!(iam.refused(&list, of(kind, "x", &[])).await, nobody);
        let rest = [("PolicyName", "a"), ("PolicyDocument", "no policy")];
        let refused = iam.refused(&put, of(kind, "n", &rest)).await;
        let text = "Syntax errors in policy.";
        assert_eq!(refused, error(400, "MalformedPolicyDocument", text));
    }
}

#[tokio::test]
async fn inline_policies_are_bounded_together() {
    let iam = with_all().await;
    for ((kind, lower), max) in KINDS.into_iter().zip([2_048, 5_120, 10_240]) {
        // White space is free.
        let filler = "x".repeat(max - PULL.replace(char::is_whitespace, "").len() + 1);
        let large = PULL.replace("\"*\"", &format!("\"arn:aws:ecr:*:*:{filler}\""));
        let rest = [("PolicyName", "large"), ("PolicyDocument", large.as_str())];
        let refused = iam
            .refused(&format!("Put{kind}Policy"), of(kind, "n", &rest))
            .await;
        let (status, code, text) = refused;
        assert_eq!((status, code.as_str()), (409, "LimitExceeded"), "{text}");
        let expected = format!("Maximum policy size of {max} bytes exceeded for {lower} n");
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn managed_policies_are_attached_listed_and_detached() {
    let iam = with_all().await;
    let own = iam.policy("own").await;
    for (kind, lower) in KINDS {
        let (attach, detach) = (format!("Attach{kind}Policy"), format!("Detach{kind}Policy"));
        let list = format!("ListAttached{kind}Policies");
        for arn in [READ_ONLY, &own] {
            iam.get(&attach, of(kind, "n", &[("PolicyArn", arn)])).await;
            iam.get(&attach, of(kind, "n", &[("PolicyArn", arn)])).await;
        }
        let listed = iam
            .paged(&list, "AttachedPolicies", of(kind, "n", &[]))
            .await;
        assert_eq!(names(&listed, "PolicyArn"), [own.as_str(), READ_ONLY]);
        assert_eq!(listed[0]["PolicyName"], "own");
        let none = iam
            .get(&list, of(kind, "n", &[("PathPrefix", "/team/")]))
            .await;
        assert_eq!(none["AttachedPolicies"], json!([]));
        let nobody = missing(&format!("The {lower} with name x cannot be found."));
        let arn = [("PolicyArn", READ_ONLY)];
        assert_eq!(iam.refused(&attach, of(kind, "x", &arn)).await, nobody);
        assert_eq!(iam.refused(&detach, of(kind, "x", &arn)).await, nobody);
        assert_eq!(iam.refused(&list, of(kind, "x", &[])).await, nobody);
        for none in [
            "arn:aws:iam::aws:policy/None",
            "arn:aws:iam::123456789012:policy/none",
        ] {
            let refused = iam
                .refused(&attach, of(kind, "n", &[("PolicyArn", none)]))
                .await;
            let text = format!("Policy {none} does not exist or is not attachable.");
            assert_eq!(refused, missing(&text));
            let refused = iam
                .refused(&detach, of(kind, "n", &[("PolicyArn", none)]))
                .await;
            assert_eq!(refused, missing(&format!("Policy {none} was not found.")));
        }
        let service = "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy";
        let refused = iam
            .refused(&attach, of(kind, "n", &[("PolicyArn", service)]))
            .await;
        let text = "Cannot attach a Service Role Policy to a Customer Role.";
        assert_eq!(refused, error(400, "PolicyNotAttachable", text));
        for arn in [READ_ONLY, &own] {
            iam.get(&detach, of(kind, "n", &[("PolicyArn", arn)])).await;
        }
    }
}

#[tokio::test]
async fn ten_policies_are_attached_at_most() {
    let iam = with_all().await;
    for at in 0..=10 {
        let arn = iam.policy(&format!("p{at}")).await;
        for (kind, _) in KINDS {
            let input = of(kind, "n", &[("PolicyArn", &arn)]);
            let attach = format!("Attach{kind}Policy");
            if at < 10 {
                iam.get(&attach, input).await;
            } else {
                let text = format!("Cannot exceed quota for PoliciesPer{kind}: 10");
                let refused = iam.refused(&attach, input).await;
                assert_eq!(refused, error(409, "LimitExceeded", &text));
            }
        }
    }
}

#[tokio::test]
async fn a_policy_knows_who_has_it() {
    let iam = with_all().await;
    let arn = iam.policy("own").await;
    iam.get(
        "CreateUser",
        json!({"UserName": "bound", "PermissionsBoundary": arn}),
    )
    .await;
    for (kind, _) in KINDS {
        iam.get(
            &format!("Attach{kind}Policy"),
            of(kind, "n", &[("PolicyArn", &arn)]),
        )
        .await;
    }
    let found = iam.get("GetPolicy", json!({"PolicyArn": arn})).await;
    assert_eq!(found["Policy"]["AttachmentCount"], 3);
    assert_eq!(found["Policy"]["PermissionsBoundaryUsageCount"], 1);
    let ask = |filter: Value| {
        let mut input = filter;
        input["PolicyArn"] = arn.as_str().into();
        iam.get("ListEntitiesForPolicy", input)
    };
    let count = |found: &Value| {
        ["PolicyUsers", "PolicyGroups", "PolicyRoles"].map(|of| found[of].as_array().unwrap().len())
    };
    assert_eq!(count(&ask(json!({})).await), [2, 1, 1]);
    assert_eq!(
        count(&ask(json!({"EntityFilter": "Role"})).await),
        [0, 0, 1]
    );
    let bound = ask(json!({"PolicyUsageFilter": "PermissionsBoundary"})).await;
    assert_eq!(
        names(bound["PolicyUsers"].as_array().unwrap(), "UserName"),
        ["bound"]
    );
    assert_eq!(count(&bound), [1, 0, 0]);
    assert_eq!(
        count(&ask(json!({"PathPrefix": "/team/"})).await),
        [0, 0, 0]
    );
    let mut total = 0;
    let mut marker = Value::Null;
    loop {
        let page = ask(json!({"MaxItems": 1, "Marker": marker})).await;
        total += count(&page).iter().sum::<usize>();
        marker = page["Marker"].clone();
        if marker.is_null() {
            break;
        }
    }
    assert_eq!(total, 4);
    let none = "arn:aws:iam::123456789012:policy/none";
    let refused = iam.refused("ListEntitiesForPolicy", json!({"PolicyArn": none}));
    let text = format!("Policy {none} does not exist or is not attachable.");
    assert_eq!(refused.await, missing(&text));
}
