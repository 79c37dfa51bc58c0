"""Every way to sign in at S3, against services that check what they are given, on both engines."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

import kaiwo
from kaiwo.api.report import Report
from kaiwo.tasks import s3_identity
from kaiwo.tasks.base import Engine
from tests.support import aws as little_aws
from tests.support.aws import OTHER_ROLE, ROLE, Aws
from tests.support.command import tree
from tests.support.engines import ALL, each_engine
from tests.support.identities.s3 import ROWS
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only")

OBJECTS = {"k": b"data", "d/b c": b"more", "last": bytes(3000)}
WRONG = "wrong-proof-000000000000000000000000"


@pytest.fixture
def aws(s3: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The identity services are those of the environment."""
    with little_aws.aws(s3) as made:
        for service in ("STS", "SSO"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", made.address)
        monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
        yield made


Prepare = Callable[[Aws, Path, pytest.MonkeyPatch, bool], dict[str, Any]]


def _file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _user(aws: Aws, *, right: bool) -> tuple[str, str]:
    return aws.user.access_key, aws.user.secret if right else WRONG


def of_task(aws: Aws, _: Path, __: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    key, secret = _user(aws, right=right)
    return {"access_key_id": key, "secret_key": secret}


def of_session(aws: Aws, _: Path, __: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    keys = aws.issue()
    token = keys.token if right else WRONG
    return {
        "access_key_id": keys.access_key,
        "secret_key": keys.secret,
        "session_token": token,
    }


def of_environment(aws: Aws, _: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    key, secret = _user(aws, right=right)
    env.setenv("AWS_ACCESS_KEY_ID", key)
    env.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return {}


def of_profile(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    key, secret = _user(aws, right=right)
    text = f"[p]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"
    env.setenv("AWS_SHARED_CREDENTIALS_FILE", _file(folder, "credentials", text))
    return {"profile": "p"}


def of_process(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    # It asks the container's endpoint, which makes new keys.
    token = aws.container_token if right else WRONG
    script = _file(
        folder,
        "process.py",
        f"#!{sys.executable}\n"
        "import urllib.request as r\n"
        f"ask = r.Request({aws.address + '/container'!r}, headers={{'Authorization': {token!r}}})\n"
        "print(r.urlopen(ask).read().decode())\n",
    )
    os.chmod(script, stat.S_IRWXU)
    text = f"[profile p]\ncredential_process = {script}\n"
    env.setenv("AWS_CONFIG_FILE", _file(folder, "config", text))
    return {"profile": "p"}


def of_sso(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    text = (
        "[profile p]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = reader\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://sso.invalid/start\n"
    )
    env.setenv("AWS_CONFIG_FILE", _file(folder, "config", text))
    cache = folder / "cache"
    cache.mkdir()
    # The SDK makes its path of HOME when it is loaded.
    for kind in (SSOProvider, SSOTokenProvider):
        env.setattr(kind, "_SSO_TOKEN_CACHE_DIR", str(cache))
    login = {
        "accessToken": aws.sso_token if right else WRONG,
        "expiresAt": (datetime.now(UTC) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "startUrl": "https://sso.invalid/start",
    }
    _file(cache, f"{sha1(b's').hexdigest()}.json", json.dumps(login))
    return {"profile": "p"}


def of_web_identity(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    token = _file(folder, "token", aws.web_token if right else WRONG)
    env.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
    env.setenv("AWS_ROLE_ARN", ROLE)
    return {}


def of_container(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    token = _file(folder, "token", aws.container_token if right else WRONG)
    env.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.address}/container")
    env.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
    return {}


def of_instance(aws: Aws, _: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    env.delenv("AWS_EC2_METADATA_DISABLED")
    env.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.address)
    aws.has_role = right
    return {}


def of_role(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    external_id = aws.external_id if right else "another"
    named = {"role_arn": ROLE, "external_id": external_id, "role_session_name": "the-pod"}
    return of_task(aws, folder, env, True) | named


def of_role_of_pod(aws: Aws, folder: Path, env: pytest.MonkeyPatch, right: bool) -> dict[str, Any]:
    of_web_identity(aws, folder, env, True)
    env.setenv("AWS_ROLE_ARN", OTHER_ROLE)
    role = ROLE if right else OTHER_ROLE
    return {"role_arn": role, "external_id": aws.external_id}


#: Each way, by its row of the page; what an error says; and whether its keys expire.
WAYS: dict[str, tuple[Prepare, str, bool]] = {
    "keys of the task": (of_task, "access_key_id of the task", False),
    "session token of the task": (of_session, "access_key_id of the task", False),
    "keys of the environment": (of_environment, "AWS_ACCESS_KEY_ID of the environment", False),
    "profile with keys": (of_profile, "the profile p of AWS_SHARED_CREDENTIALS_FILE", False),
    "profile with a program": (of_process, "credential_process of the profile p", True),
    "profile with an SSO login": (of_sso, "the SSO login of the profile p", True),
    "web identity (IRSA)": (
        of_web_identity,
        f"the role {ROLE} with the web identity of AWS_WEB_IDENTITY_TOKEN_FILE",
        True,
    ),
    "container (ECS, EKS pod identity)": (
        of_container,
        "the container's role, by AWS_CONTAINER_CREDENTIALS_FULL_URI",
        True,
    ),
    "instance metadata v2": (of_instance, "the instance's role, by its metadata service", False),
    "role, with keys of the task": (
        of_role,
        f"the role {ROLE}, assumed with access_key_id of the task",
        True,
    ),
    "role, with what is found": (
        of_role_of_pod,
        f"the role {OTHER_ROLE}, assumed with the role {OTHER_ROLE} with the web identity of",
        True,
    ),
}
each_way = pytest.mark.parametrize("way", WAYS)


def test_the_page_has_a_row_for_each_way() -> None:
    assert {row.way for row in ROWS} >= set(WAYS)


def download(
    aws: Aws, folder: Path, engine: Engine, fields: dict[str, Any], **options: Any
) -> Report:
    """Fetch a bucket with these fields, and nothing else that signs in."""
    nothing = {"access_key_id": None, "secret_key": None}
    task = aws.s3.task(aws.s3.new_bucket(OBJECTS), ALL, **{**nothing, **fields})
    config = {"download_root": str(folder / "out"), "download_items": [task]}
    quick = {"startup_wait": 0, "retries": 0, "max_workers": 1, "engine": engine}
    return kaiwo.download(config, progress="none", **{**quick, **options})


def fetched(report: Report, folder: Path) -> None:
    """All is there."""
    report.raise_for_failures()
    assert tree(folder / "out") == OBJECTS


def refused(report: Report, words: str) -> str:
    """All of it was refused; the message that says so."""
    assert report.exit_code == 3, report.items
    (message,) = {str(item.error) for item in report.items}
    assert words in message
    return message


def hidden(aws: Aws, *shown: str) -> None:
    """No secret is in what was shown."""
    for text in shown:
        assert WRONG not in text
        assert not [each for each in aws.secrets() if each in text]


@each_engine
@each_way
def test_the_right_proof_fetches_and_a_wrong_one_says_which_was_tried(
    aws: Aws,
    engine: Engine,
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "kaiwo")
    prepare, words, _ = WAYS[way]
    for folder in ("right", "wrong"):
        (tmp_path / folder).mkdir()
    with monkeypatch.context() as env:
        fields = prepare(aws, tmp_path / "right", env, True)
        fetched(download(aws, tmp_path / "right", engine, fields), tmp_path / "right")
        assert not [each for each in caplog.messages if "through fsspec:" in each]
    with monkeypatch.context() as env:
        fields = prepare(aws, tmp_path / "wrong", env, False)
        message = refused(download(aws, tmp_path / "wrong", engine, fields), words)
    hidden(aws, message, *caplog.messages)
    # Session tokens are sent with each request, and are worth nothing without their secrets.
    proofs = (aws.web_token, aws.container_token, aws.sso_token, *aws.metadata_tokens)
    proofs += (aws.user.secret, *(keys.secret for keys in aws.issued))
    assert aws.seen_by_s3
    assert not [each for each in aws.seen_by_s3 if any(proof in each for proof in proofs)]


@each_engine
@pytest.mark.parametrize("way", [way for way, (_, _, expires) in WAYS.items() if expires])
def test_keys_that_expire_after_the_first_object_are_renewed(
    aws: Aws, engine: Engine, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The portal of SSO states whole seconds.
    aws.lives_s, aws.expires = 1.5 if "SSO" in way else 0.4, True
    fields = WAYS[way][0](aws, tmp_path, monkeypatch, True)
    fetched(download(aws, tmp_path, engine, fields), tmp_path)
    assert not aws.expires
    assert len(set(aws.signed_by)) > 1


# --- identities that are not there yet ---------------------------------------------------------

PATIENT = {"startup_wait": 20, "retries": 0}


@each_engine
@pytest.mark.parametrize("way", ["web identity (IRSA)", "container (ECS, EKS pod identity)"])
@pytest.mark.parametrize("late", ["rights", "service", "token"])
def test_an_identity_of_the_pod_that_is_not_there_yet_is_waited_for(
    aws: Aws,
    engine: Engine,
    way: str,
    late: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = WAYS[way][0](aws, tmp_path, monkeypatch, True)
    token = tmp_path / "token"
    away = tmp_path / "away"
    if late == "rights":
        aws.not_yet = 2 if engine == "fsspec" else 4
    elif late == "service":
        aws.failing = 3
    else:
        token.rename(away)
    tried: list[str] = []

    class Sees(logging.Handler):
        """The token is there after the first attempt."""

        def emit(self, record: logging.LogRecord) -> None:
            if "attempt 2" in record.getMessage():
                tried.append(record.getMessage())
                if away.exists():
                    away.rename(token)

    sees = Sees()
    logging.getLogger("kaiwo").addHandler(sees)
    try:
        fetched(download(aws, tmp_path, engine, fields, **PATIENT), tmp_path)
    finally:
        logging.getLogger("kaiwo").removeHandler(sees)
    assert (aws.not_yet, aws.failing) == (0, 0)
    assert any("--startup-wait" in each for each in tried)


@each_engine
def test_keys_that_the_task_names_are_refused_at_once(
    aws: Aws, engine: Engine, tmp_path: Path
) -> None:
    aws.not_yet = 1 << 30
    keys = {"access_key_id": aws.user.access_key, "secret_key": aws.user.secret}
    refused(download(aws, tmp_path, engine, keys, **PATIENT), "access_key_id of the task")
    # obstore's refusal is asked about once, and the SDK asks for the bucket's region.
    assert len(aws.signed_by) <= 3


@each_engine
def test_no_identity_at_all_is_no_new_one_and_is_looked_for_once(
    aws: Aws, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    fetch = InstanceMetadataFetcher._fetch_metadata_token  # noqa: SLF001 - of the SDK

    def unreachable(self: Any) -> Any:
        asked.append(self.get_base_url())
        self._base_url = "http://127.0.0.1:1/"
        return fetch(self)

    monkeypatch.setattr(InstanceMetadataFetcher, "_fetch_metadata_token", unreachable)
    nothing = {"access_key_id": None, "secret_key": None}
    buckets = [{"name": aws.s3.new_bucket(OBJECTS), "items": ALL} for _ in range(5)]
    task = {**aws.s3.task("b", ALL, **nothing), "buckets": buckets}
    config = {"download_root": str(tmp_path), "download_items": [task], **PATIENT}
    report = kaiwo.download(config, progress="none", engine=engine)
    assert report.exit_code == 3
    assert len(report.items) == 5
    assert "NoCredentialsError" in str(report.items[0].error)
    assert asked == ["http://169.254.169.254/"]


def test_an_instance_whose_metadata_service_fails_for_a_moment_is_waited_for(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = of_instance(aws, tmp_path, monkeypatch, True)
    aws.failing = 3
    fetched(download(aws, tmp_path, "obstore", fields, **PATIENT), tmp_path)


@each_engine
def test_keys_that_cannot_be_renewed_at_this_moment_are_used_while_they_are_valid(
    aws: Aws, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDK renews keys that are valid for less than ten minutes at each question.
    aws.lives_s, aws.fails_after = 300, 1
    monkeypatch.setattr(s3_identity, "CREDENTIALS_VALID_FOR", timedelta())
    fields = of_container(aws, tmp_path, monkeypatch, True)
    fetched(download(aws, tmp_path, engine, fields), tmp_path)
    assert len(aws.issued) == 1
    assert len(aws.asked) > 1


# --- where proofs go ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    ["web identity (IRSA)", "container (ECS, EKS pod identity)", "profile with an SSO login",
     "instance metadata v2", "role, with keys of the task"],
)  # fmt: skip
def test_no_proof_follows_a_redirect(
    aws: Aws, s3: Store, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = WAYS[way][0](aws, tmp_path, monkeypatch, True)
    with little_aws.aws(s3) as other:
        aws.leads_to = other.address
        assert not download(aws, tmp_path, "obstore", fields).ok
        assert aws.asked
        assert not other.asked


@each_engine
def test_keys_of_a_file_that_is_written_anew_during_the_run_are_taken(
    aws: Aws, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = of_profile(aws, tmp_path, monkeypatch, True)
    key, secret = aws.user.access_key, aws.user.secret
    aws.lives_s, aws.expires = 0, True
    first, file = aws.issue(), tmp_path / "credentials"

    def write(access_key: str, secret_key: str, token: str) -> None:
        file.write_text(
            f"[p]\naws_access_key_id={access_key}\naws_secret_access_key={secret_key}\n"
            + (f"aws_session_token={token}\n" if token else "")
        )

    write(first.access_key, first.secret, first.token or "")
    aws.on_expiry = lambda: write(key, secret, "")
    fetched(download(aws, tmp_path, engine, fields), tmp_path)
    assert {first.access_key, key} <= set(aws.signed_by)


@each_engine
@pytest.mark.parametrize("place", ["field", "file", "environment"])
def test_user_info_in_an_endpoint_is_a_fault_of_the_configuration(
    aws: Aws, engine: Engine, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://user:{WRONG}@127.0.0.1:1"
    fields: dict[str, Any] = of_task(aws, tmp_path, monkeypatch, True) | {"endpoint_url": address}
    if place == "file":
        fields |= {"endpoint_url": None, "endpoint_url_file": _file(tmp_path, "address", address)}
    elif place == "environment":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        fields |= {"endpoint_url": None}
    try:
        report = download(aws, tmp_path, engine, fields)
        (message,) = [str(item.error) for item in report.items]
        assert report.exit_code == 2
    except kaiwo.ConfigError as error:
        message = str(error)
    assert "credentials go into their fields" in message
    assert WRONG not in message
