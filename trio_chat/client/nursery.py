"""A nursery whose tasks serve its body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import trio


@asynccontextmanager
async def open_service_nursery(*minor: type[Exception]) -> AsyncIterator[trio.Nursery]:
    """Open a nursery that ends with its body: what still runs then is cancelled.

    Raises:
        BaseException: what the body or a task raised, as itself where it is the only one. So a
            caller can write `except Disconnected` around `async with connect(…)`. A `Cancelled`
            comes out only where there is no error, and what is `minor` where there is nothing else.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason="what these tasks served has ended")
    except BaseExceptionGroup as group:
        exceptions = _what_counts(group, minor).exceptions
        if len(exceptions) == 1:
            _raise_unchanged(exceptions[0])
        raise


def _what_counts(
    group: BaseExceptionGroup[BaseException], minor: tuple[type[Exception], ...]
) -> BaseExceptionGroup[BaseException]:
    errors = group.split(lambda exc: isinstance(exc, (trio.Cancelled, *minor)))[1]
    return errors or group.split(lambda exc: isinstance(exc, minor))[1] or group


def _raise_unchanged(exc: BaseException) -> NoReturn:
    # `raise` notes the group as the context, and would put it before the traceback that counts.
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        del exc, context
