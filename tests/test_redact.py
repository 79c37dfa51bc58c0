"""No secret in anything that people see."""

from __future__ import annotations

import pytest

from kaiwo import redact

SECRET = "hunter2Secret"
QUOTED = {
    "SAS": "https://a.blob.core.windows.net/c/b?sv=2024-11-04&se=2026&sp=r&sig={}%3D&x=1",
    "AWS": "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}",
    "AWS credential": "https://b.s3.amazonaws.com/k?X-Amz-Credential={}%2F20260101&X-Amz-Date=1",
    "AWS token": "https://b.s3.amazonaws.com/k?a=1&X-Amz-Security-Token={}",
    "AWS, old": "https://b.s3.amazonaws.com/k?AWSAccessKeyId={}&Signature={}&Expires=1",
    "GCS": "https://storage.googleapis.com/b/o?X-Goog-Credential={}&X-Goog-Signature={}",
    "CloudFront": "https://cdn/xet?Expires=1&Policy=e30&Signature={}&Key-Pair-Id=K1",
    "token": "https://host/a?token={}",
    "access token": "https://host/a?x=1&access_token={}#f",
    "lower case": "https://host/a?x-amz-signature={}",
    "user info": "https://user:{}@host:8443/a",
    "a token as user": "https://{}@host/a",
    "user info with an at sign": "https://user:{}@{}@host/a",
    "connection string": "AccountName=a;AccountKey={}==;EndpointSuffix=core.windows.net",
    "SAS in a connection string": "BlobEndpoint=https://a/;SharedAccessSignature=sv=1&sig={}",
    "bearer": "Authorization: Bearer {}",
    "basic": "authorization: Basic {}==",
    "shared key": "'Authorization': 'SharedKey account:{}'",
    "AWS signature": "Authorization: AWS4-HMAC-SHA256 Credential={}/s3, Signature={}",
    "header of a dictionary": "{{'x-amz-security-token': '{}', 'Host': 'h'}}",
}


@pytest.mark.parametrize("quoted", QUOTED.values(), ids=QUOTED)
def test_a_secret_in_what_an_sdk_says_is_hidden(quoted: str) -> None:
    message = quoted.format(*[SECRET] * quoted.count("{}"))
    assert SECRET in message
    found = redact.text(f"reading {message} failed: {message}\n{message}")
    assert SECRET not in found
    assert redact.HIDDEN in found
    assert found.startswith("reading ")
    assert redact.text(found) == found


@pytest.mark.parametrize(
    "message",
    [
        "",
        "reading s3://bucket/deep/key failed: 404",
        "https://host:8443/a?prefix=x&delimiter=%2F",
        "mail user@host about a@b",
        "s3://bucket/a@b/c",
        "config.yaml:3: 'secret_key' has to be a text; write it in quotes",
        "[red]markup[/red] ñ 日本",
    ],
)
def test_what_is_no_secret_stays(message: str) -> None:
    assert redact.text(message) == message


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://host/a/b", "https://host/a/b"),
        ("https://user:hunter2@host:8443/a", "https://host:8443/a"),
        ("https://user:hun@ter2@host/a", "https://host/a"),
        ("https://host/a?sig=hunter2#hunter2", "https://host/a"),
        ("http://[::1]:9000/a?x", "http://[::1]:9000/a"),
        ("https://host/a b/ñ[1]", "https://host/a b/ñ[1]"),
        ("sftp://user@host/a", "sftp://host/a"),
        ("", ""),
    ],
)
def test_a_url_keeps_only_what_names_an_object(address: str, expected: str) -> None:
    assert redact.url(address) == expected


@pytest.mark.parametrize("address", ["https://[red]/a", "https://[::1/a", "http://[x"])
def test_an_address_that_is_none_is_no_defect(address: str) -> None:
    # It is the user's endpoint_url: urlsplit raises ValueError for these.
    assert isinstance(redact.url(address), str)
