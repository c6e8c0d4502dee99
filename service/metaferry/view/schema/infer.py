"""Schema entries proposed from a job's tables, each with the figures that it is judged by.

The entries are those that `schema: infer` would have: the ones in place or in the job stay as they are, and
what has no entry gets one. Only tables and schema.json are read; media are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.job.parts import Infer
from metaferry.lightly import schema as rules
from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database
from metaferry.planning.entries import combined_entries, resolve_entries
from metaferry.progress import Progress, Silent
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.gather import read_tables
from metaferry.runs.listings.media import JobMedia
from metaferry.tables.model import Loaded
from metaferry.view.schema.alternatives import Alternative, alternatives
from metaferry.view.schema.profile import Profile, profile

#: Where an entry is from.
DATA: Final = "data"
SCHEMA: Final = "schema.json"
JOB: Final = "job"

#: Findings that say something about an entry.
_CODES: Final = (Code.SCHEMA_TEXT, Code.SCHEMA_UNCOVERED, Code.SOURCE_NULLS)


@dataclass(frozen=True, slots=True)
class Proposed:
    """An entry, where it is from (`data`, `schema.json` or `job`), and its reasons.

    `by_data` is the type that the data alone would give; None where no column has a value, or where sources
    disagree. `unfit` values do not fit the entry: a run rejects their rows.
    """

    entry: Entry
    origin: str
    columns: tuple[Profile, ...]
    by_data: ValueType | None
    unfit: int
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A finding of the tables that concerns an entry, or a key that has none."""

    message: str
    advice: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class InferredSchema:
    """The entries in the order of schema.json, and what else there is to know.

    `malformed` rows could not be read and `filtered` ones are left out by `where`: neither are counted in the
    figures of columns.
    """

    entries: tuple[Proposed, ...]
    notes: tuple[Note, ...]
    rows: int
    malformed: int
    filtered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `entries` as schema.json has them, and `reasons` in the same order."""
        return {
            "entries": [each.entry.to_json() for each in self.entries],
            "reasons": [
                {
                    "path": each.entry.path,
                    "from": each.origin,
                    "by_data": each.by_data,
                    "unfit": each.unfit,
                    "columns": [_column(one) for one in each.columns],
                    "could_be": [
                        {
                            "valueDataType": one.type,
                            "defaultValue": one.default,
                            "why": one.why,
                            "metadata": one.write,
                        }
                        for one in each.alternatives
                    ],
                }
                for each in self.entries
            ],
            "notes": [asdict(note) for note in self.notes],
            "rows": self.rows,
            "malformed": self.malformed,
            "filtered": self.filtered,
        }


def infer_schema(
    job: Job, *, progress: Progress | None = None, deps: RuntimeDeps | None = None
) -> InferredSchema:
    """The entries for a job's tables. Raises what `runs/gather.py` raises for tables and schema.json."""
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    with open_job(job, deps) as (storages, database):
        media = JobMedia(job, storages, database, progress, deps.now())
        read = read_tables(job, database, storages, storages.portal, progress, media, always_schema=True)
        in_place = read.early[1] if read.early else ()
        existing = in_place if read.given is None else combined_entries(job, in_place, read.given).entries
        progress.phase("Looking at columns", None)
        resolved = resolve_entries(
            database,
            job.model_copy(update={"schema_": _as_written(job)}),
            read.sources,
            in_place=existing,
            given=None,
        )
        origins = {entry.path: SCHEMA for entry in in_place}
        origins |= {entry.path: JOB for entry in read.given or ()}
        columns = _profiles(database, job, read.sources)
        proposed = tuple(
            _propose(entry, origins.get(entry.path, DATA), columns.get(entry.path, ()))
            for entry in resolved.entries
        )
        return InferredSchema(
            proposed,
            (*_notes(database), *_empty(columns, resolved.entries)),
            rows=sum(source.read for source in read.sources),
            malformed=sum(source.malformed for source in read.sources),
            filtered=sum(source.filtered for source in read.sources),
        )


def _as_written(job: Job) -> Infer:
    """How the job infers. Entries in place stay: whether one is widened is for `schema diff`."""
    infer = job.schema_ if isinstance(job.schema_, Infer) else Infer()
    return infer.model_copy(update={"widen": False})


def _profiles(database: Database, job: Job, sources: Sequence[Loaded]) -> Mapping[str, tuple[Profile, ...]]:
    found: dict[str, tuple[Profile, ...]] = {}
    for loaded, source in zip(sources, job.sources, strict=True):
        for key in loaded.keys:
            path = ".".join(key.path)
            found[path] = (*found.get(path, ()), profile(database, loaded, source, key))
    return found


def _propose(entry: Entry, origin: str, columns: tuple[Profile, ...]) -> Proposed:
    filled = [each for each in columns if each.filled]
    return Proposed(
        entry,
        origin,
        columns,
        rules.infer(each.observed for each in filled) if filled else None,
        sum(_unfit(each, entry.type) for each in columns),
        alternatives(entry.path, entry.type, columns),
    )


def _unfit(column: Profile, value_type: ValueType) -> int:
    expected = rules.expected(value_type)
    counts = [count for one, count in column.unfit.items() if rules.expected(one) == expected]
    return counts[0] if counts else column.filled


def _notes(database: Database) -> list[Note]:
    codes = ", ".join(f"'{code}'" for code in _CODES)
    rows = database.rows(
        f"SELECT DISTINCT message, advice, source FROM findings WHERE code IN ({codes}) "
        "ORDER BY source, message, advice"
    )
    return [Note(*row) for row in rows]


def _empty(columns: Mapping[str, tuple[Profile, ...]], entries: Sequence[Entry]) -> list[Note]:
    known = {entry.path for entry in entries}
    return [
        Note(f"{path} has no value in any row, so no type", "write an entry by hand where it should be shown")
        for path, profiles in sorted(columns.items())
        if path not in known and not any(each.filled for each in profiles)
    ]


def _column(column: Profile) -> dict[str, Any]:
    return {
        "source": column.source,
        "column": column.name,
        "type": column.type,
        "rows": column.rows,
        "nulls": column.nulls,
        "distinct": column.distinct,
        "min": column.minimum,
        "max": column.maximum,
        "not_finite": column.not_finite,
        "examples": [asdict(each) for each in column.examples],
    }
