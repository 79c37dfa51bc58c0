"""What all task types share: fields, secrets, and the way from a task to its wants.

A task is what the user wrote, validated and frozen. It touches neither network nor secret files
until ``check`` and ``open``; a secret is read where it is used, so that a job that travels to
another process carries the file's path, not its content.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic import SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kaiwo.errors import ConfigError
from kaiwo.files.placement import expanded
from kaiwo.jobs import Transfer, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.base import NotForObstoreError
from kaiwo.tasks.items import Bucket, Model, Text, require_inside, selected

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource

logger = logging.getLogger(__name__)
#: What reads the bytes of object stores; ``auto`` takes obstore where it can express the task.
Engine = Literal["auto", "fsspec", "obstore"]
#: Where in the file: keys and indices from a task downwards.
Location = tuple[str | int, ...]


class Context(Struct, frozen=True):
    """What a task has to know of the run.

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
    """Opens a task's bucket in whatever worker needs it.

    Two openers are the same only if one is a copy of the other, so that neither credentials nor
    listings are ever shared between tasks.
    """

    task: Task = field(compare=False)
    #: Of a ``url`` task, an address that may hold user info.
    container: str = field(compare=False, repr=False)
    network: NetworkSettings = field(compare=False)
    #: See ``protocols.Opener``.
    origin: str = field(compare=False)
    engine: Engine = field(default="auto", compare=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

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


class Task(Model):
    """One entry of ``download_items``."""

    type: str
    """Which kind of task."""
    name: Text | None = None
    """For people and logs."""
    ca_bundle: Text | None = None
    """PEM file of the certificates to trust instead of the system's."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # An endpoint may hold user info, a URL a signature.
        yield "type", self.type
        yield "name", self.name

    @property
    def label(self) -> str:
        """The name, or the type of a nameless task."""
        return self.name or self.type

    @property
    @abstractmethod
    def origin(self) -> str:
        """The service, without secrets: what distinguishes two of the same bucket."""

    @abstractmethod
    def url(self, container: str, key: str = "") -> str:
        """The URL of a container (ending in ``/``) or of a key in it, without secrets."""

    def pinned_url(self, container: str, key: str, version: str) -> str:  # noqa: ARG002
        """The same of one version of an object; most URLs name none."""
        return self.url(container, key)

    @abstractmethod
    def source(self, container: str, network: NetworkSettings) -> Source:
        """Resolve the credentials and connect, through fsspec or a client of the task's own."""

    def open(self, container: str, network: NetworkSettings, engine: Engine) -> Source:  # noqa: ARG002
        """The source that a worker uses; most tasks have one kind only."""
        return self.source(container, network)

    @abstractmethod
    def wants(self, context: Context) -> Iterator[Want]:
        """What the task asks for, each with its opener."""

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """All objects of this task are in place; do what remains."""

    def check(self) -> Iterator[tuple[str, str]]:
        """The fields of which no secret can be read, and why; nothing goes over the network."""
        for name, path in self._secret_files():
            try:
                read_secret(path)
            except ConfigError as error:
                yield name, error.message
        if self.ca_bundle is not None:
            import ssl  # noqa: PLC0415 - with a private authority only

            try:
                ssl.create_default_context(cafile=self.ca_bundle)
            except ssl.SSLError:
                yield "ca_bundle", f"{self.ca_bundle} holds no certificate in PEM form"
            except OSError as error:
                yield "ca_bundle", f"cannot read {self.ca_bundle}: {error.strerror}"

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        digest = hashlib.sha256()
        for name, path in self._secret_files():
            try:
                content = read_secret(path)
            except ConfigError as error:
                content = error.message  # whoever opens it will be told
            digest.update(f"{name}:{len(content)}:{content}".encode())
        return digest.digest()

    def _secret_files(self) -> Iterator[tuple[str, str]]:
        """Fields that name a secret file, and its path."""
        for name in type(self).model_fields:
            if name.endswith("_file") and (path := getattr(self, name)) is not None:
                yield name, path

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

    @field_validator("*")
    @classmethod
    def _one_form(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        direct = name.removesuffix("_file")
        if direct != name and value is not None and info.data.get(direct) is not None:
            raise PydanticCustomError("both", f"give either {direct} or {name}, not both")
        if name == "endpoint_url" and value is not None:
            try:
                return require_endpoint(value)
            except ConfigError as error:
                raise PydanticCustomError("endpoint", "{fault}", {"fault": error.message}) from None
        if name == "target_path" and value is not None:
            return require_inside(value)
        return value


class BucketTask(Task):
    """A task that names buckets and, in each, items."""

    #: What the service calls its buckets: the name of the field that holds them.
    holder: ClassVar[str] = "buckets"
    #: Fields that are credentials; ``anonymous`` excludes them.
    credentials: ClassVar[tuple[str, ...]] = ()

    anonymous: bool = False
    """Public data: send no credentials, look for none."""

    def open(self, container: str, network: NetworkSettings, engine: Engine) -> Source:
        """The fast source where it can be had, else the one over fsspec.

        Raises:
            ConfigError: obstore is asked for by name, and cannot express this task.
        """
        named = f"{self.label}: {self.url(container)}"
        if engine == "fsspec":
            logger.debug("%s is read through fsspec, as asked for", named)
            return self.source(container, network)
        try:
            fast = self.fast_source(container, network)
        except NotForObstoreError as reason:
            if engine == "obstore":
                raise ConfigError(f"{named} cannot be read through obstore: {reason}") from reason
            logger.info("%s is read through fsspec: %s", named, reason)
            return self.source(container, network)
        logger.debug("%s is read through obstore, which can express all of its fields", named)
        return fast

    @abstractmethod
    def object_store(self, container: str, network: NetworkSettings) -> Any:
        """A store of obstore, with the same rights as the filesystem.

        Raises:
            NotForObstoreError: obstore cannot express them.
        """

    @abstractmethod
    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """The source over obstore, with the same rights.

        Raises:
            NotForObstoreError: obstore cannot express them.
        """

    @model_validator(mode="after")
    def _anonymous_alone(self) -> Self:
        given = [name for name in self.credentials if self.given(name)]
        if self.anonymous and given:
            raise PydanticCustomError(
                "anonymous", f"anonymous: true and {given[0]} exclude each other"
            )
        return self

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``."""
        held: tuple[Bucket, ...] = getattr(self, self.holder)
        # What travels with every job should not carry the whole list of items.
        bare = self.model_copy(update={self.holder: ()})
        origin = self.origin
        for number, bucket in enumerate(held):
            opener = TaskOpener(bare, bucket.name, context.network, origin, context.engine)
            for index, item in enumerate(bucket.items):
                where = context.where((self.holder, number, "items", index))
                selection, placement = selected(item, context.download_root)
                yield Want(self.label, where, opener, selection, placement, item.allow_empty)


def session_options(network: NetworkSettings) -> dict[str, Any]:
    """How an aiohttp session of a filesystem behaves: the run's timeouts, the proxy's variables."""
    import aiohttp  # noqa: PLC0415 - only runs whose filesystem uses it load it

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=network.connect_timeout_s, sock_read=network.stall_timeout_s
    )
    return {"timeout": timeout, "trust_env": True}


def require_endpoint(address: str) -> str:
    """The address, if it can be one; a secret file's content has not been looked at before.

    Raises:
        ConfigError: it is no address of a service.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError("an endpoint has to begin with http:// or https://")
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("an endpoint needs a host, and a port that is a number")
    if parts.query or parts.fragment:
        raise ConfigError("an endpoint ends before '?' and '#'; a signature has a field of its own")
    return address


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
