"""The `aws` programs: every command that they have for what a registry does."""

import json
import os

from world import OCI_MANIFEST, digest_of, manifest_of

PROGRAMS = ("aws-pypi", "aws-debian")
REFUSED = "ValidationException"

REPOSITORY_POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Sid": "pull", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::444455556666:root"},
    "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]})
LIFECYCLE = json.dumps({"rules": [{"rulePriority": 1, "selection": {
    "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days",
    "countNumber": 14}, "action": {"type": "expire"}}]})


def each(world, walk):
    for program in PROGRAMS:
        def aws(command, *words, service="ecr", **more):
            return world.aws(program, service, command, *words, **more)
        walk(aws, f"cli/{program}", os.path.join(world.scratch, program))


def test_repositories(world):
    def walk(aws, name, _scratch):
        made = aws("create-repository", "--repository-name", name, "--tags", "Key=team,Value=a",
                   "--image-tag-mutability", "MUTABLE")["repository"]
        assert made["repositoryName"] == name and made["registryId"] == world.accounts[0].id
        found = aws("describe-repositories", "--repository-names", name)["repositories"]
        assert [it["repositoryArn"] for it in found] == [made["repositoryArn"]], found
        aws("create-repository", "--repository-name", name,
            fails="RepositoryAlreadyExistsException")
        arn = ("--resource-arn", made["repositoryArn"])
        aws("tag-resource", *arn, "--tags", "Key=env,Value=test")
        aws("untag-resource", *arn, "--tag-keys", "team")
        assert aws("list-tags-for-resource", *arn)["tags"] == [{"Key": "env", "Value": "test"}]
        put = aws("put-image-tag-mutability", "--repository-name", name,
                  "--image-tag-mutability", "IMMUTABLE")
        assert put["imageTagMutability"] == "IMMUTABLE", put
        aws("put-image-scanning-configuration", "--repository-name", name,
            "--image-scanning-configuration", "scanOnPush=true")
        aws("set-repository-policy", "--repository-name", name, "--policy-text",
            REPOSITORY_POLICY)
        got = aws("get-repository-policy", "--repository-name", name)
        assert json.loads(got["policyText"]) == json.loads(REPOSITORY_POLICY), got
        aws("delete-repository-policy", "--repository-name", name)
        aws("get-repository-policy", "--repository-name", name,
            fails="RepositoryPolicyNotFoundException")
        aws("put-lifecycle-policy", "--repository-name", name, "--lifecycle-policy-text",
            LIFECYCLE)
        aws("get-lifecycle-policy", "--repository-name", name)
        aws("start-lifecycle-policy-preview", "--repository-name", name)
        preview = aws("get-lifecycle-policy-preview", "--repository-name", name)
        assert preview["previewResults"] == [], preview
        aws("delete-lifecycle-policy", "--repository-name", name)
    each(world, walk)


def test_layers_and_images(world):
    def walk(aws, name, scratch):
        at = ("--repository-name", name)
        layers = (b"{}", name.encode())
        for content in layers:
            path = f"{scratch}.part"
            with open(path, "wb") as part:
                part.write(content)
            upload = aws("initiate-layer-upload", *at)["uploadId"]
            aws("upload-layer-part", *at, "--upload-id", upload, "--part-first-byte", "0",
                "--part-last-byte", str(len(content) - 1), "--layer-part-blob", f"fileb://{path}")
            aws("complete-layer-upload", *at, "--upload-id", upload, "--layer-digests",
                digest_of(content))
        found = aws("batch-check-layer-availability", *at, "--layer-digests",
                    *map(digest_of, layers))
        assert [it["layerAvailability"] for it in found["layers"]] == ["AVAILABLE"] * 2, found
        text = manifest_of(layers[1:])
        put = aws("put-image", *at, "--image-tag", "v1", "--image-manifest", text,
                  "--image-manifest-media-type", OCI_MANIFEST)["image"]
        assert put["imageId"] == {"imageDigest": digest_of(text.encode()), "imageTag": "v1"}, put
        # The repository's tags cannot be moved.
        other = manifest_of(layers[1:], annotations={"other": "yes"})
        aws("put-image", *at, "--image-tag", "v1", "--image-manifest", other,
            fails="ImageTagAlreadyExistsException")
        got = aws("batch-get-image", *at, "--image-ids", "imageTag=v1")
        assert got["images"][0]["imageManifest"] == text, got
        assert aws("list-images", *at)["imageIds"] == [put["imageId"]]
        assert aws("describe-images", *at)["imageDetails"][0]["imageTags"] == ["v1"]
        url = aws("get-download-url-for-layer", *at, "--layer-digest", digest_of(layers[1]))
        assert url["downloadUrl"].startswith("http"), url
        gone = aws("batch-delete-image", *at, "--image-ids", "imageTag=v1")
        assert gone["imageIds"] == [put["imageId"]] and not gone["failures"], gone
        aws("delete-repository", *at, "--force")
        aws("describe-repositories", "--repository-names", name,
            fails="RepositoryNotFoundException")
    each(world, walk)


def test_a_login(world):
    def walk(aws, _name, _scratch):
        password = aws("get-login-password").strip()
        assert password and ":" not in password, password
        data = aws("get-authorization-token")["authorizationData"]
        assert len(data) == 1 and data[0]["proxyEndpoint"].startswith("http"), data
        me = aws("get-caller-identity", service="sts")
        assert me["Arn"] == f"arn:aws:iam::{world.accounts[0].id}:root", me
    each(world, walk)


def test_users(world):
    def walk(aws, name, _scratch):
        user = name.replace("/", "-")
        at = ("--user-name", user)
        made = aws("create-user", *at, service="iam")["User"]
        assert made["Arn"] == f"arn:aws:iam::{world.accounts[0].id}:user/{user}", made
        key = aws("create-access-key", *at, service="iam")["AccessKey"]
        aws("attach-user-policy", *at, "--policy-arn",
            "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly", service="iam")
        attached = aws("list-attached-user-policies", *at, service="iam")["AttachedPolicies"]
        assert [it["PolicyName"] for it in attached] == ["AmazonEC2ContainerRegistryReadOnly"]
        aws("delete-user", *at, service="iam", fails="DeleteConflict")
        aws("detach-user-policy", *at, "--policy-arn",
            "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly", service="iam")
        aws("delete-access-key", *at, "--access-key-id", key["AccessKeyId"], service="iam")
        aws("delete-user", *at, service="iam")
        aws("get-user", *at, service="iam", fails="NoSuchEntity")
    each(world, walk)
