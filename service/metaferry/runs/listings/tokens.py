"""The tokens of listed documents, requested one by one where listings of the store do not have them.

Some stores with the API of S3 or Azure list without ETags, or with other ETags than those of a put: no
document would be recognised, and none replaced. There each token is one request, which costs no more than
writing the document again. On other stores no request is made.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from metaferry.errors import NotFound
from metaferry.storage.protocol import Entry, Storage

_MD5: Final = re.compile(r"[0-9a-f]{32}")


def are_missing(storage: Storage, entries: Sequence[Entry]) -> bool:
    """Whether the tokens of these documents have to be requested."""
    capabilities = storage.capabilities
    if capabilities.conditions_vary and not capabilities.lists_tokens:
        return True
    # Where the store checks no condition, a token is of no use that no listing shows.
    return (capabilities.conditional or capabilities.conditions_vary) and any(
        not entry.token for entry in entries
    )


async def with_tokens(storage: Storage, entries: Sequence[Entry]) -> list[Entry]:
    """The same documents with their tokens, without those that are gone by now. Within the storage's
    rate and concurrency limits. Raises what a read raises."""
    found = await asyncio.gather(*(_with_token(storage, entry) for entry in entries))
    return [entry for entry in found if entry is not None]


async def _with_token(storage: Storage, entry: Entry) -> Entry | None:
    try:
        blob = await storage.read(entry.path, 0, 0)
    except NotFound as error:
        if not error.path:
            raise
        return None
    # As in a listing: equality with an MD5 proves the content, and nothing else does.
    proof = blob.token if storage.capabilities.listing_md5 and _MD5.fullmatch(blob.token) else entry.md5
    return entry._replace(size=blob.size, token=blob.token, md5=proof)
