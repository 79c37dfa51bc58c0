"""Ten broken files: every fault is found at once, at its place, and no secret is shown."""

from __future__ import annotations

import json
import pickle
from textwrap import dedent

import pytest

from kaiwo.config import rendering
from kaiwo.config.diagnostics import Diagnostic, InvalidConfigError
from kaiwo.config.document import parse
from kaiwo.config.loader import build

SECRET = "hunter2"

TYPOS = """\
download_root: /data
max_worker: 3
download_items:
  - type: s3
    secret_acess_key: hunter2
    bucket:
      - name: b
        itmes:
          - prefix: data
            path: x
            golb: "*"
          - fiel: k
            target_path: t
"""
WRONG_LEVEL = """\
access_key_id: hunter2
download_items:
  - type: s3
    max_workers: 3
    target_path: x
    buckets:
      - name: b
        endpoint_url: https://h
        prefix: data
        items:
          - file: k
            target_path: t
            region: eu
            glob: "*"
"""
TABS = """\
download_items:
\t- type: hf
\t  repo_id: o/r
"""
DUPLICATES = """\
download_items:
  - type: hf
    repo_id: o/r
    repo_id: o/s
    token: hunter2
    token: hunter2
    tokne: hunter2
  - {type: hf, type: hf, repo_id: o/r}
"""
TWO_SECRETS = """\
download_items:
  - type: s3
    access_key_id: hunter2
    access_key_id_file: /run/hunter2
    secret_key: hunter2
    secret_key_file: /run/hunter2
    anonymous: true
    buckets: [{name: b, items: [{file: k, target_path: t}]}]
"""
OPEN_QUOTE = """\
download_items:
  - type: hf
    token: "hunter2
    repo_id: o/r
"""
QUOTE_CLOSED_BELOW = """\
download_items:
  - type: hf
    token: "hunter2
    repo_id: "o/r"
    revision: "main"
"""
LIST_FOR_TEXT = """\
download_items:
  - type: hf
    repo_id: [o/r]
    token: [hunter2, hunter2]
    files: config.json
    revision: {hunter2: hunter2}
    target_path: 7
"""
BAD_ENDPOINT = """\
deadline: soon
download_items:
  - type: hf
    endpoint_url: hunter2@mirror
    repo_id: a/b/c
    files: [a]
    ignore_patterns: [b]
  - {type: s3, endpoint_url: "https://", profile: p, buckets: []}
"""
S4 = """\
download_items:
  - type: s4
    buckets: [{name: b, items: [{file: k, target_path: s3://b/k}]}]
  - type: huggingface
    repo: o/r
  - type: azure
    container: [{name: c, items: [{file: k, target_path: ../k}]}]
  - type: container
  - typ: gcs
    buckets: 3
"""
SAME_TARGET = """\
download_items:
  - type: s3
    buckets:
      - name: b
        items:
          - {file: a, target_path: t}
          - {file: b, target_path: ./t}
          - {file: c, target_path: t/c}
  - type: hf
    repo_id: o/r
    files: [config.json, t]
    target_path: .
"""
AMONG_OTHERS = """\
max_worker: 3
max_bandwidth: fast
download_root: "$HOME/d"
download_items:
  - type: s3
    secret_kye: hunter2
    anonymous: true
    profile: p
    bucket:
      - name: b
        items:
          - {file: a, target_path: t}
          - {file: b, target_path: t, checksum: no}
          - {file: c}
          - {folder: {folder: "d/*", target_path: t, golb: "*"}}
          - {file: e, target_path: t/e}
      - {name: c, items: [{file: x, target_path: t}], itmes: 3}
      - {name: d, items: 3}
  - type: url
    items: [{file: k, target_path: t}, {file: "https://h/k", target_path: t, x: 1}]
  - {type: hf, repo_id: o, files: [t], target_path: .}
"""

