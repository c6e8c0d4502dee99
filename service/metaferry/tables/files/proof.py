"""Whether the bytes of a table that were read are those that the store has.

A range of an object has no hash of its own, so a bit that flips on its way shows nowhere but in the
MD5 of the whole. Small tables are read whole and compared before a row of them is used; larger text is
compared at its end, before anything is planned. Where the store proves no MD5 (composite and multipart
objects, most other file systems), nothing is compared: docs/storage.md says so.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from metaferry.errors import Corrupt, StorageError
from metaferry.lightly.document import md5_hex
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob, Entry, Storage
from metaferry.tables.files.find import TableObject

log = logging.getLogger(__name__)

#: Tables up to this size (bytes) are read whole before they are used.
WHOLE: Final = 32 << 20
#: Bytes of one ranged read.
BLOCK: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Proof:
    """What the store says of a whole object.

    `certain`: a content that differs is damaged. Else the MD5 is a tag that may be something else
    (an S3 ETag under KMS), and only equality proves anything.
    """

    md5: str
    certain: bool
    size: int
    token: str


def proof_of(file: TableObject, portal: Portal) -> Proof | None:
    """The MD5 that the listing has of a file; one request where the file was not listed before.

    None where the store proves none, or may not be listed: a table may need no more than a read.
    """
    if not file.storage.capabilities.listing_md5:
        return None
    entry = file.listed
    if entry is None:
        try:
            entry = portal.run(_entry(file.storage, file.path))
        except StorageError as error:
            log.debug("%s: its hash cannot be asked for: %s", file.url, error)
    if entry is None or entry.md5 is None:
        return None
    return Proof(entry.md5, entry.md5 != entry.token, entry.size, entry.token)


def read_whole(file: TableObject, portal: Portal, proof: Proof) -> tuple[bytes, str]:
    """The content that the proof is of, and its token. Corrupt where two reads do not come to it.

    Raises the errors of `Storage.read` too.
    """
    first, token = _whole(file, portal)
    if token != proof.token or _md5(first) == proof.md5:
        return first, token  # or it was replaced since it was listed, and its hash is not known
    second, token = _whole(file, portal)
    if token != proof.token or _md5(second) == proof.md5:
        log.warning("%s was read damaged and has been read again", file.url)
        return second, token
    _settle(file, proof, same=first == second)
    return second, token


class Running:
    """The MD5 of a larger object while it is read from end to end."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    def add(self, data: bytes) -> None:
        self._hash.update(data)

    def check(self, file: TableObject, portal: Portal, proof: Proof, token: str) -> None:
        """At the end. Corrupt where it is not the content that the proof is of."""
        if token != proof.token or self._hash.hexdigest() == proof.md5:
            return
        again = hashlib.md5(usedforsecurity=False)
        if not proof.certain:
            for blob in portal.iterate(ranges(file.storage, file.path, token)):
                again.update(blob.data)
        _settle(file, proof, same=again.digest() == self._hash.digest())


async def ranges(storage: Storage, path: str, token: str | None) -> AsyncIterator[Blob]:
    """The object in order; the first answer pins the version of all that follow."""
    at = 0
    while True:
        blob = await storage.read(path, at, at + BLOCK, version=token)
        token = blob.token
        at += len(blob.data)
        yield blob
        if at >= blob.size:
            return
        if not blob.data:
            raise Corrupt(f"{path} gave no bytes at {at} of {blob.size}", url=storage.url, path=path)


def _whole(file: TableObject, portal: Portal) -> tuple[bytes, str]:
    parts, token = [], ""
    for blob in portal.iterate(ranges(file.storage, file.path, file.token)):
        parts.append(blob.data)
        token = blob.token
    return b"".join(parts), token


def _settle(file: TableObject, proof: Proof, *, same: bool) -> None:
    """Raises Corrupt, unless the tag may be no MD5 and two reads gave the same bytes."""
    if same and not proof.certain:
        log.info("%s: its tag is not the MD5 of its content, so its bytes are not compared", file.url)
        return
    raise Corrupt(
        f"{file.url} does not come as the store has it: its MD5 is another than the one in the listing",
        url=file.storage.url,
        path=file.path,
        advice="run it again; if it stays so, upload the table again",
    )


async def _entry(storage: Storage, path: str) -> Entry | None:
    """The entry of one key: the first of all that begin like it."""
    async for page in storage.list(path):
        return next((entry for entry in page if entry.path == path), None)
    return None


def _md5(data: bytes) -> str:
    return md5_hex(data)
