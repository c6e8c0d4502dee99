"""A snapshot of an Iceberg table as a stream of Arrow batches, through Iceberg's own library.

A table is found by a metadata file, by its folder (the metadata file with the highest number), or in a
catalog that the library's own configuration describes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from metaferry.errors import JobError, MetaferryError
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.lake.failures import lake_error

_METADATA: Final = re.compile(r"(?:.*/)?v?(\d+)(?:-[^/]*)?\.metadata\.json")


def newest_metadata(paths: Iterable[str]) -> str:
    """The path of the metadata file with the highest number: `v3.metadata.json`, `00003-….metadata.json`.

    "" where there is none. Of equal numbers, which two writers without a catalog may leave, the last by name.
    """
    found = [(int(match[1]), path) for path in paths if (match := _METADATA.fullmatch(path))]
    return max(found, default=(0, ""))[1]


class IcebergRows:
    """One snapshot of a table; as `delta.DeltaRows`.

    `location` is the folder of the table or its metadata file, which is read with fsspec's `options`; or None
    for a table `name` of the catalog `catalog`, with the `properties` of the library.
    """

    def __init__(
        self,
        shown: str,
        place: str,
        *,
        location: str | None = None,
        catalog: str = "",
        name: str = "",
        options: Mapping[str, Any] | None = None,
        properties: Mapping[str, str] | None = None,
        retry_for: float = 0.0,
        snapshot: int | None = None,
        time: datetime | None = None,
        ref: str | None = None,
    ) -> None:
        self._shown = shown
        self._place = place
        self._location = location
        self._catalog = catalog
        self._name = name
        self._options = dict(options or {})
        self._properties = dict(properties or {})
        self._wanted = snapshot
        self._time = time
        self._ref = ref
        self._retry_for = retry_for
        self._io: Any = None
        self._table: Any = None
        self._snapshot: int | None = None

    @property
    def version(self) -> str:
        """The snapshot that is read, for the report."""
        return f"snapshot {self._snapshot}" if self._snapshot is not None else "no snapshot yet"

    def open(self) -> pa.Schema:
        """Reads the metadata; the columns of the snapshot."""
        try:
            import pyiceberg.table  # noqa: F401
        except ImportError:
            raise missing_extra("lake", f"{self._shown} is an Iceberg table", self._place) from None
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        with self._errors():
            self._table = self._static() if self._location is not None else self._of_catalog()
            self._snapshot = self._chosen()
            schema: pa.Schema = schema_to_pyarrow(self._scan(("*",)).projection(), include_field_ids=False)
        return schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, of these columns. Rows that delete files name are left out by the library."""
        if self._snapshot is None:
            return
        with self._errors():
            # Of no column the library reads no rows.
            some = tuple(columns) or (self._scan(("*",)).projection().fields[0].name,)
            for batch in self._scan(some).to_arrow_batch_reader():
                yield batch.select(list(columns))

    def close(self) -> None:
        """Forgets the table. From any thread: what is read at the time fails."""
        self._table = None
        if self._io is not None:
            self._io.close()

    def cancel(self) -> bool:
        """Ends what is under way in another thread, but for a catalog that does not answer."""
        self.close()
        return False

    def _scan(self, columns: Sequence[str]) -> Any:
        # Of a snapshot that the job names, the columns are those of its day; else they are today's.
        named = self._snapshot if self._is_named else None
        return self._table.scan(selected_fields=tuple(columns), snapshot_id=named)

    @property
    def _is_named(self) -> bool:
        return not (self._wanted is None and self._time is None and self._ref is None)

    def _static(self) -> Any:
        """The table of a metadata file, by the properties of the job alone: those in the file may name any
        class of this machine as what reads it."""
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.serializers import FromInputFile
        from pyiceberg.table import StaticTable

        from metaferry.tables.readers.lake.file_io import JobFileIO

        io = self._io = JobFileIO(self._options, retry_for=self._retry_for)
        location = str(self._location)
        if not location.endswith(".json"):
            newest = newest_metadata(io.metadata_files(location))
            if not newest:
                raise FileNotFoundError("it holds no metadata/*.metadata.json")
            location = f"{location.rstrip('/')}/metadata/{newest.rpartition('/')[2]}"
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return StaticTable(
            identifier=("static-table", location),
            metadata=metadata,
            metadata_location=location,
            io=io,
            catalog=NoopCatalog("static-table"),
        )

    def _of_catalog(self) -> Any:
        from pyiceberg.catalog import load_catalog

        return load_catalog(self._catalog or None, **self._properties).load_table(self._name)

    def _chosen(self) -> int | None:
        """The snapshot that the job means; None of a table that has none."""
        if self._wanted is not None:
            if self._table.snapshot_by_id(self._wanted) is None:
                raise self._none(f"snapshot {self._wanted}", "snapshot")
            return self._wanted
        if self._ref is not None:
            named = self._table.snapshot_by_name(self._ref)
            if named is None:
                raise self._none(f"branch or tag {self._ref!r}", "ref")
            return int(named.snapshot_id)
        if self._time is not None:
            found = self._table.snapshot_as_of_timestamp(int(self._time.timestamp() * 1000))
            if found is None:
                raise self._none(f"snapshot that is as old as {self._time.isoformat()}", "time")
            return int(found.snapshot_id)
        current = self._table.current_snapshot()
        return None if current is None else int(current.snapshot_id)

    def _none(self, what: str, key: str) -> JobError:
        known = sorted((each.timestamp_ms, each.snapshot_id) for each in self._table.metadata.snapshots)[-3:]
        listed = ", ".join(str(snapshot) for _, snapshot in reversed(known))
        return JobError(
            f"{self._shown} has no {what}",
            place=f"{self._place}.{key}",
            advice=f"its newest snapshots are {listed}" if listed else "it has no snapshot at all",
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MetaferryError:
            raise
        except Exception as error:  # noqa: BLE001 - what stores and catalogs raise has no common root
            raise lake_error(error, self._shown, self._place, "Iceberg") from None
