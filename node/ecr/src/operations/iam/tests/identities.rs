//! Users, groups and roles.

use serde_json::json;

use super::{Iam, PULL, READ_ONLY, TRUST, error, missing, names};

#[tokio::test]
async fn users_come_are_found_and_go() {
    let iam = Iam::start().await;
    let boundary = iam.policy("limits").await;
    let input = json!({"UserName": "Ann", "Path": "/team/", "PermissionsBoundary": boundary,
        "Tags": [{"Key": "team", "Value": "a"}]});
    let made = iam.get("CreateUser", input).await;
    let user = &made["User"];
    assert_eq!(user["Arn"], "arn:aws:iam::123456789012:user/team/Ann");
    assert!(user["UserId"].as_str().unwrap().starts_with("AIDA"));
    assert_eq!(
        user["PermissionsBoundary"]["PermissionsBoundaryArn"],
        boundary
    );
    assert_eq!(user["Tags"], json!([{"Key": "team", "Value": "a"}]));
    let found = iam.get("GetUser", json!({"UserName": "ann"})).await;
    assert_eq!(found, made);
    let exists = iam.refused("CreateUser", json!({"UserName": "ANN"})).await;
    assert_eq!(
        exists,
        error(
            409,
            "EntityAlreadyExists",
            "User with name Ann already exists."
        )
    );
    iam.get("DeleteUser", json!({"UserName": "Ann"})).await;
    for name in ["GetUser", "DeleteUser"] {
        let gone = iam.refused(name, json!({"UserName": "Ann"})).await;
        assert_eq!(gone, missing("The user with name Ann cannot be found."));
    }
    let none = "arn:aws:iam::123456789012:policy/none";
    let input = json!({"UserName": "Ben", "PermissionsBoundary": none});
    let text = format!("Scope ARN: {none} does not exist or is not attachable.");
    assert_eq!(iam.refused("CreateUser", input).await, missing(&text));
    let input = json!({"RoleName": "r", "AssumeRolePolicyDocument": TRUST,
        "PermissionsBoundary": none});
    let refused = iam.refused("CreateRole", input).await;
    assert_eq!(refused, error(400, "InvalidInput", &text));
}

#[tokio::test]
async fn what_has_no_name_is_the_caller() {
    let iam = Iam::start().await;
    let found = iam.get("GetUser", json!({})).await;
    assert_eq!(found["User"]["Arn"], "arn:aws:iam::123456789012:root");
    assert_eq!(found["User"]["UserId"], "123456789012");
    let found = iam.ask("GetUser", json!({"UserName": "root"})).await;
    assert_eq!(found.unwrap_err().code, "NoSuchEntity");
    let made = iam.get("CreateAccessKey", json!({})).await;
    assert_eq!(made["AccessKey"]["UserName"], "root");
    let listed = iam.get("ListAccessKeys", json!({})).await;
    let keys = names(
        listed["AccessKeyMetadata"].as_array().unwrap(),
        "AccessKeyId",
    );
    assert_eq!(keys, [made["AccessKey"]["AccessKeyId"].as_str().unwrap()]);
}

#[tokio::test]
async fn lists_come_in_pages_by_path() {
    let iam = Iam::start().await;
    for (name, path) in [("c", "/x/"), ("A", "/x/"), ("b", "/y/")] {
        iam.get("CreateUser", json!({"UserName": name, "Path": path}))
            .await;
        iam.get("CreateGroup", json!({"GroupName": name, "Path": path}))
            .await;
        let input = json!({"RoleName": name, "Path": path, "AssumeRolePolicyDocument": TRUST});
        iam.get("CreateRole", input).await;
    }
    for (list, of, name) in [
        ("ListUsers", "Users", "UserName"),
        ("ListGroups", "Groups", "GroupName"),
        ("ListRoles", "Roles", "RoleName"),
    ] {
        let all = iam.paged(list, of, json!({})).await;
        assert_eq!(names(&all, name), ["A", "b", "c"], "{list}");
        let some = iam.paged(list, of, json!({"PathPrefix": "/x/"})).await;
        assert_eq!(names(&some, name), ["A", "c"], "{list}");
    }
}

