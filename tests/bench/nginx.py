"""S3 by nginx: objects are files, listings are files, and no program runs for a request.

nginx looks at no signature. What it cannot do by itself, its Lua module does: a response that is
late, and an ETag that is an md5. Where the module is missing, the loads that need it are left out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.bench import hub
from tests.bench.buckets import Bucket, Shelf, listings
from tests.servers import ServerFailed, free_port, serving
from tests.support import certificates

_TROUBLE = re.compile(r"\[(emerg|alert|crit)\]|unknown/|unsupported")
"""Of the server, not of a tool; and a listing that nobody wrote (see the maps below)."""

_START_S = 20.0
_END_S = 20.0


@dataclass(frozen=True)
class Endpoint:
    """Where the buckets are.

    Attributes:
        plain: address over HTTP.
        tls: address over TLS.
        bundle: PEM file of the certificate to trust there.
        log: where the server writes its troubles.
    """

    plain: str
    tls: str = ""
    bundle: Path | None = None
    log: Path | None = None

    def troubles(self) -> list[str]:
        """What the server wrote about trouble that is not a tool's."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log else []
        return [line for line in lines if _TROUBLE.search(line)]


def program() -> str | None:
    """The nginx of this machine; Debian keeps it where users do not look."""
    return shutil.which("nginx", path=os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin"]))


@functools.cache
def lua() -> tuple[Path, ...]:
    """The modules to load for Lua; none if they are not installed."""
    if not (nginx := program()):
        return ()
    said = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"--modules-path=(\S+)", said)
    folder = Path(found[1] if found else "modules")
    modules = (folder / "ndk_http_module.so", folder / "ngx_http_lua_module.so")
    return modules if all(module.exists() for module in modules) else ()


@contextlib.contextmanager
def nginx(work: Path, shelf: Shelf, buckets: Sequence[Bucket]) -> Iterator[Endpoint]:
    """Serve these buckets, whose files are on the shelf, until the block is left."""
    ports = free_port(), free_port(), free_port()
    _write_certificates(work / "tls")
    (work / "nginx.conf").write_text(_configuration(work, shelf, buckets, ports))
    command = [program() or "nginx", "-p", str(work), "-c", str(work / "nginx.conf")]
    log = work / "error.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, "-e", "stderr"], stderr=errors)
    try:
        _wait(process, ports[0], log)
        yield Endpoint(
            f"http://{serving.HOST}:{ports[0]}",
            f"https://{serving.HOST}:{ports[1]}",
            work / "tls/ca.pem",
            log,
        )
    finally:
        process.terminate()
        process.wait(_END_S)


