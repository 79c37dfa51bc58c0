"""Maps every SDK's connection failures to kaiwo errors.

SDKs wrap the operating system's errors in their own. ``chain`` walks from the outermost error to
the causes, and the most telling cause decides. The messages are written here, because an SDK's own
text may quote a signed URL or a header.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from kaiwo import environment
from kaiwo.errors import (
    CertificateError,
    ConfigError,
    KaiwoError,
    LimitError,
    NoAnswerError,
    ServiceError,
    StalledError,
    TransientError,
)
from kaiwo.net.statuses import proxy_error
from kaiwo.net.unreachable import unreachable

if TYPE_CHECKING:
    import socket
    import ssl

#: ``Tunnel connection failed: 407 Proxy Authentication Required``; httpx has the status alone.
_REFUSED_BY_PROXY = re.compile(r"(?:Tunnel connection failed: )?([1-9]\d\d)(?: |$)")


#: Why no connection can be made: the network of the node or the pod may not be ready yet.
_NOT_REACHED = {
    *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN),
    *(errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL),
}
#: Names of errors of clients that wait for a connection, and not for an answer.
_CONNECTING = re.compile(r"Connect(ion|ing)?Timeout")
#: Errors of clients whose connection was closed before an answer; they have no number.
_CLOSED = {"ServerDisconnectedError", "ConnectionClosedError", "RemoteProtocolError"}


#: What OpenSSL's codes say of a certificate, and what helps; others: it is not trusted.
_BY_CODE = {
    9: "is not valid yet; is this machine's clock right?",
    10: "has expired; the server needs a new one, unless this machine's clock is wrong",
    **dict.fromkeys(
        (62, 64), "is for another host ({}); give an address with the host that it names"
    ),
}
#: Where errors of SDKs keep what they came of.
_CAUSES = ("os_error", "reason", "inner_exception", "real_error")
#: Alerts of TLS: the server wants a client's certificate, or does not accept the one it got.
_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_NO_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV1_ALERT_ACCESS_DENIED",
}


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all of its causes, the outermost first."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # aiohttp keeps the cause in os_error, requests and urllib3 in reason or args,
        # botocore in kwargs["error"], azure-core in inner_exception, tornado in real_error.
        candidates = [
            current.__cause__,
            current.__context__,
            *(getattr(current, name, None) for name in _CAUSES),
            *(getattr(current, "kwargs", None) or {}).values(),
            *current.args,
        ]
        pending.extend(item for item in candidates if isinstance(item, BaseException))


def connection_error(error: BaseException, what: str) -> KaiwoError | None:
    """The kaiwo error for a failure below HTTP, or None if it is something else.

    Args:
        error: as the SDK raised it.
        what: the operation and its object; the message begins with it.
    """
    if (limit := limit_error(error, what)) is not None:
        return limit
    causes = list(chain(error))
    for cause in causes:
        if isinstance(cause, ConfigError):  # kaiwo's own, from inside an SDK
            return ConfigError(f"{what}: {cause.message}")
        if (status := _status_of_proxy(cause)) is not None:
            return proxy_error(status, f"{what}: {status}")
    if (missing := missing_file_error(causes, what)) is not None:
        return missing
    for kind, describe in _kinds():
        for cause in causes:
            if isinstance(cause, kind) and (found := describe(cause, what)) is not None:
                return found
    return None


def _status_of_proxy(cause: BaseException) -> int | None:
    """The status of a proxy's answer to CONNECT, as each SDK states it; None for other errors."""
    names = {kind.__name__ for kind in type(cause).__mro__}
    if "ClientHttpProxyError" in names:  # aiohttp
        status = getattr(cause, "status", None)
        return status if isinstance(status, int) else None
    # Python's own client, and httpx; obstore's says no status.
    if not (isinstance(cause, OSError) or "ProxyError" in names):
        return None
    text = cause.args[0] if cause.args else None
    refused = _REFUSED_BY_PROXY.match(text) if isinstance(text, str) else None
    return int(refused[1]) if refused else None


def missing_file_error(causes: Iterable[BaseException], what: str) -> ConfigError | None:
    """The error for a file that a variable of the environment names and that is not there."""
    names = (*environment.TRUST, *environment.CREDENTIALS)
    for cause in causes:
        if isinstance(cause, FileNotFoundError) and isinstance(cause.filename, str):
            named = environment.missing_file(names, cause.filename)
        elif isinstance(cause, OSError) and "CA certificate bundle" in str(cause):
            named = environment.missing_file(environment.TRUST)  # of requests, without a filename
        else:
            continue
        if named is not None:
            return ConfigError(f"{what}: {named}")
    return None


def wire_error(error: BaseException, what: str) -> KaiwoError:
    """The same for an error that can only be a connection failure; a cut connection by default."""
    if (found := connection_error(error, what)) is not None:
        return found
    names = {type(cause).__name__ for cause in chain(error)}
    kind = NoAnswerError if names & _CLOSED else TransientError
    return kind(f"{what}: the connection was cut ({type(error).__name__})")


