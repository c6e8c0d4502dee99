"""Counts of codes: of each dimension, and of each two of them, over all documents.

The codes are a table on disk, one byte a value, so that every count is a pass over two small columns. Counts
of two dimensions make a page exact under one filter.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident
from metaferry.progress import Progress
from metaferry.view.report.profile import Dimension
from metaferry.view.report.sample import SAMPLE

#: Dimensions that are counted in pairs, at most: 190 pairs.
MOST_PAIRED: Final = 20

_CODES: Final = "report_codes"


def encode(database: Database, table: str, dimensions: Sequence[Dimension]) -> None:
    """Makes the tables `report_codes` and `report_sample_codes`: columns `c0`, `c1` …"""
    codes = ", ".join(f"CAST({each.code_sql} AS UTINYINT) AS c{i}" for i, each in enumerate(dimensions))
    database.run(f"CREATE OR REPLACE TABLE {_CODES} AS SELECT {codes} FROM {quote_ident(table)}")
    database.run(f"CREATE OR REPLACE TABLE {_CODES}_sample AS SELECT place, {codes} FROM {SAMPLE}")


def count_codes(database: Database, dimensions: Sequence[Dimension]) -> list[list[int]]:
    """For each dimension the number of documents by code."""
    found = []
    for i, dimension in enumerate(dimensions):
        counts = [0] * dimension.bins.codes
        for code, documents in database.rows(f"SELECT c{i}, count(*) FROM {_CODES} GROUP BY c{i}"):
            counts[code] = documents
        found.append(counts)
    return found


def paired(dimensions: Sequence[Dimension]) -> list[int]:
    """Which dimensions are counted in pairs: the first ones that have more than one code."""
    return [i for i, each in enumerate(dimensions) if each.bins.codes > 1][:MOST_PAIRED]


def count_pairs(
    database: Database, dimensions: Sequence[Dimension], among: Sequence[int], progress: Progress
) -> bytes:
    """For each two of `among`, in order, documents by code of the first and of the second, as varints.

    The table of a pair is row after row; see `varints`.
    """
    pairs = [(a, b) for n, a in enumerate(among) for b in among[n + 1 :]]
    progress.phase("Counting pairs", len(pairs))
    parts = []
    for a, b in pairs:
        across = dimensions[b].bins.codes
        cells = array("Q", bytes(8 * dimensions[a].bins.codes * across))
        for key, documents in database.rows(
            f"SELECT c{a}::INTEGER * {across} + c{b} AS k, count(*) FROM {_CODES} GROUP BY k"
        ):
            cells[key] = documents
        parts.append(varints(cells))
        progress.advance(1)
    return b"".join(parts)


def sampled_codes(database: Database, dimensions: Sequence[Dimension]) -> bytes:
    """The codes of the sample, one dimension after the other, in the order of their hashes."""
    listed = ", ".join(f"c{i}" for i in range(len(dimensions)))
    rows = database.rows(f"SELECT {listed} FROM {_CODES}_sample ORDER BY place")
    return b"".join(bytes(column) for column in zip(*rows, strict=True))


def fine_places(database: Database, dimensions: Sequence[Dimension], points: int) -> bytes:
    """Where in their bins the first `points` of the sample are: a byte each, one number after the other."""
    numbers = [each for each in dimensions if each.is_number]
    if not numbers:
        return b""
    listed = ", ".join(
        f"coalesce({each.bins.fine_sql(each.field.sql)}, 128)"  # type: ignore[union-attr]
        for each in numbers
    )
    rows = database.rows(f"SELECT {listed} FROM {SAMPLE} WHERE place <= {points} ORDER BY place")
    return b"".join(bytes(column) for column in zip(*rows, strict=True))


def varints(numbers: Sequence[int] | array[int]) -> bytes:
    """Unsigned integers, seven bits a byte, the lowest first; the high bit says that more follow."""
    out = bytearray()
    for number in numbers:
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)
