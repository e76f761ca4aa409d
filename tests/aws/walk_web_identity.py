"""What CI systems do: a token of an identity provider in the place of a key.

The provider is this walk: nodes read its keys from a file, which is named for the
process that runs the walk.
"""

import base64
import json
import os
import subprocess
import tempfile
import time

import boto3
import botocore
import botocore.config

from walk_access import POWER, document, login_of, v2
from world import eventually, fails, push_image

ISSUER = "ci.example/org"
AUDIENCE = "sts.amazonaws.com"
REPOSITORY = "walk/ci"


def openssl(*words, given=None):
    done = subprocess.run(["openssl", *words], input=given, capture_output=True, check=True)
    return done.stdout


def encoded(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def key_file(world):
    return os.path.join(world.scratch, "issuer.pem")


def publish(world):
    openssl("genrsa", "-out", key_file(world), "2048")
    modulus = openssl("rsa", "-in", key_file(world), "-noout", "-modulus").decode()
    modulus = bytes.fromhex(modulus.strip().partition("=")[2])
    keys = {"keys": [{"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "e": "AQAB",
                      "n": encoded(modulus)}]}
    path = os.path.join(tempfile.gettempdir(), f"entrepot-issuer-{os.getppid()}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(keys, file)


def token(world, **changed):
    now = int(time.time())
    claims = {"iss": f"https://{ISSUER}", "aud": AUDIENCE, "iat": now, "exp": now + 600,
              "sub": "repo:team/app:ref:refs/heads/main", **changed}
    signed = ".".join(encoded(json.dumps(part).encode())
                      for part in ({"alg": "RS256", "kid": "one"}, claims))
    signature = openssl("dgst", "-sha256", "-sign", key_file(world), given=signed.encode())
    return f"{signed}.{encoded(signature)}"


def nobody(world, nth=0):
    """A client without keys, whose calls are noted."""
    client = boto3.client(
        "sts", region_name="us-east-1", endpoint_url=world.endpoint(nth=nth),
        config=botocore.config.Config(retries={"total_max_attempts": 1},
                                      signature_version=botocore.UNSIGNED))
    client.meta.events.register("after-call", world._called)
    return client


def assume(world, given, nth=0, **more):
    role = f"arn:aws:iam::{world.accounts[0].id}:role/ci"
    return nobody(world, nth).assume_role_with_web_identity(
        **{"RoleArn": role, "RoleSessionName": "build-7", "WebIdentityToken": given, **more})


def test_a_provider_is_made_and_changed(world):
    publish(world)
    iam = world.client("iam")
    made = iam.create_open_id_connect_provider(
        Url=f"https://{ISSUER}", ClientIDList=["other"], ThumbprintList=["a" * 40],
        Tags=[{"Key": "team", "Value": "ci"}])
    arn = made["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{world.accounts[0].id}:oidc-provider/{ISSUER}", made
    at = {"OpenIDConnectProviderArn": arn}
    iam.add_client_id_to_open_id_connect_provider(**at, ClientID=AUDIENCE)
    iam.remove_client_id_from_open_id_connect_provider(**at, ClientID="other")
    iam.update_open_id_connect_provider_thumbprint(**at, ThumbprintList=["b" * 40])
    found = iam.get_open_id_connect_provider(**at)
    assert found["Url"] == ISSUER and found["ClientIDList"] == [AUDIENCE], found
    assert found["ThumbprintList"] == ["b" * 40], found
    assert found["Tags"] == [{"Key": "team", "Value": "ci"}], found
    listed = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert listed == [{"Arn": arn}], listed
    theirs = world.client("iam", world.accounts[1])
    assert theirs.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    fails("AccessDenied", lambda: theirs.get_open_id_connect_provider(**at), status=403)
    iam.create_role(RoleName="ci", AssumeRolePolicyDocument=document({
        "Effect": "Allow", "Principal": {"Federated": arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{ISSUER}:aud": AUDIENCE},
                      "StringLike": {f"{ISSUER}:sub": "repo:team/*"}}}))
    iam.attach_role_policy(RoleName="ci", PolicyArn=POWER)
    world.client("ecr").create_repository(repositoryName=REPOSITORY)


def test_a_token_is_changed_for_a_session(world):
    for nth in (0, 1):
        made = eventually(lambda nth=nth: _assumed(world, nth))
        assert made["SubjectFromWebIdentityToken"].startswith("repo:team/app"), made
        assert made["Audience"] == AUDIENCE, made
        keys = made["Credentials"]
        me = world.client("sts", keys=keys, nth=nth).get_caller_identity()
        assert me["Arn"].endswith(":assumed-role/ci/build-7"), me
        ecr = world.client("ecr", keys=keys, nth=nth)
        push_image(ecr, REPOSITORY, f"v{nth}", [b"by ci %d" % nth])
        status, _, _ = v2(world, f"/v2/{REPOSITORY}/manifests/v{nth}", login_of(ecr), nth=nth)
        assert status == 200, status


def _assumed(world, nth):
    try:
        return assume(world, token(world), nth)
    except Exception as error:  # Not applied there yet.
        assert "AccessDenied" in str(error) or "InvalidIdentityToken" in str(error), error
        return None


def test_nobody_else_gets_one(world):
    good = token(world)
    for given, code in (
        (token(world, sub="repo:mallory/app"), "AccessDenied"),
        (token(world, aud="other"), "InvalidIdentityToken"),
        (token(world, iss="https://elsewhere.example"), "InvalidIdentityToken"),
        (token(world, exp=7), "ExpiredTokenException"),
        (good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"), "InvalidIdentityToken"),
    ):
        fails(code, lambda given=given: assume(world, given))
    other = f"arn:aws:iam::{world.accounts[0].id}:role/none"
    fails("AccessDenied", lambda: assume(world, good, RoleArn=other), status=403)
    # Everything else takes a signature.
    fails("MissingAuthenticationToken", nobody(world).get_caller_identity, status=403)


def test_a_session_ends_with_its_role_and_tokens_with_their_provider(world):
    iam, own = world.client("iam"), world.accounts[0].id
    keys = assume(world, token(world))["Credentials"]
    ecr = world.client("ecr", keys=keys)
    assert ecr.list_images(repositoryName=REPOSITORY)["imageIds"]
    iam.delete_open_id_connect_provider(
        OpenIDConnectProviderArn=f"arn:aws:iam::{own}:oidc-provider/{ISSUER}")
    fails("InvalidIdentityToken", lambda: assume(world, token(world)))
    iam.detach_role_policy(RoleName="ci", PolicyArn=POWER)
    iam.delete_role(RoleName="ci")

    def gone():
        try:
            ecr.list_images(repositoryName=REPOSITORY)
        except ecr.exceptions.ClientError as error:
            return "UnrecognizedClientException" in str(error)
    eventually(gone, within_s=5)
