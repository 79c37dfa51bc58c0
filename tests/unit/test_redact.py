"""No secret in anything that people see."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

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
    "header in bytes": "headers={{'Authorization': b'AWS4-HMAC-SHA256 Credential={}/s3/aws4'}}",
    "headers in pairs": "[(b'Host', b'h'), (b'Authorization', b'Bearer {}')]",
    "canonical request": "host:h\nx-amz-security-token:{}\n\nhost;x-amz-security-token",
    "customer's key": "x-amz-server-side-encryption-customer-key: {}",
    "header of Azure": "'x-ms-copy-source-authorization': 'Bearer {}'",
    "cookie": "Set-Cookie: session={}; Path=/",
    "token of Xet": '"X-Xet-Access-Token": "{}"',
    "JSON": '{{"type": "authorized_user", "client_secret": "{}", "refresh_token": "{}"}}',
    "JSON in a repr": '"{{\\"client_secret\\": \\"{}\\", \\"x\\": 1}}"',
    "JSON with a quote in it": '"client_secret": "a\\"{}", "x": 1',
    "a repr with a quote in it": "{{'password': \"a'{}\"}}",
    "private key": "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
    "private key, cut": "'-----BEGIN RSA PRIVATE KEY-----\\n{}\\n",
    "credentials file": "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
    "environment": "AZURE_STORAGE_ACCOUNT_KEY={} HF_TOKEN={}",
    "file of kaiwo": "secret_key: {}LongEnough",
    "keyword argument": "connect(endpoint='h', secret_key='{}', token=None)",
    "quoted URL": "next=https%3A%2F%2Fh%2Fk%3Fsv%3D1%26sig%3D{}",
    "user info without scheme": "'//user:{}@host/key' is no URL",
    "user info with a slash": "ftp://user:{}/more@host/key",
    "signed JSON": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ7fSJ9.{}",
    "bearer elsewhere": "curl -H Bearer {}LongEnough",
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
        "hf://gpt2@main is commit 036de5601ad96a49db3722de86fa6b2a954682b6",
        "reading hf://datasets/acme/ds@feature/x/a.csv failed: 404",
        "https://host:8443/a?prefix=x&delimiter=%2F",
        "mail user@host about a@b",
        "s3://bucket/a@b/c",
        "config.yaml:3: 'secret_key' must be a string: put it in quotes",
        "[red]markup[/red] ñ 日本",
        "config.yaml:3: download_items[0].token: must be a string: put it in quotes",
        "config.yaml:3: give either secret_key or secret_key_file, not both",
        "config.yaml:9: unknown key 'secret_ky'; did you mean 'secret_key'?",
        "token contains a line break or a character that no token has",
        "no usable credentials; give connection_string, account_key or sas_token, or anonymous",
        "reading s3://bucket/token=5/secret_key=7/password=x/part-0.parquet",
        "s3://bucket/tokenizer.json and hf://owner/repo@main/special_tokens_map.json",
        "s3://bucket/a//b@c/hf_model.bin: eyJ is the begin of some names",
        "12:30 connection to 127.0.0.1:9000 refused",
        "hf://owner/repo@refs%2Fpr%2F1/key-00001-of-00002.safetensors?download=true",
    ],
)
def test_what_is_no_secret_stays(message: str) -> None:
    assert redact.text(message) == message


@pytest.mark.parametrize(
    "token",
    [
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ya29.a0AfH6SMBx-7-gYz_0123456789",
    ],
)
def test_a_token_is_known_by_its_look(token: str) -> None:
    assert token[5:] not in redact.text(f"the answer quotes {token}, without a name")


PIECES = (
    "reading s3://bucket/some/key-0001.bin failed: 404; ",
    "a", " ", "_", "://", "://a:", "://a:b@", "//", "x-amz-", "x-amz-a", "authorization:",
    "-----BEGIN PRIVATE KEY-----", "hf_", "eyJaaaaaaaa.", "?sig=", "&a_b_", "bearer ",
    "secret_key: ", "secret_key=", "password='", 'token="', 'secret_key="\\', "\\", "cookie:",
)  # fmt: skip


def seconds(text: str) -> float:
    """The processor's time for a text."""
    start_s = time.process_time()
    redact.text(text)
    return time.process_time() - start_s


