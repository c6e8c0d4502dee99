"""Loading: one metadata source of the job, from its files to a table of records in the engine.

Every byte comes through the storage contract: files are streamed in as Arrow batches, in memory
bounded by a few blocks, and the engine itself reaches nothing. Rows that are no records are named
in `rejects`; whatever else is wrong (a missing file, an expression that does not fit) is one
JobError, before the planner sees anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.sources import Source
from metaferry.job.tables import TEXT_OPTIONS, TableOptions
from metaferry.storage.io.portal import Portal
from metaferry.tables.csv.dialect import Dialect
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.files.find import Format, StorageFor, TableObject, find_files
from metaferry.tables.files.folders import with_folders
from metaferry.tables.mapping import Mapping, Origins, build_records, nowhere, parse_mapping
from metaferry.tables.model import FILE, ROW, Frames, KeyColumn, Loaded, ShownColumn, Staged, TableFile
from metaferry.tables.staging import Findings, Rejects, quote_ident

if TYPE_CHECKING:
    import duckdb

#: Rows that the values shown of a column are taken from.
_ROWS_SHOWN: Final = 100
#: Files that a finding names.
_FILES_SHOWN: Final = 3

__all__ = ["KeyColumn", "Loaded", "TableFile", "load_source"]


def load_source(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    *,
    index: int,
    storage_for: StorageFor,
    portal: Portal,
    progress: Callable[[int], None],
    allow_none: bool = False,
    texts: Collection[str] = (),
    origins: Origins = nowhere,
) -> Loaded:
    """Source number `index` as the table `source_{index}`; see `Loaded` for its columns.

    `con` has the tables `rejects` and `findings` and the macros (`macros.py`), its time zone is
    UTC. `storage_for(url, options)` opens a datasource; who opened it closes it. `progress` is told numbers
    of rows. With `allow_none` a glob that matches no file yet is a table without rows. `texts` are the dotted
    key paths whose schema entries want text; `origins` knows where the job file has an expression. Raises
    JobError for everything in the job file that does not fit what is there, StorageError for a store that
    does not answer.
    """
    place = f"sources[{index}]"
    mapping = parse_mapping(source, place, origins)
    with staged_table(
        con,
        source,
        name=f"staged_{index}",
        label=source.label,
        used=mapping.used,
        storage_for=storage_for,
        portal=portal,
        place=f"{place}.table",
        progress=progress,
        allow_none=allow_none,
        keep=True,
    ) as staged:
        return loaded_records(con, source, mapping, staged, index=index, texts=texts)


def loaded_records(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    mapping: Mapping,
    staged: Staged,
    *,
    index: int,
    texts: Collection[str] = (),
) -> Loaded:
    """Staged rows as the table `source_{index}`; the staged table is dropped where nothing reads it."""
    table = f"source_{index}"
    shown = source.label if source.table is None else source.location.shown
    findings = Findings(con, source.label)
    records = build_records(con, staged, mapping, table=table, source=shown, findings=findings, texts=texts)
    if not records.is_view:
        _drop(con, staged.table)
    findings.flush()
    ((kept,),) = con.execute(f"SELECT count(*) FROM {quote_ident(table)}").fetchall()
    return Loaded(
        label=source.label,
        table=table,
        files=staged.files,
        read=staged.read,
        malformed=staged.malformed,
        keys=records.keys,
        has_frame=mapping.frame is not None,
        reading=staged.reading,
        filtered=staged.read - staged.malformed - kept,
        file_name=source.file_name,
        frames=mapping.frame.frames if mapping.frame is not None else Frames(),
        match=source.match,
    )


@contextlib.contextmanager
def staged_table(
    con: duckdb.DuckDBPyConnection,
    source: TableOptions,
    *,
    name: str,
    label: str,
    used: frozenset[str] | None,
    storage_for: StorageFor,
    portal: Portal,
    place: str,
    progress: Callable[[int], None],
    allow_none: bool = False,
    keep: bool = False,
) -> Iterator[Staged]:
    """The rows of a table as the engine's table `name`, for one block; its `reading` is whole.

    With `keep` the table outlives a block that raises nothing.

    `label` is what rejects and findings call it; `used` has the columns that are wanted, as `folded` gives
    them (None: all); the other arguments are those of `load_source`.
    """
    found = find_files(source, place=place, storage_for=storage_for, portal=portal, allow_none=allow_none)
    rejects, findings = Rejects(con, label), Findings(con, label)
    is_whole = False
    try:
        staged = _stage(
            con, found.files, found.format, name, source, used, rejects, findings, portal, place, progress
        )
        staged = with_folders(con, staged, found.files, used, table=_folders(name), place=place)
        rejects.flush()
        tell_passed_over(findings, [*found.passed_over, *staged.empty])
        findings.flush()
        staged = replace(
            staged, reading=replace(staged.reading, name=label, columns=shown_columns(con, staged))
        )
        is_whole = True
        yield staged
    except JobError as error:
        _drop(con, name)
        # Of a block for several tables, nobody knows which of them is at fault.
        if (is_whole and not keep) or found.format not in ("json", "jsonl") or not found.files:
            raise
        from metaferry.tables.json.keyed import keyed_fault

        lines, encoding = found.format == "jsonl", source.encoding or ""
        instead = keyed_fault(found.files[0], portal, place, encoding=encoding, lines=lines)
        if instead is None:
            raise
        raise instead from error
    except BaseException:
        _drop(con, name)
        raise
    if not keep:
        _drop(con, name)


def _folders(name: str) -> str:
    """The table with what the paths of a staged table's files say."""
    return f"folders_{name}"


