"""One small source for each reader, in a folder or on a store, and the documents that a run makes of them.

Each source speaks of two images, `first/NAME-1.png` and `second/NAME-2.png`, where NAME is its reader's; the
first has `count` objects (a database and a table of a lake: the number `count`), the second none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import write_deltalake

from servers.iceberg import FolderCatalog
from unit.tables.readers.test_label_studio import rectangle, task
from unit.tables.readers.test_labelbox import box, data_row
from unit.tables.readers.test_nuscenes import TABLES

#: Puts one file: its path below the place, its bytes.
Put = Callable[[str, bytes], Any]

OF_FILES: Final = ("coco", "scalabel", "cvat", "nuscenes", "label_studio", "labelbox")
OF_LAKES: Final = ("delta", "iceberg")
READERS: Final = (*OF_FILES, "sql", *OF_LAKES)


@dataclass
class Sources:
    """The sources of all readers below `url`, a folder or a prefix, where `put` puts a file.

    A database is a file of `folder`, wherever the others are.
    """

    url: str
    put: Put
    folder: Path
    _catalog: FolderCatalog | None = None
    _table: Any = None

    def write(self, readers: Sequence[str] = READERS, count: int = 2, *, rows: int = 0) -> None:
        """Writes the sources, or writes them again with another count. `rows`: so many rows about no image
        besides, of a database or a lake."""
        for name in readers:
            if name in OF_FILES:
                for path, data in _FILES[name](count).items():
                    self.put(path, data)
        table = pa.table(
            {
                "file_name": [*("first/{}-1.png", "second/{}-2.png"), *(["none.png"] * rows)],
                "count": pa.array([count, 0, *range(rows)], pa.int64()),
            }
        )
        if "sql" in readers:
            self._write_sql(table)
        if "delta" in readers:
            self._write_delta(_named(table, "delta"))
        if "iceberg" in readers:
            self._write_iceberg(_named(table, "iceberg"))

    def _write_sql(self, table: pa.Table) -> None:
        with sqlite3.connect(self.folder / "labels.db") as con:
            con.execute("DROP TABLE IF EXISTS labels")
            con.execute("CREATE TABLE labels (file_name TEXT, count INTEGER)")
            rows = _named(table, "sql").to_pydict()
            con.executemany("INSERT INTO labels VALUES (?, ?)", zip(*rows.values(), strict=True))
        con.close()

    # Tables of lakes are written on this machine and put where they belong: no server here has all that a
    # writer asks of a store.

    def _write_delta(self, table: pa.Table) -> None:
        write_deltalake(self.folder / "delta", table, mode="overwrite")
        self._put_folder("delta")

    def _write_iceberg(self, table: pa.Table) -> None:
        if self._table is None:
            at = f"{self.url}/iceberg"
            here = {"elsewhere": at, "here": str(self.folder / "iceberg")}
            self._catalog = FolderCatalog(**{"py-io-impl": "servers.iceberg.ElsewhereIO"}, **here)
            self._table = self._catalog.new_table(at, table)
        else:
            assert self._catalog is not None
            self._table = self._catalog.load_table(self._table.name())
            self._table.overwrite(table)
        self._put_folder("iceberg")

    def _put_folder(self, name: str) -> None:
        if str(self.folder) != self.url:
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file():
                    self.put(path.relative_to(self.folder).as_posix(), path.read_bytes())

    def of(self, name: str) -> dict[str, Any]:
        """The source of a reader in the job."""
        if name == "sql":
            return {
                "name": name,
                "sql": {
                    "uri": f"sqlite:///{self.folder}/labels.db",
                    "query": "SELECT file_name, count FROM labels",
                },
            }
        if name in OF_LAKES:
            return {"name": name, name: f"{self.url}/{name}", "metadata": {"count": "count"}}
        match = {"match": "basename"} if name in ("label_studio", "labelbox") else {}
        return {"name": name, "annotations": f"{self.url}/{_PATHS[name]}", **match}


def media(readers: Sequence[str] = READERS) -> list[str]:
    """The paths of the images that the sources speak of."""
    return [path for name in readers for path in (f"first/{name}-1.png", f"second/{name}-2.png")]


def expected(readers: Sequence[str] = READERS, count: int = 2) -> dict[str, Any]:
    """The metadata of each document, by its path without `.json`."""
    found = {}
    for name in readers:
        for place, objects in ((f"first/{name}-1", count), (f"second/{name}-2", 0)):
            found[place] = _metadata(name, objects)
    return found


def _metadata(name: str, objects: int) -> dict[str, Any]:
    if name == "sql" or name in OF_LAKES:
        return {"count": objects}
    if name == "nuscenes":
        return {
            "channel": "CAM_FRONT",
            "is_key_frame": True,
            "time": "2018-07-18T03:12:10.449377Z",
            "scene": "scene-1",
            "description": "rain",
            "location": "boston",
            "vehicle": "v1",
            "date_captured": "2018-07-18",
            "objects": objects,
            "categories": {"vehicle_car": objects},
        }
    return {"objects": objects, "categories": {"car": objects}}


def _coco(count: int) -> dict[str, bytes]:
    held = {
        "images": [{"id": 1, "file_name": "first/coco-1.png"}, {"id": 2, "file_name": "second/coco-2.png"}],
        "annotations": [{"id": at, "image_id": 1, "category_id": 1} for at in range(count)],
        "categories": [{"id": 1, "name": "car"}],
    }
    return {"coco.json": _json(held)}


def _scalabel(count: int) -> dict[str, bytes]:
    label = {"id": 1, "category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}
    return {
        "scalabel.json": _json(
            [
                {"name": "first/scalabel-1.png", "labels": [label] * count},
                {"name": "second/scalabel-2.png", "labels": []},
            ]
        )
    }


def _cvat(count: int) -> dict[str, bytes]:
    shape = '<box label="car" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>'
    return {
        "cvat.xml": (
            "<annotations><version>1.1</version><meta><task><mode>annotation</mode></task></meta>"
            f'<image id="0" name="first/cvat-1.png" width="8" height="6">{shape * count}</image>'
            '<image id="1" name="second/cvat-2.png" width="8" height="6"></image></annotations>'
        ).encode()
    }


def _nuscenes(count: int) -> dict[str, bytes]:
    image, held = TABLES["sample_data"][0], TABLES["object_ann"][0]
    more = {
        "sample_data": [
            {**image, "filename": "first/nuscenes-1.png"},
            {**image, "token": "i3", "filename": "second/nuscenes-2.png"},
        ],
        "object_ann": [{**held, "token": f"o{at}"} for at in range(count)],
        "sample_annotation": [],
    }
    return {f"nuscenes/{name}.json": _json(rows) for name, rows in {**TABLES, **more}.items()}


def _label_studio(count: int) -> dict[str, bytes]:
    first = task(*(rectangle(own=f"r{at}") for at in range(count)), image="s3://b/label_studio-1.png")
    second = {"id": 2, "data": {"image": "s3://b/label_studio-2.png"}, "annotations": []}
    return {"label_studio.json": _json([first, second])}


def _labelbox(count: int) -> dict[str, bytes]:
    boxes = {"objects": [box(own=f"f{at}") for at in range(count)]}
    lines = (data_row("labelbox-1.png", boxes), data_row("labelbox-2.png"))
    return {"labelbox.ndjson": b"".join(_json(line) + b"\n" for line in lines)}


_FILES: Final[dict[str, Callable[[int], dict[str, bytes]]]] = {
    "coco": _coco,
    "scalabel": _scalabel,
    "cvat": _cvat,
    "nuscenes": _nuscenes,
    "label_studio": _label_studio,
    "labelbox": _labelbox,
}
#: What the job names of each: the file, or the folder.
_PATHS: Final = {
    "coco": "coco.json",
    "scalabel": "scalabel.json",
    "cvat": "cvat.xml",
    "nuscenes": "nuscenes/",
    "label_studio": "label_studio.json",
    "labelbox": "labelbox.ndjson",
}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _named(table: pa.Table, name: str) -> pa.Table:
    """The table with the name of its reader in the paths."""
    paths = [path.format(name) for path in table["file_name"].to_pylist()]
    return table.set_column(0, "file_name", pa.array(paths, pa.string()))
