"""A plan that says what no store says is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kaiwo.shards import plan_file


def written(path: Path, made_s: float, **fields: Any) -> str:
    head = {"made_s": made_s, "nonce": "n", "shards": 2, "of": "o", "lock": None}
    found = {"key": "a", "size": 1, "etag": "e", **fields}
    documents = [head | {"shares_files": True}, {"item": "s3://b/**/*", "objects": 1}, found]
    lines = ['{"kaiwo-plan":1}', *map(json.dumps, documents)]
    text = "".join(f"{line}\n" for line in lines)
    end = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{text}{{"end":"{end}"}}\n')
    return str(path)


@pytest.mark.parametrize(
    ("made_s", "fields"),
    [
        (1e308, {}),
        (-1e300, {}),
        (1.0, {"size": -1}),
        (1.0, {"modified_ns": 1 << 70}),
        (1.0, {"modified_ns": -(1 << 70)}),
        (1.0, {"state": "elsewhere"}),
    ],
)
def test_what_no_store_says_is_no_plan(
    tmp_path: Path, made_s: float, fields: dict[str, Any]
) -> None:
    assert plan_file.read(written(tmp_path / "plan", 1.0)) is not None
    assert plan_file.read(written(tmp_path / "plan", made_s, **fields)) is None
