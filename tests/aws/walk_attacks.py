"""Attacks by those who have something: an account, a user, an address, a session.

The first account is attacked: by its own user `mallory`, who may all in `mine/` and
nothing else, and by the second account. What is refused says nothing of what there
is.
"""

import datetime
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request

from walk_access import POWER, allow, document, known, login_of, user_of, v2
from world import (Account, DEADLINE_S, digest_of, eventually, fails, manifest_of, push_image,
                   push_layer)

SECRET, MINE = "secret/app", "mine/app"
LAYER = b"what nobody else may read"
TARGET = "AmazonEC2ContainerRegistry_V20150921."
# For everything that was made to take long.
BOUND_S = 5
STATE = {}


def mallory(world):
    if "mallory" not in STATE:
        own = world.accounts[0].id
        account = user_of(world, "mallory")
        world.client("iam").put_user_policy(
            UserName="mallory", PolicyName="mine", PolicyDocument=document(
                allow("ecr:*", f"arn:aws:ecr:*:{own}:repository/mine/*"),
                allow("ecr:GetAuthorizationToken")))
        STATE["mallory"] = account
        eventually(lambda: _may(world, account))
    return STATE["mallory"]


def _may(world, account):
    try:
        return login_of(world.client("ecr", account=account))
    except Exception as error:  # Not applied there yet.
        assert "AccessDenied" in str(error), error
        return None


def test_what_there_is(world):
    ecr = world.client("ecr")
    for repository in (SECRET, MINE):
        ecr.create_repository(repositoryName=repository)
    STATE["manifest"] = push_image(ecr, SECRET, "v1", [LAYER])
    mallory(world)


# === addresses ===

