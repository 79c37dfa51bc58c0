"""The example of a ClusterStorageContainer: what KServe's controller makes of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from kaiwo.errors import ConfigError
from kaiwo.initializer.uris import parse
from kaiwo.initializer.variables import Variables
from tests.servers import ROOT

EXAMPLE = ROOT / "examples/kserve/clusterstoragecontainer.yaml"
SCRIPT = "/storage-initializer/scripts/initializer-entrypoint"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (document["apiVersion"], document["kind"]) == (
        "serving.kserve.io/v1alpha1",
        "ClusterStorageContainer",
    )
    found: dict[str, Any] = document["spec"]
    return found


def supports(spec: dict[str, Any], uri: str) -> bool:
    """As ``IsStorageUriSupported`` does it; Go's expressions know no more than these here."""
    return any(
        uri.startswith(each["prefix"]) if "prefix" in each else re.search(each["regex"], uri)
        for each in spec["supportedUriFormats"]
    )


def test_it_has_the_fields_that_the_controller_knows(spec: dict[str, Any]) -> None:
    known = {"container", "supportedUriFormats", "workloadType", "supportsMultiModelDownload"}
    assert spec.keys() == known
    assert spec["container"]["name"] == "storage-initializer"
    assert "args" not in spec["container"]
    assert all(len(each) == 1 for each in spec["supportedUriFormats"])
    assert not any("(?" in each.get("regex", "") for each in spec["supportedUriFormats"])


def test_its_command_is_in_the_image(spec: dict[str, Any]) -> None:
    assert spec["container"]["command"] == [SCRIPT]
    folder, _, name = SCRIPT.rpartition("/")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"cd {folder}" in dockerfile
    assert f"> {name}" in dockerfile


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/m", "gs://bucket/m", "hf://owner/model:main",
        "https://acct.blob.core.windows.net/c/m", "https://acct.z1.blob.storage.azure.net/c/m",
        "https://host/a/model.tar.gz?x=1", "http://host/model.onnx", "hdfs://host/m", "oci://host/m",
        "https://github.com/o/m.git", "https://acct.file.core.windows.net/s/m", "https://host/page",
        "modelscope://owner/model",
    ],
)  # fmt: skip
def test_it_takes_the_uris_that_kaiwo_fetches(spec: dict[str, Any], uri: str) -> None:
    try:
        parse(uri, Variables({}))
    except ConfigError:
        assert not supports(spec, uri)
    else:
        assert supports(spec, uri) == (uri != "https://host/page")
