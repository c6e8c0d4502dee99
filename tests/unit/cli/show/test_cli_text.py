"""Numbers, columns, and names that want to do harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from metaferry.cli.show.text import columns, count, duration, safe, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("straße/雨.png", "straße/雨.png"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("a\nb\tc\x1b[2J", "a\\x0ab\\x09c\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\u2028line", "zero\\u200bwidth\\u2028line"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
        ("\x85", "\\x85"),
    ],
)
def test_what_is_not_plainly_visible_is_escaped(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.slow
@given(st.text())
def test_a_safe_text_is_one_printable_line(text: str) -> None:
    shown = safe(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert safe(shown) == shown


def test_numbers_read_well() -> None:
    assert [count(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert count(2, "entry", "entries") == "2 entries"
    assert [size(n) for n in (0, 999, 1500, 2_500_000, 10**13)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "10.0 TB",
    ]
    assert [duration(s) for s in (0.04, 9.96, 12.4, 59.9, 200, 7500)] == [
        "0.0 s",
        "10.0 s",
        "12 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_columns_align_by_what_a_terminal_shows() -> None:
    lines = columns([["", "read"], ["雨.csv", "5"], ["a.csv", "1,219"]], right=[1])
    assert lines == ["           read", "  雨.csv      5", "  a.csv   1,219"]
    assert len({cell_len(line) for line in lines}) == 1
    assert columns([]) == []
