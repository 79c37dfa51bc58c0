"""Azure Blob Storage is a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.tasks.base import Engine
from kaiwo.testing import SourceSuite, TestBucket
from tests.support.conformance import bucket_of
from tests.support.stores import Store


class TestAzurite(SourceSuite):
    checksums = ("md5",)

    @pytest.fixture
    def bucket(self, azure: Store, engine: Engine, tmp_path: Path) -> TestBucket:
        return bucket_of(azure, tmp_path, engine)
