"""Whom a task names counts before whom the environment names."""

from __future__ import annotations

from typing import Any

import azure.identity
import pytest

from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.azure_identity import Asked, of_environment

SECRET = {"AZURE_CLIENT_SECRET": "s"}
CERTIFICATE = {"AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem"}
USER = {"AZURE_USERNAME": "u", "AZURE_PASSWORD": "p"}
WORKLOAD = {"AZURE_FEDERATED_TOKEN_FILE": "/token"}


@pytest.mark.parametrize("fields", [("", ""), ("tenant", ""), ("", "client"), ("tenant", "client")])
@pytest.mark.parametrize(
    ("prefix", "proof", "made"),
    [
        ("AZURE_STORAGE_", {"AZURE_STORAGE_CLIENT_SECRET": "s"}, "ClientSecretCredential"),
        ("AZURE_", SECRET, "ClientSecretCredential"),
        ("AZURE_", CERTIFICATE, "CertificateCredential"),
        ("AZURE_", USER, "UsernamePasswordCredential"),
        ("AZURE_", WORKLOAD, "WorkloadIdentityCredential"),
    ],
)
def test_whom_the_task_names_counts_first(
    prefix: str,
    proof: dict[str, str],
    made: str,
    fields: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_variables = {f"{prefix}TENANT_ID": "env-tenant", f"{prefix}CLIENT_ID": "env-client"}
    for name, value in {**of_variables, **proof}.items():
        monkeypatch.setenv(name, value)
    found: list[tuple[str, str]] = []

    def make(*args: str, **given: Any) -> object:
        if made == "UsernamePasswordCredential":
            given["client_id"] = args[0]
        elif args:
            given["tenant_id"], given["client_id"] = args[:2]
        found.append((given["tenant_id"], given["client_id"]))
        return object()

    monkeypatch.setattr(azure.identity, made, make)
    of_environment(Asked(*fields, NetworkSettings(), None))
    assert found == [(fields[0] or "env-tenant", fields[1] or "env-client")]