def test_an_upload_s_address_is_its_repository_s_and_its_account_s(world):
    ecr, login = world.client("ecr"), login_of(world.client("ecr"))
    status, headers, _ = v2(world, f"/v2/{SECRET}/blobs/uploads/", login, "POST")
    assert status == 202, status
    path = headers["Location"]
    path = path[path.index("/v2/"):]
    own, other = mallory(world), world.accounts[1]
    for nth in (0, 1):
        for account, where, expected in (
            (own, path, (403,)),
            (own, path.replace(SECRET, MINE), (404,)),
            (other, path, (404,)),
            (world.accounts[0], path.replace(SECRET, MINE), (404,)),
            (world.accounts[0], path[:-1], (404,)),
        ):
            their = login_of(world.client("ecr", account=account))
            for method in ("GET", "PATCH", "DELETE", "PUT"):
                query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
                status, _, body = v2(world, where + query, their, method, nth)
                assert status in expected, (method, where, status, body)
                assert "sha256:" not in body, body
        assert v2(world, path, None, "PATCH", nth)[0] == 401
    # It is as it was.
    status, headers, _ = v2(world, path, login)
    assert status == 204 and headers.get("Range") in (None, "0-0"), (status, headers)

    upload = ecr.initiate_layer_upload(repositoryName=SECRET)["uploadId"]
    part = {"uploadId": upload, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": b"x"}
    done = {"uploadId": upload, "layerDigests": [digest_of(b"x")]}
    for nth in (0, 1):
        at = world.client("ecr", account=own, nth=nth)
        fails("AccessDeniedException", lambda: at.upload_layer_part(repositoryName=SECRET, **part))
        fails("UploadNotFoundException",
              lambda: at.upload_layer_part(repositoryName=MINE, **part))
        fails("UploadNotFoundException",
              lambda: at.complete_layer_upload(repositoryName=MINE, **done))
        at = world.client("ecr", account=other, nth=nth)
        fails("AccessDeniedException", lambda: at.upload_layer_part(
            repositoryName=SECRET, registryId=world.accounts[0].id, **part))
    # The content says which digest it has, whoever names another.
    ecr.upload_layer_part(repositoryName=SECRET, **part)
    fails("InvalidLayerException", lambda: ecr.complete_layer_upload(
        repositoryName=SECRET, uploadId=upload, layerDigests=[digest_of(b"other")]))


def test_a_layer_s_address_is_good_for_that_layer_alone(world):
    ecr = world.client("ecr")
    push_layer(ecr, MINE, LAYER)
    push_layer(ecr, SECRET, b"another")
    digest = digest_of(LAYER)
    url = ecr.get_download_url_for_layer(repositoryName=SECRET, layerDigest=digest)["downloadUrl"]

    def ask(url, method="GET"):
        request = urllib.request.Request(url, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
    assert ask(url) == (200, LAYER)
    grant = url.partition("X-Entrepot-Grant=")[2].partition("&")[0]
    assert len(grant) > 100, url
    flipped = ("A" if grant[40] != "A" else "B").join((grant[:40], grant[41:]))
    manifest = url.replace(f"blobs/{digest}", "manifests/v1")
    for wrong, expected in (
        (url.replace(digest, digest_of(b"another")), (403,)),
        (url.replace(SECRET, MINE), (403,)),
        (url.replace(grant, flipped), (403,)),
        (url.replace(grant, grant[:-8]), (403,)),
        (url.replace(grant, ""), (401, 403)),
        (url.replace("us-east-1", "eu-west-1"), (403,)),
        (manifest, (401,)),
        (url.replace(f"blobs/{digest}", "tags/list"), (401,)),
    ):
        status, body = ask(wrong)
        assert status in expected, (wrong, status, body)
        assert LAYER not in body and b"v1" not in body, body
    for method in ("DELETE", "PUT", "POST", "PATCH"):
        assert ask(url, method)[0] in (400, 401, 405), method
    assert ask(url) == (200, LAYER)


# === others' content by way of one's own repository ===

def test_no_mount_brings_what_one_may_not_read(world):
    login = login_of(world.client("ecr", account=mallory(world)))
    mine = "mine/mounted"
    world.client("ecr").create_repository(repositoryName=mine)
    layer, absent = digest_of(b"another"), digest_of(b"never sent")
    for nth in (0, 1):
        for origin in (f"&from={SECRET}", "", "&from=secret/nothing", f"&from={SECRET}%00"):
            told = set()
            for digest in (layer, absent):
                path = f"/v2/{mine}/blobs/uploads/?mount={digest}{origin}"
                status, _, body = v2(world, path, login, "POST", nth)
                told.add((status, body.replace(digest, "DIGEST")))
            assert len(told) == 1 and told.pop()[0] in (202, 400), (origin, told)
        assert v2(world, f"/v2/{mine}/blobs/{layer}", login, nth=nth)[0] == 404
    # Nor does a manifest that names it, or an index that names the image.
    at = world.client("ecr", account=mallory(world))
    push_layer(at, mine, b"{}")
    fails("LayersNotFoundException",
          lambda: at.put_image(repositoryName=mine, imageManifest=manifest_of([b"another"])))
    text = STATE["manifest"].encode()
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                                       "digest": digest_of(text), "size": len(text)}]})
    for code in ("ReferencedImagesNotFoundException", "LayersNotFoundException"):
        try:
            fails(code, lambda: at.put_image(repositoryName=mine, imageManifest=index))
            break
        except AssertionError as error:
            last = error
    else:
        raise last


def test_batch_operations_stay_within_their_repository(world):
    at, ecr = world.client("ecr", account=mallory(world)), world.client("ecr")
    image = digest_of(STATE["manifest"].encode())
    ids, layer = [{"imageDigest": image}, {"imageTag": "v1"}], digest_of(b"another")
    for call in (
        lambda: at.batch_get_image(repositoryName=SECRET, imageIds=ids),
        lambda: at.batch_delete_image(repositoryName=SECRET, imageIds=ids),
        lambda: at.batch_check_layer_availability(repositoryName=SECRET, layerDigests=[layer]),
        lambda: at.get_download_url_for_layer(repositoryName=SECRET, layerDigest=layer),
        lambda: at.list_image_referrers(repositoryName=SECRET, subjectId={"imageDigest": image}),
        lambda: at.describe_images(repositoryName=SECRET),
        lambda: at.describe_repositories(repositoryNames=[MINE, SECRET]),
    ):
        refused = fails("AccessDeniedException", call)
        assert image not in str(refused["Error"]), refused
    got = at.batch_get_image(repositoryName=MINE, imageIds=ids)
    assert not got["images"] and len(got["failures"]) == 2, got
    gone = at.batch_delete_image(repositoryName=MINE, imageIds=ids)
    assert not gone["imageIds"] and len(gone["failures"]) == 2, gone
    found = at.batch_check_layer_availability(repositoryName=MINE, layerDigests=[layer])
    assert all(it.get("layerAvailability") != "AVAILABLE" for it in found["layers"]), found
    fails("LayersNotFoundException",
          lambda: at.get_download_url_for_layer(repositoryName=MINE, layerDigest=layer))
    assert len(ecr.batch_get_image(repositoryName=SECRET, imageIds=ids)["images"]) >= 1


