"""The local Hub in tests of kaiwo: its requests, its settings, and runs that download from it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.support.command import Kaiwo, Run
from tests.support.stores import Store


@dataclass(frozen=True)
class Hub:
    """A Hub that runs."""

    store: Store

    @property
    def lfs(self) -> str:
        return urlsplit(self.store.settings["lfs_url"]).netloc

    def ask(self, path: str, told: Any = None) -> Any:
        """One of the Hub's controls."""
        url = f"{self.store.settings['endpoint_url']}/__{path}"
        data = None if path in ("log", "stats") else json.dumps(told).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return json.loads(answer.read() or b"null")

    def log(self) -> list[dict[str, Any]]:
        """All requests since the last reset."""
        found: list[dict[str, Any]] = self.ask("log")
        return found

    def counts(self) -> Counter[str]:
        """How many requests there were of each kind."""
        kinds = ("/revision/", "/tree/", "/paths-info/", "/resolve/", "/lfs/", "/xorbs/")
        return Counter(
            next((kind.strip("/") for kind in kinds if kind in each["path"]), "others")
            for each in self.log()
        )

    def setting(self, repository: str, kind: str = "models", **settings: Any) -> None:
        """Settings of a repository; see ``tests.servers.hub``."""
        folder = Path(self.store.settings["root"], kind, repository.replace("/", "--"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".kaiwo-hub.json").write_text(json.dumps(settings))

    def fill(
        self,
        repository: str,
        files: Mapping[str, bytes],
        kind: str = "model",
        revision: str = "main",
    ) -> None:
        """Have these files in a revision of a repository."""
        name = repository.replace("/", "--")
        folder = Path(self.store.settings["root"], f"{kind}s", name, quote(revision, safe=""))
        for key, data in files.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(data)


def downloaded(
    kaiwo: Kaiwo,
    store: Store,
    repository: str,
    *options: str,
    env: Mapping[str, str] | None = None,
    **fields: Any,
) -> Run:
    """A run with one task, for this repository."""
    task = store.task(repository, (), **fields)
    return kaiwo({"download_items": [task]}, *options, env=env)
