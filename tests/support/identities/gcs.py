"""Ways to sign in at Google Cloud Storage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import google_account
from tests.servers.google_identity import AUDIENCE, SUBJECT_TYPE, TARGET, USER, Google
from tests.support.identities import Row

_TEST = "scenarios/identities/test_gcs_identities.py::test_"
_RIGHT = f"{_TEST}a_right_identity_reads_and_is_renewed"


@dataclass(frozen=True)
class Setting:
    """What a task and its environment say.

    Attributes:
        fields: of the task.
        env: variables.
        renews: another token can be had.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    renews: bool = True


@dataclass(frozen=True)
class Way:
    """A way to sign in, and how it is set up.

    Attributes:
        row: of the page.
        named: what a refusal calls it.
        set_up: with the right proof.
        spoil: makes the proof a wrong one.
    """

    row: Row
    named: str
    set_up: Callable[[Google, Path], Setting]
    spoil: Callable[[Google], None]


def account(google: Google, folder: Path) -> str:
    """The file of a service account."""
    return google_account.write(folder, google.key, f"{google.at}/token")


def federation(google: Google, *, impersonates: bool = False, by_url: bool = False) -> str:
    """The JSON of a workload identity federation, whose subject token is in the home folder."""
    source: dict[str, Any] = {"file": "subject"}
    if by_url:
        form = {"type": "json", "subject_token_field_name": "id"}
        source = {"url": f"{google.at}/subject", "headers": {"X-Subject": "yes"}, "format": form}
    told = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": SUBJECT_TYPE,
        "token_url": f"{google.at}/v1/token",
        "credential_source": source,
    }
    if impersonates:
        told["service_account_impersonation_url"] = impersonation(google)
    return json.dumps(told)


def impersonation(google: Google) -> str:
    """Where a token of the other account is."""
    return f"{google.at}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"


def _in_file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _federated(google: Google, folder: Path, **how: bool) -> str:
    """The same, with the right subject token in its file."""
    text = federation(google, **how)
    subject = _in_file(folder, "subject-token", google.subject)
    return text.replace('"subject"', json.dumps(subject), 1) if '"file"' in text else text


def _by_account(google: Google, folder: Path) -> Setting:
    return Setting({"application_credentials_file": account(google, folder)})


def _inline(google: Google, folder: Path) -> Setting:
    return Setting({"application_credentials": Path(account(google, folder)).read_text()})


def _by_variable(google: Google, folder: Path) -> Setting:
    return Setting(env={"GOOGLE_APPLICATION_CREDENTIALS": account(google, folder)})


def _by_login(google: Google, folder: Path) -> Setting:
    told = {"type": "authorized_user", "token_uri": f"{google.at}/token", **USER}
    (folder / "gcloud").mkdir(exist_ok=True)
    _in_file(folder / "gcloud", "application_default_credentials.json", json.dumps(told))
    return Setting(env={"CLOUDSDK_CONFIG": str(folder / "gcloud")})


def _by_federation(google: Google, folder: Path) -> Setting:
    path = _in_file(folder, "federation.json", _federated(google, folder))
    return Setting(env={"GOOGLE_APPLICATION_CREDENTIALS": path})


def _by_named_federation(google: Google, folder: Path) -> Setting:
    return Setting({"application_credentials": _federated(google, folder, by_url=True)})


def _by_federation_of_an_account(google: Google, folder: Path) -> Setting:
    path = _in_file(folder, "federation.json", _federated(google, folder, impersonates=True))
    return Setting({"application_credentials_file": path})


def _by_impersonation(google: Google, folder: Path) -> Setting:
    told = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": impersonation(google),
        "source_credentials": json.loads(Path(account(google, folder)).read_text()),
    }
    return Setting({"application_credentials": json.dumps(told)})


def _by_metadata(google: Google, _: Path) -> Setting:
    return Setting(env={"GCE_METADATA_HOST": google.at.partition("://")[2]})