def test_a_subject_in_another_repository_is_nobody_s(world):
    at, ecr = world.client("ecr", account=mallory(world)), world.client("ecr")
    text = STATE["manifest"].encode()
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json",
               "digest": digest_of(text), "size": len(text)}
    mine = push_image(at, MINE, "forged", [b"forged"], subject=subject)
    of_secret = ecr.list_image_referrers(repositoryName=SECRET,
                                         subjectId={"imageDigest": subject["digest"]})
    assert of_secret["referrers"] == [], of_secret
    own = at.list_image_referrers(repositoryName=MINE,
                                  subjectId={"imageDigest": subject["digest"]})
    assert [it["digest"] for it in own["referrers"]] == [digest_of(mine.encode())], own
    # And a real one of the other repository is not told here.
    push_image(ecr, SECRET, "signature", [b"signature"], subject=subject)
    again = at.list_image_referrers(repositoryName=MINE,
                                    subjectId={"imageDigest": subject["digest"]})
    assert again["referrers"] == own["referrers"], again


def test_replication_is_no_way_into_another_s_registry(world):
    victim, other = world.accounts
    theirs, there = world.client("ecr", account=other), world.client("ecr", region="eu-west-1")
    there.create_repository(repositoryName=SECRET)
    mine = push_image(there, SECRET, "v1", [b"of the victim"])
    theirs.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": [
        {"region": "eu-west-1", "registryId": victim.id}]}]})
    theirs.create_repository(repositoryName=SECRET)
    pushed = push_image(theirs, SECRET, "v1", [b"forged"])
    push_image(theirs, SECRET, "v2", [b"forged"])

    def denied():
        told = theirs.describe_image_replication_status(
            repositoryName=SECRET, imageId={"imageDigest": digest_of(pushed.encode())})
        return [it for it in told["replicationStatuses"] if it["status"] == "FAILED"]
    failed = eventually(denied)
    assert "digest" not in str(failed) and "sha256" not in str(failed), failed
    images = there.describe_images(repositoryName=SECRET)["imageDetails"]
    assert [it["imageDigest"] for it in images] == [digest_of(mine.encode())], images
    # And it brings nothing the other way: a rule is of the registry of who makes it.
    fails("RepositoryNotFoundException", lambda: world.client(
        "ecr", account=other, region="eu-west-1").list_images(repositoryName=SECRET))
    theirs.put_replication_configuration(replicationConfiguration={"rules": []})


# === policies ===

