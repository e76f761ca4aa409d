"""What every walk is given: a cluster, accounts, and clients that keep a record.

A walk is a module `walk_NAME.py` with functions `test_*`, which run in order of
writing, each with the world. It asks through boto3, or through a program named
`aws`, and asserts. Every operation that a client calls is written down with what
came of it: the table of operations in the documentation is made from that.
"""

import base64
import hashlib
import json
import os
import subprocess
import time
from dataclasses import dataclass

import boto3
import botocore.config
import botocore.exceptions

# Long enough for a node that others keep busy.
DEADLINE_S = 60


@dataclass
class Account:
    id: str
    key_id: str
    secret: str


class World:
    def __init__(self, told):
        self.nodes = told["nodes"]
        self.admin = told["admin"]
        self.accounts = [Account(**account) for account in told["accounts"]]
        self.programs = told["programs"]
        self.scratch = told["scratch"]
        self.record_path = told["record"]
        self.walk = told["walk"]

    def endpoint(self, region="us-east-1", nth=0):
        return [node["endpoint"] for node in self.nodes if node["region"] == region][nth]

    def host(self, region="us-east-1", nth=0):
        return self.endpoint(region, nth).split("//")[1]

    def client(self, service, account=None, region="us-east-1", nth=0, endpoint=None, keys=None,
               attempts=2):
        """A client of boto3; `keys` are those of STS, or None: the account's."""
        account = account or self.accounts[0]
        keys = keys or {"AccessKeyId": account.key_id, "SecretAccessKey": account.secret}
        client = boto3.client(
            service,
            region_name=region,
            endpoint_url=endpoint or self.endpoint(region, nth),
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            config=botocore.config.Config(
                retries={"total_max_attempts": attempts}, read_timeout=DEADLINE_S,
                parameter_validation=False
            ),
        )
        client.meta.events.register("after-call", self._called)
        return client

    def _called(self, parsed, model, **_):
        error = parsed.get("Error", {})
        self.record(
            model.service_model.service_name,
            model.name,
            "boto3",
            error.get("Code"),
            error.get("Message"),
        )

    def record(self, service, operation, client, code, message):
        entry = [service, operation, client, code, message]
        with open(self.record_path, "a", encoding="utf-8") as record:
            record.write(json.dumps(entry) + "\n")

    def aws(self, program, service, command, *words, account=None, region="us-east-1", nth=0,
            fails=None):
        """Runs `aws SERVICE COMMAND WORDS...`; what it printed, read as JSON.

        `fails` names the error that has to come of it.
        """
        account = account or self.accounts[0]
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": account.key_id,
            "AWS_SECRET_ACCESS_KEY": account.secret,
            "AWS_DEFAULT_REGION": region,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "HOME": self.scratch,
        }
        line = [self.programs[program], "--endpoint-url", self.endpoint(region, nth), "--output",
                "json", service, command, *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)
        # What the program calls for it.
        called = {"get-login-password": "get-authorization-token"}.get(command, command)
        operation = "".join(part.capitalize() for part in called.split("-"))
        if done.returncode == 0:
            assert fails is None, f"{line} should fail with {fails}: {done.stdout}"
            self.record(service, operation, program, None, None)
            return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) \
                else done.stdout
        code = done.stderr.partition("(")[2].partition(")")[0]
        self.record(service, operation, program, code, done.stderr.strip())
        assert fails is not None and code == fails, f"{line}: {done.stderr}"
        return done.stderr


def fails(code, call, *, message=None, status=None):
    """That `call` is refused with `code`; what it was refused with."""
    try:
        answer = call()
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{found['Code']} instead of {code}: {found['Message']}"
        if message is not None:
            assert found["Message"] == message, f"{found['Message']!r} instead of {message!r}"
        if status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        return error.response
    raise AssertionError(f"should fail with {code}: {answer}")


def eventually(check, within_s=DEADLINE_S):
    """Until `check` returns something true: what another node was told is here soon."""
    end = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.1)


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push_layer(ecr, repository, content, part=None):
    """Pushes a layer in parts of `part` bytes, or in one; its digest."""
    upload = ecr.initiate_layer_upload(repositoryName=repository)
    size = part or len(content)
    for first in range(0, len(content), size):
        piece = content[first:first + size]
        sent = ecr.upload_layer_part(
            repositoryName=repository,
            uploadId=upload["uploadId"],
            partFirstByte=first,
            partLastByte=first + len(piece) - 1,
            layerPartBlob=piece,
        )
        assert sent["lastByteReceived"] == first + len(piece) - 1, sent
    done = ecr.complete_layer_upload(
        repositoryName=repository, uploadId=upload["uploadId"], layerDigests=[digest_of(content)]
    )
    assert done["layerDigest"] == digest_of(content), done
    return done["layerDigest"]


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def manifest_of(layers, config=b"{}", **more):
    """The text of a manifest over layers that are bytes."""
    def described(content, media_type):
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(it, "application/vnd.oci.image.layer.v1.tar") for it in layers],
        **more,
    })


def push_image(ecr, repository, tag=None, layers=(b"layer",), config=b"{}", **more):
    """Pushes an image through the API; its manifest's text."""
    for content in (config, *layers):
        push_layer(ecr, repository, content)
    text = manifest_of(layers, config, **more)
    put = {"repositoryName": repository, "imageManifest": text}
    if tag:
        put["imageTag"] = tag
    assert ecr.put_image(**put)["image"]["imageId"]["imageDigest"] == digest_of(text.encode())
    return text


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
