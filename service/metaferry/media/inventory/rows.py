"""The objects of a bucket out of an inventory report, in place of a listing of the bucket.

Amazon S3 Inventory, Google's inventory reports and Azure's blob inventory: a manifest (`manifest.py`)
and data files in CSV, ORC or Parquet. Each file is fetched to the scratch folder, one ahead of the one
that is read, and its size and checksum are compared with the manifest's, so that a report that is
damaged or incomplete stops the run instead of hiding media. Old versions, delete markers, snapshots
and folders are left out. Nothing here asks the bucket itself for anything, so nothing here knows
whether an object is still there.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from metaferry.errors import Corrupt, JobError, NotFound, ScratchFull
from metaferry.masking import showable
from metaferry.media.inventory.manifest import NAME, DataFile, Manifest, NotReady, parse_manifest, path_time
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Entry, Storage
from metaferry.urls import bucket_and_key

if TYPE_CHECKING:
    import pyarrow as pa

#: The size of an object that the report does not tell.
UNKNOWN: Final = -1

_RANGE: Final = 8 << 20
_ROWS: Final = 50_000
_LARGEST_MANIFEST: Final = 64 << 20
#: What the three call the columns that are used, in lower case and without `-` and `_`.
_PATH: Final = {"s3": "key", "gcs": "name", "azure": "name"}
_SIZE: Final = ("size", "contentlength")
_TOKEN: Final = {"s3": "etag", "gcs": "generation", "azure": "etag"}
#: Rows with `true` here, or with anything at all, are no current objects.
_TRUE_IS_OUT: Final = ("isdeletemarker", "deleted", "hdiisfolder")
_ANY_IS_OUT: Final = ("timedeleted", "softdeletetime", "snapshot")
_FALSE_IS_OUT: Final = ("islatest", "iscurrentversion")


@dataclass(frozen=True, slots=True)
class Inventory:
    """A report that was found. `url` is that of its manifest, for people; `keys` are its data files."""

    url: str
    manifest: Manifest
    place: str
    storage: Storage
    keys: tuple[str, ...]


def open_inventory(
    url: str, *, place: str, storage_for: Callable[[str], Storage], portal: Portal
) -> Inventory:
    """The report whose manifest is at `url`, or the newest finished one in that folder.

    `storage_for(url)` opens a folder or bucket. The manifest is compared with its checksum file where
    there is one. Raises JobError (with `place`) for what is no report, for a folder with none or with
    those of several buckets or rules, and for a damaged manifest; StorageError from the store.
    """
    if not url.partition("?")[0].endswith(".json"):  # a signature may follow
        return _newest(url, place, storage_for, portal)
    where = bucket_and_key(url)
    root: str
    bucket: str | None
    if where is not None:
        root, bucket, key = where
    else:
        head, _, name = url.rpartition("/")
        above, _, folder = head.rpartition("/")
        root, bucket, key = (above or "/", None, f"{folder}/{name}") if folder else (head or ".", None, name)
    storage = storage_for(root)
    shown = showable(url)
    try:
        data = portal.run(_small(storage, key))
    except NotFound as error:
        raise JobError(
            f"there is no manifest {shown}" if error.path else error.message,
            place=place,
            advice="name the manifest.json of a report, or the folder that reports are delivered to",
        ) from error
    _check_manifest(storage, key, data, shown, place, portal)
    manifest = parse_manifest(data, shown, place)
    folder, _, _ = key.rpartition("/")
    keys = tuple(_key_of(file, manifest, folder, bucket) for file in manifest.files)
    return Inventory(shown, manifest, place, storage, keys)


def inventory_pages(
    inventory: Inventory, source: str, prefix: str, *, scratch: Path, portal: Portal
) -> Iterator[list[Entry]]:
    """The objects of the datasource `source` (a URL) below `prefix`, in no order, some thousand at once.

    Size and token are those of the report: `UNKNOWN` and "" where it has none. Raises JobError where
    the report is of another bucket, lacks what is needed, or is not whole; `ScratchFull`.
    """
    where = bucket_and_key(source)
    if where is None:
        raise JobError(
            f"{showable(source)} is no bucket, and {inventory.url} is the inventory of one",
            place=inventory.place,
            advice="leave media.inventory out: the folder is listed",
        )
    _, bucket, below = where
    manifest = inventory.manifest
    if manifest.bucket is not None and manifest.bucket != bucket:
        raise JobError(
            f"{inventory.url} is the inventory of {manifest.bucket}, and input is in {bucket}",
            place=inventory.place,
        )
    below = below.rstrip("/") + "/" if below.strip("/") else ""
    rows = ours = 0
    wanted = below + prefix
    for batch in _rows(inventory, scratch, portal):
        rows += batch.num_rows
        names, sizes, tokens = _current(batch, inventory, bucket)
        ours += len(names)
        page = [
            Entry(name[len(below) :], size, token, None, 0.0)
            for name, size, token in zip(names, sizes, tokens, strict=True)
            if name.startswith(wanted) and not name.endswith("/")
        ]
        if page:
            yield page
    if manifest.records is not None and rows < manifest.records:
        raise JobError(
            f"{inventory.url} counts {manifest.records:,} objects, and its files hold {rows:,}",
            place=inventory.place,
            advice="the report is not whole: name another one",
        )
    if rows and not ours:
        raise JobError(
            f"{inventory.url} holds no object of {bucket}",
            place=inventory.place,
            advice="name the inventory of the bucket that `input` is in",
        )


# -- the manifest


def _newest(url: str, place: str, storage_for: Callable[[str], Storage], portal: Portal) -> Inventory:
    """The newest report below a folder, by the times in the manifests' paths."""
    folder = url if url.endswith("/") else url + "/"
    where = bucket_and_key(url)
    root, prefix = (folder, "") if where is None else (where[0], where[2].rstrip("/") + "/")
    prefix = "" if prefix == "/" else prefix
    shown = showable(url)
    found: list[tuple[str, float, str]] = []
    series: set[str] = set()
    for entry in portal.run(listed(storage_for(root), prefix, lambda entry: bool(NAME.search(entry.path)))):
        time, name = path_time(entry.path)
        found.append((time, entry.mtime, entry.path))
        series.add(name)
    if not found:
        raise JobError(
            f"no inventory has been delivered to {shown}: there is no manifest.json below it",
            place=place,
            advice="the first report comes up to two days after it was asked for",
        )
    if len(series) > 1:
        raise JobError(
            f"{shown} holds several inventories, such as {' and '.join(sorted(series)[:2])}",
            place=place,
            advice="name the folder of one of them, or a manifest",
        )
    late: NotReady | None = None
    base, mark, query = root.partition("?")
    for _, _, path in sorted(found, reverse=True):
        try:
            return open_inventory(
                f"{base.rstrip('/')}/{path}{mark}{query}",
                place=place,
                storage_for=storage_for,
                portal=portal,
            )
        except NotReady as error:
            late = late or error
    assert late is not None
    raise late


