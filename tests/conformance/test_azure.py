"""Azure Blob Storage is a source."""

from __future__ import annotations

import pytest

from kaiwo.tasks.base import Engine
from kaiwo.testing import SourceSuite, TestBucket
from tests.support.stores import Store


class TestAzurite(SourceSuite):
    checksums = ("md5",)

    @pytest.fixture
    def bucket(self, azure: Store, engine: Engine) -> TestBucket:
        return azure.test_bucket(engine)
