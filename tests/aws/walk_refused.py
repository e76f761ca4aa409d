"""What cannot work yet: each operation is refused with an error that says why."""

from botocore import xform_name

from world import fails

NOT_YET = "This operation is not supported: "


def test_what_is_to_come(world):
    client = world.client("ecr")
    for operation in ("DescribeImageScanFindings", "StartImageScan"):
        refused = fails("ValidationException", getattr(client, xform_name(operation)))
        assert refused["Error"]["Message"].startswith(NOT_YET), refused
