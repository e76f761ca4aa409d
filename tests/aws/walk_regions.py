"""Registries of two regions, each asked through nodes of both."""

import urllib.request

from world import digest_of, fails, push_image

US, EU = "us-east-1", "eu-west-1"
REPOSITORY = "walk/regions"


def test_a_registry_is_its_region_s(world):
    for region in (US, EU):
        world.client("ecr", region=region).create_repository(repositoryName=REPOSITORY)
    text = push_image(world.client("ecr", region=EU), REPOSITORY, "eu", [b"in europe"])
    assert not world.client("ecr", region=US).list_images(repositoryName=REPOSITORY)["imageIds"]
    found = world.client("ecr", region=EU).list_images(repositoryName=REPOSITORY)["imageIds"]
    assert found == [{"imageDigest": digest_of(text.encode()), "imageTag": "eu"}], found


def test_any_node_passes_a_request_on_to_its_region(world):
    through_us = world.client("ecr", region=EU, endpoint=world.endpoint(US))
    text = push_image(through_us, REPOSITORY, "through", [bytes(range(256)) * 20_000])
    direct = world.client("ecr", region=EU)
    got = direct.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "through"}])
    assert got["images"][0]["imageManifest"] == text, got
    described = through_us.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    assert described["repositoryArn"].split(":")[3] == EU, described


def test_a_layer_is_downloaded_through_any_node(world):
    through_us = world.client("ecr", region=EU, endpoint=world.endpoint(US))
    url = through_us.get_download_url_for_layer(
        repositoryName=REPOSITORY, layerDigest=digest_of(b"in europe"))["downloadUrl"]
    assert world.host(US) in url, url
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"in europe"


def test_a_signature_is_checked_where_it_arrives(world):
    stranger = {"AccessKeyId": world.accounts[0].key_id, "SecretAccessKey": "x" * 40}
    client = world.client("ecr", region=EU, endpoint=world.endpoint(US), keys=stranger)
    fails("InvalidSignatureException", lambda: client.list_images(repositoryName=REPOSITORY))


def test_a_region_that_is_not_there(world):
    nowhere = world.client("ecr", region="ap-south-1", endpoint=world.endpoint(US))
    fails(
        "InvalidSignatureException",
        lambda: nowhere.list_images(repositoryName=REPOSITORY),
        message="Credential should be scoped to a valid Region, not 'ap-south-1'.",
    )
