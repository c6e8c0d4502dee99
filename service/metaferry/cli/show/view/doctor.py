"""What `doctor` found, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.text import count, safe

if TYPE_CHECKING:
    from metaferry.view.doctor.model import Doctor

#: A symbol and a word for each status, so that neither colour nor a font is needed to tell them apart.
_MARKS: Final = {"ok": ("✓", "ok"), "warn": ("!", "warn"), "fail": ("✗", "FAIL"), "skipped": ("-", "skip")}
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


def doctor_lines(found: Doctor) -> Iterator[str | Text]:
    """One line a check under the place that it is about, its remedy below it, and what to do next."""
    names = max((len(check.name) for check in found.checks), default=0)
    place = ""
    for check in found.checks:
        if check.place != place:
            place = check.place
            yield Text(safe(place), style="bold") if place else ""
        symbol, word = _MARKS[check.status]
        yield Text.assemble(
            "  ",
            (f"{symbol} {word:<4}", _STYLES[check.status]),
            f"  {safe(check.name):<{names}}  {safe(check.measured)}",
        )
        if check.remedy:
            yield f"{'':{10 + names}}  → {safe(check.remedy)}"
    yield ""
    yield _last_line(found)


def _last_line(found: Doctor) -> str:
    counts = {str(status): number for status, number in found.counts.items()}
    words = [f"{counts['ok']} ok", count(counts["warn"], "warning"), f"{counts['fail']} failed"]
    words.append(f"{counts['skipped']} skipped")
    job = safe(found.job)
    if counts["fail"]:
        todo = f"mend what failed, then run it again: metaferry doctor {job}"
    elif found.read_only:
        todo = f"nothing was written; without --read-only it checks writing too: metaferry doctor {job}"
    else:
        todo = f"next: metaferry plan {job}"
    return f"{', '.join(words)}; {todo}"
