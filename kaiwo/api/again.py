"""The order for URLs, made again on another machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.api.fetch_order import FetchOrder, Goal, order_of_urls
from kaiwo.api.orders import Order

#: Settings that belong to the machine where kaiwo was started.
_OF_CLIENT = {"download_root", "report", "metrics_file", "locked", "write_lock", "lock_file"}


class _OfUrls(Struct, frozen=True):
    """Makes an order; see ``Order.again``. Fields as the arguments of ``order_of_urls``."""

    urls: tuple[str, ...]
    goal: Goal
    fields: Mapping[str, Any]
    options: Mapping[str, Any]

    def __call__(self, root: str | None) -> Order:
        """The order, with relative targets below this folder if one is given."""
        goal = self.goal
        if root is not None:
            goal = replace(goal, folder=os.path.join(root, goal.folder) if goal.is_given else root)
        return order_of_urls(self.urls, goal, self.fields, self.options).order

    def __repr__(self) -> str:
        return f"_OfUrls({len(self.urls)} URLs)"  # addresses and fields may be secrets


def repeatable(
    asked: FetchOrder, urls: Sequence[str], goal: Goal, fields: Mapping[str, Any]
) -> FetchOrder:
    """The same order, which can be made again elsewhere.

    Args:
        asked: the order.
        urls: it was made of this, see ``order_of_urls``, as all below.
        goal: where they go.
        fields: of the task type, and of an item.
    """
    options = asked.settings.model_dump(exclude=_OF_CLIENT, exclude_defaults=True)
    again = _OfUrls(tuple(urls), goal, dict(fields), options)
    return replace(asked, order=replace(asked.order, again=again))
