"""Which certificates are trusted, and which one the client shows: for all engines and SDKs.

The first of these that is given counts:

    ca_bundle                         of the task, a file or a folder
    AWS_CA_BUNDLE                     of S3 alone, also as ``ca_bundle`` of the SDK's files
    REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE
    SSL_CERT_FILE, SSL_CERT_DIR       in place of the system's file and of its folders, as in
                                      OpenSSL
    the system's

A file holds any number of certificates in PEM form. Of a folder, all files count that hold one,
also without an extension. An empty variable is none; nothing switches verification off.

    context   TLS of Python: what kaiwo sends itself, and aiohttp
    file      for SDKs that take a path. Several files, or a folder, become a file of this process
    pem       for obstore, which adds them to the system's

A task's ``ca_bundle`` takes the place of the system's certificates. Tokens come from other hosts
than the objects: there it is trusted beside the system's (``file(…, and_system=True)``).

See docs/decisions/0045.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kaiwo import environment
from kaiwo.errors import ConfigError
from kaiwo.loading import loading

if TYPE_CHECKING:
    import ssl

_CERTIFICATE = re.compile(
    rb"-----BEGIN (X509 )?CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END (X509 )?CERTIFICATE-----"
)
_OF_ANY_SDK = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: The file of a client's certificate, and that of its key.
ClientFiles = tuple[str | None, str | None]
#: Where systems keep all certificates in one file, if OpenSSL does not say so.
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
#: A larger file of a folder holds something else.
_LARGEST = 16 << 20


def context(
    ca_bundle: str | None, client_certificate: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """TLS of a client that verifies the server. Others may share it: do not change it.

    Args:
        ca_bundle: the task's file or folder, or the provider's; None for the environment's.
        client_certificate: file of the certificate that the client shows; it may hold the key.
        client_key: file of its key.

    Raises:
        ConfigError: a file cannot be used.
    """
    paths = _paths(ca_bundle)
    if paths or client_certificate is not None:
        return separate_context(ca_bundle, client_certificate, client_key)
    return _of_system()


@functools.cache
def _of_system() -> ssl.SSLContext:
    """TLS that trusts the system's certificates: to read them takes 50 ms each time."""
    return separate_context(None)


