"""Types of fields: what a value in the file may be, checked when the file is read.

Longer than 300 lines: one type of a field each, and the functions that check them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.names import fault_of
from kaiwo.loading import loading
from kaiwo.workers.globs import glob_pattern

#: A scheme and ``://``; a path may have ``:`` in it.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Model(BaseModel):
    """The base of all that a user may write: frozen, no unknown keys, no value in any error."""

    # Most models are parts of others, and never checked by themselves; see ``complete``.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    @classmethod
    def complete(cls) -> type[Self]:
        """The class, ready to check values: pydantic lets several threads divide that."""
        if not cls.__pydantic_complete__:
            with loading():
                cls.model_rebuild()
        return cls

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact.text(value) if isinstance(value, str) else value


#: The length is that of AWS; other stores have other names behind the colons.
_ROLE = r"arn:[!-~]{16,2044}"
#: What a name of a host may have, and the underscore of some emulators.
_ACCOUNT = r"[A-Za-z0-9_-]{1,63}"
_NO_ACCOUNT = (
    "the name of a storage account has letters, digits, '-' and '_' only, at most 63; an address "
    "goes into endpoint_url"
)
#: What no URL has; the engines would fail on it, each in its own way.
_NO_URL = re.compile(r"[^!-~]|[<>\"{}|\\^`]")


def require_endpoint(address: str, *, user_info: bool = False) -> str:
    """The address of a service, checked; for what a secret file or the environment holds.

    Args:
        address: of the service.
        user_info: the service is asked with the user and password of its address.

    Raises:
        ConfigError: it cannot be the address of a service.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError("an endpoint must begin with http:// or https://")
    if _NO_URL.search(address):
        raise ConfigError(
            'an endpoint has ASCII characters only, no spaces, and none of <>"{}|\\^`; hosts of '
            "other letters are written as xn--..., and other characters as %20"
        )
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("an endpoint needs a host, and a port that is a number")
    if parts.username is not None and not user_info:
        raise ConfigError(
            "an endpoint names no user and password ('@'); credentials go into their fields, best "
            "as files (..._file)"
        )
    if parts.query or parts.fragment:
        raise ConfigError(
            "an endpoint ends before '?' and '#'; a signature goes into its own field"
        )
    return address


def _endpoint(address: str, *, user_info: bool = False) -> str:
    try:
        return require_endpoint(address, user_info=user_info)
    except ConfigError as error:
        raise PydanticCustomError("endpoint", "{fault}", {"fault": error.message}) from None


def _role(arn: str) -> str:
    if re.fullmatch(_ROLE, arn) is None:
        raise PydanticCustomError(
            "role", "must be an ARN, such as arn:aws:iam::123456789012:role/r"
        )
    return arn


def require_account(name: str, place: str) -> None:
    """The name of a storage account, checked: it begins the host that its tokens go to.

    Args:
        name: of the account.
        place: what gives it, for the message.

    Raises:
        ConfigError: with it, the address would be that of another host.
    """
    if re.fullmatch(_ACCOUNT, name) is None:
        raise ConfigError(f"{place}: {_NO_ACCOUNT}")


def _account(name: str) -> str:
    if re.fullmatch(_ACCOUNT, name) is None:
        raise PydanticCustomError("account", _NO_ACCOUNT)
    return name


def require_local(path: str) -> str:
    """A path of this machine; kaiwo only downloads.

    Raises:
        ConfigError: it is a URL.
    """
    if match := _URL.match(path):
        raise ConfigError(
            f"this is a URL ({match[0]}), but must be a path: kaiwo only downloads, to local files"
        )
    return path


def _local(path: str) -> str:
    try:
        return require_local(path)
    except ConfigError as error:
        raise PydanticCustomError("local", "{fault}", {"fault": error.message}) from None


def _inside(target_path: str) -> str:
    """Refuse a target that climbs, or that no file can have."""
    segments = [name for name in target_path.split("/") if name not in ("", ".")]
    if ".." in segments:
        raise PydanticCustomError("target", "'..' would climb out of the download root")
    if segments and (fault := fault_of("/".join(segments))):
        raise PydanticCustomError("target", "{fault}", {"fault": fault})
    return target_path


#: For a schema: ``${`` that begins no variable. See ``config/expansion.py``.
BROKEN_VARIABLE = r"(?<!\$)\$\{(?![A-Za-z_][A-Za-z0-9_]*(?::-[^{}]*)?\})"


def matching(pattern: str, *examples: str) -> WithJsonSchema:
    """The schema of a string that matches a pattern, or names variables (``${NAME}``)."""
    text: dict[str, Any] = {
        "type": "string",
        "pattern": rf"^(?:{pattern}|[\s\S]*\$\{{[\s\S]*)$",
        "not": {"pattern": BROKEN_VARIABLE},
    }
    return WithJsonSchema(text | ({"examples": list(examples)} if examples else {}))


def any_case(word: str) -> str:
    """A pattern for a word in upper and lower case: JSON Schema's have no flags."""
    letters = (f"[{each.upper()}{each.lower()}]" if each.isalpha() else each for each in word)
    return "".join(letters)


