"""Google Cloud Storage."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr

from kaiwo import redact
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.net import certificates, redirects
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Identity
from kaiwo.sources.translation import NOBODY
from kaiwo.tasks import gcs_identity
from kaiwo.tasks.base import session_options
from kaiwo.tasks.fields import Endpoint, Secret, Text, require_endpoint
from kaiwo.tasks.gcs_identity import ambient_file
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.kept import Kept
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile, content_digest

if TYPE_CHECKING:
    from kaiwo.sources.gcs import GcsSource
    from kaiwo.sources.obstore.source import ObstoreSource

EMULATOR = "STORAGE_EMULATOR_HOST"
#: Google's own hosts, which may have a token that the task does not name.
_OWN_HOSTS = ".googleapis.com"
_NEW_BUCKET_TYPES = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


class GcsTask(BucketTask):
    """Objects of Google Cloud Storage. Without credentials, the SDK looks for them."""

    credentials = ("application_credentials", "token")

    type: Literal["gcs"] = Field("gcs", description="The task type.")
    application_credentials: Secret | None = Field(
        None,
        description="Google credentials as JSON: the key of a service account, a login, or a "
        "workload identity federation.",
    )
    application_credentials_file: SecretFile | None = Field(
        None, description="File with the Google credentials."
    )
    token: Secret | None = Field(None, description="OAuth access token.")
    token_file: SecretFile | None = Field(None, description="File with the access token.")
    project: Text | None = Field(
        None, description="Project of the buckets: for emulators, and for ``requester_pays``."
    )
    requester_pays: bool = Field(
        False, description="The ``project`` pays for the requests (requester pays)."
    )
    endpoint_url: Endpoint | None = Field(
        None,
        description="Address of the service. Default: ``STORAGE_EMULATOR_HOST``, else Google.",
    )
    buckets: tuple[Bucket, ...] = Field(min_length=1, description="Buckets, with their items.")

    _kept: Kept = PrivateAttr(default_factory=Kept)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """See ``Task``."""
        yield from super().contradictions()
        if self.requester_pays and self.project is None:
            yield "requester_pays", "requester_pays needs project: the one that pays"
        if self.requester_pays and self.anonymous:
            yield "requester_pays", "requester_pays and anonymous: true exclude each other"

    @property
    def origin(self) -> str:
        """See ``Task``."""
        endpoint = self._endpoint()
        return redact.url(endpoint) if endpoint else "gcs"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"gs://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> GcsSource:
        """See ``Task``."""
        filesystem = self.filesystem(network)
        with loading():
            from kaiwo.sources.gcs import GcsSource  # noqa: PLC0415 - only runs that use GCS load it

        trust = certificates.chosen(self.ca_bundle, self.client_certificate, self.client_key)
        who = self.identity(network)
        payer = self.project if self.requester_pays else None
        return GcsSource(filesystem, container, self.url(container), self.origin, who, payer, trust)

    def object_store(self, container: str, network: NetworkSettings) -> Any:
        """The store of obstore, with the same rights as the filesystem."""
        with loading():
            from obstore.store import GCSStore  # noqa: PLC0415 - native code

            from kaiwo.sources.obstore.store import Provider, connect  # noqa: PLC0415

        who = self.identity(network)
        provider = None if who is None else Provider(who.for_obstore, who)
        endpoint = self._endpoint()
        config = {"base_url": endpoint or "https://storage.googleapis.com"}
        # An object that is stored gzip-encoded arrives as it is stored, see ``GcsSource``.
        headers = {"accept-encoding": "gzip"}
        project = self.project if self.requester_pays else who and who.project
        if project:
            headers["x-goog-user-project"] = header_token(project, "project")
        return connect(GCSStore, container, config, provider, network, self.ca_bundle, headers)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415

        source, who = self.source(container, network), self.identity(network)
        return ObstoreSource(
            self.object_store(container, network),
            self.url(container),
            self.origin,
            pin="version",
            # obstore uses the XML API, which lists neither generations nor crc32c.
            lists=False,
            fallback=lambda: source,
            signer=(lambda: NOBODY) if who is None else who.describe,
        )

    def filesystem(self, network: NetworkSettings) -> Any:
        """A gcsfs filesystem with a separate session, which knows no credentials."""
        core = _gcsfs_core()
        return core.GCSFileSystem(
            project=self.project or "",
            # kaiwo sends the requests, with the token of the task's identity.
            token="anon",  # noqa: S106 - no password
            endpoint_url=self._endpoint(),
            session_kwargs={
                # Bodies stay as they are stored, because their size and checksum are known.
                "auto_decompress": False,
                **session_options(network),
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def _endpoint(self) -> str | None:
        if self.endpoint_url is not None:
            return self.endpoint_url.rstrip("/")
        return _emulator()

    def is_ambient(self) -> bool:
        """See ``Task``; nobody signs in where plain HTTP would carry the token."""
        return super().is_ambient() and not (self._endpoint() or "").startswith("http://")

    def withheld(self) -> str | None:
        """See ``BucketTask``."""
        endpoint = self._endpoint()
        if self._is_named() or self.endpoint_url is None or endpoint is None:
            return None
        origin = redirects.origin_of(endpoint)
        if origin.scheme == "http" or f".{origin.host}".endswith(_OWN_HOSTS):
            return None  # plain HTTP never gets any
        with contextlib.suppress(ConfigError):  # it is no address
            if (emulator := _emulator()) and redirects.origin_of(emulator) == origin:
                return None
        return (
            f"Google credentials of the environment are not sent to {redact.url(endpoint)}; give "
            "application_credentials_file or token_file if they are meant for it, or anonymous: "
            "true"
        )

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``; a file of the environment may change as well."""
        own = super().secrets_digest()
        file = None if self._is_named() else ambient_file()
        return own if file is None else own + content_digest(file.path)

    def _is_named(self) -> bool:
        """The task says who it is."""
        return self.anonymous or any(self.given(name) for name in self.credentials)

    def identity(self, network: NetworkSettings) -> Identity | None:
        """Who the task is for Google; None: nobody. See ``gcs_identity``.

        Raises:
            ConfigError: what the task or the environment gives is no identity.
            CredentialsError: there is none.
        """

        def find() -> Identity | CredentialsError | None:
            try:
                return self._find_identity(network)
            except CredentialsError as error:
                return error  # kept, too: to look for a metadata server takes seconds

        found: Identity | CredentialsError | None = self._kept.get(self.secrets_digest(), find)
        if isinstance(found, CredentialsError):
            raise CredentialsError(found.message)
        return found

    def _find_identity(self, network: NetworkSettings) -> Identity | None:
        if self.anonymous or self.withheld():
            return None
        trust = certificates.file(self.ca_bundle, and_system=True)
        if (text := self.secret("application_credentials")) is not None:
            place = self.as_given("application_credentials")
            return gcs_identity.of_json(text, place, network, trust)
        if (token := self.secret("token")) is not None:
            return gcs_identity.of_token(token, self.as_given("token"))
        if (self._endpoint() or "").startswith("http://"):
            # An emulator: Google's clients send it no credentials, and plain HTTP must carry none.
            return None
        return gcs_identity.of_environment(network, trust)


def _emulator() -> str | None:
    """The endpoint that the environment names."""
    emulator = os.environ.get(EMULATOR, "").rstrip("/")
    if not emulator:
        return None
    # Google's clients accept it with and without a scheme.
    return require_endpoint(emulator if "://" in emulator else f"http://{emulator}")


def _gcsfs_core() -> Any:
    """Import gcsfs without its new bucket types.

    These ask for the bucket's type, which stalls for a minute on a server without TLS, and load
    gRPC. gcsfs reads the switch at import.
    """
    with loading():
        if loaded := sys.modules.get("gcsfs.core"):
            return loaded  # the environment is changed once at most: native threads may read it
        before = os.environ.get(_NEW_BUCKET_TYPES)
        os.environ[_NEW_BUCKET_TYPES] = "false"
        try:
            import gcsfs.core  # noqa: PLC0415
        finally:
            if before is None:
                del os.environ[_NEW_BUCKET_TYPES]
            else:
                os.environ[_NEW_BUCKET_TYPES] = before
    return gcsfs.core
