"""Secrets of a task: in a field, or in a file that the field's sibling ``…_file`` names.

    secret_key: "…"                       the secret itself
    secret_key_file: /run/secrets/key     a file that holds it

A file is read at the moment of use, and never when the configuration is read. So a job that travels
to another process carries the file's path, not its content, and a secret that is renewed during a
run is seen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, Secret, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from kaiwo.errors import ConfigError
from kaiwo.files.placement import expanded
from kaiwo.tasks.fields import Model, Text


def _without_sibling(path: str, info: ValidationInfo) -> str:
    """Refuse both forms of one secret. The field for the secret itself is declared first."""
    name = info.field_name or ""
    direct = name.removesuffix("_file")
    if info.data.get(direct) is not None:
        raise PydanticCustomError("both", f"give either {direct} or {name}, not both")
    return path


#: Of a field ``…_file``: the path of a file that holds the secret.
SecretFile = Annotated[Text, AfterValidator(_without_sibling)]


class SecretFields(Model):
    """A model whose secrets may be in files."""

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """The fields that hold secrets themselves."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if _is_secret(field.annotation))

    def secret(self, name: str) -> str | None:
        """The value of a field that is given directly or, as ``<name>_file``, in a file.

        Raises:
            ConfigError: the file cannot be read, or is empty.
        """
        value = getattr(self, name)
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if value is not None:
            return str(value)
        path = getattr(self, f"{name}_file")
        return None if path is None else read_secret(path)

    def given(self, name: str) -> bool:
        """Whether a field is given, directly or as a file."""
        return getattr(self, name) is not None or getattr(self, f"{name}_file", None) is not None

    def as_given(self, name: str) -> str:
        """The field that gives a secret: the secret itself, or its file."""
        return name if getattr(self, name) is not None else f"{name}_file"

    def unreadable_secrets(self) -> Iterator[tuple[str, str]]:
        """The fields whose secret file cannot be read, and why."""
        for name, path in self._secret_files():
            try:
                read_secret(path)
            except ConfigError as error:
                yield name, error.message

    def secret_paths(self) -> Iterator[str]:
        """The secret files."""
        return (expanded(path) for _, path in self._secret_files())

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        digest = hashlib.sha256()
        for name, path in self._secret_files():
            try:
                content = read_secret(path)
            except ConfigError as error:
                content = error.message  # who opens the source gets this error
            digest.update(f"{name}:{len(content)}:{content}".encode())
        return digest.digest()

    def _secret_files(self) -> Iterator[tuple[str, Any]]:
        """Fields that name a secret file, and its path."""
        fields = type(self).model_fields
        for name in fields:
            # ``ready_file`` has no sibling: it is a file and no secret.
            is_sibling = name.endswith("_file") and name.removesuffix("_file") in fields
            if is_sibling and (path := getattr(self, name)) is not None:
                yield name, path


def content_digest(path: str) -> bytes:
    """A digest of a file that the environment names; it changes when the file does."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError as error:
        return str(error.errno).encode()


def _is_secret(annotation: Any) -> bool:
    """Whether a value of that type, or of one in it, is a secret."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, SecretStr | Secret):
        return True
    return any(_is_secret(each) for each in get_args(annotation))


def read_secret(path: str) -> str:
    """The content of a secret file, without its trailing newline.

    Raises:
        ConfigError: it cannot be read, is no text, or is empty.
    """
    try:
        with open(expanded(path), encoding="utf-8-sig") as file:
            content = file.read().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not text") from error
    if not content.strip():
        raise ConfigError(f"{path} is empty")
    return content
