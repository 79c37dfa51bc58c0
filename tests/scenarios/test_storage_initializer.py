"""``kaiwo storage-initializer``: the arguments and variables of KServe's controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import kaiwo
from kaiwo.initializer import unpacking
from tests.scenarios.test_read_only_root import NO_HOME, ONLY
from tests.servers import web
from tests.support import archives, certificates
from tests.support.command import clean_environment
from tests.support.initializing import ALWAYS, everything, initialize, of_s3_secret
from tests.support.proxies import Counting, counting
from tests.support.stores import Store
from tests.support.through import TLS, tls_pipe

MODEL = {"config.json": b"{}", "1/weights.bin": bytes(range(256)) * 40}
KEYS = {f"m/{name}": content for name, content in MODEL.items()}


@pytest.fixture(autouse=True)
def _pod(loopback_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod has: no home of a developer, no settings."""
    for name in ("STORAGE_EMULATOR_HOST", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the model."""
    return tmp_path / "models"


def given(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def pod(s3: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """S3 by the variables of a secret."""
    given(monkeypatch, of_s3_secret(s3))
    return s3


# --- as the controller runs it ------------------------------------------------------------------


def test_models_of_all_services_arrive_in_a_pod_with_a_read_only_root(
    s3: Store, gcs: Store, azure: Store, hub: Store, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make all mounts read-only")
    mount = tmp_path / "mnt"
    mount.mkdir()
    hub.fill("acme/model", MODEL)
    archive = archives.tar_of(MODEL)
    (tmp_path / "served").mkdir()
    (tmp_path / "served/model.tgz").write_bytes(archive)
    container = azure.new_bucket(KEYS)
    blobs = f"{azure.settings['endpoint_url']}/{container}/m"
    with web.folder(tmp_path / "served") as at:
        pairs = (
            (f"s3://{s3.new_bucket(KEYS)}/m", mount / "s3"),
            (f"gs://{gcs.new_bucket({'a.tar.gz': archive})}/a.tar.gz", mount / "gs"),
            (blobs, mount / "blobs"),
            ("hf://acme/model:main", mount / "hf"),
            (f"{at}/model.tgz", mount / "web"),
        )
        log = mount / "termination-log"
        variables = {
            **of_s3_secret(s3),
            "STORAGE_EMULATOR_HOST": gcs.settings["endpoint_url"],
            "AZURE_STORAGE_ACCESS_KEY": azure.settings["account_key"],
            "HF_ENDPOINT": hub.settings["endpoint_url"],
            "HF_TOKEN": hub.settings["token"],
            "KAIWO_TERMINATION_LOG": str(log),
            **NO_HOME,
        }
        arguments = [os.fspath(each) for pair in pairs for each in pair]
        inside = ("unshare", "-m", "sh", "-c", ONLY, str(mount), str(tmp_path / "refused"))
        done = subprocess.run(
            [*inside, sys.executable, "-m", "kaiwo", "storage-initializer", *arguments],
            env=clean_environment(tmp_path) | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "WARNING" not in done.stderr
    assert json.loads(log.read_text())["exit_code"] == 0
    for _, place in pairs:
        assert everything(place) == dict(sorted(MODEL.items())), place


@pytest.mark.parametrize(
    ("uri", "code", "kind"),
    [
        ("s3://nobody-has-this/m", 4, "not_found"),
        ("hdfs://host/m", 2, "config"),
        ("s3:/m", 2, "config"),
        ("hf://user:hunter2@host/m", 2, "config"),
        ("s3://key:a/hunter2@bucket/m", 2, "config"),
    ],
)
def test_what_the_controller_shows_of_a_failure(
    pod: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    uri: str, code: int, kind: str,
) -> None:  # fmt: skip
    log = tmp_path / "log"
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(log))
    ended = initialize((uri, folder))
    shown = json.loads(log.read_text())
    assert (ended.code, shown["exit_code"]) == (code, code)
    assert shown["failures"][0]["kind"] == kind
    assert shown["failures"][0]["message"] == ended.message
    assert "hunter2" not in log.read_text()


@pytest.mark.parametrize("arguments", [(), ("s3://bucket/m",), ("s3://bucket/m", "/d", "s3://b/n")])
def test_arguments_that_are_no_pairs_are_a_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo", "storage-initializer", *arguments],
        env=clean_environment(tmp_path),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2


# --- objects and folders ------------------------------------------------------------------------


def test_an_object_a_folder_and_a_bucket_go_into_the_folder(pod: Store, tmp_path: Path) -> None:
    bucket = pod.new_bucket({**KEYS, "m2/other": b"1", "m/": b"", "m/empty": b""})
    for path, expected in (
        ("m/config.json", {"config.json": b"{}"}),
        ("m", {**MODEL, "empty": b""}),
        ("m/", {**MODEL, "empty": b""}),
        ("", {**{f"m/{n}": c for n, c in MODEL.items()}, "m/empty": b"", "m2/other": b"1"}),
    ):
        place = tmp_path / f"x{len(path)}"
        assert initialize((f"s3://{bucket}/{path}", place)).code == 0
        assert everything(place) == expected
    assert initialize((f"s3://{bucket}", tmp_path / "all")).code == 0


def test_an_empty_object_is_no_model(pod: Store, folder: Path) -> None:
    """Some tools mark a folder by one; KServe's own leaves it out."""
    bucket = pod.new_bucket({"m": b"", "m/config.json": b"{}", "alone/model": b""})
    for path in ("m", "alone"):
        ended = initialize((f"s3://{bucket}/{path}", folder))
        assert ended.code == 4
        assert f"s3://{bucket}/" in ended.message
    (folder / "m").unlink()
    (folder / "model").unlink()
    assert initialize((f"s3://{bucket}/m/", folder)).code == 0
    assert everything(folder) == {"config.json": b"{}"}


def test_patterns_choose_files_as_they_do_for_the_hub(
    pod: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = pod.new_bucket({**KEYS, "m/d/vocab.json": b"1", "m/d/x.bin": b"2"})
    monkeypatch.setenv("STORAGE_ALLOW_PATTERNS", '["*.json", "1/*"]')
    monkeypatch.setenv("STORAGE_IGNORE_PATTERNS", "config.*, nothing")
    assert initialize((f"s3://{bucket}/m", folder)).code == 0
    assert [*everything(folder)] == ["1/weights.bin", "d/vocab.json"]


def test_a_file_of_an_image_is_copied(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "image/1").mkdir(parents=True)
    for name, content in MODEL.items():
        (tmp_path / "image" / name).write_bytes(content)
    assert initialize((f"file://{tmp_path}/image", folder)).code == 0
    assert everything(folder) == dict(sorted(MODEL.items()))


# --- volumes ------------------------------------------------------------------------------------


def test_a_volume_is_linked_and_linked_again(tmp_path: Path, folder: Path) -> None:
    claim = tmp_path / "pvc"
    (claim / "1").mkdir(parents=True)
    (claim / "config.json").write_bytes(b"{}")
    (claim / ".hidden").write_bytes(b"")
    expected = {"1": f"{claim}/1", "config.json": f"{claim}/config.json"}
    for _ in range(2):  # a container that is started again
        assert initialize((str(claim), folder)).code == 0
        assert everything(folder) == expected
    (folder / "1").unlink()
    (folder / "1").write_bytes(b"in the way")
    assert initialize((str(claim), folder)).code == 2


def test_a_wrong_option_of_the_environment_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIWO_MAX_WORKERS", "many")
    for uri in (str(tmp_path), "s3://bucket/m"):
        ended = initialize((uri, folder))
        assert ended.code == 2
        assert "KAIWO_MAX_WORKERS" in ended.message


def test_an_archive_on_a_volume_is_unpacked_and_stays(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "pvc").mkdir()
    archive = tmp_path / "pvc/model.zip"
    archive.write_bytes(archives.zip_of(*MODEL.items()))
    for uri in (str(tmp_path / "pvc"), str(archive)):
        assert initialize((uri, folder)).code == 0
        assert everything(folder) == dict(sorted(MODEL.items()))
    assert archive.exists()


def test_a_volume_that_is_not_mounted_is_missing(tmp_path: Path, folder: Path) -> None:
    assert initialize(("pvc://claim-of-nobody/m", folder)).code == 4
    (tmp_path / "empty").mkdir()
    assert initialize((str(tmp_path / "empty"), folder)).code == 4


# --- archives -----------------------------------------------------------------------------------


def test_an_only_archive_is_unpacked_and_one_of_several_files_is_not(
    pod: Store, tmp_path: Path
) -> None:
    archive = archives.zip_of(*MODEL.items())
    bucket = pod.new_bucket({"one/m.zip": archive, "two/m.zip": archive, "two/readme": b""})
    assert initialize((f"s3://{bucket}/one", tmp_path / "one")).code == 0
    assert everything(tmp_path / "one") == dict(sorted(MODEL.items()))
    assert initialize((f"s3://{bucket}/two", tmp_path / "two")).code == 0
    assert everything(tmp_path / "two") == {"m.zip": archive, "readme": b""}


@pytest.mark.parametrize(
    "beside", ["two.tgz", "plain", "of/archives", "one-volume", "archive-volume"]
)
def test_an_archive_mixes_with_no_other_model(
    pod: Store, tmp_path: Path, folder: Path, beside: str
) -> None:
    one, two = archives.tar_of(MODEL), archives.tar_of({"config.json": b"[]", "other": b""})
    files = {"one.tgz": one, "two.tgz": two, "plain/config.json": b"[]"}
    bucket = pod.new_bucket({**files, "of/archives/one.tgz": one, "of/archives/readme": b""})
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/config.json").write_bytes(b"[]")
    (tmp_path / "two.tgz").write_bytes(two)
    volumes = {"one-volume": f"{tmp_path}/volume", "archive-volume": f"{tmp_path}/two.tgz"}
    uri = "of/archives/one.tgz" if beside.startswith("of") else "one.tgz"
    pairs = [(f"s3://{bucket}/{uri}", folder)]
    pairs.append((volumes.get(beside, f"s3://{bucket}/{beside}"), folder))
    for each in (pairs, pairs, pairs[::-1]):  # a container that is started again
        ended = initialize(*each)
        assert ended.code == 2, ended.message
    assert initialize(pairs[0], (pairs[1][0], tmp_path / "own")).code == 0


def test_one_archive_by_two_names_is_unpacked_once(pod: Store, folder: Path) -> None:
    bucket = pod.new_bucket({"m/model.tgz": archives.tar_of(MODEL)})
    uris = (f"s3://{bucket}/m", f"s3://{bucket}/m/model.tgz")
    assert initialize(*((uri, each) for uri in uris for each in (folder, f"{folder}/"))).code == 0
    assert everything(folder) == dict(sorted(MODEL.items()))


def test_a_query_names_an_archive_where_the_path_names_no_kind(tmp_path: Path) -> None:
    with web.site() as site:
        for name, number in (("get?v=1&file=m.tgz", len(MODEL)), ("get.bin?m.tgz", 1)):
            site.pages[f"/{name}"] = web.Page(archives.tar_of(MODEL))
            assert initialize((f"{site.at}/{name}", tmp_path / name[:5])).code == 0
            assert len(everything(tmp_path / name[:5])) == number


def test_a_refused_archive_leaves_an_empty_folder(pod: Store, folder: Path) -> None:
    bucket = pod.new_bucket({"m.tgz": archives.tar(("good", b"1"), ("../../outside", b"1"))})
    for _ in range(2):
        ended = initialize((f"s3://{bucket}/m.tgz", folder))
        assert (ended.code, [*everything(folder)]) == (2, [])
        assert "'../../outside'" in ended.message


def test_a_container_that_is_started_again_finds_its_model(
    s3: Store, pod: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = pod.new_bucket({**KEYS, "m.tgz": archives.tar_of(MODEL)})
    way: Counting
    with counting(s3) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(way.stores[0].fields["endpoint_url"]))
        for gets in (len(MODEL), 0):
            way.reset()
            assert initialize((f"s3://{bucket}/m", folder)).code == 0
            assert way.counts().gets == gets
            assert everything(folder) == dict(sorted(MODEL.items()))
        before = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
        assert initialize((f"s3://{bucket}/m.tgz", folder)).code == 0
        assert {path: path.stat().st_ino for path in before} == before
        assert everything(folder) == dict(sorted(MODEL.items()))


def test_what_is_in_place_is_remembered_until_all_is(pod: Store, tmp_path: Path) -> None:
    bucket = pod.new_bucket(KEYS)
    pairs = ((f"s3://{bucket}/m", tmp_path / "a"), (f"s3://{bucket}/n", tmp_path / "b"))
    assert initialize(*pairs).code == 4
    assert ".kaiwo/manifest.jsonl" in everything(tmp_path / "a")
    pod.fill(bucket, {"n/x": b"1"})
    done = initialize(*pairs)
    assert done.report is not None
    assert {item.status for item in done.report.items} == {"unchanged", "downloaded"}
    assert everything(tmp_path / "a") == dict(sorted(MODEL.items()))
    assert everything(tmp_path / "b") == {"x": b"1"}


def test_a_run_that_was_killed_while_unpacking_is_resumed(
    s3: Store, pod: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = pod.new_bucket({"m.tgz": archives.tar_of(MODEL)})

    class Killed(BaseException):
        """As if the process had ended there."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_publish", killed)
        patch.setattr(unpacking, "_remove", lambda *_: None)
        with pytest.raises(Killed):
            initialize((f"s3://{bucket}/m.tgz", folder))
    assert [*(folder / ".kaiwo/unpacking").glob("*/config.json")]
    with counting(s3) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(way.stores[0].fields["endpoint_url"]))
        way.reset()
        assert initialize((f"s3://{bucket}/m.tgz", folder)).code == 0
        assert way.counts().gets == 0
    assert everything(folder) == dict(sorted(MODEL.items()))


def test_state_is_elsewhere_where_a_volume_is_named(
    pod: Store, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIWO_STATE_DIR", str(tmp_path / "state"))
    bucket = pod.new_bucket({**KEYS, "m.tgz": archives.tar_of(MODEL)})
    assert initialize((f"s3://{bucket}/m", folder)).code == 0
    assert initialize((f"s3://{bucket}/m.tgz", folder)).code == 0
    assert everything(folder) == dict(sorted(MODEL.items()))
    assert [*(tmp_path / "state").glob("manifest-*")]


# --- variables ----------------------------------------------------------------------------------


def test_storage_config_goes_before_the_variables(
    s3_signed: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_signed.new_bucket(KEYS)
    given(monkeypatch, {**of_s3_secret(s3_signed), "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert initialize((f"s3://{bucket}/m", folder)).code == 3
    config = {
        "type": "s3",
        "bucket": bucket,
        "endpoint_url": "http://127.0.0.1:1",
        "secret_access_key": s3_signed.settings["secret_key"],
    }
    monkeypatch.setenv("STORAGE_CONFIG", json.dumps(config))
    override = {"endpoint_url": s3_signed.settings["endpoint_url"]}
    monkeypatch.setenv("STORAGE_OVERRIDE_CONFIG", json.dumps(override))
    ended = initialize((f"s3://{bucket}/m", folder))
    assert ended.code == 0, ended.message
    assert everything(folder) == dict(sorted(MODEL.items()))


def test_headers_for_a_host_of_the_web_are_sent_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web.site() as site:
        site.pages["/m.zip?v=1"] = web.Page(archives.zip_of(*MODEL.items()))
        monkeypatch.setenv("127.0.0.1-headers", json.dumps({"Authorization": "Bearer canary"}))
        ended = initialize((f"{site.at}/m.zip?v=1", folder))
        assert ended.code == 0, ended.message
        assert all(headers.get("Authorization") == "Bearer canary" for *_, headers in site.asked)
    assert everything(folder) == dict(sorted(MODEL.items()))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    """TLS of localhost by an authority that nobody trusts by himself."""
    place, own = tmp_path_factory.mktemp("tls"), certificates.authority()
    (place / "cabundle.crt").write_bytes(own.pem)
    return TLS(str(place / "cabundle.crt"), certificates.server(own).tls(place))


def test_certificates_are_verified_unless_the_variable_of_s3_says_no(
    pod: Store, tls: TLS, folder: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    uri = f"s3://{pod.new_bucket(KEYS)}/m"
    with tls_pipe(pod, tls) as port:
        # By its address, which is in the certificate, and by a name that is not.
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{port}")
        assert initialize((uri, folder)).code == 3
        monkeypatch.setenv("S3_VERIFY_SSL", "1")
        assert initialize((uri, folder)).code == 3
        assert "S3_VERIFY_SSL" not in caplog.text
        monkeypatch.setenv("S3_VERIFY_SSL", "0")
        assert initialize((uri, folder)).code == 0
        assert "S3_VERIFY_SSL: the certificates of S3 services are not verified" in caplog.text
    assert everything(folder) == dict(sorted(MODEL.items()))


@pytest.mark.parametrize("by", ["AWS_CA_BUNDLE", "CA_BUNDLE_CONFIGMAP_NAME"])
def test_the_certificates_of_a_config_map_are_trusted(
    pod: Store, tls: TLS, folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    place = Path(tls.bundle).parent
    given(
        monkeypatch,
        {"AWS_CA_BUNDLE": tls.bundle, "AWS_CA_BUNDLE_CONFIGMAP": "local-certs"}
        if by == "AWS_CA_BUNDLE"
        else {by: "local-certs", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(place)},
    )
    with tls_pipe(pod, tls) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{port}")
        ended = initialize((f"s3://{pod.new_bucket(KEYS)}/m", folder))
    assert ended.code == 0, ended.message


def test_nothing_else_can_be_told_not_to_verify(
    s3: Store, tls: TLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, {"S3_VERIFY_SSL": "0", **ALWAYS})
    items = [{"folder": "m", "target_path": "."}]
    with tls_pipe(s3, tls) as port:
        task = s3.task(s3.new_bucket(KEYS), items, endpoint_url=f"https://localhost:{port}")
        config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        done = kaiwo.download(config, retries=0, startup_wait=0, progress="none")
    assert done.exit_code == 3
    assert everything(tmp_path) == {}
