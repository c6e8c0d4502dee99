"""The calls of the library that look at what is in place; `api` has those of runs, and what holds for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

from metaferry.api import AnyJob, as_job, positive
from metaferry.masked_logs import masked_logs
from metaferry.progress import Progress

if TYPE_CHECKING:
    from metaferry.view.check.check import Check
    from metaferry.view.check.found import CheckReport
    from metaferry.view.doctor.model import Doctor
    from metaferry.view.export.export import Export, ExportReport
    from metaferry.view.policy.model import Cloud, JobPolicy
    from metaferry.view.report.report import ReportPage
    from metaferry.view.schema.check import CheckedSchema
    from metaferry.view.schema.diff import SchemaDiff
    from metaferry.view.schema.infer import InferredSchema
    from metaferry.view.selection.result import Selection
    from metaferry.view.tables.model import DescribedTables


@contextmanager
def open_check(
    target: AnyJob,
    *,
    sample: str = "",
    seed: int = 0,
    out: str | PathLike[str] = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[Check]:
    """A check with all its findings, open for one block; `check` has the arguments."""
    from metaferry.view.check.check import open_check
    from metaferry.view.check.sample import Sample
    from metaferry.view.check.write import place_of, write_findings

    taken = Sample.parse(sample, seed) if sample else None
    place = place_of(out) if out else None
    with masked_logs(), open_check(target, sample=taken, overrides=overrides, progress=progress) as checked:
        if place is not None:
            write_findings(checked, place)
        yield checked


@masked_logs()
def check(
    target: AnyJob,
    *,
    sample: str = "",
    seed: int = 0,
    out: str | PathLike[str] = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> CheckReport:
    """Reads the documents in place as their consumer does, and says what a sync would change.

    `target` is the URL of a datasource, a `Job`, or the path of a job file; `overrides` are `key=value` over
    the job, or `storage.SCHEME.OPTION=value`. sample: a share ("1%"), a part ("3/7") or a number ("10000") of
    the documents to be read, chosen by the hash of `seed` and their keys; "": all that nothing proves. out: a
    Parquet file, or its URL, for all findings; the report has the first of each code.

    Writes nothing else but the cache of frame counts. `report.exit_code` is 4 where something is invalid or a
    sync would change something, else 0. Raises JobError, UsageError and StorageError.
    """
    with open_check(
        target, sample=sample, seed=seed, out=out, overrides=overrides, progress=progress
    ) as checked:
        return checked.report


@masked_logs()
def doctor(
    job: AnyJob, *, overrides: Sequence[str] = (), read_only: bool = False, progress: Progress | None = None
) -> Doctor:
    """Whether a job can run here: each check has a status (ok, warn, fail, skipped), what was measured, and
    the remedy.

    `overrides` are `key=value` over the job. Files are written below the `doctor/` of the state folder and
    removed again; with `read_only` nothing is written. `exit_code` is 1 where a check failed, else 0. Raises
    JobError and UsageError for a job that cannot be opened.
    """
    from metaferry.view.doctor.doctor import examine

    return examine(job, overrides=overrides, read_only=read_only, progress=progress)


@masked_logs()
def policy(job: AnyJob, *, cloud: Cloud | None = None, overrides: Sequence[str] = ()) -> JobPolicy:
    """The least rights that a job needs in one cloud, with its documents and its state folder.

    cloud: "aws", "gcp" or "azure"; default: the one that the job uses. `overrides` are `key=value` over
    the job file. `document` is what the cloud takes: an IAM policy, custom roles with conditional bindings,
    or role definitions with assignments; `rights` says what each right is for. Opens no storage. Raises
    JobError, and UsageError for a job that uses several clouds or nothing of this one.
    """
    from metaferry.view.policy.policy import policy_of

    return policy_of(job, cloud, overrides)


@masked_logs()
def infer_schema(job: AnyJob, *, progress: Progress | None = None) -> InferredSchema:
    """Schema entries for the job's tables, each with its reasons: what `schema: infer` would have.

    Entries of the schema.json in place, and of the job, stay as they are. Reads tables and schema.json only.
    """
    from metaferry.view.schema import infer

    return infer.infer_schema(as_job(job), progress=progress)


@masked_logs()
def check_schema(
    target: AnyJob,
    *,
    overrides: Sequence[str] = (),
    all_documents: bool = False,
    progress: Progress | None = None,
) -> CheckedSchema:
    """Everything wrong with a schema.json: a file (`.json`), that of a datasource, or that of a job.

    `target` is a path, a URL, a `Job`, or the path of a job file (`.yaml`, `.yml`). For a datasource and a
    job the documents in place are held to the entries: 10,000 of them, or `all_documents`. `overrides` are
    `key=value` over the job, or `storage.SCHEME.OPTION=value`. Faults are in the result, not raised.
    """
    from metaferry.view.schema import check

    return check.check_schema(target, overrides=overrides, all_documents=all_documents, progress=progress)


@masked_logs()
def diff_schema(
    job: AnyJob, *, prefix: str = "", limit: int | None = None, progress: Progress | None = None
) -> SchemaDiff:
    """What a `sync` would change in schema.json, by the code that plans it; arguments as of `plan`.

    Writes nothing but the cache of frame counts.
    """
    from metaferry.view.schema import diff

    return diff.diff_schema(as_job(job), prefix=prefix, limit=positive(limit), progress=progress)


@contextmanager
def export(
    target: AnyJob,
    *,
    as_written: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[Export]:
    """The metadata of a datasource as one table, open for one block: a row for each media and frame document.

    `target` is the URL of a datasource, a `Job`, or the path of a job file; `overrides` are `key=value` over
    the job, or `storage.SCHEME.OPTION=value`. The columns are target, kind, media, frame, state, and what
    each schema entry shows: defaults applied, frames with their video's values. as_written: what each
    document itself says instead, a column for each key.

    Iterate it for Arrow record batches, or give it to pyarrow, DuckDB, pandas or polars as an Arrow stream.
    Invalid documents are left out, and named in `report`. Raises UsageError, SchemaError and StorageError.
    """
    from metaferry.view.export.open import open_export

    with (
        masked_logs(),
        open_export(target, as_written=as_written, overrides=overrides, progress=progress) as found,
    ):
        yield found


@masked_logs()
def export_file(
    target: AnyJob,
    out: str | PathLike[str],
    *,
    as_written: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> ExportReport:
    """Writes that table to a file or a URL: .parquet, .csv, .jsonl, the last two also with .gz or .zst.

    The file is there whole, or not at all. With `as_written` and Parquet, `OUT.job.yaml` beside it is the job
    that reads it back. `report.exit_code` is 3 where an invalid document was left out.
    """
    from metaferry.view.export.open import export_file

    return export_file(target, out, as_written=as_written, overrides=overrides, progress=progress)


@masked_logs()
def report(
    target: AnyJob,
    out: str | PathLike[str],
    *,
    overrides: Sequence[str] = (),
    drift: bool = True,
    selection: str | PathLike[str] | Mapping[str, Any] | None = None,
    thumbnails: int = 0,
    progress: Progress | None = None,
) -> ReportPage:
    """Makes one self-contained page about the metadata of a datasource, at `out`, a path or URL of `.html`.

    `target` and `overrides` as of `export`. With a job, what a sync would do is planned as well and shown
    with its price and findings, unless `drift` is false. All documents are read but those that the plan
    proves. `selection` is a config as of `select`, whose preview is shown too. thumbnails: so many images and
    videos are read, and small pictures of them shown. Raises JobError, UsageError, SchemaError and
    StorageError.
    """
    from metaferry.view.report.report import report_file

    return report_file(
        target,
        out,
        overrides=overrides,
        drift=drift,
        selection=selection,
        thumbnails=thumbnails,
        progress=progress,
    )


@masked_logs()
def describe_tables(
    target: AnyJob,
    *,
    reader: str = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> DescribedTables:
    """What the tables of a job hold, or what one file, glob or folder is.

    `target` is a `Job`, the path of a job file (.yaml, .yml), or the URL of a table or of annotations, whose
    `reader` is found where none is named. Of each relation the result has the columns with their types and
    meaning, the first three rows, and a query to start from. `overrides` are `key=value` over the job, or
    `storage.SCHEME.OPTION=value`. Writes nothing. Raises JobError, UsageError, TableMissing, StorageError.
    """
    from metaferry.view.tables.describe import describe_tables as describe

    return describe(target, reader=reader, overrides=overrides, progress=progress)


@masked_logs()
def select(
    target: AnyJob,
    config: str | PathLike[str] | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Selection:
    """What the metadata in place allows of a selection config (v4).

    `config` is the path of a YAML or JSON file, or a mapping of the same shape. `target` is the URL of a
    datasource, a `Job`, or the path of a job file; `overrides` are `key=value` over the job, or
    `storage.SCHEME.OPTION=value`. The result has a verdict on each strategy, `feasible`, `not feasible`, `not
    known` or `not judged`, with the reasons; it never says what a selection picks. `exit_code` is 3 where it
    is not feasible. Writes nothing. Raises UsageError for a config that is none.
    """
    from metaferry.view.selection.preview import preview

    return preview(target, config, overrides=overrides, progress=progress)
