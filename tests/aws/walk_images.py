"""Layers and images through ECR's API."""

import json
import urllib.error
import urllib.request

from world import OCI_INDEX, digest_of, fails, manifest_of, push_image, push_layer

REPOSITORY = "walk/images"


def test_a_repository_that_is_not_there(world):
    ecr = world.client("ecr")
    account = world.accounts[0].id
    fails(
        "RepositoryNotFoundException",
        lambda: ecr.list_images(repositoryName="nowhere"),
        message=f"The repository with name 'nowhere' does not exist in the registry with id "
                f"'{account}'",
        status=400,
    )
    ecr.create_repository(repositoryName=REPOSITORY)


def test_layers_come_in_parts(world):
    ecr = world.client("ecr")
    content = bytes(range(256)) * 40_000
    digest = push_layer(ecr, REPOSITORY, content, part=5 * 1024 * 1024)
    other = world.client("ecr", nth=1)
    missing = digest_of(b"never sent")
    found = other.batch_check_layer_availability(
        repositoryName=REPOSITORY, layerDigests=[digest, missing, "sha256:xy"]
    )
    found.pop("ResponseMetadata")
    assert found["layers"] == [
        {"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": len(content)},
        {"layerDigest": missing, "layerAvailability": "UNAVAILABLE"},
    ], found
    assert [it["failureCode"] for it in found["failures"]] == ["InvalidLayerDigest"], found


def test_a_part_that_does_not_follow(world):
    ecr = world.client("ecr")
    upload = ecr.initiate_layer_upload(repositoryName=REPOSITORY)["uploadId"]
    refused = fails(
        "InvalidLayerPartException",
        lambda: ecr.upload_layer_part(
            repositoryName=REPOSITORY, uploadId=upload, partFirstByte=5, partLastByte=9,
            layerPartBlob=b"12345",
        ),
    )
    assert refused["repositoryName"] == REPOSITORY and refused["uploadId"] == upload, refused
    fails(
        "EmptyUploadException",
        lambda: ecr.complete_layer_upload(
            repositoryName=REPOSITORY, uploadId=upload, layerDigests=[digest_of(b"")]
        ),
    )
    fails(
        "UploadNotFoundException",
        lambda: ecr.upload_layer_part(
            repositoryName=REPOSITORY, uploadId="6d2f4f4e-1111-4222-8333-944444444444",
            partFirstByte=0, partLastByte=1, layerPartBlob=b"12",
        ),
    )


def test_a_digest_that_is_not_the_content_s(world):
    ecr = world.client("ecr")
    upload = ecr.initiate_layer_upload(repositoryName=REPOSITORY)["uploadId"]
    ecr.upload_layer_part(repositoryName=REPOSITORY, uploadId=upload, partFirstByte=0,
                          partLastByte=2, layerPartBlob=b"abc")
    fails(
        "InvalidLayerException",
        lambda: ecr.complete_layer_upload(
            repositoryName=REPOSITORY, uploadId=upload, layerDigests=[digest_of(b"abd")]
        ),
    )


def test_an_image_is_put_and_got_as_it_is(world):
    ecr = world.client("ecr")
    text = push_image(ecr, REPOSITORY, "v1", [b"layer one", b"layer two"])
    other = world.client("ecr", nth=1)
    got = other.batch_get_image(
        repositoryName=REPOSITORY,
        imageIds=[{"imageTag": "v1"}, {"imageDigest": digest_of(text.encode())},
                  {"imageTag": "none"}, {"imageDigest": digest_of(b"no image")},
                  {"imageTag": "v1", "imageDigest": digest_of(b"no image")}],
    )
    assert [it["imageManifest"] for it in got["images"]] == [text, text], got
    assert [it["failureCode"] for it in got["failures"]] == [
        "ImageNotFound", "ImageNotFound", "ImageTagDoesNotMatchDigest"], got


def test_the_same_image_again(world):
    ecr = world.client("ecr")
    text = manifest_of([b"layer one", b"layer two"])
    digest = digest_of(text.encode())
    account = world.accounts[0].id
    fails(
        "ImageAlreadyExistsException",
        lambda: ecr.put_image(repositoryName=REPOSITORY, imageManifest=text, imageTag="v1"),
        message=f"Image with digest '{digest}' and tag 'v1' already exists in the repository with "
                f"name '{REPOSITORY}' in registry with id '{account}'",
    )
    again = ecr.put_image(repositoryName=REPOSITORY, imageManifest=text, imageTag="v2")
    assert again["image"]["imageId"] == {"imageDigest": digest, "imageTag": "v2"}, again