#[tokio::test]
async fn users_and_groups_are_renamed() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    iam.user("ben").await;
    iam.group("dev").await;
    let input = json!({"GroupName": "dev", "UserName": "ann"});
    iam.get("AddUserToGroup", input).await;
    let made = iam.get("CreateAccessKey", json!({"UserName": "ann"})).await;
    let before = iam.get("GetUser", json!({"UserName": "ann"})).await;
    let input = json!({"UserName": "ann", "NewUserName": "eve", "NewPath": "/team/"});
    iam.get("UpdateUser", input).await;
    let after = iam.get("GetUser", json!({"UserName": "eve"})).await;
    assert_eq!(
        after["User"]["Arn"],
        "arn:aws:iam::123456789012:user/team/eve"
    );
    assert_eq!(after["User"]["UserId"], before["User"]["UserId"]);
    let listed = iam.get("ListAccessKeys", json!({"UserName": "eve"})).await;
    let key = &listed["AccessKeyMetadata"][0];
    assert_eq!(key["AccessKeyId"], made["AccessKey"]["AccessKeyId"]);
    let input = json!({"GroupName": "dev", "NewGroupName": "ops"});
    iam.get("UpdateGroup", input).await;
    let found = iam.get("GetGroup", json!({"GroupName": "ops"})).await;
    assert_eq!(
        names(found["Users"].as_array().unwrap(), "UserName"),
        ["eve"]
    );
    let input = json!({"UserName": "eve"});
    iam.get("UpdateUser", input).await;
    let text = "User with name ben already exists.";
    let input = json!({"UserName": "eve", "NewUserName": "BEN"});
    let refused = iam.refused("UpdateUser", input).await;
    assert_eq!(refused, error(409, "EntityAlreadyExists", text));
    let gone = iam.refused("UpdateUser", json!({"UserName": "ann"})).await;
    assert_eq!(gone, missing("The user with name ann cannot be found."));
    let gone = iam
        .refused("UpdateGroup", json!({"GroupName": "dev"}))
        .await;
    assert_eq!(gone, missing("The group with name dev cannot be found."));
}

#[tokio::test]
async fn services_have_roles_that_nobody_else_changes() {
    let iam = Iam::start().await;
    let input = json!({"AWSServiceName": "replication.ecr.amazonaws.com"});
    let made = iam.get("CreateServiceLinkedRole", input.clone()).await;
    let arn = "arn:aws:iam::123456789012:role/aws-service-role/replication.ecr.amazonaws.com/\
               AWSServiceRoleForECRReplication";
    assert_eq!(made["Role"]["Arn"], arn);
    let role = "AWSServiceRoleForECRReplication";
    let of = json!({ "RoleName": role });
    let listed = iam.get("ListAttachedRolePolicies", of.clone()).await;
    let attached = names(listed["AttachedPolicies"].as_array().unwrap(), "PolicyName");
    assert_eq!(attached, ["ECRReplicationServiceRolePolicy"]);
    let text = format!(
        "Service role name {role} has been taken in this account, please try a different suffix."
    );
    let again = iam.refused("CreateServiceLinkedRole", input.clone()).await;
    assert_eq!(again, error(400, "InvalidInput", &text));
    let mut suffixed = input;
    suffixed["CustomSuffix"] = "x".into();
    let text = "Custom suffix is not allowed for replication.ecr.amazonaws.com";
    let refused = iam.refused("CreateServiceLinkedRole", suffixed).await;
    assert_eq!(refused, error(400, "InvalidInput", text));
    let input = json!({"AWSServiceName": "ec2.amazonaws.com"});
    let text = "Service ec2.amazonaws.com has no service-linked role here.";
    let refused = iam.refused("CreateServiceLinkedRole", input).await;
    assert_eq!(refused, error(400, "InvalidInput", text));
    let text = format!(
        "Cannot perform the operation on the protected role '{role}' - this role is only \
         modifiable by AWS"
    );
    let protected = error(400, "UnmodifiableEntity", &text);
    for (name, rest) in [
        ("DeleteRole", json!({})),
        ("UpdateRole", json!({"Description": "x"})),
        ("UpdateRoleDescription", json!({"Description": "x"})),
        ("UpdateAssumeRolePolicy", json!({"PolicyDocument": TRUST})),
        ("AttachRolePolicy", json!({"PolicyArn": READ_ONLY})),
        ("DetachRolePolicy", json!({"PolicyArn": READ_ONLY})),
        (
            "PutRolePolicy",
            json!({"PolicyName": "p", "PolicyDocument": PULL}),
        ),
        ("DeleteRolePolicy", json!({"PolicyName": "p"})),
    ] {
        let mut input = rest;
        input["RoleName"] = role.into();
        assert_eq!(iam.refused(name, input).await, protected, "{name}");
    }
}