def _drop(con: duckdb.DuckDBPyConnection, name: str) -> None:
    for table in (name, _folders(name)):
        con.execute(f"DROP TABLE IF EXISTS {quote_ident(table)}").fetchall()


def tell_passed_over(findings: Findings, urls: list[str]) -> None:
    """Names the files that a glob matched and that hold nothing."""
    if urls:
        shown = ", ".join(urls[:_FILES_SHOWN])
        more = f" and {len(urls) - _FILES_SHOWN:,} more" if len(urls) > _FILES_SHOWN else ""
        one = len(urls) == 1
        files = "1 file holds" if one else f"{len(urls):,} files hold"
        message = f"{files} no table and {'is' if one else 'are'} passed over: {shown}{more}"
        findings.add(Code.SOURCE_PASSED_OVER, "info", message)


def shown_columns(con: duckdb.DuckDBPyConnection, staged: Staged) -> tuple[ShownColumn, ...]:
    """The columns with values of the first rows, for people; those that are used first."""
    if not staged.columns:
        return staged.others
    listed = ", ".join(f"left({quote_ident(column.name)}::VARCHAR, 60)" for column in staged.columns)
    first = staged.relation(f" WHERE rowid < {_ROWS_SHOWN}")
    rows = con.execute(f"SELECT {listed} FROM ({first}) r ORDER BY {FILE}, {ROW}").fetchall()
    shown = []
    for at, column in enumerate(staged.columns):
        values = dict.fromkeys(row[at] for row in rows if row[at] is not None)
        shown.append(ShownColumn(column.name, column.type, tuple(values)[:3]))
    return (*shown, *staged.others)


def _stage(
    con: duckdb.DuckDBPyConnection,
    files: list[TableObject],
    format: Format,
    table: str,
    source: TableOptions,
    used: frozenset[str] | None,
    rejects: Rejects,
    findings: Findings,
    portal: Portal,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The files as rows, by the reader of their format. Each reader is imported when it is needed.

    What the first file holds decides over what its name says.
    """
    if not files:
        return Staged(table, (), (), (), 0, relation=lambda where: "", why_text=lambda name: "")
    encoding = source.encoding or ""
    if format != "parquet":
        first = ByteStream(files[0], portal, place, encoding)
        first.open()
        if first.content == "parquet" and not first.packed:
            format = "parquet"
        elif first.content == "arrow":
            format = "arrow"
    if format not in ("csv", "tsv"):
        _no_text_options(source, format, files[0].url, place)
    if format == "parquet":
        from metaferry.tables.parquet import stage_parquet

        return stage_parquet(
            con, files, table=table, used=used, portal=portal, place=place, progress=progress
        )

    if format == "arrow":
        from metaferry.tables.arrow import stage_arrow

        return stage_arrow(
            con,
            lambda index: ByteStream(files[index], portal, place),
            [file.url for file in files],
            table=table,
            used=used,
            place=place,
            progress=progress,
        )
    opened = [first]

    def streams() -> Iterator[ByteStream]:
        yield opened.pop() if opened else ByteStream(files[0], portal, place, encoding)
        for file in files[1:]:
            yield ByteStream(file, portal, place, encoding)

    if format in ("jsonl", "json"):
        from metaferry.tables.json.lines import stage_json_lines

        return stage_json_lines(
            con,
            streams,
            table=table,
            used=used,
            rejects=rejects,
            findings=findings,
            place=place,
            progress=progress,
            records=source.records or "",
            one_line_is_object=format == "json",
        )
    from metaferry.tables.csv.stage import stage_delimited

    return stage_delimited(
        con,
        streams(),
        table=table,
        dialect=_dialect(source, format),
        used=used,
        rejects=rejects,
        nulls=source.nulls,
        place=place,
        progress=progress,
    )


def _dialect(source: TableOptions, format: Format) -> Dialect:
    given = source.delimiter or ("\t" if format == "tsv" else "")
    return Dialect(
        delimiter=given,
        quote='"' if source.quote is None else source.quote,
        escape=source.escape or "",
        comment=source.comment or "",
        decimal=source.decimal,
        thousands=source.thousands or "",
        before=source.skip.before,
        after=source.skip.after,
        columns=source.columns,
        trim=source.trim,
    )


def _no_text_options(source: TableOptions, format: Format, url: str, place: str) -> None:
    """Raises JobError for options that have no meaning for the format."""
    given = [name for name in TEXT_OPTIONS if name in source.model_fields_set]
    if format in ("jsonl", "json"):
        given = [name for name in given if name != "encoding"]
    binary = format in ("parquet", "arrow")
    if given:
        raise JobError(
            f"{url} is {format}: `{given[0]}` is for CSV and TSV",
            place=place,
            advice="leave it out" + ("" if binary else ", or name the format: format: csv"),
        )
