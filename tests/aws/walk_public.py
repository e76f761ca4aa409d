"""ECR Public: there are no public registries, and every operation says so."""

from world import digest_of, fails

KNOWN = {
    "repositoryName": "walk/public",
    "registryId": "111122223333",
    "resourceArn": "arn:aws:ecr-public::111122223333:repository/walk/public",
    "uploadId": "6d2f4f4e-1111-4222-8333-944444444444",
    "layerDigests": [digest_of(b"layer")],
    "imageIds": [{"imageTag": "v1"}],
    "partFirstByte": 0,
    "partLastByte": 2,
    "layerPartBlob": b"abc",
}


def sample(shape, name):
    """A value of `shape` with no more in it than has to be."""
    if name in KNOWN:
        return KNOWN[name]
    if shape.type_name == "structure":
        return {it: sample(shape.members[it], it) for it in shape.required_members}
    if shape.type_name == "list":
        return [sample(shape.member, name)]
    return {"boolean": True, "integer": 1, "long": 1, "blob": b"abc"}.get(shape.type_name, "walk")


def test_every_operation_is_refused_and_says_why(world):
    client = world.client("ecr-public")
    model = client.meta.service_model
    method_of = {operation: method for method, operation in client.meta.method_to_api_mapping.items()}
    assert len(model.operation_names) == 23, model.operation_names
    for operation in model.operation_names:
        shape = model.operation_model(operation).input_shape
        refused = fails(
            "UnsupportedCommandException",
            lambda: getattr(client, method_of[operation])(**sample(shape, "")),  # noqa: B023
        )
        assert "no public registries" in refused["Error"]["Message"], refused
