"""Readers by key and name: those of this package, and those that other packages name as entry points.

A reader of another package is an entry point of the group `metaferry.readers`: its name, and a class or an
instance that is a `contract.Reader`. It is imported when a job asks for it by name, or when no reader of ours
knows a file. One of ours cannot be replaced.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from metaferry.errors import JobError
from metaferry.job.readers.keys import READER_KEYS, Given
from metaferry.tables.readers.contract import Reader

GROUP: Final = "metaferry.readers"

#: Readers of this package: the key of the job, the name, and where the class is. Each is imported when it is
#: needed. In this order they are asked whether they know a file: the stricter ones first.
_OURS: Final = (
    ("annotations", "lightly", "metaferry.tables.readers.annotations.coco:LightlyReader"),
    ("annotations", "nuscenes", "metaferry.tables.readers.annotations.nuscenes.reader:NuscenesReader"),
    ("annotations", "cvat", "metaferry.tables.readers.annotations.cvat.reader:CvatReader"),
    (
        "annotations",
        "label_studio",
        "metaferry.tables.readers.annotations.label_studio.reader:LabelStudioReader",
    ),
    ("annotations", "labelbox", "metaferry.tables.readers.annotations.labelbox:LabelboxReader"),
    ("annotations", "scalabel", "metaferry.tables.readers.annotations.scalabel:ScalabelReader"),
    ("annotations", "coco", "metaferry.tables.readers.annotations.coco:CocoReader"),
    ("sql", "sql", "metaferry.tables.readers.sql.reader:SqlReader"),
    ("delta", "delta", "metaferry.tables.readers.lake.reader:DeltaReader"),
    ("iceberg", "iceberg", "metaferry.tables.readers.lake.reader:IcebergReader"),
    ("object", "object", "metaferry.tables.readers.media.objects:ObjectReader"),
    ("media_facts", "media_facts", "metaferry.tables.readers.media.facts:MediaFactsReader"),
    ("telemetry", "gpx", "metaferry.tables.readers.telemetry.gpx:GpxReader"),
    ("telemetry", "nmea", "metaferry.tables.readers.telemetry.nmea.reader:NmeaReader"),
    ("telemetry", "mcap", "metaferry.tables.readers.telemetry.mcap.reader:McapReader"),
    ("telemetry", "rosbag", "metaferry.tables.readers.telemetry.rosbag.reader:RosbagReader"),
)


#: Keys of the job of which the files tell the reader.
_OF_FORMATS: Final = ("annotations", "telemetry")


def reader_named(given: Given, place: str) -> Reader | None:
    """The reader that the job names, or the only one of its key; None where the files have to tell.

    Raises JobError for a name that no reader of the key has, and for a package whose reader is none.
    """
    name = getattr(given.value, "reader", None)
    own = [known for key, known, _ in _OURS if key == given.key]
    if name is None:
        return _ours(given.key, own[0]) if len(own) == 1 and given.key not in _OF_FORMATS else None
    if name in own:
        return _ours(given.key, name)
    foreign = _foreign(place).get(name)
    if foreign is not None and foreign.key == given.key:
        return foreign
    known = sorted([*own, *(each.name for each in _foreign(place).values() if each.key == given.key)])
    near = difflib.get_close_matches(name, known, 1, 0.6)
    raise JobError(
        f"there is no reader {name!r} for {given.key}",
        place=f"{place}.reader" if place else "",
        advice=f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}",
    )


def readers_of(key: str, place: str) -> Iterator[Reader]:
    """All readers of a key, ours first, each imported when it is asked for."""
    for known, name, _ in _OURS:
        if known == key:
            yield _ours(key, name)
    for reader in _foreign(place).values():
        if reader.key == key:
            yield reader


def key_of(name: str) -> str:
    """The key of the job that a reader of files has, by its name; that of annotations where none has it.

    Raises JobError as `reader_named` does.
    """
    known = {own: key for key, own, _ in reversed(_OURS) if key in _OF_FORMATS}
    if name not in known:
        known |= {other: reader.key for other, reader in _foreign("").items() if reader.key in _OF_FORMATS}
    return known.get(name, _OF_FORMATS[0])


@functools.cache
def _ours(key: str, name: str) -> Reader:
    where = next(where for known, own, where in _OURS if (known, own) == (key, name))
    module, _, kind = where.partition(":")
    reader: Reader = getattr(import_module(module), kind)()
    return reader


def _foreign(place: str) -> dict[str, Reader]:
    """The readers of other packages by name, in the order of their names."""
    found: dict[str, Reader] = {}
    for point in sorted(_points(), key=lambda point: point.name):
        found.setdefault(point.name, _loaded(point, place))
    return found


def _points() -> Sequence[EntryPoint]:
    """The entry points of the group; a function of its own, for tests."""
    return tuple(entry_points(group=GROUP))


def _loaded(point: EntryPoint, place: str) -> Reader:
    """The reader of an entry point. JobError where it cannot be imported, or is none."""
    package = point.dist.name if point.dist is not None else point.value
    try:
        loaded: Any = point.load()
        reader: Reader = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise JobError(
            f"the reader {point.name} of {package} cannot be imported: {type(error).__name__}: {error}",
            place=place,
            advice="upgrade the package, or uninstall it",
        ) from error
    lacking = [name for name in _MEMBERS if not hasattr(reader, name)]
    if lacking or reader.key not in READER_KEYS:
        why = f"it has no {', '.join(lacking)}" if lacking else f"there is no key {reader.key!r} in a job"
        raise JobError(
            f"the reader {point.name} of {package} is none: {why}",
            place=place,
            advice="metaferry.tables.readers.contract says what a reader is",
        )
    return reader


_MEMBERS: Final = ("key", "name", "title", "relations", "frame_base", "recognises", "takes_folder", "open")
