"""The contract suite of readers: what a reader of this or another package runs in a test.

    from metaferry.job.readers.annotations import Annotations
    from metaferry.tables.readers.testing import check_damaged, check_reader

    def test_my_reader(tmp_path):
        tables = check_reader(MyReader(), Annotations(url="sample.xml", reader="mine"))
        assert tables["images"].column("file_name").to_pylist() == ["a.jpg"]
        check_damaged(MyReader(), Path("sample.xml"), tmp_path)

Raises AssertionError with the rule that is broken. Nothing in metaferry itself imports it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from metaferry.errors import MetaferryError
from metaferry.job.parts import Location
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.keys import READER_KEYS, check_reader_name
from metaferry.job.readers.telemetry import Telemetry
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.tables.macros import define_macros
from metaferry.tables.model import OURS, Staged, folded
from metaferry.tables.query.load import make_relation
from metaferry.tables.query.prepare import bind_query, parse_query
from metaferry.tables.readers.contract import Given, Opened, Reader, TooMuch, Wanted
from metaferry.tables.readers.files import reader_files
from metaferry.tables.readers.source import RelationFacts
from metaferry.tables.readers.stage import staged_relations
from metaferry.tables.staging import FINDINGS_SCHEMA, REJECTS_SCHEMA, Findings

#: The models of readers of files, by their key in a job.
_MODELS: Final[dict[str, type[Annotations | Telemetry]]] = {
    "annotations": Annotations,
    "telemetry": Telemetry,
}
#: Rows of a batch, at most: memory is bounded by a few of them.
_MOST_ROWS: Final = 131_072
#: The table that the relations belong to here.
_TABLE: Final = "sample"
_PLACE: Final = f"tables.{_TABLE}"


def check_reader(reader: Reader, value: Any) -> dict[str, pa.Table]:
    """Holds a reader to its contract on one source, the value of its key in a job, such as an `Annotations`.

    Answers the rows of each relation, with their places in the column `@`, for a test to compare with what
    it knows of the sample.
    """
    _check_attributes(reader)
    with _opened(reader, value) as (opened, given):
        _check_relations(reader, opened)
        whole, rejects = _read(opened, given, dict.fromkeys(reader.relations))
    with _opened(reader, value) as (opened, given):
        again, same = _read(opened, given, dict.fromkeys(reader.relations))
        _require((again, same) == (whole, rejects), "a second pass gives other rows or rejects")
    for name in reader.relations:
        for column in [name for name in whole[name].column_names if name != "@"]:
            with _opened(reader, value) as (opened, given):
                alone, _ = _read(opened, given, {name: frozenset({folded(column)})})
            wanted = {name: whole[name].select(["@", column])}
            _require(_covers(alone, wanted), f"{name}.{column} alone has other rows than among all columns")
    with _opened(reader, value) as (_, given):
        for file in given.files[:1]:  # of which a reader may have read none
            _require(
                isinstance(reader.recognises(file.head(), [file.path]), bool),
                "the first file is asked for a bool",
            )
    for head in (b"", b"\0\xff", b"{", b"<a", b"[" * 1000):
        _require(isinstance(reader.recognises(head, ["x"]), bool), f"recognises({head!r}) answers no bool")
    _check_queries(reader, value)
    return whole


def check_damaged(reader: Reader, sample: Path, folder: Path, *, seed: int = 0, tries: int = 60) -> None:
    """Reads copies of a sample that are cut and changed, `tries` of each, made in `folder`: every one gives
    rows, rejects, or an error of metaferry's, and never another exception."""
    data, chance = sample.read_bytes(), random.Random(seed)
    for number in range(2 * tries):
        damaged = bytearray(data[: chance.randrange(len(data) + 1)] if number % 2 else data)
        for _ in range(chance.randrange(1, 6) if damaged else 0):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        copy = folder / f"damaged_{number}_{sample.name}"
        copy.write_bytes(damaged)
        value = _MODELS[reader.key](url=str(copy), reader=reader.name)
        try:
            with _opened(reader, value) as (opened, given):
                _read(opened, given, dict.fromkeys(reader.relations))
        except MetaferryError as error:
            _require(str(error), "an error says nothing")
        except Exception as error:
            raise AssertionError(
                f"{copy} (seed {seed}, number {number}) raises {type(error).__name__}: {error}"
            ) from error
        copy.unlink()


