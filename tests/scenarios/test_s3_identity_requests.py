"""How identity services of AWS are asked: at which address, through which proxy, for how long."""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.report import Report
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks import s3_session
from tests.servers import serving
from tests.support import aws as little_aws
from tests.support import certificates
from tests.support.aws import ROLE, Aws
from tests.support.command import tree
from tests.support.engines import ALL, each_engine
from tests.support.forward_proxy import forward_proxy
from tests.support.stores import Store
from tests.support.tls_pipe import Pipe

pytestmark = pytest.mark.usefixtures("loopback_only")

OBJECTS = {"k": b"data"}


@pytest.fixture
def aws(s3: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """Whose STS takes the pod's web identity."""
    with little_aws.aws(s3) as made:
        (tmp_path / "token").write_text(made.web_token)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", made.address)
        yield made


def task_of(aws: Aws, **fields: Any) -> dict[str, Any]:
    """Of a bucket, with the pod's identity."""
    nothing = {"access_key_id": None, "secret_key": None}
    return aws.s3.task(aws.s3.new_bucket(OBJECTS), ALL, **nothing, **fields)


def download(
    aws: Aws, folder: Path, *, engine: str = "obstore", retries: int = 0, **fields: Any
) -> Report:
    """Fetch a bucket with the pod's identity."""
    config = {"download_root": str(folder / "out"), "download_items": [task_of(aws, **fields)]}
    quick = {"startup_wait": 0, "retries": retries, "stall_timeout": 1}
    return kaiwo.download({**config, **quick}, progress="none", engine=engine)


@pytest.mark.parametrize(
    ("variables", "region", "address"),
    [
        ({}, None, "https://sts.amazonaws.com"),
        ({}, "eu-west-3", "https://sts.eu-west-3.amazonaws.com"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-3", "https://sts.eu-west-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, None, "https://sts.cn-north-1.amazonaws.com.cn"),
        (
            {"AWS_DEFAULT_REGION": "us-west-2", "AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
            None,
            "https://sts.amazonaws.com",
        ),
        (
            {"AWS_DEFAULT_REGION": "us-west-2", "AWS_ENDPOINT_URL_STS": "https://sts.example"},
            None,
            "https://sts.example",
        ),
    ],
)
def test_the_address_of_sts_is_that_of_the_environment(
    variables: dict[str, str],
    region: str | None,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session = s3_session.for_identity(None, region, None, NetworkSettings())
    client = session.create_client("sts", aws_access_key_id="a", aws_secret_access_key="b")
    assert client.meta.endpoint_url == address
    assert client.meta.config.connect_timeout == NetworkSettings().connect_timeout_s
    assert client.meta.config.retries["total_max_attempts"] == 1


def test_the_tasks_authority_is_trusted_when_it_signs_in_and_no_other(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = certificates.authority()
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(top.pem)
    tls = certificates.server(top).tls(tmp_path)
    with contextlib.closing(Pipe(aws.address, tls=tls)) as pipe:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://localhost:{pipe.port}")
        report = download(aws, tmp_path)
        assert report.exit_code == 3
        assert "certificate" in str(report.items[0].error)
        assert not aws.asked
        download(aws, tmp_path, ca_bundle=str(bundle)).raise_for_failures()
    assert tree(tmp_path / "out") == OBJECTS


@each_engine
def test_the_proxy_of_the_environment_is_asked_for_an_identity_as_well(
    aws: Aws, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        if engine == "obstore":  # it would follow a redirect with the session token
            (item,) = download(aws, tmp_path / "not", engine=engine).failed
            assert item.error is not None
            assert "behind a proxy, obstore would show credentials" in item.error.message
            assert not aws.asked
        behind = "auto" if engine == "obstore" else engine
        download(aws, tmp_path, engine=behind, retries=5).raise_for_failures()
        to_sts = [line for line in proxy.lines if line.startswith(f"POST {aws.address}")]
        assert len(to_sts) == len(aws.asked) == 1
        proxy.lines.clear()
        monkeypatch.setenv("no_proxy", serving.HOST)
        (tmp_path / "more").mkdir()
        download(aws, tmp_path / "more", engine=engine).raise_for_failures()
        assert not proxy.lines


@each_engine
def test_a_service_that_never_answers_costs_one_timeout_for_all_buckets(
    aws: Aws, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((serving.HOST, 0)) as silent:
        address = f"http://{serving.HOST}:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)
        task = task_of(aws)
        task["buckets"] = [{**task["buckets"][0], "name": f"bucket-{n}"} for n in range(6)]
        config = {"download_root": str(tmp_path), "download_items": [task], "stall_timeout": 1}
        start_s = time.monotonic()
        report = kaiwo.download(config, progress="none", engine=engine, startup_wait=0, retries=0)
        assert report.exit_code == 5
        assert len(report.items) == 6
        assert time.monotonic() - start_s < 4


def test_an_identity_does_not_travel_and_each_process_finds_its_own(
    aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kaiwo")
    nothing = {"access_key_id": None, "secret_key": None}
    bucket = aws.s3.new_bucket(OBJECTS)
    store = Store("s3", {**aws.s3.fields, **nothing}, aws.s3.fill, aws.s3.settings)
    opener = store.opener(bucket)
    for _ in range(2):
        source = opener.open()
        assert [remote.key for remote in source.list("")] == ["k"]
        source.close()
    assert len(aws.asked) == 1
    travelled = pickle.dumps(opener)
    assert not [each for each in aws.secrets() if each.encode() in travelled]
    source = pickle.loads(travelled).open()
    assert [remote.key for remote in source.list("")] == ["k"]
    source.close()
    assert len(aws.asked) == 2
