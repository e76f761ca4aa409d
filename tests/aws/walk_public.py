"""ECR Public: every operation, and that a repository of the same name in the private
registry is another one."""

import base64
import json
import os

from world import OCI_MANIFEST, digest_of, fails, manifest_of, push_image, push_layer

REPOSITORY = "walk/public"
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Sid": "push", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::444455556666:root"},
    "Action": ["ecr-public:BatchCheckLayerAvailability", "ecr-public:InitiateLayerUpload",
               "ecr-public:UploadLayerPart", "ecr-public:CompleteLayerUpload",
               "ecr-public:PutImage"]}]})
LOGO = bytes(range(256)) * 100


def alias_of(account):
    return account.id.translate(str.maketrans("0123456789", "abcdefghij"))


def arn_of(world, name=REPOSITORY):
    return f"arn:aws:ecr-public::{world.accounts[0].id}:repository/{name}"


def test_a_registry_and_its_name(world):
    public, account = world.client("ecr-public"), world.accounts[0]
    found = public.describe_registries()["registries"]
    assert found == [{
        "registryId": account.id,
        "registryArn": f"arn:aws:ecr-public::{account.id}:registry/{account.id}",
        "registryUri": f"public.{world.host()}/{alias_of(account)}",
        "verified": False,
        "aliases": [{"name": alias_of(account), "status": "ACTIVE",
                     "primaryRegistryAlias": True, "defaultRegistryAlias": True}],
    }], found
    assert public.get_registry_catalog_data()["registryCatalogData"] == {}
    put = public.put_registry_catalog_data(displayName="Walkers & Co.")
    assert put["registryCatalogData"] == {"displayName": "Walkers & Co."}, put
    other = world.client("ecr-public", nth=1)
    assert other.get_registry_catalog_data()["registryCatalogData"] == put["registryCatalogData"]
    fails("InvalidParameterException",
          lambda: public.put_registry_catalog_data(displayName="x" * 101))


def test_a_repository_is_made_and_read(world):
    public, other = world.client("ecr-public"), world.client("ecr-public", nth=1)
    account = world.accounts[0]
    catalog = {"description": "walks", "architectures": ["ARM 64", "x86-64"],
               "operatingSystems": ["Linux"], "aboutText": "# About", "usageText": "# Usage",
               "logoImageBlob": LOGO}
    made = public.create_repository(
        repositoryName=REPOSITORY, catalogData=catalog, tags=[{"Key": "team", "Value": "walk"}])
    repository = made["repository"]
    assert repository["repositoryArn"] == arn_of(world), made
    assert repository["registryId"] == account.id, made
    uri = f"public.{world.host()}/{alias_of(account)}/{REPOSITORY}"
    assert repository["repositoryUri"] == uri, made
    told = made["catalogData"]
    logo = told.pop("logoUrl")
    assert logo.endswith(f"/v2/{alias_of(account)}/{REPOSITORY}/blobs/{digest_of(LOGO)}"), logo
    assert told.pop("marketplaceCertified") is False
    assert told == {name: it for name, it in catalog.items() if name != "logoImageBlob"}, told
    read = other.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    assert read["createdAt"] == repository["createdAt"], read
    listed = public.describe_repositories(registryId=account.id)["repositories"]
    assert [it["repositoryName"] for it in listed] == [REPOSITORY], listed
    fails(
        "RepositoryAlreadyExistsException",
        lambda: other.create_repository(repositoryName=REPOSITORY),
        message=f"The repository with name '{REPOSITORY}' already exists in the registry with id "
                f"'{account.id}'",
    )
    fails("InvalidParameterException",
          lambda: public.create_repository(repositoryName="with__two"))
    fails("InvalidParameterException",
          lambda: public.create_repository(repositoryName="a" * 206))
    fails("RepositoryNotFoundException",
          lambda: public.describe_repositories(repositoryNames=["nowhere"]))


def test_the_private_registry_has_nothing_of_it(world):
    private = world.client("ecr")
    fails("RepositoryNotFoundException",
          lambda: private.describe_repositories(repositoryNames=[REPOSITORY]))
    private.create_repository(repositoryName=REPOSITORY)
    push_image(private, REPOSITORY, "private", [b"private layer"])
    public = world.client("ecr-public")
    assert public.describe_images(repositoryName=REPOSITORY)["imageDetails"] == []
    found = public.batch_check_layer_availability(
        repositoryName=REPOSITORY, layerDigests=[digest_of(b"private layer")])
    assert found["layers"][0]["layerAvailability"] == "UNAVAILABLE", found
    text = manifest_of([b"private layer"])
    fails("LayersNotFoundException",
          lambda: public.put_image(repositoryName=REPOSITORY, imageManifest=text))


