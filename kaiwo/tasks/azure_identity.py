"""Who a task is for Microsoft Entra: fields, then the environment, then the machine; read here.

    client_secret (+ _file)               a service principal, with tenant_id and client_id
    principal_certificate (+ _file)       the same, by a certificate and its key
    AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_USERNAME with AZURE_PASSWORD
                                          the same, with AZURE_TENANT_ID and AZURE_CLIENT_ID
    AZURE_STORAGE_CLIENT_SECRET           the same, by the names that adlfs reads
    AZURE_FEDERATED_TOKEN_FILE            the workload identity of a pod
    IDENTITY_ENDPOINT, MSI_ENDPOINT       the managed identity of a container or a function
    else                                  the managed identity of the machine (instance metadata),
                                          then the logins of developers' tools, such as ``az login``

A task's ``client_id`` and ``tenant_id`` count before the environment's. What the environment names
is used alone: who is refused there is not tried as somebody else. AZURE_TOKEN_CREDENTIALS gives the
choice to the SDK.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import environment
from kaiwo.errors import ConfigError
from kaiwo.loading import loading
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Identity

TENANT, CLIENT = "AZURE_TENANT_ID", "AZURE_CLIENT_ID"
FEDERATION = "AZURE_FEDERATED_TOKEN_FILE"
CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
CHOICE = "AZURE_TOKEN_CREDENTIALS"
#: Variables with a proof of a service principal.
PROOFS = ("AZURE_CLIENT_SECRET", CERTIFICATE)
#: A service principal as adlfs reads it: tenant, client and secret.
OF_ADLFS = tuple(f"AZURE_STORAGE_{each}" for each in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"))
ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")
_OF_ENVIRONMENT = (
    "exclude_environment_credential",
    "exclude_workload_identity_credential",
)
MACHINE = "a managed identity of this machine, or the login of the Azure CLI"


class Asked(Struct, frozen=True):
    """What a task says of who it is, and how tokens are asked for.

    Attributes:
        tenant_id: of the task; empty if it names none.
        client_id: the same.
        network: timeouts.
        trust: see ``TokenTransport``.
    """

    tenant_id: str
    client_id: str
    network: NetworkSettings
    trust: str | None

    def options(self, *, to_entra: bool = True) -> dict[str, Any]:
        """Of every credential of the SDK."""
        with loading():
            from kaiwo.sources.azure_tokens import TokenTransport  # noqa: PLC0415 - only where used

        found: dict[str, Any] = {"transport": TokenTransport(self.network, self.trust)}
        if to_entra:
            # Each request that fails is repeated by kaiwo.
            found["retry_total"] = 0
            if _is_private_authority():
                found["disable_instance_discovery"] = True
        return found


def files() -> tuple[str, ...]:
    """Files of the environment that prove who it is."""
    return tuple(path for name in (CERTIFICATE, FEDERATION) if (path := os.environ.get(name)))


def ambient(tenant_id: str = "", client_id: str = "") -> Iterator[tuple[str, str]]:
    """What the environment names first: its kind, and the variable that says so."""
    is_whole = bool((tenant_id or _is_set(TENANT)) and (client_id or _is_set(CLIENT)))
    if _is_set(CHOICE):
        yield "chain", CHOICE
    if _is_set(TENANT) and _is_set(CLIENT):
        yield from (("principal", name) for name in PROOFS if _is_set(name))
    if all(map(_is_set, OF_ADLFS)):
        yield "adlfs", OF_ADLFS[-1]
    if _is_set(CLIENT) and _is_set("AZURE_USERNAME") and _is_set("AZURE_PASSWORD"):
        yield "user", "AZURE_USERNAME"
    if is_whole and _is_set(FEDERATION):
        yield "workload", FEDERATION
    yield from (("managed", name) for name in ENDPOINTS if _is_set(name))


def of_secret(asked: Asked, secret: str, place: str) -> Identity:
    """The service principal that proves itself by a secret.

    Raises:
        ConfigError: the tenant is no name of one, or the environment's authority is none.
    """
    with loading():
        from azure.identity import ClientSecretCredential  # noqa: PLC0415 - only where used

    def make() -> Any:
        return ClientSecretCredential(asked.tenant_id, asked.client_id, secret, **asked.options())

    return _identity(f"the service principal of {place}", make)


def of_certificate(asked: Asked, pem: str, place: str) -> Identity:
    """The service principal that proves itself by a certificate.

    Raises:
        ConfigError: see ``of_secret``; or this is no certificate with its key.
    """
    with loading():
        from azure.identity import CertificateCredential  # noqa: PLC0415 - only where used

    def make() -> Any:
        return CertificateCredential(
            asked.tenant_id,
            asked.client_id,
            certificate_data=pem.encode(),
            send_certificate_chain=_sends_chain(),
            **asked.options(),
        )

    fault = (
        f"{place} does not hold a certificate and its RSA key in PEM form without a password, or "
    )
    return _identity(f"the service principal of {place}", make, fault)


def of_environment(asked: Asked) -> Identity:
    """The identity of the environment or of the machine.

    Raises:
        ConfigError: what the environment says of it cannot be used.
    """
    with loading():
        from azure import identity  # noqa: PLC0415 - only where used

    kind, variable = next(ambient(asked.tenant_id, asked.client_id), ("machine", ""))
    client = asked.client_id or os.environ.get(CLIENT) or None
    if kind == "adlfs":
        tenant_id, client_id, secret = (os.environ[each] for each in OF_ADLFS)
        return of_secret(_completed(asked, tenant_id, client_id), secret, variable)
    who = _completed(asked, os.environ.get(TENANT), client)
    if variable == PROOFS[0]:
        return of_secret(who, os.environ[variable], variable)
    if kind in ("principal", "user"):
        name = "the service principal" if kind == "principal" else "the user"
        return _identity(f"{name} of {variable}", partial(_named, who, kind))
    if kind == "workload":
        given = {"tenant_id": who.tenant_id, "client_id": who.client_id}
        return _identity(
            f"the workload identity of {variable}",
            lambda: identity.WorkloadIdentityCredential(**given, **asked.options()),
        )
    if kind == "managed":
        return _identity(
            f"the managed identity of {variable}",
            lambda: identity.ManagedIdentityCredential(
                client_id=client, **asked.options(to_entra=False)
            ),
        )
    name, left_out = f"the chain of {variable}", {}
    if kind == "machine":
        name = MACHINE
        left_out = {
            f"exclude_{each}_credential": True for each in ("environment", "workload_identity")
        }

    def make() -> Any:
        return identity.DefaultAzureCredential(
            managed_identity_client_id=client, **left_out, **asked.options(to_entra=False)
        )

    return _identity(name, make)


def _completed(asked: Asked, tenant_id: str | None, client_id: str | None) -> Asked:
    """What the task names; what it leaves open, by the environment."""
    tenant_id, client_id = asked.tenant_id or tenant_id, asked.client_id or client_id
    return replace(asked, tenant_id=tenant_id or "", client_id=client_id or "")


def _named(who: Asked, kind: str) -> Any:
    """The SDK's credential of a certificate or a user; its own reading would ignore the task."""
    from azure import identity  # noqa: PLC0415 - loaded by now

    if kind == "principal":
        return identity.CertificateCredential(
            who.tenant_id,
            who.client_id,
            certificate_path=os.environ[CERTIFICATE],
            password=os.environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD"),
            send_certificate_chain=_sends_chain(),
            **who.options(),
        )
    return identity.UsernamePasswordCredential(
        who.client_id,
        os.environ["AZURE_USERNAME"],
        os.environ["AZURE_PASSWORD"],
        tenant_id=who.tenant_id or None,
        _silence_deprecation_warning=True,
        **who.options(),
    )


def _sends_chain() -> bool:
    return os.environ.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")


def _identity(name: str, make: Callable[[], Any], fault: str = "") -> Identity:
    """The identity of a credential that can be made.

    Raises:
        ConfigError: it cannot.
    """
    with loading():
        from kaiwo.sources.azure_tokens import asking  # noqa: PLC0415 - only where used

    try:
        return Identity(name, asking(make))
    except (ValueError, TypeError, OSError):
        # The SDK's message may quote what it was given.
        named = environment.missing_file((CERTIFICATE, FEDERATION))
        raise ConfigError(
            named or f"{name}: {fault}tenant_id or AZURE_AUTHORITY_HOST is invalid"
        ) from None


def _is_private_authority() -> bool:
    """Whether the environment names an authority that no cloud of Microsoft's knows.

    The SDK would ask Microsoft whether it exists.
    """
    from azure.identity import AzureAuthorityHosts  # noqa: PLC0415 - loaded by now

    known = {value for name, value in vars(AzureAuthorityHosts).items() if name.isupper()}
    named = os.environ.get("AZURE_AUTHORITY_HOST", "")
    host = urlsplit(named if "://" in named else f"https://{named}").hostname
    return bool(named) and host not in known


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))
