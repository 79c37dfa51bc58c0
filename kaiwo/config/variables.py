"""Variables that look like a setting of kaiwo, but are none: a misspelled one changes nothing.

And those that are one, and whose value is wrong.

Kubernetes makes variables for every Service. Those of a Service called ``kaiwo`` or ``kaiwo-…``
also begin with ``KAIWO_``, and are not meant for kaiwo.
"""

from __future__ import annotations

import logging
import os
import re

from pydantic import ValidationError

from kaiwo.config.diagnostics import Diagnostic, Place
from kaiwo.config.settings import PREFIX, Settings, layered
from kaiwo.config.suggestions import nearest
from kaiwo.config.validation import findings

logger = logging.getLogger(__name__)
#: Variables that kaiwo reads besides its settings.
OTHERS = ("termination_log", "shards")
_OF_KUBERNETES = re.compile(
    r"(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)
#: Others may use the prefix for what they like: only what is spelled very much alike is named.
_ALIKE = 0.75


def misspelled() -> list[Diagnostic]:
    """The variables that probably should be a setting."""
    known = (*Settings.model_fields, *OTHERS)
    found = []
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(PREFIX)
        is_ours = variable.upper().startswith(PREFIX) and name.lower() not in known
        if not is_ours or _OF_KUBERNETES.fullmatch(name):
            continue
        if (guess := nearest(name.lower(), known, share=_ALIKE)) is not None:
            place = Place(f"environment {variable}")
            hint = f"did you mean {PREFIX}{guess.upper()}?"
            found.append(
                Diagnostic(place, "unknown variable, which changes nothing", hint, "warning")
            )
    return found


def wrong() -> list[Diagnostic]:
    """The variables whose value no run would accept."""
    try:
        layered({}, {})
    except ValidationError as error:
        wrong = [(str(each.location[0]), each) for each in findings(error)]
        return [
            Diagnostic(Place(f"environment {PREFIX}{name.upper()}"), each.problem, each.hint)
            for name, each in wrong
        ]
    return []


def warn_of_misspelled() -> None:
    """Log a warning for each such variable."""
    for each in misspelled():
        logger.warning("%s: %s; %s", each.place, each.problem, each.hint)
