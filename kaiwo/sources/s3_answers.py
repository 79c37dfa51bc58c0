"""The SDK's reader of answers, without the parts that kaiwo does not need.

The SDK reads every header of an answer into its type, and fails on a date or a number that it does
not understand: the whole answer is lost for the sake of ``Expires``. Here, such a header is left
out. What kaiwo needs of it, it reads from the headers as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiobotocore.parsers import AioResponseParserFactory, AioRestXMLParser


class LenientParser(AioRestXMLParser):  # type: ignore[misc]  # no annotations
    """Leaves out what it cannot read."""

    def _parse_non_payload_attrs(
        self, response: Any, shape: Any, member_shapes: Mapping[str, Any], final_parsed: Any
    ) -> None:
        for name, member in member_shapes.items():
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                super()._parse_non_payload_attrs(response, shape, {name: member}, final_parsed)

    def _do_parse(self, response: Any, shape: Any) -> dict[str, Any]:
        """The answer; 300 carries no object: the SDK's client knows that, its reader does not."""
        if response["status_code"] == HTTPStatus.MULTIPLE_CHOICES:
            return self._do_error_parse(response, shape)
        return super()._do_parse(response, shape)  # type: ignore[no-any-return]

    def _do_error_parse(self, response: Any, shape: Any) -> dict[str, Any]:
        """The error alone: of another body, the SDK gives all elements, and stumbles over them."""
        parsed = super()._do_error_parse(response, shape)
        return {name: parsed[name] for name in ("Error", "ResponseMetadata") if name in parsed}

    def _handle_timestamp(self, shape: Any, node: Any) -> Any:
        try:
            return super()._handle_timestamp(shape, node)
        except (ValueError, TypeError, OverflowError):
            return None


class _Factory(AioResponseParserFactory):  # type: ignore[misc]  # no annotations
    def create_parser(self, protocol_name: str) -> Any:
        """The reader of a protocol; S3 speaks ``rest-xml``."""
        if protocol_name != "rest-xml":
            return super().create_parser(protocol_name)
        return LenientParser(**self._defaults)


def register(session: Any) -> None:
    """Have a session's clients read their answers leniently."""
    session.register_component("response_parser_factory", _Factory())
