"""Google Cloud Storage is a source."""

from __future__ import annotations

import pytest

from kaiwo.protocols import Source
from kaiwo.testing import SourceSuite, TestBucket
from tests.stores import Store


class TestEmulator(SourceSuite):
    @pytest.fixture
    def bucket(self, gcs: Store) -> TestBucket:
        return gcs.test_bucket()

    @pytest.mark.xfail(strict=True, reason="the emulator ignores generation and states none")
    def test_a_replaced_object_never_yields_other_bytes(
        self, bucket: TestBucket, source: Source
    ) -> None:
        super().test_a_replaced_object_never_yields_other_bytes(bucket, source)
