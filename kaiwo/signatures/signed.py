"""A listing of which every object has the digest that was signed.

Each bundle is read and checked once. Then an item with an object that is not signed has failed, and
so has one that lacks a signed object which it asks for: before the first byte of them is read. What
the bytes must have is noted with each object, and compared wherever bytes are: as they arrive, and
at the target (``Transfer.required``).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import units
from kaiwo.engine.questions import ask_all
from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import (
    ConfigError,
    DeadlineError,
    KaiwoError,
    NotFoundError,
    SignatureError,
)
from kaiwo.jobs import BundleJob, Want
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Checksum, Folder, RemoteObject, Signature
from kaiwo.planning.gather import Listing, described
from kaiwo.protocols import Opener
from kaiwo.signatures.envelope import opened
from kaiwo.signatures.statement import Statement, parsed
from kaiwo.signatures.trust import Trust, require_signed, trust_of
from kaiwo.workers import bundles
from kaiwo.workers.globs import matcher

logger = logging.getLogger(__name__)
#: Bundles that are read at once.
AT_ONCE = 8
#: At most this many objects are named in one message.
_MOST_NAMED = 10
#: A bundle, and what it must be signed with.
_Which = tuple[Opener, Signature]
#: What is asked for, and its objects.
_Found = tuple[Want, tuple[RemoteObject, ...]]


class _Signed(Struct, frozen=True):
    """A bundle that was checked: what it says, and the digest of the bundle itself."""

    statement: Statement
    own: Checksum


def trusted(wants: Iterable[Want]) -> dict[Signature, Trust]:
    """The keys and certificates that wants name, read from their files.

    Raises:
        ConfigError: they cannot be used.
    """
    found: dict[Signature, Trust] = {}
    for want in (each for asked in wants for each in asked.readings()):
        if (signature := want.signature) is None:
            continue
        at = f"{want.where}: " if want.where else ""
        if want.required is not None:
            raise ConfigError(
                f"{at}checksum and signature exclude each other: the signature says what the "
                "bytes must have; leave the checksum out"
            )
        if signature not in found:
            try:
                found[signature] = trust_of(signature)
            except ConfigError as error:
                raise ConfigError(f"{at}{error.message}") from None
    return found


def signed(
    listing: Listing,
    trusts: Mapping[Signature, Trust],
    executor: Executor,
    policy: RetryPolicy,
    *,
    until_s: float | None = None,
) -> Listing:
    """The listing, each object with its signed digest; items that are not signed have failed.

    Args:
        listing: see there.
        trusts: see ``trusted``.
        executor: where bundles are read.
        policy: which failures are retried, and when.
        until_s: the run's deadline, by the monotonic clock.
    """
    which: dict[_Which, None] = {
        (want.opener, want.signature): None
        for want, _ in listing.found
        if want.signature is not None
    }
    held = {each: _held(listing, *each) for each in which}
    read = _read(held, executor, policy, until_s)
    checked = {each: _checked(data, each, trusts) for each, data in read.items()}
    found: list[_Found] = []
    failed = list(listing.failed)
    for want, objects in listing.found:
        if want.signature is None:
            found.append((want, objects))
            continue
        state = checked[want.opener, want.signature]
        try:
            if isinstance(state, KaiwoError):
                raise state
            found.append((want, _judged(want, objects, state, is_locked=listing.locked)))
        except KaiwoError as error:
            at = f"{want.where}: " if want.where else ""
            failed.append((want, type(error)(f"{at}{error.message}", *error.args[1:])))
    return replace(listing, found=tuple(found), failed=tuple(failed))


def _held(listing: Listing, opener: Opener, signature: Signature) -> RemoteObject | None:
    """The bundle as a lock has it."""
    if not listing.locked:
        return None
    objects = (each for want, found in listing.found if want.opener == opener for each in found)
    return next((each for each in objects if each.key == signature.bundle), None)


def _read(
    which: Mapping[_Which, RemoteObject | None],
    executor: Executor,
    policy: RetryPolicy,
    until_s: float | None,
) -> dict[_Which, bytes | KaiwoError]:
    """The bytes of each bundle, or why they are not to be had."""
    names = {(opener, signature.bundle): held for (opener, signature), held in which.items()}
    results: dict[tuple[Opener, str], bytes | KaiwoError] = {}

    def take(job: BundleJob, found: bundles.Read) -> None:
        results[job.opener, job.key] = found.data

    def fail(job: BundleJob, error: KaiwoError) -> None:
        results[job.opener, job.key] = error

    ask_all(
        (BundleJob(number, *name, held) for number, (name, held) in enumerate(names.items())),
        bundles.run,
        executor,
        policy,
        at_once=AT_ONCE,
        until_s=until_s,
        take=take,
        fail=fail,
    )
    late = DeadlineError("the deadline passed before its signature was read")
    return {each: results.get((each[0], each[1].bundle), late) for each in which}


def _checked(
    data: bytes | KaiwoError, which: _Which, trusts: Mapping[Signature, Trust]
) -> _Signed | KaiwoError:
    """What a bundle says, once it is known who signed it; else why it does not count."""
    if isinstance(data, KaiwoError):
        return data
    opener, signature = which
    try:
        statement = _believed(data, opener.url(signature.bundle), trusts[signature])
    except SignatureError as error:
        return error
    return _Signed(statement, Checksum("sha256", hashlib.sha256(data).hexdigest()))


def _believed(data: bytes, url: str, trust: Trust) -> Statement:
    """What was signed by who is trusted.

    Raises:
        SignatureError: it is not, or it is another state than the one that is pinned.
    """
    envelope = opened(data, url)
    signer = require_signed(envelope, trust, url)
    statement = parsed(envelope.payload, url)
    has, pinned = statement.digest.value, trust.signature.digest
    if pinned and has != pinned:
        raise SignatureError(
            f"{url}: another state was signed than the one that `digest` pins: this is sha256:{has}"
        )
    files = units.count(len(statement.files), "file")
    logger.info("%s: %s, signed by %s; digest: sha256:%s", url, files, signer, has)
    return statement


def _judged(
    want: Want, objects: Sequence[RemoteObject], state: _Signed, *, is_locked: bool
) -> tuple[RemoteObject, ...]:
    """The objects with their signed digests.

    Raises:
        SignatureError: one of them is not signed, or a signed one that is asked for is missing.
        NotFoundError: nothing of what was asked for is signed.
    """
    signature, selection = want.signature, want.selection
    if signature is None:
        raise TypeError(want)
    is_folder = isinstance(selection, Folder)
    names = [each.key for each in objects]
    is_web_task = is_web(want.opener.url(""))
    if is_web_task:  # a query says nothing of the file
        names = [name.partition("?")[0] for name in names]
    is_address = is_web_task and not is_folder
    digests = [_digest_of(name, signature, state, is_address=is_address) for name in names]
    url = want.opener.url(signature.bundle)
    unsigned = [each.key for each, digest in zip(objects, digests, strict=True) if digest is None]
    if unsigned and not (signature.skips and is_folder):
        also = "; `unsigned: skip` leaves such files out" if is_folder else ""
        raise SignatureError(f"{url} does not name {_some(want, unsigned)}: not signed{also}")
    if unsigned:
        logger.warning("%s does not name %s: left out", url, _some(want, unsigned))
    if isinstance(selection, Folder) and not is_locked:
        asked = _selected(selection, (signature.folder + name for name in state.statement.files))
        if missing := sorted({*asked} - {*names}):
            raise SignatureError(f"{url} names {_some(want, missing)}, which is not there")
    if unsigned and len(unsigned) == len(objects) and not want.allow_empty:
        raise NotFoundError(f"{described(want)}: nothing that matches is signed")
    found = [
        replace(each, signed=digest)
        for each, digest in zip(objects, digests, strict=True)
        if digest is not None
    ]
    if is_locked:
        _require_agreement(want, found)
    return tuple(found)


def _digest_of(
    name: str, signature: Signature, state: _Signed, *, is_address: bool
) -> Checksum | None:
    """What the bytes of a file must have; None if it is not signed.

    Args:
        name: its key.
        signature: where its bundle is.
        state: what the bundle says.
        is_address: the name may be escaped (``my%20model``), as in a browser.
    """
    if name == signature.bundle:
        return state.own  # what was checked is what is published
    if not name.startswith(signature.folder):
        return None
    relative = name[len(signature.folder) :]
    return state.statement.files.get(unquote(relative) if is_address else relative)


def _selected(selection: Folder, keys: Iterable[str]) -> Iterator[str]:
    """The keys that a folder item asks for."""
    matches, prefix = matcher(selection), selection.prefix
    return (key for key in keys if key.startswith(prefix) and matches(key[len(prefix) :]))


def _require_agreement(want: Want, objects: Iterable[RemoteObject]) -> None:
    """A lock must not have other bytes than the signature."""
    for each in objects:
        locked, digest = each.checksum, each.signed
        if locked and digest and locked.algorithm == digest.algorithm and locked != digest:
            raise SignatureError(
                f"{want.opener.url(each.key)}: the lock has other bytes than those that were "
                "signed; `kaiwo lock` writes what is there now"
            )


def _some(want: Want, keys: Sequence[str]) -> str:
    named = ", ".join(want.opener.url(key) for key in keys[:_MOST_NAMED])
    more = len(keys) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named
