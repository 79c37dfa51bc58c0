"""Options of fsspec's filesystems, as fields of kaiwo's task types.

A program that reads ``s3://…`` through fsspec has its options already, under the names of s3fs,
gcsfs, adlfs and the Hub's filesystem. An option that changes what is read, and that kaiwo has no
field for, is refused; those that say how fast or how often to read are not needed.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from typing import Any

from kaiwo.errors import ConfigError
from kaiwo.tasks.registry import SCHEMES

Options = Mapping[str, Any]

#: Caches, concurrency, timeouts and writing: kaiwo has its own, or does not write.
_NOT_NEEDED = {
    "access", "assume_container_exists", "asynchronous", "block_size", "blocksize", "cache_regions",
    "cache_timeout", "check_connection", "connect_timeout", "connection_timeout", "consistency",
    "default_block_size", "default_cache_type", "default_fill_cache", "default_location",
    "expand_info", "fixed_upload_size", "listings_expiry_time", "live_follow", "local_expiry_check",
    "location_mode", "loop", "max_concurrency", "max_paths", "max_pool_connections", "max_workers",
    "read_timeout", "requests_timeout", "retries", "secure_serialize", "skip_instance_cache",
    "socket_timeout", "timeout", "use_listings_cache",
}  # fmt: skip
#: Other names of protocols.
_ALIASES = {"abfss": "abfs", "s3a": "s3"}
#: By task type, the field that has the meaning of an option.
_FIELDS = {
    "s3": {
        "anon": "anonymous", "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_key", "aws_session_token": "session_token",
        "endpoint_url": "endpoint_url", "key": "access_key_id", "password": "secret_key",
        "profile": "profile", "region_name": "region", "requester_pays": "requester_pays",
        "secret": "secret_key", "token": "session_token", "username": "access_key_id",
        "verify": "ca_bundle",
    },
    "gcs": {
        "endpoint_url": "endpoint_url", "project": "project", "requester_pays": "requester_pays",
    },
    "azure-blob": {
        "account_key": "account_key", "account_name": "account_name", "anon": "anonymous",
        "client_id": "client_id", "client_secret": "client_secret",
        "connection_string": "connection_string", "sas_token": "sas_token",
        "tenant_id": "tenant_id",
    },
    "hf": {"endpoint": "endpoint_url", "token": "token"},
}  # fmt: skip
#: Ways of gcsfs to look for credentials, which is what kaiwo does without any.
_SEARCHES = ("browser", "cache", "cloud", "google_default")


def fields_of(protocol: str, options: Options) -> dict[str, Any]:
    """The fields of a task that reads what a filesystem with these options reads.

    Args:
        protocol: of the filesystem, such as ``s3``.
        options: of the filesystem; None stands for the default.

    Raises:
        ConfigError: kaiwo cannot read as an option says; the message has no value.
    """
    type_ = SCHEMES.get(_ALIASES.get(protocol, protocol))
    given = {name: value for name, value in options.items() if value is not None}
    if type_ is None:
        kept = {name: value for name, value in given.items() if name not in _NOT_NEEDED}
        return {"options": kept} if kept else {}
    fields: dict[str, Any] = {}
    if type_ == "s3":
        given, fields = _of_s3(given)
    elif type_ == "gcs":
        given, fields = _of_gcs(given)
    elif type_ == "azure-blob" and (host := given.pop("account_host", None)):
        fields = {"endpoint_url": f"https://{host}"}
    elif type_ == "hf" and given.get("token") is True:
        del given["token"]  # kaiwo looks for it anyway
    known = _FIELDS[type_]
    for name, value in given.items():
        if name in known:
            fields[known[name]] = value
        elif name not in _NOT_NEEDED and value not in (False, "", {}):
            raise ConfigError(_unknown(protocol, name, known))
    return fields


def _unknown(protocol: str, name: str, known: Options) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"kaiwo::{protocol}:// does not know the option {name!r}; {hint}leave it out, or open the "
        "URL without kaiwo::"
    )


def _of_s3(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of s3fs without those of its client, and the fields of some."""
    client, config = options.get("client_kwargs") or {}, options.get("config_kwargs") or {}
    nested = ("client_kwargs", "config_kwargs", "use_ssl")
    flat = {name: value for name, value in options.items() if name not in nested}
    flat |= {name: value for name, value in client.items() if value is not None}
    flat |= {name: value for name, value in config.items() if name != "s3"}
    fields: dict[str, Any] = {}
    for name, value in (config.get("s3") or {}).items():
        if name != "addressing_style":
            raise ConfigError(_unknown("s3", f"config_kwargs.s3.{name}", {}))
        fields[name] = value
    if flat.get("verify") is True:
        del flat["verify"]
    if flat.get("verify") is False:
        raise ConfigError("kaiwo:: verifies certificates: give the file of yours as verify")
    if flat.get("signature_version") in ("s3v4", "v4"):
        del flat["signature_version"]
    if options.get("use_ssl") is False and not flat.get("endpoint_url"):
        raise ConfigError("kaiwo:: uses TLS: leave out use_ssl, or give an http:// endpoint_url")
    return flat, fields


def _of_gcs(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of gcsfs without its token, and the fields of that; the project that pays is one."""
    flat = {name: value for name, value in options.items() if name != "token"}
    if isinstance(payer := flat.get("requester_pays"), str) and payer:
        flat |= {"requester_pays": True, "project": payer}
    return flat, _of_google(options["token"]) if "token" in options else {}


def _of_google(token: object) -> dict[str, Any]:
    """The fields of gcsfs' token: a way to look for one, a file, its JSON, or the token itself."""
    if isinstance(token, Mapping):
        return {"application_credentials": json.dumps(dict(token))}
    if not isinstance(token, str):
        raise ConfigError("kaiwo::gs:// takes a token as text, as JSON, or as the path of a file")
    if token == "anon":  # noqa: S105 - a word of gcsfs
        return {"anonymous": True}
    if token in _SEARCHES:
        return {}
    if os.path.exists(token):
        return {"application_credentials_file": token}
    return {"token": token}
