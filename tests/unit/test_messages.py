"""The words of all that kaiwo says: messages, help, comments and docs."""

from __future__ import annotations

import ast
import re
from collections import Counter

from tests import messages
from tests.messages import KAIWO, Message
from tests.servers import ROOT

MESSAGES = messages.all_messages()
SPOKEN = [each for each in MESSAGES if each.kind in ("error", "log")]
#: What a person in a hurry, who learned English at school, stumbles over.
STUMBLING_BLOCKS = {
    r"t(?:old|ells?) of": "report",
    r"(?:go|goes|gone|going) on with": "resume",
    r"beg[aiu]n(?:s|ning)? anew": "restart",
    r"nothing was begun": "nothing was downloaded",
    r"of its own": "separate",
    r"(?:is|are) known by": "identify",
    r"so many": "at most N; this many",
    r"has to be": "must be",
    r"whatever": "any",
    r"defect of kaiwo": "bug in kaiwo",
    r"number with an end": "finite",
    r"be a text": "be a string",
    r"leads? on and on": "too many redirects",
    r"different ones each time": "differ on every read",
    r"speaks its language": "compatible stores",
    r"told alike": "map to",
    r"waited for at least": "keep retrying",
}
STUMBLING = re.compile(rf"\b(?:{'|'.join(STUMBLING_BLOCKS)})\b")
#: The output of a program, which has its own words.
GENERATED = {"docs/benchmark.md", "docs/reliability.md"}


def stumbled_over(text: str) -> set[str]:
    """The phrases of a text, wherever its lines end, that have a plain word."""
    plain = re.sub(r"\s+(?:#:? )?", " ", text).lower()
    return {match[0] for match in STUMBLING.finditer(plain)}


def listed(found: list[Message]) -> str:
    return "\n" + "\n".join(f"kaiwo/{each.path}:{each.line}: {each.text}" for each in found)


# --- the words of messages --------------------------------------------------------------------


def test_no_message_has_a_word_to_stumble_over() -> None:
    assert not (found := [each for each in MESSAGES if stumbled_over(each.text)]), listed(found)


def test_a_message_is_no_sentence_with_a_full_stop() -> None:
    assert not (found := [each for each in SPOKEN if each.text.endswith(".")]), listed(found)


def test_a_message_begins_with_a_small_letter_but_for_names() -> None:
    found = [each for each in SPOKEN if re.match(r"[A-Z][a-z]|[A-Z] ", each.text)]
    assert not found, listed(found)


def test_help_is_a_sentence() -> None:
    help_texts = [each for each in MESSAGES if each.kind == "help"]
    assert len(help_texts) > 80
    assert not (found := [each for each in help_texts if not each.text.endswith(".")]), listed(
        found
    )


def test_loggers_fill_in_arguments() -> None:
    calls = 0
    for path in KAIWO.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and messages.is_logging(call):
                calls += 1
                text = call.args[messages.called(call) == "log"]
                assert isinstance(text, ast.Constant | ast.Name), f"{path}:{call.lineno}"
    assert calls > 40


# --- the words of sources and docs ------------------------------------------------------------


def test_sources_and_docs_have_no_words_to_stumble_over() -> None:
    paths = [*KAIWO.rglob("*.py"), ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    names = {str(path.relative_to(ROOT)): path for path in paths}
    assert len(names) > 100
    found = {
        name: words
        for name, path in names.items()
        if name not in GENERATED
        if (words := stumbled_over(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_phrases_are_found_across_lines_and_comments() -> None:
    assert stumbled_over("a run goes\n    on with it") == {"goes on with"}
    assert stumbled_over("#: at most so\n#: many") == {"so many"}
    assert stumbled_over("It has\n    # to be") == {"has to be"}
    assert stumbled_over("somany, untold often") == set()


# --- the collector ----------------------------------------------------------------------------

SAMPLE = '''
"""A module of several words."""

logger = logging.getLogger(__name__)
REASONS = {"missing": "is required", "key": "one"}


class Task:
    name: str
    """A name of it."""
    other: str


def fail(name, count):
    """Not for people."""
    raise ConfigError(f"{name!r}: the file " "is empty")
    return NotFoundError("nothing was " + name, 1) if count else None
    error = DiskError("no room" if count else f"{count:,} is too much")
    why = f"the reason {count}"
    raise ServiceError(why)
    raise PydanticCustomError("some type", "the key {key} is wrong", {"key": name})
    raise typer.BadParameter("is no number at all", param_hint="-o")
    raise ValueError(name)


def work(logger):
    logger.info("%s: read %d bytes", 1, 2)
    logger.log(10, "a level first")
    re.compile("not for people")
    return "a part of something"


Size = Annotated[int, typer.Option(help="How large it is.")]


@app.command("work")
def done():
    """Do all the work."""


app.command()(done)
'''


def test_every_form_of_a_message_is_found() -> None:
    found = [(each.kind, each.text) for each in messages.messages_in(SAMPLE, "a/b.py")]
    assert sorted(found) == [
        ("error", "is no number at all"),
        ("error", "no room"),
        ("error", "nothing was {name}"),
        ("error", "the key {key} is wrong"),
        ("error", "the reason {count}"),
        ("error", "{count} is too much"),
        ("error", "{name!r}: the file is empty"),
        ("help", "A name of it."),
        ("help", "Do all the work."),
        ("help", "How large it is."),
        ("log", "%s: read %d bytes"),
        ("log", "a level first"),
        ("part", "a part of something"),
        ("part", "is required"),
    ]


def test_in_every_package_messages_are_found() -> None:
    """A second look, by a pattern: a collector that has gone blind would pass all the rest."""
    given = re.compile(r"\b(?:raise|return) (?:\w+\.)?\w*Error\(|\blogger\.\w+\(")
    seen = Counter(each.package for each in SPOKEN)
    expected = Counter[str]()
    for path in KAIWO.rglob("*.py"):
        package = path.relative_to(KAIWO).parts[0].removesuffix(".py")
        expected[package] += len(given.findall(path.read_text(encoding="utf-8")))
    # Some pass on what another error says, or an event.
    blind = {
        name: (seen[name], count) for name, count in expected.items() if 2 * seen[name] < count
    }
    assert blind == {}
    assert len(SPOKEN) > 200
