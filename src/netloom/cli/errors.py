"""What verbs share whose work is several tasks: one error out of a group of them."""

from __future__ import annotations

from netloom.errors import NetloomError


def only_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What several tasks came to, where that is nothing but our own errors: the first; else the group."""
    ours, others = group.split(NetloomError)
    if others is not None or ours is None:
        return group
    error: BaseException = ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
