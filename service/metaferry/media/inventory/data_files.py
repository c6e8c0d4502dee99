"""Reads the data files of an inventory report: CSV, ORC or Parquet.

Each is fetched to the scratch folder, one ahead of the one that is read, and its size and checksum are
compared with the manifest's: a report that is damaged or incomplete stops the run instead of hiding media.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metaferry.errors import Corrupt, JobError, NotFound, ScratchFull
from metaferry.media.inventory.columns import USED, plain_name, with_plain_names
from metaferry.media.inventory.manifest import DataFile, Manifest
from metaferry.media.inventory.report import Inventory
from metaferry.storage.io.portal import Portal

if TYPE_CHECKING:
    import pyarrow as pa

_RANGE: Final = 8 << 20
_ROWS: Final = 50_000


def read_rows(
    inventory: Inventory, scratch: Path, portal: Portal, used: frozenset[str] = USED
) -> Iterator[pa.RecordBatch]:
    """The columns that are used of all data files; of two of them at most there is a copy on the disk."""
    folder = scratch / "inventory"
    with _disk(scratch):
        folder.mkdir()
    try:
        with closing(portal.iterate(_fetched(inventory, folder), ahead=1)) as paths:
            for path in paths:
                yield from _batches(path, inventory, used)
                path.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _fetched(inventory: Inventory, folder: Path) -> AsyncIterator[Path]:
    """Each file as a local one, whose size and MD5 are those of the manifest."""
    for number, (file, key) in enumerate(zip(inventory.manifest.files, inventory.keys, strict=True)):
        path = folder / f"{number}{''.join(Path(file.path).suffixes[-2:])}"
        with _disk(folder.parent):
            await _fetch(inventory, file, key, path)
        yield path


async def _fetch(inventory: Inventory, file: DataFile, key: str, path: Path) -> None:
    storage, md5, at, token = inventory.storage, hashlib.md5(usedforsecurity=False), 0, None
    try:
        with path.open("wb") as sink:
            while True:
                blob = await storage.read(key, at, at + _RANGE, version=token)
                token, at = blob.token, at + len(blob.data)
                md5.update(blob.data)
                await asyncio.to_thread(sink.write, blob.data)
                if at >= blob.size:
                    break
                if not blob.data:
                    raise Corrupt(f"{key} gave no bytes at {at} of {blob.size}", url=storage.url, path=key)
    except NotFound as error:
        raise JobError(
            f"{inventory.url} names {file.path}, which is not there",
            place=inventory.place,
            advice="the files of old reports may have been removed: name a newer one",
        ) from error
    if (file.size is not None and at != file.size) or (file.md5 and md5.hexdigest() != file.md5.lower()):
        raise JobError(
            f"{file.path} is not the file that {inventory.url} describes: its size or MD5 is another",
            place=inventory.place,
            advice="the report is damaged: name another one",
        )


def _batches(path: Path, inventory: Inventory, used: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """The columns that are used, some thousand rows at a time, named as in `plain_name`."""
    import pyarrow as pa

    form = inventory.manifest.format
    read = {"csv": _csv, "orc": _orc, "parquet": _parquet}[form]
    try:
        yield from read(path, inventory.manifest, used)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise JobError(
            f"{inventory.url}: {path.name} cannot be read as {form}: {str(error).splitlines()[0]}",
            place=inventory.place,
        ) from error


def _csv(path: Path, manifest: Manifest, used: frozenset[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv as pc

    names = list(manifest.columns or ())
    read = pc.ReadOptions(
        column_names=[plain_name(name) for name in names] or None, block_size=_RANGE, use_threads=False
    )
    parse = pc.ParseOptions(delimiter=manifest.delimiter, newlines_in_values=True)
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.input_stream(str(path), compression=compression) as stream:
        if names:
            kinds = {plain_name(name): pa.string() for name in names}
        else:
            with pa.input_stream(str(path), compression=compression) as head:
                header = pc.open_csv(head, read_options=read, parse_options=parse).schema.names
            kinds = {name: pa.string() for name in header}
        convert = pc.ConvertOptions(
            column_types=kinds,
            include_columns=[name for name in kinds if plain_name(name) in used],
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        )
        for batch in pc.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert):
            yield with_plain_names(batch)


def _orc(path: Path, manifest: Manifest, used: frozenset[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow import orc

    with path.open("rb") as raw:
        file = orc.ORCFile(raw)
        names = [name for name in file.schema.names if plain_name(name) in used]
        for stripe in range(file.nstripes):
            yield with_plain_names(file.read_stripe(stripe, columns=names))


def _parquet(path: Path, manifest: Manifest, used: frozenset[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if plain_name(name) in used]
        for batch in file.iter_batches(batch_size=_ROWS, columns=names):
            yield with_plain_names(batch)


@contextmanager
def _disk(scratch: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ScratchFull(scratch) from error
        raise
