"""Documents in place, held to schema entries: those that a consumer could not use under them.

They are read in parallel, in slices of bounded size; of what is wrong the number is kept, and the first few.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from metaferry.errors import StorageError
from metaferry.lightly.key_paths import join_path, split_path
from metaferry.lightly.nested import has_value, unfit_places
from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.existing import LARGEST, MOST_READ
from metaferry.planning.listings import Listings
from metaferry.progress import Progress
from metaferry.runs.in_place import read_in_place
from metaferry.runs.listings.documents import list_documents
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.tree.document import misfit, parse_document

#: Documents of one fault that are named, the first by name; the others are counted.
NAMED: Final = 3

#: Target, line, column, message, and the number of documents that it stands for.
Placed = tuple[str, int, int, str, int]


@dataclass(slots=True)
class _Kind:
    """One way in which documents are wrong: how many, and the first of them by name."""

    count: int = 0
    first: list[tuple[str, int, int, str]] = field(default_factory=list)

    def add(self, target: str, line: int, column: int, message: str) -> None:
        self.count += 1
        self.first = heapq.nsmallest(NAMED, [*self.first, (target, line, column, message)])


class DocumentCheck:
    """Collects what is wrong with documents under sets of entries, each with the name of its place."""

    def __init__(self, sets: Sequence[tuple[str, Sequence[Entry]]]) -> None:
        self.documents = self.read = self.too_large = 0
        self._sets = [
            (name, {split_path(entry.path): entry.type for entry in entries}) for name, entries in sets
        ]
        self._unseen = dict.fromkeys(steps for _, types in self._sets for steps in types)
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(self, target: str, data: bytes | StorageError | None) -> None:
        """One document as it was read; None: it is gone, and nothing is wrong with it."""
        if data is None:
            return
        self.read += 1
        if isinstance(data, StorageError):
            self._note("", "unread", target, 0, 0, f"it cannot be read: {data.message}")
            return
        document, fault = parse_document(data)
        if fault is not None:
            self._note("", "text", target, fault.line, fault.column, fault.message)
            return
        metadata = document["metadata"]
        self._unseen = {steps: None for steps in self._unseen if not has_value(metadata, steps)}
        for name, types in self._sets:
            for steps, value in unfit_places(metadata, types).items():
                message = misfit(steps, value, types[steps], f"its entry in {name}")
                self._note(name, join_path(steps), target, 0, 0, message)

    def faults(self) -> Iterator[Placed]:
        """The first few documents of each fault; the last of them stands for all others."""
        for _, kind in sorted(self._kinds.items()):
            for at, (target, line, column, message) in enumerate(kind.first, start=1):
                others = kind.count - at if at == len(kind.first) else 0
                more = f" (and {others:,} more document{'s' if others > 1 else ''} alike)" if others else ""
                yield target, line, column, message + more, 1 + others

    def notes(self) -> list[str]:
        """What is no fault: documents that were not read, and entries that show nothing."""
        found = []
        if self.read < self.documents:
            left = f", {self.too_large:,} of them too large" if self.too_large else ""
            found.append(
                f"{self.documents - self.read:,} of {self.documents:,} documents in place were not read{left}"
            )
        if self.read:
            found += [
                f"no document that was read has a value for {join_path(steps)}: its default is shown instead"
                for steps in self._unseen
            ]
        return found

    def _note(self, name: str, kind: str, target: str, line: int, column: int, message: str) -> None:
        self._kinds.setdefault((name, kind), _Kind()).add(target, line, column, message)


def check_documents(
    check: DocumentCheck,
    database: Database,
    storage: Storage,
    portal: Portal,
    progress: Progress,
    *,
    everything: bool,
) -> None:
    """Lists and reads the documents in place: `MOST_READ` of them by the hash of their keys, or all.

    Raises StorageError for a store that does not answer.
    """
    listings = Listings(database)
    list_documents(listings, storage, portal, progress)
    is_document = "FROM documents WHERE ends_with(target, '.json')"
    check.documents = database.value(f"SELECT count(*) {is_document}")
    check.too_large = database.value(f"SELECT count(*) {is_document} AND size > {LARGEST}")
    order, most = ("target", "") if everything else ("md5(target)", f" LIMIT {MOST_READ}")
    database.run(
        f"CREATE OR REPLACE TABLE looked AS SELECT row_number() OVER (ORDER BY {order}) AS n, target, size "
        f"{is_document} AND size <= {LARGEST} ORDER BY n{most}"
    )
    progress.phase("Reading documents in place", database.value("SELECT count(*) FROM looked"))
    rows = ((target, size) for target, size in database.numbered("target, size", "looked"))
    for target, data in read_in_place(storage, portal, rows, progress):
        check.add(target, data)
