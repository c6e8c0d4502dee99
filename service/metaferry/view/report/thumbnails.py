"""Small pictures of some media, for the page of a report: those with the smallest hashes, as its sample.

They are read from the store, and made in the sandboxed process of the frame counts. A file of which none can
be made is passed over, and told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from metaferry.errors import UsageError
from metaferry.lightly.names import Kind
from metaferry.media.frames.pictures import make_pictures
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident, quote_text
from metaferry.progress import Progress
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.report.facts import Thumbnail

#: Pictures of a page, at most: some 6 kB each.
MOST: Final = 500
#: Files that a note names.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The pictures that could be made, how many could not, and a note about these ("" without any)."""

    made: tuple[Thumbnail, ...] = ()
    failed: int = 0
    note: str = ""


def require_number(number: int) -> None:
    """Raises UsageError for a number of pictures that no page has."""
    if not 0 <= number <= MOST:
        raise UsageError(f"thumbnails should be 0 to {MOST}, is {number}")


def make_thumbnails(
    database: Database,
    table: str,
    storage: Storage,
    portal: Portal,
    number: int,
    *,
    seed: str,
    progress: Progress,
) -> Thumbnails:
    """Pictures of `number` media of the table of documents; reads them and the table `media`."""
    if not number:
        return Thumbnails()
    media = database.rows(
        f"""
        SELECT m.path, m.size, m.token FROM {quote_ident(table)} t JOIN media m ON m.path = t.media
        WHERE t.kind <> '{Kind.FRAME}' AND m.included
        ORDER BY md5_number_lower({quote_text(seed)} || t.target), t.target, m.path LIMIT {number}
        """
    )
    progress.phase("Making thumbnails", len(media))
    made, failed = [], []
    for picture in make_pictures(storage, portal, media, progress=lambda _: progress.advance(1)):
        if picture.data:
            made.append(Thumbnail(picture.path, "image/jpeg", picture.data))
        else:
            failed.append(f"{picture.path}: {picture.reason}")
    note = ""
    if failed:
        named = "; ".join(failed[:_NAMED]) + (f" and {len(failed) - _NAMED} more" * (len(failed) > _NAMED))
        note = f"of {len(failed):,} of {len(media):,} media no picture could be made ({named})"
    return Thumbnails(tuple(made), len(failed), note)
