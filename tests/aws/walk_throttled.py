"""A client that asks too often is told so, and gets through by waiting as clients do.

The cluster lets an account get two tokens a second.
"""

from world import fails

BURST = 12


def test_who_asks_too_often_is_told_so(world):
    client = world.client("ecr", attempts=1)
    for _ in range(BURST):
        try:
            client.get_authorization_token()
        except client.exceptions.ClientError:
            break
    else:
        raise AssertionError("nobody was throttled")
    fails("ThrottlingException", client.get_authorization_token, message="Rate exceeded",
          status=400)
    # Another operation, and another account.
    client.describe_repositories()
    world.client("ecr", world.accounts[1], attempts=1).get_authorization_token()


def test_a_client_of_aws_waits_and_gets_through(world):
    client = world.client("ecr", attempts=10)
    retries = 0
    for _ in range(BURST):
        answer = client.get_authorization_token()
        assert answer["authorizationData"][0]["authorizationToken"], answer
        retries += answer["ResponseMetadata"]["RetryAttempts"]
    assert retries > 0, "nothing was retried"