def _check_manifest(storage: Storage, key: str, data: bytes, shown: str, place: str, portal: Portal) -> None:
    """Compares the manifest with the MD5 in the file beside it; Google's reports have none."""
    try:
        wanted = portal.run(_small(storage, key.removesuffix(".json") + ".checksum"))
    except NotFound:
        return
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if wanted.decode("ascii", "replace").strip().lower() != found:
        raise JobError(
            f"{shown} is not what its checksum file says",
            place=place,
            advice="it may have been written anew just now: run it again, or name another report",
        )


async def _small(storage: Storage, key: str) -> bytes:
    return (await storage.read(key, 0, _LARGEST_MANIFEST)).data


def _key_of(file: DataFile, manifest: Manifest, folder: str, bucket: str | None) -> str:
    """Where a data file is. A report that was copied elsewhere keeps its shape, not its bucket."""
    if manifest.stored_in is not None and manifest.stored_in == bucket:
        return file.path
    if manifest.kind == "s3":  # …/config/DATE/manifest.json and …/config/data/…
        folder = f"{folder.rpartition('/')[0]}/data".lstrip("/")
    return f"{folder}/{file.path.rpartition('/')[2]}".lstrip("/")


# -- the data files


def _rows(inventory: Inventory, scratch: Path, portal: Portal) -> Iterator[pa.RecordBatch]:
    """The columns that are used of all data files; of two of them at most there is a copy on the disk."""
    folder = scratch / "inventory"
    with _disk(scratch):
        folder.mkdir()
    try:
        with closing(portal.iterate(_fetched(inventory, folder), ahead=1)) as paths:
            for path in paths:
                yield from _batches(path, inventory)
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


def _batches(path: Path, inventory: Inventory) -> Iterator[pa.RecordBatch]:
    """The columns that are used, some thousand rows at a time, named as in `_plain`."""
    import pyarrow as pa

    form = inventory.manifest.format
    read = {"csv": _csv, "orc": _orc, "parquet": _parquet}[form]
    try:
        yield from read(path, inventory.manifest)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise JobError(
            f"{inventory.url}: {path.name} cannot be read as {form}: {str(error).splitlines()[0]}",
            place=inventory.place,
        ) from error


