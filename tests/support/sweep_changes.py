"""What the sweep does to answers: to one field, to the status, or to their order.

A change names a field by a number, which is taken modulo the fields that the answer has. So every
field of every answer has its turn, and no list of them has to be kept.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

#: What is read for its words (a listing, a description), an object's bytes, the answer to a HEAD.
KINDS = ("words", "bytes", "head")
PLACES = ("header", "element", "status", "order")
HOWS = ("out", "empty", "double", "case", "other", "name's case")
STATUSES = (
    *(200, 201, 202, 204, 205, 206, 207, 300, 301, 302, 303, 304, 305, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 416, 418, 421),
    *(
        422,
        423,
        425,
        426,
        428,
        429,
        431,
        451,
        500,
        501,
        502,
        503,
        504,
        505,
        507,
        508,
        511,
        520,
        599,
    ),
)
_REFUSES = 300
_MOST_OF_A_REFUSAL = 100_000
#: What comes before the honest answer; where it always comes, instead of it.
OTHERS = ("busy", "broken", "error in 200", "cut", "same place", "no place", "nowhere", "nothing")
#: Where a page begins. A listing that leaves a page out shows no trace of that: each of these gets
#: a value that names no page, never that of another page.
_TOKENS = {"nextcontinuationtoken", "continuationtoken", "nextmarker", "marker", "nextpagetoken"}
_LEAF = re.compile(rb"<([A-Za-z][\w-]*)>([^<]*)</\1>")


@dataclass(frozen=True)
class Change:
    """One thing that is done to answers.

    Attributes:
        kind: the kind of answers.
        nth: which of these in a run, from 0; None for all.
        place: see ``PLACES``.
        pick: the number of the field, the status, or what comes instead.
        how: what is done to a field.
    """

    kind: str
    nth: int | None
    place: str
    pick: int
    how: str


def drawn(rng: random.Random) -> Change:
    """A change by chance. The fields of listings, and the first answers, come more often."""
    return Change(
        rng.choice(KINDS),
        rng.choice((None, 0, 0, 1, 2, 3)),
        rng.choice((*PLACES, "header", "element", "element")),
        rng.randint(0, 400),
        rng.choice(HOWS),
    )


@dataclass(frozen=True)
class Sent:
    """An answer as it goes out; ``is_cut``: the connection ends within the body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_cut: bool = False

    @property
    def content_type(self) -> str:
        return next((v for k, v in self.headers if k.lower() == "content-type"), "")


def kind_of(method: str, sent: Sent) -> str:
    """See ``KINDS``."""
    if method == "HEAD":
        return "head"
    return (
        "words" if any(each in sent.content_type for each in ("xml", "json", "html")) else "bytes"
    )


@dataclass
class Values:
    """The values of each field in all honest answers, those about other objects among them.

    A field is a header, an element of XML, or a member of JSON, whose values are JSON.
    """

    of: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def learn(self, sent: Sent) -> None:
        """Take note of an honest answer."""
        for name, value in sent.headers:
            self.of["header", name.lower()].add(value)
        for name, text in _LEAF.findall(sent.body):
            self.of["element", name.decode()].add(text.decode())
        for holder, key in _members(_parsed(sent.body)):
            self.of["member", key].add(json.dumps(holder[key]))

    def other(self, kind: str, name: str, value: str, pick: int) -> str:
        """A value of another object, or the same one if no other has another."""
        if name.lower() in _TOKENS:
            # A text in JSON stays one between its quotes.
            return value[::-1] if kind != "member" or value[0] == '"' else value
        others = sorted(self.of[kind, name] - {value})
        return others[pick % len(others)] if others else value


def changed(sent: Sent, change: Change, values: Values) -> Sent:
    """The answer after a change of a header, an element or the status."""
    if change.place == "status":
        return _with_status(sent, STATUSES[change.pick % len(STATUSES)])
    if change.place == "header":
        return _with_header(sent, change, values)
    document = _parsed(sent.body)
    if document is not None:
        return replace(sent, body=_with_member(document, change, values))
    return replace(sent, body=_with_leaf(sent.body, change, values))


def _with_status(sent: Sent, status: int) -> Sent:
    """With another status. What comes with a refusal is no megabytes."""
    if status < _REFUSES or len(sent.body) <= _MOST_OF_A_REFUSAL:
        return replace(sent, status=status)
    others = (each for each in sent.headers if each[0].lower() != "content-length")
    headers = (*others, ("Content-Length", str(_MOST_OF_A_REFUSAL)))
    return Sent(status, headers, sent.body[:_MOST_OF_A_REFUSAL])


def _with_header(sent: Sent, change: Change, values: Values) -> Sent:
    if not sent.headers:
        return sent
    at = change.pick % len(sent.headers)
    name, value = sent.headers[at]
    other = values.other("header", name.lower(), value, change.pick)
    new = {
        "out": (),
        "empty": ((name, ""),),
        "double": ((name, value), (name, other)),
        "case": ((name, value.swapcase()),),
        "other": ((name, other),),
        "name's case": ((name.swapcase(), value),),
    }[change.how]
    return replace(sent, headers=(*sent.headers[:at], *new, *sent.headers[at + 1 :]))


def _with_leaf(body: bytes, change: Change, values: Values) -> bytes:
    """XML with another element."""
    leaves = list(_LEAF.finditer(body))
    if not leaves:
        return body
    leaf = leaves[change.pick % len(leaves)]
    name, text = leaf[1].decode(), leaf[2].decode()
    other = values.other("element", name, text, change.pick)
    turned = name.swapcase()
    new = {
        "out": "",
        "empty": f"<{name}></{name}>",
        "double": f"<{name}>{text}</{name}><{name}>{other}</{name}>",
        "case": f"<{name}>{text.swapcase()}</{name}>",
        "other": f"<{name}>{other}</{name}>",
        "name's case": f"<{turned}>{text}</{turned}>",
    }[change.how]
    return body[: leaf.start()] + new.encode() + body[leaf.end() :]


def _parsed(body: bytes) -> Any:
    """What a JSON text says; None for another text."""
    if body[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def _members(document: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each member of each object in a JSON document: the object, and the member's name."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _members(value)
    elif isinstance(document, list):
        for value in document:
            yield from _members(value)


def _with_member(document: Any, change: Change, values: Values) -> bytes:
    """JSON with another member."""
    members = list(_members(document))
    if members:
        holder, key = members[change.pick % len(members)]
        value = holder.pop(key)
        other = json.loads(values.other("member", key, json.dumps(value), change.pick))
        new: dict[str, dict[str, Any]] = {
            "out": {},
            "empty": {key: "" if isinstance(value, str) else None},
            "double": {key: [value, other]},
            "case": {key: value.swapcase() if isinstance(value, str) else str(value)},
            "other": {key: other},
            "name's case": {key.swapcase(): value},
        }
        holder |= new[change.how]
    return json.dumps(document).encode()
