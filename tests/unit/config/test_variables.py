"""A misspelled variable changes nothing, so it is said; those of others are left alone."""

from __future__ import annotations

import logging
import os

import pytest

from kaiwo.config.variables import misspelled, warn_of_misspelled


@pytest.fixture(autouse=True)
def _no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("KAIWO_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("KAIWO_MAX_WORKER", "KAIWO_MAX_WORKERS"),
        ("kaiwo_max_worker", "KAIWO_MAX_WORKERS"),
        ("KAIWO_WORKERS", "KAIWO_MAX_WORKERS"),
        ("KAIWO_LOGLEVEL", "KAIWO_LOG_LEVEL"),
        ("KAIWO_TERMINATION_LOGS", "KAIWO_TERMINATION_LOG"),
    ],
)
def test_a_misspelled_variable_is_named_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, right: str
) -> None:
    monkeypatch.setenv(variable, "3")
    (found,) = misspelled()
    assert str(found) == (
        f"environment {variable}: warning: unknown variable, which changes nothing; "
        f"did you mean {right}?"
    )
    with caplog.at_level(logging.WARNING, "kaiwo"):
        warn_of_misspelled()
    (record,) = caplog.records
    assert (record.levelno, variable in record.getMessage(), right in record.getMessage()) == (
        logging.WARNING,
        True,
        True,
    )


@pytest.mark.parametrize(
    "variable",
    [
        "KAIWO_MAX_WORKERS",
        "kaiwo_retries",
        "KAIWO_TERMINATION_LOG",
        "KAIWO_PORT",
        "KAIWO_PORT_80_TCP",
        "KAIWO_PORT_80_TCP_ADDR",
        "KAIWO_PORT_8080_TCP_PROTO",
        "KAIWO_SERVICE_HOST",
        "KAIWO_SERVICE_PORT",
        "KAIWO_SERVICE_PORT_HTTP",
        "KAIWO_REPORT_SERVICE_HOST",
        "KAIWO_REPORT_PORT",
        "KAIWO_IMAGE",
        "KAIWO_NAMESPACE",
        "MAX_WORKER",
        "NOT_KAIWO_MAX_WORKER",
    ],
)
def test_variables_of_kubernetes_and_of_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "3")
    assert misspelled() == []
