"""The archive: an image goes there and comes back, and what is told of it meanwhile.
What one node has done, the other one tells."""

import base64
import json
import urllib.error
import urllib.request

from world import digest_of, fails, manifest_of, push_image, push_layer

REPOSITORY = "walk/archive"
TAGGED = {"repositoryName": REPOSITORY, "imageId": {"imageTag": "v1"}}


def pulled(world, reference, nth):
    """The status of a pull by `reference`, with the code of a refusal."""
    token = world.client("ecr", nth=nth).get_authorization_token()
    token = token["authorizationData"][0]["authorizationToken"]
    assert base64.b64decode(token).startswith(b"AWS:")
    request = urllib.request.Request(
        f"{world.endpoint(nth=nth)}/v2/{REPOSITORY}/manifests/{reference}",
        headers={"Authorization": f"Basic {token}",
                 "Accept": "application/vnd.oci.image.manifest.v1+json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["errors"][0]["code"]


def statuses(ecr, **wanted):
    found = ecr.describe_images(repositoryName=REPOSITORY, filter=wanted)["imageDetails"]
    return {it["imageDigest"]: it["imageStatus"] for it in found}


def test_an_image_goes_into_the_archive(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    ecr.create_repository(repositoryName=REPOSITORY)
    digest = digest_of(push_image(ecr, REPOSITORY, "v1", [b"only here"]).encode())
    stays = digest_of(push_image(ecr, REPOSITORY, "v2", [b"elsewhere"]).encode())
    gone = ecr.update_image_storage_class(**TAGGED, targetStorageClass="ARCHIVE")
    assert gone["imageStatus"] == "ARCHIVED", gone
    assert gone["imageId"] == {"imageDigest": digest, "imageTag": "v1"}, gone
    for nth in range(2):
        for reference in ("v1", digest):
            assert pulled(world, reference, nth) == (404, "MANIFEST_UNKNOWN")
        assert pulled(world, "v2", nth) == (200, None)
    assert statuses(other) == {stays: "ACTIVE"}
    assert statuses(other, imageStatus="ARCHIVED") == {digest: "ARCHIVED"}
    assert statuses(other, imageStatus="ANY") == {digest: "ARCHIVED", stays: "ACTIVE"}
    assert statuses(other, imageStatus="ACTIVATING") == {}
    told = other.describe_images(repositoryName=REPOSITORY, imageIds=[TAGGED["imageId"]])
    told = told["imageDetails"][0]
    assert told["imageStatus"] == "ARCHIVED" and told["lastArchivedAt"].year > 2000, told
    assert "lastActivatedAt" not in told, told
    listed = ecr.list_images(repositoryName=REPOSITORY)["imageIds"]
    assert [it["imageTag"] for it in listed] == ["v2"], listed
    listed = ecr.list_images(repositoryName=REPOSITORY, filter={"imageStatus": "ARCHIVED"})
    assert [it["imageTag"] for it in listed["imageIds"]] == ["v1"], listed


def test_what_is_told_of_it_by_who_pulls(world):
    ecr = world.client("ecr", nth=1)
    got = ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[TAGGED["imageId"]])
    assert [it["failureCode"] for it in got["failures"]] == ["ImageInaccessible"], got
    layers = [digest_of(b"only here"), digest_of(b"elsewhere"), digest_of(b"{}")]
    told = ecr.batch_check_layer_availability(repositoryName=REPOSITORY, layerDigests=layers)
    told = [it["layerAvailability"] for it in told["layers"]]
    assert told == ["ARCHIVED", "AVAILABLE", "AVAILABLE"], told
    fails("LayerInaccessibleException", lambda: ecr.get_download_url_for_layer(
        repositoryName=REPOSITORY, layerDigest=layers[0]))


def test_it_comes_back(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    back = other.update_image_storage_class(**TAGGED, targetStorageClass="STANDARD")
    assert back["imageStatus"] == "ACTIVE", back
    for nth in range(2):
        assert pulled(world, "v1", nth) == (200, None)
    told = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[TAGGED["imageId"]])
    told = told["imageDetails"][0]
    assert told["imageStatus"] == "ACTIVE", told
    assert told["lastActivatedAt"] >= told["lastArchivedAt"], told
    # A push does the same.
    ecr.update_image_storage_class(**TAGGED, targetStorageClass="ARCHIVE")
    push_image(other, REPOSITORY, "v1", [b"only here"])
    assert pulled(world, "v1", 0) == (200, None)


def test_what_belongs_together(world):
    ecr = world.client("ecr")
    layer = push_layer(ecr, REPOSITORY, b"child")
    assert layer == digest_of(b"child"), layer
    child = manifest_of([b"child"])
    ecr.put_image(repositoryName=REPOSITORY, imageManifest=child)
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json",
             "digest": digest_of(child.encode()), "size": len(child)}
    index = json.dumps({"schemaVersion": 2,
                        "mediaType": "application/vnd.oci.image.index.v1+json",
                        "manifests": [child]})
    ecr.put_image(repositoryName=REPOSITORY, imageManifest=index, imageTag="all")
    child = {"repositoryName": REPOSITORY, "imageId": {"imageDigest": child["digest"]}}
    fails("ImageStorageClassUpdateNotSupportedException",
          lambda: ecr.update_image_storage_class(**child, targetStorageClass="ARCHIVE"))
    every = {"repositoryName": REPOSITORY, "imageId": {"imageTag": "all"}}
    ecr.update_image_storage_class(**every, targetStorageClass="ARCHIVE")
    archived = statuses(ecr, imageStatus="ARCHIVED")
    assert set(archived) == {child["imageId"]["imageDigest"], digest_of(index.encode())}
    none = {"repositoryName": REPOSITORY, "imageId": {"imageTag": "none"}}
    fails("ImageNotFoundException",
          lambda: ecr.update_image_storage_class(**none, targetStorageClass="ARCHIVE"))
    none = {**every, "repositoryName": "walk/none"}
    fails("RepositoryNotFoundException",
          lambda: ecr.update_image_storage_class(**none, targetStorageClass="ARCHIVE"))


def test_a_preview_says_what_would_go_there(world):
    ecr = world.client("ecr")
    policy = json.dumps({"rules": [{
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "transition", "targetStorageClass": "archive"}}]})
    ecr.start_lifecycle_policy_preview(repositoryName=REPOSITORY, lifecyclePolicyText=policy)
    preview = ecr.get_lifecycle_policy_preview(repositoryName=REPOSITORY)
    found = preview["previewResults"][0]
    assert found["action"] == {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}, found
    assert found["storageClass"] == "STANDARD", found
    counts = preview["summary"]["transitioningImageTotalCounts"]
    assert counts == [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 1}], counts
