"""What the JSON Schema refuses, and where an editor shows it; what it accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from kaiwo.config import document, loader
from kaiwo.config.schema import schema
from kaiwo.errors import ConfigError
from kaiwo.tasks.registry import BUILT_IN
from tests.servers import ROOT
from tests.support.configs import BUCKETS, LEAST, faults, validator

FILES = sorted(path for path in ROOT.glob("tests/*.yaml"))
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
FOLDER = {"folder": "f", "target_path": "t"}
FILE = {"file": "k", "target_path": "t"}
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


def examples() -> list[tuple[str, str, Path]]:
    """Every file and every example of a page: its name, its text, and the folder it is in."""
    found = [(path.name, path.read_text(encoding="utf-8"), path.parent) for path in FILES]
    for page in PAGES:
        blocks = MarkdownIt().parse(page.read_text(encoding="utf-8"))
        texts = [each.content for each in blocks if each.type == "fence"]
        found += [(page.name, text, ROOT / "docs") for text in texts if "download_items:" in text]
    return found


def of(type_: str, **fields: Any) -> dict[str, Any]:
    return {"download_items": [LEAST[type_] | fields]}


def items(*found: dict[str, Any], type_: str = "s3") -> dict[str, Any]:
    if type_ == "url":
        return of("url", items=list(found))
    return of(type_, buckets=[{"name": "b", "items": list(found)}])


AT = "download_items/0"
ITEM_AT = f"{AT}/buckets/0/items/0"
URL_AT = f"{AT}/items/0"
KEYS = {"access_key_id": "a", "secret_key": "b"}
PAIR = {"account_name": "n"}
SIGNATURE_AT = f"{AT}/signature"
IDENTITY = {"identity": "me@example.org", "identity_provider": "https://p", "trust_root": "r.json"}
#: A broken file, where its fault is, and what is said there.
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    # A fault is that of its own task, not of all types.
    (of("s3", regiom="x"), AT, "'regiom'"),
    (of("gcs", region="x"), AT, "'region'"),
    (of("hf", repo_idd="x"), AT, "'repo_idd'"),
    (of("s3", type="s4"), f"{AT}/type", "s4"),
    ({"download_items": [{"buckets": BUCKETS}]}, AT, "'type' is a required property"),
    ({"download_items": [{"type": "s3"}]}, AT, "'buckets' is a required property"),
    ({"download_items": [{"type": "hf"}]}, AT, "'repo_id' is a required property"),
    ({"download_items": []}, "download_items", "non-empty"),
    ({"download_root": "x"}, "", "'download_items' is a required property"),
    ({**of("hf"), "max_worker": 3}, "", "'max_worker'"),
    ({**of("hf"), "x_mine": 3}, "", "'x_mine'"),
    ({**of("hf"), "max_workers": 0}, "max_workers", "0"),
    ({**of("hf"), "max_workers": "many"}, "max_workers", "many"),
    ({**of("hf"), "log_level": "loud"}, "log_level", "loud"),
    ({**of("hf"), "fsync": "maybe"}, "fsync", "maybe"),
    ({**of("hf"), "max_bandwidth": "20Mbit"}, "max_bandwidth", "20Mbit"),
    ({**of("hf"), "deadline": "soon"}, "deadline", "soon"),
    ({**of("hf"), "deadline": ""}, "deadline", "''"),
    ({**of("hf"), "deadline": 0}, "deadline", "0"),
    ({**of("hf"), "startup_wait": -1}, "startup_wait", "-1"),
    ({**of("hf"), "report": "s3://b/k"}, "report", "s3://b/k"),
    ({**of("hf"), "report": "${A"}, "report", "should not be valid"),
    # A secret in both of its forms, or with what it excludes.
    (of("s3", **KEYS, secret_key_file="/f"), f"{AT}/secret_key", "type 'null'"),
    (of("gcs", token="a", token_file="/f"), f"{AT}/token", "type 'null'"),
    (of("url", options={}, options_file="/f"), f"{AT}/options", "type 'null'"),
    (of("s3", **KEYS, anonymous=True), f"{AT}/secret_key", "not one of"),
    (of("s3", **KEYS, profile="p"), f"{AT}/access_key_id", "not one of"),
    (of("s3", access_key_id="a"), AT, "is not valid"),
    (of("s3", secret_key_file="/f"), AT, "is not valid"),
    (of("s3", session_token="a"), AT, "is not valid"),
    (of("s3", client_key="k"), AT, "'client_certificate' is a required property"),
    (of("azure-blob", connection_string="c", **PAIR), f"{AT}/account_name", "not one of"),
    (of("azure-blob", account_key="c", sas_token="s", **PAIR), f"{AT}/sas_token", "not one of"),
    (of("azure-blob", account_key="c"), AT, "is not valid"),
    (of("azure-blob", anonymous=True), AT, "is not valid"),
    (of("azure-blob", client_secret="c", tenant_id="t", **PAIR), AT, "'client_id'"),
    (of("hf", files=["a"], allow_patterns=["b"]), f"{AT}/allow_patterns", "not one of"),
    (of("hf", target_path="a", cache_dir="b"), f"{AT}/cache_dir", "not one of"),
    (of("hf", repo_id="a/b/c"), f"{AT}/repo_id", "does not match"),
    (of("hf", transport="ftp"), f"{AT}/transport", "ftp"),
    # Addresses.
    (of("s3", endpoint_url="localhost:9000"), f"{AT}/endpoint_url", "does not match"),
    (of("gcs", endpoint_url="https://"), f"{AT}/endpoint_url", "does not match"),
    (of("hf", endpoint_url="https://h/?sig=x"), f"{AT}/endpoint_url", "does not match"),
    (items({**FILE, "file": "no/url"}, type_="url"), f"{URL_AT}/file", "does not match"),
    (items({**FILE, "file": "s3://b/k"}, type_="url"), f"{URL_AT}/file", "does not match"),
    (items({**FOLDER, "folder": "x"}, type_="url"), f"{URL_AT}/folder", "does not match"),
    (
        items({"file": {**FILE, "file": "hf://a/b"}}, type_="url"),
        f"{URL_AT}/file/file",
        "does not match",
    ),
    # Who has signed.
    (of("hf", signature={"bundle": "m.sig"}), SIGNATURE_AT, "is not valid"),
    (of("hf", signature={"bundle": "m.sig", **IDENTITY, "key": "k"}), f"{SIGNATURE_AT}/key", "'k'"),
    (
        of("hf", signature={"bundle": "m.sig", "identity": "me@example.org"}),
        SIGNATURE_AT,
        "is not valid",
    ),
    # Items, flat and nested.
    (items({"target_path": "t"}), ITEM_AT, "'folder' is a required property"),
    (items({**FILE, "folder": "f"}), ITEM_AT, "'folder'"),
    (items({"file": "k"}), ITEM_AT, "'target_path' is a required property"),
    (items({**FILE, "glob": "*"}), ITEM_AT, "'glob'"),
    (items({**FOLDER, "checksum": "md5:"}), ITEM_AT, "'checksum'"),
    (items({"folder": {**FOLDER, "globb": "*"}}), f"{ITEM_AT}/folder", "'globb'"),
    (items({"file": {"target_path": "t"}}), f"{ITEM_AT}/file", "'file' is a required property"),
    (items({"file": FILE, "target_path": "t"}), ITEM_AT, "'target_path'"),
    (items({**FILE, "file": "k/"}), f"{ITEM_AT}/file", "does not match"),
    (items({**FILE, "target_path": "../t"}), f"{ITEM_AT}/target_path", "does not match"),
    (items({**FOLDER, "glob": "a**"}), f"{ITEM_AT}/glob", "a**"),
    (items({**FOLDER, "glob": []}), f"{ITEM_AT}/glob", "[]"),
    (items({**FOLDER, "exclude": ["tmp/"]}), f"{ITEM_AT}/exclude/0", "tmp/"),
    (items({**FILE, "checksum": "md5:12"}), f"{ITEM_AT}/checksum", "md5:12"),
    (items({**FILE, "checksum": f"sha1:{'a' * 40}"}), f"{ITEM_AT}/checksum", "sha1"),
    (of("s3", buckets=[{"name": "a/b", "items": [FILE]}]), f"{AT}/buckets/0/name", "a/b"),
    (of("s3", buckets=[{"name": "b", "items": []}]), f"{AT}/buckets/0/items", "non-empty"),
    (of("s3", secret_key=123, access_key_id="a"), f"{AT}/secret_key", "123"),
    (of("s3", name=""), f"{AT}/name", ""),
]
#: Good files beside those that other tests read.
GOOD: list[dict[str, Any]] = [
    {**of("hf"), "x-mine": [1, {"a": "b"}], "x-": None},
    {**of("hf"), "max_workers": "${N}", "fsync": "${F:-true}", "log_level": "debug"},
    {**of("hf"), "deadline": None, "report": None, "max_bandwidth": "1.5Gi"},
    {**of("hf"), "deadline": "1h30m", "stall_timeout": "90 Sec", "startup_wait": "0"},
    {**of("hf"), "deadline": " 1.5 hours 2min", "stall_timeout": "${T}", "startup_wait": 0},
    {"download_items": [{"type": "${TYPE:-s3}", "whatever": 1}]},
    of("s3", secret_key=None, secret_key_file="/f", access_key_id_file="/f"),
    of("s3", anonymous=False, **KEYS),
    of("hf", signature={"bundle": "m.sig", "key": "k", "digest": "${D}", "unsigned": "skip"}),
    of("hf", signature={"bundle": "m.sig", "certificate": ["r.pem"], "subject": "CN=a"}),
    of("hf", signature={"bundle": "m.sig", **IDENTITY}),
    of("s3", endpoint_url="${A}", addressing_style="${B}", anonymous="${C}"),
    of("hf", files=[], allow_patterns=["*.json"], ignore_patterns=[]),
    of("azure-blob", account_key_file="/f", account_name_file="/n"),
    of("url", items=[{"file": "${BASE}/k", "target_path": "t"}]),
    items({**FOLDER, "glob": ["*", "**"], "exclude": []}, {"file": FILE}, {"folder": FOLDER}),
    items({**FILE, "target_path": "a..b/.../c", "checksum": "${SUM}"}),
]


@pytest.mark.parametrize(("data", "place", "says"), BROKEN)
def test_a_broken_file_is_refused_where_it_is_broken(
    data: dict[str, Any], place: str, says: str
) -> None:
    found = faults(data)
    assert place in [where for where, _ in found], found
    assert any(says in what for where, what in found if where == place), found
    # Of the file's own types, nothing is said that is of another one.
    assert all("was expected" not in what for _, what in found)
    with pytest.raises(ConfigError):
        loader.build(document.parse(yaml.safe_dump(data), "c.yaml"), None, {})


@pytest.mark.parametrize("data", [*GOOD, *({"download_items": [each]} for each in LEAST.values())])
def test_a_good_file_is_accepted(data: dict[str, Any]) -> None:
    assert faults(data) == []


@pytest.mark.parametrize(("name", "text", "folder"), examples())
def test_every_example_is_accepted_and_names_its_schema(name: str, text: str, folder: Path) -> None:
    assert faults(yaml.safe_load(text)) == [], name
    line = MODELINE.match(text)
    assert line, f"the first line of an example in {name} names no schema"
    assert (folder / line[1]).resolve() == ROOT / "docs" / "kaiwo.schema.json"


def test_the_examples_are_found() -> None:
    assert len(examples()) >= 5


def test_a_file_is_called_as_editors_know_it() -> None:
    """``kaiwo.yaml`` or ``*.kaiwo.yaml``, on every page and in the help of the package.

    Other files that a page names are there: manifests, values of a chart, workflows.
    """
    names = re.compile(r"[\w*./-]*\.ya?ml\b")
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    texts["Dockerfile"] = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    there = {
        path.name for above in ("examples", ".github") for path in ROOT.glob(f"{above}/**/*.yaml")
    }
    for page, text in texts.items():
        others = {
            name
            for name in names.findall(text)
            if not name.endswith("kaiwo.yaml")
            and not (ROOT / name).exists()
            and name.rpartition("/")[2] not in there
        }
        assert others <= {"docker-compose.test.yaml"}, page


def test_it_is_a_schema_that_is_identified_and_shows_files_that_it_accepts() -> None:
    made = schema(BUILT_IN)
    Draft202012Validator.check_schema(made)
    assert made["$id"].startswith("urn:kaiwo:")
    assert made["examples"]
    for example in made["examples"]:
        assert faults(example) == []
    assert validator().is_valid(made["examples"][0])


def test_its_texts_are_plain_markdown_and_it_has_no_titles_of_fields() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "description" and isinstance(value, str):
                    assert "``" not in value
                assert key != "title" or node is made
                walk(value)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    made = schema(BUILT_IN)
    walk(made)


@pytest.mark.parametrize("type_", BUILT_IN)
def test_a_task_type_requires_its_type_and_knows_no_other_field(type_: str) -> None:
    made = schema([type_])
    (branch,) = made["$defs"]["Task"]["allOf"]
    assert branch["if"] == {"properties": {"type": {"const": type_}}, "required": ["type"]}
    held = made["$defs"][branch["then"]["$ref"].rpartition("/")[2]]
    assert "type" in held["required"]
    assert held["additionalProperties"] is False