def test_a_layer_is_downloaded_from_an_address_of_its_own(world):
    ecr = world.client("ecr")
    content = b"layer one"
    digest = digest_of(content)
    told = ecr.get_download_url_for_layer(repositoryName=REPOSITORY, layerDigest=digest)
    assert told["layerDigest"] == digest, told
    url = told["downloadUrl"]
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == content
    part = urllib.request.Request(url, headers={"Range": "bytes=6-8"})
    with urllib.request.urlopen(part) as answer:
        assert answer.status == 206 and answer.read() == b"one"
    # At the other node too; for another layer nowhere.
    with urllib.request.urlopen(url.replace(world.host(), world.host(nth=1))) as answer:
        assert answer.read() == content
    try:
        urllib.request.urlopen(url.replace(digest, digest_of(b"layer two")))
    except urllib.error.HTTPError as error:
        assert error.code == 403, error
        assert b"layer two" not in error.read()
    else:
        raise AssertionError("an address was good for another layer")
    for wrong, code in ((digest_of(b"never sent"), "LayersNotFoundException"),
                        ("sha256:xy", "InvalidParameterException")):
        fails(code, lambda wrong=wrong: ecr.get_download_url_for_layer(
            repositoryName=REPOSITORY, layerDigest=wrong))


def test_an_image_without_its_layers(world):
    ecr = world.client("ecr")
    fails(
        "LayersNotFoundException",
        lambda: ecr.put_image(
            repositoryName=REPOSITORY, imageManifest=manifest_of([b"never pushed"]),
            imageTag="broken",
        ),
    )
    fails(
        "ImageDigestDoesNotMatchException",
        lambda: ecr.put_image(
            repositoryName=REPOSITORY, imageManifest=manifest_of([b"layer one"]),
            imageDigest=digest_of(b"another"),
        ),
    )


def test_images_are_listed_and_described(world):
    ecr = world.client("ecr")
    for number in range(5):
        push_image(ecr, REPOSITORY, f"many-{number}", [f"many {number}".encode()])
    untagged = push_image(ecr, REPOSITORY, None, [b"no tag"])
    pages = ecr.get_paginator("list_images").paginate(
        repositoryName=REPOSITORY, PaginationConfig={"PageSize": 2}
    )
    listed = [image for page in pages for image in page["imageIds"]]
    tags = sorted(image["imageTag"] for image in listed if "imageTag" in image)
    assert tags == ["many-0", "many-1", "many-2", "many-3", "many-4", "v1", "v2"], listed
    only = ecr.list_images(repositoryName=REPOSITORY, filter={"tagStatus": "UNTAGGED"})
    assert only["imageIds"] == [{"imageDigest": digest_of(untagged.encode())}], only
    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName=REPOSITORY, PaginationConfig={"PageSize": 3}
    )
    details = [image for page in pages for image in page["imageDetails"]]
    assert len(details) == 7, details
    one = next(it for it in details if "v1" in it.get("imageTags", []))
    assert one["imageTags"] == ["v1", "v2"] and one["imageStatus"] == "ACTIVE", one
    assert one["imageSizeInBytes"] == len(b"{}layer onelayer two"), one
    fails(
        "ImageNotFoundException",
        lambda: ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": "none"}]),
        message="The image with imageId {imageDigest:'null', imageTag:'none'} does not exist "
                f"within the repository with name '{REPOSITORY}' in the registry with id "
                f"'{world.accounts[0].id}'",
    )


def test_referrers_are_listed(world):
    ecr = world.client("ecr")
    text = manifest_of([b"layer one", b"layer two"])
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json",
               "digest": digest_of(text.encode()), "size": len(text)}
    signature = push_image(ecr, REPOSITORY, None, [b"signature"], subject=subject,
                           artifactType="application/example.signature",
                           annotations={"by": "walk"})
    found = ecr.list_image_referrers(
        repositoryName=REPOSITORY, subjectId={"imageDigest": subject["digest"]}
    )["referrers"]
    assert [it["digest"] for it in found] == [digest_of(signature.encode())], found
    assert found[0]["artifactType"] == "application/example.signature", found
    assert found[0]["annotations"] == {"by": "walk"}, found


def test_images_are_deleted(world):
    ecr = world.client("ecr")
    text = manifest_of([b"many 0"])
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json",
             "digest": digest_of(text.encode()), "size": len(text)}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]})
    ecr.put_image(repositoryName=REPOSITORY, imageManifest=index, imageTag="index")
    gone = ecr.batch_delete_image(
        repositoryName=REPOSITORY,
        imageIds=[{"imageTag": "many-1"}, {"imageDigest": child["digest"]}, {"imageTag": "none"},
                  {}],
    )
    assert [it["imageTag"] for it in gone["imageIds"]] == ["many-1"], gone
    assert [it["failureCode"] for it in gone["failures"]] == [
        "ImageReferencedByManifestList", "ImageNotFound", "MissingDigestAndTag"], gone
    # The last tag takes the image along.
    left = ecr.batch_get_image(
        repositoryName=REPOSITORY,
        imageIds=[{"imageDigest": digest_of(manifest_of([b"many 1"]).encode())}],
    )
    assert not left["images"] and left["failures"][0]["failureCode"] == "ImageNotFound", left
    # One tag of two does not.
    ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v2"}])
    assert ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])["images"]
