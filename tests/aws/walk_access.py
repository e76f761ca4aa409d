"""Who may do what: users, roles, other accounts, and the tokens that they log in with."""

import base64
import json
import urllib.error
import urllib.request

from world import Account, DEADLINE_S, OCI_MANIFEST, basic, digest_of, eventually, fails, push_image

REPOSITORY = "walk/access"
READ_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
POWER = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resource="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def v2(world, path, authorization=None, method="GET", nth=0, headers=None):
    """A request as registry clients make it: its status, headers and body."""
    request = urllib.request.Request(world.endpoint(nth=nth) + path, method=method,
                                     headers={"Accept": OCI_MANIFEST, **(headers or {})})
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def login_of(client):
    """The value of `Authorization` for a caller's token."""
    data = client.get_authorization_token()["authorizationData"]
    assert len(data) == 1, data
    decoded = base64.b64decode(data[0]["authorizationToken"]).decode()
    assert decoded.startswith("AWS:") and decoded.count(":") == 1, decoded
    return "Basic " + data[0]["authorizationToken"]


def user_of(world, name, *policies):
    """A new user with managed policies, and its key once it is good everywhere."""
    iam = world.client("iam")
    iam.create_user(UserName=name)
    for policy in policies:
        iam.attach_user_policy(UserName=name, PolicyArn=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    account = Account(world.accounts[0].id, key["AccessKeyId"], key["SecretAccessKey"])
    for nth in (0, 1):
        eventually(lambda nth=nth: known(world, account, nth))
    return account


def known(world, account, nth):
    try:
        return world.client("sts", account=account, nth=nth).get_caller_identity()
    except Exception as error:  # Not applied there yet.
        assert "InvalidClientTokenId" in str(error), error
        return None


def denial(principal, action, resource, because):
    return f"User: {principal} is not authorized to perform: {action} on resource: {resource} " \
           f"because {because}"


def test_an_owner_may_all(world):
    ecr = world.client("ecr")
    ecr.create_repository(repositoryName=REPOSITORY)
    push_image(ecr, REPOSITORY, "v1", [b"a layer of access"])
    me = world.client("sts").get_caller_identity()
    assert me["Arn"] == f"arn:aws:iam::{world.accounts[0].id}:root", me


def test_a_user_may_nothing_by_itself(world):
    user = user_of(world, "nobody")
    own = world.accounts[0].id
    ecr = world.client("ecr", account=user, nth=1)
    arn = f"arn:aws:ecr:us-east-1:{own}:repository/{REPOSITORY}"
    refused = fails(
        "AccessDeniedException",
        lambda: ecr.list_images(repositoryName=REPOSITORY),
        message=denial(f"arn:aws:iam::{own}:user/nobody", "ecr:ListImages", arn,
                       "no identity-based policy allows the ecr:ListImages action"),
    )
    # What is not there is denied in the same words.
    absent = fails("AccessDeniedException",
                   lambda: ecr.list_images(repositoryName="walk/nothing"))
    said = [it["Error"]["Message"] for it in (refused, absent)]
    assert said[1] == said[0].replace(REPOSITORY, "walk/nothing"), said
    fails("AccessDeniedException", ecr.get_authorization_token)
    fails("AccessDenied", world.client("iam", account=user).list_users, status=403)


def test_a_reader_reads_and_does_not_write(world):
    user = user_of(world, "reader", READ_ONLY)
    ecr = world.client("ecr", account=user)
    assert ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])["images"]
    fails("AccessDeniedException", lambda: ecr.initiate_layer_upload(repositoryName=REPOSITORY))
    login = login_of(ecr)
    for nth in (0, 1):
        status, headers, body = v2(world, f"/v2/{REPOSITORY}/manifests/v1", login, nth=nth)
        assert status == 200, (status, body)
        assert headers["Docker-Content-Digest"] == digest_of(body.encode()), headers
    status, _, body = v2(world, f"/v2/{REPOSITORY}/blobs/uploads/", login, method="POST")
    error = json.loads(body)["errors"][0]
    assert status == 403 and error["code"] == "DENIED", (status, body)
    assert "is not authorized to perform: ecr:InitiateLayerUpload" in error["message"], body


