"""Lists the documents of a datasource alone, without its media."""

from __future__ import annotations

import logging
from contextlib import closing

from metaferry.errors import Inconsistent
from metaferry.lightly.names import DOCUMENTS
from metaferry.planning.listings import Listings
from metaferry.progress import Progress
from metaferry.runs.listings.tokens import are_missing, with_tokens
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import MOST_RESTARTS, inconsistent
from metaferry.storage.listing.parallel import list_parallel
from metaferry.storage.listing.scan_pool import Disordered
from metaferry.storage.protocol import Storage

log = logging.getLogger(__name__)


def list_documents(listings: Listings, storage: Storage, portal: Portal, progress: Progress) -> None:
    """Fills the table `documents`, and `listings.schema`. A listing that contradicts itself is made again.

    Raises StorageError for a store that does not answer.
    """
    progress.phase("Listing documents", None)
    sequential, again = False, 0
    while True:
        listed = storage.list(DOCUMENTS) if sequential else list_parallel(storage, DOCUMENTS)
        try:
            with closing(portal.iterate(listed)) as pages:
                for page in pages:
                    missing = page and are_missing(storage, page)
                    listings.add_documents(portal.run(with_tokens(storage, page)) if missing else page)
                    progress.advance(len(page))
            contradiction = listings.contradiction()
            if not contradiction:
                return
            raise inconsistent(storage.url, DOCUMENTS, contradiction)
        except Disordered:
            if sequential:  # a sequential listing relies on no order
                raise
            sequential = True
        except Inconsistent as error:
            if again == MOST_RESTARTS:
                raise
            again += 1
            log.warning("%s; it is made again", error)
        listings.restart()
