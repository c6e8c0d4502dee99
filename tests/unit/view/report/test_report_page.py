"""The page of a table: its counts are those of the rows, and nothing in it is markup but its own."""

from __future__ import annotations

import base64
import hashlib
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_tables import ABOUT, Payload, entry, fill, image

from browser.driving import COLUMNS, fill_driving
from metaferry.findings import Code, Finding, Severity
from metaferry.lightly.schema import ValueType
from metaferry.planning.database import Database, open_database
from metaferry.view.report import sample
from metaferry.view.report.build import build_page
from metaferry.view.report.facts import About, Panel, group_findings

SCENE = entry("scene", ValueType.CATEGORICAL_STRING, "undefined")
SPEED = entry("speed", ValueType.NUMERIC_FLOAT, 0.0)
SEATS = entry("seats", ValueType.NUMERIC_INT, 0)
BRAKING = entry("braking", ValueType.CATEGORICAL_BOOLEAN, False)

SCENES = ["city", "highway", "tunnel"]
ROWS = [
    image(
        n,
        SCENES[n * n % 3],
        None if n % 17 == 0 else (n * 7 % 100) / 2,
        n % 4,
        n % 5 == 0,
        folder=f"day{n % 2}",
    )
    for n in range(400)
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(memory_limit="256MB", scratch=str(tmp_path)) as database:
        yield database


def test_counts_are_those_of_the_rows(database: Database) -> None:
    columns = fill(database, [SCENE, SPEED, SEATS, BRAKING], ROWS)
    page = Payload(build_page(database, "docs", columns, ABOUT).html)
    assert page.head["documents"] == page.head["sampled"] == 400
    scene, speed, seats = (page.dimensions[name] for name in ("scene", "speed", "seats"))
    assert dict(zip(scene["labels"], scene["counts"], strict=True)) == Counter(row[5] for row in ROWS)
    assert seats["counts"] == [100, 100, 100, 100]
    assert seats["defaults"] == 100
    # Bins of 2, the first from 0; the last code is for rows without a value.
    assert (speed["low"], speed["step"], speed["missing"]) == (0.0, 2.0, True)
    expected = Counter(int(row[6] // 2) for row in ROWS if row[6] is not None)
    assert speed["counts"][:-1] == [expected[i] for i in range(speed["bins"])]
    assert speed["counts"][-1] == sum(row[6] is None for row in ROWS)
    assert (speed["min"], speed["max"], speed["present"]) == (0.0, 49.5, 400 - speed["counts"][-1])
    assert page.dimensions["folder"]["labels"] == ["day0", "day1"]
    assert page.dimensions["braking"]["labels"] == ["true", "false"]
    assert page.dimensions["braking"]["counts"] == [80, 320]


def test_pairs_are_exact(database: Database) -> None:
    columns = fill(database, [SCENE, SPEED, SEATS, BRAKING], ROWS)
    page = Payload(build_page(database, "docs", columns, ABOUT).html)
    pairs = page.pairs()
    assert ("scene", "seats") in pairs
    for (a, b), cells in pairs.items():
        codes = Counter(zip(page.sample(a), page.sample(b), strict=True))
        assert cells == [
            [codes[i, j] for j in range(page.dimensions[b]["codes"])]
            for i in range(page.dimensions[a]["codes"])
        ]
        assert [sum(row) for row in cells] == page.dimensions[a]["counts"]


def test_a_sample_is_the_same_every_time_and_counts_stay_those_of_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "MOST_SAMPLED", 50)
    columns = fill(database, [SCENE, SPEED, SEATS, BRAKING], ROWS)
    first = build_page(database, "docs", columns, ABOUT)
    assert first.sampled == 50
    page = Payload(first.html)
    assert sum(page.dimensions["scene"]["counts"]) == 400
    assert len(page.part("sample")) == 50 * len(page.names)
    assert build_page(database, "docs", columns, ABOUT).html == first.html


def test_the_commonest_39_values_have_labels_and_the_rest_is_other(database: Database) -> None:
    rows = [image(n, f"v{min(n % 97, 60)}") for n in range(970)]
    columns = fill(database, [SCENE], rows)
    scene = Payload(build_page(database, "docs", columns, ABOUT).html).dimensions["scene"]
    assert len(scene["labels"]) == 39
    assert scene["labels"][0] == "v60"
    assert scene["other"]
    assert scene["distinct"] == 61
    assert sum(scene["counts"]) == 970
    assert scene["counts"][0] == 370


@pytest.mark.parametrize("rows", [[], [image(1, None, None)], [image(1, "a", 1.0)]])
def test_tables_with_next_to_nothing(database: Database, rows: list[tuple[object, ...]]) -> None:
    columns = fill(database, [SCENE, SPEED], rows)
    page = Payload(build_page(database, "docs", columns, ABOUT).html)
    assert page.head["documents"] == len(rows)
    assert page.names[-2:] == ["scene", "speed"]


def test_values_along_videos(database: Database) -> None:
    rows = [
        (f"v-{n:03}-mp4.json", "frame", "v.mp4", n, "document", "city" if n < 300 else "tunnel", float(n))
        for n in range(600)
    ]
    columns = fill(database, [SCENE, SPEED], rows)
    page = Payload(build_page(database, "docs", columns, ABOUT).html)
    (video,) = page.head["videos"]
    assert video == {"media": "v.mp4", "frames": 600, "last": 599, "steps": 200, "per_step": 3}
    line = page.part("along")
    assert line[0] == 0  # the commonest scene comes first
    assert line[:200] == bytes([0] * 100 + [1] * 100)
    least, mean, largest = (line[200 * i : 200 * (i + 1)] for i in (1, 2, 3))
    assert (least[0], largest[-1]) == (0, 254)
    assert mean[-1] == round(598 / 599 * 254)


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202e\n"


def test_hostile_text_is_never_markup(database: Database) -> None:
    columns = fill(
        database, [entry(HOSTILE, ValueType.CATEGORICAL_STRING, HOSTILE)], [image(1, HOSTILE, folder=HOSTILE)]
    )
    finding = Finding(Code.VALUE_TYPE, Severity.WARNING, HOSTILE, target=HOSTILE)
    about = About(
        HOSTILE,
        "2026-11-28T05:40:00+00:00",
        HOSTILE,
        findings=group_findings({"value.type": 1}, [finding]),
        panels=(Panel(HOSTILE, (HOSTILE,), ((HOSTILE,),)),),
    )
    html = build_page(database, "docs", columns, about).html
    assert "<img" not in html
    assert html.count("</script>") == 2
    assert Payload(html).dimensions[HOSTILE]["labels"] == [HOSTILE]


def test_the_policy_lets_in_this_style_and_this_script_alone(database: Database) -> None:
    html = build_page(database, "docs", fill(database, [SCENE], [image(1, "a")]), ABOUT).html
    policy = re.search(r'content="(default-src[^"]*)"', html)
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert directives["default-src"] == "'none'"
    assert "img-src" not in directives
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"


def test_no_script_makes_markup_of_text() -> None:
    folder = Path(build_page.__code__.co_filename).parent / "script"
    scripts = sorted(folder.glob("*.js"))
    assert len(scripts) > 3
    for script in scripts:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|fetch\(|XMLHttp|https?://(?!www\.w3\.org/2000/svg)",
            script.read_text(encoding="utf-8"),
        )


def test_no_document_is_held_in_memory(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine keeps to its `memory_limit`; this is what Python holds beside it, to the byte."""
    monkeypatch.setattr(sample, "MOST_SAMPLED", 2_000)
    peaks = []
    tracemalloc.start()
    try:
        for count in (10_000, 70_000):
            table = fill_driving(database, count)
            tracemalloc.reset_peak()
            build_page(database, table, COLUMNS[:2], ABOUT)
            peaks.append(tracemalloc.get_traced_memory()[1])
            database.run(f"DROP TABLE {table}")
    finally:
        tracemalloc.stop()
    # One byte for each of 60,000 documents more; a reference to something takes eight.
    assert peaks[1] - peaks[0] < 60_000
