"""The Hugging Face Hub is a source."""

from __future__ import annotations

import itertools

import pytest

from kaiwo.testing import SourceSuite, TestBucket
from tests.support.stores import Store

_numbers = itertools.count()


class TestHub(SourceSuite):
    checksums = ("git-sha1", "sha256")
    knows_folders = True
    keeps_revision = True

    @pytest.fixture
    def bucket(self, hub: Store) -> TestBucket:
        name = f"suite/repository-{next(_numbers)}"
        hub.fill(name, {})
        return TestBucket(
            hub.opener(name), hub.opener("no-such/repo"), lambda objects: hub.fill(name, objects)
        )
