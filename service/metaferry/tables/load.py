"""Loading: one metadata source of the job, from its files to a table of records in the engine.

Every byte comes through the storage contract: files are streamed in as Arrow batches, in memory
bounded by a few blocks, and the engine itself reaches nothing. Rows that are no records are named
in `rejects`; whatever else is wrong (a missing file, an expression that does not fit) is one
JobError, before the planner sees anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from metaferry.job.sources import Source
from metaferry.masking import showable
from metaferry.storage.io.portal import Portal
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.files.find import Format, StorageFor, TableObject, find_files
from metaferry.tables.mapping import build_records, parse_mapping
from metaferry.tables.model import KeyColumn, Loaded, Staged, TableFile
from metaferry.tables.staging import Findings, Rejects, quote_ident

if TYPE_CHECKING:
    import duckdb

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
) -> Loaded:
    """Source number `index` as the table `source_{index}`; see `Loaded` for its columns.

    `con` has the tables `rejects` and `findings`, its time zone is UTC. `storage_for(url, options)` opens a
    datasource; who opened it closes it. `progress` is told numbers of rows. With `allow_none` a glob that
    matches no file yet is a table without rows. Raises JobError for
    everything in the job file that does not fit what is there, StorageError for a store that does
    not answer.
    """
    place = f"sources[{index}]"
    mapping = parse_mapping(source, place)
    format, files = find_files(
        source, place=f"{place}.table", storage_for=storage_for, portal=portal, allow_none=allow_none
    )
    rejects, findings = Rejects(con, source.label), Findings(con, source.label)
    table, staging = f"source_{index}", f"staged_{index}"
    try:
        staged = _stage(
            con,
            files,
            format,
            staging,
            source.encoding or "",
            mapping.used,
            rejects,
            findings,
            portal,
            f"{place}.table",
            progress,
        )
        rejects.flush()
        findings.flush()
        keys = build_records(con, staged, mapping, table=table, source=showable(source.table.url))
    finally:
        con.execute(f"DROP TABLE IF EXISTS {quote_ident(staging)}").fetchall()
    return Loaded(
        label=source.label,
        table=table,
        files=staged.files,
        read=staged.read,
        malformed=staged.malformed,
        keys=keys,
        has_frame=mapping.frame is not None,
    )


def _stage(
    con: duckdb.DuckDBPyConnection,
    files: list[TableObject],
    format: Format,
    table: str,
    encoding: str,
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
    if format != "parquet":
        first = ByteStream(files[0], portal, place, encoding)
        first.open()
        if first.content == "parquet" and not first.packed:
            format = "parquet"
    if format == "parquet":
        from metaferry.tables.parquet import stage_parquet

        return stage_parquet(
            con, files, table=table, used=used, portal=portal, place=place, progress=progress
        )

    def streams() -> Iterator[ByteStream]:
        yield first
        for file in files[1:]:
            yield ByteStream(file, portal, place, encoding)

    if format == "jsonl":
        from metaferry.tables.json.lines import stage_json_lines

        return stage_json_lines(
            con,
            streams(),
            table=table,
            used=used,
            rejects=rejects,
            findings=findings,
            place=place,
            progress=progress,
        )
    from metaferry.tables.csv.rows import stage_delimited

    return stage_delimited(
        con,
        streams(),
        table=table,
        format=format,
        used=used,
        rejects=rejects,
        place=place,
        progress=progress,
    )