def test_catalog_data(world):
    public, other = world.client("ecr-public"), world.client("ecr-public", nth=1)
    put = public.put_repository_catalog_data(
        repositoryName=REPOSITORY, catalogData={"description": "other", "aboutText": "a" * 25_600})
    assert put["catalogData"]["description"] == "other" and "logoUrl" not in put["catalogData"]
    got = other.get_repository_catalog_data(repositoryName=REPOSITORY)
    assert got["catalogData"] == put["catalogData"], got
    for wrong in ({"description": "d" * 1025}, {"usageText": "u" * 25_601},
                  {"architectures": [""]}, {"logoImageBlob": b"x" * 512_001}):
        fails("InvalidParameterException", lambda: public.put_repository_catalog_data(
            repositoryName=REPOSITORY, catalogData=wrong))  # noqa: B023
    public.create_repository(repositoryName="walk/bare")
    fails("RepositoryCatalogDataNotFoundException",
          lambda: public.get_repository_catalog_data(repositoryName="walk/bare"))
    public.delete_repository(repositoryName="walk/bare")
    fails("RepositoryNotFoundException",
          lambda: public.get_repository_catalog_data(repositoryName="walk/bare"))


def test_tags_of_a_repository(world):
    public, arn = world.client("ecr-public"), arn_of(world)
    public.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}])
    tags = public.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "team", "Value": "walk"}], tags
    public.untag_resource(resourceArn=arn, tagKeys=["a"])
    tags = public.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == [{"Key": "team", "Value": "walk"}], tags
    private = world.client("ecr")
    private_arn = f"arn:aws:ecr:us-east-1:{world.accounts[0].id}:repository/{REPOSITORY}"
    assert private.list_tags_for_resource(resourceArn=private_arn)["tags"] == []
    for client, wrong in ((public, private_arn), (private, arn)):
        fails("InvalidParameterException",
              lambda: client.list_tags_for_resource(resourceArn=wrong))  # noqa: B023


def test_images(world):
    public, other = world.client("ecr-public"), world.client("ecr-public", nth=1)
    content = bytes(range(256)) * 30_000
    push_layer(public, REPOSITORY, content, part=5 * 1024 * 1024)
    first = push_image(public, REPOSITORY, "v1", [b"one"])
    second = push_image(public, REPOSITORY, "v2", [b"two"])
    public.put_image(repositoryName=REPOSITORY, imageManifest=second, imageTag="latest")
    found = other.describe_images(repositoryName=REPOSITORY)["imageDetails"]
    tags = {it["imageDigest"]: sorted(it["imageTags"]) for it in found}
    digests = [digest_of(text.encode()) for text in (first, second)]
    assert tags == {digests[0]: ["v1"], digests[1]: ["latest", "v2"]}, found
    pages = other.get_paginator("describe_image_tags").paginate(
        repositoryName=REPOSITORY, PaginationConfig={"PageSize": 2})
    pages = [page["imageTagDetails"] for page in pages]
    assert [[it["imageTag"] for it in page] for page in pages] == [["latest", "v1"], ["v2"]], pages
    detail = pages[1][0]["imageDetail"]
    assert detail["imageDigest"] == digests[1], detail
    assert detail["imageManifestMediaType"] == OCI_MANIFEST, detail
    fails("ImageNotFoundException", lambda: other.describe_images(
        repositoryName=REPOSITORY, imageIds=[{"imageTag": "none"}]))
    done = public.batch_delete_image(
        repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}, {"imageTag": "none"}])
    assert done["imageIds"] == [{"imageDigest": digests[0], "imageTag": "v1"}], done
    assert done["failures"][0]["failureCode"] == "ImageNotFound", done
    fails("RepositoryNotEmptyException",
          lambda: public.delete_repository(repositoryName=REPOSITORY))


def test_a_registry_by_its_alias_and_another_one(world):
    public, account = world.client("ecr-public"), world.accounts[0]
    upload = public.initiate_layer_upload(
        registryId=alias_of(account), repositoryName=REPOSITORY)
    assert upload["partSize"] > 0, upload
    for wrong in ("nobody", "walkers", account.id[:11] + "x"):
        fails("RegistryNotFoundException", lambda: public.initiate_layer_upload(
            registryId=wrong, repositoryName=REPOSITORY))  # noqa: B023
    stranger = world.client("ecr-public", account=world.accounts[1])
    fails("RepositoryNotFoundException",
          lambda: stranger.describe_images(repositoryName=REPOSITORY))
    for registry in (account.id, alias_of(account)):
        for name in (REPOSITORY, "walk/none"):
            fails("AccessDeniedException", lambda: stranger.initiate_layer_upload(
                registryId=registry, repositoryName=name))  # noqa: B023
    fails("AccessDeniedException", lambda: stranger.describe_images(
        registryId=account.id, repositoryName=REPOSITORY))


