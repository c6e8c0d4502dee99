"""What the cutter of JSON elements costs on values that never end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations import elements as cutter

BLOCK = 16 << 10
SIZE = 2 << 20


class Counting:
    """A pattern that counts the bytes that it is given to look at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.looked_at = pattern, 0

    def match(self, text: bytes, at: int = 0) -> Any:
        found = self.pattern.match(text, at)
        self.looked_at += (len(text) if found is None else found.end()) - at
        return found


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b'{"a": "', b"text"),
        (b'{"images": [{"a": "', b"text"),
        (b'{"images": [{"a": [', b'"text", '),
        (b'{"images": [', b"1234"),
    ],
)
def test_a_value_that_never_ends_is_looked_at_a_few_times(
    head: bytes, unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = [Counting(getattr(cutter, name)) for name in ("_BRACKET", "_STRING", "_SCALAR", "_ELEMENT")]
    for name, pattern in zip(("_BRACKET", "_STRING", "_SCALAR", "_ELEMENT"), patterns, strict=True):
        monkeypatch.setattr(cutter, name, pattern)

    def blocks() -> Iterator[bytes]:
        yield head
        for _ in range(SIZE // BLOCK):
            yield unit * (BLOCK // len(unit))

    with pytest.raises(JobError, match="it is cut short"):
        list(cutter.elements(blocks(), {"images"}, JobError))
    assert sum(pattern.looked_at for pattern in patterns) < 4 * SIZE
