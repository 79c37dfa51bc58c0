"""The manifests of ``examples/`` and of the pages do what they say, as far as no cluster is needed.

Kubernetes' own schemas judge the manifests (strict: no unknown field), kaiwo judges the
configurations and the command lines in them. A new file is found by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from markdown_it import MarkdownIt

from kaiwo._version import __version__
from kaiwo.config import document, loader
from kaiwo.engine.request_budget import memory_budget, most_requests
from kaiwo.errors import EXIT_CODES
from tests.servers import ROOT
from tests.support import helm, pods
from tests.support.pods import Container, Manifest

#: The oldest version in which every field of the examples is stable, and a recent one.
VERSIONS = ("1.31", "1.37")
#: Kinds that Kubernetes itself does not have, so that it has no schema for them.
NOT_CORE = {
    ("serving.kserve.io/v1alpha1", "ClusterStorageContainer"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
}
CHART = ROOT / "examples/helm/kaiwo-job"
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted(ROOT.glob("examples/**/*.yaml"))
    if CHART.parent not in path.parents
}
PAGE = ROOT / "docs/kubernetes.md"
#: What another try does not change, and what it may change.
FINAL, PASSING = {2, 3, 4, 7}, {5, 8, 143}
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
#: The values that the chart is tried with; what they are for.
VALUES: Mapping[str, Mapping[str, Any]] = {
    **{
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in CHART.parent.glob("*.values.yaml")
    },
    "the least": {
        "config": {
            "download_items": [{"type": "hf", "repo_id": "acme/model", "target_path": "model"}]
        },
        "volume": {"claimName": "models"},
    },
    "a volume, secrets, metrics": {
        "image": {"digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "config": {
            "max_workers": 16,
            "download_items": [
                {
                    "type": "s3",
                    "endpoint_url": "${S3_ENDPOINT}",
                    "access_key_id_file": "/secrets/s3/access_key_id",
                    "secret_key_file": "/secrets/s3/secret_key",
                    "buckets": [
                        {"name": "models", "items": [{"folder": "", "target_path": "/data/all"}]}
                    ],
                }
            ],
        },
        "options": {"fsync": True, "locked": False, "max-bandwidth": "200M", "retries": 9},
        "secrets": [{"secretName": "s3-keys", "mountPath": "/secrets/s3"}],
        "env": [{"name": "S3_ENDPOINT", "value": "https://minio.example.com"}],
        "volume": {"mountPath": "/data", "size": "200Gi", "storageClassName": "files"},
        "resources": {"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "job": {"annotations": {"example.com/team": "ml"}, "ttlSecondsAfterFinished": 0},
        "podSecurityContext": {"supplementalGroups": [9100]},
        "metrics": {"hostPath": "/var/lib/node_exporter/textfile_collector"},
    },
    "a workload identity": {
        "config": {
            "download_items": [
                {
                    "type": "azure-blob",
                    "account_name": "models",
                    "containers": [
                        {"name": "models", "items": [{"file": "a", "target_path": "a"}]}
                    ],
                }
            ]
        },
        "volume": {"claimName": "models"},
        "serviceAccount": {
            "create": True,
            "annotations": {"azure.workload.identity/client-id": "id"},
        },
        "podLabels": {"azure.workload.identity/use": "true"},
        "podAnnotations": {"example.com/why": "test"},
        "nodeSelector": {"pool": "download"},
        "tolerations": [{"key": "download", "operator": "Exists"}],
        "priorityClassName": "batch",
        "exitCodes": {"final": [2, 3, 4, 7], "retry": []},
    },
}
#: Values that the chart refuses, and what it says.
REFUSED: Mapping[str, Mapping[str, Any]] = {
    "download_items": {"volume": {"claimName": "models"}},
    "volume.size": {"config": VALUES["the least"]["config"]},
    "volum": {**VALUES["the least"], "volum": {}},
}


def problem(manifest: Manifest) -> str:
    """What Kubernetes' schema finds wrong, or nothing."""
    if (manifest["apiVersion"], manifest["kind"]) in NOT_CORE:
        return ""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(dict(manifest), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"{manifest['kind']}, {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            return str(error.message)
    return ""


def bytes_of(quantity: str) -> int:
    """A quantity of memory."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def faults(container: Container) -> Iterator[str]:
    """What would not work in such a container, or is not as strict as it should be."""
    name, _ = container.command
    if name not in ("download", "plan"):
        return
    for path in container.files_read():
        if container.mount(path) is None:
            yield f"{path} is not mounted"
        container.file(path)  # of a Secret beside the pod, the key must be there
    for path in container.places_written():
        if not container.is_writable(path):
            yield f"{path} cannot be written"
    yield from loose(container)
    memory = container.spec["resources"]
    limit = bytes_of(memory["limits"]["memory"])
    budget = memory_budget(limit)
    if budget < memory_budget(None) or bytes_of(memory["requests"]["memory"]) < budget:
        yield f"of {limit} bytes kaiwo may use {budget}"


def loose(container: Container) -> Iterator[str]:
    """What the level "restricted" of Pod Security, or a read-only root, would not allow."""
    inherited = container.pod.get("securityContext", {})
    context = inherited | container.spec.get("securityContext", {})
    if not (context.get("runAsNonRoot") and context.get("runAsUser")):
        yield "it may run as root"
    if not context.get("readOnlyRootFilesystem") or context.get("allowPrivilegeEscalation", True):
        yield "its root can be written, or its rights can grow"
    if context.get("capabilities") != {"drop": ["ALL"]} or "seccompProfile" not in context:
        yield "it has capabilities, or any system call"
    if inherited.get("fsGroup") is None or inherited["fsGroup"] != context.get("runAsGroup"):
        yield "its volumes belong to another group"


def judged(beside: Sequence[Manifest]) -> list[str]:
    """Everything that is wrong with manifests that are applied together."""
    found = [each for each in map(problem, beside) if each]
    for container in [] if found else pods.containers(beside):
        found += faults(container)
    for manifest in [] if found else beside:
        spec = manifest.get("spec", {})
        job = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
        if "podFailurePolicy" in job:
            retried = {code for code in EXIT_CODES if code and pods.is_retried(job, code)}
            if FINAL & retried or PASSING - retried:
                found.append(f"after {sorted(retried)} it is tried again")
    return found


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_accepted_and_does_what_it_says(name: str) -> None:
    beside = pods.manifests(FILES[name])
    assert beside
    assert judged(beside) == []
    for manifest in beside:
        for key, text in manifest.get("data", {}).items():
            if manifest["kind"] == "ConfigMap" and "download_items" in text:
                config = loader.build(document.parse(text, key), elsewhere=True)
                config.check_targets()
                assert config.warnings() == []


def test_examples_show_what_they_are_there_for() -> None:
    all_ = [each for path in FILES.values() for each in pods.manifests(path)]
    assert {each["kind"] for each in all_} > {"Pod", "Job", "CronJob", "Deployment", "ConfigMap"}
    shown = [each for path in FILES.values() for each in pods.containers(pods.manifests(path))]
    types = {task.type for each in shown for task in each.config.tasks}
    assert types >= {"s3", "gcs", "azure-blob", "hf"}
    accounts = {
        key
        for each in all_
        if each["kind"] == "ServiceAccount"
        for key in each["metadata"]["annotations"]
    }
    assert accounts >= {
        "eks.amazonaws.com/role-arn",
        "iam.gke.io/gcp-service-account",
        "azure.workload.identity/client-id",
    }
    assert any("--metrics-file" in " ".join(each.spec["args"]) for each in shown)
    assert "podFailurePolicy" in str(all_)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("mountPath: /models}", "mountPath: /model}", "/models/llama-8b cannot be written"),
        ("- --deadline=50m", "- --dedline=50m", "No such option"),
        ("- --deadline=50m", "- --deadline=soon", "a duration such as"),
        ("prune: true", "prun: true", "prune"),
        ("service-account.json: r", "account.json: r", "service-account.json"),
        ("[1, 2, 3, 4, 6, 7]", "[1, 2, 3, 4, 6]", "tried again"),
        ("[1, 2, 3, 4, 6, 7]", "[1, 2, 3, 4, 5, 6, 7]", "tried again"),
        ("memory: 2Gi", "memory: 256Mi", "kaiwo may use"),
        ("backoffLimit: 4", "backofLimit: 4", "backofLimit"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root can be written"),
    ],
)
def test_what_would_not_work_is_found(old: str, new: str, fault: str) -> None:
    text = FILES["examples/kubernetes/job-shared-volume.yaml"].read_text(encoding="utf-8")
    assert text.count(old) == 1
    try:
        found = "; ".join(judged([*yaml.safe_load_all(text.replace(old, new))]))
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    assert fault in found


@pytest.fixture(scope="module")
def rendered() -> dict[str, helm.Rendered]:
    every = {**VALUES, **REFUSED}
    return dict(zip(every, helm.render(CHART, list(every.values())), strict=True))


def of_chart(rendered: helm.Rendered) -> list[Manifest]:
    texts = [text for name, text in rendered.files.items() if name.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


@pytest.mark.parametrize("values", VALUES)
def test_the_chart_makes_a_job_that_works(rendered: dict[str, helm.Rendered], values: str) -> None:
    made = rendered[values]
    assert (made.error, list(made.findings)) == ("", [])
    beside = of_chart(made)
    assert judged(beside) == []
    (container,) = pods.containers(beside)
    assert container.config.tasks
    given = VALUES[values]
    kinds = {each["kind"] for each in beside}
    assert ("PersistentVolumeClaim" in kinds) == ("size" in given["volume"])
    assert ("ServiceAccount" in kinds) == ("serviceAccount" in given)
    if "image" in given:
        settings = container.config.settings
        assert (settings.fsync, settings.locked, settings.retries) == (True, False, 9)
        assert (settings.max_workers, settings.deadline) == (16, 3000.0)
        assert container.spec["image"].endswith(f"@sha256:{'0' * 64}")
        assert settings.metrics_file == "/metrics/models-kaiwo-job.prom"
    else:
        assert container.spec["image"].endswith(f":{__version__}")
    if "podLabels" in given:
        (job,) = [each for each in beside if each["kind"] == "Job"]
        template = job["spec"]["template"]
        assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
        assert template["spec"]["serviceAccountName"] == "models-kaiwo-job"
        assert template["spec"]["nodeSelector"] == {"pool": "download"}


@pytest.mark.parametrize("values", REFUSED)
def test_the_chart_refuses_what_cannot_work(
    rendered: dict[str, helm.Rendered], values: str
) -> None:
    assert values in rendered[values].error
    assert rendered[values].files == {}


def blocks(page: Path) -> list[list[Any]]:
    """The YAML of a page, each block as its documents."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    texts = [each.content for each in tokens if each.type == "fence" and each.info == "yaml"]
    return [[each for each in yaml.safe_load_all(text) if each] for text in texts]


def whole(part: Mapping[str, Any]) -> Manifest | None:
    """A manifest, or a part of a pod with what is around it; None if it is neither."""
    if "apiVersion" in part:
        return part
    if "initContainers" not in part:
        return None
    spec = {"containers": [{"name": "main", "image": "registry.example.com/main:1"}], **part}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def test_every_block_of_the_guide_is_right() -> None:
    for parts in blocks(PAGE):
        complete = [each for part in parts if (each := whole(part))]
        assert [each for each in map(problem, complete) if each] == []
        for container in pods.containers(complete):
            assert container.command
        if not complete:
            text = yaml.safe_dump(parts[0])
            assert loader.build(document.parse(text, PAGE.name), elsewhere=True).tasks


def test_every_manifest_in_other_pages_is_accepted() -> None:
    pages = [page for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")) if page != PAGE]
    parts = [part for page in pages for block in blocks(page) for part in block]
    complete = [made for part in parts if isinstance(part, dict) and (made := whole(part))]
    assert complete
    assert [each for each in map(problem, complete) if each] == []


def test_a_page_names_every_example() -> None:
    pages = [page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.md")]
    named = {name for text in pages for name in re.findall(r"examples/[\w./-]+\.yaml", text)}
    assert {*FILES, "examples/helm/kaiwo-job/Chart.yaml"} <= named


def test_the_figures_of_memory_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\d+[MG]i)` \| (\d+) MiB \| (\d+) \|", text, flags=re.MULTILINE)
    assert len(rows) == 5
    for limit, mebibytes, requests in rows:
        budget = memory_budget(bytes_of(limit))
        assert (int(mebibytes) << 20, int(requests)) == (budget, most_requests(budget)), limit


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
