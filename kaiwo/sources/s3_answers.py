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
from botocore import handlers

from kaiwo.net import encodings
from kaiwo.net.codes import code_in

#: What the SDK's readers of dates and numbers raise.
_UNREADABLE = (ValueError, TypeError, OverflowError, RuntimeError)


class LenientParser(AioRestXMLParser):  # type: ignore[misc]  # no annotations
    """Leaves out what it cannot read."""

    def _parse_non_payload_attrs(
        self, response: Any, shape: Any, member_shapes: Mapping[str, Any], final_parsed: Any
    ) -> None:
        for name, member in member_shapes.items():
            with contextlib.suppress(*_UNREADABLE):
                super()._parse_non_payload_attrs(response, shape, {name: member}, final_parsed)

    def _do_parse(self, response: Any, shape: Any) -> dict[str, Any]:
        """The answer; 300 carries no object: the SDK's client knows that, its reader does not."""
        if response["status_code"] == HTTPStatus.MULTIPLE_CHOICES:
            return self._do_error_parse(response, shape)
        return super()._do_parse(response, shape)  # type: ignore[no-any-return]

    def _do_error_parse(self, response: Any, shape: Any) -> dict[str, Any]:
        """The error alone: of another body, the SDK gives all elements, and stumbles over them."""
        parsed = super()._do_error_parse(response, shape)
        said = parsed.get("Error", {})
        # Of a body that it cannot read, the SDK gives the status instead.
        if str(said.get("Code", "")).isdecimal() and (code := code_in(response["body"])):
            parsed["Error"] = {**said, "Code": code}
        return {name: parsed[name] for name in ("Error", "ResponseMetadata") if name in parsed}

    def _do_modeled_error_parse(self, response: Any, shape: Any) -> dict[str, Any]:  # noqa: ARG002 - the SDK's
        """Nothing: what else an error may state, kaiwo does not need."""
        return {}

    def _handle_timestamp(self, shape: Any, node: Any) -> Any:
        try:
            return super()._handle_timestamp(shape, node)
        except _UNREADABLE:
            return None

    def _handle_integer(self, shape: Any, node: Any) -> Any:
        try:
            return super()._handle_integer(shape, node)
        except _UNREADABLE:
            return None


class _Factory(AioResponseParserFactory):  # type: ignore[misc]  # no annotations
    def create_parser(self, protocol_name: str) -> Any:
        """The reader of a protocol; S3 speaks ``rest-xml``."""
        if protocol_name != "rest-xml":
            return super().create_parser(protocol_name)
        return LenientParser(**self._defaults)


def _plain(response_dict: dict[str, Any], **_: Any) -> None:
    """Decode the body of a listing or an error; the body of an object is no bytes yet."""
    body = response_dict.get("body")
    if not isinstance(body, bytes):
        return
    stated = response_dict["headers"].get("content-encoding", "")
    response_dict["body"] = encodings.plain(body, [stated]).strip()


def register(session: Any) -> None:
    """Have a session's clients read their answers leniently."""
    session.register_component("response_parser_factory", _Factory())
    emitter, event = session.get_component("event_emitter"), "before-parse.s3.*"
    # The SDK looks there for an error inside an answer with status 200, and finds none in gzip.
    emitter.unregister(event, handlers._handle_200_error)  # noqa: SLF001 - it goes behind
    emitter.register_first(event, _plain)
    emitter.register(event, handlers._handle_200_error)  # noqa: SLF001
