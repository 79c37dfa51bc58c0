"""What the image promises, each promise tried in a container.

A container of the tests is as strict as a strict pod: a user without a passwd entry, a read-only
root file system, no capabilities, no writable /tmp, no HOME that could be written.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import string
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kaiwo._version import __version__
from tests import demo, servers
from tests.image import examples, kserve
from tests.image.engine import Ended, Engine
from tests.servers import ROOT
from tests.support import stores
from tests.support.stores import Store

#: What the build says about itself; its arguments are these names in capital letters.
BUILT = {
    "version": __version__,
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "created": "2026-01-02T03:04:05+00:00",
    "source": "https://example.com/kaiwo",
}
LABELS = {
    "title": "kaiwo-downloader",
    "description": importlib.metadata.metadata("kaiwo")["Summary"],
    **BUILT,
}
_LABEL = "org.opencontainers.image."
_HERE = Path(__file__).resolve().parent
_LIMIT = 350_000_000
_LARGEST = 10
_STOP_S = 5.0
_START_S = 60.0
_USER = "65532:65532"
_STRANGER = "12345:12345"
_USERS = (_USER, "12345", "1000:1000", "0:0")


class Checks:
    """Runs everything, prints a line for each check, and counts those that failed."""

    def __init__(self, engine: Engine, image: str) -> None:
        self._engine = engine
        self._image = image
        self._failed = 0

    def run(self) -> int:
        """The number of failed checks."""
        # A server that does not start fails here; it does not skip.
        os.environ.setdefault("CI", "1")
        with tempfile.TemporaryDirectory(prefix="kaiwo-image-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            folder.chmod(0o755)
            self._inspect()
            self._look_inside()
            self._commands(folder)
            with ExitStack() as stack:
                running = {
                    "s3": stack.enter_context(stores.s3("--check-signatures")),
                    "gcs": stack.enter_context(stores.gcs()),
                    "azure": stack.enter_context(stores.azure()),
                    "hf": stack.enter_context(stores.hub()),
                }
                demo.upload(running)
                expected = demo.expected(demo.WORK)
                self._download(folder, running, expected)
                self._hub_cache(folder, running["hf"])
                self._stop(folder, running["s3"])
                kserve.check(folder, running, self._run, self._check)
            examples.check(folder, self._run, self._check)
        return self._failed

    # ------------------------------------------------------------------------------ the checks

    def _inspect(self) -> None:
        """What the image says about itself."""
        known = self._engine.inspect(self._image)
        config = known["Config"]
        self._check("its user", config.get("User") == _USER, config.get("User"))
        entry = config.get("Entrypoint")
        self._check("its entry", entry == ["python", "-m", "kaiwo.downloader"], entry)
        labels = config.get("Labels") or {}
        wrong = {key: labels.get(f"{_LABEL}{key}") for key in LABELS} | {
            key: text for key, text in labels.items() if "license" in key
        }
        wrong = {key: text for key, text in wrong.items() if text != LABELS.get(key)}
        self._check("its labels", not wrong, wrong)
        print(f"     the engine's own count: {known['Size'] / 1e6:.0f} MB")

    def _look_inside(self) -> None:
        """Size, tools, bytecode; as root, which can look into every folder."""
        script = (_HERE / "inside.py").read_text(encoding="utf-8")
        ended = self._run("-c", script, entry="python", flags=["--user=0:0"])
        if not self._check("everything can be imported", ended.code == 0, ended.stderr[-2_000:]):
            return
        found = json.loads(ended.stdout)
        size = found["bytes"]
        self._check(f"at most {_LIMIT / 1e6:.0f} MB", size <= _LIMIT, f"{size / 1e6:.0f} MB")
        weights = sorted(found["packages"].items(), key=lambda pair: -pair[1])
        total = sum(found["packages"].values())
        print(f"     Python {found['python']}; --help takes {found['help_s']:.2f} s")
        print(f"     {size / 1e6:.0f} MB, of which {len(weights)} packages: {total / 1e6:.0f} MB")
        for name, weight in weights[:_LARGEST]:
            print(f"     {weight / 1e6:8.1f} MB  {name}")
        self._check("no pip, no tools", not found["tools"] + found["modules"], found["tools"])
        stale = found["not_compiled"]
        self._check("bytecode for all modules", not stale, f"missing for {stale[:5]}")
        self._check("botocore's data", not found["missing_services"], found["missing_services"])

    def _commands(self, folder: Path) -> None:
        """The command line, as several users."""
        good = "download_items:\n  - {type: hf, repo_id: o/r, target_path: x}\n"
        files = {"good.yaml": good, "bad.yaml": good.replace("repo_id", "repo_ip")}
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        mounts = [f"--volume={folder}:/config:ro"]
        ended = self._run("--help")
        helped = ended.code == 0 and "CONFIG_FILE" in ended.stdout
        self._check("--help", helped, ended)
        ended = self._run("/config/bad.yaml", flags=mounts)
        refused = ended.code == 2 and "repo_id" in ended.stderr
        self._check("exit code 2 for a bad file", refused, ended)
        for user in _USERS:
            flags = [*mounts, f"--user={user}"]
            ended = self._run("validate", "/config/good.yaml", entry="kaiwo", flags=flags)
            self._check(f"runs as {user}", ended.code == 0, ended)
        without_home = ["-u", "HOME", "kaiwo", "validate", "/config/good.yaml"]
        ended = self._run(*without_home, entry="env", flags=mounts)
        self._check("runs without HOME", ended.code == 0, ended)

    def _download(
        self, folder: Path, running: Mapping[str, Store], expected: Mapping[Path, bytes]
    ) -> None:
        """The demo's configuration, into two volumes; every byte is compared."""
        mounts = self._pod(folder, running)
        command = ["--log-level=INFO", "/config/config.yaml"]
        for turn, order in (("first", command), ("second", command[::-1])):
            start_s = time.monotonic()
            ended = self._run(*order, flags=[*mounts, "--env=HF_HOME=/models"])
            took = time.monotonic() - start_s
            self._check(f"the {turn} run, in {took:.1f} s", ended.code == 0, ended)
        volumes = {"download": folder / "workload", "hf": folder / "models"}
        wrong = []
        for path, data in expected.items():
            volume, *rest = path.relative_to(demo.WORK).parts
            found = sorted(volumes[volume].glob("/".join(rest).replace("COMMIT", "*")))
            if len(found) != 1 or found[0].read_bytes() != data:
                wrong.append(str(path))
        self._check(f"{len(expected)} files, byte for byte", not wrong, wrong)

    def _hub_cache(self, folder: Path, hub: Store) -> None:
        """The Hub's cache needs a volume, and the error says which variable names it."""
        task = hub.task("username/repo", [], files=["config.json"])
        (folder / "hub.yaml").write_text(json.dumps({"download_items": [task]}), encoding="utf-8")
        mounts = [f"--volume={folder / 'hub.yaml'}:/config/hub.yaml:ro"]
        ended = self._run("/config/hub.yaml", flags=mounts)
        hinted = ended.code == 6 and "HF_HOME" in ended.stderr
        self._check("exit code 6 without a cache, and a hint", hinted, ended)
        ended = self._run(
            *("-u", "HOME", "python", "-m", "kaiwo.downloader", "/config/hub.yaml"),
            entry="env",
            flags=mounts,
        )
        hinted = ended.code == 6 and "HF_HOME" in ended.stderr
        self._check("the same without HOME", hinted, ended)
        cache = _writable(folder / "cache")
        ended = self._run(
            "/config/hub.yaml",
            flags=[*mounts, f"--volume={cache}:/models", "--env=HF_HOME=/models"],
        )
        there = list(cache.glob("hub/models--username--repo/snapshots/*/config.json"))
        self._check("works with HF_HOME", ended.code == 0 and len(there) == 1, ended)

    def _stop(self, folder: Path, s3: Store) -> None:
        """SIGTERM to the first process of the container, in the middle of a download."""
        upstream = f"--upstream=s3={s3.settings['endpoint_url']}"
        with servers.start("counting", upstream, "--delay-s=600") as slow:
            item = {"folder": "models", "target_path": "models"}
            task = s3.task("my-s3-bucket", [item], endpoint_url=slow.settings["s3"])
            config = {"download_root": "/workload", "download_items": [task]}
            (folder / "slow.yaml").write_text(json.dumps(config), encoding="utf-8")
            root = _writable(folder / "slow")
            flags = [
                f"--volume={folder / 'slow.yaml'}:/config.yaml:ro",
                f"--volume={root}:/workload",
            ]
            with self._background("/config.yaml", flags=flags) as name:
                busy = _wait_for_request(slow.settings["stats"])
                start_s = time.monotonic()
                self._engine.call("stop", "--time=30", name)
                took = time.monotonic() - start_s
                code = int(self._engine.call("wait", name))
                logs = self._engine.try_call("logs", name)
        ended = Ended(code, logs.stdout, logs.stderr)
        self._check("a download was under way", busy, ended)
        self._check(f"exit code 143 when stopped, in {took:.1f} s", code == 143, ended)
        self._check(f"within {_STOP_S:.0f} s", took < _STOP_S, f"{took:.1f} s")
        left = [path.name for path in root.glob("models/*") if path.name == "weights.bin"]
        self._check("no file under its name", not left, left)

    # ------------------------------------------------------------------------------- containers

    def _pod(self, folder: Path, running: Mapping[str, Store]) -> list[str]:
        """Mounts as a pod has them: configuration and secrets read-only, two writable volumes."""
        secrets = folder / "secrets"
        secrets.mkdir()
        for name, fields in demo.SECRETS:
            for field in fields:
                secret = running[name].settings[field]
                (secrets / field).write_text(f"{secret}\n", encoding="utf-8")
        account = Path(running["gcs"].settings["service_account_file"]).read_bytes()
        (secrets / "service_account").write_bytes(account)
        for path in secrets.iterdir():
            path.chmod(0o444)
        template = string.Template((ROOT / "tests" / "demo.kaiwo.yaml").read_text(encoding="utf-8"))
        text = template.safe_substitute(
            work="/pod",
            s3=running["s3"].settings["endpoint_url"],
            gcs=running["gcs"].settings["endpoint_url"],
            service_account="/pod/secrets/service_account",
            hub=running["hf"].settings["endpoint_url"],
        )
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        return [
            f"--volume={folder / 'config.yaml'}:/config/config.yaml:ro",
            f"--volume={secrets}:/pod/secrets:ro",
            f"--volume={_writable(folder / 'workload')}:/pod/download",
            f"--volume={_writable(folder / 'models')}:/models",
        ]

    def _flags(self) -> list[str]:
        """Of every container."""
        strict = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        if self._engine.name == "podman":
            # Its own idea of read-only leaves a writable /tmp; a pod's does not.
            strict.append("--read-only-tmpfs=false")
        # Mounts of this script's folders, on hosts with SELinux.
        return [*strict, "--security-opt=label=disable", "--network=host", f"--user={_STRANGER}"]

    def _run(self, *args: str, entry: str | None = None, flags: list[str] | None = None) -> Ended:
        """A container from its start to its end."""
        entrypoint = [f"--entrypoint={entry}"] if entry else []
        options = [*self._flags(), *entrypoint, *(flags or [])]
        return self._engine.try_call("run", "--rm", *options, self._image, *args)

    @contextmanager
    def _background(self, *args: str, flags: list[str]) -> Iterator[str]:
        """A container that runs while the block does; yields its name."""
        name = f"kaiwo-test-{uuid.uuid4().hex[:12]}"
        options = [*self._flags(), *flags]
        try:
            self._engine.call("run", "--detach", f"--name={name}", *options, self._image, *args)
            yield name
        finally:
            self._engine.try_call("rm", "--force", name)

    def _check(self, what: str, holds: bool, found: object) -> bool:
        """Print one line, and what was found instead where it does not hold."""
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        if not holds:
            self._failed += 1
            print(f"     {found}", flush=True)
        return holds


def _writable(folder: Path) -> Path:
    """A new folder in which any user can write."""
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def _wait_for_request(stats: str) -> bool:
    """Whether an object's bytes were asked for, waiting until they are."""
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        with urllib.request.urlopen(stats) as answer:
            if json.load(answer)["in_flight"]:
                return True
        time.sleep(0.1)
    return False
