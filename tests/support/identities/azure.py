"""Ways to sign in at Azure Blob Storage."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaiwo.tasks.azure_identity import MACHINE
from tests.servers.entra import CLIENT, SECRET, TENANT, Entra
from tests.support import certificates
from tests.support.identities import Row

_TEST = "scenarios/identities/test_azure_identities.py::test_"


@dataclass(frozen=True)
class Setting:
    """What a task and its environment say.

    Attributes:
        fields: of the task.
        env: variables.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """A way to sign in, and how it is set up.

    Attributes:
        row: of the page.
        named: what a refusal calls it.
        set_up: with the right proof.
        spoil: makes the proof a wrong one.
        says: the code of the refusal, if it shows one.
    """

    row: Row
    named: str
    set_up: Callable[[Entra, Path], Setting]
    spoil: Callable[[Entra], None]
    says: str = ""


PRINCIPAL = {"tenant_id": TENANT, "client_id": CLIENT}
OF_PRINCIPAL = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}


def _in_file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _certificate(entra: Entra) -> str:
    """A certificate that is registered, and its key."""
    pem, entra.key = certificates.rsa_certified()
    return pem


def _secret(_: Entra, folder: Path) -> Setting:
    file = _in_file(folder, "secret", f"{SECRET}\n")
    return Setting({**PRINCIPAL, "client_secret_file": file})


def _secret_of_environment(_: Entra, __: Path) -> Setting:
    return Setting(env={**OF_PRINCIPAL, "AZURE_CLIENT_SECRET": SECRET})


