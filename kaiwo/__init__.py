"""kaiwo puts models and data where a program needs them.

    import kaiwo
    path = kaiwo.fetch("s3://bucket/models/a.bin", endpoint_url="http://localhost:9000")
    report = kaiwo.download("kaiwo.yaml")

Importing kaiwo loads no SDK; the names below are loaded at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kaiwo.loading  # noqa: F401 - from now on, a fork waits for what other threads load
from kaiwo._version import __version__

if TYPE_CHECKING:
    from kaiwo.api.download import download
    from kaiwo.api.fetch import fetch
    from kaiwo.api.report import Report
    from kaiwo.errors import (
        BugError,
        CertificateError,
        ChangedError,
        ConfigError,
        ContainerMissingError,
        CredentialsError,
        DeadlineError,
        DiskError,
        IntegrityError,
        KaiwoError,
        NotFoundError,
        ServiceError,
        SignatureError,
        StoppedError,
        TransientError,
        UnreachableError,
        UnsafeNameError,
    )
    from kaiwo.objects import Checksum, Item

__all__ = [
    "BugError",
    "CertificateError",
    "ChangedError",
    "Checksum",
    "ConfigError",
    "ContainerMissingError",
    "CredentialsError",
    "DeadlineError",
    "DiskError",
    "IntegrityError",
    "Item",
    "KaiwoError",
    "NotFoundError",
    "Report",
    "ServiceError",
    "SignatureError",
    "StoppedError",
    "TransientError",
    "UnreachableError",
    "UnsafeNameError",
    "__version__",
    "download",
    "fetch",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    home = "errors" if name.endswith("Error") else f"api.{name.lower()}"
    if name in ("Checksum", "Item"):
        home = "objects"
    return getattr(import_module(f"kaiwo.{home}"), name)


def __dir__() -> list[str]:
    return __all__