def _require(holds: object, rule: str) -> None:
    """Raises AssertionError with the rule unless it holds, also where Python leaves asserts out."""
    if not holds:
        raise AssertionError(rule)


def _check_attributes(reader: Reader) -> None:
    _require(reader.key in READER_KEYS, f"key is {reader.key!r}, and a job has {', '.join(READER_KEYS)}")
    check_reader_name(reader.name)
    _require(reader.title and "\n" not in reader.title, "title is one line")
    _require(reader.frame_base in (0, 1), "frame_base is 0 or 1")
    _require(reader.relations, "there are no relations")
    for name in reader.relations:
        check_reader_name(name)
    _require(
        len({folded(name) for name in reader.relations}) == len(reader.relations), "two relations of a name"
    )


def _check_relations(reader: Reader, opened: Opened) -> None:
    names = tuple(relation.name for relation in opened.relations)
    _require(
        names == tuple(reader.relations), f"the relations are {names}, and were said to be {reader.relations}"
    )
    with duckdb.connect() as con:
        for relation in opened.relations:
            _require(
                relation.meaning and relation.place, f"{relation.name} has no meaning, or no word for places"
            )
            known = [folded(column.name) for column in relation.columns]
            _require(
                known and len(set(known)) == len(known), f"{relation.name} has no columns, or two of a name"
            )
            for column in relation.columns:
                where = f"{relation.name}.{column.name}"
                _require(column.meaning and "\n" not in column.meaning, f"{where} has no meaning of one line")
                _require(not known[0].startswith(OURS), f"{where} begins with {OURS}")
                _require(
                    not column.json or column.type == pa.string(), f"{where} is JSON, and no pa.string()"
                )
            con.from_arrow(relation.schema.empty_table()).fetchall()  # the engine knows the types


def _read(opened: Opened, given: Given, wanted: Wanted) -> tuple[dict[str, pa.Table], list[tuple[Any, ...]]]:
    """All rows by relation, in the order of their places, and the rejects."""
    known = {relation.name: relation for relation in opened.relations}
    batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in wanted}
    rejects: list[tuple[Any, ...]] = []

    def reject(relation: str, place: int, message: str, *, file: int = 0, **more: str) -> None:
        _require(relation in known, f"a reject is of {relation!r}, which is no relation")
        _require(message, "a reject has no message")
        _require(0 <= file < max(1, len(given.files)), f"a reject is of file {file}")
        _require(isinstance(place, int), f"the place of a reject is {place!r}")
        rejects.append((relation, file, place, message, more.get("column", ""), more.get("value", "")))

    for rows in opened.read(wanted, reject):
        _require(rows.relation in wanted, f"{rows.relation} is not wanted, and has rows")
        named = wanted[rows.relation]
        schema = pa.schema(
            [
                (column.name, column.type)
                for column in known[rows.relation].columns
                if named is None or folded(column.name) in named
            ]
        )
        _require(rows.batch.schema.equals(schema), f"{rows.relation} has {rows.batch.schema}, not {schema}")
        _require(
            rows.places.type == pa.int64() and not rows.places.null_count, "places are int64 without null"
        )
        _require(len(rows.places) <= _MOST_ROWS, f"a batch has {len(rows.places):,} rows")
        _require(not schema or len(rows.places) == rows.batch.num_rows, "not as many places as rows")
        _require(0 <= rows.file < max(1, len(given.files)), f"rows are of file {rows.file}")
        rows.batch.validate(full=True)
        batches[rows.relation].append(
            pa.RecordBatch.from_arrays([rows.places, *rows.batch.columns], names=["@", *schema.names])
        )
    _require(len(opened.files) == len(given.files) or not given.files, "files are not told at the end")
    tables = {}
    for name, each in batches.items():
        named = wanted[name]
        own = [c for c in known[name].columns if named is None or folded(c.name) in named]
        schema = pa.schema([("@", pa.int64()), *((column.name, column.type) for column in own)])
        tables[name] = pa.Table.from_batches(each, schema)
    return tables, rejects


