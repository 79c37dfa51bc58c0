"""YAML becomes data with positions; what is wrong is told without quoting the text."""

import itertools
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.config.document import Document, parse
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError
from tests.servers import ROOT

CANARY = "CANARYxyzzy"

EXAMPLE = """\
download_root: /data
download_items:
  - type: s3
    name: one
    buckets:
      - name: b
        items:
          - folder: flat
            target_path: a
          - folder:
              folder: nested
              target_path: b
              glob: "*"
  - {type: hf, repo_id: o/r}
"""


def refusal(text: str) -> str:
    """The message of a text that may not be."""
    try:
        faults = parse(text, "f.yaml").faults
    except ConfigError as error:
        return error.message
    assert faults
    return "\n".join(map(str, faults))


# --- positions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ((), "f.yaml:1"),
        (("download_root",), "f.yaml:1: download_root"),
        (("download_items",), "f.yaml:2: download_items"),
        (("download_items", 0), "f.yaml:3: download_items[0]"),
        (("download_items", 0, "name"), "f.yaml:4: download_items[0].name"),
        (
            ("download_items", 0, "buckets", 0, "items", 0, "target_path"),
            "f.yaml:9: download_items[0].buckets[0].items[0].target_path",
        ),
        (
            ("download_items", 0, "buckets", 0, "items", 1, "glob"),
            "f.yaml:13: download_items[0].buckets[0].items[1].glob",
        ),
        (("download_items", 1, "repo_id"), "f.yaml:14: download_items[1].repo_id"),
    ],
)
def test_a_location_has_the_line_of_its_key(location: tuple[str | int, ...], where: str) -> None:
    assert parse(EXAMPLE, "f.yaml").where(location) == where


def test_a_field_that_is_not_there_has_the_line_of_what_should_hold_it() -> None:
    document = parse(EXAMPLE, "f.yaml")
    assert document.where(("download_items", 1, "token")) == "f.yaml:14: download_items[1].token"
    assert document.where(("report",)) == "f.yaml:1: report"


def test_a_union_tag_in_a_location_is_no_step_of_the_path() -> None:
    location = ("download_items", 0, "buckets", 0, "items", 0, "folder item", "folder")
    where = "f.yaml:8: download_items[0].buckets[0].items[0].folder"
    assert parse(EXAMPLE, "f.yaml").where(location) == where


def test_lines_are_right_after_comments_block_scalars_and_windows_line_ends() -> None:
    text = "# one\r\n\r\na: |\r\n  two\r\n  three\r\n\r\nb: 1\r\n"
    document = parse(text, "f.yaml")
    assert document.data == {"a": "two\nthree\n", "b": 1}
    assert document.where(("b",)) == "f.yaml:7: b"


def test_data_that_came_from_no_file_has_fields_without_lines() -> None:
    document = Document("config", {"a": [{"b": 1}]})
    assert document.where(("a", 0, "b")) == "config: a[0].b"


