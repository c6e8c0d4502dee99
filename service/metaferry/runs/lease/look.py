"""A lease in place: who has it, how old it is, and since when its token is the same. Read only.

The age of a lease is taken from the store's own clock. The time of day of this machine is never compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from metaferry.errors import NotFound
from metaferry.runs.lease.record import LeaseRecord, in_words, read_record
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Storage

#: Seconds after which an object that was put to read the store's clock is the leftover of a killed run.
_LEFT_OVER: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Found:
    """A lease in place."""

    holder: LeaseRecord
    token: str


@dataclass(frozen=True, slots=True)
class Watch:
    """A token that is timed: since when, when it will have expired, and its age then, as far as known."""

    token: str
    since: float
    free_at: float
    age_then: float | None

    def age(self, now: float) -> float | None:
        return None if self.age_then is None else self.age_then + now - self.since


async def find_lease(storage: Storage, key: str, lease_for: float) -> Found | None:
    """The lease in place, if there is one. `lease_for` is used where its record has none."""
    try:
        blob = await storage.read(key)
    except NotFound as error:
        if not error.path:
            raise
        return None
    return Found(read_record(blob.data, lease_for=lease_for), blob.token)


async def lease_age(storage: Storage, key: str, token: str, holder: str) -> float | None:
    """Seconds since the lease with that token was written, by the times in the store's own listing.

    Three requests: an object is put beside it, both are listed, and it is deleted. None where the
    listing does not show that token, or has no times.
    """
    stem = key.removesuffix(".json")
    probe = f"{stem}-clock-{holder}"
    await storage.put(probe, b"1")
    try:
        entries = {entry.path: entry for entry in await listed(storage, stem)}
        ours, lease = entries.pop(probe, None), entries.get(key)
        if ours is not None:
            for path, entry in entries.items():
                if path.startswith(f"{stem}-clock-") and 0 < entry.mtime < ours.mtime - _LEFT_OVER:
                    await storage.delete(path)
    finally:
        await storage.delete(probe)
    if ours is None or lease is None or lease.token != token or min(ours.mtime, lease.mtime) <= 0:
        return None
    return max(0.0, ours.mtime - lease.mtime)


def describe_holder(holder: LeaseRecord, age: float | None) -> str:
    return f"{holder.name}, {held_for(holder, age)}"


def held_for(holder: LeaseRecord, age: float | None) -> str:
    """`held for 3 min, renewed 12 s ago`, for a sentence; `age` is None where it is not known."""
    if age is None:
        return f"held for at least {in_words(holder.held)}"
    return f"held for {in_words(holder.held + age)}, renewed {in_words(age)} ago"
