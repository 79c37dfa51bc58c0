"""The address of a storage account, in each cloud."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from kaiwo.errors import ConfigError
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.azure import AzureTask
from kaiwo.tasks.connection_strings import address_of, blob_address, fields_of

ITEMS = [{"name": "bucket", "items": [{"file": "k", "target_path": "k"}]}]


@pytest.mark.parametrize(
    ("authority", "suffix"),
    [
        (None, "core.windows.net"),
        ("https://login.microsoftonline.com/", "core.windows.net"),
        ("https://login.microsoftonline.us/", "core.usgovcloudapi.net"),
        ("login.chinacloudapi.cn", "core.chinacloudapi.cn"),
        ("https://login.example.org", "core.windows.net"),
    ],
)
def test_an_account_is_in_the_cloud_of_the_environment(
    authority: str | None, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)
    if authority is not None:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", authority)
    task = AzureTask.model_validate({"containers": ITEMS, "account_name": "me"})
    assert task.origin == f"https://me.blob.{suffix}"
    named = fields_of("AccountName=me;EndpointSuffix=core.example.org")
    assert address_of(named) == ("https://me.blob.core.example.org", "me")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://me.dfs.core.windows.net", "https://me.blob.core.windows.net"),
        ("https://me.dfs.core.usgovcloudapi.net:443", "https://me.blob.core.usgovcloudapi.net:443"),
        ("https://me.blob.core.windows.net", "https://me.blob.core.windows.net"),
        ("https://me.dfs.example.org/me", "https://me.dfs.example.org/me"),
        ("http://127.0.0.1:10000/me.dfs.core.windows.net", None),
    ],
)
def test_the_other_service_of_an_account_with_a_hierarchical_namespace_is_not_asked(
    endpoint: str, expected: str | None
) -> None:
    assert blob_address(endpoint) == (expected or endpoint)
    task = AzureTask.model_validate({"containers": ITEMS, "endpoint_url": endpoint})
    assert task.origin == (expected or endpoint)


@pytest.mark.parametrize(
    "name",
    ["evil.example/", "evil.example#", "e.example?x=", "a@e.example", "e:443/x", "a.b", "a" * 64],
)
def test_the_name_of_an_account_is_no_other_host(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        AzureTask.model_validate({"containers": ITEMS, "account_name": name})
    file, variable = tmp_path / "name", "AZURE_STORAGE_ACCOUNT_NAME"
    file.write_text(name)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv(variable, name)
    ways: tuple[tuple[dict[str, str], str], ...] = (
        ({"account_name_file": str(file)}, "account_name_file"),
        ({"connection_string": f"AccountName={name};AccountKey=a2V5"}, "connection_string"),
        ({}, variable),
    )
    for fields, place in ways:
        task = AzureTask.model_validate({"containers": ITEMS, **fields})
        with pytest.raises(ConfigError, match=f"^{place}: .* letters, digits"):
            task.settings(NetworkSettings())
