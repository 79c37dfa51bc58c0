"""The environment gives no settings to these tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_WORKERS", "LOG_LEVEL", "DOWNLOAD_ROOT", "PROGRESS", "REPORT", "RETRIES"):
        monkeypatch.delenv(f"KAIWO_{name}", raising=False)
