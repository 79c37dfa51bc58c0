"""What a JSON Schema says of several fields at once: the rules of the validators, for editors.

A field is given, too, by its sibling ``…_file``. A rule puts its fault at the field that is wrong:
it forbids that field, and does not refuse the task as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from kaiwo.tasks.base import Task
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.registry import SCHEMES

Rule = dict[str, Any]
#: What counts as not given.
_NOTHING: Rule = {"enum": [None, [], False]}


def rules_of(class_: type[Task]) -> list[Rule]:
    """The rules of a task type."""
    of = _Rules(class_.model_fields)
    rules = [*of.one_form(), of.needs("client_key", "client_certificate")]
    if issubclass(class_, BucketTask):
        rules.append(of.excludes("anonymous", *class_.credentials))
    more = _MORE.get(class_.model_fields["type"].default)
    return rules if more is None else [*rules, *more(of)]


class _Rules:
    """Makes rules of fields.

    Args:
        known: all fields of the task type.
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def one_form(self) -> Iterator[Rule]:
        """A secret is given itself or as a file, not both."""
        for name in self._known:
            if f"{name}_file" in self._known:
                yield {
                    "$comment": f"either {name} or {name}_file",
                    "if": _has(f"{name}_file"),
                    "then": {"properties": {name: {"type": "null"}}},
                }

    def given(self, *names: str) -> Rule:
        """One of these fields is given."""
        either = [_has(each) for each in self._either(*names)]
        return either[0] if len(either) == 1 else {"anyOf": either}

    def excludes(self, name: str, *others: str) -> Rule:
        """Where one field is given, the others are not."""
        return {
            "$comment": f"{name} excludes {', '.join(others)}",
            "if": self.given(name),
            "then": {"properties": dict.fromkeys(self._either(*others), _NOTHING)},
        }

    def needs(self, name: str, *others: str) -> Rule:
        """Where one field is given, all of the others are."""
        return {
            "$comment": f"{name} needs {' and '.join(others)}",
            "if": self.given(name),
            "then": {"allOf": [self.given(other) for other in others]},
        }

    def _either(self, *names: str) -> list[str]:
        """The fields, and their siblings."""
        pairs = (each for name in names for each in (name, f"{name}_file"))
        return [each for each in pairs if each in self._known]


def _has(name: str) -> Rule:
    return {"required": [name], "properties": {name: {"not": _NOTHING}}}


def _s3(of: _Rules) -> list[Rule]:
    return [
        of.needs("access_key_id", "secret_key"),
        of.needs("secret_key", "access_key_id"),
        of.needs("session_token", "access_key_id"),
        of.excludes("profile", "access_key_id"),
        of.excludes("role_arn", "anonymous"),
        of.needs("external_id", "role_arn"),
        of.needs("role_session_name", "role_arn"),
    ]


def _gcs(of: _Rules) -> list[Rule]:
    return [
        of.needs("requester_pays", "project"),
        of.excludes("requester_pays", "anonymous"),
    ]


def _azure(of: _Rules) -> list[Rule]:
    ways = ["account_key", "sas_token", "client_secret", "principal_certificate"]
    whole = of.given("connection_string")
    return [
        of.excludes("connection_string", *ways, "account_name", "endpoint_url"),
        of.excludes("account_key", *ways[1:]),
        of.excludes("sas_token", *ways[2:]),
        of.excludes("client_secret", *ways[3:]),
        {
            "$comment": "credentials need an account",
            "if": {"allOf": [of.given("anonymous", *ways), {"not": whole}]},
            "then": of.given("account_name", "endpoint_url"),
        },
        of.needs("account_key", "account_name"),
        of.needs("client_secret", "tenant_id", "client_id"),
        of.needs("principal_certificate", "tenant_id", "client_id"),
    ]


def _hub(of: _Rules) -> list[Rule]:
    return [
        of.excludes("files", "allow_patterns", "ignore_patterns"),
        of.excludes("target_path", "cache_dir"),
        of.needs("prune", "target_path"),
        of.needs("ready_file", "target_path"),
        of.needs("keep_generations", "publish"),
        {
            "$comment": "publish: snapshot needs target_path",
            "if": {"required": ["publish"], "properties": {"publish": {"const": "snapshot"}}},
            "then": of.given("target_path"),
        },
        of.excludes("files", "prune"),
    ]


def _url(_: _Rules) -> list[Rule]:
    """Each file and each folder is a URL, and not one of another type; nested items as well."""
    others = "|".join(map(re.escape, (*SCHEMES, "s3a")))
    pattern = rf"^(?!(?:{others})://)[A-Za-z][A-Za-z0-9+.-]*://|\$\{{"
    kinds = {
        kind: {"pattern": pattern, "properties": {kind: {"pattern": pattern}}}
        for kind in ("folder", "file")
    }
    return [{"properties": {"items": {"items": {"properties": kinds}}}}]


_MORE: Mapping[str, Callable[[_Rules], list[Rule]]] = {
    "s3": _s3,
    "gcs": _gcs,
    "azure-blob": _azure,
    "hf": _hub,
    "url": _url,
}
