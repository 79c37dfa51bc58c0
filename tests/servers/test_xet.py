"""Files arrive from our Hub by the Xet protocol, with huggingface_hub's own client."""

import json
import os
import random
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers

pytest.importorskip("hf_xet", reason="hf_xet has no wheel for this platform")

BLOCK = random.Random(7).randbytes(3 << 20)
TREE = {
    "config.json": b"{}",
    "empty.bin": b"",
    "large.bin": random.Random(8).randbytes(20 << 20),
    "small.bin": b"compressible" * 100,
    # Its parts lie in one xorb, some of them used twice.
    "again.bin": BLOCK + b"between" * 50_000 + BLOCK[1_000:] + BLOCK,
}
STORED = {name: data for name, data in TREE.items() if name.endswith(".bin") and data}

# In a separate process, like every use of hf_xet: its threads end with the process only.
SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/net", endpoint=sys.argv[1], token=sys.argv[2]))
"""
FILE = """
import sys
from huggingface_hub import hf_hub_download
hf_hub_download("acme/net", "large.bin", endpoint=sys.argv[1], token=sys.argv[2])
"""
RANGE = """
import sys
from hf_xet import XetFileInfo, XetSession
url, token, file, size, start, end = sys.argv[1:]
access = {"endpoint": url, "token": token, "token_expiry_unix_secs": 1 << 40}
group = XetSession().new_download_stream_group(**access)
for chunk in group.download_stream(XetFileInfo(file, int(size)), int(start), int(end)):
    sys.stdout.buffer.write(chunk)
"""

Client = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[servers.Server]:
    folder = tmp_path / "hub" / "models" / "acme--net" / "main"
    folder.mkdir(parents=True)
    for name, data in TREE.items():
        (folder / name).write_bytes(data)
    (folder.parent / ".kaiwo-hub.json").write_text('{"private": true}')
    with servers.start("hub", f"--root={tmp_path / 'hub'}", "--token=hf_right", "--xet") as server:
        yield server


@pytest.fixture
def client(tmp_path: Path) -> Client:
    def run(code: str, *args: object) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", code, *map(str, args)]
        return subprocess.run(
            command, env=environment, capture_output=True, check=False, timeout=60
        )

    return run


def read(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request) as response:
        told: bytes = response.read()
        return told


def answer(url: str, told: object = None, **headers: str) -> Any:
    body = None if told is None else json.dumps(told).encode()
    return json.loads(read(urllib.request.Request(url, body, headers)) or "null")


def break_next_xorb(hub: servers.Server) -> None:
    fault = {"match": "^/xorbs/", "action": "flip"}
    answer(f"{hub.settings['endpoint_url']}/__fault", fault)


def refusal(url: str, **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        answer(url, **headers)
    caught.value.close()
    return caught.value.code


def requests(hub: servers.Server, host: str, path: str) -> list[dict[str, Any]]:
    """What the log says of one host's requests."""
    log = answer(f"{hub.settings['endpoint_url']}/__log")
    at = hub.settings[host].removeprefix("http://")
    return [entry for entry in log if entry["host"] == at and entry["path"].startswith(path)]


def grant(hub: servers.Server) -> str:
    url = f"{hub.settings['endpoint_url']}/api/models/acme/net/xet-read-token/main"
    told = answer(url, Authorization="Bearer hf_right")
    assert told["casUrl"] == hub.settings["xet_url"]
    token: str = told["accessToken"]
    return token


def hashes(hub: servers.Server) -> dict[str, str]:
    url = f"{hub.settings['endpoint_url']}/api/models/acme/net/tree/main"
    entries = answer(url, Authorization="Bearer hf_right")
    return {entry["path"]: entry["xetHash"] for entry in entries if "xetHash" in entry}


def test_a_snapshot_comes_through_the_xet_store(hub: servers.Server, client: Client) -> None:
    done = client(SNAPSHOT, hub.settings["endpoint_url"], "hf_right")
    assert done.returncode == 0, done.stderr.decode()
    folder = Path(done.stdout.decode().strip())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == TREE
    asked = {entry["path"].rpartition("/")[2] for entry in requests(hub, "xet_url", "/v2/reconst")}
    assert asked == set(hashes(hub).values())
    assert len(asked) == len(STORED)
    fetched = requests(hub, "xet_url", "/xorbs/")
    assert fetched
    assert not any(entry["authorization"] for entry in fetched)
    assert not requests(hub, "lfs_url", "/")