#: Of each file: line and column of every fault, the field, and what is said.
FILES: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "typos": (
        TYPOS,
        [
            ("2:1", "max_worker", "did you mean 'max_workers'?"),
            ("5:5", "download_items[0].secret_acess_key", "did you mean 'secret_key'?"),
            ("6:5", "download_items[0].bucket", "did you mean 'buckets'?"),
            ("8:9", "download_items[0].bucket[0].itmes", "did you mean 'items'?"),
            ("9:13", "download_items[0].bucket[0].itmes[0].prefix", "did you mean 'folder'?"),
            ("10:13", "download_items[0].bucket[0].itmes[0].path", "did you mean 'target_path'?"),
            ("11:13", "download_items[0].bucket[0].itmes[0].golb", "did you mean 'glob'?"),
            ("12:13", "download_items[0].bucket[0].itmes[1].fiel", "did you mean 'file'?"),
        ],
    ),
    "wrong level": (
        WRONG_LEVEL,
        [
            ("1:1", "access_key_id", "move it down, into the task"),
            ("4:5", "download_items[0].max_workers", "move it up, to the top level of the file"),
            ("5:5", "download_items[0].target_path", "move it down, into an entry of 'items'"),
            ("8:9", "download_items[0].buckets[0].endpoint_url", "move it up, to the task"),
            (
                "9:9",
                "download_items[0].buckets[0].prefix",
                "did you mean 'folder'? move it down, into an entry of 'items'",
            ),
            ("13:13", "download_items[0].buckets[0].items[0].region", "move it up, to the task"),
            ("14:13", "download_items[0].buckets[0].items[0].glob", "only some entries have it"),
        ],
    ),
    "tabs": (
        TABS,
        [
            ("2:1", "", "a tab is not allowed here; indent with spaces"),
            ("3:1", "", "a tab is not allowed here; indent with spaces"),
        ],
    ),
    "duplicate keys": (
        DUPLICATES,
        [
            ("4:5", "", "duplicate key 'repo_id', first on line 3"),
            ("6:5", "", "duplicate key 'token', first on line 5"),
            ("7:5", "download_items[0].tokne", "did you mean 'token'?"),
            ("8:16", "", "duplicate key 'type', first on line 8"),
        ],
    ),
    "two secrets": (
        TWO_SECRETS,
        [
            ("4:5", "download_items[0].access_key_id_file", "not both"),
            ("6:5", "download_items[0].secret_key_file", "not both"),
            ("7:5", "download_items[0].anonymous", "exclude each other"),
        ],
    ),
    "unclosed quote": (OPEN_QUOTE, [("3:12", "", "a quote is not closed")]),
    "quote closed below": (QUOTE_CLOSED_BELOW, [("3:12", "", "a quote is not closed")]),
    "list for text": (
        LIST_FOR_TEXT,
        [
            ("3:5", "download_items[0].repo_id", "must be a string, not a list"),
            ("4:5", "download_items[0].token", "must be a string, not a list"),
            ("5:5", "download_items[0].files", "must be a list: write [one, two]"),
            ("6:5", "download_items[0].revision", "must be a string, not a mapping"),
            ("7:5", "download_items[0].target_path", "must be a string: put it in quotes"),
        ],
    ),
    "bad endpoint": (
        BAD_ENDPOINT,
        [
            ("1:1", "deadline", "must be seconds, or a duration"),
            ("4:5", "download_items[0].endpoint_url", "must begin with http:// or https://"),
            ("5:5", "download_items[0].repo_id", "must have the form owner/repo"),
            ("7:5", "download_items[0].ignore_patterns", "exclude each other"),
            ("8:16", "download_items[1].endpoint_url", "needs a host"),
            ("8:54", "download_items[1].buckets", "needs at least one entry"),
        ],
    ),
    "s4": (
        S4,
        [
            ("2:5", "download_items[0].type", "did you mean 's3'?"),
            ("3:43", "download_items[0].buckets[0].items[0].target_path", "this is a URL"),
            ("4:5", "download_items[1].type", "did you mean 'hf'?"),
            ("5:5", "download_items[1].repo", "did you mean 'repo_id'?"),
            ("6:5", "download_items[2].type", "did you mean 'azure-blob'?"),
            ("7:5", "download_items[2].container", "did you mean 'containers'?"),
            ("7:45", "download_items[2].container[0].items[0].target_path", "'..' would climb"),
            ("8:5", "download_items[3].type", "did you mean 'azure-blob'?"),
            ("9:5", "download_items[4]", "did you mean 'type' where you wrote 'typ'?"),
            ("10:5", "download_items[4].buckets", "must be a list"),
        ],
    ),
    "same target": (
        SAME_TARGET,
        [
            (
                "7:23",
                "download_items[0].buckets[0].items[1].target_path",
                "the target of download_items[0].buckets[0].items[0].target_path on line 6",
            ),
            (
                "8:23",
                "download_items[0].buckets[0].items[2].target_path",
                "items[0].target_path on line 6 puts a file",
            ),
            ("11:26", "download_items[1].files[1]", "on line 6 too"),
        ],
    ),
    "targets among other faults": (
        AMONG_OTHERS,
        [
            ("1:1", "max_worker", "did you mean 'max_workers'?"),
            ("2:1", "max_bandwidth", "must be bytes a second"),
            ("6:5", "download_items[0].secret_kye", "did you mean 'secret_key'?"),
            ("7:5", "download_items[0].anonymous", "exclude each other"),
            ("9:5", "download_items[0].bucket", "did you mean 'buckets'?"),
            ("13:23", "download_items[0].bucket[0].items[1].target_path", "on line 12 too"),
            ("13:39", "download_items[0].bucket[0].items[1].checksum", "must be a string"),
            ("14:13", "download_items[0].bucket[0].items[2].target_path", "is required"),
            ("15:14", "download_items[0].bucket[0].items[3].folder", "warning: "),
            ("15:54", "download_items[0].bucket[0].items[3].golb", "did you mean 'glob'?"),
            ("16:23", "download_items[0].bucket[0].items[4].target_path", "on line 12 puts a file"),
            ("17:37", "download_items[0].bucket[1].items[0].target_path", "on line 12 too"),
            ("17:55", "download_items[0].bucket[1].itmes", "did you mean 'items'?"),
            ("18:19", "download_items[0].bucket[2].items", "must be a list"),
            ("20:13", "download_items[1].items[0]", "must be a URL"),
            ("20:62", "download_items[1].items[1].target_path", "on line 12 too"),
            ("20:78", "download_items[1].items[1].x", "unknown key 'x'"),
            ("21:36", "download_items[2].files[0]", "on line 12 too"),
        ],
    ),
}


