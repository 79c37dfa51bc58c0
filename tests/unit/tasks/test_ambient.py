"""Which tasks sign in with what they do not name: only these wait until it is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.tasks.registry import task_class

ITEMS = [{"name": "b", "items": [{"file": "k", "target_path": "k"}]}]


@pytest.mark.parametrize(
    ("type_", "fields", "expected"),
    [
        ("s3", {}, True),
        ("s3", {"anonymous": True}, False),
        ("s3", {"access_key_id": "a", "secret_key": "b"}, False),
        ("gcs", {}, True),
        ("gcs", {"token": "t"}, False),
        # An emulator, where nobody signs in.
        ("gcs", {"endpoint_url": "http://localhost:1"}, False),
        ("azure-blob", {"account_name": "a"}, True),
        ("azure-blob", {"account_name": "a", "account_key": "a2V5"}, False),
        ("azure-blob", {"account_name": "a", "anonymous": True}, False),
    ],
)
def test_what_no_task_names_is_ambient(
    type_: str, fields: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    class_ = task_class(type_)
    assert class_ is not None
    holder = "containers" if type_ == "azure-blob" else "buckets"
    task = class_.model_validate({"type": type_, holder: ITEMS, **fields})
    assert task.is_ambient() is expected