#[tokio::test]
async fn groups_have_members() {
    let iam = Iam::start().await;
    for user in ["ann", "ben"] {
        iam.user(user).await;
        for group in ["dev", "ops"] {
            if user == "ann" {
                iam.group(group).await;
            }
            let both = json!({"GroupName": group, "UserName": user});
            iam.get("AddUserToGroup", both.clone()).await;
            // As it is already is fine.
            iam.get("AddUserToGroup", both).await;
        }
    }
    let users = iam.paged("GetGroup", "Users", json!({"GroupName": "dev"}));
    assert_eq!(names(&users.await, "UserName"), ["ann", "ben"]);
    let found = iam.get("GetGroup", json!({"GroupName": "dev"})).await;
    assert_eq!(found["Group"]["Arn"], "arn:aws:iam::123456789012:group/dev");
    let groups = iam.paged("ListGroupsForUser", "Groups", json!({"UserName": "ann"}));
    assert_eq!(names(&groups.await, "GroupName"), ["dev", "ops"]);
    for (name, input) in [
        ("DeleteUser", json!({"UserName": "ann"})),
        ("DeleteGroup", json!({"GroupName": "dev"})),
    ] {
        let text = "Cannot delete entity, must remove users from group first.";
        let refused = iam.refused(name, input).await;
        assert_eq!(refused, error(409, "DeleteConflict", text));
    }
    for user in ["ann", "ben"] {
        let both = json!({"GroupName": "dev", "UserName": user});
        iam.get("RemoveUserFromGroup", both).await;
    }
    iam.get("DeleteGroup", json!({"GroupName": "dev"})).await;
    let no_group = missing("The group with name dev cannot be found.");
    let no_user = missing("The user with name nobody cannot be found.");
    for name in ["AddUserToGroup", "RemoveUserFromGroup"] {
        let input = json!({"GroupName": "dev", "UserName": "ann"});
        assert_eq!(iam.refused(name, input).await, no_group);
        let input = json!({"GroupName": "ops", "UserName": "nobody"});
        assert_eq!(iam.refused(name, input).await, no_user);
    }
    for name in ["GetGroup", "DeleteGroup"] {
        let refused = iam.refused(name, json!({"GroupName": "dev"})).await;
        assert_eq!(refused, no_group);
    }
    let input = json!({"UserName": "nobody"});
    assert_eq!(iam.refused("ListGroupsForUser", input).await, no_user);
    let exists = iam.refused("CreateGroup", json!({"GroupName": "ops"}));
    let text = "Group with name ops already exists.";
    assert_eq!(exists.await, error(409, "EntityAlreadyExists", text));
}

#[tokio::test]
async fn a_user_is_in_ten_groups_at_most() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    for at in 0..=10 {
        let group = format!("g{at}");
        iam.group(&group).await;
        let both = json!({"GroupName": group, "UserName": "ann"});
        if at < 10 {
            iam.get("AddUserToGroup", both).await;
        } else {
            let text = "Cannot exceed quota for GroupsPerUser: 10";
            let refused = iam.refused("AddUserToGroup", both).await;
            assert_eq!(refused, error(409, "LimitExceeded", text));
        }
    }
}

