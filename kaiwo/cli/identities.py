"""Whose rights each provider's own chain would use, from variables and files alone.

No network, no secret: names of variables and paths of files only. What comes after these in a chain
asks another service (a metadata address, an identity endpoint, another program).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from kaiwo.tasks import azure_identity, gcs_identity


class Identity(Struct, frozen=True):
    """What a chain finds first.

    Attributes:
        found: where, in a few words.
        sources: the variables and files that say so.
        problem: why that would fail, if it is known; empty if not.
    """

    found: str
    sources: tuple[str, ...] = ()
    problem: str = ""


def identities() -> Mapping[str, Identity]:
    """For each provider, what its chain finds first."""
    return {name: next(find()) for name, find in _CHAINS.items()}


def _s3() -> Iterator[Identity]:
    key, secret = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
    profile = tuple(name for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE") if _is_set(name))
    given = tuple(name for name in (key, secret, "AWS_SESSION_TOKEN") if _is_set(name))
    if not profile and (_is_set(key) or _is_set(secret)):
        missing = next((name for name in (key, secret) if not _is_set(name)), "")
        yield Identity("keys", given, f"{missing} is missing" if missing else "")
    if _is_set("AWS_ROLE_ARN") and _is_set(token := "AWS_WEB_IDENTITY_TOKEN_FILE"):
        yield Identity("web identity", ("AWS_ROLE_ARN", token), _fault_of_file(token))
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
        "AWS_CONFIG_FILE": "~/.aws/config",
    }
    paths = (os.path.expanduser(os.environ.get(name) or usual) for name, usual in files.items())
    there = tuple(path for path in paths if os.path.exists(path))
    if profile or there:
        problem = "" if there else f"{profile[0]} is set, and there is no file with profiles"
        yield Identity("shared files", (*profile, *there), problem)
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        if _is_set(name):
            tokens = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
            token = next(filter(_is_set, tokens), "")
            problem = _fault_of_file(token) if token == tokens[0] else ""
            yield Identity("credentials of the container", (name, *filter(None, [token])), problem)
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        yield Identity("none: the instance's metadata is off", ("AWS_EC2_METADATA_DISABLED",))
    if _is_set(name := "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        yield Identity("the instance's metadata", (name,))
    yield Identity("nothing here: the instance's metadata would be asked")


def _gcs() -> Iterator[Identity]:
    if (file := gcs_identity.ambient_file()) is not None:
        is_named = file.place == gcs_identity.VARIABLE
        problem = _fault_of_file(gcs_identity.VARIABLE) if is_named else ""
        yield Identity(_kind_of_json(file.path), (file.place,), problem)
    if (variable := gcs_identity.metadata_variable()) is not None:
        yield Identity("service account of the metadata server", (variable,))
    yield Identity("nothing here: the metadata server would be asked")


def _kind_of_json(path: str) -> str:
    """Of whom Google's file is: its type, and the account where it names one."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return gcs_identity.described(file.read())
    except (OSError, ValueError):
        return "a file"


def _azure() -> Iterator[Identity]:
    connection, account = "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME"
    proofs = tuple(filter(_is_set, ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN")))
    if _is_set(connection):
        yield Identity("connection string", (connection,))
    if _is_set(account) and proofs:
        yield Identity("account key or signature", (account, *proofs))
    who = (azure_identity.TENANT, azure_identity.CLIENT)
    whole = next(azure_identity.ambient(), None)
    half = next(filter(_is_set, (*azure_identity.PROOFS, azure_identity.FEDERATION)), None)
    if whole is None and half is not None:
        missing = next(name for name in who if not _is_set(name))
        kind = "workload" if half == azure_identity.FEDERATION else "principal"
        yield Identity(_AZURE[kind], (*filter(_is_set, who), half), f"{missing} is missing")
    if whole is not None:
        kind, variable = whole
        is_file = variable in (azure_identity.CERTIFICATE, azure_identity.FEDERATION)
        needed = who if kind in ("principal", "workload") else ()
        problem = _fault_of_file(variable) if is_file else ""
        yield Identity(_AZURE[kind], (*filter(_is_set, needed), variable), problem)
    yield Identity(f"nothing here: {azure_identity.MACHINE} would be asked")


#: What each kind of identity is called, see ``azure_identity.ambient``.
_AZURE = {
    "principal": "service principal",
    "adlfs": "service principal",
    "user": "user with a password",
    "workload": "workload identity",
    "managed": "managed identity",
    "chain": "chosen by the SDK",
}


def _hf() -> Iterator[Identity]:
    from huggingface_hub import constants  # noqa: PLC0415 - doctor only

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        yield Identity("none: it is switched off", ("HF_HUB_DISABLE_IMPLICIT_TOKEN",))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if _is_set(name):
            yield Identity("a token", (name,))
    if os.path.exists(constants.HF_TOKEN_PATH):
        yield Identity("a login", (constants.HF_TOKEN_PATH,))
    yield Identity("none: public repositories only")


_CHAINS: Mapping[str, Callable[[], Iterator[Identity]]] = {
    "s3": _s3,
    "gcs": _gcs,
    "azure-blob": _azure,
    "hf": _hf,
}


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))


def _fault_of_file(name: str) -> str:
    """Why the file that a variable names cannot be used; empty if it can be read."""
    path = os.path.expanduser(os.environ[name])
    if not os.path.exists(path):
        return f"{path} does not exist"
    return "" if os.access(path, os.R_OK) else f"{path} cannot be read"
