"""What a manifest of Kubernetes would do with kaiwo, without a cluster.

A pod is judged as the kubelet would start it: which command line, which variables, and what lies
under which path. ``tests/image`` runs the same pods with podman.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
import yaml

from kaiwo.cli.app import app
from kaiwo.config import document, loader
from kaiwo.config.loader import Config
from kaiwo.config.settings import Settings

Manifest = Mapping[str, Any]

#: The last part of the image's name.
IMAGE = "kaiwo-downloader"
#: Where the pod is in a manifest, by its kind.
POD = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
#: Volumes that a container may write to, if their mount is not read-only.
WRITABLE = ("emptyDir", "persistentVolumeClaim", "hostPath", "ephemeral")
#: Fields of a configuration that name files which kaiwo reads, besides secrets (``…_file``).
READ = ("ca_bundle", "client_certificate", "client_key")


def manifests(path: Path) -> list[Manifest]:
    """The documents of a YAML file, none of them empty."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def containers(beside: Sequence[Manifest]) -> Iterator[Container]:
    """The containers with kaiwo of these manifests, which are applied together."""
    for manifest in beside:
        pod: Any = manifest if manifest["kind"] in POD else {}
        for step in POD.get(manifest["kind"], ()):
            pod = pod[step]
        for each in (*pod.get("initContainers", ()), *pod.get("containers", ())):
            if posixpath.basename(each["image"]).partition("@")[0].partition(":")[0] == IMAGE:
                yield Container(manifest, pod, each, beside)


@dataclass(frozen=True)
class Container:
    """A container with kaiwo.

    Attributes:
        manifest: of the object that makes the pod.
        pod: its specification.
        spec: the container's.
        beside: all manifests that are applied together.
    """

    manifest: Manifest
    pod: Mapping[str, Any]
    spec: Mapping[str, Any]
    beside: Sequence[Manifest]

    @property
    def environment(self) -> dict[str, str]:
        """Its variables; of those that the cluster fills in, some text."""
        return {each["name"]: each.get("value", "0") for each in self.spec.get("env", ())}

    @cached_property
    def command(self) -> tuple[str, dict[str, Any]]:
        """The command of kaiwo that it runs, and that command's parameters.

        Raises:
            click's UsageError: there is no such command, or it takes no such arguments.
        """
        words = [*self.spec.get("command", ()), *self.spec.get("args", ())]
        if not self.spec.get("command"):
            words = ["kaiwo", "download", *words]  # the image's entry is the same
        assert words[0] == "kaiwo", words
        group: Any = typer.main.get_command(app)
        with group.make_context("kaiwo", words[1:]) as context:
            name, command, rest = group.resolve_command(context, words[1:])
            return name, command.make_context(name, rest, parent=context).params

    @cached_property
    def config(self) -> Config:
        """The configuration that it is given, with its options and variables.

        Raises:
            InvalidConfigError: one of them is wrong.
        """
        _, parameters = self.command
        options = {
            name: value for name, value in parameters.items() if name in Settings.model_fields
        }
        path = parameters["config_file"]
        text = self.file(path)
        assert text is not None, f"{path} is in no ConfigMap beside the pod"
        parsed = document.parse(text, path)
        return loader.build(parsed, options, self.environment)

    def mount(self, path: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """The mount and the volume under which a path lies, if there is one."""
        mounts = [
            each
            for each in self.spec.get("volumeMounts", ())
            if f"{path}/".startswith(f"{each['mountPath'].rstrip('/')}/")
        ]
        if not mounts:
            return None
        mount = max(mounts, key=lambda each: len(each["mountPath"]))
        (volume,) = [each for each in self.pod["volumes"] if each["name"] == mount["name"]]
        return mount, volume

    def is_writable(self, path: str) -> bool:
        """Whether kaiwo may write there, with a root that is read-only."""
        mount, volume = self.mount(path) or ({"readOnly": True}, {})
        return not mount.get("readOnly") and any(kind in volume for kind in WRITABLE)

    def file(self, path: str) -> str | None:
        """The text of a file of a ConfigMap or Secret beside the pod; None if it is elsewhere.

        Raises:
            KeyError: the ConfigMap or Secret is beside the pod, and has no such key.
        """
        mount, volume = self.mount(path) or ({}, {})
        names = {
            "ConfigMap": volume.get("configMap", {}).get("name"),
            "Secret": volume.get("secret", {}).get("secretName"),
        }
        for each in self.beside:
            if each["metadata"]["name"] == names.get(each["kind"], ""):
                texts: Mapping[str, str] = each.get("data") or each.get("stringData") or {}
                return texts[posixpath.relpath(path, mount["mountPath"])]
        return None

    def files_read(self) -> list[str]:
        """The files that the configuration names: secrets, certificates."""
        tasks = self.config.document.data["download_items"]
        return [
            str(value)
            for task in tasks
            for name, value in task.items()
            if name in READ or (name.endswith("_file") and name != "ready_file")
        ]

    def places_written(self) -> list[str]:
        """The files and folders that the run writes, of those that its settings name."""
        config, settings = self.config, self.config.settings
        root, tasks = config.download_root, config.document.data["download_items"]
        named = [*_values(tasks, "target_path"), *_values(tasks, "cache_dir")]
        cached = [task for task in tasks if task["type"] == "hf" and "target_path" not in task]
        named += [self.environment["HF_HOME"] for task in cached if "cache_dir" not in task]
        named += filter(None, (settings.report, settings.metrics_file, settings.state_dir))
        return [posixpath.join(root, each) for each in named]


def _values(data: Any, key: str) -> Iterator[str]:
    """Everything that has this key, at any depth."""
    if isinstance(data, dict):
        yield from (str(value) for name, value in data.items() if name == key)
    for each in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from _values(each, key)


def is_retried(job: Mapping[str, Any], code: int) -> bool:
    """Whether a Job tries again after its container ended with this code.

    Args:
        job: its specification.
        code: of the container with kaiwo; not 0.
    """
    for rule in job.get("podFailurePolicy", {}).get("rules", ()):
        codes = rule.get("onExitCodes", {})
        if (code in codes.get("values", ())) == (codes.get("operator") == "In") and codes:
            return rule["action"] not in ("FailJob", "FailIndex")
    return bool(job.get("backoffLimit", 6) or job.get("backoffLimitPerIndex", 0))
