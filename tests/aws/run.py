"""Runs one walk: `run.py WORLD.json`. Prints each step, and each failure whole."""

import importlib
import inspect
import json
import sys
import traceback

from world import World


def main():
    with open(sys.argv[1], encoding="utf-8") as told:
        world = World(json.load(told))
    for service in ("ecr", "ecr-public"):
        for operation in world.client(service).meta.service_model.operation_names:
            world.record(service, operation, "model", None, None)
    walk = importlib.import_module(f"walk_{world.walk}")
    steps = [
        (name, step)
        for name, step in inspect.getmembers(walk, inspect.isfunction)
        if name.startswith("test_") and step.__module__ == walk.__name__
    ]
    steps.sort(key=lambda it: it[1].__code__.co_firstlineno)
    assert steps, f"the walk {world.walk} has no steps"
    failed = 0
    for name, step in steps:
        print(f"- {name}", flush=True)
        try:
            step(world)
        except Exception:  # Whatever it is, the other steps are run as well.
            failed += 1
            traceback.print_exc()
    print(f"{len(steps) - failed} of {len(steps)} steps passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