def test_policies(world):
    public = world.client("ecr-public")
    fails("RepositoryPolicyNotFoundException",
          lambda: public.get_repository_policy(repositoryName=REPOSITORY))
    policy = POLICY.replace("444455556666", world.accounts[1].id)
    public.set_repository_policy(repositoryName=REPOSITORY, policyText=policy)
    got = public.get_repository_policy(repositoryName=REPOSITORY)
    assert json.loads(got["policyText"]) == json.loads(policy), got
    stranger = world.client("ecr-public", account=world.accounts[1])
    stranger.initiate_layer_upload(
        registryId=alias_of(world.accounts[0]), repositoryName=REPOSITORY)
    fails("AccessDeniedException", lambda: world.client(
        "ecr", account=world.accounts[1]).initiate_layer_upload(
            registryId=world.accounts[0].id, repositoryName=REPOSITORY))
    public.delete_repository_policy(repositoryName=REPOSITORY)
    fails("AccessDeniedException", lambda: stranger.initiate_layer_upload(
        registryId=world.accounts[0].id, repositoryName=REPOSITORY))


def test_every_region_tells_of_the_same(world):
    far = world.client("ecr-public", region="eu-west-1")
    found = far.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    assert found["repositoryArn"] == arn_of(world), found
    far.create_repository(repositoryName="walk/far")
    near = world.client("ecr-public")
    names = [it["repositoryName"] for it in near.describe_repositories()["repositories"]]
    assert names == ["walk/far", REPOSITORY], names
    far.delete_repository(repositoryName="walk/far")


def test_a_password(world):
    public = world.client("ecr-public")
    given = public.get_authorization_token()["authorizationData"]
    assert set(given) == {"authorizationToken", "expiresAt"}, given
    user, password = base64.b64decode(given["authorizationToken"]).decode().split(":")
    assert user == "AWS" and len(password) > 100


def test_it_goes_and_the_private_one_stays(world):
    public = world.client("ecr-public")
    gone = public.delete_repository(repositoryName=REPOSITORY, force=True)["repository"]
    assert gone["repositoryArn"] == arn_of(world), gone
    fails("RepositoryNotFoundException",
          lambda: public.describe_images(repositoryName=REPOSITORY))
    private = world.client("ecr")
    assert private.describe_images(repositoryName=REPOSITORY)["imageDetails"][0]["imageTags"] == [
        "private"]


def test_the_aws_programs(world):
    for program in ("aws-pypi", "aws-debian"):
        commands(world, program, f"cli/{program}", os.path.join(world.scratch, program))


def commands(world, program, name, scratch):
    def aws(command, *words, **more):
        return world.aws(program, "ecr-public", command, *words, **more)

    def file_of(what, content):
        path = f"{scratch}-{what}"
        with open(path, "wb") as file:
            file.write(content)
        return path

    at = ("--repository-name", name)
    assert aws("describe-registries")["registries"][0]["registryId"] == world.accounts[0].id
    aws("put-registry-catalog-data", "--display-name", program)
    assert aws("get-registry-catalog-data")["registryCatalogData"]["displayName"] == program
    made = aws("create-repository", *at, "--catalog-data", "description=cli", "--tags",
               "Key=team,Value=a")["repository"]
    arn = ("--resource-arn", made["repositoryArn"])
    aws("create-repository", *at, fails="RepositoryAlreadyExistsException")
    aws("describe-repositories", "--repository-names", name)
    aws("put-repository-catalog-data", *at, "--catalog-data", "usageText=run")
    assert aws("get-repository-catalog-data", *at)["catalogData"]["usageText"] == "run"
    aws("tag-resource", *arn, "--tags", "Key=env,Value=test")
    aws("untag-resource", *arn, "--tag-keys", "team")
    assert aws("list-tags-for-resource", *arn)["tags"] == [{"Key": "env", "Value": "test"}]
    policy = POLICY.replace("444455556666", world.accounts[1].id)
    aws("set-repository-policy", *at, "--policy-text", policy)
    aws("get-repository-policy", *at)
    aws("delete-repository-policy", *at)
    for what, content in (("layer", b"a layer of " + name.encode()), ("config", b"{}")):
        upload = aws("initiate-layer-upload", *at)["uploadId"]
        aws("upload-layer-part", *at, "--upload-id", upload, "--part-first-byte", "0",
            "--part-last-byte", str(len(content) - 1), "--layer-part-blob",
            f"fileb://{file_of(what, content)}")
        aws("complete-layer-upload", *at, "--upload-id", upload, "--layer-digests",
            digest_of(content))
    layer = b"a layer of " + name.encode()
    found = aws("batch-check-layer-availability", *at, "--layer-digests", digest_of(layer))
    assert found["layers"][0]["layerAvailability"] == "AVAILABLE", found
    manifest = file_of("manifest", manifest_of([layer]).encode())
    aws("put-image", *at, "--image-manifest", f"file://{manifest}", "--image-tag", "v1")
    assert aws("describe-images", *at)["imageDetails"][0]["imageTags"] == ["v1"]
    assert aws("describe-image-tags", *at)["imageTagDetails"][0]["imageTag"] == "v1"
    aws("batch-delete-image", *at, "--image-ids", "imageTag=v1")
    assert len(aws("get-authorization-token")["authorizationData"]["authorizationToken"]) > 100
    assert len(aws("get-login-password").strip()) > 100
    aws("delete-repository", *at, "--force")
