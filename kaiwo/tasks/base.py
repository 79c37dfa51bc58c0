"""What all task types share, and the way from a task to its wants.

A task is what the user wrote, validated and frozen. It uses no network and reads no secret file
before ``check`` and ``open``.

Longer than 300 lines: what all tasks have, and what each has to say of itself.
"""

from __future__ import annotations

import os
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kaiwo.errors import ConfigError
from kaiwo.jobs import Transfer, Want
from kaiwo.loading import loading
from kaiwo.net import certificates
from kaiwo.net.header_limits import header_limits
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Folder, Item, Named, Policy
from kaiwo.protocols import Source
from kaiwo.tasks.fetch_request import FetchRequest
from kaiwo.tasks.fields import Exclude, Globs, Text, listed
from kaiwo.tasks.secrets import SecretFields
from kaiwo.tasks.signature import Signature, folder_of

if TYPE_CHECKING:
    from kaiwo.net.client import Client

#: What reads the bytes of object stores; ``auto`` takes obstore where it supports the task.
Engine = Literal["auto", "fsspec", "obstore"]
#: Pydantic's type of the error of fields that exclude or need each other.
CONTRADICTION = "contradiction"
#: A place in the file: keys and indices, from a task downwards.
Location = tuple[str | int, ...]


class Context(Struct, frozen=True):
    """What a task needs to know of the run.

    Attributes:
        download_root: absolute path.
        network: how connections behave.
        engine: what reads bytes, where a task leaves the choice.
        where: file, line and field of a location in this task, for errors.
    """

    download_root: str
    network: NetworkSettings
    engine: Engine
    where: Callable[[Location], str]


