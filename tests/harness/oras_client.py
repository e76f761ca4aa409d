"""What a user of the Python client `oras` would write: push, pull, attach.

It is given a verb and its words, and takes its credentials from ORAS_USER and
ORAS_PASS; without them it logs in as nobody. It speaks plain HTTP, or with
ORAS_TLS, TLS with whoever answers. It prints the digest of what it pushed.
"""

import json
import os
import sys

import oras.client
import oras.layout
import oras.oci

DIGEST = "Docker-Content-Digest"


def push_layout(client, folder, tag, target):
    """An image or an index, with everything it names, out of an OCI layout."""
    layout = oras.layout.NewLayout(folder)
    print(layout.push_to_registry(client, target, tag=tag).headers[DIGEST])


def pull_layout(client, target, folder):
    """An image or an index, with everything it names, into an OCI layout."""
    oras.layout.NewLayoutFromRegistry(folder, client, target)


def push_files(client, target, subject, *files):
    """An artifact of files; `subject` is a descriptor in JSON, or empty."""
    subject = oras.oci.Subject(**json.loads(subject)) if subject else None
    pushed = client.push(
        target, files=list(files), subject=subject, disable_path_validation=True, quiet=True
    )
    print(pushed.headers[DIGEST])


def pull_files(client, target, folder):
    """The files of an artifact."""
    client.pull(target, outdir=folder)


def tags(client, target):
    print("\n".join(client.get_tags(target)))


VERBS = [push_layout, pull_layout, push_files, pull_files, tags]

if __name__ == "__main__":
    verb = {verb.__name__: verb for verb in VERBS}[sys.argv[1]]
    client = oras.client.OrasClient(insecure="ORAS_TLS" not in os.environ, tls_verify=False)
    if "ORAS_USER" in os.environ:
        client.auth.set_basic_auth(os.environ["ORAS_USER"], os.environ["ORAS_PASS"])
    verb(client, *sys.argv[2:])
