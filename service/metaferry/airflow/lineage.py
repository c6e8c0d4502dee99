"""What a run read and wrote, for OpenLineage: tables and media in, the Lightly datasource out, with columns.

`lineage_of` is a pure function of a job and the report of its run. `as_openlineage` makes of it what the
provider `openlineage` of Airflow asks an operator for; only there OpenLineage is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metaferry.urls import redact

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.job.parts import Location
    from metaferry.job.sources import Source
    from metaferry.planning.formats import Report
    from metaferry.tables.model import Reading


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by the naming of OpenLineage, with the types of its columns and its rows, where known."""

    namespace: str
    name: str
    columns: dict[str, str] = field(default_factory=dict, compare=False)
    rows: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Lineage:
    """`keys` are the key paths of documents, each with the columns that it comes from."""

    inputs: tuple[Dataset, ...]
    output: Dataset | None = None
    keys: dict[str, tuple[tuple[Dataset, str], ...]] = field(default_factory=dict)
    documents: int | None = None


def of_datasource(job: Job, out: str = "") -> Lineage:
    """What reads the documents in place, and writes `out`, if anything."""
    return Lineage((_at(job, job.lightly_location),), Dataset(*named(out)) if out else None)


def lineage_of(job: Job, report: Report | None) -> Lineage:
    """What the job reads and writes; with the report of its run, also columns and rows.

    Where the report does not say how tables were read (of a plan that is applied), the columns are those that
    the job names. The columns of a query are named, and not traced into its tables.
    """
    from metaferry.planning.formats import PlanReport

    readings = {each.name: each for each in report.tables} if report is not None else {}
    rows = {each.name: each.read for each in report.sources} if report is not None else {}
    inputs: dict[Dataset, None] = {}
    keys: dict[str, list[tuple[Dataset, str]]] = {}
    for source in job.sources:
        reading = readings.get(source.label)
        dataset = _of_source(job, source, reading, rows.get(source.label))
        if source.query is None:
            inputs[dataset] = None
            for key, columns in _keys(source, reading):
                keys.setdefault(key, []).extend((dataset, column) for column in columns)
        else:
            for key in _columns(reading):
                keys.setdefault(key, [])
    for name, table in job.tables.items():
        inputs[_at(job, table.table) if table.table is not None else _given(name, table)] = None
    inputs[_at(job, job.input)] = None
    written = None
    if report is not None:
        written = report.documents.create + report.documents.update
    traced = {key: tuple(dict.fromkeys(found)) for key, found in keys.items()}
    output = None if isinstance(report, PlanReport) else _at(job, job.lightly_location)
    return Lineage(tuple(inputs), output, traced, written)


def as_openlineage(lineage: Lineage) -> Any:
    """The `OperatorLineage` of the provider. Raises ImportError where it is not installed."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.generated.column_lineage_dataset import (
        ColumnLineageDatasetFacet,
        Fields,
        InputField,
    )
    from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
    from openlineage.client.generated.output_statistics_output_dataset import (
        OutputStatisticsOutputDatasetFacet,
    )
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields

    def input_of(dataset: Dataset) -> Any:
        facets, counts = {}, {}
        if dataset.columns:
            columns = [SchemaDatasetFacetFields(name, type or None) for name, type in dataset.columns.items()]
            facets["schema"] = SchemaDatasetFacet(fields=columns)
        if dataset.rows is not None:
            counts["inputStatistics"] = InputStatisticsInputDatasetFacet(rowCount=dataset.rows)
        return InputDataset(dataset.namespace, dataset.name, facets=facets, inputFacets=counts)

    facets: dict[str, Any] = {}
    if lineage.keys:
        facets["schema"] = SchemaDatasetFacet(fields=[SchemaDatasetFacetFields(key) for key in lineage.keys])
        traced = {
            key: Fields([InputField(one.namespace, one.name, column) for one, column in columns])
            for key, columns in lineage.keys.items()
            if columns
        }
        if traced:
            facets["columnLineage"] = ColumnLineageDatasetFacet(fields=traced)
    counts: dict[str, Any] = {}
    if lineage.documents is not None:
        counts["outputStatistics"] = OutputStatisticsOutputDatasetFacet(fileCount=lineage.documents)
    outputs = [
        OutputDataset(each.namespace, each.name, facets=facets, outputFacets=counts)
        for each in ([lineage.output] if lineage.output is not None else [])
    ]
    return OperatorLineage(inputs=[input_of(each) for each in lineage.inputs], outputs=outputs)


def named(url: str, account: str = "") -> tuple[str, str]:
    """Namespace and name of a URL or a path, as OpenLineage's naming has them; without credentials."""
    if "://" not in url:
        return "file", url
    parts = urlsplit(redact(url))
    host, path = parts.netloc.rpartition("@")[2], parts.path.strip("/") or "/"
    if parts.scheme in ("az", "abfs", "abfss") and account:
        return f"abfss://{host}@{account}.dfs.core.windows.net", path
    if parts.scheme in ("gcs", "gs"):
        return f"gs://{host}", path
    if parts.scheme == "file":
        return "file", parts.path
    return f"{parts.scheme}://{host}", path


def _at(
    job: Job, location: Location, columns: dict[str, str] | None = None, rows: int | None = None
) -> Dataset:
    account = job.storage_options(location).get("account_name")
    return Dataset(*named(location.url, str(account or "")), columns or {}, rows)


def _of_source(job: Job, source: Source, reading: Reading | None, rows: int | None) -> Dataset:
    columns = {each.name: each.type for each in reading.columns} if reading is not None else {}
    if source.table is not None:
        return _at(job, source.table, columns, rows)
    return _given(source.label, source, columns, rows)


def _given(label: str, table: Any, columns: dict[str, str] | None = None, rows: int | None = None) -> Dataset:
    """What a reader reads, by its URL where it has one."""
    url = getattr(getattr(table.given, "value", None), "url", None)
    place = named(str(url)) if url else ("metaferry", redact(label))
    return Dataset(*place, columns or {}, rows)


def _columns(reading: Reading | None) -> Iterator[str]:
    """The columns of a result that are keys of documents."""
    for column in reading.columns if reading is not None else ():
        if column.used and column.name.lower() not in ("file_name", "frame"):
            yield column.name


def _keys(source: Source, reading: Reading | None) -> Iterator[tuple[str, list[str]]]:
    """The key paths that a source gives, each with the columns of its expression."""
    if source.expressions is None:
        taken = {column.lower() for column in _named_in(source)}
        for name in _columns(reading):
            if name.lower() not in taken:
                yield name, [name]
        return
    known = {each.name.lower(): each.name for each in reading.columns} if reading is not None else {}
    for key, expression in source.expressions.items():
        yield key, [known.get(column, column) for column in _references(expression)]


def _named_in(source: Source) -> list[str]:
    """The columns that tell the media and the frame."""
    frame = source.frame
    given: list[str | None] = [source.file_name]
    if frame is not None:
        given += [frame.value, frame.from_, frame.to, frame.until]
        if frame.seconds is not None:
            seconds = frame.seconds
            given += [seconds.at, seconds.from_, seconds.to, seconds.until]
    return [column for each in given if each for column in _references(each)]


def _references(expression: str) -> list[str]:
    from metaferry.tables.expressions import parse_expression, parser

    with parser() as con:
        return sorted(parse_expression(expression, "metadata", con).columns)
