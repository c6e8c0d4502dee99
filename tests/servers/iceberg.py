"""Iceberg tables made for tests, in a folder or on a store, and a catalog over HTTP that knows one of them.

The library's own catalogs need a database or a server; this one keeps the newest metadata file of each
table in memory. Tables are written by the library itself.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
from pyarrow.fs import LocalFileSystem
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table


class ElsewhereIO(PyArrowFileIO):
    """Writes a table into the folder `here` as it will be at the URL `elsewhere`, once its files are put
    there: no server of ours has all that a writer asks of a store."""

    def new_input(self, location: str) -> PyArrowFile:
        here, elsewhere = self.properties["here"], self.properties["elsewhere"]
        files = LocalFileSystem()
        path = f"{here}{location.removeprefix(elsewhere)}"
        if location.startswith(elsewhere):
            files.create_dir(path.rpartition("/")[0])
        return PyArrowFile(location=location, path=path, fs=files, buffer_size=1 << 20)

    new_output = new_input


class FolderCatalog(NoopCatalog, MetastoreCatalog):
    """A catalog without a memory beyond this process."""

    def __init__(self, **properties: str) -> None:
        super().__init__("folder", **properties)
        self._metadata: dict[tuple[str, ...], str] = {}

    def new_table(self, location: str, rows: pa.Table, **properties: str) -> Table:
        """A table below `location` with these rows as its first snapshot."""
        identifier = ("db", location)
        staged = self._create_staged_table(identifier, rows.schema, location, properties=properties)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        self._metadata[identifier] = staged.metadata_location
        table = self.load_table(identifier)
        table.append(rows)
        return self.load_table(identifier)

    def load_table(self, identifier: Any) -> Table:
        location = self._metadata[tuple(identifier)]
        io = self._load_file_io({}, location)
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return Table(tuple(identifier), metadata, location, io, self)

    def load_namespace_properties(self, namespace: Any) -> dict[str, str]:
        return {}

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        identifier = table.name()
        current = self.load_table(identifier)
        staged = self._update_and_stage_table(current, identifier, requirements, updates)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        self._metadata[tuple(identifier)] = staged.metadata_location
        return CommitTableResponse(
            identifier=identifier, metadata=staged.metadata, metadata_location=staged.metadata_location
        )


@contextlib.contextmanager
def rest_catalog(tables: dict[str, Table], *, token: str = "") -> Iterator[str]:
    """The URI of a catalog that knows tables by `namespace.name`; with a token, only those who have it see
    them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/v1/config":
                return self._answer(200, {"defaults": {}, "overrides": {}})
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                message = {"message": "no such token", "type": "NotAuthorizedException", "code": 401}
                return self._answer(401, {"error": message})
            for name, table in tables.items():
                namespace, _, own = name.partition(".")
                if path == f"/v1/namespaces/{namespace}/tables/{own}":
                    metadata = json.loads(table.metadata.model_dump_json())
                    location = table.metadata_location
                    return self._answer(
                        200, {"metadata-location": location, "metadata": metadata, "config": {}}
                    )
            message = {"message": "Table does not exist", "type": "NoSuchTableException", "code": 404}
            return self._answer(404, {"error": message})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
