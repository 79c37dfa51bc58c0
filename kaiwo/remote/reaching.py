"""The client of a cluster, once its scheduler is reached.

Before Dask's own client, a single connection greets the scheduler. Dask's client tells most
failures alike, and waits for ever where something takes the connection and says nothing.

    refused, name unknown, closed, silent   tried again while there is patience; the log says so
    a certificate that is not trusted,      an error at once
    TLS on one side only

What is trusted, and what is shown, is said by Dask's own settings of TLS, or its security loader.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import dask
from distributed import Client
from distributed.comm.addressing import get_address_host_port, normalize_address
from distributed.comm.core import connect as greet
from distributed.security import Security
from distributed.utils import LoopRunner, import_term

from kaiwo import redact, units
from kaiwo.errors import CertificateError, ConfigError, DeadlineError, KaiwoError, ServiceError
from kaiwo.net.failures import chain, is_alert_of_certificate
from kaiwo.remote.probing import is_encrypted

#: After this time, the log says that a scheduler is waited for.
TOLD_S = 2.0
#: One that has closed a connection is asked again after this time.
_AGAIN_S = 0.5
#: A scheduler that speaks TLS answers in this time.
_TLS_S = 2.0
#: What OpenSSL says of an answer that is none of TLS.
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
#: What Dask's settings say of TLS, each by its name there and in the environment.
_SETTINGS = {
    "ca_file": "distributed.comm.tls.ca-file (DASK_DISTRIBUTED__COMM__TLS__CA_FILE)",
    "cert": "distributed.comm.tls.client.cert (DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT)",
    "key": "distributed.comm.tls.client.key (DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY)",
}
logger = logging.getLogger(__name__)


def connect(address: str, patience_s: float, until_s: float | None = None) -> Client:
    """A client of the cluster of that scheduler, with Dask's own settings of TLS.

    Args:
        address: of the scheduler.
        patience_s: one that is not up yet is waited for so long.
        until_s: the deadline of the run, by the monotonic clock.

    Raises:
        CertificateError: one side does not trust the certificate of the other one.
        ConfigError: there is no such address, the settings of TLS do not do, or only one side
            speaks TLS.
        DeadlineError: the deadline passed before one did.
        ServiceError: no scheduler answers there.
    """
    shown, patience_s = redact.url(address), max(patience_s, 1.0)
    if until_s is not None:
        patience_s = min(patience_s, max(until_s - time.monotonic(), 0.1))
    try:
        security = _security(address, shown)
        _require_scheduler(normalize_address(address), shown, security, patience_s)
        return Client(
            address, timeout=patience_s, security=security, set_as_default=False, name="kaiwo"
        )
    except OSError as error:
        if until_s is not None and time.monotonic() >= until_s - _AGAIN_S:
            text = f"the deadline passed before the Dask scheduler at {shown} answered"
            raise DeadlineError(text) from error
        raise _not_reached(shown, error) from error
    except (AttributeError, ImportError, TypeError, ValueError, RuntimeError) as error:
        text = redact.text(units.printable(str(error)))[:200]
        raise ConfigError(f"--dask {shown}: {text}") from error


def _security(address: str, shown: str) -> Security:
    """Dask's settings, which have what the address needs.

    Raises:
        ConfigError: they do not, or a file of theirs cannot be used.
    """
    loader = dask.config.get("distributed.client.security-loader")
    found = import_term(loader)({"address": address}) if loader else None
    security = found if isinstance(found, Security) else Security(**(found or {}))
    files = _files(security)
    for name, setting in _SETTINGS.items():
        path = files[name]
        if not path and name != "key" and is_encrypted(address):
            raise ConfigError(
                f"--dask {shown}: TLS needs an authority's certificate, and one for kaiwo: Dask's "
                f"setting {setting} is not there"
            )
        try:
            if path and "\n" not in path:
                with open(path, "rb"):
                    pass
        except OSError as error:
            text = f"cannot read {path}, Dask's setting {setting}: {error.strerror}"
            raise ConfigError(f"--dask {shown}: {text}") from error
    try:
        security.get_connection_args("client")
    except ssl.SSLError as error:
        named = ", ".join(_shown(path) for path in files.values() if path)
        raise ConfigError(
            f"--dask {shown}: these certificates of Dask's settings, or their key, cannot be used "
            f"({error.reason}): {named}"
        ) from error
    return security


def _files(security: Security) -> Mapping[str, str | None]:
    """The settings of TLS, each a path or, of a security loader, a text in PEM form."""
    found: Mapping[str, str | None] = security.get_tls_config_for_role("client")
    return found


def _shown(path: str | None) -> str:
    return "what the security loader gives" if path is None or "\n" in path else path


def _require_scheduler(address: str, shown: str, security: Security, patience_s: float) -> None:
    """Return when a scheduler has greeted, in a thread of Dask's that may be interrupted.

    Raises:
        KaiwoError: none does, and more patience does not help.
        OSError: none does.
    """
    runner = LoopRunner()
    runner.start()
    try:
        greeting = asyncio.run_coroutine_threadsafe(
            _greeted(address, shown, security, patience_s), runner.loop.asyncio_loop
        )
        try:
            if not _is_done(greeting):
                text = "no answer of the Dask scheduler at %s yet: it is waited for up to %.0f s"
                logger.info(text, shown, patience_s)
            greeting.result()
        finally:
            greeting.cancel()
    finally:
        runner.stop()


def _is_done(greeting: Any) -> bool:
    try:
        greeting.exception(TOLD_S)
    except TimeoutError:
        return False
    return True


async def _greeted(address: str, shown: str, security: Security, patience_s: float) -> None:
    """See ``_require_scheduler``."""
    how: Mapping[str, Any] = security.get_connection_args("client")
    until_s = time.monotonic() + patience_s
    while True:
        left_s = max(until_s - time.monotonic(), 0.1)
        try:
            if address.startswith("tls://"):
                # First, for Dask leaves its own connection open where only it speaks TLS.
                await asyncio.wait_for(_begin_tls(address, how["ssl_context"]), left_s)
            comm = await asyncio.wait_for(greet(address, timeout=left_s, **how), left_s)
        except OSError as error:
            if (fault := _fault_of(address, shown, security, error)) is not None:
                raise fault from error
            if time.monotonic() + _AGAIN_S >= until_s:
                raise
            if address.startswith("tcp://") and await _speaks_tls(address):
                text = f"the Dask scheduler at {shown} speaks TLS: give it as tls://"
                raise ConfigError(text) from error
            await asyncio.sleep(_AGAIN_S)
        else:
            comm.abort()
            return


def _fault_of(address: str, shown: str, security: Security, error: Exception) -> KaiwoError | None:
    """What no patience helps against, if it is that."""
    if not is_encrypted(address):
        return None
    files = _files(security)
    for cause in chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateError(
                f"the certificate of the Dask scheduler at {shown} is not trusted "
                f"({cause.verify_message}): {_shown(files['ca_file'])} has to hold its authority, "
                f"see Dask's setting {_SETTINGS['ca_file']}"
            )
        if isinstance(cause, ssl.SSLError) and is_alert_of_certificate(cause):
            return CertificateError(
                f"the Dask scheduler at {shown} refuses {_shown(files['cert'])} ({cause.reason}): "
                f"an authority that it trusts has to have signed that certificate, see Dask's "
                f"setting {_SETTINGS['cert']}"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return ConfigError(f"the Dask scheduler at {shown} does not speak TLS: tcp://?")
    return None


async def _speaks_tls(address: str) -> bool:
    """Whether a server speaks TLS, whoever it is: nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        await asyncio.wait_for(_begin_tls(address, context), _TLS_S)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # such as that it wants a certificate
    except OSError:
        return False
    return True


async def _begin_tls(address: str, context: ssl.SSLContext) -> None:
    host, port = get_address_host_port(address)
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.transport.abort()


def _not_reached(shown: str, error: OSError) -> ServiceError:
    """The error for a scheduler that cannot be reached."""
    reason = "the connection is closed"
    for cause in chain(error):
        match cause:
            case ConnectionRefusedError():
                reason = "connection refused"
            case socket.gaierror():
                reason = "the host name is unknown"
            case TimeoutError():
                reason = "no answer as one of a Dask scheduler in time"
            case OSError(errno=int(), strerror=str()):
                reason = str(cause.strerror)
            case _:
                continue
        break
    return ServiceError(
        f"cannot connect to the Dask scheduler at {shown}: {reason}; check that it runs, and that "
        "it is reached from here"
    )
