"""Pydantic's errors as lines for people: where the fault is, what it is, and what was meant.

A value is never shown: it may be a secret, above all when its key is misspelled.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

Location = tuple[str | int, ...]

#: Sentences for pydantic's types of errors; braces are filled from its context.
_REASONS = {
    "missing": "is required",
    "string_type": "must be a string: put it in quotes",
    "secret_str": "must be a string: put it in quotes",
    "string_too_short": "is empty",
    "tuple_type": "must be a list: write [one, two]",
    "list_type": "must be a list: write [one, two]",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be finite",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping: keys and values",
    "model_type": "must be a mapping: keys and values",
    "model_attributes_type": "must be a mapping: keys and values",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
}


def described(
    error: ValidationError,
    where: Callable[[Location], str],
    fields: Callable[[Location], Iterable[str]],
) -> list[str]:
    """One line for each fault.

    Args:
        error: pydantic's; its inputs are not used.
        where: gives file, line and field of a location.
        fields: gives the keys that are known at a location.
    """
    lines = []
    faults = error.errors(include_input=False, include_url=False, include_context=True)
    for fault in faults:
        location = fault["loc"]
        inside = (other["loc"][: len(location)] == location for other in faults if other != fault)
        if fault["type"] == "too_short" and any(inside):
            continue  # pydantic counts only the entries without a fault
        lines.append(f"{where(location)}: {_reason(fault, fields)}")
    return lines


def _reason(fault: Mapping[str, Any], fields: Callable[[Location], Iterable[str]]) -> str:
    location, context = fault["loc"], fault.get("ctx", {})
    if fault["type"] == "extra_forbidden":
        key = str(location[-1])
        guess = suggestion(key, fields(location[:-1]))
        return f"unknown key {key!r}" + (f"; did you mean {guess}?" if guess else "")
    if fault["type"] == "too_short":
        return "needs at least one entry" if context["field_type"] == "Tuple" else "is empty"
    reason = _REASONS.get(fault["type"])
    return str(fault["msg"]) if reason is None else reason.format(**context)


def suggestion(key: str, known: Iterable[str]) -> str | None:
    """The known key nearest to this one, in quotes; None if none is near."""
    close = difflib.get_close_matches(key.lower(), list(known), n=1, cutoff=0.6)
    return f"'{close[0]}'" if close else None
