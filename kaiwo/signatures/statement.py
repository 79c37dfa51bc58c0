"""What was signed: names of files and their digests, in an in-toto statement of model_signing.

It is read only after its signature was checked. Names are data all the same: they are relative to
the folder of the bundle, and a name that could lead elsewhere stands for no file. ``ignore_paths``
is not believed: what it names is not signed. The only method is one sha256 for each file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from kaiwo import checksums
from kaiwo.errors import SignatureError
from kaiwo.objects import Checksum

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
#: A message quotes no more of a word.
_LONGEST = 200
_OLDER = "https://model_signing/Digests/v0.1"


class Statement(Struct, frozen=True):
    """What was signed.

    Attributes:
        digest: the sha256 of the payload: it names this state of the model.
        files: what the bytes of each file must have, by its name.
    """

    digest: Checksum
    files: dict[str, Checksum]


class _Subject(Struct, frozen=True):
    name: str = ""
    digest: dict[str, str] = {}


class _Resource(Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Serialization(Struct, frozen=True):
    method: str = ""
    hash_type: str = ""


class _Predicate(Struct, frozen=True):
    serialization: _Serialization
    resources: tuple[_Resource, ...] = ()


class _Payload(Struct, frozen=True, rename="camel"):
    type_: str = msgspec.field(name="_type", default="")
    predicate_type: str = ""
    predicate: msgspec.Raw = msgspec.Raw(b"{}")
    subject: tuple[_Subject, ...] = ()


def parsed(payload: bytes, url: str) -> Statement:
    """The statement of a payload whose signature was checked.

    Args:
        payload: of the envelope.
        url: of the bundle, for errors.

    Raises:
        SignatureError: it is none that kaiwo can follow.
    """
    try:
        statement = msgspec.json.decode(payload, type=_Payload)
        if statement.type_ != _STATEMENT or statement.predicate_type != _PREDICATE:
            raise _not_followed(url, _kind_of(statement))
        predicate = msgspec.json.decode(statement.predicate, type=_Predicate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_followed(url, "is damaged") from None
    how = predicate.serialization
    if how.method != "files":
        fault = (
            f"is by the method {how.method[:_LONGEST]!r}, and kaiwo knows 'files': sign whole files"
        )
        raise _not_followed(url, fault)
    kinds = {how.hash_type, *(each.algorithm for each in predicate.resources)}
    if kinds != {"sha256"}:
        named = ", ".join(sorted(repr(each[:_LONGEST]) for each in kinds - {"sha256"})[:3])
        raise _not_followed(url, f"has digests of {named}, and kaiwo knows 'sha256': sign with it")
    _require_root(statement.subject, predicate.resources, url)
    files = dict(_files(predicate.resources, statement.subject[0].name, url))
    digest = Checksum("sha256", hashlib.sha256(payload).hexdigest())
    return Statement(digest, files)


def _kind_of(statement: _Payload) -> str:
    if statement.predicate_type == _OLDER:
        return "was made by model_signing before 1.0: sign the model again"
    return f"is no statement of type {_PREDICATE}"


def _not_followed(url: str, fault: str) -> SignatureError:
    return SignatureError(f"{url}: what was signed {fault}")


def _require_root(subjects: tuple[_Subject, ...], found: Iterable[_Resource], url: str) -> None:
    """The statement's own digest must be that of all digests in it."""
    root = hashlib.sha256()
    for each in found:
        root.update(bytes.fromhex(_checksum(each, url).value))
    if len(subjects) != 1 or subjects[0].digest.get("sha256", "").lower() != root.hexdigest():
        raise _not_followed(url, "contradicts itself: its digests are not those of its subject")


def _files(found: Iterable[_Resource], own_name: str, url: str) -> Iterator[tuple[str, Checksum]]:
    """Each name once, with its digest; names that stand for no file are left out."""
    digests: dict[str, Checksum] = {}
    for each in found:
        # A model that is one file is named by the statement's subject.
        name, checksum = own_name if each.name == "." else each.name, _checksum(each, url)
        if digests.setdefault(name, checksum) != checksum:
            raise _not_followed(url, f"has two digests for {name[:_LONGEST]!r}")
    return ((name, digest) for name, digest in digests.items() if _is_plain(name))


def _checksum(resource: _Resource, url: str) -> Checksum:
    found = checksums.stated("sha256", resource.digest)
    if found is None or found.value != resource.digest.lower():
        raise _not_followed(url, f"has no sha256 for {resource.name[:_LONGEST]!r}")
    return found


def _is_plain(name: str) -> bool:
    """Whether it can be the name of a file below the folder of the bundle."""
    return not {"", ".", ".."} & {*name.split("/")} and "\0" not in name
