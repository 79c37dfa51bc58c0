"""Files of the Hub through Xet: when it is used, in which mode, and that files are verified."""

from __future__ import annotations

import json
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.jobs import RANGE
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.hub.source import HubSource
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment, succeeding, tree
from tests.support.faulty import MIB
from tests.support.hubs import Hub, downloaded

TOKEN = "hf_right"
LARGE = random.Random(11).randbytes(20 * MIB + 3)
FILES = {"large.bin": LARGE, "small.bin": b"x" * 1000, "config.json": b"{}"}
BUNDLE = ssl.get_default_verify_paths().cafile
SWITCHES = ("HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER")


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub(f"--token={TOKEN}", "--xet") as store:
        store.fill("acme/net", FILES)
        yield Hub(store)


@pytest.fixture
def run(kaiwo: Kaiwo, hub: Hub) -> Callable[..., Run]:
    return partial(downloaded, kaiwo, hub.store, "acme/net", target_path=".")


def by_xet(hub: Hub) -> int:
    """How many requests for bytes went to the Xet store."""
    return hub.counts()["xorbs"]


@pytest.mark.parametrize("cached", [False, True])
def test_what_comes_by_xet_is_verified_and_published_like_everything_else(
    kaiwo: Kaiwo, hub: Hub, tmp_path: Path, cached: bool
) -> None:
    place = {"cache_dir": str(tmp_path / "out")} if cached else {"target_path": "."}
    task = hub.store.task("acme/net", (), transport="xet", token=TOKEN, **place)
    done = kaiwo({"download_items": [task]})
    assert done.code == 0, done.stderr
    assert "files above 8 MiB come through Xet" in done.stderr
    (large,) = (each for each in done.report["items"] if each["bytes"] == len(LARGE))
    assert Path(large["target"]).read_bytes() == LARGE
    assert large["checksum"]["algorithm"] == "sha256"
    assert large["checksum"]["verified"]
    assert by_xet(hub) > 0
    assert hub.counts()["resolve"] == 2, "the small ones come by HTTP"
    assert not any(each["authorization"] for each in hub.log() if "/xorbs/" in each["path"])
    hub.ask("reset")
    again = kaiwo({"download_items": [task]})
    assert again.report["unchanged"] == 3
    assert by_xet(hub) == 0


def test_wrong_bytes_of_a_xet_store_are_not_published(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.ask("fault", {"match": "^/xorbs/", "action": "flip", "times": 100})
    done = run(transport="xet")
    assert done.code == 7, done.stderr
    assert "large.bin" not in tree(tmp_path / "out")


def test_a_xet_store_that_fails_now_and_then_is_asked_again(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.ask("fault", {"match": "^/v2/reconstructions/", "action": "status:404", "times": 1})
    done = run(transport="xet")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == FILES


def test_a_xet_store_that_falls_silent_is_asked_again_and_told_nothing(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.ask("fault", {"match": "^/xorbs/", "action": "stall", "times": 1})
    # hf_xet would tell the store how far it is, from its fifth minute on.
    soon = dict.fromkeys(("AFTER", "INTERVAL"), "100ms")
    env = {f"HF_XET_TELEMETRY_HEARTBEAT_{name}": value for name, value in soon.items()}
    env["HF_HUB_DISABLE_TELEMETRY"] = "0"
    done = run("--stall-timeout=2", transport="xet", env=env)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == FILES
    assert not any("telemetry" in each["path"] for each in hub.log())


@pytest.mark.parametrize("env", [{}, {"SSL_CERT_FILE": BUNDLE}])
def test_a_bundle_that_hf_xet_is_not_told_of_is_worth_a_warning(
    run: Callable[..., Run], env: dict[str, str]
) -> None:
    done = run(transport="xet", ca_bundle=BUNDLE, env=env)
    assert done.code == 0, done.stderr
    assert ("SSL_CERT_FILE" in done.stderr) is not bool(env)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_that_waits_for_a_xet_store(
    hub: Hub, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    hub.ask("fault", {"match": "^/xorbs/", "action": "stall", "times": 100})
    task = hub.store.task("acme/net", (), transport="xet", target_path=str(tmp_path / "out"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"download_items": [task]}))
    words = [sys.executable, "-m", "kaiwo.downloader", "config.yaml"]
    with subprocess.Popen(words, cwd=tmp_path, env=clean_environment(tmp_path)) as process:
        pause, deadline_s = threading.Event(), time.monotonic() + 30
        while not by_xet(hub):
            assert time.monotonic() < deadline_s, "it asks for nothing"
            pause.wait(0.02)
        process.send_signal(number)
        assert process.wait(5) == code
    assert not list((tmp_path / "out").glob("large*"))
    assert not list((tmp_path / "out").rglob(".kaiwo-*.part"))


def test_the_error_of_a_xet_store_shows_no_address_and_ends_the_run(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.ask("fault", {"match": "^/xorbs/", "action": "status:403", "times": 100})
    done = run("--retries=0", "--log-level=DEBUG", transport="xet")
    assert done.code == 5, done.stderr
    assert "by Xet" in done.stderr
    assert "until=" not in done.stderr
    assert tree(tmp_path / "out").keys() == {"small.bin", "config.json"}


@pytest.mark.parametrize(
    ("fields", "env", "expected"),
    [
        ({}, {}, None),
        ({"transport": "http"}, {}, None),
        ({"transport": "xet"}, {}, "come through Xet\n"),
        ({"high_performance": True}, {}, "high-performance mode (high_performance)"),
        ({}, {SWITCHES[0]: "1"}, f"high-performance mode ({SWITCHES[0]})"),
        ({}, {SWITCHES[1]: "true"}, f"high-performance mode ({SWITCHES[1]})"),
        ({}, {SWITCHES[1]: "0"}, None),
        (
            {"transport": "http", "high_performance": True},
            {},
            "plain HTTP, because of transport: http",
        ),
        ({"transport": "http"}, {SWITCHES[0]: "1"}, "plain HTTP, because of transport: http"),
        ({"high_performance": True}, {"HF_HUB_DISABLE_XET": "1"}, "plain HTTP, because of HF_HUB_"),
    ],
)
def test_one_line_says_what_a_switch_has_done(
    run: Callable[..., Run],
    hub: Hub,
    tmp_path: Path,
    fields: dict[str, Any],
    env: dict[str, str],
    expected: str | None,
) -> None:
    done = run(env=env, **fields)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == FILES
    assert (by_xet(hub) > 0) == ("come through Xet" in done.stderr)
    told = done.stderr.splitlines(keepends=True)
    lines = [line for line in told if "hf://" in line and "is commit" not in line]
    assert len(lines) == (expected is not None)
    assert not expected or expected in lines[0]
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"transport": "xet"}, 2, "needs hf_xet"),
        ({"high_performance": True}, 0, "plain HTTP: hf_xet cannot be loaded"),
    ],
)
def test_without_hf_xet_the_transport_xet_is_an_error_and_auto_is_http(
    run: Callable[..., Run], tmp_path: Path, fields: dict[str, Any], code: int, words: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "hf_xet.py").write_text("raise ImportError('not for this machine')")
    here = clean_environment(tmp_path)["PYTHONPATH"]
    done = run(env={"PYTHONPATH": f"{tmp_path / 'broken'}:{here}"}, **fields)
    assert done.code == code, done.stderr
    assert words in done.stderr
    assert tree(tmp_path / "out") == ({} if code else FILES)


