"""Named points on the way of a batch, at which a test makes this process wait, fail or die.

A failpoint without an action is one look at an empty dict, once for each batch.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

Point = Literal[
    "before-poll",
    "after-poll",
    "after-decode",
    "after-embed",
    "after-search",
    "before-begin",
    "after-first-produce",
    "after-send-offsets",
    "before-commit",
    "after-commit",
]
"""In the order in which a batch passes them. `before-begin` comes after the last check whether the batch is still wanted."""

_actions: dict[str, Callable[..., None]] = {}


def failpoint(point: Point, *context: Any) -> None:
    """Run the action that a test has set for this point, with the context of the point."""
    if _actions and (action := _actions.get(point)):
        action(*context)


def set_failpoint(point: Point, action: Callable[..., None] | None) -> None:
    """Run `action` wherever this process passes the point, in the thread that passes it; None removes it."""
    if point not in get_args(Point):
        raise ValueError(f"{point} is no failpoint")
    if action is None:
        _actions.pop(point, None)
    else:
        _actions[point] = action