def without_times(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with nanoseconds as whole numbers: Python has no times with so many digits."""
    columns = [c.cast(pa.int64()) if c.type in _NANOSECONDS else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names) if columns else batch


_NANOSECONDS: Final = (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    return [row for batch in table.to_batches() for row in without_times(batch).to_pylist()]


def _covers(found: Mapping[str, pa.Table], wanted: Mapping[str, pa.Table]) -> bool:
    """Whether all rows are there. Where less is decoded there may be more: nobody looks at what is wrong."""
    for name, table in wanted.items():
        rows = [tuple(row.values()) for row in _rows_of(found[name])]
        left = list(map(repr, rows))
        for row in _rows_of(table):
            if repr(tuple(row.values())) not in left:
                return False
    return True


def _check_queries(reader: Reader, value: Any) -> None:
    """That the query to start from, and the one of the short form, are such as a job may have."""
    readers = {_TABLE: tuple(reader.relations)}
    with _opened(reader, value) as (opened, given), engine() as con:
        parsed, faults = parse_query(opened.example(_TABLE), [], readers)
        assert parsed is not None, f"the example is no query: {[fault.message for fault in faults]}"
        wanted: Wanted = dict.fromkeys(reader.relations)
        with staged_relations(
            con,
            reader,
            opened,
            given,
            wanted=wanted,
            table="sample",
            label=_TABLE,
            progress=lambda rows: None,
        ) as staged:
            _bind(con, opened.example(_TABLE), readers, {f"{_TABLE}.{n}": s for n, s in staged.items()})
            if len(reader.relations) > 1:
                views = {n: make_relation(con, n, f"r{n}", s, ()) for n, s in staged.items()}
                _require(set(opened.needs()) <= set(reader.relations), "needs() names what is no relation")
                with contextlib.suppress(TooMuch):
                    query = opened.records(RelationFacts(con, _with_paths(con, views), Findings(con, _TABLE)))
                    _bind(con, query, {}, staged)
                for view in views.values():
                    con.execute(f"DROP VIEW {view.view}")


def _with_paths(con: duckdb.DuckDBPyConnection, views: Any) -> Any:
    """The relations with the column `_path`, which a job has where a query asks for it."""
    from dataclasses import replace

    for one in views.values():
        con.execute(f"CREATE VIEW {one.view}_p AS SELECT *, '' AS _path FROM {one.view}")
    return {name: replace(one, view=f"{one.view}_p") for name, one in views.items()}


def _bind(
    con: duckdb.DuckDBPyConnection, text: str, readers: Mapping[str, Any], staged: Mapping[str, Staged]
) -> None:
    """Raises AssertionError unless the query fits the relations, and is the same on every run."""
    from metaferry.tables.model import Column

    parsed, faults = parse_query(text, () if readers else staged, readers)
    assert parsed is not None, f"{text}: {[fault.message for fault in faults]}"
    path = Column("_path", "VARCHAR")
    schema = {name: (*staged[name].columns, path) for name in parsed.tables}
    bound, faults = bind_query(parsed, schema, {name: f"v{at}" for at, name in enumerate(sorted(schema))})
    assert bound is not None, f"{text}: {[fault.message for fault in faults]}"
    names = {column.name for column in bound.columns}
    _require("file_name" in names, f"{text}: it has no column file_name")


@contextlib.contextmanager
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine with what staging needs, as a run has it."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET preserve_insertion_order = false")
        for name, schema in (("rejects", REJECTS_SCHEMA), ("findings", FINDINGS_SCHEMA)):
            con.register("metaferry_empty", schema.empty_table())
            con.execute(f"CREATE TABLE {name} AS FROM metaferry_empty")
            con.unregister("metaferry_empty")
        con.execute("SET enable_external_access = false")
        define_macros(con)
        yield con


@contextlib.contextmanager
def _opened(reader: Reader, value: Any) -> Iterator[tuple[Opened, Given]]:
    """A source, open, with its files."""
    storages: list[Storage] = []

    def storage_for(url: str, options: Mapping[str, Any]) -> Storage:
        storages.append(open_storage(url, options, retry_for=5))
        return storages[-1]

    with Portal() as portal:
        try:
            files, _ = (
                reader_files(
                    value,
                    place=_PLACE,
                    storage_for=storage_for,
                    portal=portal,
                    allow_none=False,
                    progress=lambda rows: None,
                )
                if isinstance(value, Location)
                else ([], [])
            )
            given = Given(value, files, _PLACE)
            yield reader.open(given), given
        finally:
            for storage in storages:
                portal.run(storage.close())