def test_only_what_is_above_the_limit_and_in_xet_comes_by_it(hub: Hub) -> None:
    fields: dict[str, Any] = {
        "token": TOKEN,
        "endpoint": hub.store.settings["endpoint_url"],
        "url": "hf://x/",
    }
    for limit, expected in ((None, set()), (RANGE, {"large.bin"}), (len(LARGE), set())):
        source = HubSource(
            "acme/net",
            "model",
            "main",
            network=NetworkSettings(),
            ca_bundle=None,
            xet_above=limit,
            **fields,
        )
        listed = list(source.list(""))
        source.close()
        assert {each.key for each in listed if each.stream_id is not None} == expected


def test_the_switch_of_one_task_is_not_left_in_the_environment(tmp_path: Path) -> None:
    code = (
        "import os; from kaiwo.sources.hub import xet; before = dict(os.environ)\n"
        "hf_xet = xet.load(high_performance=True)\n"
        "assert dict(os.environ) == before\n"
        "print(hf_xet.XetConfig().get('client.ac_initial_download_concurrency'))"
    )
    words = [sys.executable, "-c", code]
    env = clean_environment(tmp_path) | {SWITCHES[0]: "0"}
    high = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    low = subprocess.run(
        [*words[:2], code.replace("=True", "=False")], env=env, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert int(high) > int(low)


def test_fetch_takes_the_fields_as_options(hub: Hub, tmp_path: Path) -> None:
    address = hub.store.settings["endpoint_url"]
    given = ("transport=xet", "high_performance=true", f"endpoint_url={address}")
    succeeding(
        ["kaiwo", "fetch", "hf://acme/net/", "net", *(f"-o{each}" for each in given)], tmp_path, {}
    )
    assert tree(tmp_path / "net") == FILES
    assert by_xet(hub) > 0


@pytest.mark.parametrize("how", ["deadline", "signal"])
def test_a_token_of_the_store_that_does_not_come_keeps_no_run_from_its_end(
    hub: Hub, tmp_path: Path, how: str
) -> None:
    hub.ask("fault", {"match": "xet-read-token", "action": "stall", "times": 99, "method": "GET"})
    task = hub.store.task("acme/net", (), target_path=".", transport="xet")
    config, report = tmp_path / "config.yaml", tmp_path / "report.json"
    config.write_text(yaml.safe_dump({"download_root": str(tmp_path), "download_items": [task]}))
    options = ["--report", str(report), *(("--deadline", "2") if how == "deadline" else ())]
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), *options]
    with subprocess.Popen(
        command, env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as process:
        if how == "signal":
            until_s = time.monotonic() + 30
            while not any("xet-read-token" in each["path"] for each in hub.log()):
                assert time.monotonic() < until_s
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == (8 if how == "deadline" else 143), errors
    items = json.loads(report.read_text())["items"]
    assert {each["status"] for each in items if each["source"].endswith("large.bin")} == {"failed"}


def test_a_folder_that_hf_xet_cannot_make_is_a_failure_of_the_disk(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run("--retries", "1", env={"HF_HOME": str(tmp_path / "file" / "x")}, transport="xet")
    assert done.code == 6, done.stderr
    assert "set HF_HOME" in done.stderr
    assert "attempt" not in done.stderr


def test_where_it_cannot_make_its_folder_auto_is_http(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    """As in a container with a read-only root: HTTP needs no folder."""
    (tmp_path / "file").write_text("")
    env = {"HF_XET_CACHE": str(tmp_path / "file" / "x"), SWITCHES[0]: "1"}
    done = run(env=env)
    assert done.code == 0, done.stderr
    assert "plain HTTP: hf_xet cannot write in" in done.stderr
    assert by_xet(hub) == 0
    assert tree(tmp_path / "out") == FILES
