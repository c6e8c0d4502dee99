"""What the columns of inventory reports mean: the current objects of a bucket out of their rows.

Old versions, delete markers, snapshots and folders are left out. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import compress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from metaferry.errors import JobError
from metaferry.media.inventory.report import Inventory
from metaferry.storage.facts.model import ObjectFacts

if TYPE_CHECKING:
    import pyarrow as pa

#: The size of an object where the report has none.
UNKNOWN: Final = -1

#: What the three call the columns that are used, in lower case and without `-` and `_`.
_PATH: Final = {"s3": "key", "gcs": "name", "azure": "name"}
_SIZE: Final = ("size", "contentlength")
_TOKEN: Final = {"s3": "etag", "gcs": "generation", "azure": "etag"}
#: Rows with `true` here, or with anything at all, are no current objects.
_TRUE_IS_OUT: Final = ("isdeletemarker", "deleted", "hdiisfolder")
_ANY_IS_OUT: Final = ("timedeleted", "softdeletetime", "snapshot")
_FALSE_IS_OUT: Final = ("islatest", "iscurrentversion")
USED: Final = frozenset(
    {*_PATH.values(), *_TOKEN.values(), *_SIZE, *_TRUE_IS_OUT, *_ANY_IS_OUT, *_FALSE_IS_OUT}
    | {"bucket", "versionid"}
)
#: What they call the facts of an object, which are read on demand. No report has user metadata in a form that
#: is documented.
_FACTS: Final = {
    "etag": ("etag",),
    "content_type": ("contenttype",),
    "storage_class": ("storageclass", "accesstier"),
}
_MODIFIED: Final = ("lastmodifieddate", "lastmodified", "updated", "timeupdated")
#: The end of the year 9999 in milliseconds since 1970.
_END_OF_TIME: Final = 253_402_300_800_000
WITH_FACTS: Final = USED | {*_MODIFIED, *(name for names in _FACTS.values() for name in names)}


def current_objects(
    batch: pa.RecordBatch, inventory: Inventory, bucket: str, *, facts: bool = False
) -> tuple[list[Any], ...]:
    """Name, size and token of the current objects of the bucket; with `facts` also the time of the last
    change in seconds since 1970 (0: unknown), and what the report says besides."""
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
    more: list[list[Any]] = [_times(batch), _facts(batch)] if facts else []
    if manifest.kind == "azure":  # the report is of an account; names begin with the container
        head = bucket + "/"
        mine = [name.startswith(head) for name in names]
        names = [name[len(head) :] for name in compress(names, mine)]
        sizes, tokens = list(compress(sizes, mine)), list(compress(tokens, mine))
        more = [list(compress(column, mine)) for column in more]
    return names, sizes, tokens, *more


def _facts(batch: pa.RecordBatch) -> list[ObjectFacts]:
    import pyarrow as pa

    columns: list[list[str | None]] = []
    for names in _FACTS.values():
        name = next((name for name in names if name in batch.schema.names), None)
        texts = [None] * batch.num_rows if name is None else batch.column(name).cast(pa.string()).to_pylist()
        columns.append([text or None for text in texts])
    return [
        ObjectFacts(etag.strip('"') if etag else None, content_type, storage_class)
        for etag, content_type, storage_class in zip(*columns, strict=True)
    ]


def _times(batch: pa.RecordBatch) -> list[float]:
    """Seconds since 1970; 0 for what is no time."""
    name = next((name for name in _MODIFIED if name in batch.schema.names), None)
    return [0.0] * batch.num_rows if name is None else [_seconds(v) for v in _instants(batch.column(name))]


def _instants(column: pa.Array) -> list[Any]:
    """Texts, or times to the microsecond. Whole numbers, as Parquet of Azure has them, are milliseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
        known = pc.and_(pc.greater(column, 0), pc.less(column, _END_OF_TIME))
        column = pc.if_else(known, column, pa.scalar(None, pa.int64())).cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    found: list[Any] = column.to_pylist()
    return found


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return 0.0
    if not isinstance(value, datetime):
        return 0.0
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()


def _numbers(column: Any) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(column.type):  # a CSV: nothing there is null
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    numbers: list[int] = pc.fill_null(column.cast(pa.int64()), UNKNOWN).to_pylist()
    return numbers


def plain_name(name: str) -> str:
    """A column's name without case, `-` and `_`, in which the three vendors differ."""
    return name.lower().replace("-", "").replace("_", "").strip()


def with_plain_names(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.rename_columns([plain_name(name) for name in batch.schema.names])
