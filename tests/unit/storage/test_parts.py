"""The size of an object is told by the answer to a part of it, and by no other answer."""

from __future__ import annotations

import pytest

from metaferry.storage.answers import BadAnswer, size_of_part


@pytest.mark.parametrize(
    ("text", "start", "end", "size"),
    [
        ("bytes 2-4/10", 2, 5, 10),
        ("bytes 2-9/10", 2, 50, 10),
        ("bytes 2-9/10", 2, None, 10),
        ("bytes 10-9/10", 10, None, 10),
    ],
    ids=["inside", "beyond the end", "to the end", "past the end"],
)
def test_a_part_that_was_asked_for_tells_the_size(text: str, start: int, end: int | None, size: int) -> None:
    assert size_of_part(text, start, end) == size


def test_an_empty_object_has_no_part() -> None:
    """Azurite gives one; of what may stand for a folder all is looked at."""
    with pytest.raises(BadAnswer):
        size_of_part("bytes 0--1/0", 0, None)


@pytest.mark.parametrize(
    "text",
    [None, "", "bytes 2-4/*", "bytes 2-4", "bytes 2-4/\u00b2", "bytes 3-4/10", "bytes 2-5/10", "2-4/10"],
)
def test_another_part_is_a_bad_answer(text: str | None) -> None:
    with pytest.raises(BadAnswer):
        size_of_part(text, 2, 5)
