"""What `metaferry select` prints: names that do no harm, and every verdict in words."""

from __future__ import annotations

import pytest

from metaferry.cli.show.select import selection_lines
from metaferry.view.selection.result import Judged, Selection, ValueShare, Verdict


def shown(judged: Judged, verdict: Verdict, *reasons: str) -> str:
    found = Selection("s3://fleet/", 10, 8, 5.0, verdict, reasons, (), (judged,), ("a",))
    return "\n".join(str(line) for line in selection_lines(found))


@pytest.mark.parametrize(
    ("verdict", "last"),
    [
        (Verdict.FEASIBLE, "Feasible: what the metadata says of it can be met."),
        (Verdict.NOT_FEASIBLE, "Not feasible because of strategies[0], as it says above."),
        (Verdict.NOT_KNOWN, "Nothing in it is known to be impossible, and not all of it is known."),
        (Verdict.NOT_JUDGED, "Nothing in it is about metadata."),
    ],
)
def test_the_verdict_in_words(verdict: Verdict, last: str) -> None:
    text = shown(Judged(0, "METADATA", "BALANCE", "a", verdict, ("why",)), verdict, "strategies[0]: why")
    assert f"strategies[0] BALANCE of METADATA a: {verdict}\n  why" in text
    assert text.splitlines()[-1] == last


def test_what_is_wrong_with_the_whole_is_said() -> None:
    one = Judged(0, "METADATA", "THRESHOLD", "a", Verdict.FEASIBLE, passing=1)
    text = shown(one, Verdict.NOT_FEASIBLE, "5 samples are asked for, and 1 sample passes all thresholds")
    assert "  1 sample passes it" in text
    assert text.endswith(
        "Not feasible because:\n  5 samples are asked for, and 1 sample passes all thresholds"
    )


def test_names_do_no_harm() -> None:
    evil = "[bold]\x1b[2J\u202e"
    values = (ValueShare(evil, 0.5, 3, 2.5, 1.0), ValueShare(None, 0.5, 3), ValueShare("", 0.0, 0))
    text = shown(
        Judged(0, "METADATA", "BALANCE", evil, Verdict.FEASIBLE, (evil,), (evil,), values=values),
        Verdict.FEASIBLE,
    )
    assert "\x1b" not in text
    assert text.count("[bold]\\x1b[2J\\u202e") == 4
    assert "all other values" in text
