"""What formats of one file after the other have in common: rows into batches, and what is none named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from metaferry.errors import JobError
from metaferry.tables.model import TableFile
from metaferry.tables.readers.annotations.text import Bad, Batches
from metaferry.tables.readers.contract import Given, ReaderRelation, Reject, Rows, Wanted
from metaferry.tables.readers.files import ReaderFile


class Placed(NamedTuple):
    """A row of a relation: its place in the file, about how many bytes it holds, and its columns."""

    relation: str
    place: int
    size: int
    values: Mapping[str, Any]


class Rejected(NamedTuple):
    """What is no row of a relation, and why."""

    relation: str
    place: int
    bad: Bad


@dataclass(slots=True)
class OpenedFiles:
    """The base of `contract.Opened` of such formats: `rows` makes the rows of a file."""

    given: Given
    files: list[TableFile] = field(default_factory=list)
    #: Images before those of this file: the keys of `images` are different over all files.
    before: int = 0
    relations: ClassVar[tuple[ReaderRelation, ...]] = ()

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        """The rows of one file, in its order. Raises JobError for one that is broken as a whole."""
        raise NotImplementedError

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """As `contract.Opened.read`."""
        for number, file in enumerate(self.given.files):
            batches: Mapping[str, Batches] = {
                one.name: Batches(one, wanted, number) for one in self.relations if one.name in wanted
            }
            for found in self.rows(file):
                if isinstance(found, Rejected):
                    bad = found.bad
                    reject(
                        found.relation,
                        found.place,
                        bad.message,
                        file=number,
                        column=bad.column,
                        value=bad.value,
                        expected=bad.expected,
                    )
                    continue
                own = batches.get(found.relation)
                if own is not None:
                    own.add(found.place, found.size, **found.values)
                    yield from own.full()
            for each in batches.values():
                yield from each.rest()
            self.files.append(file.done())

    def fault(self, file: ReaderFile, message: str, advice: str = "") -> JobError:
        """The error of a file that is broken as a whole."""
        return self.given.fault(
            f"{file.url} {message}",
            advice=advice or "export it again, or upload it again where it was cut short",
        )
