"""Google Cloud Storage."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kaiwo import environment, redact
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.net import certificates, redirects
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import session_options
from kaiwo.tasks.fields import Endpoint, Secret, Text, require_endpoint
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile

if TYPE_CHECKING:
    from kaiwo.sources.gcs import GcsSource
    from kaiwo.sources.obstore.source import ObstoreSource

EMULATOR = "STORAGE_EMULATOR_HOST"
#: Google's own hosts, which may have a token that the task does not name.
_OWN_HOSTS = ".googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_NEW_BUCKET_TYPES = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


class GcsTask(BucketTask):
    """Objects of Google Cloud Storage. Without credentials, the SDK looks for them."""

    credentials = ("application_credentials", "token")

    type: Literal["gcs"] = Field("gcs", description="The task type.")
    application_credentials: Secret | None = Field(
        None, description="Key of a service account, as JSON."
    )
    application_credentials_file: SecretFile | None = Field(
        None, description="File with the key of a service account."
    )
    token: Secret | None = Field(None, description="OAuth access token.")
    token_file: SecretFile | None = Field(None, description="File with the access token.")
    project: Text | None = Field(
        None, description="Project of the buckets; only emulators need it."
    )
    endpoint_url: Endpoint | None = Field(
        None,
        description="Address of the service. Default: ``STORAGE_EMULATOR_HOST``, else Google.",
    )
    buckets: tuple[Bucket, ...] = Field(min_length=1, description="Buckets, with their items.")

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

        url, timeout_s = self.url(container), network.stall_timeout_s
        return GcsSource(
            filesystem,
            container,
            url,
            self.origin,
            timeout_s,
            certificates.chosen(self.ca_bundle, self.client_certificate, self.client_key),
            certificates.file(self.ca_bundle, and_system=True),
        )

    def object_store(
        self, container: str, network: NetworkSettings, source: GcsSource | None = None
    ) -> Any:
        """The store of obstore, with the same rights as the filesystem.

        Args:
            container: the bucket.
            network: how connections behave.
            source: the source over fsspec, which gives the tokens; made if it is left out.
        """
        with loading():
            from obstore.store import GCSStore  # noqa: PLC0415 - native code

            from kaiwo.sources.obstore.store import Provider, connect  # noqa: PLC0415

        source = source or self.source(container, network)
        provider = None if source.is_anonymous else Provider(source.token)
        endpoint = self._endpoint()
        config = {"base_url": endpoint or "https://storage.googleapis.com"}
        # An object that is stored gzip-encoded arrives as it is stored, see ``GcsSource``.
        headers = {"accept-encoding": "gzip"}
        return connect(GCSStore, container, config, provider, network, self.ca_bundle, headers)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415

        source = self.source(container, network)
        return ObstoreSource(
            self.object_store(container, network, source),
            self.url(container),
            self.origin,
            pin="version",
            # obstore uses the XML API, which lists neither generations nor crc32c.
            lists=False,
            fallback=lambda: source,
            is_anonymous=source.is_anonymous,
        )

    def filesystem(self, network: NetworkSettings) -> Any:
        """A gcsfs filesystem with a separate session and read-only rights."""
        core = _gcsfs_core()
        return core.GCSFileSystem(
            project=self.project or "",
            access="read_only",
            token=self._token(),
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

    def withheld(self) -> str | None:
        """See ``BucketTask``."""
        endpoint = self._endpoint()
        named = self.anonymous or any(self.given(name) for name in self.credentials)
        if named or self.endpoint_url is None or endpoint is None:
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

    def _token(self) -> Any:
        """Google credentials, or ``anon``; gcsfs itself must not guess."""
        if self.anonymous or self.withheld():
            return "anon"
        if (text := self.secret("application_credentials")) is not None:
            return _credentials_of(text)
        if (token := self.secret("token")) is not None:
            with loading():
                from google.oauth2.credentials import Credentials  # noqa: PLC0415

            return Credentials(header_token(token, "token"))
        if (self._endpoint() or "").startswith("http://"):
            # An emulator: Google's clients send it no credentials, and plain HTTP must carry none.
            return "anon"
        with loading():
            import google.auth  # noqa: PLC0415
            from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except (GoogleAuthError, OSError):
            if named := environment.missing_file(("GOOGLE_APPLICATION_CREDENTIALS",)):
                raise ConfigError(named) from None
            raise CredentialsError(
                "no usable Google credentials were found, in GOOGLE_APPLICATION_CREDENTIALS or "
                "elsewhere; give application_credentials_file, or anonymous: true for a public "
                "bucket"
            ) from None
        return credentials


def _emulator() -> str | None:
    """The endpoint that the environment names."""
    emulator = os.environ.get(EMULATOR, "").rstrip("/")
    if not emulator:
        return None
    # Google's clients accept it with and without a scheme.
    return require_endpoint(emulator if "://" in emulator else f"http://{emulator}")


def _credentials_of(text: str) -> Any:
    """Google credentials from the JSON of a service account's key, or of a user's login.

    Raises:
        ConfigError: the JSON is neither.
    """
    with loading():
        from google.auth.exceptions import MalformedError  # noqa: PLC0415
        from google.oauth2 import credentials, service_account  # noqa: PLC0415

    try:
        info = json.loads(text)
        if info["type"] == "authorized_user":
            return credentials.Credentials.from_authorized_user_info(info, scopes=[_SCOPE])
        return service_account.Credentials.from_service_account_info(info, scopes=[_SCOPE])
    except (ValueError, KeyError, TypeError, MalformedError):
        # The library's message may quote the key.
        raise ConfigError(
            "application_credentials is not the JSON of a service account's key"
        ) from None


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