@pytest.mark.parametrize("name", STORED)
def test_any_range_of_a_file_can_be_rebuilt(hub: servers.Server, client: Client, name: str) -> None:
    data, file = STORED[name], hashes(hub)[name]
    for start, end in ((1, len(data) - 1), (len(data) // 3, len(data) // 2), (0, 1)):
        url, token = hub.settings["xet_url"], grant(hub)
        done = client(RANGE, url, token, file, len(data), start, end)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == data[start:end]


def test_a_file_that_comes_later_shares_the_chunks_of_earlier_ones(
    hub: servers.Server, client: Client, tmp_path: Path
) -> None:
    before = hashes(hub)
    later = TREE["large.bin"] + b"and more"
    (tmp_path / "hub" / "models" / "acme--net" / "main" / "later.bin").write_bytes(later)
    file, url, token = hashes(hub)["later.bin"], hub.settings["xet_url"], grant(hub)
    right = {"Authorization": f"Bearer {token}"}
    old, new = (
        answer(f"{url}/v2/reconstructions/{name}", **right)["xorbs"]
        for name in (before["large.bin"], file)
    )
    assert len(new) == 2
    assert old.keys() < new.keys()
    assert client(RANGE, url, token, file, len(later), 0, len(later)).stdout == later


def test_only_its_own_tokens_and_addresses_are_taken(hub: servers.Server) -> None:
    tokens = f"{hub.settings['endpoint_url']}/api/models/acme/net/xet-read-token/main"
    file = f"{hub.settings['xet_url']}/v2/reconstructions/{hashes(hub)['large.bin']}"
    assert refusal(tokens) == 401
    assert refusal(file) == 401
    assert refusal(file, Authorization="Bearer hf_right") == 401
    right = {"Authorization": f"Bearer {grant(hub)}"}
    assert refusal(f"{file[:-64]}{'0' * 64}", **right) == 404
    assert refusal(file, **right, Range=f"bytes={20 << 20}-{21 << 20}") == 416
    (fetches,) = answer(file, **right)["xorbs"].values()
    xorb = fetches[0]["url"]
    assert refusal(f"{xorb}0") == 403
    assert refusal(xorb, **right) == 400
    answer(f"{hub.settings['endpoint_url']}/__expire", {})
    assert (refusal(file, **right), refusal(xorb)) == (401, 403)


def test_a_fault_changes_the_last_byte_of_a_xorbs_range(hub: servers.Server) -> None:
    file = f"{hub.settings['xet_url']}/v2/reconstructions/{hashes(hub)['large.bin']}"
    (fetches,) = answer(file, Authorization=f"Bearer {grant(hub)}")["xorbs"].values()
    break_next_xorb(hub)
    asked = urllib.request.Request(fetches[0]["url"], headers={"Range": "bytes=1000-1999"})
    wrong, right = (read(asked) for _ in range(2))
    assert wrong == right[:-1] + bytes([right[-1] ^ 0xFF])
    assert len(right) == 1000


@pytest.mark.xfail(
    raises=AssertionError, strict=True, reason="hf_xet 1.8 compares no hash with what it downloads"
)
def test_hf_xet_refuses_a_wrong_byte(hub: servers.Server, client: Client) -> None:
    break_next_xorb(hub)
    assert client(FILE, hub.settings["endpoint_url"], "hf_right").returncode != 0


def test_a_hub_without_a_xet_store_does_not_speak_of_one(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "acme--net" / "main"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"model")
    with servers.start("hub", f"--root={tmp_path}") as server:
        url = server.settings["endpoint_url"]
        (entry,) = answer(f"{url}/api/models/acme/net/tree/main")
        assert "xet_url" not in server.settings
        assert "xetHash" not in entry
        assert refusal(f"{url}/api/models/acme/net/xet-read-token/main") == 404