def test_policies_made_to_hurt_are_refused_or_decided_soon(world):
    ecr, iam = world.client("ecr"), world.client("iam")
    account = mallory(world)
    at = world.client("ecr", account=account)
    started = time.monotonic()
    for text in (
        "[" * 5_000 + "]" * 5_000,
        '{"Statement":' * 700 + "1" + "}" * 700,
        '{"Version": "2012-10-17", "Statement": ' + "[" * 200 + "]" * 200 + "}",
        document({"Effect": "Allow", "Principal": "*", "Action": "ecr:" + "*" * 10_300}),
        document(*[{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}] * 400),
        '{"Version": "2012-10-17", "Statement": [], "Statement": []}',
        '\ufeff' + document({"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}) + "\x00",
    ):
        refused = fails("InvalidParameterException", lambda text=text: ecr.set_repository_policy(
            repositoryName=MINE, policyText=text))
        assert len(refused["Error"]["Message"]) < 12_000, refused
    for text in ("[" * 5_000 + "]" * 5_000, '{"Statement":' * 700 + "1" + "}" * 700):
        fails("MalformedPolicyDocument", lambda text=text: iam.put_user_policy(
            UserName="mallory", PolicyName="hurts", PolicyDocument=text))
    spent = time.monotonic() - started
    assert spent < 4 * BOUND_S, f"refused after {spent} s"

    # The longest wildcards, of which each could be tried everywhere.
    wild = "*a" * 120 + "*b"
    agent = {"StringLike": {"aws:UserAgent": [wild + str(nth) for nth in range(4)]}}
    hurts = document(allow("ecr:" + "*?" * 20 + "z", "arn:aws:ecr:*:*:repository/" + "*a" * 60,
                           Condition=agent))
    iam.put_user_policy(UserName="mallory", PolicyName="hurts", PolicyDocument=hurts)
    slow = document({"Effect": "Deny", "Principal": "*", "Action": "ecr:" + "*?" * 8 + "*z",
                     "Condition": {"StringLike": {"aws:UserAgent": [wild] * 25}}})
    ecr.set_repository_policy(repositoryName=MINE, policyText=slow, force=True)
    login = login_of(at)
    started = time.monotonic()
    for _ in range(20):
        status, _, _ = v2(world, f"/v2/{MINE}/manifests/forged", login,
                          headers={"User-Agent": "a" * 4_000})
        assert status == 200, status
    spent = time.monotonic() - started
    assert spent < BOUND_S, f"20 decisions took {spent} s"
    ecr.delete_repository_policy(repositoryName=MINE)
    iam.delete_user_policy(UserName="mallory", PolicyName="hurts")


# === signatures ===

def signed(world, account, operation, body, *, service="ecr", region="us-east-1", at=None,
           host=None, scope=None, keys=None):
    """Headers of a request that is signed as asked, right or wrong."""
    at = at or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    headers = {"content-type": "application/x-amz-json-1.1", "host": host or world.host(),
               "x-amz-date": stamp, "x-amz-target": TARGET + operation}
    if keys:
        headers["x-amz-security-token"] = keys["SessionToken"]
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join(("POST", "/", "", lines, names, hashlib.sha256(body).hexdigest()))
    within = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, within,
                      hashlib.sha256(canonical.encode()).hexdigest()))
    key = ("AWS4" + (keys["SecretAccessKey"] if keys else account.secret)).encode()
    for word in within.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    key_id = keys["AccessKeyId"] if keys else account.key_id
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={key_id}/{scope or within}, "
                                f"SignedHeaders={names}, Signature={signature}")
    return headers


