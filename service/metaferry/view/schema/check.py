"""What is wrong with a schema.json: its text, what a job adds to it, and the documents in place under it.

All faults are collected; nothing is repaired or written. Documents are held to the entries by the rule by
which a run judges those that it leaves as they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from typing import Any, Final

from metaferry.errors import JobError, NotFound, SchemaError, UsageError
from metaferry.job.model import Job
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.masking import showable
from metaferry.progress import Progress, Silent
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.gather import read_schema_file
from metaferry.runs.storages import Storages
from metaferry.storage.local.disk_names import to_disk
from metaferry.storage.protocol import Storage
from metaferry.view.schema.documents import DocumentCheck, check_documents
from metaferry.view.tree.target import above_documents, job_at, url_of

#: What a job file's name ends with.
_JOB: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """Something wrong, with its place. Line and column count from 1; 0 where there is none.

    `documents`: how many documents have this fault, where it is one of documents; `file` is the first.
    """

    file: str
    line: int
    column: int
    message: str
    documents: int = 0


@dataclass(slots=True)
class CheckedSchema:
    """What was looked at, and what is wrong. `entries` counts those of the schema.json in place.

    `documents` are those in place, `read` those of them that were read. `notes` are no faults.
    """

    checked: list[str] = field(default_factory=list)
    entries: int = 0
    documents: int = 0
    read: int = 0
    faults: list[SchemaFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 4 if self.faults else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text_of(self, file: str, text: bytes) -> tuple[rules.Entry, ...]:
        """Checks the text of a schema.json; the entries that can be made out."""
        entries, faults = rules.read_entries(text)
        self.checked.append(file)
        self.faults += [SchemaFault(file, fault.line, fault.column, fault.message) for fault in faults]
        return entries


def check_schema(
    target: str | PathLike[str] | Job,
    *,
    overrides: Sequence[str] = (),
    all_documents: bool = False,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> CheckedSchema:
    """Checks a schema.json (a path or URL that ends in `.json`), a datasource, or what belongs to a job.

    A job is a `Job`, or a path that ends in `.yaml` or `.yml`. `overrides` are `key=value` over the job;
    without one, those of `storage`. At most 10,000 documents are read, chosen by the hash of their keys,
    unless `all_documents`. Raises UsageError for a target that is not there, and StorageError.
    """
    found, progress, deps = CheckedSchema(), progress or Silent(), deps or RuntimeDeps()
    job = target
    if not isinstance(job, Job):
        name = fspath(job)
        if name.lower().endswith(_JOB):
            try:
                job = Job.load(name, overrides)
            except JobError as error:
                found.faults = _of_job_file(name, error)
                found.checked.append(name)
                return found
        else:
            return _without_job(found, name, overrides, all_documents, progress, deps)
    with open_job(job, deps) as (storages, database):
        lightly = storages.at(job.lightly_location)
        in_place = _in_place(found, storages, lightly)
        given, where = _given(found, job, storages)
        if given is not None and not found.faults:
            schema = job.given_schema
            combined = rules.combine(in_place or (), given, exact=schema is not None and schema.exact)
            if combined.clash:
                found.faults.append(SchemaFault(where, 0, 0, combined.clash))
        sets = [(_url_of(lightly, SCHEMA), in_place), (where, given)]
        check = DocumentCheck([(name, entries) for name, entries in sets if entries])
        check_documents(check, database, lightly, storages.portal, progress, everything=all_documents)
        _take(found, check, lightly)
        if in_place is None:
            found.notes.append(f"{lightly.url}: there is no schema.json yet; a sync writes it")
    return found


def _without_job(
    found: CheckedSchema,
    name: str,
    overrides: Sequence[str],
    all_documents: bool,
    progress: Progress,
    deps: RuntimeDeps,
) -> CheckedSchema:
    """A schema.json by itself, or a datasource with its documents."""
    url = url_of(name)
    path = url.partition("?")[0] if url.startswith(("http://", "https://")) else url
    is_file = path.lower().endswith(".json") or ("://" not in url and os.path.isfile(to_disk(url)))
    job = job_at(url if is_file else above_documents(url), overrides)
    with open_job(job, deps) as (storages, database):
        if is_file:
            try:
                text = read_schema_file(url, storages, storages.portal)
            except SchemaError:
                raise UsageError(
                    f"there is no file {showable(url)}",
                    advice="name a schema.json, a datasource, or a job file (.yaml)",
                ) from None
            found.entries = len(found.text_of(showable(url), text))
            return found
        lightly = storages.at(job.input)
        in_place = _in_place(found, storages, lightly)
        check = DocumentCheck([(_url_of(lightly, SCHEMA), in_place)] if in_place else [])
        check_documents(check, database, lightly, storages.portal, progress, everything=all_documents)
        if in_place is None and not check.documents:
            raise UsageError(
                f"{lightly.url}: there is no {SCHEMA} here, and no document",
                advice="name a schema.json, the datasource above .lightly/, or a job file (.yaml)",
            )
        if in_place is None:
            message = "there is no schema.json, so nothing of the documents is shown"
            found.faults.append(SchemaFault(_url_of(lightly, SCHEMA), 0, 0, message))
        _take(found, check, lightly)
    return found


def _in_place(found: CheckedSchema, storages: Storages, lightly: Storage) -> tuple[rules.Entry, ...] | None:
    """The entries of the schema.json of a datasource, its faults noted; None where there is none."""
    with suppress(NotFound):
        text = storages.portal.run(lightly.read(SCHEMA)).data
        entries = found.text_of(_url_of(lightly, SCHEMA), text)
        found.entries = len(entries)
        return entries
    return None


def _given(found: CheckedSchema, job: Job, storages: Storages) -> tuple[tuple[rules.Entry, ...] | None, str]:
    """The entries that the job gives, and where; the faults of a file noted."""
    given = job.given_schema
    if given is None:
        return None, ""
    if not isinstance(given.entries, str):
        plain = [entry.model_dump(by_alias=True) for entry in given.entries]
        found.checked.append("schema: of the job")
        return rules.check_entries(plain, where="schema"), "schema: of the job"
    shown = showable(given.entries)
    return found.text_of(shown, read_schema_file(given.entries, storages, storages.portal)), shown


def _of_job_file(name: str, error: JobError) -> list[SchemaFault]:
    """The faults of the entries that a job file spells out. Raises the error where it has others as well."""
    if not error.faults or any(fault.key[:1] != ("schema",) for fault in error.faults):
        raise error
    return [SchemaFault(name, fault.line, 0, fault.message) for fault in error.faults]


def _take(found: CheckedSchema, check: DocumentCheck, lightly: Storage) -> None:
    found.documents, found.read = check.documents, check.read
    found.faults += [
        SchemaFault(_url_of(lightly, target), line, column, message, documents)
        for target, line, column, message, documents in check.faults()
    ]
    found.notes += check.notes()


def _url_of(lightly: Storage, key: str) -> str:
    return f"{lightly.url.rstrip('/')}/{key}"
