"""Repositories and what belongs to one, as Terraform asks: made, read, changed, read
again, deleted, read once more. What one node has done, the other one tells."""

import json

from world import fails, push_image

REPOSITORY = "walk/repositories"
POLICY = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Sid": "pull", "Effect": "Allow", "Principal": "*",
                   "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}],
})
LIFECYCLE = json.dumps({"rules": [
    {"rulePriority": 2, "description": "few", "action": {"type": "expire"},
     "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}},
    {"rulePriority": 1, "action": {"type": "expire"},
     "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed",
                   "countUnit": "days", "countNumber": 14}},
]})


def described(ecr):
    return ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]


def test_a_repository_is_made_and_read(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account = world.accounts[0].id
    made = ecr.create_repository(
        repositoryName=REPOSITORY,
        tags=[{"Key": "team", "Value": "walk"}],
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/walk"},
    )["repository"]
    assert made["repositoryArn"] == f"arn:aws:ecr:us-east-1:{account}:repository/{REPOSITORY}"
    assert made["registryId"] == account, made
    assert made["createdAt"].year > 2000, made
    read = described(other)
    # Each node tells its own address.
    assert made.pop("repositoryUri") == f"{world.host()}/{REPOSITORY}"
    read.pop("repositoryUri")
    assert read == made, read
    fails(
        "RepositoryAlreadyExistsException",
        lambda: other.create_repository(repositoryName=REPOSITORY),
        message=f"The repository with name '{REPOSITORY}' already exists in the registry with id "
                f"'{account}'",
        status=400,
    )


def test_another_account_s_repository_of_that_name_is_another_one(world):
    ecr = world.client("ecr")
    stranger = world.client("ecr", account=world.accounts[1])
    fails("RepositoryNotFoundException", lambda: described(stranger))
    fails(
        "AccessDeniedException",
        lambda: stranger.describe_repositories(
            registryId=world.accounts[0].id, repositoryNames=[REPOSITORY]),
    )
    stranger.create_repository(repositoryName=REPOSITORY)
    assert described(stranger)["imageTagMutability"] == "MUTABLE"
    stranger.delete_repository(repositoryName=REPOSITORY)
    assert described(ecr)["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"


def test_tags(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    arn = described(ecr)["repositoryArn"]
    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}])
    other.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "2"}])
    tags = ecr.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == [{"Key": "a", "Value": "2"}, {"Key": "team", "Value": "walk"}], tags
    ecr.untag_resource(resourceArn=arn, tagKeys=["a"])
    tags = other.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == [{"Key": "team", "Value": "walk"}], tags
    fails("InvalidTagParameterException", lambda: ecr.tag_resource(
        resourceArn=arn, tags=[{"Key": "aws:x", "Value": ""}]))
    fails("InvalidParameterException", lambda: ecr.list_tags_for_resource(resourceArn="x"))


