"""What a registry is configured with: each is made, read at the other node, changed,
read again, deleted, and read once more."""

import json

from world import eventually, fails, push_image

US, EU = "us-east-1", "eu-west-1"


def test_its_policy(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account, stranger = (it.id for it in world.accounts)
    missing = f"Registry policy does not exist in the registry with id '{account}'"
    fails("RegistryPolicyNotFoundException", ecr.get_registry_policy, message=missing)
    text = json.dumps({"Version": "2012-10-17", "Statement": [{
        "Sid": "in", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{stranger}:root"},
        "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"],
        "Resource": f"arn:aws:ecr:us-east-1:{account}:repository/*"}]})
    ecr.put_registry_policy(policyText=text)
    assert other.get_registry_policy()["policyText"] == text
    fails("InvalidParameterException", lambda: ecr.put_registry_policy(policyText="[]"))
    assert other.delete_registry_policy()["policyText"] == text
    fails("RegistryPolicyNotFoundException", ecr.delete_registry_policy, message=missing)


def test_account_settings(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    for name, default, value in [
        ("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", "AWS_NATIVE"),
        ("REGISTRY_POLICY_SCOPE", "V2", "V1"),
        ("BLOB_MOUNTING", "ENABLED", "DISABLED"),
    ]:
        assert ecr.get_account_setting(name=name)["value"] == default
        ecr.put_account_setting(name=name, value=value)
        assert other.get_account_setting(name=name)["value"] == value
        ecr.put_account_setting(name=name, value=default)
    fails("InvalidParameterException", lambda: ecr.get_account_setting(name="COLOUR"))
    fails("InvalidParameterException",
          lambda: ecr.put_account_setting(name="BLOB_MOUNTING", value="PERHAPS"))


def test_replication(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account = world.accounts[0].id
    assert ecr.describe_registry()["replicationConfiguration"] == {"rules": []}
    filters = [{"filter": "walk/b", "filterType": "PREFIX_MATCH"},
               {"filter": "walk/a", "filterType": "PREFIX_MATCH"}]
    configuration = {"rules": [{"destinations": [{"region": EU, "registryId": account}],
                                "repositoryFilters": filters}]}
    ecr.put_replication_configuration(replicationConfiguration=configuration)
    assert other.describe_registry()["replicationConfiguration"] == configuration
    ecr.create_repository(repositoryName="walk/app")
    text = push_image(ecr, "walk/app", "v1", [b"to europe"])
    image = {"repositoryName": "walk/app", "imageId": {"imageTag": "v1"}}

    def complete():
        told = other.describe_image_replication_status(**image)["replicationStatuses"]
        assert [(it["region"], it["registryId"]) for it in told] == [(EU, account)], told
        return told[0]["status"] == "COMPLETE"
    eventually(complete)
    there = world.client("ecr", region=EU)
    got = there.batch_get_image(repositoryName="walk/app", imageIds=[image["imageId"]])
    assert got["images"][0]["imageManifest"] == text, got
    # What cannot be done is refused, and changes nothing.
    fails(
        "InvalidParameterException",
        lambda: ecr.put_replication_configuration(replicationConfiguration={
            "rules": [{"destinations": [{"region": US, "registryId": account}]}]}),
        message="Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: "
                "'Replication destination cannot be the same as the source registry'",
    )
    assert other.describe_registry()["replicationConfiguration"] == configuration
    ecr.put_replication_configuration(replicationConfiguration={"rules": []})
    assert other.describe_registry()["replicationConfiguration"] == {"rules": []}


def test_backfills(world):
    """What was there before the rule is replicated as well."""
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    account = world.accounts[0].id
    destination = {"region": EU, "registryId": account}
    ecr.create_repository(repositoryName="filled/app")
    texts = {tag: push_image(ecr, "filled/app", tag, [tag.encode()]) for tag in ("v1", "v2", "v3")}
    unknown = (f"The destination with region '{EU}' and registry id '{account}' is not configured "
               f"in the replication configuration of the registry with id '{account}'")
    fails("ValidationException",
          lambda: ecr.start_replication_backfill(destination=destination), message=unknown)
    ecr.put_replication_configuration(replicationConfiguration={"rules": [{
        "destinations": [destination],
        "repositoryFilters": [{"filter": "filled/", "filterType": "PREFIX_MATCH"}]}]})
    begun = ecr.start_replication_backfill(destination=destination)
    assert begun["status"] == "PREPARING" and begun["registryId"] == account, begun
    assert begun["destination"] == destination, begun
    backfill = {"replicationBackfillId": begun["replicationBackfillId"]}

    def ended():
        told = other.describe_replication_backfill_results(**backfill)
        assert told["status"] in ("PREPARING", "IN_PROGRESS", "COMPLETE"), told
        assert ("progress" in told) or told["status"] == "PREPARING", told
        return told if "endedAt" in told else None
    told = eventually(ended)
    assert told["status"] == "COMPLETE" and told["endedAt"] >= told["startedAt"], told
    assert told["progress"] == {"totalReplicationCount": 3, "completedReplicationCount": 3,
                                "failedReplicationCount": 0, "failureCodes": []}, told
    tags = {it["imageId"]["imageTag"]: it for it in told["results"]}
    assert sorted(tags) == ["v1", "v2", "v3"], told
    assert all(it["status"] == "COMPLETE" and it["repositoryName"] == "filled/app"
               for it in told["results"]), told
    there = world.client("ecr", region=EU)
    for tag, text in texts.items():
        got = there.batch_get_image(repositoryName="filled/app", imageIds=[{"imageTag": tag}])
        assert got["images"][0]["imageManifest"] == text, got
    # Pages, filters and the list.
    pages = other.get_paginator("describe_replication_backfill_results").paginate(
        **backfill, PaginationConfig={"PageSize": 2})
    assert [len(page["results"]) for page in pages] == [2, 1]
    failed = other.describe_replication_backfill_results(**backfill, resultStatusFilter="FAILED")
    assert failed["results"] == [], failed
    listed = other.list_replication_backfills(maxResults=1)["backfills"]
    assert [it["replicationBackfillId"] for it in listed] == list(backfill.values()), listed
    assert listed[0]["status"] == "COMPLETE" and listed[0]["progress"] == told["progress"], listed
    fails("ReplicationBackfillInvalidStatusException",
          lambda: ecr.stop_replication_backfill(**backfill))
    nobody_s = {"replicationBackfillId": "6d2f4f4e-1111-4222-8333-944444444444"}
    for call in (ecr.stop_replication_backfill, ecr.describe_replication_backfill_results):
        fails("ReplicationBackfillNotFoundException", lambda: call(**nobody_s))
    # One at a time to a region: stopped, or over by itself.
    second = ecr.start_replication_backfill(destination=destination)
    try:
        stopped = ecr.stop_replication_backfill(
            replicationBackfillId=second["replicationBackfillId"])
        assert stopped["status"] in ("STOPPING", "STOPPED"), stopped
    except ecr.exceptions.ReplicationBackfillInvalidStatusException:
        pass
    fails("InvalidParameterException", lambda: ecr.list_replication_backfills(nextToken="wrong"))
    ecr.put_replication_configuration(replicationConfiguration={"rules": []})


def status_of(ecr, image):
    told = ecr.describe_image_replication_status(**image)["replicationStatuses"]
    return {(it["region"], it["registryId"]): it for it in told}


def test_replication_to_another_account(world):
    """Denied without a policy of the destination's, and told so; done once there is one."""
    ecr = world.client("ecr")
    account, stranger = world.accounts[:2]
    theirs = world.client("ecr", account=stranger, region=EU)
    rule = {"destinations": [{"region": EU, "registryId": account.id},
                             {"region": EU, "registryId": stranger.id}],
            "repositoryFilters": [{"filter": "crossed/", "filterType": "PREFIX_MATCH"}],
            "deleteReplication": {"enabled": True}}
    configuration = {"rules": [rule]}
    ecr.put_replication_configuration(replicationConfiguration=configuration)
    assert ecr.describe_registry()["replicationConfiguration"] == configuration
    ecr.create_repository(repositoryName="crossed/app")
    text = push_image(ecr, "crossed/app", "v1", [b"to somebody else"])
    image = {"repositoryName": "crossed/app", "imageId": {"imageTag": "v1"}}
    own, other = (EU, account.id), (EU, stranger.id)

    def ended():
        told = status_of(ecr, image)
        return told if all(it["status"] != "IN_PROGRESS" for it in told.values()) else None
    told = eventually(ended)
    assert told[own]["status"] == "COMPLETE", told
    assert told[other]["status"] == "FAILED", told
    assert "ecr:ReplicateImage" in told[other]["failureCode"], told
    fails("RepositoryNotFoundException", lambda: theirs.list_images(repositoryName="crossed/app"))

    policy = {"Version": "2012-10-17", "Statement": [{
        "Sid": "replicas", "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account.id}:root"},
        "Action": ["ecr:ReplicateImage", "ecr:CreateRepository", "ecr:BatchDeleteImage"],
        "Resource": f"arn:aws:ecr:{EU}:{stranger.id}:repository/*"}]}
    theirs.put_registry_policy(policyText=json.dumps(policy))
    # The source asks again within a minute.
    eventually(lambda: status_of(ecr, image)[other]["status"] == "COMPLETE", within_s=90)
    got = theirs.batch_get_image(repositoryName="crossed/app", imageIds=[image["imageId"]])
    assert got["images"][0]["imageManifest"] == text, got

    # Deletions go the same way.
    ecr.batch_delete_image(repositoryName="crossed/app", imageIds=[image["imageId"]])
    eventually(lambda: theirs.list_images(repositoryName="crossed/app")["imageIds"] == [])
    here = world.client("ecr", region=EU)
    eventually(lambda: here.list_images(repositoryName="crossed/app")["imageIds"] == [])
    theirs.delete_registry_policy()
    ecr.put_replication_configuration(replicationConfiguration={"rules": []})


def test_templates(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    template = {"prefix": "walk/made", "appliedFor": ["CREATE_ON_PUSH"],
                "imageTagMutability": "IMMUTABLE", "description": "walk",
                "resourceTags": [{"Key": "k", "Value": "v"}]}
    ecr.create_repository_creation_template(**template)
    fails("TemplateAlreadyExistsException",
          lambda: ecr.create_repository_creation_template(**template))

    def read():
        found = other.describe_repository_creation_templates(prefixes=["walk/made"])
        return found["repositoryCreationTemplates"]
    assert read()[0]["imageTagMutability"] == "IMMUTABLE", read()
    ecr.update_repository_creation_template(prefix="walk/made", description="walked")
    found = read()[0]
    assert found["description"] == "walked" and found["resourceTags"] == [
        {"Key": "k", "Value": "v"}], found
    pages = ecr.get_paginator("describe_repository_creation_templates").paginate()
    assert [it["prefix"] for page in pages for it in page["repositoryCreationTemplates"]] == [
        "walk/made"]
    other.delete_repository_creation_template(prefix="walk/made")
    assert not read()
    for call in (ecr.delete_repository_creation_template, ecr.update_repository_creation_template):
        fails("TemplateNotFoundException", lambda call=call: call(prefix="walk/made"))


def test_scanning(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {
        "scanType": "BASIC", "rules": []}
    rules = [{"scanFrequency": "SCAN_ON_PUSH",
              "repositoryFilters": [{"filter": "walk/*", "filterType": "WILDCARD"}]}]
    ecr.put_registry_scanning_configuration(scanType="BASIC", rules=rules)
    read = other.get_registry_scanning_configuration()["scanningConfiguration"]
    assert read == {"scanType": "BASIC", "rules": rules}, read
    told = other.batch_get_repository_scanning_configuration(repositoryNames=["walk/app", "no"])
    assert told["scanningConfigurations"][0]["scanFrequency"] == "SCAN_ON_PUSH", told
    assert told["failures"][0]["failureCode"] == "REPOSITORY_NOT_FOUND", told
    ecr.put_registry_scanning_configuration(scanType="BASIC", rules=[])


def test_pull_through_cache_rules(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    made = ecr.create_pull_through_cache_rule(
        ecrRepositoryPrefix="walk-quay", upstreamRegistryUrl="quay.io")
    assert made["upstreamRegistryUrl"] == "quay.io", made
    fails("PullThroughCacheRuleAlreadyExistsException",
          lambda: ecr.create_pull_through_cache_rule(
              ecrRepositoryPrefix="walk-quay", upstreamRegistryUrl="quay.io"))
    fails("UnsupportedUpstreamRegistryException",
          lambda: ecr.create_pull_through_cache_rule(
              ecrRepositoryPrefix="walk-other", upstreamRegistryUrl="registry.example.com"))
    secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:ecr-pullthroughcache/walk"
    ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="walk-quay", credentialArn=secret)
    read = other.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["walk-quay"])
    assert read["pullThroughCacheRules"][0]["credentialArn"] == secret, read
    pages = ecr.get_paginator("describe_pull_through_cache_rules").paginate()
    assert len([it for page in pages for it in page["pullThroughCacheRules"]]) == 1
    validated = ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="walk-quay")
    assert validated["isValid"] is False and validated["failure"], validated
    other.delete_pull_through_cache_rule(ecrRepositoryPrefix="walk-quay")
    fails("PullThroughCacheRuleNotFoundException",
          lambda: ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="walk-quay"))


