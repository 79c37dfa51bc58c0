"""Xet, the Hub's own transfer: hf_xet makes a stream of a file's hash.

The engine sees a stream like that of a server without ranges (``RemoteObject.stream_id``): it is
written beside the target, checked against the sha256 that the Hub states, and renamed.

- hf_xet compares no hash of what it downloads; one flipped byte in the tests' store passes it.
  The sha256 is computed on the way.
- hf_xet reads its environment when it is imported. What kaiwo sets (high-performance mode, no
  log, which would name signed addresses) is set for that moment only.
- hf_xet repeats requests itself. Its progress is lost when a run ends.
- Memory: hf_xet derives its buffers from the cgroup's limit, but it needs about 200 MiB, and 100
  MiB more for each file under way. Eight files ran out of memory in a pod of 768 MiB. So
  at most as many files are under way as fit, and at most eight.
- It sends telemetry from its fifth minute on (progress, version, system, processors), which is
  off here.
- ``ca_bundle`` does not reach it.

See docs/decisions/0036.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
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
from kaiwo.workers.shared_calls import SharedCalls

#: hf_xet's first delay before it repeats a request. Its default of 3 s makes five repeats take
#: minutes.
_FIRST_DELAY = timedelta(seconds=0.5)
_MIB = 1 << 20
#: Memory of hf_xet itself and of each stream; both may take this share of the limit.
_BASE, _STREAM, _SHARE = 200 * _MIB, 100 * _MIB, 0.7
_MOST_STREAMS = 8
#: With less memory than this, even one stream may be too much.
LEAST_MEMORY = 512 * _MIB
#: Taken as the limit where there is none.
_AMPLE = 1 << 40


class _Loading:
    """The lock of all who load hf_xet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_loading = _Loading()


class Xet:
    """The transfer of one repository. Called from many threads at once.

    Args:
        token_url: where the endpoint gives the short-lived token of the store.
        authorization: the header with the credentials for the endpoint.
        network: timeouts.
        fetch_token: gives the endpoint's answer at that URL. hf_xet itself asks for later tokens
            only: for the first one, it would not give up for minutes.
    """

    def __init__(
        self,
        token_url: str,
        authorization: dict[str, str],
        network: NetworkSettings,
        fetch_token: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._token_url = token_url
        self._authorization = authorization
        self._network = network
        self._fetch_token = fetch_token
        self._groups = SharedCalls[str, Any]()
        self._closed = False
        self._group: Any = None

    def stream(self, remote: RemoteObject) -> Iterator[bytes]:
        """All bytes of a file, in order.

        Raises:
            ServiceError: hf_xet cannot be loaded.
            OSError: or another error of hf_xet; see ``xet_error``.
        """
        hf_xet = load()
        if hf_xet is None:
            raise ServiceError("hf_xet cannot be loaded; install it, or use transport: http")
        file = hf_xet.XetFileInfo(remote.stream_id, remote.size)
        with _stream_slots():
            stream = self._open_group(hf_xet).download_stream(file)
            try:
                yield from stream
            finally:
                stream.cancel()  # does nothing after the end

    def close(self) -> None:
        """End the streams that are read; does not wait for a thread that opens one."""
        self._closed = True
        group, self._group = self._group, None
        if group is not None:
            group.abort()

    def _open_group(self, hf_xet: Any) -> Any:
        """One group for all files, because each group asks for a token."""
        return self._group or self._groups.make("", lambda: self._open_group_once(hf_xet))

    def _open_group_once(self, hf_xet: Any) -> Any:
        if self._group is None:
            group = self._new_group(hf_xet, self._fetch_token(self._token_url))
            if self._closed:
                group.abort()
            self._group = group
        return self._group

    def _new_group(self, hf_xet: Any, token: Mapping[str, Any]) -> Any:
        stall, connect = self._network.stall_timeout_s, self._network.connect_timeout_s
        settings = {
            "client.read_timeout": timedelta(seconds=stall),
            "client.connect_timeout": timedelta(seconds=connect),
            "client.retry_base_delay": _FIRST_DELAY,
            # Nobody needs to know what is downloaded, and on which machine.
            "telemetry.enabled": False,
        }
        config = hf_xet.XetConfig()
        known = config.keys()  # unknown settings are refused
        settings = {name: value for name, value in settings.items() if name in known}
        try:
            session = hf_xet.XetSession(config.with_config(settings))
            return session.new_download_stream_group(
                endpoint=token["casUrl"],
                token=token["accessToken"],
                token_expiry_unix_secs=int(token["exp"]),
                token_refresh_url=self._token_url,
                token_refresh_headers=self._authorization,
                custom_headers={"User-Agent": f"kaiwo/{__version__}"},
            )
        except OSError as error:
            # It always makes a folder for itself.
            raise DiskError(
                f"hf_xet cannot make its folder ({type(error).__name__}); set HF_HOME or "
                "HF_XET_CACHE to a writable folder, or use transport: http"
            ) from None


@functools.cache
def _stream_slots() -> threading.Semaphore:
    """One slot for each stream that this process may have under way."""
    room = int((memory_limit() or _AMPLE) * _SHARE) - _BASE
    return threading.Semaphore(min(max(room // _STREAM, 1), _MOST_STREAMS))


def _renew_locks() -> None:
    """A forked child must not wait for a thread of its parent, nor for its streams."""
    _loading.lock = threading.Lock()
    _stream_slots.cache_clear()


os.register_at_fork(after_in_child=_renew_locks)


def is_installed() -> bool:
    """Whether hf_xet is installed; it may still fail to load."""
    return importlib.util.find_spec("hf_xet") is not None


def load(*, high_performance: bool = False) -> Any:
    """hf_xet, or None if it cannot be used.

    Args:
        high_performance: switch this mode on; only possible if hf_xet is not loaded yet.
    """
    variables = {"HF_XET_LOG_DEST": os.environ.get("HF_XET_LOG_DEST") or os.devnull}
    if high_performance:
        variables["HF_XET_HIGH_PERFORMANCE"] = "1"
    with _loading.lock:
        # The variables must not stay in the environment: they would apply to other tasks. Once it
        # is loaded, it reads them no more; native threads may read the environment at any time.
        if "hf_xet" in sys.modules:
            variables = {}
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            hf_xet: Any = importlib.import_module("hf_xet")
        except ImportError:
            return None
        finally:
            for name, value in before.items():
                del os.environ[name]
                os.environ.update({} if value is None else {name: value})
    # Versions before 1.6 have no streams.
    return hf_xet if hasattr(hf_xet, "XetDownloadStreamGroup") else None


def xet_error(error: Exception, what: str) -> KaiwoError:
    """The kaiwo error for an error of hf_xet, whose own text may name a signed address."""
    if type(error).__name__ == "XetAuthenticationError":
        return CredentialsError(f"{what}: the Xet store refuses the token of the Hub")
    if isinstance(error, OSError):
        return wire_error(error, what)
    return TransientError(f"{what}: hf_xet failed ({type(error).__name__})")