def test_mutability_and_scanning(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    push_image(ecr, REPOSITORY, "v1", [b"one"])
    fails("ImageTagAlreadyExistsException", lambda: push_image(other, REPOSITORY, "v1", [b"two"]))
    push_image(ecr, REPOSITORY, "dev-1", [b"one"])
    push_image(ecr, REPOSITORY, "dev-1", [b"two"])
    set_to = other.put_image_tag_mutability(repositoryName=REPOSITORY,
                                            imageTagMutability="MUTABLE")
    assert set_to["imageTagMutability"] == "MUTABLE", set_to
    push_image(ecr, REPOSITORY, "v1", [b"two"])
    ecr.put_image_scanning_configuration(
        repositoryName=REPOSITORY, imageScanningConfiguration={"scanOnPush": False})
    read = described(other)
    assert read["imageScanningConfiguration"] == {"scanOnPush": False}, read
    assert "imageTagMutabilityExclusionFilters" not in read, read


def test_its_policy(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account = world.accounts[0].id
    missing = (f"Repository policy does not exist for the repository with name '{REPOSITORY}' in "
               f"the registry with id '{account}'")
    fails("RepositoryPolicyNotFoundException",
          lambda: ecr.get_repository_policy(repositoryName=REPOSITORY), message=missing)
    ecr.set_repository_policy(repositoryName=REPOSITORY, policyText=POLICY)
    read = other.get_repository_policy(repositoryName=REPOSITORY)
    assert read["policyText"] == POLICY, read
    fails(
        "InvalidParameterException",
        lambda: ecr.set_repository_policy(repositoryName=REPOSITORY, policyText="{}"),
        message="Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid "
                "repository policy provided'",
    )
    other.delete_repository_policy(repositoryName=REPOSITORY)
    fails("RepositoryPolicyNotFoundException",
          lambda: ecr.delete_repository_policy(repositoryName=REPOSITORY), message=missing)


def test_its_lifecycle_policy(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    put = ecr.put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=LIFECYCLE)
    read = other.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"]
    assert read == put["lifecyclePolicyText"], read
    assert [rule["rulePriority"] for rule in json.loads(read)["rules"]] == [1, 2], read
    wrong = json.loads(LIFECYCLE)
    wrong["rules"][0]["selection"]["countNumber"] = 0
    fails(
        "InvalidParameterException",
        lambda: ecr.put_lifecycle_policy(repositoryName=REPOSITORY,
                                         lifecyclePolicyText=json.dumps(wrong)),
        message="Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
                "'Lifecycle policy validation failure: numeric instance is lower than the "
                "required minimum (minimum: 1, found: 0)'",
    )
    fails("LifecyclePolicyPreviewNotFoundException",
          lambda: ecr.get_lifecycle_policy_preview(repositoryName=REPOSITORY))
    started = ecr.start_lifecycle_policy_preview(repositoryName=REPOSITORY)
    assert started["lifecyclePolicyText"] == read, started
    preview = other.get_lifecycle_policy_preview(repositoryName=REPOSITORY)
    assert preview["status"] == "COMPLETE", preview
    expiring = preview["summary"]["expiringImageTotalCount"]
    assert expiring == len(preview["previewResults"]), preview
    other.delete_lifecycle_policy(repositoryName=REPOSITORY)
    fails("LifecyclePolicyNotFoundException",
          lambda: ecr.get_lifecycle_policy(repositoryName=REPOSITORY))


def test_what_is_told_of_an_image(world):
    ecr = world.client("ecr")
    image = {"repositoryName": REPOSITORY, "imageId": {"imageTag": "v1"}}
    told = ecr.describe_image_replication_status(**image)
    assert told["replicationStatuses"] == [], told
    fails("ValidationException", lambda: ecr.describe_image_scan_findings(**image))
    fails("ValidationException", lambda: ecr.start_image_scan(**image))
    assert ecr.describe_image_signing_status(**image)["signingStatuses"] == []
    image["imageId"] = {"imageTag": "none"}
    fails("ImageNotFoundException", lambda: ecr.describe_image_replication_status(**image))


def test_repositories_are_paged(world):
    ecr = world.client("ecr")
    names = [f"walk/page-{number}" for number in range(7)]
    for name in names:
        ecr.create_repository(repositoryName=name)
    pages = ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 3})
    found = [it["repositoryName"] for page in pages for it in page["repositories"]]
    assert found == sorted(found) and set(names) <= set(found), found
    fails("InvalidParameterException",
          lambda: ecr.describe_repositories(repositoryNames=names[:1], maxResults=1))


def test_it_is_deleted(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account = world.accounts[0].id
    fails(
        "RepositoryNotEmptyException",
        lambda: ecr.delete_repository(repositoryName=REPOSITORY),
        message=f"The repository with name '{REPOSITORY}' in registry with id '{account}' cannot "
                "be deleted because it still contains images",
    )
    deleted = other.delete_repository(repositoryName=REPOSITORY, force=True)["repository"]
    assert deleted["repositoryName"] == REPOSITORY, deleted
    fails("RepositoryNotFoundException", lambda: described(ecr))
    fails("RepositoryNotFoundException",
          lambda: ecr.delete_repository(repositoryName=REPOSITORY, force=True))
