"""AWS's SDK for JavaScript: what its users ask, in a program of their language."""

import json
import os
import subprocess

from world import DEADLINE_S

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "javascript.cjs")
STEPS = ("repositories", "images", "registry", "failures", "sessions", "publicRegistry")


def test_each_step(world):
    account, stranger = world.accounts
    told = {
        "modules": world.programs["sdk-javascript"],
        "endpoints": [world.endpoint(), world.endpoint(nth=1)],
        "region": "us-east-1",
        "account": account.__dict__,
        "stranger": stranger.__dict__,
        "record": world.record_path,
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    for step in STEPS:
        done = subprocess.run(
            ["node", PROGRAM, step], input=json.dumps(told), env=environment,
            capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False,
        )
        assert done.returncode == 0, f"{step}:\n{done.stdout}{done.stderr}"
        assert done.stdout.strip() == f"{step}: done", done.stdout