def ask(world, headers, body, nth=0):
    request = urllib.request.Request(world.endpoint(nth=nth) + "/", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_signature_is_for_one_request_one_service_one_region_and_five_minutes(world):
    account = world.accounts[0]
    body = json.dumps({"repositoryName": SECRET}).encode()
    good = signed(world, account, "ListImages", body)
    for _ in range(2):
        # Whoever has a request whole can send it again for five minutes, as to AWS.
        status, answer = ask(world, good, body)
        assert status == 200 and answer["imageIds"], answer
    now = datetime.datetime.now(datetime.timezone.utc)
    minutes = datetime.timedelta(minutes=6)
    other = json.dumps({"repositoryName": MINE}).encode()
    target = {**good, "x-amz-target": TARGET + "DescribeImages"}
    today = now.strftime("%Y%m%d")
    replayed = {name: value for name, value in good.items() if name != "x-amz-target"}
    for headers, sent in (
        (good, other),
        (good, body + b" "),
        (target, body),
        ({**good, "x-amz-content-sha256": hashlib.sha256(other).hexdigest()}, body),
        ({**good, "x-amz-security-token": "x"}, body),
        ({**good, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")[:-2] + "0Z"
          if not good["x-amz-date"].endswith("0Z") else "20200101T000000Z"}, body),
        ({**replayed, "x-amz-target": ""}, body),
        ({**good, "authorization": good["authorization"][:-1]}, body),
        ({**good, "authorization": good["authorization"].replace("host;", "")}, body),
        ({**good, "authorization": good["authorization"].replace(";x-amz-target", "")}, body),
        ({**good, "authorization": good["authorization"].replace(
            account.key_id, world.accounts[1].key_id)}, body),
        (signed(world, account, "ListImages", body, at=now - minutes), body),
        (signed(world, account, "ListImages", body, at=now + minutes), body),
        (signed(world, account, "ListImages", body, service="iam"), body),
        (signed(world, account, "ListImages", body, service="ecr-public"), body),
        (signed(world, account, "ListImages", body, service="s3"), body),
        (signed(world, account, "ListImages", body, service="iam",
                scope=f"{today}/us-east-1/ecr/aws4_request"), body),
        (signed(world, account, "ListImages", body, region="eu-west-1",
                scope=f"{today}/us-east-1/ecr/aws4_request"), body),
        (signed(world, account, "ListImages", body, region="us-gov-1"), body),
        (signed(world, account, "ListImages", body, host="elsewhere.example"),
         None),
    ):
        if sent is None:
            headers, sent = {**headers, "host": world.host()}, body
        status, answer = ask(world, headers, sent)
        assert 400 <= status < 500 and "imageIds" not in answer, (headers, status, answer)
        assert "sha256:" not in json.dumps(answer) and account.secret not in json.dumps(answer)


# === sessions ===

def test_no_session_outlives_whom_it_is_of(world):
    iam, own = world.client("iam"), world.accounts[0].id
    worker = user_of(world, "sessions")
    trust = document({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{own}:user/sessions"},
                      "Action": "sts:AssumeRole"})

    def role():
        iam.create_role(RoleName="short", AssumeRolePolicyDocument=trust)
        iam.attach_role_policy(RoleName="short", PolicyArn=POWER)

    def assume(account):
        sts = world.client("sts", account=account)
        return sts.assume_role(RoleArn=f"arn:aws:iam::{own}:role/short",
                               RoleSessionName="walk")["Credentials"]

    def ended(keys, login, nth):
        at = world.client("ecr", keys=keys, nth=nth)
        try:
            at.list_images(repositoryName=SECRET)
        except at.exceptions.ClientError as error:
            assert "UnrecognizedClientException" in str(error), error
            status, _, body = v2(world, f"/v2/{SECRET}/manifests/v1", login, nth=nth)
            assert status == 400 and "sha256:" not in body, (status, body)
            return True
        return False
    role()
    keys = assume(worker)
    at = world.client("ecr", keys=keys)
    login = login_of(at)
    assert at.list_images(repositoryName=SECRET)["imageIds"]
    iam.detach_role_policy(RoleName="short", PolicyArn=POWER)
    iam.delete_role(RoleName="short")
    for nth in (0, 1):
        eventually(lambda nth=nth: ended(keys, login, nth), within_s=5)
    # Another of that name is another one.
    role()
    fresh = eventually(lambda: _assumed(assume, worker))
    eventually(lambda: world.client("ecr", keys=fresh).list_images(repositoryName=SECRET))
    assert ended(keys, login, 0) and ended(keys, login, 1)

    # The same of a user's own session, and of a role's that the user began.
    iam.attach_user_policy(UserName="sessions", PolicyArn=POWER)
    own_keys = world.client("sts", account=worker).get_session_token()["Credentials"]
    at = world.client("ecr", keys=own_keys)
    eventually(lambda: _lists(at))
    login = login_of(at)
    iam.delete_access_key(UserName="sessions", AccessKeyId=worker.key_id)
    for nth in (0, 1):
        eventually(lambda nth=nth: ended(own_keys, login, nth), within_s=5)
    iam.detach_user_policy(UserName="sessions", PolicyArn=POWER)
    iam.delete_user(UserName="sessions")
    again = user_of(world, "sessions", POWER)
    assert known(world, again, 0) and isinstance(again, Account)
    for nth in (0, 1):
        assert ended(own_keys, login, nth)


def _assumed(assume, account):
    try:
        return assume(account)
    except Exception as error:  # Not applied there yet.
        assert "AccessDenied" in str(error) or "InvalidClientTokenId" in str(error), error
        return None


def _lists(at):
    try:
        return at.list_images(repositoryName=SECRET)
    except Exception as error:  # Not applied there yet.
        assert "AccessDenied" in str(error), error
        return None