#[tokio::test]
async fn roles_change_and_go() {
    let iam = Iam::start().await;
    let input = json!({"RoleName": "deploy", "AssumeRolePolicyDocument": TRUST,
        "Description": "for builds", "MaxSessionDuration": 7200,
        "Tags": [{"Key": "k", "Value": "v"}]});
    let made = iam.get("CreateRole", input).await;
    let role = &made["Role"];
    assert!(role["RoleId"].as_str().unwrap().starts_with("AROA"));
    assert_eq!(role["MaxSessionDuration"], 7200);
    let trust = role["AssumeRolePolicyDocument"].as_str().unwrap();
    assert!(trust.starts_with("%7B%22Version%22%3A%20%222012-10-17%22"));
    assert_eq!(
        iam.get("GetRole", json!({"RoleName": "deploy"})).await,
        made
    );
    let change = json!({"RoleName": "deploy", "Description": "new", "MaxSessionDuration": 3600});
    iam.get("UpdateRole", change).await;
    let change = json!({"RoleName": "deploy", "Description": "newer"});
    let after = iam.get("UpdateRoleDescription", change).await;
    assert_eq!(after["Role"]["Description"], "newer");
    assert_eq!(after["Role"]["MaxSessionDuration"], 3600);
    let change =
        json!({"RoleName": "deploy", "PolicyDocument": TRUST.replace("210987654321", "*")});
    iam.get("UpdateAssumeRolePolicy", change).await;
    let after = iam.get("GetRole", json!({"RoleName": "deploy"})).await;
    let trust = after["Role"]["AssumeRolePolicyDocument"].as_str().unwrap();
    assert!(trust.contains("%22AWS%22%3A%20%22%2A%22"), "{trust}");
    let input = json!({"RoleName": "deploy"});
    let profiles = iam.get("ListInstanceProfilesForRole", input.clone()).await;
    assert_eq!(profiles["InstanceProfiles"], json!([]));
    let input = json!({"RoleName": "deploy", "AssumeRolePolicyDocument": TRUST});
    let text = "Role with name deploy already exists.";
    let exists = iam.refused("CreateRole", input).await;
    assert_eq!(exists, error(409, "EntityAlreadyExists", text));
    iam.get("DeleteRole", json!({"RoleName": "deploy"})).await;
    let gone = missing("The role with name deploy cannot be found.");
    for (name, input) in [
        ("GetRole", json!({})),
        ("DeleteRole", json!({})),
        ("UpdateRole", json!({})),
        ("UpdateRoleDescription", json!({"Description": ""})),
        ("UpdateAssumeRolePolicy", json!({"PolicyDocument": TRUST})),
        ("ListInstanceProfilesForRole", json!({})),
    ] {
        let mut input = input;
        input["RoleName"] = "deploy".into();
        assert_eq!(iam.refused(name, input).await, gone, "{name}");
    }
}

#[tokio::test]
async fn a_trust_policy_names_whom_there_is() {
    let iam = Iam::start().await;
    iam.get("CreateUser", json!({"UserName": "ann", "Path": "/team/"}))
        .await;
    let trust = |principal: &str| TRUST.replace("210987654321", principal);
    let input = |document: &str| json!({"RoleName": "r", "AssumeRolePolicyDocument": document});
    for principal in [
        "arn:aws:iam::123456789012:user/ann",
        "arn:aws:iam::123456789012:role/none",
        "arn:aws:iam::999999999999:user/team/ann",
    ] {
        let text = format!("Invalid principal in policy: \"AWS\":\"{principal}\"");
        let refused = iam.refused("CreateRole", input(&trust(principal))).await;
        assert_eq!(refused, error(400, "MalformedPolicyDocument", &text));
    }
    let long = trust(&"x".repeat(2_048));
    let refused = iam.refused("CreateRole", input(&long)).await;
    let text = "Cannot exceed quota for ACLSizePerRole: 2048";
    assert_eq!(refused, error(409, "LimitExceeded", text));
    let refused = iam.refused("CreateRole", input(PULL)).await;
    let text = "Missing required field Principal";
    assert_eq!(refused, error(400, "MalformedPolicyDocument", text));
    let ann = trust("arn:aws:iam::123456789012:user/team/ann");
    iam.get("CreateRole", input(&ann)).await;
    let change = json!({"RoleName": "r", "PolicyDocument": "{}"});
    let refused = iam.refused("UpdateAssumeRolePolicy", change).await;
    let text = "Syntax errors in policy.";
    assert_eq!(refused, error(400, "MalformedPolicyDocument", text));
}

