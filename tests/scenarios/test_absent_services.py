"""A service that cannot be reached, or whose certificate is not trusted."""

import contextlib
import json
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.support import certificates
from tests.support.children import started
from tests.support.command import Kaiwo, clean_environment, tree
from tests.support.command_errors import CANARY, ITEMS, absent, errors_of
from tests.support.stores import Store
from tests.support.tls_pipe import Pipe

# --- a service that is not there --------------------------------------------------------------


@pytest.mark.parametrize("host", ["closed port", "unknown name"])
def test_a_service_that_is_not_there_is_waited_for_and_then_given_up(
    tmp_path: Path, host: str
) -> None:
    address = f"http://127.0.0.1:{servers.free_port()}"
    if host == "unknown name":
        address = "http://nowhere.invalid"
    tasks = [absent(type_, address) for type_ in ("s3", "gcs", "azure-blob", "hf")]
    options = ("--startup-wait", "2", "--retries", "0")
    start_s = time.monotonic()
    with started(tmp_path, *tasks, options=options) as child:
        child.line_with("WARNING")
        assert child.process.poll() is None, "it had ended before it warned"
        code, stdout, stderr = child.end()
    assert time.monotonic() - start_s >= 2.0
    assert (code, stdout) == (5, "")
    reason = "refused" if host == "closed port" else "unknown"
    warnings = [line for line in stderr.splitlines() if "WARNING" in line and reason in line]
    for url in ("s3://b/k", "gs://b/k", "az://b/k", "hf://o/r@main/"):
        assert any(url in line for line in warnings), url
        assert any(url in text and reason in text for text in errors_of(stderr)), url
    report = (tmp_path / "report.json").read_text()
    kinds = [item["error"]["kind"] for item in json.loads(report)["items"]]
    assert kinds == ["unreachable"] * 4
    assert CANARY not in stderr + report + (tmp_path / "termination-log").read_text()
    assert "Traceback" not in stderr


def test_by_default_a_service_that_is_not_there_is_waited_for_half_a_minute() -> None:
    command = [sys.executable, "-m", "kaiwo", "download", "--help"]
    environment = clean_environment(Path("/nowhere")) | {"COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    described = done.stdout.partition("--startup-wait")[2]
    assert re.match(r"[^\[]*\[default:\s+30\]", described)


def through(store: Store, bucket: str, scheme: str, port: int, **fields: Any) -> dict[str, Any]:
    """A task for ITEMS of a store, by way of a pipe's port on localhost."""
    address = f"{scheme}://localhost:{port}"
    match store.type:
        case "azure-blob":
            names = ("account_name", "account_key")
            own: dict[str, Any] = {name: store.settings[name] for name in names}
            path = store.settings["account_name"]
            own |= {"connection_string": None, "endpoint_url": f"{address}/{path}"}
        case "hf":
            own = {"endpoint_url": address, "target_path": ".", "files": ["k"]}
        case _:
            own = {"endpoint_url": address}
    return store.task(bucket, ITEMS, **own, **fields)


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each provider in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


def filled(store: Store) -> str:
    """A new bucket, or repository, with the object k."""
    if store.type != "hf":
        return store.new_bucket({"k": b"data"})
    store.fill("acme/errors", {"k": b"data"})
    return "acme/errors"


def test_a_service_that_comes_up_while_it_is_waited_for_is_used(
    any_store: Store, tmp_path: Path
) -> None:
    bucket, port = filled(any_store), servers.free_port()
    task = through(any_store, bucket, "http", port)
    with started(tmp_path, task, options=("--startup-wait", "60")) as child:
        child.line_with("WARNING")
        with contextlib.closing(Pipe(any_store.settings["endpoint_url"], port)):
            code, stdout, stderr = child.end()
    assert (code, stdout) == (0, ""), stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    assert errors_of(stderr) == []


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody trusts, for localhost, and a server's TLS with it."""
    folder = tmp_path_factory.mktemp("tls")
    own = certificates.self_signed(is_authority=True)
    certificate = folder / "ca.pem"
    certificate.write_bytes(own.pem)
    return certificate, own.tls(folder)


def test_an_untrusted_certificate_ends_the_run_at_once_and_ca_bundle_makes_it_trusted(
    failing: Kaiwo, any_store: Store, authority: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    certificate, context = authority
    bucket = filled(any_store)
    pipe = Pipe(any_store.settings["endpoint_url"], tls=context)
    with contextlib.closing(pipe):
        fields = {"secret_key": CANARY} if any_store.type == "s3" else {}
        task = through(any_store, bucket, "https", pipe.port, **fields)
        done = failing({"download_items": [task]}, "--startup-wait", "600")
        assert (done.code, done.stdout) == (3, ""), done.stderr
        assert "WARNING" not in done.stderr
        assert "ca_bundle" in "\n".join(errors_of(done.stderr))
        assert done.report["items"][0]["error"]["kind"] == "certificate"
        # Two listings of obstore side by side, and OpenSSL's second opinion.
        assert pipe.connections <= 3
        assert tree(tmp_path / "out") == {}
        task["ca_bundle"] = str(certificate)
        done = failing({"download_items": [task]})
        assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}


@pytest.mark.parametrize("type_", ["s3", "gcs", "azure-blob", "hf"])
def test_a_ca_bundle_that_holds_no_certificate_is_a_fault_of_the_configuration(
    failing: Kaiwo, tmp_path: Path, type_: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(CANARY)
    task = absent(type_, "https://127.0.0.1:1") | {"ca_bundle": str(bundle)}
    done = failing({"download_items": [task]}, "--startup-wait", "0", "--retries", "0")
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert "ca_bundle" in "\n".join(errors_of(done.stderr))
