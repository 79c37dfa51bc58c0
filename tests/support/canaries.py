"""Canaries: a secret for every credential field of every task type, and a search for them.

A canary is a text that appears nowhere else, in a form that its field accepts. If the output of a
run, or a file that it leaves behind, contains a canary, plain or encoded, the secret has leaked.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from tests.support import certificates

#: Of every type, the sets of fields that together are a way in. What is a secret in a way has to
#: stand here, so that a new field cannot be forgotten.
WAYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "s3": (
        ("access_key_id", "secret_key", "session_token"),
        ("access_key_id", "secret_key"),
        ("access_key_id", "secret_key", "customer_key"),
    ),
    "gcs": (("application_credentials",), ("token",)),
    "azure-blob": (
        ("connection_string",),
        ("account_name", "account_key"),
        ("account_name", "sas_token"),
        ("account_name", "tenant_id", "client_id", "client_secret"),
        ("account_name", "tenant_id", "client_id", "principal_certificate"),
    ),
    "hf": (("token",),),
    "url": (("options",),),
}
_LETTERS = string.ascii_letters + string.digits
_BASE64 = _LETTERS + "/+"


@dataclass
class Canaries:
    """Secrets, and the search for them.

    Attributes:
        seed: of what they are made of.
    """

    seed: str
    _texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def new(self, label: str, letters: str = _BASE64, length: int = 40) -> str:
        """A text that is looked for from now on."""
        return self.known(label, "".join(self._random.choices(letters, k=length)))

    def known(self, label: str, text: str) -> str:
        """Look for a text that is there already."""
        self._texts[f"{label} #{len(self._texts)}"] = text
        return text

    def value(self, type_: str, name: str, base: str) -> Any:
        """A well-formed value of a field, which no service knows; it may speak to ``base``."""
        label = f"{type_}.{name}"
        shapes: dict[str, Callable[[], Any]] = {
            "access_key_id": lambda: self.new(label, string.ascii_uppercase + string.digits, 20),
            "account_key": lambda: self._encoded(label),
            "customer_key": lambda: self._encoded(label, 32),
            "principal_certificate": lambda: self._certified(label),
            "sas_token": lambda: f"sv=2024-11-04&sr=c&sig={quote(self._encoded(label), safe='')}",
            "connection_string": lambda: (
                f"AccountName=a;AccountKey={self._encoded(label)};BlobEndpoint={base}/account"
            ),
            "application_credentials": lambda: json.dumps(self._service_account(label, base)),
            "options": lambda: {
                "client_kwargs": {"headers": {"Authorization": f"Bearer {self.new(label)}"}}
            },
            "account_name": lambda: "account",
            "tenant_id": lambda: "tenant",
            "client_id": lambda: "client",
        }
        return shapes.get(name, lambda: self.new(label, _LETTERS))()

    def _encoded(self, label: str, length: int = 48) -> str:
        return base64.b64encode(self.new(label, length=length).encode()).decode()

    def _certified(self, label: str) -> str:
        pem, _ = certificates.rsa_certified()
        for line in pem.partition("PRIVATE KEY-----")[2].splitlines()[1:-1]:
            if "-----" in line:
                break
            self.known(label, line)
        return pem

    def _service_account(self, label: str, base: str) -> dict[str, str]:
        for line in certificates.rsa_key().splitlines()[1:-1]:
            self.known(label, line)
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": self.new(label, _LETTERS),
            "private_key": certificates.rsa_key(),
            "client_email": "a@project.invalid",
            "token_uri": f"{base}/token",
        }

    def seen_in(self, content: bytes) -> set[str]:
        """The labels of the canaries in there, in any form."""
        return {
            label
            for label, text in self._texts.items()
            if any(form in content for form in _forms(text))
        }

    def shown_in(self, output: bytes) -> list[tuple[set[str], bytes]]:
        """The lines with canaries, and which; what is in no output is in none of its lines."""
        if not self.seen_in(output):
            return []
        return [(found, line) for line in output.splitlines() if (found := self.seen_in(line))]

    def left_in(self, folder: Path, objects: Collection[bytes] = ()) -> dict[str, set[str]]:
        """The same of all files below a folder but those that are objects, and of their names."""
        found = {}
        for path in sorted(folder.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            seen = set() if content in objects else self.seen_in(content)
            found[str(path)] = seen | self.seen_in(str(path.relative_to(folder)).encode())
        return {path: seen for path, seen in found.items() if seen}


@cache
def _forms(text: str) -> tuple[bytes, ...]:
    """The text itself, and what it becomes inside URLs and what is encoded with base64."""
    forms = {text, quote(text, safe=""), quote(text), quote_plus(text), text.replace("/", r"\/")}
    encoded = {form.encode() for form in forms}
    for shift, cut in ((0, 0), (1, 2), (2, 3)):
        inner = base64.b64encode(b"\0" * shift + text.encode())[cut:-4]
        encoded |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return tuple(encoded)


@dataclass(frozen=True)
class Way:
    """Fields of a task that are secrets, and how they are given."""

    type: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.type} by {'+'.join(self.fields)}"


def ways(
    canaries: Canaries, types: Iterable[str], base: str, folder: Path, *, in_files: bool
) -> Iterator[Way]:
    """Every way into these types, each field given as a value, or as a file that holds it."""
    from kaiwo.tasks.registry import task_class  # noqa: PLC0415 - which is what is tested

    for type_ in types:
        class_ = task_class(type_)
        assert class_ is not None
        for way in WAYS[type_]:
            given = {}
            for name in way:
                value = canaries.value(type_, name, base)
                if in_files and f"{name}_file" in class_.model_fields:
                    path = folder / re.sub(r"\W", "-", f"{type_}-{'-'.join(way)}-{name}")
                    path.write_text(value if isinstance(value, str) else json.dumps(value))
                    given[f"{name}_file"] = str(path)
                else:
                    given[name] = value
            yield Way(type_, given)
