"""Xet, the Hub's own transfer: what hf_xet makes of a file's hash, as one stream.

The engine sees a stream like that of a server without ranges (``RemoteObject.stream_id``): it is
written beside the target, checked against the sha256 that the Hub states, and renamed. What hf_xet
repeats, it repeats by itself; what it had when a run ends is lost.

hf_xet reads its environment when it is loaded, so what is to be said there is said at that moment:
the high-performance mode, and that it keeps no log (which would name signed addresses).

Memory: hf_xet derives its buffers from the cgroup's limit by itself, but whatever it is told, it
takes some 200 MiB, and 100 more for each file that is under way: eight of them ended for lack of
memory in a pod of 768 MiB. So only so many files are under way as fit; each of them uses many
connections anyway.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from kaiwo._version import __version__
from kaiwo.errors import CredentialsError, DiskError, KaiwoError, ServiceError, TransientError
from kaiwo.files.memory_limit import memory_limit
from kaiwo.net.failures import wire_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import RemoteObject

#: hf_xet's first delay before it repeats a request: its own, of 3 s, makes of five repeats minutes.
_FIRST_DELAY = timedelta(seconds=0.5)
_MIB = 1 << 20
#: What hf_xet takes, and each of its streams besides; of the memory that there is, so much may be.
_BASE, _STREAM, _SHARE = 200 * _MIB, 100 * _MIB, 0.7
_MOST_STREAMS = 8
#: With less than this, even one stream may be too much.
LEAST_MEMORY = 512 * _MIB
#: Where there is no limit.
_AMPLE = 1 << 40
_LOADING = threading.Lock()


class Xet:
    """The transfer of one repository. Called from many threads at once.

    Args:
        token_url: of the endpoint, which gives the short-lived token of the store.
        rights: the headers that the endpoint asks for.
        network: timeouts.
        ask: gives the endpoint's answer at that URL. hf_xet asks there itself, but only for later
            tokens: it would not give up the first for minutes.
    """

    def __init__(
        self,
        token_url: str,
        rights: dict[str, str],
        network: NetworkSettings,
        ask: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._token_url = token_url
        self._rights = rights
        self._network = network
        self._ask = ask
        self._lock = threading.Lock()
        self._closed = False
        self._group: Any = None

    def stream(self, remote: RemoteObject) -> Iterator[bytes]:
        """All bytes of a file, in their order.

        Raises:
            ServiceError: hf_xet cannot be loaded.
            OSError: or another error of hf_xet's; see ``xet_error``.
        """
        hf_xet = loaded()
        if hf_xet is None:
            raise ServiceError("hf_xet cannot be loaded; install it, or use transport: http")
        file = hf_xet.XetFileInfo(remote.stream_id, remote.size)
        with _turns():
            stream = self._opened(hf_xet).download_stream(file)
            try:
                yield from stream
            finally:
                stream.cancel()  # of what has ended, nothing

    def close(self) -> None:
        """End the streams that are still read; whoever is about to open them is not waited for."""
        self._closed = True
        group, self._group = self._group, None
        if group is not None:
            group.abort()

    def _opened(self, hf_xet: Any) -> Any:
        """One group for all files: each would ask for a token of its own."""
        with self._lock:
            if self._group is None:
                group = self._new_group(hf_xet, self._ask(self._token_url))
                if self._closed:
                    group.abort()
                self._group = group
            return self._group

    def _new_group(self, hf_xet: Any, told: Mapping[str, Any]) -> Any:
        stall, connect = self._network.stall_timeout_s, self._network.connect_timeout_s
        settings = {
            "client.read_timeout": timedelta(seconds=stall),
            "client.connect_timeout": timedelta(seconds=connect),
            "client.retry_base_delay": _FIRST_DELAY,
            # What is fetched here, and on what machine, is nobody's business.
            "telemetry.enabled": False,
        }
        config = hf_xet.XetConfig()
        known = config.keys()  # it refuses what it does not know
        settings = {name: value for name, value in settings.items() if name in known}
        try:
            session = hf_xet.XetSession(config.with_config(settings))
            return session.new_download_stream_group(
                endpoint=told["casUrl"],
                token=told["accessToken"],
                token_expiry_unix_secs=int(told["exp"]),
                token_refresh_url=self._token_url,
                token_refresh_headers=self._rights,
                custom_headers={"User-Agent": f"kaiwo/{__version__}"},
            )
        except OSError as error:
            # It makes a folder of its own, whatever is to be done there.
            raise DiskError(
                f"hf_xet cannot make its folder ({type(error).__name__}); set HF_HOME or "
                "HF_XET_CACHE to a writable folder, or use transport: http"
            ) from None


@functools.cache
def _turns() -> threading.Semaphore:
    """Of this process's streams, one for each that may be under way."""
    room = int((memory_limit() or _AMPLE) * _SHARE) - _BASE
    return threading.Semaphore(min(max(room // _STREAM, 1), _MOST_STREAMS))


def is_there() -> bool:
    """Whether there is an hf_xet to load."""
    return importlib.util.find_spec("hf_xet") is not None


def loaded(*, high_performance: bool = False) -> Any:
    """hf_xet, or None where there is none that can be used.

    Args:
        high_performance: switch that mode on, if hf_xet is not loaded yet.
    """
    said = {"HF_XET_LOG_DEST": os.environ.get("HF_XET_LOG_DEST") or os.devnull}
    if high_performance:
        said["HF_XET_HIGH_PERFORMANCE"] = "1"
    with _LOADING:
        # The variables are not left behind, where another task would find them.
        before = {name: os.environ.get(name) for name in said}
        os.environ.update(said)
        try:
            hf_xet: Any = importlib.import_module("hf_xet")
        except ImportError:
            return None
        finally:
            for name, value in before.items():
                del os.environ[name]
                os.environ.update({} if value is None else {name: value})
    # Before 1.6 it had no streams.
    return hf_xet if hasattr(hf_xet, "XetDownloadStreamGroup") else None


def xet_error(error: Exception, what: str) -> KaiwoError:
    """The kaiwo error for one of hf_xet's; its own text may name a signed address."""
    if type(error).__name__ == "XetAuthenticationError":
        return CredentialsError(f"{what}: the store of Xet refuses the token of the Hub")
    if isinstance(error, OSError):
        return wire_error(error, what)
    return TransientError(f"{what}: hf_xet failed ({type(error).__name__})")