def _csv(path: Path, manifest: Manifest) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv as pc

    names = list(manifest.columns or ())
    read = pc.ReadOptions(
        column_names=[_plain(name) for name in names] or None, block_size=_RANGE, use_threads=False
    )
    parse = pc.ParseOptions(delimiter=manifest.delimiter, newlines_in_values=True)
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.input_stream(str(path), compression=compression) as stream:
        if names:
            kinds = {_plain(name): pa.string() for name in names}
        else:
            with pa.input_stream(str(path), compression=compression) as head:
                header = pc.open_csv(head, read_options=read, parse_options=parse).schema.names
            kinds = {name: pa.string() for name in header}
        convert = pc.ConvertOptions(
            column_types=kinds,
            include_columns=[name for name in kinds if _plain(name) in _USED],
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        )
        for batch in pc.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert):
            yield _renamed(batch)


def _orc(path: Path, manifest: Manifest) -> Iterator[pa.RecordBatch]:
    from pyarrow import orc

    with path.open("rb") as raw:
        file = orc.ORCFile(raw)
        names = [name for name in file.schema.names if _plain(name) in _USED]
        for stripe in range(file.nstripes):
            yield _renamed(file.read_stripe(stripe, columns=names))


def _parquet(path: Path, manifest: Manifest) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if _plain(name) in _USED]
        for batch in file.iter_batches(batch_size=_ROWS, columns=names):
            yield _renamed(batch)


def _current(batch: pa.RecordBatch, inventory: Inventory, bucket: str) -> tuple[list[Any], ...]:
    """Name, size and token of the current objects of the bucket."""
    import pyarrow as pa
    import pyarrow.compute as pc

    manifest = inventory.manifest
    have = set(batch.schema.names)
    path = _PATH[manifest.kind]
    if path not in have:
        raise JobError(f"{inventory.url} has no column with the names of the objects", place=inventory.place)

    def text(name: str) -> Any:
        return pc.fill_null(pc.utf8_lower(batch.column(name).cast(pa.string())), "")

    keep = pc.is_valid(batch.column(path))
    for name in _TRUE_IS_OUT:
        if name in have:
            keep = pc.and_(keep, pc.not_equal(text(name), "true"))
    for name in _ANY_IS_OUT:
        if name in have:
            keep = pc.and_(keep, pc.equal(text(name), ""))
    for name in _FALSE_IS_OUT:
        if name in have:
            keep = pc.and_(keep, pc.not_equal(text(name), "false"))
    if "iscurrentversion" in have and "versionid" in have:  # Azure leaves it empty for old versions
        old = pc.and_(pc.equal(text("iscurrentversion"), ""), pc.not_equal(text("versionid"), ""))
        keep = pc.and_(keep, pc.invert(old))
    if manifest.kind != "azure" and "bucket" in have:
        keep = pc.and_(keep, pc.equal(batch.column("bucket").cast(pa.string()), bucket))
    batch = batch.filter(keep)
    names = batch.column(path).cast(pa.string()).to_pylist()
    if manifest.encoded:
        names = [unquote_plus(name) if "%" in name or "+" in name else name for name in names]
    size = next((name for name in _SIZE if name in have), None)
    token = _TOKEN[manifest.kind]
    sizes = [UNKNOWN] * len(names) if size is None else _numbers(batch.column(size))
    tokens = [""] * len(names)
    if token in have:
        tokens = [(value or "").strip('"') for value in batch.column(token).cast(pa.string()).to_pylist()]
    if manifest.kind == "azure":  # the report is of an account; names begin with the container
        head = bucket + "/"
        mine = [name.startswith(head) for name in names]
        names = [name[len(head) :] for name in compress(names, mine)]
        sizes, tokens = list(compress(sizes, mine)), list(compress(tokens, mine))
    return names, sizes, tokens


def _numbers(column: Any) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(column.type):  # a CSV: nothing there is null
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    numbers: list[int] = pc.fill_null(column.cast(pa.int64()), UNKNOWN).to_pylist()
    return numbers


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").strip()


def _renamed(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.rename_columns([_plain(name) for name in batch.schema.names])


_USED: Final = frozenset(
    {*_PATH.values(), *_TOKEN.values(), *_SIZE, *_TRUE_IS_OUT, *_ANY_IS_OUT, *_FALSE_IS_OUT}
    | {"bucket", "versionid"}
)


@contextmanager
def _disk(scratch: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ScratchFull(scratch) from error
        raise