def test_a_policy_says_which_repositories(world):
    iam = world.client("iam")
    own = world.accounts[0].id
    user = user_of(world, "narrow")
    iam.put_user_policy(UserName="narrow", PolicyName="own", PolicyDocument=document(
        allow("ecr:*", f"arn:aws:ecr:*:{own}:repository/narrow/*"),
        {"Effect": "Deny", "Action": "ecr:DeleteRepository", "Resource": "*"},
    ))
    ecr = world.client("ecr", account=user)

    def made():
        try:
            return ecr.create_repository(repositoryName="narrow/a")
        except ecr.exceptions.ClientError as error:
            assert "AccessDenied" in str(error), error
    eventually(made)
    fails("AccessDeniedException", lambda: ecr.list_images(repositoryName=REPOSITORY))
    denied = fails("AccessDeniedException",
                   lambda: ecr.delete_repository(repositoryName="narrow/a"))
    assert "with an explicit deny" in denied["Error"]["Message"], denied


def test_nobody_is_let_in_without_proof(world):
    status, headers, _ = v2(world, "/v2/")
    assert status == 401 and "Bearer realm=" in headers["WWW-Authenticate"], headers
    status, headers, body = v2(world, "/v2/", basic("AWS", "no-token"))
    assert status == 400 and headers["WWW-Authenticate"] is None, (status, headers)
    assert json.loads(body)["errors"][0] == {
        "code": "DENIED", "message": "Your Authorization Token is invalid."}, body


def test_a_token_with_any_character_changed(world):
    login = login_of(world.client("ecr"))
    user, _, password = base64.b64decode(login.split()[1]).decode().partition(":")
    assert v2(world, "/v2/", basic(user, password))[0] == 200
    for at in range(0, len(password), 7):
        other = "A" if password[at] != "A" else "B"
        changed = password[:at] + other + password[at + 1:]
        # The last character of base64 may have bits that say nothing.
        if at < len(password) - 1:
            assert v2(world, "/v2/", basic(user, changed))[0] == 400, at
    for cut in (1, 20, len(password) // 2):
        assert v2(world, "/v2/", basic(user, password[:-cut]))[0] == 400, cut


def test_a_token_ends_with_its_key_and_its_user(world):
    iam = world.client("iam")
    user = user_of(world, "leaver", POWER)
    login = login_of(world.client("ecr", account=user))
    assert v2(world, f"/v2/{REPOSITORY}/manifests/v1", login)[0] == 200
    iam.update_access_key(UserName="leaver", AccessKeyId=user.key_id, Status="Inactive")
    for nth in (0, 1):
        eventually(lambda nth=nth: v2(world, "/v2/", login, nth=nth)[0] == 400, within_s=5)
    iam.update_access_key(UserName="leaver", AccessKeyId=user.key_id, Status="Active")
    for nth in (0, 1):
        eventually(lambda nth=nth: v2(world, "/v2/", login, nth=nth)[0] == 200, within_s=5)
    iam.detach_user_policy(UserName="leaver", PolicyArn=POWER)
    for nth in (0, 1):
        eventually(
            lambda nth=nth: v2(world, f"/v2/{REPOSITORY}/manifests/v1", login, nth=nth)[0] == 403,
            within_s=5)
    iam.delete_access_key(UserName="leaver", AccessKeyId=user.key_id)
    iam.delete_user(UserName="leaver")
    for nth in (0, 1):
        eventually(lambda nth=nth: v2(world, "/v2/", login, nth=nth)[0] == 400, within_s=5)


def test_a_role_is_assumed_and_its_session_limited(world):
    iam, own = world.client("iam"), world.accounts[0].id
    worker, stranger = user_of(world, "worker"), user_of(world, "other-worker")
    iam.create_role(RoleName="pusher", AssumeRolePolicyDocument=document({
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{own}:user/worker"},
        "Action": "sts:AssumeRole"}))
    iam.attach_role_policy(RoleName="pusher", PolicyArn=POWER)
    role = f"arn:aws:iam::{own}:role/pusher"

    def assume(account, **more):
        sts = world.client("sts", account=account)
        return sts.assume_role(RoleArn=role, RoleSessionName="walk", **more)
    fails("AccessDenied", lambda: assume(stranger), status=403)
    session = assume(worker)
    keys = session["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA"), session
    me = world.client("sts", keys=keys).get_caller_identity()
    assert me["Arn"] == f"arn:aws:sts::{own}:assumed-role/pusher/walk", me
    ecr = world.client("ecr", keys=keys)
    push_image(ecr, REPOSITORY, "by-role", [b"by a role"])
    login = login_of(ecr)
    assert v2(world, f"/v2/{REPOSITORY}/manifests/by-role", login)[0] == 200
    limited = assume(worker, Policy=document(allow(
        ["ecr:BatchGetImage", "ecr:GetAuthorizationToken"])))["Credentials"]
    reader = world.client("ecr", keys=limited)
    assert reader.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])
    fails("AccessDeniedException",
          lambda: reader.initiate_layer_upload(repositoryName=REPOSITORY))
    # The token of a limited session is limited as well.
    narrow = login_of(reader)
    assert v2(world, f"/v2/{REPOSITORY}/manifests/v1", narrow)[0] == 200
    assert v2(world, f"/v2/{REPOSITORY}/blobs/uploads/", narrow, method="POST")[0] == 403
    # A token or a secret of another session is worth nothing.
    mixed = {**keys, "SessionToken": limited["SessionToken"]}
    fails("UnrecognizedClientException",
          lambda: world.client("ecr", keys=mixed).list_images(repositoryName=REPOSITORY))
    iam.detach_role_policy(RoleName="pusher", PolicyArn=POWER)
    iam.delete_role(RoleName="pusher")

    def gone():
        try:
            ecr.list_images(repositoryName=REPOSITORY)
        except ecr.exceptions.ClientError as error:
            return "UnrecognizedClientException" in str(error)
    eventually(gone, within_s=5)


