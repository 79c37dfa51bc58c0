"""``kaiwo storage-initializer`` in this process, with the variables of KServe's controller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiwo import environment
from kaiwo.api.download import run_and_deliver
from kaiwo.config.settings import Settings
from kaiwo.errors import KaiwoError, exit_code_of
from kaiwo.initializer.models import Prepared, prepared
from kaiwo.net import proxies
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import QuietSink
from kaiwo.reporting.outputs import Outputs
from tests.support.stores import Store

#: What the controller adds to each initializer (``AddDefaultHuggingFaceEnvVars``).
ALWAYS = {
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "HF_XET_HIGH_PERFORMANCE": "1",
    "HF_XET_NUM_CONCURRENT_RANGE_GETS": "8",
}


def of_s3_secret(store: Store) -> dict[str, str]:
    """The variables of a secret for S3 with its annotations (``BuildS3EnvVars``)."""
    scheme, _, host = store.settings["endpoint_url"].partition("://")
    return {
        "AWS_ACCESS_KEY_ID": store.settings["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": store.settings["secret_key"],
        "S3_USE_HTTPS": "1" if scheme == "https" else "0",
        "S3_ENDPOINT": host,
        "AWS_ENDPOINT_URL": store.settings["endpoint_url"],
        "AWS_DEFAULT_REGION": store.settings["region"],
        **ALWAYS,
    }


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: its exit code.
        message: of what ended it, or of the first object that failed; empty if all went well.
        report: of its objects.
    """

    code: int
    message: str
    report: Report | None


def initialize(*pairs: tuple[str, str | Path], **options: Any) -> Ended:
    """Run the command with these pairs, in the environment of this process."""
    given = [(uri, os.fspath(folder)) for uri, folder in pairs]
    quick = {"startup_wait": 0, "retries": 1, **options}

    def prepare() -> Prepared:
        return prepared(given, quick, os.environ)

    def sink(_: Settings) -> Sink:
        return QuietSink()

    with environment.cleaned(proxies.canonical):
        try:
            report = run_and_deliver(prepare, Prepared.carry_out, sink, early=Outputs())
        except KaiwoError as error:
            return Ended(exit_code_of(error), error.message, None)
    errors = [item.error.message for item in report.items if item.error is not None]
    return Ended(report.exit_code, errors[0] if errors else "", report)


def everything(folder: Path) -> Mapping[str, bytes | str]:
    """All that is in a folder, kaiwo's own included: bytes of files, and where links lead."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found