def _write_certificates(folder: Path) -> None:
    """Write ca.pem, server.pem and server.key."""
    folder.mkdir()
    authority = certificates.authority()
    server = certificates.server(authority)
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "server.pem").write_bytes(server.pem)
    (folder / "server.key").write_bytes(server.key_pem)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it answers; it says nothing when it does."""
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((serving.HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise ServerFailed(f"nginx does not serve: {log.read_text(errors='replace')}")


def _configuration(
    work: Path, shelf: Shelf, buckets: Sequence[Bucket], ports: tuple[int, int, int]
) -> str:
    """The whole file; writes the pages of the listings on the way."""
    pages: dict[str, str] = {}
    locations = []
    for bucket in buckets:
        keys = bucket.names()
        etags = [shelf.etag(bucket, key) for key in keys]
        for number, listing in enumerate(listings(bucket, etags)):
            folder = work / "pages" / bucket.name / str(number)
            folder.mkdir(parents=True)
            # Who asks for what follows a key asks whether the last one was the last.
            (folder / "end").write_bytes(listing.end)
            for at, page in enumerate(listing.pages):
                (folder / str(at)).write_bytes(page)
            # `/` arrives as it is or encoded
            for safe in ("/", ""):
                asked = (
                    f"{bucket.name} {quote(listing.prefix, safe)} {quote(listing.delimiter, safe)}"
                )
                pages[asked] = f"{bucket.name}/{number}"
        locations.append(_locations(work, shelf, bucket, etags[0]))
    elsewhere = f"{serving.HOST}:{ports[2]}"
    if in_hub := [bucket for bucket in buckets if bucket.in_hub]:
        locations.append(hub.locations(work, shelf, in_hub, f"http://{elsewhere}"))
    mapped = "\n".join(f'"{asked}" "{folder}";' for asked, folder in pages.items())
    return _FILE.format(
        modules="\n".join(f"load_module {module};" for module in lua()),
        # who started it may read the files; nobody, as whom the workers would run, may not
        user="user root;" if os.geteuid() == 0 else "",
        plain=f"{serving.HOST}:{ports[0]}",
        tls=f"{serving.HOST}:{ports[1]}",
        elsewhere=elsewhere,
        work=work,
        cached=resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2,
        mapped=mapped,
        locations="\n".join(locations),
    )


def _locations(work: Path, shelf: Shelf, bucket: Bucket, etag: str) -> str:
    """The settings of one bucket."""
    late = f"ngx.sleep({bucket.late_ms / 1000})" if bucket.late_ms else ""
    match, header = "", ""
    if bucket.md5:
        match = _IF_MATCH.format(etag=etag)
        header = _ETAG.format(etag=etag)
    rate = f"limit_rate {bucket.rate // 1024}k; sendfile_max_chunk 256k;" if bucket.rate else ""
    if bucket.at_once:
        rate += f" limit_conn clients {bucket.at_once};"
    access = f"access_by_lua_block {{ {late} }}" if late else ""
    checked = f"access_by_lua_block {{ {late} {match} }}" if late or match else ""
    return _BUCKET.format(
        name=bucket.name,
        pages=work / "pages",
        root=shelf.root,
        access=access,
        checked=checked,
        header=header,
        rate=rate,
    )


# nginx compares If-Match with the ETag that it computes, before Lua can set another.
_IF_MATCH = """
local wanted = ngx.var.http_if_match
if wanted == '{etag}' or wanted == '"{etag}"' or wanted == '*' then
    ngx.req.clear_header("If-Match")
elseif wanted then
    return ngx.exit(412)
end
"""

_ETAG = """header_filter_by_lua_block {{
    if ngx.status < 300 then ngx.header["ETag"] = '"{etag}"' end
}}"""

_BUCKET = """
location = /{name} {{ rewrite ^ /{name}/ last; }}
location = /{name}/ {{
    {access}
    root {pages};
    default_type application/xml;
    add_header x-amz-bucket-region us-east-1;
    if ($args ~ "^location") {{
        return 200 '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>';
    }}
    try_files /$pages/$token @missing;
}}
location /{name}/ {{
    {checked}
    {header}
    {rate}
    root {root};
}}
"""

_FILE = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr warn;
{user}
{modules}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    default_type application/octet-stream;
    keepalive_timeout 300;
    keepalive_requests 100000000;
    # every file in it stays open
    open_file_cache max={cached} inactive=10m;
    open_file_cache_valid 10m;
    client_body_temp_path temp-body;
    proxy_temp_path temp-proxy;
    fastcgi_temp_path temp-fastcgi;
    uwsgi_temp_path temp-uwsgi;
    scgi_temp_path temp-scgi;
    map_hash_max_size 8192;
    map_hash_bucket_size 256;
    map $uri $bucket {{ "~^/(?<name>[a-z0-9-]+)/?$" $name; }}
    map $args $token {{
        default 0;
        "~(^|&)marker=" unsupported;
        "~(^|&)start-after=" end;
        "~(^|&)continuation-token=(?<number>[0-9]+)" $number;
    }}
    map "$bucket $arg_prefix $arg_delimiter" $pages {{
        default unknown;
        {mapped}
    }}
    limit_conn_zone $binary_remote_addr zone=clients:1m;
    limit_conn_log_level info;
    ssl_certificate tls/server.pem;
    ssl_certificate_key tls/server.key;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_session_cache shared:tls:1m;
    server {{
        listen {plain} reuseport backlog=4096;
        listen {tls} ssl reuseport backlog=4096;
        listen {elsewhere} reuseport backlog=4096;
        {locations}
        # what it lacks gets into the log by a file that is not there
        location @missing {{ root {work}; rewrite ^ /$pages/$token break; }}
    }}
}}
"""