def faults_of(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        build(parse(text, "c.yaml")).check_targets()
    return caught.value.diagnostics


@pytest.mark.parametrize("name", FILES)
def test_every_fault_of_a_broken_file_is_told_at_its_line_and_column(name: str) -> None:
    text, expected = FILES[name]
    found = faults_of(text)
    places = [(f"{each.place.line}:{each.place.column}", each.place.field) for each in found]
    assert places == [(at, field) for at, field, _ in expected]
    for each, (_, _, says) in zip(found, expected, strict=True):
        assert says in str(each)


@pytest.mark.parametrize("name", FILES)
def test_the_line_and_a_mark_are_shown_and_no_secret(name: str) -> None:
    text, _ = FILES[name]
    shown = rendering.rendered(faults_of(text))
    assert SECRET not in shown
    assert shown.replace("\n", "").isprintable()
    for each in faults_of(text):
        excerpt = each.place.excerpt
        assert excerpt is not None
        field = each.place.field.rpartition(".")[2]
        marked = excerpt.line[excerpt.start : excerpt.start + excerpt.width]
        if each.problem.startswith("unknown key"):
            assert marked == field
        assert f"\n{each.place.line} | {excerpt.line}".rstrip() in shown


def test_a_fault_is_drawn_with_its_line_a_mark_and_what_to_do() -> None:
    text = "download_items:\n  - type: hf\n    repo_id: o/r\n    tokne: hunter2  # hunter2\n"
    assert rendering.rendered(faults_of(text)) == dedent(
        """\
        c.yaml:4:5: download_items[0].tokne: unknown key 'tokne'
          |
        4 |     tokne: ***
          |     ^^^^^
          = help: did you mean 'token'?"""
    )


def test_colours_change_no_letter() -> None:
    found = faults_of(TYPOS)
    coloured = rendering.rendered(found, colour=True)
    plain = coloured
    for code in ("1", "1;31", "1;33", "1;34", "0"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert coloured != plain
    assert plain == rendering.rendered(found)


def test_faults_as_json_have_what_an_editor_needs() -> None:
    document = rendering.as_json(faults_of(TWO_SECRETS), 1)
    assert (document["version"], document["ok"], document["errors"]) == (1, False, 3)
    assert document["diagnostics"][0] == {
        "severity": "error",
        "file": "c.yaml",
        "line": 4,
        "column": 5,
        "field": "download_items[0].access_key_id_file",
        "problem": "give either access_key_id or access_key_id_file, not both",
        "hint": None,
    }


def test_they_are_counted() -> None:
    found = faults_of(TYPOS)
    assert rendering.counted(found, 2) == "8 errors in 2 files"
    assert rendering.counted((), 1) == "no errors in 1 file"


def test_the_error_survives_pickling() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        build(parse(TYPOS, "c.yaml"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.diagnostics) == (caught.value.message, caught.value.diagnostics)


@pytest.mark.parametrize(
    "key", ['"\\e[31mred"', '"a\\nb"', "'[bold]x[/bold]'", "<b>x</b>", '"\\u202eab"', '"\\x07"']
)
def test_a_key_of_any_kind_harms_no_display(key: str) -> None:
    text = f"download_items:\n  - type: hf\n    repo_id: o/r\n    {key}: hunter2\n"
    (found,) = faults_of(text)
    for shown in (str(found), rendering.rendered([found])):
        assert shown.replace("\n", "").isprintable()
        assert SECRET not in shown
    assert str(found).count("\n") == 0
    assert found.place.line == 4


#: A task with a secret in one of its keys: a colon is missing, or is behind the secret.
SECRET_KEYS = [
    "{type: s3, secret_key hunter2, buckets: []}",
    "{type: s3, secret_key=hunter2, buckets: []}",
    "{type: s3, 'secret_key: hunter2', buckets: []}",
    "{type: s3, secret_key hunter2: x, secret_key hunter2: y}",
    "{type hunter2, buckets: []}",
    "{type: s3, buckets: [{name hunter2, items: [{file: k, target_path hunter2}]}]}",
    "{type: s3, buckets: [{name: b, items: [{file hunter2}, {fiel hunter2: x}]}]}",
    "{type: hf, token hunter2: {repo_id: x}, repo_id: {a hunter2: b}}",
]


@pytest.mark.parametrize(
    "text",
    [
        *(f"download_items: [{task}]" for task in SECRET_KEYS),
        *(f"download_items:\n- {task}\n- {task}" for task in SECRET_KEYS),
        "max_workers hunter2: 3\ndownload_items: [{type: hf, repo_id: o/r}]",
        "{max_workers hunter2, max_workers hunter2, download_items: []}",
        "download_items hunter2: [{type: s3, bukets: []}]",
    ],
)
def test_no_secret_in_a_key_is_shown(text: str) -> None:
    found = faults_of(text)
    with pytest.raises(InvalidConfigError) as caught:
        build(parse(text, "c.yaml"))
    shown = (
        rendering.rendered(found),
        json.dumps(rendering.as_json(found, 1)),
        str(caught.value),
        repr(caught.value),
    )
    for each in shown:
        assert SECRET not in each
    assert "***" in shown[0]


@pytest.mark.parametrize(
    "key",
    [
        *("wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMIK7MDENG", "AKIASECRETSECRET", "k.9aZ3bY5cX7dW"),
        *("w" * 40, "9dfGh", "a b", "", "a=b", "-a"),
    ],
)
def test_a_key_that_is_no_word_is_hidden(key: str) -> None:
    (found,) = faults_of(json.dumps({"download_items": [{"type": "hf", "repo_id": "o/r", key: 1}]}))
    assert str(found).endswith(": download_items[0].***: unknown key '***'")


@pytest.mark.parametrize("indent", ["", "  ", "    ", "      "])
@pytest.mark.parametrize("end", [":", ": x", ""])
def test_a_secret_in_the_line_below_its_key_is_hidden(indent: str, end: str) -> None:
    secret = "AKIASECRETSECRET"
    text = f"download_items:\n  - type: s3\n    secret_key:\n{indent}{secret}{end}\n"
    found = faults_of(text)
    assert secret not in rendering.rendered(found)
    assert secret not in json.dumps(rendering.as_json(found, 1))


@pytest.mark.parametrize(
    "key",
    ["tokne", "_a", "x-a", "größe", "a.b-c", "w" * 39, "secretAccessKey", "AWS_ACCESS_KEY_ID"],
)
def test_a_key_that_is_a_word_is_shown(key: str) -> None:
    data = {"download_items": [{"type": "hf", "repo_id": "o/r", key: 1}]}
    (found,) = faults_of(json.dumps(data, ensure_ascii=False))
    assert f": download_items[0].{key}: unknown key '{key}'" in str(found)


def test_a_token_that_is_a_key_is_shown_nowhere() -> None:
    token = "hf_" + "abcdefghij" * 3
    text = f"download_items: [{{type: hf, repo_id: o/r, {token}: x}}]"
    found = faults_of(text)
    shown = (str(found[0]), repr(found[0]), rendering.rendered(found))
    for each in (*shown, str(rendering.as_json(found, 1))):
        assert token not in each


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("a: [", "1:4", "'[' is not closed"),
        ("a: {b: [1, 2\n", "1:8", "'[' is not closed"),
        ("a: [1, 2\nb: 3\n", "1:4", "'[' is not closed"),
        ('{"a": 1\n "b": 2}\n', "2:5", "a ',' or a closing bracket is missing"),
        ("a: [1,\n 2, @]\n", "2:5", "a value cannot begin with this character"),
        ("a: }\n", "1:4", "a value is missing"),
        ("a: b: c\n", "1:5", "a ':' is not allowed here"),
        ("a: - b\n", "1:4", "a '-' is not allowed here"),
        ("- a: 1\n  b 2\n  c: 3\n", "2:3", "a ':' is missing after this key"),
        ("a:\n - b\n c: 1\n", "3:2", "a '-' is missing"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "a key is expected here"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document begins"),
        ('a: "\\q"\n', "1:5", "unknown escape"),
        ("a: 1\nb: \x07\n", "2:4", "it contains forbidden characters"),
        ("a: 'x\n\nb: 1\n", "1:4", "a quote is not closed"),
        ("a: x\n\tb: 1\n", "2:1", "a tab is not allowed here"),
        ("%X\n---\na: 1\n", "1:3", "unknown directive"),
    ],
)
def test_a_text_that_does_not_parse_is_told_where_it_was_written_wrong(
    text: str, at: str, says: str
) -> None:
    (found,) = faults_of(text)
    assert f"{found.place.line}:{found.place.column}" == at
    assert found.problem.startswith(f"not valid YAML: {says}")
