"""Any other file system that fsspec knows: sftp, smb, hdfs, ftp, webdav, a user's own …

Slower and weaker than the adapters for one store: a write is a temporary file and a rename where the file
system has a real rename, and a direct write elsewhere, which `capabilities.atomic` says. Preconditions are
checked just before the write. Folders are listed one at a time; any error in one of them is
raised, since a folder that is left out would look like a folder whose files are gone.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from metaferry.errors import (
    Changed,
    Corrupt,
    NotFound,
    StorageError,
    Unavailable,
    Unsupported,
    UsageError,
)
from metaferry.storage.answers import require
from metaferry.storage.base import ThreadedAdapter
from metaferry.storage.errors import Failure, Operation, errno_failure
from metaferry.storage.keys import is_marker, md5_hex
from metaferry.storage.listing.paging import Cursor, next_page
from metaferry.storage.protocol import (
    ANYTHING,
    Blob,
    Capabilities,
    Entry,
    Page,
    Precondition,
    PutResult,
)

T = TypeVar("T")

#: File systems whose `mv` is one step on the server that replaces the target. Elsewhere fsspec
#: copies and deletes, which is not.
RENAMES: Final = frozenset({"file", "local", "sftp", "ssh", "hdfs", "arrow_hdfs"})

#: Fields of a file system's info that change with the content, best first.
_VERSIONS: Final = ("ETag", "etag", "generation", "version_id", "md5", "checksum")
_TIMES: Final = ("mtime", "modified", "last_modified", "LastModified", "updated", "created")
_TEMPORARY: Final = re.compile(r"\.metaferry-[0-9a-f]{16}\.tmp\Z")


class FsspecAdapter(ThreadedAdapter):
    """The files below `url` of any fsspec file system. `options` are those of its class.

    `renames` overrides whether its `mv` is a real rename. Calls run in at most `concurrency` threads.
    """

    store = "generic"

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any],
        *,
        shown: str | None = None,
        concurrency: int = 16,
        page_size: int | None = None,
        renames: bool | None = None,
    ) -> None:
        self._renames = url.partition("://")[0].lower() in RENAMES if renames is None else renames
        super().__init__(
            url=shown if shown is not None else url,
            capabilities=Capabilities(listing_md5=False, conditional=False, atomic=self._renames),
            threads=concurrency,
            page_size=page_size,
        )
        self._source = url
        self._options = dict(options)
        self._fs: Any = None
        self._base = ""
        self._wrote = False  # then the root exists, even where a store drops empty folders

    async def close(self) -> None:
        await super().close()
        # Not the file system: fsspec may share the instance with others of this process.
        self._fs = None

    # -- in a thread

    def _translated(self, operation: Operation, path: str, work: Callable[[], T]) -> T:
        try:
            if self._fs is None:
                self._open()
            with self.checking(operation, path):
                return work()
        except (StorageError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - any library may be behind this, raising anything
            raise self.error(fsspec_failure(error), operation, path) from None

    def _open(self) -> None:
        import fsspec
        from fsspec.core import url_to_fs

        options = {**self._options, "use_listings_cache": False, "skip_instance_cache": True}
        scheme = self._source.partition("://")[0]
        if not _takes_anything(fsspec.get_filesystem_class(scheme)):
            options = dict(self._options)
        fs, base = url_to_fs(self._source, **options)
        self._base = base.rstrip("/") + "/"
        self._fs = fs

    def _file(self, path: str, operation: Operation) -> str:
        if any(segment in ("", ".", "..") for segment in path.split("/")):
            raise self.error(Failure(code="InvalidKey", kind=Unsupported), operation, path)
        full = self._base + path
        # Some file systems cut off a query, or quote: the name would be that of another file.
        if self._fs._strip_protocol(full) != full.rstrip("/"):
            raise self.error(Failure(code="InvalidKey", kind=Unsupported), operation, path)
        return full

    def _list_page(self, prefix: str, cursor: Cursor) -> Page:
        return next_page(cursor, self._page_size, lambda after: self._walk(prefix, after or ""))

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        """Entries in byte order of the whole key; one folder in memory at a time, and its parents."""
        folder, _, start = prefix.rpartition("/")
        base = folder + "/" if folder else ""
        try:
            stack = [iter(self._folder(base, start))]
        except (FileNotFoundError, NotADirectoryError):
            if base or self._wrote or self._exists_root():
                return
            raise self.error(Failure(code="ENOENT", kind=NotFound, bucket=True), "list", "") from None
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
                continue
            key, info = found
            if key.endswith("/"):
                if key <= after and not after.startswith(key):
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted since its parent was listed
                    stack.append(iter(self._folder(key, "")))
            elif key > after:
                yield _entry(key, info)

    def _folder(self, base: str, start: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Names and infos of one folder, sorted as their keys are; a folder's key ends with a slash."""
        top = (self._base + base).rstrip("/")
        out: list[tuple[str, Mapping[str, Any]]] = []
        listed = self._fs.ls(top or self._fs.root_marker, detail=True)
        for info in listed:
            named = isinstance(info, Mapping) and isinstance(info.get("name"), str) and info["name"]
            require(named, "an entry without a name")
            full = info["name"].rstrip("/")
            name = full.rpartition("/")[2]
            if full == top or not name.startswith(start) or _TEMPORARY.match(name):
                continue
            key = base + name
            if info.get("type") == "directory":
                out.append((key + "/", info))
            else:
                info = self._sized(info)
                if not is_marker(key, info["size"]):
                    out.append((key, info))
        return sorted(out, key=lambda item: item[0])

    def _sized(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        """`info` with a size, which some file systems return only for single files."""
        if info.get("size") is None:
            info = {**info, **self._fs.info(info["name"])}
        size = info.get("size")
        require(isinstance(size, int) and size >= 0, "an entry without a size")
        return info

    def _exists_root(self) -> bool:
        return self._base == "/" or bool(self._fs.isdir(self._base.rstrip("/")))

    def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        name = self._file(path, "read")
        info = self._info(name)
        if info is None:
            raise self.error(Failure(code="ENOENT", kind=NotFound), "read", path)
        token, size = _token(info), self._sized(info)["size"]
        if version is not None and token != version:
            raise self.error(Failure(kind=Changed), "read", path)
        stop = size if end is None else min(end, size)
        data = b"" if stop <= start else bytes(self._fs.cat_file(name, start=start, end=stop))
        # The file may have been replaced between the two calls; then the read is retried.
        after = self._info(name)
        if after is None or _token(after) != token or len(data) != max(0, stop - start):
            raise self.error(Failure(kind=Corrupt if version is None else Changed), "read", path)
        return Blob(data, token, size)

    def _put(self, path: str, data: bytes, only_if: Precondition) -> PutResult:
        name = self._file(path, "put")
        if only_if is not ANYTHING:
            info = self._info(name)
            self.require(None if info is None else _token(info), only_if, "put", path)
        folder = name.rpartition("/")[0]
        if self._renames:
            temporary = f"{folder}/.metaferry-{secrets.token_hex(8)}.tmp"
            try:
                self._write(temporary, data, folder)
                self._fs.mv(temporary, name)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(temporary)
                raise
        else:
            self._write(name, data, folder)
        info = self._info(name)
        if info is None or info.get("size") != len(data):
            raise self.error(Failure(kind=Corrupt, code="Length"), "put", path)
        self._wrote = True
        return PutResult(_token(info), md5_hex(data))

    def _write(self, name: str, data: bytes, folder: str) -> None:
        try:
            self._fs.pipe_file(name, data)
        except FileNotFoundError:
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(name, data)

    def _delete(self, path: str, only_if: Precondition) -> None:
        name = self._file(path, "delete")
        info = self._info(name)
        if info is None:
            return
        self.require(_token(info), only_if, "delete", path)
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(name)

    def _info(self, name: str) -> Mapping[str, Any] | None:
        try:
            info: Mapping[str, Any] = self._fs.info(name)
        except FileNotFoundError as error:
            # fsspec's HTTP file system raises it for any error: endless redirects, a server error.
            status = getattr(error.__cause__, "status", None)
            if isinstance(error.__cause__, Exception) and status is not None and status not in (404, 410):
                raise error.__cause__ from None
            return None
        return None if info.get("type") == "directory" else info


def fsspec_failure(error: Exception) -> Failure:
    """The failure for an error of an unknown library."""
    if type(error).__name__ == "TooManyRedirects":
        return Failure(code="TooManyRedirects", kind=Unsupported)
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    if isinstance(status, int) and 100 <= status < 600:
        return Failure(status, type(error).__name__)
    if isinstance(error, NotImplementedError):
        return Failure(code="NotImplemented", kind=Unsupported)
    if isinstance(error, OSError):
        return errno_failure(error)
    if isinstance(error, (ValueError, TypeError, ImportError)):
        return Failure(code=type(error).__name__, kind=Unsupported)
    return Failure(code=type(error).__name__, kind=Unavailable)


def _takes_anything(cls: type) -> bool:
    """Whether a class passes unknown keywords on to fsspec's constructor."""
    return any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in inspect.signature(cls).parameters.values()
    )


def _entry(path: str, info: Mapping[str, Any]) -> Entry:
    return Entry(path, info["size"], _token(info), None, _mtime(info))


def _token(info: Mapping[str, Any]) -> str:
    for name in _VERSIONS:
        value = info.get(name)
        if value:
            return str(value).strip('"')
    parts = [str(info.get("size")), repr(_mtime(info))]
    if info.get("ino"):
        parts.append(str(info["ino"]))
    return "-".join(parts)


def _mtime(info: Mapping[str, Any]) -> float:
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
    return 0.0
