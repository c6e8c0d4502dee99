"""The bridge between a plain thread and the event loop of the storages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from metaferry.storage.io.portal import Portal


class Ended(BaseException):
    """Ends a program, as no `Exception` does."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [OSError, Ended])
def test_what_ends_an_iterator_reaches_the_caller(portal: Portal, kind: type[BaseException]) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise kind("the end")

    got: list[int] = []
    with pytest.raises(kind, match="the end"):
        got.extend(portal.iterate(items()))
    assert got == [1]
    items_ = portal.iterate(items())
    assert next(items_) == 1
    items_.close()