def separate_context(
    ca_bundle: str | None, client_certificate: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """The same, which the caller may change."""
    import ssl  # noqa: PLC0415 - obstore's TLS is another

    paths = _paths(ca_bundle)
    trusted = _merged(paths).decode() if paths else None
    try:
        with loading():  # the first one begins OpenSSL, and a fork must not divide that
            made = ssl.create_default_context(cadata=trusted)
    except ssl.SSLError:
        raise ConfigError(f"{paths[0]} holds a damaged certificate") from None
    usual = ssl.get_default_verify_paths()
    if not (paths or usual.cafile or usual.capath) and (system := _system_file()):
        made.load_verify_locations(system)
    if client_certificate is not None:
        _show(made, client_certificate, client_key)
    return made


def chosen(
    ca_bundle: str | None, client_certificate: str | None = None, client_key: str | None = None
) -> ssl.SSLContext | None:
    """The same; None where neither the task nor the environment names a certificate."""
    if client_certificate is None and not _paths(ca_bundle):
        return None
    return context(ca_bundle, client_certificate, client_key)


def file(ca_bundle: str | None, *, and_system: bool = False) -> str | None:
    """The path of one file with all that is trusted; None for what the SDK brings along.

    Args:
        ca_bundle: see ``context``.
        and_system: trust the system's certificates beside the task's, for hosts that give tokens.

    Raises:
        ConfigError: a file cannot be used.
    """
    paths = _paths(ca_bundle)
    system = _system_file()
    if not paths:
        return system
    if and_system and ca_bundle and system:
        paths = (*paths, system)
    if len(paths) == 1 and os.path.isfile(paths[0]):
        _merged(paths)  # it must hold a certificate
        return paths[0]
    return _written(_merged(paths))


def pem(ca_bundle: str | None) -> bytes | None:
    """All that is trusted, in PEM form; None for the system's alone.

    Raises:
        ConfigError: a file cannot be used.
    """
    paths = _paths(ca_bundle)
    return _merged(paths) if paths else None


def named(ca_bundle: str | None) -> str | None:
    """The files and folders that are trusted, as a path list; None for what TLS brings along.

    Raises:
        ConfigError: a file cannot be used.
    """
    paths = _paths(ca_bundle)
    if paths:
        _merged(paths)
        return os.pathsep.join(paths)
    return _system_file()


def _paths(ca_bundle: str | None) -> tuple[str, ...]:
    """Files and folders that are trusted; empty for the system's."""
    for path in (ca_bundle, *map(os.environ.get, _OF_ANY_SDK)):
        if path:
            return (os.path.expanduser(path),)
    named, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not named and not folders:
        return ()
    import ssl  # noqa: PLC0415 - as above

    usual = ssl.get_default_verify_paths()
    found = [path for path in (folders or usual.openssl_capath).split(os.pathsep) if path]
    there = [path for path in found if os.path.isdir(path)]
    if folders and not there:
        raise ConfigError(f"SSL_CERT_DIR names {folders}, which does not exist")
    if not named and os.path.isfile(usual.openssl_cafile):
        there.insert(0, usual.openssl_cafile)
    return (named, *there) if named else tuple(there)


def _system_file() -> str | None:
    """The file with the system's certificates, or None."""
    return next((path for path in _SYSTEM_FILES if os.path.isfile(path)), None)


def _merged(paths: tuple[str, ...]) -> bytes:
    """The certificates of files and folders, each once.

    Raises:
        ConfigError: one cannot be read, or none holds a certificate.
    """
    found: dict[bytes, None] = {}
    for path in paths:
        for data in _contents(path):
            found.update(dict.fromkeys(match[0] for match in _CERTIFICATE.finditer(data)))
    if not found:
        raise ConfigError(f"{paths[0]} holds no certificate in PEM form")
    return b"\n".join((*found, b""))


def _contents(path: str) -> Iterator[bytes]:
    """What a file holds, or the files of a folder."""
    try:
        if not os.path.isdir(path):
            with open(path, "rb") as opened:
                yield opened.read(_LARGEST)
            return
        names = _files(path)
    except OSError as error:
        named = environment.missing_file(environment.TRUST, path)
        raise ConfigError(named or f"cannot read {path}: {error.strerror}") from None
    for name in names:
        # Keys beside the certificates may be somebody else's to read.
        with contextlib.suppress(OSError), open(name, "rb") as opened:
            yield opened.read(_LARGEST)


def _files(folder: str) -> list[str]:
    """The files of a folder, each once: systems have two links to each certificate."""
    found: dict[tuple[int, int], str] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


@functools.lru_cache(maxsize=16)
def _written(data: bytes) -> str:
    """The path of a file with that content, which is there until the process ends."""
    import tempfile  # noqa: PLC0415 - few runs need it

    try:
        descriptor, path = tempfile.mkstemp(prefix="kaiwo-", suffix=".pem")
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
    except OSError as error:
        return _in_memory(data, error)
    atexit.register(_remove, path, os.getpid())
    return path


def _in_memory(data: bytes, refusal: OSError) -> str:
    """The same where no folder can be written: a file without a name, which stays open.

    Raises:
        ConfigError: this system has none.
    """
    make: Callable[[str], int] | None = getattr(os, "memfd_create", None)
    if make is not None:
        with contextlib.suppress(OSError):
            path = f"/proc/self/fd/{make('kaiwo-certificates')}"
            with open(path, "wb") as opened:
                opened.write(data)
            return path
    raise ConfigError(
        f"cannot write a file with the trusted certificates ({refusal.strerror}); give all of "
        "them in one file as ca_bundle"
    )


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child
        with contextlib.suppress(OSError):
            os.unlink(path)


def _show(made: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Have the client show a certificate.

    Raises:
        ConfigError: certificate or key cannot be used.
    """
    import ssl  # noqa: PLC0415 - as above

    def refuse() -> str:
        raise ConfigError(
            f"the key in {key or certificate} is encrypted; give client_key without a password"
        )

    paths = [os.path.expanduser(path) for path in (certificate, key) if path is not None]
    for path in paths:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    try:
        made.load_cert_chain(paths[0], None if key is None else paths[-1], password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"the key in {paths[-1]} does not belong to the certificate in {paths[0]}"
        elif key is None:
            reason = f"{paths[0]} does not hold a certificate and its key; give client_key"
        else:
            reason = f"{paths[0]} and {paths[1]} do not hold a certificate and its key in PEM form"
        raise ConfigError(reason) from None
