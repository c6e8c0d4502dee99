"""Probes whether a store honours conditions on writes, and whether its listings show the tags of its puts.

Some S3-compatible stores accept a condition and ignore it; some answer 412 to the very tag that they gave
(Ceph), or 405 to any; some list other tags than puts return, or none. Only trying shows it. All I/O goes
through the storage that is passed in.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from metaferry.errors import Conflict
from metaferry.storage.protocol import ABSENT, ANYTHING, Entry, Precondition, PutResult

log = logging.getLogger(__name__)


class Honoured(NamedTuple):
    """The conditions that a store honours.

    create: ABSENT creates an object only where there is none.
    replace: a token replaces or deletes exactly the object that has it.
    lists: listings show the tokens that puts return.
    """

    create: bool = True
    replace: bool = True
    lists: bool = True


class Probed(Protocol):
    """What is needed of a storage. It must not check conditions itself meanwhile."""

    def list(self, prefix: str = "") -> AsyncIterator[list[Entry]]: ...

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult: ...

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> Any: ...


async def probe(storage: Probed, path: str) -> Honoured:
    """Writes and deletes `path`, an unused name: usually four puts, a listing and a delete."""
    try:
        put_result = await storage.put(path, b"1", only_if=ABSENT)
        create = replace = not await _succeeds(storage, path, b"2", ABSENT)
        if replace:
            old = put_result.token
            try:
                put_result = await storage.put(path, b"3", only_if=old)
            except Conflict:
                replace = False
            else:
                replace = not await _succeeds(storage, path, b"4", old)
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


async def _succeeds(storage: Probed, path: str, data: bytes, only_if: Precondition) -> bool:
    """Whether a put succeeds whose condition does not hold."""
    try:
        await storage.put(path, data, only_if=only_if)
    except Conflict:
        return False
    return True


async def _is_listed(storage: Probed, path: str, token: str) -> bool:
    """Whether a listing shows this token; true where it does not show the object yet."""
    async for page in storage.list(path):
        for entry in page:
            if entry.path == path:
                return entry.token == token
    return True
