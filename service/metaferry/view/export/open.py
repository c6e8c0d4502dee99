"""The call: a tree is opened, read once into a table of the planning engine, and handed out or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike

from metaferry.progress import Progress, Silent
from metaferry.runs.deps import RuntimeDeps
from metaferry.view.export.export import (
    NAMED,
    Export,
    ExportReport,
    InvalidDocument,
    notes_as_written,
)
from metaferry.view.export.values import ORPHAN, Values, load_as_written, load_values
from metaferry.view.export.write import out_of, write_out
from metaferry.view.tree.reading import Seen, Tree, misnamed_documents, open_tree, read_documents
from metaferry.view.tree.target import Target


@contextmanager
def open_values(
    target: Target,
    *,
    as_written: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Iterator[tuple[Tree, Values, ExportReport]]:
    """The tree, its table (`values.TABLE` of `tree.database`), and what was found, for one block.

    The table has a row for each invalid document, too, and for each without media: their `state` says so.
    Raises JobError, UsageError, SchemaError and StorageError.
    """
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    with open_tree(target, overrides=overrides, progress=progress, deps=deps) as tree:
        values, report = load_tree(tree, progress, as_written=as_written)
        yield tree, values, report


@contextmanager
def open_export(
    target: Target,
    *,
    as_written: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Iterator[Export]:
    """The rows of the table that an export has, for one block."""
    opened = open_values(target, as_written=as_written, overrides=overrides, progress=progress, deps=deps)
    with opened as (tree, values, report):
        yield Export(tree.database, values, report)


def export_file(
    target: Target,
    out: str | PathLike[str],
    *,
    as_written: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> ExportReport:
    """Writes the table to `out`; as written and as Parquet also the job that reads it back."""
    progress = progress or Silent()
    place = out_of(out)
    opened = open_values(target, as_written=as_written, overrides=overrides, progress=progress, deps=deps)
    with opened as (tree, values, report):
        progress.phase(f"Writing {place.name}", None)
        written, report.bytes, report.job = write_out(
            place,
            job=tree.job,
            storages=tree.storages,
            database=tree.database,
            values=values,
            entries=tree.entries,
            url=tree.lightly.url,
            as_written=as_written,
        )
        assert written == report.rows, "the table and its file have the same rows"
        report.out = place.shown
    return report


def load_tree(tree: Tree, progress: Progress, *, as_written: bool = False) -> tuple[Values, ExportReport]:
    """The table of a tree that is open, and what was found. Raises UsageError and StorageError."""
    report = ExportReport(tree.lightly.url, as_written)
    seen = Seen(NAMED)
    documents = read_documents(tree, progress, seen, forms=as_written)
    if as_written:
        values = load_as_written(tree.database, documents)
        report.notes = notes_as_written(tree.database, values)
        if seen.foreign:
            report.notes.append(
                f"{seen.foreign:,} document{'s are' if seen.foreign > 1 else ' is'} in another form than a "
                "sync writes: read back, the values are the same, and the bytes are not"
            )
    else:
        values = load_values(tree.database, documents, tree.entries or ())
        if tree.entries is None:
            report.notes.append("there is no schema.json, so nothing of the documents is shown")
    report.states = values.states
    report.columns = [column.name for column in values.columns]
    report.rows = sum(report.held.values())
    report.invalid = seen.invalid
    report.named = [
        InvalidDocument(target, fault.line, fault.column, fault.message) for target, fault in seen.named
    ]
    report.misnamed = tree.misnamed
    report.named += [
        InvalidDocument(target, 0, 0, message)
        for target, message in misnamed_documents(tree, max(0, NAMED - len(report.named)))
    ]
    unproved: int = tree.database.value("SELECT count(*) FROM tree_frames WHERE frames IS NULL")
    if unproved:
        report.notes.append(
            f"of {unproved:,} video{'s' if unproved > 1 else ''} the number of frames is not proved, so the "
            "names of their frame documents were not checked"
        )
    orphans = 0 if as_written else values.states.get(ORPHAN, 0)
    for number, which in ((orphans, "without media"), (tree.excluded, "of media that the job excludes")):
        if number:
            what = "documents" if number > 1 else "document"
            report.notes.append(f"{number:,} {what} {which} {'are' if number > 1 else 'is'} not in the table")
    return values, report