Text = Annotated[str, StringConstraints(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
#: An address may hold user info or a signature, which are used and never shown.
Address = Annotated[Text, PlainSerializer(redact.text, return_type=str)]
Endpoint = Annotated[
    Address,
    AfterValidator(_endpoint),
    matching(r"https?://[^/?#@]+(?:/[^?#]*)?", "https://s3.amazonaws.com", "http://localhost:9000"),
]
Account = Annotated[Text, AfterValidator(_account), matching(_ACCOUNT, "mystorageaccount")]
RoleArn = Annotated[
    Text,
    AfterValidator(_role),
    matching(_ROLE, "arn:aws:iam::123456789012:role/reader"),
]
#: A mirror on the web may ask for a user and a password.
MirrorEndpoint = Annotated[
    Address,
    AfterValidator(partial(_endpoint, user_info=True)),
    matching(r"https?://[^/?#]+[^?#]*", "https://huggingface.co", "http://localhost:8080"),
]
#: A path of this machine, and no URL.
LocalPath = Annotated[Text, AfterValidator(_local), matching(rf"(?!{_URL.pattern})[\s\S]+")]
TargetPath = Annotated[
    LocalPath,
    AfterValidator(_inside),
    matching(
        rf"(?!{_URL.pattern})(?!(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\x7f]+",
        "models/",
        "data/table.csv",
        "/models",
    ),
]


def _one_name(name: str) -> str:
    """A name that a file in a folder may have."""
    fault = "it has a '/'" if "/" in name else fault_of(name)
    if fault:
        raise PydanticCustomError("name", "must be the name of a file: {fault}", {"fault": fault})
    return name


FileName = Annotated[
    Text,
    AfterValidator(_one_name),
    matching(r"(?!\.\.?$)[^/\x00-\x1f\x7f]+", ".ready"),
]


def _require_glob(glob: str) -> str:
    try:
        glob_pattern(glob)
    except ValueError as error:
        raise PydanticCustomError("glob", "'**' must be a whole path segment") from error
    if glob.endswith("/"):
        # Only folders would match, and an exclude that excludes nothing is not seen by anybody.
        raise PydanticCustomError("glob", "ends in '/': only files match; write '/**' for a folder")
    return glob


def _number(value: Any) -> str:
    """One glob or several; a tag with a space is no step of a location in the file."""
    return "several globs" if isinstance(value, list | tuple) else "one glob"


_Glob = Annotated[
    Text,
    AfterValidator(_require_glob),
    matching(r"(?!.*[^/]\*\*)(?!.*\*\*[^/]).*[^/]", "*.csv", "**/*.csv", "tmp/**"),
]
_OneGlob = Annotated[_Glob, Tag("one glob")]
#: One glob, or a list of them.
Globs = Annotated[
    _OneGlob | Annotated[tuple[_Glob, ...], Field(min_length=1), Tag("several globs")],
    Discriminator(_number),
]
#: The same; the list may be empty, which is what a template without values leaves.
Exclude = Annotated[
    _OneGlob | Annotated[tuple[_Glob, ...], Tag("several globs")], Discriminator(_number)
]


def listed(globs: str | tuple[str, ...]) -> tuple[str, ...]:
    """One glob or several, as several."""
    return (globs,) if isinstance(globs, str) else globs


#: Algorithms of an item's checksum, and their hexadecimal digits.
ALGORITHMS = {"sha256": 64, "md5": 32, "crc32c": 8, "crc64nvme": 16}


def _normal_checksum(text: str) -> str:
    """The algorithm and the hexadecimal digits of a checksum, with ``:`` between them."""
    from kaiwo import checksums  # noqa: PLC0415 - few files have one

    algorithm, _, value = text.partition(":")
    algorithm, value = algorithm.strip().lower(), value.strip()
    digits = ALGORITHMS.get(algorithm)
    if digits is None:
        *some, last = (f"{name}:…" for name in ALGORITHMS)
        raise PydanticCustomError("checksum", f"must be {', '.join(some)} or {last}")
    # A part of the digits may be base64, too.
    is_part = re.fullmatch("[0-9A-Fa-f]+", value) is not None and len(value) != digits
    found = None if is_part else checksums.stated(algorithm, value)
    if found is None:
        encoded = -(-digits // 6) * 4
        raise PydanticCustomError(
            "checksum",
            f"a {algorithm} has {digits} hexadecimal digits, or {encoded} characters of base64",
        )
    return f"{found.algorithm}:{found.value}"


def _spelled(algorithm: str, digits: int) -> str:
    """The pattern of a checksum: as few equal signs at the end as base64 has."""
    letters, length = -(-digits * 4 // 6), -(-digits // 6) * 4
    padding = f"(?:{'=' * (length - letters)})?"
    encoded = rf"(?![0-9A-Fa-f]+\s*$)[A-Za-z0-9+/_-]{{{letters}}}{padding}"
    return rf"\s*{any_case(algorithm)}\s*:\s*(?:[0-9A-Fa-f]{{{digits}}}|{encoded})\s*"


ItemChecksum = Annotated[
    Text,
    AfterValidator(_normal_checksum),
    matching(
        "(?:" + "|".join(_spelled(*each) for each in ALGORITHMS.items()) + ")",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ),
]
