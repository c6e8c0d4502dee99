"""A tree as a table, for a call of the library and for a file: what was found, its rows, and what it leaves.

`open_export` reads the tree once, into the planning engine; rows and files come from there. Nothing is
written but the file that is asked for, and the job file beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from metaferry.lightly.key_paths import join_path
from metaferry.lightly.names import Kind
from metaferry.planning.database import Database
from metaferry.view.export import rows
from metaferry.view.export.job_file import is_mapped
from metaferry.view.export.values import DOCUMENT, INVALID, MISNAMED, ORPHAN, TABLE, ValueColumn, Values

if TYPE_CHECKING:
    import pyarrow as pa

#: Invalid documents that are named; the others are counted.
NAMED: Final = 1_000
#: Keys that a note names.
_KEYS: Final = 5


@dataclass(frozen=True, slots=True)
class InvalidDocument:
    """A document that no consumer shows as it should, and why.

    Line and column count from 1; 0 where there is none.
    """

    target: str
    line: int
    column: int
    message: str


@dataclass(slots=True)
class ExportReport:
    """What an export holds. `rows` are those of the table; `states` counts what was found, in it or not.

    invalid: documents that were left out, misnamed: those of frames that no consumer looks for, since their
    number has too many or too few digits; `named` has the first of both. out, job: the file that was
    written, and the job file beside it, "" without one. notes: what is no fault.
    """

    url: str
    as_written: bool
    rows: int = 0
    states: dict[str, int] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    invalid: int = 0
    misnamed: int = 0
    named: list[InvalidDocument] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    out: str = ""
    bytes: int = 0
    job: str = ""

    @property
    def held(self) -> dict[str, int]:
        """The states of the rows."""
        left_out = (INVALID,) if self.as_written else (INVALID, ORPHAN, MISNAMED)
        return {state: number for state, number in self.states.items() if state not in left_out}

    @property
    def exit_code(self) -> int:
        """3 where a document is invalid or misnamed, else 0."""
        return 3 if self.invalid or self.misnamed else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"exit_code": self.exit_code}


class Export:
    """The rows of a tree, and what was found. Open while the block of `open_export` lasts.

    Iterating gives Arrow record batches, ordered by target; `pyarrow`, `duckdb`, `pandas` and `polars` take
    the object itself, as an Arrow stream. One iteration at a time.
    """

    def __init__(self, database: Database, values: Values, report: ExportReport) -> None:
        self._database = database
        self._values = values
        self.report = report

    @property
    def schema(self) -> pa.Schema:
        """The columns: target, kind, media, frame, state, and one for each entry, or for each key."""
        return rows.schema_of(self._values)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return rows.batches(self._database, self._values, as_written=self.report.as_written)

    def reader(self) -> pa.RecordBatchReader:
        """The rows as a reader of Arrow batches, for what takes no iterator."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.reader().__arrow_c_stream__(requested_schema)


def notes_as_written(database: Database, values: Values) -> list[str]:
    """What would not come back as it is, were the table read back; of keys, and of frames."""
    found = []
    texts = [column for column in values.columns if column.is_text]
    if texts:
        found.append(f"of several types, so JSON text in the table, and not in the job: {_keys(texts)}")
    unmapped = [column for column in values.columns if not column.is_text and not is_mapped(column)]
    if unmapped:
        found.append(f"no source can give a key of this name, so not in the job: {_keys(unmapped)}")
    rewritten = [column for column in values.columns if column.rewrites and not column.is_text]
    if rewritten:
        found.append(
            f"whole numbers among numbers with fractions, which come back as 1.0: {_keys(rewritten)}"
        )
    frames = _frames_that_gain(database, values)
    if frames:
        found.append(
            f"{frames:,} frame document{'s lack' if frames > 1 else ' lacks'} a key of the video's document: "
            "a sync of the job gives it to them"
        )
    return found


def _frames_that_gain(database: Database, values: Values) -> int:
    """Frame documents without a value that the document of their video has."""
    lacking = " OR ".join(
        f"(f.{c.column} IS NULL AND v.{c.column} IS NOT NULL)" for c in values.columns if is_mapped(c)
    )
    if not lacking:
        return 0
    found: int = database.value(
        f"""
        SELECT count(*) FROM {TABLE} f JOIN {TABLE} v
        ON v.media = f.media AND v.kind = '{Kind.VIDEO}' AND f.kind = '{Kind.FRAME}'
        WHERE f.state = '{DOCUMENT}' AND v.state = '{DOCUMENT}' AND ({lacking})
        """
    )
    return found


def _keys(columns: Sequence[ValueColumn]) -> str:
    named = ", ".join(join_path(column.steps) for column in columns[:_KEYS])
    return named + (f" and {len(columns) - _KEYS:,} more" if len(columns) > _KEYS else "")
