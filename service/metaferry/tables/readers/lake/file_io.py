"""How Iceberg's library reads the files of a table: through fsspec, with the options of the job as they are.

The library's own class takes options by names of its own, which leaves some out, and knows neither `az://`
nor gcsfs without gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pyiceberg.io.fsspec import FsspecFileIO

from metaferry.storage.gcs.client import plain_file_system

_AZURE = frozenset({"az", "abfs", "abfss", "wasb", "wasbs"})
_GCS = frozenset({"gs", "gcs"})


class JobFileIO(FsspecFileIO):
    """The files of one table. `options` are fsspec's, for the scheme of the table."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__({})
        self._options = dict(options)
        self._made: dict[tuple[str, str], Any] = {}

    def get_fs(self, scheme: str, hostname: str | None = None) -> Any:
        """The file system of a scheme; of Azure, that of the account in `container@account.dfs.…`."""
        kind = "abfs" if scheme in _AZURE else scheme
        account = (hostname or "").partition(".")[0] if "." in (hostname or "") and kind == "abfs" else ""
        if (kind, account) not in self._made:
            self._made[kind, account] = _file_system(kind, account, self._options)
        return self._made[kind, account]

    def metadata_files(self, folder: str) -> list[str]:
        """The paths of the metadata files in the folder of a table, as it is now."""
        url = urlsplit(folder)
        files = self.get_fs(url.scheme or "file", url.hostname)
        files.invalidate_cache()
        found: list[str] = files.glob(f"{folder.rstrip('/')}/metadata/*.metadata.json")
        return found


def _file_system(kind: str, account: str, options: Mapping[str, Any]) -> Any:
    import fsspec

    given = {**options, "skip_instance_cache": True}
    if kind == "file":
        return fsspec.filesystem("file")
    if kind in _GCS:
        return plain_file_system(given)
    if account and not given.keys() & {"account_name", "connection_string"}:
        given["account_name"] = account
    return fsspec.filesystem(kind, **given)