def _secret_of_adlfs(_: Entra, __: Path) -> Setting:
    names = {"TENANT_ID": TENANT, "CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET}
    return Setting(env={f"AZURE_STORAGE_{name}": value for name, value in names.items()})


def _principal_certificate(entra: Entra, _: Path) -> Setting:
    return Setting({**PRINCIPAL, "principal_certificate": _certificate(entra)})


def _certificate_of_environment(entra: Entra, folder: Path) -> Setting:
    file = _in_file(folder, "certificate.pem", _certificate(entra))
    return Setting(env={**OF_PRINCIPAL, "AZURE_CLIENT_CERTIFICATE_PATH": file})


def _workload(entra: Entra, folder: Path) -> Setting:
    file = _in_file(folder, "pod-token", entra.federated)
    return Setting(env={**OF_PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": file})


def _container(entra: Entra, _: Path) -> Setting:
    env = {"IDENTITY_ENDPOINT": f"{entra.at}/msi/token", "IDENTITY_HEADER": entra.header}
    return Setting(env=env)


def _container_by_client(entra: Entra, folder: Path) -> Setting:
    entra.identities = {CLIENT}
    return Setting({"client_id": CLIENT}, _container(entra, folder).env)


def _machine(entra: Entra, _: Path) -> Setting:
    return Setting(env={"AZURE_POD_IDENTITY_AUTHORITY_HOST": entra.at})


def _cli(entra: Entra, folder: Path) -> Setting:
    """A machine without managed identity, and an Azure CLI that somebody has logged in."""
    entra.identities = {"cli"}
    (folder / "bin").mkdir(exist_ok=True)
    az = folder / "bin" / "az"
    az.write_text(_AZ.format(python=sys.executable, at=entra.at))
    az.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return Setting(env={"PATH": path, **_machine(entra, folder).env})


#: An Azure CLI that asks the stand-in.
_AZ = """#!{python}
import json, sys, urllib.error, urllib.request
assert sys.argv[1:3] == ["account", "get-access-token"], sys.argv
resource = sys.argv[sys.argv.index("--resource") + 1]
address = "{at}/az?client_id=cli&resource=" + resource
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(address) as answer:
        given = json.load(answer)
except urllib.error.HTTPError:
    sys.exit("ERROR: Please run 'az login' to setup account.")
told = {{"accessToken": given["access_token"], "expires_on": int(given["expires_on"])}}
print(json.dumps(told))
"""


def _other_secret(entra: Entra) -> None:
    entra.secret = "another"


def _other_certificate(entra: Entra) -> None:
    entra.key = certificates.rsa_certified()[1]


def _other_token(entra: Entra) -> None:
    entra.federated = "another"


def _other_header(entra: Entra) -> None:
    entra.header = "another"


def _no_identity(entra: Entra) -> None:
    entra.identities = set()


def _row(way: str, reads: str, server: str) -> Row:
    test = f"{_TEST}a_right_identity_reads_and_is_renewed"
    return Row("azure-blob", way, reads, "both", server, test)


_ENTRA = "Entra's token endpoint behind a private CA, which "
WAYS = (
    Way(
        _row(
            "service principal, secret",
            "`client_secret`, `client_secret_file`; `tenant_id`, `client_id`",
            f"{_ENTRA}checks the secret",
        ),
        "the service principal of client_secret_file",
        _secret,
        _other_secret,
        "AADSTS7000215",
    ),
    Way(
        _row(
            "service principal of the environment, secret",
            "`AZURE_CLIENT_SECRET`; `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`",
            "the same",
        ),
        "the service principal of AZURE_CLIENT_SECRET",
        _secret_of_environment,
        _other_secret,
        "AADSTS7000215",
    ),
    Way(
        _row(
            "service principal as adlfs reads it",
            "`AZURE_STORAGE_CLIENT_SECRET`, `AZURE_STORAGE_TENANT_ID`, `AZURE_STORAGE_CLIENT_ID`",
            "the same",
        ),
        "the service principal of AZURE_STORAGE_CLIENT_SECRET",
        _secret_of_adlfs,
        _other_secret,
        "AADSTS7000215",
    ),
    Way(
        _row(
            "service principal, certificate",
            "`principal_certificate`, `principal_certificate_file`; `tenant_id`, `client_id`",
            f"{_ENTRA}verifies the signature of the assertion",
        ),
        "the service principal of principal_certificate",
        _principal_certificate,
        _other_certificate,
        "AADSTS700027",
    ),
    Way(
        _row(
            "service principal of the environment, certificate",
            "`AZURE_CLIENT_CERTIFICATE_PATH`; `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`",
            "the same",
        ),
        "the service principal of AZURE_CLIENT_CERTIFICATE_PATH",
        _certificate_of_environment,
        _other_certificate,
        "AADSTS700027",
    ),
    Way(
        _row(
            "workload identity of a pod",
            "`AZURE_FEDERATED_TOKEN_FILE`; `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` or `tenant_id`, "
            "`client_id`; `AZURE_AUTHORITY_HOST`",
            f"{_ENTRA}checks the pod's token",
        ),
        "the workload identity of AZURE_FEDERATED_TOKEN_FILE",
        _workload,
        _other_token,
        "AADSTS700027",
    ),
    Way(
        _row(
            "managed identity of a container or function, the system's",
            "`IDENTITY_ENDPOINT`, `IDENTITY_HEADER` (also `MSI_ENDPOINT`)",
            "an identity endpoint that checks the header",
        ),
        "the managed identity of IDENTITY_ENDPOINT",
        _container,
        _other_header,
    ),
    Way(
        _row("managed identity by its client ID", "the same; `client_id`", "the same"),
        "the managed identity of IDENTITY_ENDPOINT",
        _container_by_client,
        _no_identity,
    ),
    Way(
        _row(
            "managed identity of a machine",
            "the instance metadata service; `client_id`, `AZURE_CLIENT_ID`",
            "a metadata service that wants `Metadata: true`",
        ),
        MACHINE,
        _machine,
        _no_identity,
    ),
    Way(
        _row("login of the Azure CLI", "`az` on the `PATH`", "a program that asks for the login"),
        MACHINE,
        _cli,
        _no_identity,
    ),
)
_KEYS = f"{_TEST}a_wrong_key_or_signature_is_named"
ROWS = (
    Row(
        "azure-blob",
        "account key",
        "`account_key`, `account_key_file`; `account_name`",
        "both",
        "azurite, which checks signatures",
        _KEYS,
    ),
    Row(
        "azure-blob",
        "connection string",
        "`connection_string`, `connection_string_file`, `AZURE_STORAGE_CONNECTION_STRING`",
        "both",
        "the same",
        _KEYS,
    ),
    Row(
        "azure-blob",
        "shared access signature (SAS)",
        "`sas_token`, `sas_token_file`, or in the connection string; with and without `?`",
        "both",
        "the same",
        "scenarios/test_credentials.py::test_every_way_into_azure_works_in_a_hostile_environment",
    ),
    *(way.row for way in WAYS),
    Row(
        "azure-blob",
        "nobody",
        "`anonymous: true`",
        "both",
        "azurite, public and private containers",
        "scenarios/test_credentials.py::test_anonymous_reads_public_containers_only",
    ),
)
