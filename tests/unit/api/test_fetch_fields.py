"""What is wrong with the arguments of ``kaiwo.fetch`` and the options of ``kaiwo fetch``."""

from __future__ import annotations

from typing import Any

import pytest

import kaiwo
from kaiwo.api.fetch_fields import OF_COMMAND
from kaiwo.api.fetch_order import Goal, order_of_urls
from kaiwo.cli.app import app
from kaiwo.errors import ConfigError
from tests.support.configs import CANARY, LEAST

FIELD = "argument max_workers: "


@pytest.mark.parametrize(
    ("url", "fields", "told"),
    [
        (
            "https://host/k",
            {"max_workers": "x"},
            [f"{FIELD}this is an option of the run, and no field; set KAIWO_MAX_WORKERS"],
        ),
        (
            "s3://b/k",
            {"secret_kye": CANARY, "items": 1},
            [
                "argument items: s3 tasks have no such field",
                "argument secret_kye: s3 tasks have no such field; did you mean 'secret_key'?",
            ],
        ),
        (
            "s3://b/k",
            {"endpoint_url": CANARY, "anonymous": True, "profile": "p", "checksum": CANARY},
            [
                "argument endpoint_url: an endpoint must begin",
                "argument checksum: must be sha256:",
                "argument anonymous: anonymous: true and profile",
            ],
        ),
        ("s3://b/d/", {"exclude": ["a", "b**"]}, ["argument exclude: [1]: '**' must be"]),
        ("hf://o/r/k", {"checksum": CANARY}, ["argument checksum: must be sha256:"]),
        ("s3://b/a**", {}, ["the URL: '**' must be a whole path segment"]),
        ("s3://b/k", {"secret_key_file": "/nowhere", "access_key_id": "i"}, ["argument secret_"]),
    ],
)
def test_errors_name_the_argument(url: str, fields: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        kaiwo.fetch(url, **fields)
    lines = caught.value.message.splitlines()
    assert len(lines) == len(told)
    assert all(line.startswith(start) for line, start in zip(lines, told, strict=True))
    assert CANARY not in caught.value.message
    with pytest.raises(ConfigError) as caught:
        order_of_urls([url], Goal(), fields, {}, OF_COMMAND)
    of_command = caught.value.message
    if "max_workers" in fields:
        assert of_command == (
            "-o max_workers: this is an option of the run, and no field; write --max-workers"
        )
    else:
        assert of_command == "\n".join(lines).replace("argument ", "-o ")


def test_an_option_of_a_program_is_an_argument() -> None:
    config = {"download_items": [LEAST["hf"]]}
    for value in (0, "x", 10_000):
        with pytest.raises(ConfigError, match=f"^{FIELD}must be a"):
            kaiwo.download(config, max_workers=value)
    with pytest.raises(ConfigError) as caught:
        kaiwo.download(config, max_worker=1)
    assert caught.value.message == (
        "argument max_worker: there is no such option; did you mean 'max_workers'?"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-workers", "0"), "must be a whole number from 1 to 1024"),
        (("--max-workers", "1_0"), "must be a whole number from 1 to 1024"),
        (("--max-workers", "9" * 5000), "must be a whole number from 1 to 1024"),
        (("--retries=-1",), "must be a whole number of at least 0"),
    ],
)
def test_a_number_out_of_its_limits_is_told_in_plain_words(
    words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(Exception, match=told) as caught:
        app(["download", "c.yaml", *words], standalone_mode=False)
    assert hasattr(caught.value, "format_message")
