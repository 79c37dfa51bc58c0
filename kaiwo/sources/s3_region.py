"""Signs again for the region that an answer names, with the redirector of the SDK.

The SDK's redirector finds the region of a bucket when AWS refuses a request: in a header, in the
body, else by a HEAD of the bucket. It then signs once more. Other services need two things more:

- A HEAD of the bucket that is redirected, too, must not be redirected in turn: on a service that
  names no region, that ends when Python's stack does.
- Other services name their region under any code, or in the header alone. The redirector
  knows AWS's way, so such an answer is written in it.

Nothing is changed for an answer that names no region, or the one that was signed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaiwo.net.codes import clean_region

_HEADER = "x-amz-bucket-region"
#: Answers that may be about the region.
_REFUSED = {400, 401, 403}


def register(session: Any) -> None:
    """Have the clients of an SDK's session sign again for any service's region."""
    # Before the SDK's redirector, which is registered for each client.
    session.get_component("event_emitter").register_first("needs-retry.s3", prepare_redirect)


def region_in(response: Mapping[str, Any]) -> str:
    """The region that an answer names, in a header or in its body; empty if it names none."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return clean_region(headers.get(_HEADER)) or clean_region(
        response.get("Error", {}).get("Region")
    )


def prepare_redirect(
    request_dict: Mapping[str, Any], response: Any, operation: Any, **_: object
) -> None:
    """Write an answer so that the SDK's redirector understands it; see the module's docstring.

    Args:
        request_dict: the request, as the SDK keeps it.
        response: the answer and its parsed body; None without an answer.
        operation: the SDK's model of the request.
    """
    redirect = request_dict["context"].get("s3_redirect")
    if response is None or redirect is None or response[0].status_code < 300:  # noqa: PLR2004
        return
    answer, parsed = response
    region = region_in(parsed)
    error, headers = parsed.setdefault("Error", {}), parsed["ResponseMetadata"]["HTTPHeaders"]
    # The redirector fails on a region that cannot be one.
    headers.pop(_HEADER, None)
    error.pop("Region", None)
    if region:
        headers[_HEADER] = error["Region"] = region
    # A redirect to an address was followed already, see s3_redirects.
    if operation.name == "HeadBucket" or ("location" in headers and not region):
        redirect["redirected"] = True
    signed_for = request_dict["context"].get("signing", {}).get("region")
    if (
        region
        and answer.status_code in _REFUSED
        and signed_for not in (None, region)
        and not redirect.get("redirected")
    ):
        error["Code"] = "AuthorizationHeaderMalformed"
