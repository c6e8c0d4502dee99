"""Finds out what a store makes of conditions on writes, and whether its listings show the tags of its puts.

Some stores that speak S3 take a condition and ignore it; some answer 412 to the very tag that they gave
(Ceph), or 405 to any; some list other tags than they answer, or none. Nothing but trying tells. Besides
the requests that it makes of the storage it is given, nothing here does I/O.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from metaferry.errors import Conflict
from metaferry.storage.protocol import ABSENT, ANYTHING, Entry, Precondition, PutResult

log = logging.getLogger(__name__)


class Honoured(NamedTuple):
    """What a store does.

    create: an object is created only where there is none, if that is asked for.
    replace: one is replaced or deleted only under the token that is given, and under that it is.
    lists: listings show the tokens that puts answer with.
    """

    create: bool = True
    replace: bool = True
    lists: bool = True


class Probed(Protocol):
    """What is asked of a storage; it does nothing of its own about conditions meanwhile."""

    def list(self, prefix: str = "") -> AsyncIterator[list[Entry]]: ...

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult: ...

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> Any: ...


async def probe(storage: Probed, path: str) -> Honoured:
    """Writes and deletes `path`, a name that nobody uses: four puts as a rule, a listing and a delete."""
    try:
        put_result = await storage.put(path, b"1", only_if=ABSENT)
        create = replace = not await _goes(storage, path, b"2", ABSENT)
        if replace:
            old = put_result.token
            try:
                put_result = await storage.put(path, b"3", only_if=old)
            except Conflict:
                replace = False
            else:
                replace = not await _goes(storage, path, b"4", old)
        if not replace:
            put_result = await storage.put(path, b"5")
        lists = await _is_listed(storage, path, put_result.token)
        if replace:
            try:
                await storage.delete(path, only_if=put_result.token)
            except Conflict:
                replace = False
    finally:
        await storage.delete(path)
    return Honoured(create, replace, lists)


async def _goes(storage: Probed, path: str, data: bytes, only_if: Precondition) -> bool:
    """Whether a put goes well that must not."""
    try:
        await storage.put(path, data, only_if=only_if)
    except Conflict:
        return False
    return True


async def _is_listed(storage: Probed, path: str, token: str) -> bool:
    """Whether a listing shows this token; one that does not show the object yet says nothing against it."""
    async for page in storage.list(path):
        for entry in page:
            if entry.path == path:
                return entry.token == token
    return True