def test_another_account_needs_both_sides(world):
    ecr, own, other = world.client("ecr"), *world.accounts
    theirs = world.client("ecr", account=other)
    at = {"repositoryName": REPOSITORY, "registryId": own.id}
    fails("RepositoryNotFoundException", lambda: theirs.list_images(repositoryName=REPOSITORY))
    denied = fails("AccessDeniedException", lambda: theirs.list_images(**at))
    assert "no resource-based policy allows" in denied["Error"]["Message"], denied
    absent = fails("AccessDeniedException", lambda: theirs.list_images(
        repositoryName="walk/nothing", registryId=own.id))
    said = [it["Error"]["Message"] for it in (denied, absent)]
    assert said[1] == said[0].replace(REPOSITORY, "walk/nothing"), said
    ecr.set_repository_policy(repositoryName=REPOSITORY, policyText=document({
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{other.id}:root"},
        "Action": ["ecr:BatchGetImage", "ecr:ListImages"]}))
    assert eventually(lambda: _listed(theirs, at))
    fails("AccessDeniedException", lambda: theirs.initiate_layer_upload(**at))
    # The account may; its users may once their own policies say so as well.
    iam = world.client("iam", account=other)
    iam.create_user(UserName="visitor")
    key = iam.create_access_key(UserName="visitor")["AccessKey"]
    visitor = Account(other.id, key["AccessKeyId"], key["SecretAccessKey"])
    eventually(lambda: known(world, visitor, 0))
    visiting = world.client("ecr", account=visitor)
    fails("AccessDeniedException", lambda: visiting.list_images(**at))
    iam.put_user_policy(UserName="visitor", PolicyName="visit", PolicyDocument=document(
        allow("ecr:ListImages", f"arn:aws:ecr:us-east-1:{own.id}:repository/walk/*")))
    assert eventually(lambda: _listed(visiting, at))
    fails("AccessDeniedException", lambda: visiting.batch_get_image(
        imageIds=[{"imageTag": "v1"}], **at))
    ecr.delete_repository_policy(repositoryName=REPOSITORY)
    eventually(lambda: not _listed(theirs, at), within_s=5)


def _listed(client, at):
    try:
        return client.list_images(**at)["imageIds"]
    except client.exceptions.ClientError as error:
        assert "AccessDenied" in str(error), error
        return None


def test_a_key_that_is_nobody_s(world):
    stranger = {"AccessKeyId": "AKIAAAAAAAAAAAAAAAAA", "SecretAccessKey": "a" * 40}
    fails("UnrecognizedClientException", lambda: world.client(
        "ecr", keys=stranger).list_images(repositoryName=REPOSITORY), status=400)
    fails("InvalidClientTokenId", lambda: world.client(
        "sts", keys=stranger).get_caller_identity(), status=403)
