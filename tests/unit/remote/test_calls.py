"""What goes to workers of other processes, and comes back."""

from __future__ import annotations

import copyreg
import pickle
import threading
from typing import cast

import pytest
from tblib.pickling_support import pickle_exception

from kaiwo.errors import CredentialsError
from kaiwo.jobs import Outcome, Transfer
from kaiwo.remote.calls import without_transfers


def raised() -> CredentialsError:
    """An error as workers have it: an SDK's that cannot travel is its context."""
    sdk = OSError("403 for https://host/key?signature=S3CRET")
    sdk.response = threading.Lock()  # type: ignore[attr-defined]
    try:
        try:
            raise sdk
        except OSError:
            raise CredentialsError("reading a: 403", "AccessDenied") from None
    except CredentialsError as error:
        return error


def test_errors_travel_without_the_sdks_where_pickle_takes_causes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As distributed makes it do, for each class of errors that is loaded."""
    for kind in (CredentialsError, OSError):
        monkeypatch.setitem(copyreg.dispatch_table, kind, pickle_exception)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(raised())
    sent = pickle.dumps(without_transfers([Outcome(cast("Transfer", None), error=raised())]))
    assert b"S3CRET" not in sent
    (came,) = pickle.loads(sent)
    assert type(came.error) is CredentialsError
    assert came.error.args == ("reading a: 403", "AccessDenied")
