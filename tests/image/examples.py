"""The manifests of ``examples/kubernetes``, run by the engine as the kubelet would run them.

Volumes are folders of this machine with the group and the modes that a pod's ``fsGroup`` gives;
ConfigMaps and Secrets become files; user, groups and the limit of memory are the manifest's; the
root is read-only. Only the stores' addresses, and the secrets, are those of the local servers.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.engine import Ended
from tests.servers import ROOT
from tests.support import pods, stores
from tests.support.pods import Container

_TOKEN = "hf_" + "T0ken" * 7
_HEADER = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
_WEIGHTS = struct.pack("<Q", len(_HEADER)) + _HEADER + b"\x00" * 4
_WRONG = "wrong-" + "s3cret" * 5


@dataclass(frozen=True)
class Example:
    """What the servers get and give for one manifest.

    Attributes:
        file: of the manifest.
        environment: variables that lead to the local server.
        secrets: for each Secret, its files.
        volume: the one that is filled.
        expected: what it then holds; names are globs.
    """

    file: str
    environment: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]]
    volume: str
    expected: Mapping[str, bytes]


def filled(stack: ExitStack) -> list[Example]:
    """Start the servers, and put there what the manifests ask for."""
    s3 = stack.enter_context(stores.s3("--check-signatures"))
    gcs = stack.enter_context(stores.gcs())
    hub = stack.enter_context(stores.hub(f"--token={_TOKEN}"))
    wanted, other = {"a.bin": b"a" * 99, "b/c.bin": b"c"}, {"tmp/x": b"x"}
    s3.fill("my-training-bucket", {f"imagenet/v3/{k}": v for k, v in {**wanted, **other}.items()})
    gcs.fill("my-model-bucket", {f"llama/8b/{name}": data for name, data in wanted.items()})
    model = {"model.safetensors": _WEIGHTS, "config.json": b"{}"}
    hub.fill("meta-llama/Llama-3.1-8B-Instruct", {**model, "original/params.json": b"{}"})
    hub.fill("Qwen/Qwen2.5-7B-Instruct", {**model, "model.gguf": b"GGUF"})
    cached = "hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/*/"
    keys = {name: s3.settings[name] for name in ("access_key_id", "secret_key")}
    account = Path(gcs.settings["service_account_file"]).read_text(encoding="utf-8")
    at_hub = {"HF_ENDPOINT": hub.settings["endpoint_url"]}
    return [
        Example(
            "init-container.yaml",
            {"AWS_ENDPOINT_URL_S3": s3.settings["endpoint_url"]},
            {"trainer-s3": keys},
            "data",
            {f"imagenet/{name}": data for name, data in wanted.items()},
        ),
        Example(
            "job-shared-volume.yaml",
            {"STORAGE_EMULATOR_HOST": gcs.settings["endpoint_url"]},
            {"fill-models-gcs": {"service-account.json": account}},
            "models",
            {**{f"llama-8b/{name}": data for name, data in wanted.items()}, "llama-8b/READY": b""},
        ),
        Example(
            "model-server.yaml",
            at_hub,
            {"hub-token": {"token": _TOKEN}},
            "models",
            {f"llama-3.1-8b-instruct/{name}": data for name, data in model.items()},
        ),
        Example(
            "model-server-hub-cache.yaml",
            at_hub,
            {},
            "cache",
            {f"{cached}{name}": data for name, data in model.items()},
        ),
    ]


def check(
    folder: Path, run: Callable[..., Ended], report: Callable[[str, bool, object], bool]
) -> None:
    """Run each manifest, and say what holds.

    Args:
        folder: for the volumes.
        run: runs a container of the image: arguments, ``entry`` and ``flags``.
        report: takes what is checked, whether it holds, and what was found.
    """
    with ExitStack() as stack:
        for example in filled(stack):
            path = ROOT / "examples/kubernetes" / example.file
            (container,) = pods.containers(pods.manifests(path))
            place = folder / path.stem
            place.mkdir()
            first, message = play(container, example, place, run)
            done = first.code == 0 and message.get("exit_code") == 0 and message["failed"] == 0
            report(f"{example.file}: exit code and termination message", done, (first, message))
            volume = place / example.volume
            wrong = [
                name
                for name, data in example.expected.items()
                if [each.read_bytes() for each in volume.glob(name)] != [data]
            ]
            files = [each for each in volume.rglob("*") if each.is_file()]
            named = [each for each in files if each.name in ("x", "params.json", "model.gguf")]
            report(f"{example.file}: its files, and no others", not wrong + named, (wrong, named))
            planned = dataclasses.replace(
                container,
                spec={**container.spec, "command": ["kaiwo", "plan", "/config/kaiwo.yaml"]}
                | {"args": []},
            )
            ended, _ = play(planned, example, place, run)
            shown = ended.code == 0 and "unchanged" in ended.stdout
            report(f"{example.file}: command: [kaiwo, plan, …]", shown, ended)
            if example.secrets:
                ended, message = play(container, refused(example), place, run)
                said = json.dumps(message) + ended.stderr + ended.stdout
                told = ended.code == message.get("exit_code") and ended.code in (2, 3)
                told = told and bool(message["failures"]) and _WRONG not in said
                report(f"{example.file}: wrong secrets, and why", told, (ended, message))


def refused(example: Example) -> Example:
    """The same with secrets that are wrong."""
    secrets = {name: dict.fromkeys(files, _WRONG) for name, files in example.secrets.items()}
    return dataclasses.replace(example, secrets=secrets)


def play(
    container: Container, example: Example, place: Path, run: Callable[..., Ended]
) -> tuple[Ended, dict[str, Any]]:
    """Run a container of a manifest; how it ended, and its termination message."""
    message = place / "termination-log"
    message.write_bytes(b"")
    message.chmod(0o666)
    context = container.pod["securityContext"] | container.spec["securityContext"]
    group = context["fsGroup"]
    flags = [
        f"--user={context['runAsUser']}:{context['runAsGroup']}",
        *(f"--group-add={each}" for each in (group, *context.get("supplementalGroups", ()))),
        f"--memory={container.spec['resources']['limits']['memory'].lower()[:-1]}",
        f"--volume={message}:/dev/termination-log",
    ]
    for mount in container.spec["volumeMounts"]:
        _, volume = container.mount(mount["mountPath"]) or ({}, {})
        source = folder_of(container, volume, example, place / volume["name"], group)
        ending = ":ro" if mount.get("readOnly") else ""
        flags.append(f"--volume={source}:{mount['mountPath']}{ending}")
    environment = {**container.environment, **example.environment}
    flags += [f"--env={name}={value}" for name, value in environment.items()]
    command = container.spec.get("command", ())
    words = [*command[1:], *container.spec.get("args", ())]
    ended = run(*words, entry=command[0] if command else None, flags=flags)
    text = message.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text) if text else {}
    return ended, found


def folder_of(
    container: Container, volume: Mapping[str, Any], example: Example, path: Path, group: int
) -> Path:
    """The folder that is mounted for a volume, as the kubelet makes it."""
    path.mkdir(exist_ok=True)
    if "secret" in volume:
        files = example.secrets[volume["secret"]["secretName"]]
        mode = volume["secret"]["defaultMode"]
    elif "configMap" in volume:
        name = volume["configMap"]["name"]
        (found,) = [
            each["data"]
            for each in container.beside
            if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", name)
        ]
        files, mode = found, 0o644
    else:
        owned(path, group, 0o2770, 0o777)
        return path
    for name, text in files.items():
        file = path / name
        file.unlink(missing_ok=True)
        file.write_text(text, encoding="utf-8")
        owned(file, group, mode, 0o444)
    return path


def owned(path: Path, group: int, mode: int, otherwise: int) -> None:
    """Give the group and the mode; where only root may do so, a mode that lets all in."""
    if os.geteuid() == 0:
        os.chown(path, 0, group)
        path.chmod(mode)
    else:
        path.chmod(otherwise)
