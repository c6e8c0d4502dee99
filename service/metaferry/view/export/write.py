"""An export as a file: written in the scratch folder, then put in its place whole, with its job beside it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from metaferry.errors import UsageError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.lightly.names import DOCUMENTS
from metaferry.lightly.schema import Entry, schema_bytes
from metaferry.masking import showable
from metaferry.planning.database import Database, disk_errors
from metaferry.runs.storages import Storages
from metaferry.storage.local.disk_names import absolute, from_disk, to_disk
from metaferry.storage.upload import put_file
from metaferry.version import __version__
from metaferry.view.export import rows
from metaferry.view.export.files import FileFormat, format_of, head_of, write_lines, write_parquet
from metaferry.view.export.job_file import job_text
from metaferry.view.export.values import Values

#: What is put behind the name of an export for that of its job file.
JOB: Final = ".job.yaml"
#: Names in the metadata of a Parquet file.
SCHEMA_KEY: Final = "schema.json"
OWN_KEY: Final = "metaferry"


@dataclass(frozen=True, slots=True)
class OutFile:
    """Where a file goes: a folder (a URL or an absolute path), and a name in it."""

    folder: str
    name: str

    @property
    def shown(self) -> str:
        return f"{showable(self.folder).rstrip('/')}/{self.name}"

    @property
    def is_local(self) -> bool:
        return Location.named(self.folder).scheme in ("file", "local")


@dataclass(frozen=True, slots=True)
class Out(OutFile):
    """Where an export goes, and its format, by the name."""

    format: FileFormat


def out_of(out: str | os.PathLike[str]) -> Out:
    """The place of an export. UsageError for a name without a format, and a missing local folder."""
    form = format_of(os.fspath(out))
    place = place_of(out, example="x.parquet")
    return Out(place.folder, place.name, form)


def place_of(out: str | os.PathLike[str], *, example: str) -> OutFile:
    """The place of a file that is named by a path or a URL. UsageError for one that cannot be.

    Nor can it be among the documents of a datasource, of whichever: readers list that folder.
    """
    given = os.fspath(out)
    url = given if "://" in given else absolute(given)
    place, mark, query = url.partition("?") if "://" in url else (url, "", "")
    folder, _, name = place.rpartition("/")
    if folder.endswith((":/", ":")):
        raise UsageError(
            f"{showable(given)}: there is no bucket in this URL", advice=f"write s3://bucket/{example}"
        )
    if _is_among_documents(folder):
        raise UsageError(
            f"{showable(given)}: this is among the documents of a datasource ({DOCUMENTS})",
            advice="name a place outside of that folder",
        )
    if "://" not in url and not os.path.isdir(to_disk(folder or "/")):
        raise UsageError(f"{showable(given)}: there is no folder {folder}", advice="make it, or name another")
    return OutFile((folder or "/") + mark + query, name)


def _is_among_documents(folder: str) -> bool:
    """Whether a folder is `.lightly/metadata/` or below it; a local one also by what its links lead to."""
    scheme, mark, path = folder.partition("://")
    places = [folder]
    if not mark or scheme.lower() in ("file", "local"):
        places.append(from_disk(os.path.realpath(to_disk(path if mark else folder))))
    return any(f"/{DOCUMENTS}" in f"/{place}/" for place in places)


def write_out(
    out: Out,
    *,
    job: Job,
    storages: Storages,
    database: Database,
    values: Values,
    entries: tuple[Entry, ...] | None,
    url: str,
    as_written: bool,
) -> tuple[int, int, str]:
    """Writes the file; answers its rows, its bytes, and the name of its job file ("": it has none)."""
    made = database.scratch / "export"
    with disk_errors(database.scratch):
        if out.format.format == "parquet":
            own = {"version": __version__, "url": url, "as_written": as_written}
            metadata = {OWN_KEY: json.dumps(own).encode()}
            if entries is not None:
                metadata[SCHEMA_KEY] = schema_bytes(entries)
            batches = rows.batches(database, values, as_written=as_written)
            written = write_parquet(made, rows.schema_of(values), batches, metadata)
        else:
            head = head_of(out.format.format, rows.text_columns(database, values))
            lines = rows.lines(database, values, out.format.format, as_written=as_written)
            written = write_lines(made, head, lines, out.format.compression)
    octets = made.stat().st_size
    put_made(made, out, job, storages)
    made.unlink()
    if not as_written or out.format.format != "parquet":
        return written, octets, ""
    name = out.name + JOB
    table = out.name if out.is_local else out.shown
    command = f"metaferry sync {name}"
    made.write_text(job_text(job, table, values.columns, entries, command=command), encoding="utf-8")
    put_made(made, replace(out, name=name), job, storages)
    made.unlink()
    return written, octets, f"{showable(out.folder).rstrip('/')}/{name}"


def put_made(made: Path, out: OutFile, job: Job, storages: Storages) -> None:
    """Puts a file that was made in its place, whole, with the job's options for that place."""
    options = job.storage_options(Location.named(out.folder))
    put_file(made, out.folder, out.name, options, storages.of(out.folder, options), storages.portal)
