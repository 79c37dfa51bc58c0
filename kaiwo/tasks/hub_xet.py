"""Whether a task's files come through Xet, and what there is to say about it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from kaiwo.errors import ConfigError
from kaiwo.files import memory_limit
from kaiwo.jobs import RANGE
from kaiwo.loading import loading
from kaiwo.tasks import hub_cache

if TYPE_CHECKING:
    from kaiwo.tasks.hub import HfTask

logger = logging.getLogger(__name__)
#: Variables of the environment that switch Xet's high-performance mode on.
_SWITCH, _OLD_SWITCH = "HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER"


def rename_switch() -> None:
    """Give the switch its new name; called before the library is loaded, which would warn."""
    if _is_true(os.environ.get(_OLD_SWITCH)):
        os.environ.setdefault(_SWITCH, "1")


def _switch(task: HfTask) -> str | None:
    """The field or variable that asks for the high-performance mode, if one does."""
    if task.high_performance:
        return "high_performance"
    return next((name for name in (_OLD_SWITCH, _SWITCH) if _is_true(os.environ.get(name))), None)


def choose(task: HfTask) -> int | None:
    """Load hf_xet if it is wanted; returns the size above which files come through it, or None.

    What was asked for explicitly is confirmed, or refused, in the log. hf_xet always makes a folder
    in the cache: where that is not possible, files come by HTTP, unless ``xet`` was asked for.

    Raises:
        ConfigError: hf_xet is missing, and no other transport is allowed.
    """
    with loading():
        from huggingface_hub import constants  # noqa: PLC0415 - only runs that use it load it

        from kaiwo.sources.hub import xet  # noqa: PLC0415 - as above

    switch, repository = _switch(task), task.url(task.repo_id).rstrip("/")
    needed, disabled = task.transport == "xet", constants.HF_HUB_DISABLE_XET
    if not needed and (switch is None or task.transport == "http" or disabled):
        if switch:
            why = "transport: http" if task.transport == "http" else "HF_HUB_DISABLE_XET"
            logger.info("%s: plain HTTP, because of %s; %s is ignored", repository, why, switch)
        allowed = task.transport == "auto" and not disabled and xet.is_installed()
        allowed = allowed and not _has_other_trust(task)
        allowed = allowed and hub_cache.is_writable(constants.HF_XET_CACHE)
        return int(constants.MAX_HTTP_DOWNLOAD_SIZE) if allowed else None
    if not needed and not hub_cache.is_writable(constants.HF_XET_CACHE):
        text = "%s: plain HTTP: hf_xet cannot write in %s; set HF_XET_CACHE (%s)"
        logger.info(text, repository, constants.HF_XET_CACHE, switch)
        return None
    if xet.load(high_performance=switch is not None) is None:
        if needed:
            raise ConfigError("transport: xet needs hf_xet, which cannot be loaded; install it")
        logger.info("%s: plain HTTP: hf_xet cannot be loaded (%s)", repository, switch)
        return None
    mode = f" in high-performance mode ({switch})" if switch else ""
    logger.info("%s: files above 8 MiB come through Xet%s", repository, mode)
    _warn(task, xet.LEAST_MEMORY)
    return RANGE


def _warn(task: HfTask, least_memory: int) -> None:
    """Warn where hf_xet may fail, and transport: http would not."""
    memory = memory_limit.memory_limit()
    if memory is not None and memory < least_memory:
        logger.warning(
            "hf_xet needs 512 MiB of memory, and the limit here is %d MiB; use transport: http",
            memory >> 20,
        )
    if _has_other_trust(task):
        logger.warning(
            "hf_xet ignores ca_bundle and client_certificate, and trusts the system's "
            "certificates; if its store needs others, set SSL_CERT_FILE too, or use "
            "transport: http"
        )


def _has_other_trust(task: HfTask) -> bool:
    """Whether hf_xet does not get the certificates that count for this task."""
    if task.client_certificate is not None:
        return True
    return task.ca_bundle is not None and not os.environ.get("SSL_CERT_FILE")


def _is_true(value: str | None) -> bool:
    """Whether a variable is on, by the Hub library's rules."""
    return (value or "").upper() in {"1", "ON", "YES", "TRUE"}
