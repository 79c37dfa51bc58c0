"""What is stored: files, commits and revisions, as git would name them."""

import fnmatch
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.servers import xet

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
REPO_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
LFS_PATTERNS = ("*.bin", "*.safetensors")
LFS_SIZE = 1 << 20
DATE = "2024-01-01T00:00:00.000Z"


def git_oid(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes as they were when they were first seen, each kept in a separate file."""

    size: int
    git_oid: str
    sha256: str
    kept: Path


@dataclass(frozen=True, slots=True)
class File:
    content: Content
    is_lfs: bool
    xet_hash: str = ""

    @property
    def pointer(self) -> bytes:
        """What git holds in place of an LFS file."""
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.content.sha256}\nsize {self.content.size}\n"
        ).encode()

    @property
    def oid(self) -> str:
        return git_oid("blob", self.pointer) if self.is_lfs else self.content.git_oid


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    files: Mapping[str, File]
    folders: Mapping[str, str]
    """Path of each folder below the root, and the oid of its tree."""

    @classmethod
    def of(cls, name: str, files: Mapping[str, File]) -> "Commit":
        """The commit of these files; equal names and files give equal commits."""
        children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
        for path, file in files.items():
            folder, _, leaf = path.rpartition("/")
            children.setdefault(folder, {})[leaf] = ("100644", file.oid)
            while folder:
                folder = folder.rpartition("/")[0]
                children.setdefault(folder, {})
        folders: dict[str, str] = {}
        for folder in sorted(children, key=lambda path: path.count("/") + bool(path), reverse=True):
            # git sorts a folder as if its name ended with a slash.
            rows = sorted(
                children[folder].items(),
                key=lambda row: (row[0] + "/" * (row[1][0] == "40000")).encode(),
            )
            tree = b"".join(
                f"{mode} {leaf}\0".encode() + bytes.fromhex(oid) for leaf, (mode, oid) in rows
            )
            folders[folder] = git_oid("tree", tree)
            if folder:
                parent, _, leaf = folder.rpartition("/")
                children[parent][leaf] = ("40000", folders[folder])
        sha = git_oid("commit", f"tree {folders.pop('')}\n\n{name}\n".encode())
        return cls(sha, files, folders)

    def entry(self, path: str, *, expand: bool) -> dict[str, Any] | None:
        """What the Hub tells of a file or folder, or None where there is none."""
        if file := self.files.get(path):
            size = file.content.size
            told: dict[str, Any] = {"type": "file", "oid": file.oid, "size": size, "path": path}
            if file.is_lfs:
                lfs = {"oid": file.content.sha256, "size": size, "pointerSize": len(file.pointer)}
                told["lfs"] = lfs
            if file.xet_hash:
                told["xetHash"] = file.xet_hash
            if expand:
                scans = {"status": "safe", "avScan": None, "pickleImportScan": None}
                told["securityFileStatus"] = scans
        elif oid := self.folders.get(path):
            told = {"type": "directory", "oid": oid, "size": 0, "path": path}
        else:
            return None
        if expand:
            told["lastCommit"] = {"id": self.sha, "title": "Add files", "date": DATE}
        return told


class Store:
    """The repositories of a folder, and every commit of theirs that was ever seen."""

    def __init__(self, root: Path, keep: Path, xet_store: xet.Store | None) -> None:
        self._root = root
        self._keep = keep
        self._xet = xet_store
        self._hashed: dict[tuple[Path, int, int, int], Content] = {}
        self._kept: dict[str, Content] = {}
        self._commits: dict[tuple[str, str, str], Commit] = {}
        self._lock = threading.Lock()

    def settings(self, kind: str, repo: str) -> dict[str, Any] | None:
        """The settings of a repository, empty by default; None where there is no repository."""
        folder = self._folder(kind, repo)
        if not REPO_ID.fullmatch(repo) or "--" in repo or ".." in repo or not folder.is_dir():
            return None
        try:
            settings: dict[str, Any] = json.loads((folder / ".kaiwo-hub.json").read_bytes())
        except FileNotFoundError:
            return {}
        return settings

    def commit(self, kind: str, repo: str, revision: str) -> Commit | None:
        with self._lock:
            if COMMIT.fullmatch(revision):
                if (kind, repo, revision) not in self._commits:
                    for folder in self._folder(kind, repo).iterdir():
                        if folder.is_dir():
                            self._scan(kind, repo, folder)
                return self._commits.get((kind, repo, revision))
            folder = self._folder(kind, repo) / quote(revision, safe="")
            is_one = revision.strip(".") != "" and folder.is_dir()
            return self._scan(kind, repo, folder) if is_one else None

    def kept(self, sha256: str) -> Content:
        """The content of an LFS file that was seen."""
        return self._kept[sha256]

    def _folder(self, kind: str, repo: str) -> Path:
        return self._root / kind / repo.replace("/", "--")

    def _scan(self, kind: str, repo: str, folder: Path) -> Commit:
        patterns = (self.settings(kind, repo) or {}).get("lfs")
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = self._content(path)
            name = path.relative_to(folder).as_posix()
            is_lfs = any(
                fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(path.name, pattern)
                for pattern in (LFS_PATTERNS if patterns is None else patterns)
            )
            files[name] = File(content, is_lfs or (patterns is None and content.size > LFS_SIZE))
        if self._xet:
            hashes = self._xet.add(file.content.kept for file in files.values() if file.is_lfs)
            for name, file in files.items():
                files[name] = replace(file, xet_hash=hashes.get(file.content.kept, ""))
        commit = Commit.of(f"{kind}/{repo}", files)
        return self._commits.setdefault((kind, repo, commit.sha), commit)

    def _content(self, path: Path) -> Content:
        while True:
            before = self._state(path)
            if before in self._hashed:
                return self._hashed[before]
            content = self._read(path, before[1])
            if self._state(path) == before:
                return self._hashed.setdefault(before, content)

    @staticmethod
    def _state(path: Path) -> tuple[Path, int, int, int]:
        stat = path.stat()
        return path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def _read(self, path: Path, size: int) -> Content:
        sha1 = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        sha256 = hashlib.sha256()
        copy = self._keep / "incoming"
        with path.open("rb") as source, copy.open("wb") as sink:
            while chunk := source.read(1 << 20):
                sha1.update(chunk)
                sha256.update(chunk)
                sink.write(chunk)
        kept = copy.rename(self._keep / sha256.hexdigest())
        content = Content(kept.stat().st_size, sha1.hexdigest(), sha256.hexdigest(), kept)
        self._kept[content.sha256] = content
        return content