@dataclass(frozen=True, slots=True)
class TaskOpener:
    """Opens a task's bucket in any worker that needs it.

    Two openers are equal only if one is a copy of the other, so that tasks never share credentials
    or listings.
    """

    task: Task = field(compare=False)
    #: Of a ``url`` task, an address that may hold user info.
    container: str = field(compare=False, repr=False)
    network: NetworkSettings = field(compare=False)
    #: See ``protocols.Opener``.
    origin: str = field(compare=False)
    engine: Engine = field(default="auto", compare=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    #: The host, where a task asks several; empty: the origin says which service it is.
    host: str = field(default="", compare=False)

    @property
    def service(self) -> str:
        """See ``protocols.Opener``."""
        return self.host or self.origin

    @property
    def ambient(self) -> str:
        """See ``protocols.Opener``."""
        return f"{self.task.type} at {self.service}" if self.task.is_ambient() else ""

    def open(self) -> Source:
        """See ``protocols.Opener``."""
        return self.task.open(self.container, self.network, self.engine)

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        return self.task.secrets_digest()

    def url(self, key: str, version: str | None = None) -> str:
        """See ``protocols.Opener``."""
        if version is not None:
            return self.task.pinned_url(self.container, key, version)
        return self.task.url(self.container, key)


class Task(SecretFields):
    """One entry of ``download_items``."""

    #: Of a task type of another package: the schemes of the URLs that ``kaiwo fetch`` takes for it,
    #: in lower case; those of kaiwo's own are in ``registry``.
    schemes: ClassVar[tuple[str, ...]] = ()
    #: Without a target, ``kaiwo.fetch`` leaves the place to the task, which has a cache.
    has_cache: ClassVar[bool] = False

    type: str = Field(description="The task type.")
    name: Text | None = Field(None, description="A name for logs and reports.")
    ca_bundle: Text | None = Field(
        None,
        description="PEM file, or folder of such files, with certificates to trust instead of the "
        "system's. Default: the environment's variables.",
    )
    client_certificate: Text | None = Field(
        None, description="PEM file of the certificate that kaiwo shows the server."
    )
    client_key: Text | None = Field(
        None, description="PEM file of its key. Default: the certificate's file holds it."
    )
    allow: Globs | None = Field(
        None,
        description="Globs of what may arrive: of a file's name, or with a ``/`` of the key "
        "relative to the item. Anything else ends the run before the first byte (exit code 2).",
    )
    deny: Exclude = Field((), description="What may not arrive, also where ``allow`` matches.")
    check_format: bool = Field(
        False,
        description="``.safetensors`` and ``.gguf`` files must have a header of their format; "
        "others are not published (exit code 7). It is no protection.",
    )
    signature: Signature | None = Field(
        None,
        description="The signature of a model (``bundle``, and ``key``, ``certificate`` or "
        "``identity``) that says what may arrive.",
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Fields that exclude or need each other: one of them, and what is wrong with it.

        Fields that are required may be missing: all else that is wrong is reported with these.
        """
        if self.client_key is not None and self.client_certificate is None:
            yield "client_key", "client_key needs client_certificate"

    @model_validator(mode="after")
    def _without_contradictions(self) -> Self:
        for _, fault in self.contradictions():
            raise PydanticCustomError(CONTRADICTION, "{fault}", {"fault": fault})
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # An endpoint may hold user info, a URL a signature.
        yield "type", self.type
        yield "name", self.name

    @property
    def policy(self) -> Policy:
        """What may arrive."""
        return Policy(listed(self.allow or ()), listed(self.deny), self.check_format)

    @property
    def label(self) -> str:
        """The name, or the type of a task without a name."""
        return self.name or self.type

    @property
    @abstractmethod
    def origin(self) -> str:
        """The service, without secrets: what distinguishes two buckets of the same name."""

    @abstractmethod
    def url(self, container: str, key: str = "") -> str:
        """The URL of a container (ending in ``/``) or of a key in it, without secrets."""

    def pinned_url(self, container: str, key: str, version: str) -> str:  # noqa: ARG002
        """The URL of one version of an object; most URLs name no version."""
        return self.url(container, key)

    @abstractmethod
    def source(self, container: str, network: NetworkSettings) -> Source:
        """Resolve the credentials and connect, through fsspec or the task's own client."""

    def is_ambient(self) -> bool:
        """Whether the environment says who signs in, and the task does not."""
        return False

    def open(self, container: str, network: NetworkSettings, engine: Engine) -> Source:  # noqa: ARG002
        """The source that a worker uses; most task types have one kind only."""
        return self.source(container, network)

    @abstractmethod
    def wants(self, context: Context) -> Iterator[Want]:
        """What the task asks for, each with its opener."""

    def signed(self, want: Want) -> Want:
        """The want, with the signature that this task asks for."""
        if self.signature is None:
            return want
        return replace(want, signature=self.signature.of(self.signed_folder(want.selection)))

    def signed_folder(self, selection: Folder | Named) -> str:
        """The folder that the bundle of a signature is in: empty, or ending in ``/``."""
        return folder_of(selection)

    def named_targets(self, download_root: str) -> Iterator[tuple[Location, str, str]]:  # noqa: ARG002
        """Files that are named one by one: where in the task, from which source, to which path.

        Neither the network nor a secret file is used. What cannot be placed is left out, and what
        may be missing at its source.
        """
        return iter(())

    def snapshots(self, download_root: str) -> Iterator[tuple[Location, str]]:  # noqa: ARG002
        """Folders whose files change all at once: where in the task, and their paths."""
        return iter(())

    def globs_not_meant(self) -> Iterator[tuple[Location, str, str]]:
        """Globs that select nothing: where in the task, what is wrong, what to do."""
        return iter(())

    def require_writable(self, transfers: Sequence[Transfer]) -> None:
        """Refuse targets that cannot be written, where there is something to fetch.

        Args:
            transfers: objects of this task that are not in place.

        Raises:
            DiskError: they cannot be written, and a setting of this task may help.
        """

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """Do what remains, now that all objects of this task are in place."""

    def client_files(self) -> str | tuple[str, str] | None:
        """The client's certificate, with the file of its key if that is another."""
        files = [
            os.path.expanduser(each) for each in (self.client_certificate, self.client_key) if each
        ]
        if not files:
            return None
        return files[0] if len(files) == 1 else (files[0], files[1])

    def http_client(
        self, network: NetworkSettings, address: str, headers: Mapping[str, str]
    ) -> Client:
        """A client that verifies the server, and goes through the environment's proxies.

        Args:
            network: how connections behave.
            address: of the service.
            headers: the credentials; no other server gets them, wherever redirects lead.

        Raises:
            ConfigError: a file with certificates cannot be used.
        """
        from kaiwo.net.client import Client  # noqa: PLC0415 - few task types need it here
        from kaiwo.net.redirects import Credentials, origin_of  # noqa: PLC0415

        trust = certificates.context(self.ca_bundle, self.client_certificate, self.client_key)
        return Client(network, lambda: trust, Credentials(origin_of(address), headers))

    def check(self) -> Iterator[tuple[str, str]]:
        """The fields whose file cannot be used, and why; nothing goes over the network."""
        yield from self.unreadable_secrets()
        for field_, values in (
            ("ca_bundle", (self.ca_bundle,)),
            ("client_certificate", (self.ca_bundle, self.client_certificate, self.client_key)),
        ):
            if getattr(self, field_) is not None:
                try:
                    certificates.context(*values)
                except ConfigError as error:
                    yield field_, error.message
                    return

    @classmethod
    def fetch_fields(cls, request: FetchRequest) -> dict[str, Any]:
        """The fields of a task that asks for what the request names.

        Raises:
            ConfigError: tasks of this type are not fetched by a URL.
        """
        raise ConfigError(f"{request.url.type} tasks have no URL; name what you want in a file")

    def fetch_want(self, want: Want, request: FetchRequest) -> Want:  # noqa: ARG002
        """The want of this task, narrowed to the request where the fields cannot express it.

        Raises:
            ConfigError: the request and the fields exclude each other.
            ValidationError: a field of the request's item is wrong.
        """
        return want

    def fetched_path(self, request: FetchRequest, items: Sequence[Item]) -> str:  # noqa: ARG002
        """Where the file or folder of a request is, after all its items are in place."""
        if request.target is None:
            raise TypeError(f"a {self.type} task has no cache")
        return request.target


def session_options(network: NetworkSettings) -> dict[str, Any]:
    """Options of a filesystem's aiohttp session: the run's timeouts.

    Who sends a request gives it the proxy (``net/proxies.py``): aiohttp's own reading of the
    environment knows less.
    """
    with loading():
        import aiohttp  # noqa: PLC0415 - only runs whose filesystem uses it load it

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=network.connect_timeout_s, sock_read=network.stall_timeout_s
    )
    return {"timeout": timeout, "trust_env": False, **header_limits()}