# --- data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x", "x"),
        ("'0123'", "0123"),
        ("0x10", 16),
        ("1.5", 1.5),
        ("yes", True),
        ("~", None),
        ("", None),
        ("!!str 1", "1"),
        ("[1, [2]]", [1, [2]]),
        ("{}", {}),
        ("é日本", "é日本"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_values_are_what_yaml_says(text: str, value: object) -> None:
    assert parse(f"a: {text}", "f.yaml").data == {"a": value}


def test_keys_are_texts_whatever_they_look_like() -> None:
    assert parse("1: a\nyes: b\n~: c", "f.yaml").data == {"1": "a", "yes": "b", "~": "c"}


def test_a_document_may_have_a_start_an_end_and_a_version() -> None:
    assert parse("%YAML 1.1\n---\na: 1\n...\n", "f.yaml").data == {"a": 1}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfdownload_items: [{type: hf, repo_id: o/r}]\n")
    assert [task.type for task in load(path).tasks] == ["hf"]


# --- anchors, merge keys ----------------------------------------------------------------------


def test_an_alias_is_what_its_anchor_stands_for() -> None:
    data = parse("a: &x {k: [1]}\nb: *x\nc: [*x, *x]", "f.yaml").data
    assert data["b"] == {"k": [1]}
    assert data["c"] == [{"k": [1]}, {"k": [1]}]


def test_a_merge_key_brings_the_keys_of_another_mapping() -> None:
    data = parse("a: &x {k: 1, l: 2}\nb: {<<: *x, m: 3}", "f.yaml").data
    assert data["b"] == {"k": 1, "l": 2, "m": 3}


@pytest.mark.parametrize("mapping", ["{<<: *x, k: own}", "{k: own, <<: *x}"])
def test_a_key_of_its_own_wins_over_a_merged_one(mapping: str) -> None:
    data = parse(f"a: &x {{k: 1, l: 2}}\nb: {mapping}", "f.yaml").data
    assert data["b"] == {"k": "own", "l": 2}


def test_of_several_merged_mappings_the_first_wins() -> None:
    data = parse("a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}", "f.yaml").data
    assert data["c"] == {"k": 1, "l": 2}


def test_merged_mappings_may_be_merged_themselves() -> None:
    text = "a: &x {k: 1}\nb: &y {<<: *x, l: 2}\nc: {<<: *y, m: 3}"
    assert parse(text, "f.yaml").data["c"] == {"k": 1, "l": 2, "m": 3}


def test_a_merged_key_has_the_line_where_it_is_written() -> None:
    document = parse("a: &x\n  k: 1\nb:\n  <<: *x\n", "f.yaml")
    assert document.where(("b", "k")) == "f.yaml:2: b.k"


def test_a_duplicate_next_to_a_merge_key_is_still_refused() -> None:
    assert "duplicate key 'm'" in refusal("a: &x {k: 1}\nb:\n  <<: *x\n  m: 1\n  m: 2\n")


def test_only_mappings_can_be_merged() -> None:
    message = refusal(f"a: &x {CANARY}\nb:\n  <<: *x\n")
    assert message.startswith("f.yaml:")
    assert "merg" in message
    assert CANARY not in message


# --- duplicates -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1),
        ("x:\n  - k: 1\n    l: 2\n    k: 3\n", 4, 2),
        ("x: {y: {z: {\n a: 1,\n a: 1}}}\n", 3, 2),
        ('a: 1\n"a": 2\n', 2, 1),
        ("1: a\n'1': b\n", 2, 1),
    ],
    ids=["top", "in a list", "deep", "quoted", "number"],
)
def test_a_duplicate_key_is_named_with_both_lines(text: str, line: int, first: int) -> None:
    message = refusal(text)
    assert message.startswith(f"f.yaml:{line}:")
    assert "duplicate key" in message
    assert f"line {first}" in message


def test_equal_keys_of_different_mappings_are_no_duplicates() -> None:
    assert parse("- {a: 1}\n- {a: 2}", "f.yaml").data == [{"a": 1}, {"a": 2}]


# --- what may not be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "empty"),
        ("# only\n# comments\n", 1, "empty"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", 2, "a second document"),
        ("a:\n\t- b\n", 2, "a tab"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\nb: !e!x y\n", 2, "tag"),
        ("a: 1\nb: [1, 2\n", 2, "'['"),
        ('a: 1\nb: "x\n', 2, "a quote"),
        ("a: 1\n? [x]\n: 2\n", 2, "key"),
        ("a: 1\nb: 2024-13-45\n", 2, ""),
        ("a: &x 1\nb: {c: [*x}\n", 2, ""),
    ],
)
def test_a_broken_text_is_refused_with_line_and_reason(text: str, line: int, reason: str) -> None:
    message = refusal(text)
    assert message.startswith(f"f.yaml:{line}:")
    assert reason in message


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\ufffe"])
def test_control_characters_are_refused(character: str) -> None:
    assert "characters" in refusal(f"a: {character}\n")


@pytest.mark.parametrize(
    "value", ["!other x", "!!python/object/apply:os.system [true]", "!other [1]", "!other {b: 1}"]
)
def test_an_unknown_tag_is_refused_on_any_kind_of_value(value: str) -> None:
    assert refusal(f"a: 1\nb: {value}\n").startswith("f.yaml:2:4: ")


@pytest.mark.parametrize(
    "value",
    [
        *(f"!!{tag} {CANARY}" for tag in ("bool", "int", "float", "timestamp", "binary")),
        *(f"!!{tag} ''" for tag in ("bool", "int", "float", "timestamp")),
    ],
)
def test_a_value_that_is_not_of_its_stated_type_is_refused(value: str) -> None:
    message = refusal(f"a: 1\nb: {value}\n")
    assert message.startswith("f.yaml:2:4: ")
    assert CANARY not in message


@pytest.mark.parametrize("content", [b"a: \xff\xfe\n", b"a: caf\xe9\n", "a: 1\n".encode("utf-16")])
def test_a_file_that_is_not_utf_8_is_refused_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="UTF-8") as caught:
        load(path)
    assert str(path) in caught.value.message