#[tokio::test]
async fn what_has_policies_stays() {
    let iam = Iam::start().await;
    iam.user("n").await;
    iam.group("n").await;
    iam.role("n").await;
    for kind in ["User", "Group", "Role"] {
        let member = format!("{kind}Name");
        let delete = format!("Delete{kind}");
        let of = json!({ (member.as_str()): "n" });
        let with = |name: &str, value: &str| {
            let mut input = of.clone();
            input[name] = value.into();
            input
        };
        let attached = with("PolicyArn", READ_ONLY);
        iam.get(&format!("Attach{kind}Policy"), attached.clone())
            .await;
        let text = "Cannot delete entity, must detach all policies first.";
        let refused = iam.refused(&delete, of.clone()).await;
        assert_eq!(refused, error(409, "DeleteConflict", text));
        iam.get(&format!("Detach{kind}Policy"), attached).await;
        let mut inline = with("PolicyName", "p");
        inline["PolicyDocument"] = PULL.into();
        iam.get(&format!("Put{kind}Policy"), inline).await;
        let text = "Cannot delete entity, must delete policies first.";
        let refused = iam.refused(&delete, of.clone()).await;
        assert_eq!(refused, error(409, "DeleteConflict", text));
        let named = with("PolicyName", "p");
        iam.get(&format!("Delete{kind}Policy"), named).await;
        iam.get(&delete, of).await;
    }
}

#[tokio::test]
async fn tags_are_set_listed_and_taken() {
    let iam = Iam::start().await;
    iam.user("n").await;
    iam.role("n").await;
    let arn = iam.policy("n").await;
    for (kind, of) in [
        ("User", json!({"UserName": "n"})),
        ("Role", json!({"RoleName": "n"})),
        ("Policy", json!({"PolicyArn": arn})),
    ] {
        let with = |name: &str, value: serde_json::Value| {
            let mut input = of.clone();
            input[name] = value;
            input
        };
        let tag = |key: &str, value: &str| json!({"Key": key, "Value": value});
        let (set, unset, list) = (
            format!("Tag{kind}"),
            format!("Untag{kind}"),
            format!("List{kind}Tags"),
        );
        let tags = json!([tag("b", "1"), tag("a", "2"), tag("c", "")]);
        iam.get(&set, with("Tags", tags)).await;
        // The same key in another case.
        iam.get(&set, with("Tags", json!([tag("B", "3")]))).await;
        let listed = iam.paged(&list, "Tags", of.clone()).await;
        assert_eq!(listed, [tag("B", "3"), tag("a", "2"), tag("c", "")]);
        iam.get(&unset, with("TagKeys", json!(["A", "none"]))).await;
        let listed = iam.paged(&list, "Tags", of.clone()).await;
        assert_eq!(listed, [tag("B", "3"), tag("c", "")]);
        for (tags, text) in [
            (
                json!([tag("x", "1"), tag("X", "2")]),
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ),
            (
                json!([tag("aws:x", "1")]),
                "aws: prefixed tag key names are not allowed for external use.",
            ),
        ] {
            let refused = iam.refused(&set, with("Tags", tags)).await;
            assert_eq!(refused, error(400, "InvalidInput", text));
        }
        let many: Vec<_> = (0..50).map(|at| tag(&format!("k{at}"), "")).collect();
        let refused = iam.refused(&set, with("Tags", json!(many))).await;
        let text = "Cannot exceed quota for TagsPerResource: 50";
        assert_eq!(refused, error(409, "LimitExceeded", text));
    }
    let nobody = missing("The user with name x cannot be found.");
    for (name, input) in [
        ("TagUser", json!({"UserName": "x", "Tags": []})),
        ("UntagUser", json!({"UserName": "x", "TagKeys": []})),
        ("ListUserTags", json!({"UserName": "x"})),
    ] {
        assert_eq!(iam.refused(name, input).await, nobody);
    }
    let nobody = missing("The role with name x cannot be found.");
    for (name, input) in [
        ("TagRole", json!({"RoleName": "x", "Tags": []})),
        ("UntagRole", json!({"RoleName": "x", "TagKeys": []})),
        ("ListRoleTags", json!({"RoleName": "x"})),
    ] {
        assert_eq!(iam.refused(name, input).await, nobody);
    }
}
