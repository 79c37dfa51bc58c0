"""The Hugging Face Hub is a source."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.testing import SourceSuite, TestBucket
from tests.support import stores
from tests.support.conformance import bucket_of
from tests.support.stores import Store

_numbers = itertools.count()


@pytest.fixture(scope="module")
def private_hub() -> Iterator[Store]:
    """A Hub that knows one token, whose repositories are private."""
    with stores.hub("--token=hf_right") as store:
        yield store


class TestHub(SourceSuite):
    checksums = ("git-sha1", "sha256")
    knows_folders = True
    has_placeholders = False
    keeps_revision = True

    @pytest.fixture
    def bucket(self, private_hub: Store, tmp_path: Path) -> TestBucket:
        name = f"suite/repository-{next(_numbers)}"
        private_hub.fill(name, {})
        folder = Path(private_hub.settings["root"], "models", name.replace("/", "--"))
        # Files that are LFS come from another host.
        settings = {"private": True, "lfs": ["*.bin"]}
        (folder / ".kaiwo-hub.json").write_text(json.dumps(settings))
        return bucket_of(private_hub, tmp_path, name=name)
