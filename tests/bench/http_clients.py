"""HTTP clients beside each other, from a local nginx: the figures of docs/decisions/0035.

    python -m tests.bench.http_clients [CLIENT]...

400 MB in ranges of 8 MiB and 2,000 objects of 4 kB, by 8 threads. Each client runs in a separate
process, several times in turn; the best time counts. A client that is not installed is left out.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers import serving
from tests.support.waiting import wait_until

MIB = 1 << 20
SIZE, RANGE = 400 * MIB, 8 * MIB
SMALL, SMALL_SIZE = 2_000, 4_000
THREADS, ROUNDS = 8, 5
_NGINX = """
daemon off; pid {work}/pid; error_log {work}/log; worker_processes 1;
events {{}}
http {{
    access_log off; sendfile on; keepalive_requests 100000;
    server {{ listen 127.0.0.1:{port}; root {work}; }}
}}
"""
#: The bytes of a range of a path; without a range, all of them.
Get = Callable[[str, int, int], int]


def by_http_client(port: int) -> Get:
    import http.client  # noqa: PLC0415

    local = threading.local()

    def get(path: str, start: int, end: int) -> int:
        if not hasattr(local, "it"):
            local.it = http.client.HTTPConnection(serving.HOST, port)
        local.it.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
        return len(local.it.getresponse().read(end - start))

    return get


def by_urllib3(port: int) -> Get:
    import urllib3  # noqa: PLC0415

    pool = urllib3.HTTPConnectionPool(serving.HOST, port, maxsize=THREADS)

    def get(path: str, start: int, end: int) -> int:
        headers = {"Range": f"bytes={start}-{end - 1}"}
        answer = pool.urlopen(
            "GET", path, headers=headers, retries=False, redirect=False,
            preload_content=False, decode_content=False,
        )  # fmt: skip
        return len(answer.read(end - start))

    return get


def by_kaiwo(port: int) -> Get:
    from kaiwo.net import certificates  # noqa: PLC0415
    from kaiwo.net.client import Client  # noqa: PLC0415
    from kaiwo.net.settings import NetworkSettings  # noqa: PLC0415

    client = Client(NetworkSettings(), lambda: certificates.context(None))

    def get(path: str, start: int, end: int) -> int:
        headers = {"Range": f"bytes={start}-{end - 1}"}
        with client.request("GET", f"http://{serving.HOST}:{port}{path}", headers) as answer:
            return len(answer.take(end - start))

    return get


def by_httpx2(port: int) -> Get:
    import httpx2  # noqa: PLC0415

    client = httpx2.Client()

    def get(path: str, start: int, end: int) -> int:
        headers = {"Range": f"bytes={start}-{end - 1}"}
        address = f"http://{serving.HOST}:{port}{path}"
        with client.stream("GET", address, headers=headers) as answer:
            buffer, at = memoryview(bytearray(end - start)), 0
            for chunk in answer.iter_raw():
                buffer[at : at + len(chunk)] = chunk
                at += len(chunk)
        return at

    return get


def by_obstore(port: int) -> Get:
    import obstore  # noqa: PLC0415
    from obstore.store import HTTPStore  # noqa: PLC0415

    address = f"http://{serving.HOST}:{port}"
    store = HTTPStore.from_url(address, client_options={"allow_http": True})

    def get(path: str, start: int, end: int) -> int:
        return len(obstore.get_range(store, path[1:], start=start, end=end))

    return get


def by_pycurl(port: int) -> Get:
    pycurl: Any = importlib.import_module("pycurl")
    local = threading.local()

    def get(path: str, start: int, end: int) -> int:
        if not hasattr(local, "it"):
            local.it = pycurl.Curl()
            local.it.setopt(pycurl.BUFFERSIZE, 512 << 10)
        buffer, at = memoryview(bytearray(end - start)), 0

        def take(chunk: bytes) -> None:
            nonlocal at
            buffer[at : at + len(chunk)] = chunk
            at += len(chunk)

        local.it.setopt(pycurl.URL, f"http://{serving.HOST}:{port}{path}")
        local.it.setopt(pycurl.RANGE, f"{start}-{end - 1}")
        local.it.setopt(pycurl.WRITEFUNCTION, take)
        local.it.perform()
        return at

    return get


CLIENTS = {
    "http.client": by_http_client, "urllib3": by_urllib3, "kaiwo": by_kaiwo, "httpx2": by_httpx2,
    "obstore": by_obstore, "pycurl": by_pycurl,
}  # fmt: skip


def measure(client: str, load: str, port: int) -> None:
    """Print wall and processor seconds of one load, in this process."""
    get = CLIENTS[client](port)
    jobs = [("/large", at, min(at + RANGE, SIZE)) for at in range(0, SIZE, RANGE)]
    if load == "small":
        jobs = [(f"/small/{number}", 0, SMALL_SIZE) for number in range(SMALL)]
    get("/small/0", 0, SMALL_SIZE)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        wall_s, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        got = sum(threads.map(lambda job: get(*job), jobs))
        wall_s, now = time.perf_counter() - wall_s, resource.getrusage(resource.RUSAGE_SELF)
    assert got == sum(end - start for _, start, end in jobs)
    print(wall_s, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)


def main(*names: str) -> None:
    """Serve, measure all clients in turn, print a table."""
    with tempfile.TemporaryDirectory() as folder:
        work, port = Path(folder), 18_035
        (work / "large").write_bytes(os.urandom(MIB) * (SIZE // MIB))
        (work / "small").mkdir()
        for number in range(SMALL):
            (work / "small" / str(number)).write_bytes(bytes(SMALL_SIZE))
        os.chmod(work, 0o755)  # nginx serves as another user
        (work / "conf").write_text(_NGINX.format(work=work, port=port))
        nginx = subprocess.Popen(["nginx", "-c", str(work / "conf")], stderr=subprocess.DEVNULL)
        try:
            wait_until((work / "pid").exists)
            for load in ("large", "small"):
                found: dict[str, list[tuple[float, float]]] = {}
                for client in list(names or CLIENTS) * ROUNDS:
                    command = [sys.executable, "-m", "tests.bench.http_clients", "-", client, load]
                    done = subprocess.run(
                        [*command, str(port)], capture_output=True, text=True, check=False
                    )
                    if done.returncode == 0:
                        wall_s, cpu_s = map(float, done.stdout.split())
                        found.setdefault(client, []).append((wall_s, cpu_s))
                for client, several in found.items():
                    wall_s, cpu_s = (min(each) for each in zip(*several, strict=True))
                    middle_s = statistics.median(cpu for _, cpu in several)
                    print(
                        f"{load:6} {client:12} {wall_s:.2f} s ({cpu_s:.2f} s CPU, "
                        f"middle {middle_s:.2f})",
                        flush=True,
                    )
        finally:
            nginx.terminate()
            nginx.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["-"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(*sys.argv[1:])
