"""Findings of a run whose media are not freshly listed: how old they are, and what was skipped for it."""

from __future__ import annotations

from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.planning.database import Database
from metaferry.planning.diff import NOT_KNOWN_GONE
from metaferry.planning.formats import MediaListing
from metaferry.planning.sql.rules import quote_text


def note_age(database: Database, job: Job, listing: MediaListing) -> None:
    """Findings about an inventory that is older than `media.inventory.max_age`, and, where orphans are
    to be deleted, about documents that are left since their media may only be newer."""
    if listing.fresh:
        return
    inventory = job.media.inventory
    if inventory is not None and listing.age > inventory.max_age * 3600:
        database.finding(
            Code.MEDIA_OLD_LISTING,
            "warning",
            f"the inventory is {listing.age / 3600:,.0f} hours old, and media.inventory.max_age is "
            f"{inventory.max_age:g}: media that came since then are not seen",
            advice="see whether reports still arrive; without media.inventory the bucket is listed",
        )
    if job.policy.delete != "orphans":
        return
    left = database.value(f"SELECT count(*) FROM decided WHERE why = {quote_text(NOT_KNOWN_GONE)}")
    if left:
        old = "an inventory" if listing.basis == "inventory" else "a listing resumed from an earlier run"
        database.finding(
            Code.MEDIA_OLD_LISTING,
            "info",
            f"{left:,} document{'s' if left > 1 else ''} without media in it "
            f"{'are' if left > 1 else 'is'} left in place: {old} does not show that media are gone",
            advice="a run that lists the bucket deletes them",
        )
