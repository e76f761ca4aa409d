"""Users, groups, roles, keys and policies through IAM, and sessions through STS."""

import json

from world import Account, eventually, fails

PULL = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"}],
}
READ_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"


def trust(principal, **condition):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if condition:
        statement["Condition"] = {"StringEquals": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def allowing(action):
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_users_are_there_on_every_node(world):
    iam, other = world.client("iam"), world.client("iam", nth=1)
    account = world.accounts[0].id
    fails("NoSuchEntity", lambda: iam.get_user(UserName="ann"), status=404,
          message="The user with name ann cannot be found.")
    made = iam.create_user(UserName="ann", Path="/team/", Tags=[{"Key": "k", "Value": "v"}])
    assert made["User"]["Arn"] == f"arn:aws:iam::{account}:user/team/ann", made
    assert made["User"]["UserId"].startswith("AIDA"), made
    assert other.get_user(UserName="ann")["User"] == made["User"]
    fails("EntityAlreadyExists", lambda: other.create_user(UserName="Ann"), status=409,
          message="User with name ann already exists.")
    fails("ValidationError", lambda: iam.create_user(UserName="a b"), status=400)
    for name in ("ben", "cat"):
        iam.create_user(UserName=name)
    pages = list(other.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1}))
    assert [user["UserName"] for page in pages for user in page["Users"]] == ["ann", "ben", "cat"]
    iam.update_user(UserName="cat", NewUserName="carl", NewPath="/team/")
    assert [user["UserName"] for user in other.list_users(PathPrefix="/team/")["Users"]] == \
        ["ann", "carl"]
    iam.delete_user(UserName="carl")
    # The other account has users of its own.
    stranger = world.client("iam", account=world.accounts[1])
    fails("NoSuchEntity", lambda: stranger.get_user(UserName="ann"))
    assert stranger.list_users()["Users"] == []
    assert iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{account}:root"


def test_keys(world):
    iam, other = world.client("iam"), world.client("iam", nth=1)
    key = iam.create_access_key(UserName="ben")["AccessKey"]
    assert key["AccessKeyId"].startswith("AKIA") and key["Status"] == "Active", key
    second = iam.create_access_key(UserName="ben")["AccessKey"]
    fails("LimitExceeded", lambda: iam.create_access_key(UserName="ben"), status=409,
          message="Cannot exceed quota for AccessKeysPerUser: 2")
    listed = other.list_access_keys(UserName="ben")["AccessKeyMetadata"]
    assert {it["AccessKeyId"] for it in listed} == {key["AccessKeyId"], second["AccessKeyId"]}
    used = iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])
    assert used["UserName"] == "ben", used
    who = lambda: world.client("sts", keys=key, nth=1).get_caller_identity()
    eventually(lambda: not refused(who))
    assert who()["Arn"].endswith(":user/ben")
    iam.update_access_key(UserName="ben", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    eventually(lambda: refused(who))
    iam.update_access_key(UserName="ben", AccessKeyId=key["AccessKeyId"], Status="Active")
    eventually(lambda: not refused(who))
    fails("DeleteConflict", lambda: iam.delete_user(UserName="ben"), status=409,
          message="Cannot delete entity, must delete access keys first.")
    for it in (key, second):
        iam.delete_access_key(UserName="ben", AccessKeyId=it["AccessKeyId"])
    eventually(lambda: refused(who))
    iam.delete_user(UserName="ben")


def refused(call):
    """Whether a key is nobody's."""
    try:
        call()
    except Exception as error:  # Any other error fails the step.
        assert "InvalidClientTokenId" in str(error), error
        return True
    return False


def test_groups(world):
    iam = world.client("iam")
    iam.create_group(GroupName="dev")
    iam.add_user_to_group(GroupName="dev", UserName="ann")
    assert [it["UserName"] for it in iam.get_group(GroupName="dev")["Users"]] == ["ann"]
    iam.update_group(GroupName="dev", NewGroupName="ops")
    assert [it["GroupName"] for it in iam.list_groups_for_user(UserName="ann")["Groups"]] == \
        ["ops"]
    assert [it["GroupName"] for it in iam.list_groups()["Groups"]] == ["ops"]
    fails("DeleteConflict", lambda: iam.delete_group(GroupName="ops"))
    fails("NoSuchEntity", lambda: iam.add_user_to_group(GroupName="dev", UserName="ann"))


def test_policies_of_users_groups_and_roles(world):
    iam = world.client("iam")
    iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust("*"))
    for kind, name in (("user", "ann"), ("group", "ops"), ("role", "reader")):
        of = {f"{kind.capitalize()}Name": name}
        call = lambda form: getattr(iam, form.format(kind))
        call("put_{}_policy")(**of, PolicyName="pull", PolicyDocument=json.dumps(PULL))
        found = call("get_{}_policy")(**of, PolicyName="pull")
        assert found["PolicyDocument"] == PULL, found
        assert call("list_{}_policies")(**of)["PolicyNames"] == ["pull"]
        fails("MalformedPolicyDocument", lambda: call("put_{}_policy")(
            **of, PolicyName="bad", PolicyDocument="{"), status=400)
        call("attach_{}_policy")(**of, PolicyArn=READ_ONLY)
        attached = call("list_attached_{}_policies")(**of)["AttachedPolicies"]
        assert [it["PolicyArn"] for it in attached] == [READ_ONLY], attached
        fails("DeleteConflict", lambda: call("delete_{}")(**of))
    having = iam.list_entities_for_policy(PolicyArn=READ_ONLY)
    assert [len(having[it]) for it in ("PolicyUsers", "PolicyGroups", "PolicyRoles")] == [1, 1, 1]
    for kind, name in (("user", "ann"), ("group", "ops"), ("role", "reader")):
        of = {f"{kind.capitalize()}Name": name}
        getattr(iam, f"delete_{kind}_policy")(**of, PolicyName="pull")
        getattr(iam, f"detach_{kind}_policy")(**of, PolicyArn=READ_ONLY)
    iam.delete_role(RoleName="reader")
    iam.remove_user_from_group(GroupName="ops", UserName="ann")
    iam.delete_group(GroupName="ops")


