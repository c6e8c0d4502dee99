"""The source of the job file that `init --from` writes: what a file, a glob or a folder turns out to be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metaferry.cli.templates import INIT, QUERY, READER
from metaferry.errors import NotFound, UsageError
from metaferry.masking import showable
from metaferry.urls import split_scheme

if TYPE_CHECKING:
    from metaferry.view.tables.model import DescribedTable

#: Columns that hold a media's path, by their names in lower case, the likeliest first.
_PATHS: Final = ("file_name", "filename", "file", "path", "file_path", "image_path", "image", "video", "name")
_LABELS: Final = "  - table: labels.csv"
_FILE_NAME: Final = "    file_name: file_name\n"
_TABLES, _QUERIES = "# The tables:", "# Where a row is no record"


def job_text(url: str, folder: Path) -> str:
    """The job file, in `folder`, whose source is at a URL, or at a path that is relative to here.

    Raises JobError, TableMissing and StorageError for what cannot be read, and UsageError where a URL alone
    does not do.
    """
    from metaferry.api_view import describe_tables
    from metaferry.tables.readers.registry import key_of

    if showable(url) != url:
        raise UsageError(
            f"{showable(url)} has credentials in it, which belong into no file",
            advice='write the job with `metaferry init`, and them as "${NAME}"',
        )
    written = _written(url, folder)
    if (lake := _lake(url)) is not None:
        return _with_table(lake, written, [])
    (found,) = describe_tables(url).tables
    if not found.reader:
        return _with_table("table", written, [column.name for column in found.relations[0].columns])
    key = key_of(found.reader)
    if key != "annotations":
        raise UsageError(
            f"{url} is {found.title}: a source of it needs more than where it is",
            advice=f"write into `sources`: - {{{key}: {written}, video: …, start: {{…}}, "
            "metadata: {…}}, as in docs/sources/time-join.md",
        )
    return _with_reader(found, written)


def _with_table(key: str, written: str, columns: Sequence[str]) -> str:
    """The whole template, with this table in the place of its own."""
    names = {column.lower(): column for column in reversed(columns)}
    likely = next((names[name] for name in _PATHS if name in names), "file_name")
    column = likely if likely.isidentifier() else '"{}"'.format(likely.replace('"', '""'))
    text = INIT.replace(_LABELS, f"  - {key}: {written}")
    return text.replace(_FILE_NAME, f"    file_name: {_scalar(column)}\n")


def _with_reader(found: DescribedTable, written: str) -> str:
    before, _, rest = INIT.partition(_TABLES)
    _, _, after = rest.partition(_QUERIES)
    rest = after[after.index("\n\n") + 2 :]
    query = "".join(f"#       {line}\n" for line in found.query.splitlines())
    source = READER.format(title=found.title, url=written, reader=found.reader)
    return before + source + QUERY.format(url=written) + query + "\n" + rest


def _written(url: str, folder: Path) -> str:
    """A URL as it stands in a job file in `folder`: relative to it where it is a path."""
    if not split_scheme(url)[0]:
        absolute = os.path.isabs(url)
        path = url if absolute else os.path.relpath(url, folder)
        url = f"{path}/" if url.endswith("/") and not path.endswith("/") else path
    return _scalar(url.replace("${", "$${"))


def _scalar(text: str) -> str:
    """The text as YAML: as it is where that reads back as the same text, else quoted."""
    from metaferry.job.yaml_text import read_yaml

    is_plain = re.fullmatch(r"[\w./:*@-]+", text) and read_yaml(text).value == text
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _lake(url: str) -> str | None:
    """`delta` or `iceberg` for the folder of such a table; None for anything else."""
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal

    async def has(prefix: str, end: str) -> bool:
        async for page in storage.list(prefix):
            if any(entry.path.endswith(end) for entry in page):
                return True
        return False

    if "*" in url or (not split_scheme(url)[0] and not Path(url).is_dir()):
        return None
    with Portal() as portal:
        storage = open_storage(url if split_scheme(url)[0] else os.path.abspath(url))
        try:
            for key, prefix, end in (
                ("delta", "_delta_log/", ".json"),
                ("iceberg", "metadata/", ".metadata.json"),
            ):
                if portal.run(has(prefix, end)):
                    return key
        except NotFound:
            return None
        finally:
            portal.run(storage.close())
    return None
