"""A task's ``signature``: where the signature of a model is, and who must have signed it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kaiwo import objects
from kaiwo.objects import Folder, Named
from kaiwo.tasks.fields import LocalPath, Model, Text, matching

#: What an identity of Sigstore consists of.
_OF_IDENTITY = ("identity", "identity_provider", "trust_root")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)


def _relative(bundle: str) -> str:
    names = bundle.removeprefix("/").split("/")
    if {"", ".", ".."} & {*names}:
        raise PydanticCustomError("bundle", "must name a file below the folder, without '..'")
    return bundle


def _digest(text: str) -> str:
    if (found := _DIGEST.fullmatch(text)) is None:
        raise PydanticCustomError("digest", "must be sha256: and 64 hexadecimal digits")
    return found[1].lower()


def _number(value: Any) -> str:
    """One file or several; a tag with a space is no step of a location in the file."""
    return "several files" if isinstance(value, list | tuple) else "one file"


_Files = Annotated[
    Annotated[LocalPath, Tag("one file")] | Annotated[tuple[LocalPath, ...], Tag("several files")],
    Discriminator(_number),
]


def _only(*names: str) -> dict[str, Any]:
    """For a schema: of the fields that say who signs, these are given at most."""
    return {name: {"enum": [None, []]} for name in _OF_SIGNERS if name not in names}


_OF_SIGNERS = ("key", "certificate", "subject", "valid_at", *_OF_IDENTITY)
#: For a schema: a key, or certificates and a subject, or an identity with what it needs.
_ONE_SIGNER: dict[str, Any] = {
    "if": {
        "required": ["certificate"],
        "properties": {"certificate": {"not": {"enum": [None, []]}}},
    },
    "then": {
        "required": ["subject"],
        "properties": _only("certificate", "subject", "valid_at"),
    },
    "else": {
        "if": {"required": ["identity"], "properties": {"identity": {"not": {"type": "null"}}}},
        "then": {"required": [*_OF_IDENTITY], "properties": _only(*_OF_IDENTITY)},
        "else": {"required": ["key"], "properties": _only("key")},
    },
}


class Signature(Model):
    """Which signature says what may arrive, and whose it must be."""

    model_config = ConfigDict(json_schema_extra=_ONE_SIGNER)

    bundle: Annotated[Text, AfterValidator(_relative)] = Field(
        description="The file with the signature: relative to the folder of an item, of a "
        "``file`` item to the file's folder, of ``hf`` tasks to the repository. One that begins "
        "with ``/`` is relative to the bucket."
    )
    key: LocalPath | None = Field(None, description="PEM file with the public key of who signs.")
    certificate: _Files = Field(
        (), description="PEM files, one or a list, with the certificates that are trusted."
    )
    subject: Text | None = Field(
        None,
        description="Whose the signing certificate must be: its subject "
        "(``CN=release,O=Example``), or another name of it with its kind (``email:…``, ``URI:…``, "
        "``DNS:…``).",
    )
    valid_at: AwareDatetime | None = Field(
        None, description="Judge certificates at that time, not now."
    )
    identity: Text | None = Field(
        None,
        description="Who must have signed by Sigstore: an e-mail address, or a workflow's URI.",
    )
    identity_provider: Text | None = Field(
        None, description="Who must have vouched for the identity: the URL of an OpenID provider."
    )
    trust_root: LocalPath | None = Field(
        None,
        description="File with the authorities and logs of Sigstore that are trusted: its "
        "``trusted_root.json``.",
    )
    digest: (
        Annotated[
            Text,
            AfterValidator(_digest),
            matching("[sS][hH][aA]256:[0-9A-Fa-f]{64}", f"sha256:{'0' * 64}"),
        ]
        | None
    ) = Field(
        None,
        description="Only this signed state: the sha256 of what was signed, as a run logs it.",
    )
    unsigned: Literal["refuse", "skip"] = Field(
        "refuse",
        description="What becomes of files in folders that are not signed: ``refuse`` fails the "
        "item, ``skip`` leaves them out.",
    )

    @model_validator(mode="after")
    def _with_one_signer(self) -> Signature:
        fault = None
        of_identity = [getattr(self, name) is not None for name in _OF_IDENTITY]
        given = (self.key is not None, bool(self.certificate), any(of_identity))
        if sum(given) != 1:
            fault = "a signature needs one of key, certificate and identity: who must have signed"
        elif self.certificate and self.subject is None:
            fault = "certificate needs subject: a root vouches for others, too"
        elif any(of_identity) and not all(of_identity):
            fault = "an identity needs identity, identity_provider and trust_root"
        elif not self.certificate and (self.subject or self.valid_at):
            fault = "subject and valid_at are for a certificate"
        if fault:
            raise PydanticCustomError("signature", "{fault}", {"fault": fault})
        return self

    def of(self, folder: str) -> objects.Signature:
        """What it asks for in a folder, which is empty or ends in ``/``."""
        is_of_bucket = self.bundle.startswith("/")
        bundle = self.bundle[1:] if is_of_bucket else folder + self.bundle
        files = (self.certificate,) if isinstance(self.certificate, str) else self.certificate
        return objects.Signature(
            bundle,
            bundle[: bundle.rfind("/") + 1],
            self.key,
            files,
            self.subject or "",
            None if self.valid_at is None else self.valid_at.timestamp(),
            self.digest or "",
            self.unsigned == "skip",
            self.identity or "",
            self.identity_provider or "",
            self.trust_root or "",
        )


def folder_of(selection: Folder | Named) -> str:
    """The folder of what an item asks for: empty, or ending in ``/``."""
    if isinstance(selection, Folder):
        return selection.prefix
    key = selection.keys[0].partition("?")[0]
    return key[: key.rfind("/") + 1]