def test_signing(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    fails("SigningConfigurationNotFoundException", ecr.get_signing_configuration)
    account = world.accounts[0].id
    configuration = {"rules": [{
        "signingProfileArn": f"arn:aws:signer:us-east-1:{account}:/signing-profiles/walk",
        "repositoryFilters": [{"filter": "walk/*", "filterType": "WILDCARD_MATCH"}]}]}
    ecr.put_signing_configuration(signingConfiguration=configuration)
    assert other.get_signing_configuration()["signingConfiguration"] == configuration
    other.delete_signing_configuration()
    fails("SigningConfigurationNotFoundException", ecr.delete_signing_configuration)


def test_pull_time_exclusions(world):
    ecr, other = world.client("ecr"), world.client("ecr", nth=1)
    arns = [f"arn:aws:iam::{world.accounts[0].id}:role/{name}" for name in ("a", "b", "c")]
    for arn in reversed(arns):
        assert ecr.register_pull_time_update_exclusion(principalArn=arn)["createdAt"]
    fails("ExclusionAlreadyExistsException",
          lambda: other.register_pull_time_update_exclusion(principalArn=arns[0]))
    first = other.list_pull_time_update_exclusions(maxResults=2)
    rest = other.list_pull_time_update_exclusions(nextToken=first["nextToken"])
    assert first["pullTimeUpdateExclusions"] + rest["pullTimeUpdateExclusions"] == arns
    for arn in arns:
        ecr.deregister_pull_time_update_exclusion(principalArn=arn)
    fails("ExclusionNotFoundException",
          lambda: ecr.deregister_pull_time_update_exclusion(principalArn=arns[0]))