def _by_token(google: Google, folder: Path) -> Setting:
    token = google.tokens.give()
    return Setting({"token_file": _in_file(folder, "token", f"{token}\n")}, renews=False)


def _other_key(google: Google) -> None:
    google.key = google_account.new_key()


def _other_subject(google: Google) -> None:
    google.subject = "another"


def _no_account(google: Google) -> None:
    google.has_metadata = False


def _no_tokens(google: Google) -> None:
    google.tokens.valid.clear()


def _no_user(google: Google) -> None:
    google.user = {"refresh_token": "revoked"}


def _row(way: str, reads: str, server: str) -> Row:
    return Row("gcs", way, reads, "both", server, _RIGHT)


_ACCOUNT = f"service account {google_account.EMAIL}"
_SIGNED = "a token endpoint that verifies the signature of the assertion"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"

WAYS = (
    Way(
        _row("service account, file", "`application_credentials_file`", _SIGNED),
        f"the {_ACCOUNT} of application_credentials_file",
        _by_account,
        _other_key,
    ),
    Way(
        _row("service account, in the task", "`application_credentials`", _SIGNED),
        f"the {_ACCOUNT} of application_credentials",
        _inline,
        _other_key,
    ),
    Way(
        _row("service account of the environment", f"`{_VARIABLE}`", _SIGNED),
        f"the {_ACCOUNT} of {_VARIABLE}",
        _by_variable,
        _other_key,
    ),
    Way(
        _row(
            "login of `gcloud`",
            "`application_default_credentials.json` in gcloud's folder (`CLOUDSDK_CONFIG`)",
            "a token endpoint that checks the refresh token and its client",
        ),
        "the login of ",
        _by_login,
        _no_user,
    ),
    Way(
        _row(
            "workload identity federation",
            f"`{_VARIABLE}` (type `external_account`, a file with the subject token)",
            "a token exchange that checks the subject token, its type and the audience",
        ),
        f"the workload identity federation of {_VARIABLE}",
        _by_federation,
        _other_subject,
    ),
    Way(
        _row(
            "workload identity federation, in the task",
            "`application_credentials` (the same, a URL with the subject token)",
            "the same; the URL wants its header",
        ),
        "the workload identity federation of application_credentials",
        _by_named_federation,
        _other_subject,
    ),
    Way(
        _row(
            "federation that acts as a service account",
            "`application_credentials_file` (`service_account_impersonation_url`)",
            "the same, and an IAM endpoint that checks the caller's token",
        ),
        f"the workload identity federation {TARGET} of application_credentials_file",
        _by_federation_of_an_account,
        _other_subject,
    ),
    Way(
        _row(
            "impersonation",
            "`application_credentials`, its `_file` or the environment (type "
            "`impersonated_service_account`)",
            "the same two",
        ),
        f"the impersonation {TARGET} of application_credentials",
        _by_impersonation,
        _other_key,
    ),
    Way(
        _row(
            "metadata server (GCE, GKE, Cloud Run)",
            "`GCE_METADATA_HOST`, else the usual address",
            "a metadata server that wants `Metadata-Flavor: Google`",
        ),
        "the service account of the metadata server of GCE_METADATA_HOST",
        _by_metadata,
        _no_account,
    ),
    Way(
        _row("access token", "`token`, `token_file`", "a relay that knows its tokens"),
        "the token of token_file",
        _by_token,
        _no_tokens,
    ),
)
ROWS = (
    *(way.row for way in WAYS),
    Row(
        "gcs",
        "nobody",
        "`anonymous: true`, or an endpoint of plain HTTP that the task names no identity for",
        "both",
        "a stand-in",
        "scenarios/test_credentials.py::test_every_way_into_gcs_works",
    ),
    Row(
        "gcs",
        "requester pays",
        "`requester_pays`, `project`",
        "both",
        "a relay that wants `userProject` (JSON) or `x-goog-user-project` (XML)",
        f"{_TEST}the_project_pays_for_every_request",
    ),
)
