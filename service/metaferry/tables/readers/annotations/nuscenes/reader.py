"""The reader of nuScenes-like tables: a folder, read table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from metaferry.errors import JobError
from metaferry.tables.model import TableFile
from metaferry.tables.readers.annotations.counted import counted_query
from metaferry.tables.readers.annotations.documents import Found, objects_of
from metaferry.tables.readers.annotations.elements import WHOLE
from metaferry.tables.readers.annotations.nuscenes.links import KEPT, MOST, Links, TooMany
from metaferry.tables.readers.annotations.nuscenes.rows import (
    EGO_POSES,
    IMAGES,
    OBJECTS,
    image_row,
    object_row,
    pose_row,
)
from metaferry.tables.readers.annotations.text import Bad, Batches
from metaferry.tables.readers.contract import Facts, Given, ReaderRelation, Reject, Rows, Wanted
from metaferry.tables.readers.files import ReaderFile

_Maker = Callable[[Mapping[str, Any], Links], dict[str, Any] | None]
#: The large tables, with the relation that each fills.
_LARGE: Final[Mapping[str, tuple[str, _Maker]]] = {
    "sample_data": ("images", image_row),
    "object_ann": ("objects", object_row),
    "sample_annotation": ("objects", object_row),
    "ego_pose": ("ego_poses", pose_row),
}
#: The small tables that a relation needs; those that are not there leave columns null.
_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "images": frozenset({"sensor", "calibrated_sensor", "log", "scene", "sample"}),
    "objects": frozenset({"category", "attribute", "visibility", "instance"}),
    "ego_poses": frozenset(),
}
#: Without these no image has a camera and a sample.
_REQUIRED: Final = ("sample_data", "sample", "calibrated_sensor", "sensor")
_KEYS: Final = (
    "channel",
    "is_key_frame",
    "time",
    "scene",
    "description",
    "location",
    "vehicle",
    "date_captured",
)


class NuscenesReader:
    """`contract.Reader` of nuScenes-like tables."""

    key = "annotations"
    name = "nuscenes"
    title = "tables as nuScenes, nuImages and Lyft have them (a folder)"
    relations = ("images", "objects", "ego_poses")
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return self.takes_folder(names)

    def takes_folder(self, names: Sequence[str]) -> bool:
        return set(_REQUIRED) <= {_table(name) for name in names}

    def open(self, given: Given) -> OpenedNuscenes:
        return OpenedNuscenes(given)


@dataclass(slots=True)
class OpenedNuscenes:
    """`contract.Opened` of it."""

    given: Given
    files: list[TableFile] = field(default_factory=list)
    relations: tuple[ReaderRelation, ...] = (IMAGES, OBJECTS, EGO_POSES)

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """Small tables first, whose rows the large ones name by tokens."""
        tables = self._tables()
        needed = frozenset(KEPT) & frozenset().union(*(_NEEDED[relation] for relation in wanted))
        links = Links(frozenset(tables) & needed)
        was_read = set()
        for name in sorted(tables.keys() & needed):
            was_read.add(tables[name])
            for found in self._rows_of(tables[name]):
                self._link(links, name, tables[name], found, next(iter(wanted)), reject)
        for name, (relation, make) in _LARGE.items():
            if name not in tables or relation not in wanted:
                continue
            was_read.add(tables[name])
            batches = Batches(self._relation(relation), wanted, tables[name])
            for found in self._rows_of(tables[name]):
                try:
                    if found.bad is not None:
                        raise found.bad
                    row = make(found.value, links)
                except Bad as bad:
                    token = found.value.get("token")
                    self._reject(
                        reject, relation, f"{name} {token or found.number}", tables[name], found, bad
                    )
                    continue
                if row is not None:
                    batches.add(found.number, found.size, **row)
                    yield from batches.full()
            yield from batches.rest()
        for at, file in enumerate(self.given.files):
            one = file.object
            unread = TableFile(file.url, one.size or 0, one.token or "", 0)
            self.files.append(file.done() if at in was_read else unread)

    def needs(self) -> Wanted:
        return {
            "images": frozenset({"image", "file_name", *_KEYS}),
            "objects": frozenset({"image", "category"}),
        }

    def records(self, facts: Facts) -> str:
        return counted_query(facts, keys=_KEYS, where="o.image IS NOT NULL")

    def example(self, table: str) -> str:
        return (
            "SELECT i.file_name, i.channel, i.scene, count(o.id) AS objects\n"
            f"FROM {table}.images i LEFT JOIN {table}.objects o ON o.sample = i.sample\n"
            "WHERE i.is_key_frame\n"
            "GROUP BY i.file_name, i.channel, i.scene"
        )

    def _relation(self, name: str) -> ReaderRelation:
        return next(one for one in self.relations if one.name == name)

    def _tables(self) -> dict[str, int]:
        """The tables by name, with the positions of their files. Raises JobError for another folder."""
        found: dict[str, int] = {}
        for at, file in enumerate(self.given.files):
            name = _table(file.path)
            if name in KEPT or name in _LARGE:
                if name in found:
                    other = self.given.files[found[name]]
                    raise self.given.fault(
                        f"there are two tables {name}: {other.url} and {file.url}",
                        advice="name the folder of one version, such as v1.0-trainval/",
                    )
                found[name] = at
        lacking = [name for name in _REQUIRED if name not in found]
        if lacking:
            raise self.given.fault(
                f"{self.given.value.shown} has no {', '.join(f'{name}.json' for name in lacking)}",
                advice="name the folder with the tables, with a slash at its end: v1.0-trainval/",
            )
        return found

    def _rows_of(self, at: int) -> Iterator[Found]:
        file = self.given.files[at]
        if file.head().lstrip()[:1] == b"{":
            raise self._fault(file, "is an object, and a table is a list")
        return objects_of(file.utf8(), {WHOLE}, lambda message: self._fault(file, message))

    def _fault(self, file: ReaderFile, message: str) -> JobError:
        return self.given.fault(
            f"{file.url} {message}", advice="download or upload the dataset's tables again"
        )

    def _link(self, links: Links, name: str, file: int, found: Found, relation: str, reject: Reject) -> None:
        try:
            if found.bad is not None:
                raise found.bad
            links.add(name, found.value)
        except Bad as bad:
            self._reject(reject, relation, f"{name} {found.number}", file, found, bad)
        except TooMany:
            raise self.given.fault(
                f"{self.given.value.shown} has more than {MOST:,} rows in its small tables",
                advice="read its tables with table:, and join them in a query",
            ) from None

    def _reject(self, reject: Reject, relation: str, called: str, file: int, found: Found, bad: Bad) -> None:
        message = f"{called}: {bad.message}"
        reject(relation, found.number, message, file=file, column=bad.column, value=bad.value)


def _table(path: str) -> str:
    """The table that a file is by its name: sample_data of v1.0-mini/sample_data.json.gz."""
    name = path.rpartition("/")[2]
    stem, _, ending = name.partition(".")
    return stem if ending in ("json", "json.gz", "json.zst", "json.zip") else ""
