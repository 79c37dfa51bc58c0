"""``kaiwo validate`` as a person and as a program meet it, and other commands on a wrong file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import clean_environment
from tests.support.terminal import on_a_terminal

GOOD = "download_items: [{type: hf, repo_id: o/r}]\n"
SECRET = "hunter2"
BAD = f"""\
download_items:
  - type: s4
    secret_kye: {SECRET}
    access_key_id: {SECRET}
    buckets: [{{name: b, items: [{{file: k, target_path: s3://b/k}}]}}]
"""
DRAWN = """\
bad.yaml:2:5: download_items[0].type: unknown task type
  |
2 |   - type: s4
  |     ^^^^
  = help: did you mean 's3'? known types are azure-blob, gcs, hf, s3, url
bad.yaml:3:5: download_items[0].secret_kye: unknown key 'secret_kye'
  |
3 |     secret_kye: ***
  |     ^^^^^^^^^^
  = help: did you mean 'secret_key'?
bad.yaml:5:43: download_items[0].buckets[0].items[0].target_path: this is a URL (s3://), but must \
be a path: kaiwo only downloads, to local files
  |
5 |     buckets: [{name: b, items: [{file: k, target_path: ***}]}]
  |                                           ^^^^^^^^^^^
"""


def command(
    folder: Path, *words: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kaiwo", *words],
        cwd=folder,
        env=clean_environment(folder) | env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_several_files_are_checked_and_the_faults_counted(folder: Path) -> None:
    done = command(folder, "validate", "good.yaml", "bad.yaml", "none.yaml")
    assert (done.returncode, done.stdout) == (2, "good.yaml: valid, 1 task\n")
    assert done.stderr == (
        DRAWN
        + "none.yaml: cannot read the configuration: No such file or directory\n"
        + "4 errors in 3 files\n"
    )


def test_stdin_is_a_file_too(folder: Path) -> None:
    done = command(folder, "validate", "-", stdin=GOOD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "<stdin>: valid, 1 task\n", "")
    done = command(folder, "validate", "-", stdin="a: [")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("<stdin>:1:4: not valid YAML: '[' is not closed\n")


def test_faults_as_json_are_all_that_is_printed(folder: Path) -> None:
    done = command(folder, "validate", "--json", "bad.yaml", "good.yaml")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (2, "")
    assert (document["ok"], document["files"], document["errors"]) == (False, 2, 3)
    places = [(each["line"], each["column"]) for each in document["diagnostics"]]
    assert places == [(2, 5), (3, 5), (5, 43)]
    assert SECRET not in done.stdout
    assert json.loads(command(folder, "validate", "--json", "good.yaml").stdout)["ok"] is True


def test_no_secret_is_shown_where_a_comma_or_a_colon_is_missing(folder: Path) -> None:
    tasks = (
        f"{{type: s3, region: eu secret_key: {SECRET}, buckets: []}}",
        f"{{type: s3, secret_key {SECRET}, buckets: []}}",
        f"{{type: s3, secret_key={SECRET}, buckets: []}}",
        f"{{type: url, items: [{{file: 'http://bob:${SECRET.upper()}@h/f', target_path: t}}]}}",
    )
    for task in tasks:
        (folder / "keys.yaml").write_text(f"download_items:\n  - {task}\n")
        for words in (("validate",), ("validate", "--json"), ("plan",)):
            quick = {"KAIWO_STARTUP_WAIT": "0", "KAIWO_RETRIES": "0"}
            done = command(folder, *words, "keys.yaml", **quick)
            assert done.returncode == 2 or "url" in task
            assert SECRET not in (done.stdout + done.stderr).lower()
        shown = command(folder, "validate", "keys.yaml").stderr
        assert "***" in shown or "url" in task


def test_a_list_that_holds_itself_is_refused(folder: Path) -> None:
    done = command(folder, "validate", "-", stdin="download_items: &x\n  - *x\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "too many aliases" in done.stderr


@pytest.mark.parametrize("before", ["", "kind: Service\n---\n"])
def test_a_manifest_of_kubernetes_is_called_one(folder: Path, before: str) -> None:
    text = f"{before}apiVersion: v1\nkind: ConfigMap\ndata: {{kaiwo.yaml: ''}}\n"
    done = command(folder, "validate", "-", stdin=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "manifest of Kubernetes" in done.stderr


def test_what_is_probably_not_meant_is_a_warning(folder: Path) -> None:
    (folder / "glob.yaml").write_text(
        "download_items:\n"
        "  - {type: s3, buckets: [{name: b, items: [{file: 0*.csv, target_path: t}]}]}\n"
    )
    done = command(folder, "validate", "glob.yaml", KAIWO_MAX_WORKER="3", KAIWO_PORT="tcp://1:2")
    assert (done.returncode, done.stdout) == (0, "glob.yaml: valid, 1 task\n")
    assert "environment KAIWO_MAX_WORKER: warning: unknown variable" in done.stderr
    assert "did you mean KAIWO_MAX_WORKERS?" in done.stderr
    assert "glob.yaml:2:45: warning: download_items[0].buckets[0].items[0].file: '*'" in done.stderr
    assert done.stderr.endswith("\n2 warnings in 1 file\n")
    assert "KAIWO_PORT" not in done.stderr


@pytest.mark.parametrize("words", [("download",), ("plan",), ("download", "--dry-run")])
def test_other_commands_say_the_same_of_a_wrong_file(folder: Path, words: tuple[str, ...]) -> None:
    done = command(folder, *words, "bad.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    stamp, _, rest = done.stderr.partition(" ERROR ")
    assert "\n" not in stamp
    assert rest == DRAWN


def test_two_files_with_one_target_are_refused_with_both_lines(folder: Path) -> None:
    (folder / "same.yaml").write_text(
        "download_items:\n"
        "  - type: s3\n"
        "    buckets:\n"
        "      - name: b\n"
        "        items:\n"
        "          - {file: a, target_path: t}\n"
        "          - {file: b, target_path: t}\n"
    )
    done = command(folder, "validate", "same.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("same.yaml:7:23: download_items[0].buckets[0].items[1].target")
    assert "items[0].target_path on line 6 too" in done.stderr
    for words in (("plan",), ("download",)):
        shown = command(folder, *words, "same.yaml")
        assert (shown.returncode, shown.stdout) == (2, "")
        drawn = done.stderr.removesuffix("\n1 error in 1 file\n")
        assert shown.stderr.partition(" ERROR ")[2] == f"{drawn}\n"


def test_a_run_warns_of_a_misspelled_variable(folder: Path) -> None:
    (folder / "there").write_bytes(b"data")
    address = f"file://{folder}/there"
    (folder / "c.yaml").write_text(
        f"download_items: [{{type: url, items: [{{file: '{address}', target_path: here}}]}}]\n"
    )
    done = command(folder, "download", "c.yaml", KAIWO_MAX_WORKER="3")
    assert (done.returncode, (folder / "here").read_bytes()) == (0, b"data")
    assert done.stderr.count("WARNING environment KAIWO_MAX_WORKER: unknown variable") == 1


@pytest.mark.parametrize("words", [("s3://a/x", "s3://b/"), ("-t", "s3://b/", "s3://a/x")])
def test_fetch_refuses_a_url_as_its_target(folder: Path, words: tuple[str, ...]) -> None:
    done = command(folder, "fetch", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the target: this is a URL (s3://), but must be a path" in done.stderr
    assert not (folder / "s3:").exists()


@pytest.mark.parametrize("words", [("validate",), ("download",)])
def test_on_a_terminal_there_are_colours_and_no_timestamp(
    folder: Path, words: tuple[str, ...]
) -> None:
    program = [sys.executable, "-m", "kaiwo", *words, "bad.yaml"]
    shown = on_a_terminal(program, folder).replace("\r\n", "\n")
    assert "\x1b[1;31m^^^^\x1b[0m" in shown
    plain = shown
    for code in ("1", "1;31", "1;34", "0"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain.startswith(DRAWN)
    assert SECRET not in shown
