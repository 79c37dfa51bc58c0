"""A task that fails, and the messages of the command about it."""

import re
from pathlib import Path
from typing import Any

from tests.support.command import Run

CANARY = "CANARYxyzzy"
ITEMS = [{"file": "k", "target_path": "k"}]

#: A task that is right but for what a test changes in it; its secret is the canary.
TASK = f"""\
download_items:
  - type: s3
    name: models
    endpoint_url: http://127.0.0.1:1
    access_key_id: {CANARY}
    secret_key: {CANARY}
    buckets:
      - name: b
        items:
          - file: k
            target_path: k
"""


def errors_of(stderr: str) -> list[str]:
    """The error messages, each with the lines that follow it."""
    messages: list[str] = []
    for line in stderr.splitlines():
        logged = re.match(r"\d{4}-\d\d-\d\d \S+ ([A-Z]+) (.*)", line)
        if logged is None and messages:
            messages[-1] += f"\n{line}"
        elif logged is not None and logged[1] in ("ERROR", "CRITICAL"):
            messages.append(logged[2])
    return messages


def refused(done: Run, tmp_path: Path) -> str:
    """The one message of a run that ended with 2 before anything was done."""
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()
    (message,) = errors_of(done.stderr)
    return message


def absent(type_: str, address: str) -> dict[str, Any]:
    """A task whose service is at that address."""
    items = [{"name": "b", "items": [{"file": "k", "target_path": type_}]}]
    match type_:
        case "s3":
            keys = {"access_key_id": CANARY, "secret_key": CANARY, "region": "us-east-1"}
            return {"type": "s3", "endpoint_url": address, "buckets": items, **keys}
        case "gcs":
            return {"type": "gcs", "endpoint_url": address, "token": CANARY, "buckets": items}
        case "azure-blob":
            keys = {"account_name": "a", "account_key": f"{CANARY}A=", "endpoint_url": address}
            return {"type": "azure-blob", "containers": items, **keys}
    fields = {"repo_id": "o/r", "target_path": "t", "token": CANARY}
    return {"type": "hf", "endpoint_url": address, **fields}