# --- bombs ------------------------------------------------------------------------------------


@pytest.fixture
def alarm() -> Iterator[None]:
    """Ends the whole program where a test would go on for ever."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "a: &a {b: {c: *a}}",
        "&a [[*a], [*a]]",
        "a: &a\n  - *a\n",
        "&a\n- *a\n",
        "&a\n- &b\n  - *a\n  - *b\n",
        "&a\n? *a\n: 1\n",
        "&a\n? - *a\n: 1\n",
        "&a\n<<: *a\n",
        "<<: &a\n  ? *a\n  : 1\n",
    ],
)
@pytest.mark.usefixtures("alarm")
def test_an_alias_of_what_it_stands_in_is_refused(text: str) -> None:
    assert re.match(r"f\.yaml:[12]:", refusal(text))


@pytest.mark.usefixtures("alarm")
def test_aliases_of_aliases_are_refused_where_they_are_nested_too_deeply() -> None:
    lines = [f"- &l{number} [*l{number - 1}]" for number in range(1, 3000)]
    assert "nested too deeply" in refusal("\n".join(["- &l0 [x]", *lines]))


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    names = "abcdefghij"
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert "aliases" in refusal("\n".join(lines))


def test_merge_keys_that_multiply_take_no_more_than_what_is_written() -> None:
    merged = "&l0 {k: v}"
    for level in range(1, 7):
        merged = f"&l{level} {{<<: [{', '.join([merged] + [f'*l{level - 1}'] * 9)}]}}"
    tracemalloc.start()
    try:
        assert parse(f"<<: {merged}", "f.yaml").data == {"k": "v"}
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("alarm")
def test_a_key_is_looked_for_once_in_a_mapping_that_many_merge() -> None:
    merged = "&l0 {k: v}"
    for level in range(1, 10):
        merged = f"&l{level} {{<<: [{', '.join([merged] + [f'*l{level - 1}'] * 9)}]}}"
    assert parse(f"<<: {merged}", "f.yaml").where(("none",)) == "f.yaml:1: none"


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_what_is_nested_too_deeply_is_refused(tmp_path: Path, depth: int) -> None:
    # In a process of its own: the parser is written in C, and its stack ends without an exception.
    program = (
        "import sys\nfrom kaiwo.config.document import parse\n"
        "from kaiwo.errors import ConfigError\n"
        f"text = '[' * {depth} + ']' * {depth}\n"
        "try:\n    parse(text, 'f.yaml')\n"
        "except ConfigError as error:\n    sys.exit(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != -signal.SIGSEGV
    assert done.returncode == 1
    assert "nested too deeply" in done.stderr
    assert "Traceback" not in done.stderr


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        f"*{CANARY}",
        f"!{CANARY} x",
        f"!!{CANARY} x",
        f"!e!{CANARY} x",
        f"!<{CANARY} x",
        f"!it's{CANARY} x",
        f'"{CANARY}',
        f"'{CANARY}",
        f'"\\q{CANARY}"',
        f"@{CANARY}",
        f"`{CANARY}",
        f"%{CANARY}",
        f"b: {CANARY}",
        f"[{CANARY}",
        f"{{{CANARY}",
        f"|{CANARY}\n  x",
        f">{CANARY}\n  x",
        f"&{CANARY} 1\n  b: *{CANARY}x",
        f"\n\t{CANARY}",
        f"{CANARY}\n{CANARY}",
        f"{CANARY}\n- {CANARY}",
        f"&{CANARY} 1\nb: &{CANARY} 2\nc: *{CANARY}x",
        f"!!int {CANARY}",
        f"!!float {CANARY}",
        f"!!binary {CANARY}é",
        f"{CANARY}\x00",
        f"x\n---\n{CANARY}: {CANARY}",
        f"x\n? [{CANARY}]\n: x",
        f"x\n%{CANARY}\n---\n",
    ],
)
def test_no_message_quotes_the_text(value: str) -> None:
    message = refusal(f"secret_key: {value}")
    assert CANARY not in message
    assert message.startswith("f.yaml:")


@pytest.mark.parametrize("text", [f"%{CANARY}\n---\na: 1\n", f"%TAG {CANARY}\n---\na: 1\n"])
def test_no_message_quotes_a_directive(text: str) -> None:
    assert CANARY not in refusal(text)


def test_the_repr_of_a_document_shows_no_values() -> None:
    assert CANARY not in repr(parse(f"secret_key: {CANARY}", "f.yaml"))
