"""What was probably meant by a key, a task type or a variable that kaiwo does not know.

First what other tools call it, then what is spelled alike. A key of another level of the file is
named with the place where it belongs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

#: Of names that are spelled differently: the share of equal letters from which one is suggested.
_ALIKE = 0.6
#: The same, for names of other levels.
VERY_ALIKE = 0.8
#: Two letters of three, or one of two: a slip in a short name changes much of it.
_ALIKE_SHORT, _SHORT = 0.5, 3
#: Names of other tools and services, and the task type.
TYPES = {
    "s3": "aws amazon amazon-s3 aws-s3 s3a minio ceph r2 cloudflare wasabi b2 s3-compatible",
    "gcs": "gs google google-cloud google-cloud-storage gcp",
    "azure-blob": "azure az abfs abfss adls azblob blob azure-storage azure_blob container",
    "hf": "huggingface hugging-face hugging_face hub huggingface_hub huggingface-hub model",
    "url": "http https web sftp ftp smb file webdav",
}
#: What other tools call a key; of several, the first that is known where the key stands.
KEYS = {
    "secret_key": "secret_access_key aws_secret_access_key secret s3_secret_key",
    "access_key_id": "access_key aws_access_key_id aws_access_key key_id s3_access_key",
    "session_token": "aws_session_token security_token",
    "endpoint_url": "endpoint host address base_url server s3_endpoint service_url account_url",
    "role_arn": "role iam_role assume_role assume_role_arn aws_role_arn",
    "role_session_name": "session_name aws_role_session_name",
    "customer_key": "sse_customer_key sse_c_key ssec_key sse_customer_key_base64",
    "region": "region_name aws_region default_region",
    "profile": "aws_profile profile_name",
    "addressing_style": "path_style force_path_style",
    "anonymous": "anon public no_sign_request unsigned",
    "ca_bundle": "ca_cert cacert ca_file ca_certificate verify_ssl",
    "buckets": "bucket bucket_name",
    "containers": "container container_name bucket buckets",
    "name": "bucket container bucket_name container_name id",
    "items": "objects paths downloads entries files folders keys",
    "target_path": "path dest destination target to local_path local_dir output output_path dst",
    "file": "key object blob object_key file_name filename",
    "folder": "prefix dir directory folder_path",
    "glob": "pattern include filter globs match",
    "repo_id": "repo repository model model_id repo_name dataset",
    "repo_type": "kind repository_type",
    "revision": "branch ref tag commit version",
    "allow_patterns": "include patterns allow glob",
    "ignore_patterns": "exclude ignore",
    "token": "hf_token auth_token access_token api_key",
    "application_credentials_file": "credentials_file service_account_file key_file keyfile",
    "application_credentials": "credentials service_account service_account_key",
    "account_key": "access_key storage_key",
    "account_name": "account storage_account",
    "sas_token": "sas",
    "options": "storage_options",
    "download_items": "items tasks downloads jobs sources",
    "download_root": "root output_dir target_dir base_dir dest destination download_dir",
    "max_workers": "workers threads concurrency parallel parallelism jobs max_concurrency",
    "max_bandwidth": "bandwidth limit_rate bwlimit rate_limit",
    "retries": "max_retries retry max_attempts",
    "deadline": "timeout max_time",
    "stall_timeout": "read_timeout",
    "log_level": "loglevel level",
    "force": "overwrite",
    "cache_dir": "cache",
}


class Level(Struct, frozen=True):
    """One level of the file, such as a bucket.

    Attributes:
        name: for people.
        keys: that are known there.
    """

    name: str
    keys: frozenset[str]


def unknown_key(
    key: str, known: Iterable[str], levels: Sequence[Level], depth: int
) -> tuple[str | None, str | None]:
    """The known key that was meant, if one was, and what to do.

    Args:
        key: as it was written.
        known: the keys that are right where it stands.
        levels: of the file, from its top.
        depth: the level where it stands.
    """
    by_distance = sorted(range(len(levels)), key=lambda at: abs(at - depth))
    for there in by_distance:
        if key in levels[there].keys:
            if there == depth:
                return None, f"only some entries have it: here are {', '.join(known)}"
            return None, _moved(levels[there], there, depth)
    if (guess := nearest(key, known)) is not None:
        return guess, f"did you mean '{guess}'?"
    for there in by_distance:
        other = nearest(key, levels[there].keys, share=VERY_ALIKE)
        if other is not None and there != depth:
            return None, f"did you mean '{other}'? {_moved(levels[there], there, depth)}"
    return None, None


def _moved(level: Level, there: int, depth: int) -> str:
    return f"move it {'up, to' if there < depth else 'down, into'} {level.name}"


def nearest(
    name: str,
    known: Iterable[str],
    others: Mapping[str, str] = KEYS,
    share: float = _ALIKE,
) -> str | None:
    """The known name that this one stands for; None if none is near.

    Args:
        name: as it was written.
        known: names that are right there.
        others: for a known name, what else it is called.
        share: of equal letters, from which a name is near.
    """
    lowered = name.lower().replace("-", "_")
    known = list(known)
    for right, wrong in others.items():
        if right in known and lowered in wrong.replace("-", "_").split():
            return right
    share = _ALIKE_SHORT if len(lowered) <= _SHORT else share
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=share)
    return close[0] if close else None
