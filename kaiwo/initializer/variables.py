"""What KServe's controller and its users say in variables, as fields of tasks.

    STORAGE_CONFIG, STORAGE_OVERRIDE_CONFIG    JSON; what it says goes before the variables
    AWS_ENDPOINT_URL, AWS_DEFAULT_REGION,      of the SDKs: kaiwo reads them anyway, and so it does
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,  all others of these SDKs (web identity, …)
    AWS_CA_BUNDLE,
    GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN
    awsAnonymousCredential                     true: S3 without credentials
    S3_USER_VIRTUAL_BUCKET                     true: the bucket goes into the host name
    S3_USE_ACCELERATE                          changes nothing; a warning
    S3_VERIFY_SSL                              0 or false: see ``unverified.py``
    CA_BUNDLE_CONFIGMAP_NAME,                  cabundle.crt there is trusted: by S3 alone, by others
    CA_BUNDLE_VOLUME_MOUNT_POINT               beside the system's certificates
    AZ_TENANT_ID, AZ_CLIENT_ID,                a service principal; the names of Azure's SDK as well
    AZ_CLIENT_SECRET
    AZURE_STORAGE_ACCESS_KEY                   the account's key
    <host>-headers                             JSON: headers for that host of the web

S3_ENDPOINT and S3_USE_HTTPS are left out: the controller makes AWS_ENDPOINT_URL of them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from kaiwo.errors import ConfigError
from kaiwo.net import certificates

_CONFIG, _OVERRIDE = "STORAGE_CONFIG", "STORAGE_OVERRIDE_CONFIG"
#: The keys of STORAGE_CONFIG for S3, and the variables that stand for them.
_OF_CONFIG = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_DEFAULT_REGION",
    "ca_bundle": "AWS_CA_BUNDLE",
    "verify_ssl": "S3_VERIFY_SSL",
    "anonymous": "awsAnonymousCredential",
}
#: Fields that STORAGE_CONFIG sets, and what gives them.
_FIELDS = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_DEFAULT_REGION",
    "ca_bundle": "AWS_CA_BUNDLE",
}
#: What stands for a field in messages.
NAMES = {
    **_FIELDS,
    "anonymous": "awsAnonymousCredential",
    "addressing_style": "S3_USER_VIRTUAL_BUCKET",
    "account_key": "AZURE_STORAGE_ACCESS_KEY",
    "tenant_id": "AZ_TENANT_ID",
    "client_id": "AZ_CLIENT_ID",
    "client_secret": "AZ_CLIENT_SECRET",
    "sas_token": "the signature in the URI",
    "options": "the variable for the host's headers",
}
_OLD_AWS = "https://s3.amazonaws.com"
_BUNDLE, _MOUNT = "CA_BUNDLE_CONFIGMAP_NAME", "CA_BUNDLE_VOLUME_MOUNT_POINT"
_USUAL_MOUNT = "/etc/ssl/custom-certs"
#: Who signs in at Azure, where neither the URI nor a key says it.
_OF_AZURE = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT")
logger = logging.getLogger(__name__)


class Variables:
    """The variables, with what STORAGE_CONFIG says in their place.

    Args:
        environment: the variables of the process.

    Raises:
        ConfigError: STORAGE_CONFIG cannot be used; nothing of it is quoted.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        config = {**_mapping(environment, _CONFIG), **_mapping(environment, _OVERRIDE)}
        self._of_config: dict[str, str] = {}
        if config.get("type") == "s3":
            self._of_config = {
                name: str(config[key])
                for key, name in _OF_CONFIG.items()
                if config.get(key) not in (None, "")
            }
        self._all = {**environment, **self._of_config}

    def get(self, name: str) -> str:
        """A variable, without a line break at its end; empty if it is not set."""
        return self._all.get(name, "").rstrip("\r\n")

    def __contains__(self, name: str) -> bool:
        return bool(self.get(name))

    @property
    def verifies_s3(self) -> bool:
        """Certificates of S3 services are verified."""
        return self.get("S3_VERIFY_SSL").lower() not in ("0", "false")

    def s3(self) -> dict[str, Any]:
        """Fields of an S3 task."""
        fields: dict[str, Any] = {
            field: self.get(name) for field, name in _FIELDS.items() if name in self._of_config
        }
        keys = {name: self.get(_FIELDS[name]) for name in ("access_key_id", "secret_key")}
        if self._is_true("awsAnonymousCredential"):
            fields = {name: value for name, value in fields.items() if name not in keys}
            fields["anonymous"] = True
        elif fields.keys() & keys:  # the other one may be in the environment
            fields.update(keys)
        is_elsewhere = self.get("AWS_DEFAULT_REGION") not in ("", "us-east-1")
        is_old = self.get("AWS_ENDPOINT_URL") == _OLD_AWS and is_elsewhere
        if self._is_true("S3_USER_VIRTUAL_BUCKET") or is_old:
            fields["addressing_style"] = "virtual"
        if self._is_true("S3_USE_ACCELERATE"):
            logger.warning("S3_USE_ACCELERATE changes nothing: kaiwo asks the bucket's own region")
        if "AWS_CA_BUNDLE" not in self and self.verifies_s3 and (bundle := self._bundle()):
            fields["ca_bundle"] = bundle
        return fields

    def azure(self, signature: str) -> dict[str, Any]:
        """Fields of an Azure task, beside its account.

        Args:
            signature: of the URI; empty if it has none.
        """
        fields = self._trust()
        names = {name: NAMES[name] for name in ("tenant_id", "client_id", "client_secret")}
        principal = {name: self.get(old) for name, old in names.items() if old in self}
        if signature:
            fields["sas_token"] = signature
        elif "client_id" in principal or any(name in self for name in _OF_AZURE):
            fields.update(principal)
        elif "AZURE_STORAGE_ACCESS_KEY" in self:
            fields["account_key"] = self.get("AZURE_STORAGE_ACCESS_KEY")
        else:
            fields["anonymous"] = True
        return fields

    def gcs(self) -> dict[str, Any]:
        """Fields of a GCS task."""
        return self._trust()

    def hub(self) -> dict[str, Any]:
        """Fields of a Hub task.

        The controller always sets the switch for hf_xet's high performance, which takes more memory
        than it gives the container. So files come in ranges, which another run can resume.
        """
        return {**self._trust(), "transport": "http"}

    def web(self, host: str) -> dict[str, Any]:
        """Fields of a task for that host of the web."""
        name = f"{host}-headers"
        headers = _mapping(self._all, name)
        return {**self._trust(), **({"options": {"headers": headers}} if headers else {})}

    def _is_true(self, name: str) -> bool:
        return self.get(name).lower() == "true"

    def _trust(self) -> dict[str, Any]:
        bundle = self._bundle()
        return {"ca_bundle": certificates.file(bundle, and_system=True)} if bundle else {}

    def _bundle(self) -> str | None:
        """The file that the controller mounts with certificates, if it does."""
        if _BUNDLE not in self:
            return None
        path = os.path.join(self.get(_MOUNT) or _USUAL_MOUNT, "cabundle.crt")
        if not os.path.exists(path):
            raise ConfigError(f"{_BUNDLE} is set, and {path} does not exist")
        return path


def _mapping(variables: Mapping[str, str], name: str) -> dict[str, Any]:
    """What a variable holds in JSON; empty if it is not set.

    Raises:
        ConfigError: it holds something else.
    """
    text = variables.get(name, "").strip()
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{name} does not hold a mapping in JSON")
    return found