def test_managed_policies(world):
    iam, other = world.client("iam"), world.client("iam", nth=1)
    arn = iam.create_policy(PolicyName="pull", PolicyDocument=json.dumps(PULL),
                            Tags=[{"Key": "k", "Value": "v"}])["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{world.accounts[0].id}:policy/pull", arn
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allowing("ecr:*"),
                                     SetAsDefault=True)
    assert made["PolicyVersion"]["VersionId"] == "v2", made
    found = other.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert found["Document"] == PULL and not found["IsDefaultVersion"], found
    assert other.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    assert [it["VersionId"] for it in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == \
        ["v2", "v1"]
    fails("DeleteConflict", lambda: iam.delete_policy(PolicyArn=arn), status=409)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    local = iam.list_policies(Scope="Local")["Policies"]
    assert [it["Arn"] for it in local] == [arn], local
    names = {it["PolicyName"] for it in iam.list_policies(Scope="AWS")["Policies"]}
    assert {"AdministratorAccess", "AmazonEC2ContainerRegistryPullOnly"} <= names, names
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["k"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.delete_policy(PolicyArn=arn)
    fails("NoSuchEntity", lambda: other.get_policy(PolicyArn=arn), status=404)


def test_roles_and_tags(world):
    iam = world.client("iam")
    fails("MalformedPolicyDocument", lambda: iam.create_role(
        RoleName="deploy", AssumeRolePolicyDocument=trust("arn:aws:iam::999999999999:root/x")))
    role = iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=trust("*"),
                           Description="builds", MaxSessionDuration=7200)["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole", role
    iam.update_role(RoleName="deploy", Description="more builds", MaxSessionDuration=3600)
    iam.update_role_description(RoleName="deploy", Description="all builds")
    found = iam.get_role(RoleName="deploy")["Role"]
    assert (found["Description"], found["MaxSessionDuration"]) == ("all builds", 3600), found
    assert iam.list_instance_profiles_for_role(RoleName="deploy")["InstanceProfiles"] == []
    for kind, name in (("user", "ann"), ("role", "deploy")):
        of = {f"{kind.capitalize()}Name": name}
        getattr(iam, f"tag_{kind}")(**of, Tags=[{"Key": "team", "Value": "a"}])
        getattr(iam, f"untag_{kind}")(**of, TagKeys=["k"])
        tags = getattr(iam, f"list_{kind}_tags")(**of)["Tags"]
        assert tags == [{"Key": "team", "Value": "a"}], tags
    linked = iam.create_service_linked_role(AWSServiceName="replication.ecr.amazonaws.com")
    name = linked["Role"]["RoleName"]
    fails("UnmodifiableEntity", lambda: iam.delete_role(RoleName=name), status=400)
    assert {it["RoleName"] for it in iam.list_roles()["Roles"]} == {"deploy", name}


def test_what_policies_would_decide(world):
    iam = world.client("iam")
    iam.attach_user_policy(UserName="ann", PolicyArn=READ_ONLY)
    ann = iam.get_user(UserName="ann")["User"]["Arn"]
    answers = iam.simulate_principal_policy(
        PolicySourceArn=ann, ActionNames=["ecr:ListImages", "ecr:PutImage"],
    )["EvaluationResults"]
    assert [it["EvalDecision"] for it in answers] == ["allowed", "implicitDeny"], answers
    by = answers[0]["MatchedStatements"][0]
    assert by["SourcePolicyType"] == "aws-managed", by
    iam.detach_user_policy(UserName="ann", PolicyArn=READ_ONLY)


def test_sessions_of_users(world):
    iam = world.client("iam")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    sts = world.client("sts", keys=key)
    session = sts.get_session_token(DurationSeconds=900)["Credentials"]
    assert session["AccessKeyId"].startswith("ASIA"), session
    of_session = world.client("sts", keys=session, nth=1)
    eventually(lambda: not refused(of_session.get_caller_identity))
    assert of_session.get_caller_identity()["Arn"].endswith(":user/team/ann")
    fails("AccessDenied", of_session.get_session_token, status=403)
    bent = {**session, "SessionToken": "x" + session["SessionToken"][1:]}
    fails("InvalidClientTokenId", world.client("sts", keys=bent).get_caller_identity, status=403)
    info = world.client("sts").get_access_key_info(AccessKeyId=session["AccessKeyId"])
    assert info["Account"] == world.accounts[0].id, info
    # It ends with the key that it was asked for with.
    iam.delete_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"])
    eventually(lambda: refused(of_session.get_caller_identity))


def test_roles_of_another_account_are_assumed(world):
    owner, guest = world.accounts
    iam, theirs = world.client("iam"), world.client("iam", account=guest)
    theirs.create_user(UserName="builder")
    key = theirs.create_access_key(UserName="builder")["AccessKey"]
    sts = world.client("sts", account=guest, keys=key)
    role = f"arn:aws:iam::{owner.id}:role/deploy"
    assume = lambda **more: sts.assume_role(RoleArn=role, RoleSessionName="build", **more)
    denied = (f"User: arn:aws:iam::{guest.id}:user/builder is not authorized to perform: "
              f"sts:AssumeRole on resource: {role}")
    iam.update_assume_role_policy(
        RoleName="deploy", PolicyDocument=trust(guest.id, **{"sts:ExternalId": "e-1"}))
    fails("AccessDenied", lambda: assume(ExternalId="e-1"), status=403, message=denied)
    theirs.put_user_policy(UserName="builder", PolicyName="assume",
                           PolicyDocument=allowing("sts:AssumeRole"))
    fails("AccessDenied", assume, status=403, message=denied)
    made = assume(ExternalId="e-1", Policy=json.dumps(PULL))
    arn = f"arn:aws:sts::{owner.id}:assumed-role/deploy/build"
    assert made["AssumedRoleUser"]["Arn"] == arn, made
    session = world.client("sts", keys=made["Credentials"], nth=1)
    eventually(lambda: not refused(session.get_caller_identity))
    identity = session.get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (owner.id, arn), identity
    fails("ValidationError", lambda: assume(ExternalId="e-1", DurationSeconds=3601), status=400)
    fails("AccessDenied", lambda: world.client("sts").assume_role(
        RoleArn=role, RoleSessionName="root"))
    iam.delete_role(RoleName="deploy")
    eventually(lambda: refused(session.get_caller_identity))


def test_users_do_what_their_policies_let_them(world):
    account = world.accounts[0].id
    iam = world.client("iam")
    iam.untag_user(UserName="ann", TagKeys=["team"])
    iam.create_user(UserName="lead")
    user = f"arn:aws:iam::{account}:user"
    own = {"Effect": "Allow", "Action": ["iam:CreateAccessKey", "iam:ListAccessKeys"],
           "Resource": user + "/${aws:username}"}
    team = {"Effect": "Allow", "Action": ["iam:CreateUser", "iam:TagUser"],
            "Resource": f"{user}/team-a/*",
            "Condition": {"StringEquals": {"aws:RequestTag/team": "a"}}}
    tagged = {"Effect": "Allow", "Action": ["iam:GetUser", "iam:DeleteUser"],
              "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "a"}}}
    iam.put_user_policy(UserName="lead", PolicyName="p", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [own, team, tagged]}))
    key = iam.create_access_key(UserName="lead")["AccessKey"]
    lead = world.client("iam", keys=key)
    made = lead.create_user(UserName="new", Path="/team-a/", Tags=[{"Key": "team", "Value": "a"}])
    assert lead.get_user(UserName="new")["User"]["UserId"] == made["User"]["UserId"]
    second = lead.create_access_key()["AccessKey"]
    assert second["UserName"] == "lead", second
    assert len(lead.list_access_keys()["AccessKeyMetadata"]) == 2
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    for call, resource, action in (
        (lambda: lead.create_user(UserName="x", Path="/team-a/"), f"{user}/team-a/x",
         "CreateUser"),
        (lambda: lead.create_user(UserName="x", Tags=[{"Key": "team", "Value": "a"}]),
         f"{user}/x", "CreateUser"),
        (lambda: lead.create_access_key(UserName="new"), "user new", "CreateAccessKey"),
        (lambda: lead.attach_user_policy(UserName="lead", PolicyArn=admin), "user lead",
         "AttachUserPolicy"),
        (lambda: lead.put_user_policy(UserName="lead", PolicyName="p",
                                      PolicyDocument=allowing("*")), "user lead", "PutUserPolicy"),
        (lambda: lead.update_user(UserName="new", NewPath="/"), "user new", "UpdateUser"),
        # Who is there, and where, is told to nobody who may not ask.
        (lambda: lead.get_user(UserName="ann"), "user ann", "GetUser"),
        (lambda: lead.get_user(UserName="nobody"), "user nobody", "GetUser"),
        (lambda: lead.delete_user(UserName="ann"), "user ann", "DeleteUser"),
        (lead.list_users, f"{user}/", "ListUsers"),
    ):
        fails("AccessDenied", call, status=403, message=(
            f"User: {user}/lead is not authorized to perform: iam:{action} on resource: "
            f"{resource} because no identity-based policy allows the iam:{action} action"))
    lead.delete_user(UserName="new")
    for it in (key, second):
        iam.delete_access_key(UserName="lead", AccessKeyId=it["AccessKeyId"])
    iam.delete_user_policy(UserName="lead", PolicyName="p")
    iam.delete_user(UserName="lead")


def test_the_aws_programs(world):
    for program in ("aws-pypi", "aws-debian"):
        aws = lambda *words, **more: world.aws(program, "iam", *words, **more)
        made = aws("create-user", "--user-name", program, "--path", "/cli/")
        assert made["User"]["Path"] == "/cli/", made
        key = aws("create-access-key", "--user-name", program)["AccessKey"]
        told = Account(world.accounts[0].id, key["AccessKeyId"], key["SecretAccessKey"])
        who = world.aws(program, "sts", "get-caller-identity", account=told)
        assert who["Arn"].endswith(f":user/cli/{program}"), who
        aws("put-user-policy", "--user-name", program, "--policy-name", "pull",
            "--policy-document", json.dumps(PULL))
        found = aws("get-user-policy", "--user-name", program, "--policy-name", "pull")
        assert found["PolicyDocument"] == PULL, found
        aws("attach-user-policy", "--user-name", program, "--policy-arn", READ_ONLY)
        listed = aws("list-attached-user-policies", "--user-name", program)
        assert listed["AttachedPolicies"][0]["PolicyArn"] == READ_ONLY, listed
        aws("delete-user", "--user-name", program, fails="DeleteConflict")
        aws("get-role", "--role-name", "nobody", fails="NoSuchEntity")
        aws("detach-user-policy", "--user-name", program, "--policy-arn", READ_ONLY)
        aws("delete-user-policy", "--user-name", program, "--policy-name", "pull")
        aws("delete-access-key", "--user-name", program, "--access-key-id", key["AccessKeyId"])
        aws("delete-user", "--user-name", program)