@pytest.mark.parametrize("piece", PIECES)
def test_what_repeats_takes_time_in_proportion(piece: str) -> None:
    assert seconds(piece * ((256 << 10) // len(piece))) < 3


def test_a_megabyte_takes_a_moment() -> None:
    letters = "abcdefghij/:@?&=.'\\\" \n_-"
    assert seconds("".join(random.Random(1).choices(letters, k=1 << 20))) < 5
    line = (
        "reading s3://bucket/some/key-0001.bin failed: 404 NoSuchKey: not there; check the name\n"
    )
    assert seconds(line * ((1 << 20) // len(line))) < 5


# --- log records --------------------------------------------------------------------------------


class Kept(logging.Handler):
    """Keeps the lines that a formatter makes of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self.lines.append(self.format(record))


def logged(logger: logging.Logger) -> str:
    """What becomes of secrets in a message, its arguments, an exception, a stack."""
    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    handler.addFilter(redact.Redacted())
    logger.debug("Authorization: Bearer %s, %d", SECRET, 1)
    logger.debug("headers %s", {"x-amz-security-token": SECRET.encode()})
    logger.debug("as many %s as", SECRET, "arguments")  # noqa: PLE1205 - as some do
    logger.debug("100% of https://user:" + SECRET + "@host")  # noqa: G003 - as some do
    try:
        try:
            raise ValueError(f"AccountKey={SECRET}")  # noqa: TRY301
        except ValueError as error:
            raise KeyError(f"https://host/?sig={SECRET}") from error
    except KeyError:
        logger.exception("failed")
        logger.debug("failed", exc_info=True, stack_info=True)
    logger.removeHandler(handler)
    return "\n".join(handler.lines)


def test_a_filtered_handler_shows_no_secret() -> None:
    shown = logged(logging.getLogger("tests.redact"))
    assert SECRET not in shown
    assert f"Authorization: {redact.HIDDEN}" in shown
    assert shown.count("ValueError: AccountKey=***") == 2
    assert "100% of https://***@host" in shown
    assert "Stack (most recent call last)" in shown


def test_records_of_sdks_are_cleaned_where_they_are_made_and_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    used = logging.getLogRecordFactory()
    before = logging.LogRecord
    logging.setLogRecordFactory(before)
    try:
        with redact.cleaning_log_records(), redact.cleaning_log_records():
            factory = logging.getLogRecordFactory()
        assert logging.getLogRecordFactory() is before
        with redact.cleaning_log_records(), redact.cleaning_log_records():
            factory = logging.getLogRecordFactory()
            for name in ("botocore.endpoint", "azure.core.pipeline", "kaiwo", "mine", "azureish"):
                with caplog.at_level(logging.DEBUG, logger=name):
                    logging.getLogger(name).debug("Authorization: Bearer %s", SECRET)
    finally:
        logging.setLogRecordFactory(used)
    shown = {record.name: SECRET in record.getMessage() for record in caplog.records}
    assert shown == {
        "botocore.endpoint": False,
        "azure.core.pipeline": False,
        "kaiwo": False,
        "mine": True,
        "azureish": True,
    }
    assert factory is not before
    assert getattr(factory, "make", None) is before


def test_records_of_the_program_itself_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError(f"of the program: token={SECRET}")

    def log() -> None:
        for name in ("asyncio", "aiohttp.client", "google.auth"):
            logging.getLogger(name).error("failed %s", "there", exc_info=error)

    with redact.cleaning_log_records():
        log_in_thread(log)
    log()
    assert len(caplog.records) == 6
    for record in caplog.records:
        assert (record.msg, record.args) == ("failed %s", ("there",))
        assert record.exc_info is not None
        assert record.exc_info[1] is error


def test_tasks_of_an_event_loop_work_for_the_run_that_made_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def log() -> None:
        async def inner() -> None:
            logging.getLogger("aiohttp").error("https://host/?sig=%s", SECRET)

        await asyncio.create_task(inner())

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with redact.cleaning_log_records():
            asyncio.run_coroutine_threadsafe(log(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert [record.getMessage() for record in caplog.records] == ["https://host/?sig=***"]


def test_a_factory_that_was_set_during_a_run_stays() -> None:
    used = logging.getLogRecordFactory()
    try:
        with redact.cleaning_log_records():
            ours = logging.getLogRecordFactory()

            def theirs(*args: Any, **kwargs: Any) -> logging.LogRecord:
                return ours(*args, **kwargs)

            logging.setLogRecordFactory(theirs)
        assert logging.getLogRecordFactory() is theirs
    finally:
        logging.setLogRecordFactory(used)


def log_in_thread(log: Callable[[], None]) -> None:
    thread = threading.Thread(target=log)
    thread.start()
    thread.join()


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
        ("ftp://user:pass/word@host/a", redact.HIDDEN),
        ("", ""),
    ],
)
def test_a_url_keeps_only_what_names_an_object(address: str, expected: str) -> None:
    assert redact.url(address) == expected


@pytest.mark.parametrize("address", ["https://[red]/a", "https://[::1/a", "http://[x"])
def test_an_address_that_is_none_is_no_defect(address: str) -> None:
    # It is the user's endpoint_url: urlsplit raises ValueError for these.
    assert isinstance(redact.url(address), str)
