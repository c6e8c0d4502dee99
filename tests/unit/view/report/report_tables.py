"""Small tables of documents, and the payload of a page read back."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database
from metaferry.view.report.facts import About

ABOUT = About("s3://fleet/2026/", "2026-11-28T05:40:00+00:00", "the documents in place")

_TYPES = {
    ValueType.NUMERIC_INT: pa.int64(),
    ValueType.CATEGORICAL_INT: pa.int64(),
    ValueType.CATEGORICAL_TIMESTAMP: pa.int64(),
    ValueType.NUMERIC_FLOAT: pa.float64(),
    ValueType.CATEGORICAL_BOOLEAN: pa.bool_(),
}


def entry(name: str, value_type: ValueType, default: Any) -> Entry:
    return Entry(name, name, default, value_type)


def fill(
    database: Database, entries: Sequence[Entry], rows: Sequence[Sequence[Any]]
) -> list[tuple[Entry, str]]:
    """The table `docs` of rows `(target, kind, media, frame, state, *values)`; its columns."""
    schema = pa.schema(
        [("target", pa.string()), ("kind", pa.string()), ("media", pa.string()), ("frame", pa.int64())]
        + [("state", pa.string())]
        + [(f"v{i}", _TYPES.get(each.type, pa.string())) for i, each in enumerate(entries)]
    )
    database.create_like("docs", schema)
    database.insert_rows("docs", schema, rows)
    return [(each, f"v{i}") for i, each in enumerate(entries)]


def image(n: int, *values: Any, folder: str = "images", state: str = "document") -> tuple[Any, ...]:
    return (f".lightly/metadata/{folder}/{n}.json", "image", f"{folder}/{n}.png", None, state, *values)


class Payload:
    """What the script of a page reads."""

    def __init__(self, html: str) -> None:
        found = re.search(r'<script type="text/plain" id="payload">([^<]*)</script>', html)
        assert found is not None
        raw = gzip.decompress(base64.b64decode(found[1]))
        (size,) = struct.unpack("<I", raw[:4])
        self.head: dict[str, Any] = json.loads(raw[4 : 4 + size])
        self._rest = raw[4 + size :]
        self.dimensions: dict[str, dict[str, Any]] = {each["name"]: each for each in self.head["dimensions"]}
        self.names = list(self.dimensions)

    def part(self, name: str) -> bytes:
        at, length = self.head["parts"][name]
        return self._rest[at : at + length]

    def sample(self, name: str) -> bytes:
        n, at = self.head["sampled"], self.names.index(name)
        return self.part("sample")[at * n : (at + 1) * n]

    def pairs(self) -> dict[tuple[str, str], list[list[int]]]:
        data, at, found = self.part("pairs"), 0, {}
        paired = [self.head["dimensions"][i] for i in self.head["paired"]]
        for n, a in enumerate(paired):
            for b in paired[n + 1 :]:
                cells = []
                for _ in range(a["codes"] * b["codes"]):
                    value, shift = 0, 0
                    while True:
                        byte = data[at]
                        at += 1
                        value |= (byte & 127) << shift
                        shift += 7
                        if byte < 128:
                            break
                    cells.append(value)
                across = b["codes"]
                found[a["name"], b["name"]] = [
                    cells[i * across : (i + 1) * across] for i in range(a["codes"])
                ]
        assert at == len(data)
        return found