def _untrusted(cause: ssl.SSLCertVerificationError, what: str) -> KaiwoError | None:
    # aiohttp raises its own error without the message; the cause of that error has it.
    reason = getattr(cause, "verify_message", None)
    return _not_trusted(reason, what, getattr(cause, "verify_code", 0)) if reason else None


def _not_trusted(reason: object, what: str, code: int = 0) -> CertificateError:
    """The error for a certificate that OpenSSL refuses; the codes are those of its X509_V_ERR."""
    said = _BY_CODE.get(code)
    if said is None:
        missing = environment.missing_file(environment.TRUST)
        said = f"is not trusted ({{}}); {missing or 'give its authority with ca_bundle'}"
    return CertificateError(f"{what}: the server's TLS certificate {said.format(reason)}")


def _unknown_host(cause: socket.gaierror, what: str) -> KaiwoError:
    return unreachable(what, f"the host name is unknown ({cause.strerror})")


def _refused(_: ConnectionRefusedError, what: str) -> KaiwoError:
    return unreachable(what, "connection refused", " (is the service up?)")


def _no_connection(cause: Exception, what: str) -> KaiwoError | None:
    """A connection that cannot be made in time, as most clients say it in their own ways."""
    if any(_CONNECTING.match(kind.__name__) for kind in type(cause).__mro__):
        return unreachable(what, "no connection in time")
    return None


def _late(_: TimeoutError, what: str) -> KaiwoError:
    return StalledError(f"{what}: no answer in time")


def _tls(cause: ssl.SSLError, what: str) -> KaiwoError | None:
    reason = getattr(cause, "reason", None)
    if reason == "WRONG_VERSION_NUMBER":
        return ServiceError(f"{what}: the server does not speak TLS; http:// instead of https://?")
    if reason == "UNEXPECTED_EOF_WHILE_READING":
        return NoAnswerError(f"{what}: the connection was closed during TLS")
    if is_alert_of_certificate(cause):
        return CertificateError(
            f"{what}: the server refuses the client's certificate, or the lack of one ({reason}); "
            "give client_certificate and client_key"
        )
    return TransientError(f"{what}: TLS failed ({reason})") if reason else None


def is_alert_of_certificate(cause: ssl.SSLError) -> bool:
    """Whether a server wants a client's certificate, or does not accept the one that it got."""
    return getattr(cause, "reason", None) in _ALERTS


def _lost(cause: ConnectionError, what: str) -> KaiwoError:
    reason = os.strerror(cause.errno) if cause.errno else "connection lost"
    return NoAnswerError(f"{what}: {reason}")


def _invalid(_: Exception, what: str) -> KaiwoError:
    return ServiceError(f"{what}: not the address of a service; check it")


def _garbled(_: Exception, what: str) -> KaiwoError:
    return TransientError(f"{what}: the server's answer is not valid HTTP")


def too_many_files(what: str) -> LimitError:
    """This process or the machine cannot open another connection."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    hint = f"the limit is {limit}; raise the limit of open files (ulimit -n)"
    return LimitError(f"{what}: {os.strerror(errno.EMFILE)} ({hint})")


def too_many_threads(what: str) -> LimitError:
    """The system refuses another thread."""
    return LimitError(
        f"{what}: no thread can be started; raise the limits of processes (ulimit -u, the pod's "
        "limit of process IDs) and of memory (ulimit -v)"
    )


def limit_error(error: BaseException, what: str) -> LimitError | None:
    """The error for a limit of this process: files, threads or memory; None for anything else."""
    for cause in chain(error):
        if isinstance(cause, MemoryError):
            return LimitError(
                f"{what}: no memory is left; raise the limit of memory (ulimit -v, the pod's limit)"
            )
        if isinstance(cause, RuntimeError) and "can't start new thread" in str(cause):
            return too_many_threads(what)
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return too_many_files(what)
    return None


def _socket(cause: OSError, what: str) -> KaiwoError | None:
    """No route to host, network is down; an error with a file name is about the disk."""
    if cause.errno is None or cause.filename is not None:
        return None
    reason = os.strerror(cause.errno)
    if cause.errno in _NOT_REACHED:
        return unreachable(what, reason)
    return TransientError(f"{what}: {reason}")


@cache
def _kinds() -> tuple[tuple[type[BaseException], Callable[[Any, str], KaiwoError | None]], ...]:
    """The kinds of causes and how to map each, the most telling first."""
    import http.client  # noqa: PLC0415 - most runs have no error
    import socket  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    return (
        (ssl.SSLCertVerificationError, _untrusted),
        (ssl.SSLCertVerificationError, lambda _, what: _not_trusted("verification failed", what)),
        (socket.gaierror, _unknown_host),
        (ConnectionRefusedError, _refused),
        (Exception, _no_connection),
        (TimeoutError, _late),
        (ssl.SSLError, _tls),
        (ssl.SSLError, lambda _, what: TransientError(f"{what}: TLS failed")),
        (ConnectionError, _lost),
        (http.client.IncompleteRead, lambda _, what: TransientError(f"{what}: connection lost")),
        (http.client.InvalidURL, _invalid),
        (http.client.HTTPException, _garbled),
        (OSError, _socket),
    )
