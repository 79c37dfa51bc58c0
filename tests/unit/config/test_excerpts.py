"""Lines of a file as they may be shown: the mark is at its place, and no value is there."""

from __future__ import annotations

import re

import pytest

from kaiwo.config.excerpts import SHOWN_VALUES, Excerpts
from kaiwo.config.suggestions import KEYS
from kaiwo.tasks.registry import BUILT_IN, task_class


def shown(text: str, line: int = 1, column: int = 1, width: int = 1, *, parses: bool = True) -> str:
    """The line of a text, with the marked part in brackets."""
    found = Excerpts(text, parses=parses).excerpt(line, column, width)
    end = found.start + found.width
    return f"{found.line[: found.start]}<{found.line[found.start : end]}>{found.line[end:]}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("secret_key: hunter2", "<s>ecret_key: ***"),
        ("secret_key: hunter2 # hunter2", "<s>ecret_key: ***"),
        ("# hunter2", "<>"),
        ("secret_ky: hunter2", "<s>ecret_ky: ***"),
        ("secret_key: {hunter2: hunter2}", "<s>ecret_key: {***: ***}"),
        ("secret_key: [hunter2, hunter2]", "<s>ecret_key: [***, ***]"),
        ("secret_key: &hunter2 x", "<s>ecret_key: *** ***"),
        ("secret_key: !hunter2 x", "<s>ecret_key: *** ***"),
        ("secret_key: 'hunter2'", "<s>ecret_key: ***"),
        ("buckets: hunter2", "<b>uckets: ***"),
        ("type: s4", "<t>ype: s4"),
        (
            "{type: s3, secret_key: hunter2, region: eu}",
            "<{>type: s3, secret_key: ***, region: eu}",
        ),
        ("file: https://u:hunter2@h/k", "<f>ile: ***"),
        ("items: [{file: k, target_path: 't'}]", "<i>tems: [{file: k, target_path: 't'}]"),
        ("itmes: [{file: k}]", "<i>tmes: [{file: k}]"),
        ("glob: [a, b]", "<g>lob: [a, b]"),
        ("exclude: [a, b]", "<e>xclude: [a, b]"),
        ("checksum: md5:0a", "<c>hecksum: md5:0a"),
        ("x-mine: {secret_key: hunter2, a: [hunter2]}", "<x>-mine: {***: ***, ***: [***]}"),
        ("- - hunter2", "<->- ***".replace("<->-", "<-> -")),
        ("name: \x85", "<n>ame:"),
        # A comma, a colon or a key is missing.
        (
            "{type: s3, region: eu secret_key: hunter2, buckets: []}",
            "<{>type: s3, region: eu secret_key: ***, buckets: []}",
        ),
        ("{region: eu, hunter2}", "<{>region: eu, ***}"),
        ("{region: eu, [hunter2]}", "<{>region: eu, [***]}"),
        ("{region: eu, {name: hunter2}: b}", "<{>region: eu, {***: ***}: ***}"),
        ("{secret_key hunter2, region: eu}", "<{>***, region: eu}"),
        ("{secret_key hunter2: x, region: eu}", "<{>***: ***, region: eu}"),
        (
            "glob: [region: a, b, secret_key: hunter2, c]",
            "<g>lob: [region: a, b, secret_key: ***, c]",
        ),
        ("[region: eu secret_key: hunter2, hunter2]", "<[>region: eu secret_key: ***, ***]"),
        ("optins: {name: hunter2}", "<o>ptins: {***: ***}"),
        ("optins: [{name: hunter2}]", "<o>ptins: [{***: ***}]"),
        # An address that lost a sign.
        ("file: https:/u:hunter2@h", "<f>ile: ***"),
        ("file: https//u:hunter2@h", "<f>ile: ***"),
        ("file: https:/h/hunter2", "<f>ile: ***"),
    ],
)
def test_values_are_hidden_but_where_no_secret_belongs(text: str, line: str) -> None:
    assert shown(text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("region: eu\n&k secret_key: hunter2", "<&>*** ***: ***"),
        ("region: eu\n? secret_key\n: hunter2", "<?> secret_key"),
        ("glob:\n- a", "<-> a"),
        ("items:\n- {file: k}", "<-> {file: k}"),
        ("itmes:\n- {file: k}", "<-> {file: k}"),
        ("optins:\n  {name: hunter2}", "< > {***: ***}"),
        ("optins:\n- {name: hunter2}", "<-> {***: ***}"),
    ],
)
def test_a_value_belongs_to_the_key_right_before_it(text: str, line: str) -> None:
    assert shown(text, 2) == line


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("token: 'hunter2\nrepo_id: x\n", (1, 8, 1), "token: <'>***"),
        ("token: 'hunter2\nhunter2: x\n", (2, 1, 1), "<***>"),
        ("name: 'x\nsecret_key: 'hunter2'\n", (2, 1, 10), "<secret_key>***"),
        ("a:\n\tsecret_key: hunter2\n", (2, 1, 1), "< >secret_key***"),
        ("secret_key hunter2\nb: 1\n", (1, 1, 1), "<***>"),
        ("token: *hunter2\n", (1, 8, 1), "token: <*>***"),
        ("secret_key: abc: hunter2\n", (1, 16, 1), "secret_key: ***<:>***"),
    ],
)
def test_where_a_text_does_not_parse_only_known_keys_are_shown(
    text: str, place: tuple[int, int, int], line: str
) -> None:
    assert shown(text, *place, parses=False) == line


def test_a_mark_is_under_its_key_behind_a_hidden_value() -> None:
    text = "{secret_key: a-very-long-secret, regoin: eu}"
    assert shown(text, column=text.index("regoin") + 1, width=6) == (
        "{secret_key: ***, <regoin>: ***}"
    )


def test_a_mark_is_under_its_key_behind_wide_letters() -> None:
    found = Excerpts("{日本: x, é: y, region: z}").excerpt(1, 15, 6)
    assert found.line == "{日本: ***, é: ***, region: z}"
    assert found.start == len("{....: ***, é: ***, ")
    assert found.width == len("region")


def test_a_long_line_is_cut_around_its_mark() -> None:
    keys = ", ".join(f"key{number}: x" for number in range(1000))
    text = "{" + keys + "}"
    found = Excerpts(text).excerpt(1, text.index("key500") + 1, 6)
    assert found.line[found.start : found.start + found.width] == "key500"
    assert len(found.line) <= 110
    assert found.line.startswith("...")
    assert found.line.endswith("...")


@pytest.mark.parametrize("place", [(1, 1, 1), (9, 1, 1), (2, 99, 5)])
def test_a_place_outside_of_the_text_is_no_failure(place: tuple[int, int, int]) -> None:
    assert re.fullmatch(r"[\w: ]*", Excerpts("a: 1\nb: 2").excerpt(*place).line.replace("***", ""))


def test_no_field_with_a_secret_or_an_address_is_shown() -> None:
    hidden = set()
    for type_ in BUILT_IN:
        class_ = task_class(type_)
        assert class_ is not None
        for name, field in class_.model_fields.items():
            kind = repr((field.annotation, field.metadata))
            if "Secret" in kind or "endpoint" in kind or name.endswith("_file"):
                hidden.add(name)
    assert {"secret_key", "token", "options", "endpoint_url", "sas_token"} <= hidden
    assert hidden & SHOWN_VALUES == set()
    others = {wrong for right in hidden & KEYS.keys() for wrong in KEYS[right].split()}
    assert others & SHOWN_VALUES == set()
