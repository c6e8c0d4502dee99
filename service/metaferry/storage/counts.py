"""How many requests were made: what the retry layer counts, workers send, and `run.json` keeps.

The fields are those of `requests` in `run.json`: one is added with a default, and never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class RequestCounts:
    """Requests by kind, each attempt counted, and what became of them; bytes of contents only."""

    list: int = 0
    get: int = 0
    put: int = 0
    delete: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    # Requests of each kind that the store failed or refused. "Not found" and "the condition does not
    # hold" are answers, not failures.
    list_failed: int = 0
    get_failed: int = 0
    put_failed: int = 0
    delete_failed: int = 0
    # Requests for the tags of objects; those for their metadata count as `get`.
    tags: int = 0
    tags_failed: int = 0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))
