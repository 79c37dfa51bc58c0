"""Variables of the environment in a file, and keys that are the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from kaiwo.config.document import Document, parse
from kaiwo.config.loader import Config, build, load
from kaiwo.errors import ConfigError
from tests.support.configs import BUCKETS, CANARY, LEAST, items_of, read, refusal

VARIABLES = {"NAME": "value", "EMPTY": "", "lower": "l", "NUMBER": "7", "HOME": "/home"}


def built(text: str, *, elsewhere: bool = False, **more: str) -> Config:
    document = parse(dedent(text), "c.yaml")
    return build(document, None, VARIABLES | more, elsewhere=elsewhere)


def refused(text: str, *, elsewhere: bool = False, **more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        built(text, elsewhere=elsewhere, **more)
    return caught.value.message.splitlines()


def item_with(**fields: Any) -> str:
    item = {"folder": "f", "target_path": "t"} | fields
    task = {"type": "s3", "buckets": [{"name": "b", "items": [item]}]}
    return yaml.safe_dump({"download_items": [task]})


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("${NAME}", "value"),
        ("a/${NAME}/b${lower}", "a/value/bl"),
        ("${NAME:-other}", "value"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${NONE:-}x", "x"),
        ("x${EMPTY}", "x"),
        ("${NONE:-a:b $NAME 'c'}", "a:b $NAME 'c'"),
        ("$${NAME}", "${NAME}"),
        ("a$${b", "a${b"),
        ("$$${NAME}", "$${NAME}"),
        ("$NAME", "$NAME"),
        ("a$b", "a$b"),
        ("$$", "$$"),
        ("{NAME}", "{NAME}"),
    ],
)
def test_a_text_names_variables(text: str, becomes: str) -> None:
    (task,) = built(item_with(target_path=text)).tasks
    assert items_of(task)[0].target_path == becomes


@pytest.mark.parametrize(
    "text", ["${", "${}", "a${1}", "${a-b}", "${NAME:?none}", "${NAME-x}", "${A:-${B}}", "${NAME "]
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_begins_like_a_variable_and_is_none_is_refused(text: str, elsewhere: bool) -> None:
    (message,) = refused(item_with(target_path=text), elsewhere=elsewhere)
    assert message.startswith("c.yaml:5:7: download_items[0].buckets[0].items[0].target_path: ")
    assert "$${ for a plain ${" in message


def test_an_unknown_variable_is_a_fault_of_a_run_and_a_warning_elsewhere() -> None:
    text = """\
        report: ${REPORT}
        download_items:
          - type: ${TYPE}
          - type: s3
            endpoint_url: ${ADDRESS}
            buckets:
              - name: ${BUCKET}
                items:
                  - folder: {folder: f, target_path: "${TARGET}"}
                  - {folder: f, target_path: t, exclude: [a, "${EXCLUDED}/a**"]}
        """
    wanted = [
        ("c.yaml:1:1: report", "REPORT"),
        ("c.yaml:3:5: download_items[0].type", "TYPE"),
        ("c.yaml:5:5: download_items[1].endpoint_url", "ADDRESS"),
        ("c.yaml:7:9: download_items[1].buckets[0].name", "BUCKET"),
        ("c.yaml:9:33: download_items[1].buckets[0].items[0].target_path", "TARGET"),
        ("c.yaml:10:54: download_items[1].buckets[0].items[1].exclude[1]", "EXCLUDED"),
    ]
    lines = sorted(
        f"{where}: the environment has no {name}; set it, or write ${{{name}:-default}}"
        for where, name in wanted
    )
    assert sorted(refused(text)) == lines
    config = built(text, elsewhere=True)
    warned = [str(each).replace(": warning:", ":", 1) for each in config.warnings()]
    assert sorted(warned) == lines
    # Whatever else is wrong is a fault there, too.
    assert refused(text.replace("type: s3", "type: s3\n            regiom: x"), elsewhere=True) == [
        "c.yaml:5:5: download_items[1].regiom: unknown key 'regiom'; did you mean 'region'?"
    ]


def test_a_layer_above_an_unknown_variable_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "max_workers: ${NONE}\n" + item_with()
    assert len(built(text, elsewhere=True).warnings()) == 1
    monkeypatch.setenv("KAIWO_MAX_WORKERS", "many")
    lines = refused(text, elsewhere=True)
    assert lines == ["environment KAIWO_MAX_WORKERS: must be a whole number"]


def test_a_task_that_is_left_out_elsewhere_moves_no_other() -> None:
    text = """\
        download_items:
          - {type: "${TYPE}"}
          - {type: hf, repo_id: o/r, target_path: t, files: ["*.json"]}
        """
    config = built(text, elsewhere=True)
    unknown, glob = config.warnings()
    assert (str(unknown.place), unknown.place.field) == ("c.yaml:2:6", "download_items[0].type")
    assert (glob.place.line, glob.place.field) == (3, "download_items[1].files[0]")
    assert config.where(0, ("files", 0)) == "c.yaml:3: download_items[1].files[0]"


def test_warnings_show_a_line_without_secrets() -> None:
    task = {**LEAST["s3"], "secret_key": f"${{{CANARY}}}", "access_key_id_file": "$HOME/key"}
    of_secret, of_file = built(yaml.safe_dump({"download_items": [task]})).warnings()
    found = {each.place.excerpt.line.strip() for each in (of_secret, of_file) if each.place.excerpt}
    assert found == {"secret_key: ***", "- access_key_id_file: ***"}


def test_variables_are_known_also_under_a_misspelled_key_of_the_tasks() -> None:
    text = """\
        downlod_items:
          - {type: hf, repo_id: o/r, high_performance: "${NONE:-true}"}
        """
    (message,) = refused(text)
    assert "did you mean 'download_items'?" in message


def test_a_value_cannot_add_keys_or_items() -> None:
    value = 'x", glob: "*"}\n- {file: k, target_path: y}'
    (item,) = items_of(built(item_with(glob="*.${V}"), V=value).tasks[0])
    assert item.model_dump()["glob"] == f"*.{value}"


def test_numbers_and_switches_may_come_from_variables() -> None:
    text = """\
        max_workers: ${NUMBER}
        deadline: ${NONE:-1.5}
        log_level: ${NONE:-debug}
        fsync: ${NONE:-true}
        download_items:
          - {type: "${KIND:-hf}", repo_id: "${OWNER:-o}/r", high_performance: "${NONE:-false}"}
        """
    config = built(text)
    settings = config.settings
    found = (settings.max_workers, settings.deadline, settings.log_level, settings.fsync)
    assert found == (7, 1.5, "DEBUG", True)
    assert config.tasks[0].model_dump()["repo_id"] == "o/r"
    (message,) = refused(text, NUMBER="many")
    assert message == "c.yaml:1:1: max_workers: must be a whole number"


SECRETS: dict[str, dict[str, Any]] = {
    "s3": {"access_key_id": "", "secret_key": "", "session_token": ""},
    "gcs": {"token": ""},
    "azure-blob": {"connection_string": ""},
    "hf": {"token": ""},
}


@pytest.mark.parametrize("type_", SECRETS)
def test_a_secret_is_taken_as_it_is_written(type_: str) -> None:
    secrets = dict.fromkeys(SECRETS[type_], "${NAME}")
    (task,) = built(yaml.safe_dump({"download_items": [LEAST[type_] | secrets]})).tasks
    assert {name: task.secret(name) for name in secrets} == secrets


def test_every_secret_of_every_type_is_known_as_one() -> None:
    """As their names tell: what has a file beside it is a secret, but for addresses."""
    for type_, least in LEAST.items():
        (task,) = read(yaml.safe_dump({"download_items": [least]})).tasks
        fields = type(task).model_fields
        with_file = {name.removesuffix("_file") for name in fields if name.endswith("_file")}
        names = with_file & fields.keys() - {"endpoint_url", "account_name"}
        assert task.secret_names() == names, type_


def test_options_of_a_filesystem_are_a_secret_as_a_whole() -> None:
    task = LEAST["url"] | {"options": {"headers": {"X-Key": "${NAME}", "${NAME}": "${NONE}"}}}
    config = built(yaml.safe_dump({"download_items": [task]}))
    held = config.tasks[0].options.get_secret_value()  # type: ignore[attr-defined]
    assert held == task["options"]


def test_of_a_secret_that_looks_like_a_variable_a_warning_says_what_to_do() -> None:
    task = {**LEAST["s3"], "access_key_id": "${KEY}", "secret_key": f"a${{{CANARY}}}"}
    config = built(yaml.safe_dump({"download_items": [task]}, sort_keys=False))
    (warning,) = map(str, config.warnings())
    assert warning.endswith(
        "download_items[0].access_key_id: a secret is taken as it is written, and variables are "
        "not expanded; name a file with access_key_id_file"
    )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_nothing_is_expanded_or_shown_under_a_key_that_nobody_knows(elsewhere: bool) -> None:
    secret = f"${{{CANARY}}} ${CANARY} ${{"
    task = {**LEAST["s3"], "secrt_key": secret, "buckets": [{"secret_key": secret, **BUCKETS[0]}]}
    text = yaml.safe_dump(
        {"download_items": [task, {"type": "s4", "token": secret}], "tokn": secret}
    )
    lines = refused(text, elsewhere=elsewhere)
    # A type that nobody knows, and the keys that the type has which was probably meant.
    assert len(lines) == 5
    assert CANARY not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "named"),
    [("$HOME/d", "HOME"), ("a/$BUCKET", "BUCKET"), ("${NAME}/$HOME", "HOME"), ("$lower", "lower")],
)
def test_a_variable_without_braces_is_warned_of(text: str, named: str) -> None:
    (warning,) = map(str, built(item_with(target_path=text)).warnings())
    assert warning == (
        "c.yaml:5:7: warning: download_items[0].buckets[0].items[0].target_path: "
        f"'${named}' is taken as it is written; write ${{{named}}} for the variable"
    )


@pytest.mark.parametrize("text", ["$web", "$logs/x", "a$b", "$", "$1", "$$HOME", "US$"])
def test_a_dollar_that_is_no_variable_is_no_warning(text: str) -> None:
    assert built(item_with(folder=text)).warnings() == []


def url_with(address: str) -> Config:
    task = {"type": "url", "items": [{"file": address, "target_path": "t"}]}
    return built(yaml.safe_dump({"download_items": [task]}))


def address_of(config: Config) -> str:
    return str(config.tasks[0].items[0].file)  # type: ignore[attr-defined]


PASSWORDS = [
    f"http://bob:${CANARY.upper()}@host/f",
    f"http://bob:a${{${CANARY.upper()}@host/f",
    f"http://bob:a@${CANARY.upper()}@host/f",
    f"http://bob:a b ${CANARY.upper()}@host/f",
    f"http://host/f?a=b&sig=${CANARY.upper()}",
    f"http://host/a@b?${CANARY.upper()}#${CANARY.upper()}",
]


@pytest.mark.parametrize("address", PASSWORDS)
def test_of_a_password_in_a_url_nothing_is_quoted_or_expanded(address: str) -> None:
    config = url_with(address)
    assert config.warnings() == []
    assert address_of(config) == address


@pytest.mark.parametrize(
    "before", ["http:/u:", "${NONE:-http}://u:", "http://u:", "http://u:a/b?$${", "http://u:a/$"]
)
def test_of_a_password_in_an_endpoint_nothing_is_quoted(before: str) -> None:
    address = f"{before}${CANARY.upper()}@h"
    task = {**LEAST["s3"], "endpoint_url": address, "region": "$HOME"}
    document = parse(yaml.safe_dump({"download_items": [task]}), "c.yaml")
    try:
        shown = [str(each) for each in build(document, None, VARIABLES).warnings()]
    except ConfigError as error:
        shown = [error.message]
    assert CANARY.upper() not in "".join(shown)


@pytest.mark.parametrize(
    "address", ["http://u:${NAME}@host/f", "http://${NAME}@host/f", "http://host/f?a=${NONE:-b}"]
)
def test_a_variable_in_the_secret_part_of_a_url_is_warned_of(address: str) -> None:
    config = url_with(address)
    (warning,) = map(str, config.warnings())
    assert "user info and query of a URL are taken as they are written" in warning
    assert "NAME" not in warning
    assert address_of(config) == address


@pytest.mark.parametrize(
    ("address", "becomes"),
    [
        ("http://${NAME}/f", "http://value/f"),
        ("http://host:${NUMBER}/${NAME}@1", "http://host:7/value@1"),
        ("http://host:80/${NAME}@1", "http://host:80/value@1"),
        ("http://host/${NAME}@1/${lower}", "http://host/value@1/l"),
        ("http://u:p@host/${NAME}", "http://u:p@host/value"),
        ("${NONE:-http://u:p@host}/f", "http://u:p@host/f"),
        ("http://${NONE:-host:80}/a@b", "http://host:80/a@b"),
    ],
)
def test_the_rest_of_a_url_names_variables(address: str, becomes: str) -> None:
    config = url_with(address)
    assert address_of(config) == becomes
    assert config.warnings() == []


def test_what_is_not_read_from_a_file_names_no_variables() -> None:
    """``kaiwo.fetch`` takes keys as they are."""
    text = item_with(folder="${NONE}", target_path="$HOME")
    assert items_of(read(text).tasks[0])[0].model_dump()["folder"] == "${NONE}"


def test_the_environment_of_a_file_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kaiwo.yaml"
    path.write_text("download_root: ${MINE}\n" + item_with())
    monkeypatch.setenv("MINE", "/here")
    assert load(path).download_root == "/here"


# --- keys of the user -------------------------------------------------------------------------


def test_keys_that_begin_with_x_are_for_anchors() -> None:
    text = """\
        x-store: &store
          region: eu-west-1
          profile: ${NONE}
          anything: [1, {a: b}]
        x-items: &items [{folder: f, target_path: "${NAME}"}]
        x-: 3
        download_items:
          - {type: s3, buckets: [{name: a, items: *items}]}
          - {type: gcs, buckets: [{name: b, items: *items}]}
        """
    config = built(text)
    assert [items_of(task)[0].target_path for task in config.tasks] == ["value", "value"]
    assert config.warnings() == []


@pytest.mark.parametrize("key", ["xstore", "X-store", "x_store"])
def test_other_keys_are_not_the_users(key: str) -> None:
    assert f"unknown key '{key}'" in refusal(f"{key}: 1\n{item_with()}")


def test_below_the_top_no_key_is_the_users() -> None:
    assert "unknown key 'x-a'" in refusal(item_with(**{"x-a": "b"}))


def test_a_mapping_may_have_keys_of_any_kind() -> None:
    data: Mapping[Any, Any] = {1: 2, "download_items": [LEAST["hf"]]}
    with pytest.raises(ConfigError, match="unknown key"):
        build(Document("config", data))
