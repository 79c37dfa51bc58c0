"""The command as a shell sees it: help, completion, and how much it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

import kaiwo
from kaiwo.cli import options
from kaiwo.config.settings import Settings
from tests.scenarios.test_fetch import OBJECTS, as_words, filled, given, run
from tests.support.stores import Store

COMMANDS = ("clean", "doctor", "download", "fetch", "ls", "plan", "schema", "validate")


def helped(home: Path, *words: str) -> str:
    done = run(["-m", "kaiwo", *words, "--help"], home, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_syntax_of_templates(tmp_path: Path, command: str) -> None:
    text = helped(tmp_path, command)
    assert not re.findall(r"[{}<>]", text)
    assert "x>=" not in text


@pytest.mark.parametrize("command", ["download", "fetch"])
def test_help_names_choices_defaults_and_variables(tmp_path: Path, command: str) -> None:
    text = " ".join(helped(tmp_path, command).split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"KAIWO_{name.upper()}" in text
        if isinstance(field.default, str | float) and not isinstance(field.default, bool):
            shown = field.default if isinstance(field.default, str) else f"{field.default:g}"
            assert f"[default: {shown}] [env: KAIWO_{name.upper()}]" in text, name
    for choices in ("auto|bar|log|json|none", "size|checksum", "DEBUG|INFO|WARNING|ERROR"):
        assert choices in text


def test_the_version_has_a_short_option(tmp_path: Path) -> None:
    assert run(["-m", "kaiwo", "-V"], tmp_path).stdout == f"kaiwo {kaiwo.__version__}\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kaiwo do", ["doctor", "download"]),
        ("kaiwo download --progress b", ["bar"]),
        ("kaiwo fetch --log-level WAR", ["WARNING"]),
        ("kaiwo plan --al", ["--all"]),
    ],
)
def test_the_shell_completes_commands_options_and_choices(
    tmp_path: Path, line: str, found: Sequence[str]
) -> None:
    words: Mapping[str, Any] = {
        "_KAIWO_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    program = "import sys; sys.argv[:] = ['kaiwo']; from kaiwo.__main__ import main; main()"
    done = run(["-c", program], tmp_path, **words)
    assert (done.returncode, done.stdout.split()) == (0, found), done.stderr


def test_the_completion_is_shown_and_installed(tmp_path: Path) -> None:
    program = "import sys; sys.argv[0] = 'kaiwo'; from kaiwo.__main__ import main; main()"
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = run(["-c", program, "--show-completion", "bash"], tmp_path, **named)
    assert (shown.returncode, "complete -o default" in shown.stdout) == (0, True), shown.stderr
    done = run(["-c", program, "--install-completion", "bash"], tmp_path, **named)
    assert done.returncode == 0, done.stderr
    assert "kaiwo" in (tmp_path / ".bashrc").read_text()


def test_it_says_more_and_less_when_asked(s3: Store, tmp_path: Path) -> None:
    url, words = filled(s3, "", OBJECTS), as_words(given(s3))
    command = ["-m", "kaiwo", "fetch", f"{url}data", *words]
    quiet = run([*command, str(tmp_path / "quiet"), "-q"], tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout == f"{tmp_path / 'quiet'}\n"
    usual = run([*command, str(tmp_path / "usual")], tmp_path)
    assert " INFO " in usual.stderr
    assert " DEBUG " not in usual.stderr
    assert " DEBUG " in run([*command, str(tmp_path / "verbose"), "-v"], tmp_path).stderr
    both = run([*command, "-v", "-q"], tmp_path)
    assert (both.returncode, both.stdout) == (2, "")
    assert "exclude each other" in both.stderr
    # What is given by its own option counts.
    named = run([*command, str(tmp_path / "named"), "-q", "--log-level", "INFO"], tmp_path)
    assert " INFO " in named.stderr


def test_a_mistyped_host_is_said_at_once_and_how_long_it_is_waited_for(tmp_path: Path) -> None:
    url, target = "https://no-such-host.invalid/x", str(tmp_path / "x")
    done = run(["-m", "kaiwo", "fetch", url, target, "--startup-wait", "2"], tmp_path)
    first, *_ = done.stderr.splitlines()
    assert done.returncode == 5
    assert "the host name is unknown" in first
    assert first.endswith("; kaiwo keeps trying for 2.0 s (--startup-wait)")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("exclude=[0-9]", "[0-9]"),
        ('exclude=["[0-9]"]', ["[0-9]"]),
        ("glob=[a,b]", ["a", "b"]),
        ("files=[config.json]", ["config.json"]),
    ],
)
def test_a_glob_of_one_class_is_no_list(given: str, expected: object) -> None:
    assert options.field(given)[1] == expected


def test_a_list_that_yaml_cannot_read_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="is not a valid list"):
        options.field("files=[2024-13-45, a]")
