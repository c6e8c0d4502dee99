"""What a tree allows of a selection, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from rich.text import Text

from metaferry.cli.show.text import columns, count, safe

if TYPE_CHECKING:
    from metaferry.view.selection.result import Judged, Selection, TopWeights

Line: TypeAlias = str | Text

_STYLES: Final = {"feasible": "green", "not feasible": "bold red", "not known": "yellow", "not judged": "dim"}
#: Values of a BALANCE that are listed.
_VALUES: Final = 20


def selection_lines(found: Selection) -> Iterator[Line]:
    """What `metaferry select` prints."""
    yield Text.assemble(("Selection ", "bold"), safe(found.url))
    yield ""
    asked = "" if found.wanted is None else f"; {found.wanted:,.10g} asked for"
    passing = "" if found.passing == found.samples else f", {found.passing:,} pass all thresholds on metadata"
    yield Text.assemble(("Samples  ", "bold"), f"{count(found.samples, 'sample')}{passing}{asked}")
    for judged in found.strategies:
        yield ""
        yield from _strategy(judged)
    if found.notes:
        yield ""
        for note in found.notes:
            yield f"note: {safe(note)}"
    yield ""
    yield from _verdict(found)


def _strategy(judged: Judged) -> Iterator[Line]:
    key = f" {safe(judged.key)}" if judged.key else ""
    verdict = str(judged.verdict)
    yield Text.assemble(
        (f"strategies[{judged.number}] ", "bold"),
        f"{judged.type} of {judged.input}{key}: ",
        (verdict, _STYLES[verdict]),
    )
    if judged.passing is not None:
        yield f"  {count(judged.passing, 'sample passes', 'samples pass')} it"
    yield from (f"  {safe(reason)}" for reason in judged.reasons)
    if judged.values:
        rows = [["", "target", "needed", "there", "at most"]]
        for each in judged.values[:_VALUES]:
            name = "all other values" if each.name is None else safe(each.name) or '""'
            needed = "–" if each.needed is None else f"{each.needed:,.6g}"
            best = "–" if each.best is None else f"{each.best * 100:.4g} %"
            rows.append([name, f"{each.target * 100:.4g} %", needed, f"{each.available:,}", best])
        yield from columns(rows, right=range(1, 5))
        if len(judged.values) > _VALUES:
            yield f"  … and {len(judged.values) - _VALUES:,} more"
    if judged.weights is not None:
        yield from _top(judged.weights)
    yield from (f"  note: {safe(note)}" for note in judged.notes)


def _top(top: TopWeights) -> Iterator[Line]:
    tied = ""
    if top.tied > top.tied_in:
        tied = f"; of {top.tied:,} with that weight {top.tied_in:,} are among them"
    yield (f"  the {top.samples:,} highest weights go down to {top.least:g} and sum to {top.sum:,.10g}{tied}")
    rows = []
    for each in top.first:
        frame = "" if each.frame is None else f", frame {each.frame}"
        rows.append([f"{each.weight:g}", safe(each.media) + frame])
    yield from columns(rows, right=(0,), indent=4)


def _verdict(found: Selection) -> Iterator[Line]:
    verdict = str(found.verdict)
    if verdict == "not feasible":
        wrong = [f"strategies[{each.number}]" for each in found.strategies if str(each.verdict) == verdict]
        whole = [reason for reason in found.reasons if not reason.startswith("strategies[")]
        because = f" because of {' and '.join(wrong)}, as it says above" if wrong else " because"
        yield Text.assemble(("Not feasible", "bold red"), because, ":" if whole else ".")
        yield from (f"  {safe(reason)}" for reason in whole)
    elif verdict == "feasible":
        yield Text("Feasible: what the metadata says of it can be met.", style="bold green")
    elif verdict == "not known":
        yield Text("Nothing in it is known to be impossible, and not all of it is known.", style="yellow")
    else:
        yield Text("Nothing in it is about metadata.", style="dim")
