"""What holds for any configuration and any URL.

Examples are drawn from a fixed seed, so that every run tests the same ones; ``make trials`` draws
many more, from another seed each time.
"""

from __future__ import annotations

import re
import tempfile

import pytest
from fsspec.registry import known_implementations
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kaiwo.config import fetch_url
from kaiwo.config.document import parse
from kaiwo.config.loader import Config, build, load
from kaiwo.errors import ConfigError
from tests.support.faulty import PatternOpener
from tests.support.trials_length import examples

OPENER = PatternOpener(())


SECRET = "wJalrXUtnFEMI"
GOOD = f"""\
download_root: /workload
max_workers: 4
download_items:
  - type: s3
    name: models
    endpoint_url: http://127.0.0.1:9000
    access_key_id: key
    secret_key: {SECRET}
    buckets:
      - name: data
        items:
          - folder: {{folder: models/, target_path: models, glob: "**/*.bin"}}
          - file: a/b.bin
            target_path: &there there/b.bin
  - type: gcs
    anonymous: true
    buckets: [{{name: other, items: [{{folder: "", target_path: x}}]}}]
  - type: azure-blob
    account_name: me
    containers:
      - name: c
        items:
          - {{file: k, target_path: y/}}
  - type: hf
    repo_id: owner/repo
    files: [config.json]
    target_path: hf
  - type: url
    items:
      - file: https://127.0.0.1/x.bin
        target_path: z
"""
PUNCTUATION = (
    "\n",
    " ",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "|",
    ">",
    "#",
    "?",
    "%",
    "@",
)
WORDS = (
    "~",
    "null",
    "2024-01-01",
    "2024-99-99",
    "0x1",
    "1e400",
    ".nan",
    "1:1",
    "type: s3",
    "download_items:",
)
YAML = (
    "&a [*a]",
    "? [a]\n",
    "<<: 1",
    "!other {a: b}",
    "&a",
    "*a",
    "<<: *there",
    "!!set",
    "!!binary x",
    "!!int x",
    "!!python/object:os.system x",
    "---\n",
)
INVISIBLE = ("\ufeff", "\0", "\u2028", "\t", "\x85")
FRAGMENTS = st.one_of(
    st.sampled_from((*PUNCTUATION, *WORDS, *YAML, *INVISIBLE)), st.text(max_size=4)
)


def outcome(text: str) -> str | None:
    """None for a configuration, the message of a refusal; anything else is a defect."""
    try:
        found = build(parse(text, "c.yaml"), {})
    except ConfigError as error:
        return error.message
    assert isinstance(found, Config)
    return None


def check_refusal(message: str | None) -> None:
    if message is not None:
        for line in message.split("\n"):
            assert re.match(r"c\.yaml:[1-9]\d*:[1-9]\d*: ", line), message


@example("&a [*a]")
@example("&a {b: *a}")
@example("{[a]: b}")
@example("<<: 1")
@example("!!set {a}")
@example("!other {a: b}")
@example("download_items: [{type: [a]}]")
@example("download_items: [{type: {a: b}}]")
@examples(300)
@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join)))
def test_any_text_is_a_configuration_or_refused_with_its_line(text: str) -> None:
    check_refusal(outcome(text))


GOOD_LINES = GOOD.splitlines(keepends=True)
#: Where a key begins, by itself in its line: the line's number, and how far it is indented.
KEY_LINES = {
    number: match[1]
    for number, line in enumerate(GOOD_LINES)
    if (match := re.match(r"( *)[a-z_]+:", line))
}


@pytest.mark.parametrize("number", KEY_LINES)
@pytest.mark.parametrize(
    ("fault", "told"), [("bogus: 1", "unknown key 'bogus'"), ("@", "not valid YAML")]
)
def test_a_fault_is_told_with_its_own_line(number: int, fault: str, told: str) -> None:
    lines = [*GOOD_LINES]
    lines.insert(number, f"{KEY_LINES[number]}{fault}\n")
    message = outcome("".join(lines)) or ""
    assert message.startswith(f"c.yaml:{number + 1}:{len(KEY_LINES[number]) + 1}: ")
    assert told in message
    assert "\n" not in message


def test_the_configuration_that_is_changed_below_is_a_good_one() -> None:
    assert outcome(GOOD) is None


@examples(500)
@given(st.data())
def test_a_configuration_with_any_fault_is_refused_with_file_and_line(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(start + data.draw(st.sampled_from([0, 0, 1, 5, 30])), len(text))
        text = text[:start] + data.draw(FRAGMENTS) + text[end:]
    check_refusal(outcome(text))


@examples(300)
@given(st.data())
def test_no_fault_elsewhere_shows_a_secret(data: st.DataObject) -> None:
    lines = GOOD.splitlines(keepends=True)
    secret = next(number for number, line in enumerate(lines) if SECRET in line)
    number = data.draw(st.sampled_from([n for n in range(len(lines)) if n != secret]))
    line = lines[number]
    start = data.draw(st.integers(0, len(line) - 1))
    lines[number] = (
        line[:start] + data.draw(FRAGMENTS) + line[start + data.draw(st.integers(0, 3)) :]
    )
    assert SECRET not in (outcome("".join(lines)) or "")


@examples(300)
@given(st.sampled_from([*PUNCTUATION, *YAML, *INVISIBLE, "!", "&", "*"]), st.booleans())
@example("*", True)
@example("!", True)
def test_no_fault_in_its_own_line_shows_a_secret(fragment: str, before: bool) -> None:
    # With a colon behind it, it is a key, and an unknown key is shown.
    assume(not fragment.startswith(":") or before)
    text = f"{fragment}{SECRET}" if before else f"{SECRET}{fragment}"
    assert SECRET not in (outcome(GOOD.replace(SECRET, text)) or "")


@examples(150)
@given(st.binary(max_size=60))
def test_a_file_of_any_bytes_is_a_configuration_or_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        with pytest.raises(ConfigError) as caught:
            load(file.name)
    assert caught.value.message.startswith(f"{file.name}:")


SCHEMES = st.sampled_from(["s3", "gs", "az", "abfs", "hf", "https", "file", "S3", "memory", "sftp"])
PIECES = st.lists(st.sampled_from([*"ab/@:*?[]#%. ", "%ff", "%2F", "%41"]), max_size=12)


@example("https://host/%ff")
@example("https://host/a%2Fb/%ff*")
@examples(500)
@given(
    st.one_of(
        st.text(max_size=30),
        st.tuples(SCHEMES, st.text(max_size=30)).map("://".join),
        st.tuples(SCHEMES, PIECES.map("".join)).map("://".join),
        st.tuples(st.text(max_size=5), st.just("a/b")).map("://".join),
    )
)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        found = fetch_url.parse(text)
    except ConfigError:
        return
    scheme = text.partition("://")[0].lower()
    assert scheme in known_implementations or scheme in ("hf", "az", "azure", "gs", "gcs")
    assert isinstance(found.own_name, str)
    assert found.is_folder in (True, False)
    if found.type != "url":
        assert found.container
        assert "/" not in found.container or found.type == "hf"


@examples(300)
@given(
    st.text("ab-.", min_size=3, max_size=8), st.text("ab/@:#% .\u00e9&=+~", min_size=1, max_size=20)
)
def test_a_key_without_wildcards_is_taken_as_it_is(bucket: str, key: str) -> None:
    for scheme in ("s3", "gs", "az"):
        found = fetch_url.parse(f"{scheme}://{bucket}/{key}")
        assert (found.container, found.path, found.glob) == (bucket, key, None)
        assert found.is_folder is key.endswith("/")
