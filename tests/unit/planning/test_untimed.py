"""Rows that name frames by seconds, of videos whose frames have no times."""

from __future__ import annotations

from array import array
from fractions import Fraction

from metaferry.lightly.key_limits import KeyLimits
from metaferry.media.frames.model import NO_TIMES, FrameCount, Times, digits_of
from metaferry.media.listing import MediaFilter
from metaferry.planning import match
from metaferry.planning.database import Database, open_database
from metaferry.planning.listings import Listings
from metaferry.planning.rejects import collect_rejects
from metaferry.storage.protocol import Entry
from metaferry.tables.model import Frames, Loaded, TableFile


def planned(rows: list[tuple[str, float | None]], counts: list[FrameCount]) -> list[tuple[int, str, str]]:
    """Row, code ("" where it is used) and message or document of each row, by row."""
    with open_database(memory_limit="128MB", scratch=None) as database:
        source = loaded(database, rows)
        listings = Listings(database)
        listings.add_media(MediaFilter().page([Entry(c.path, 10, "t", None, 0.0) for c in counts]))
        listings.finish()
        match.match_names(database, source, 0)
        (videos,) = match.find_collisions(database, [source])
        assert videos.timed
        match.take_frame_counts(database, counts, times=True)
        match.settle_collisions(database)
        match.match_targets(database, source, 0, KeyLimits())
        collect_rejects(database, [source])
        return database.rows(
            "SELECT m.row, coalesce(m.code, ''), coalesce(r.message, m.target) FROM match_0 m "
            "LEFT JOIN rejects r ON r.row = m.row ORDER BY m.row"
        )


def loaded(database: Database, rows: list[tuple[str, float | None]]) -> Loaded:
    database.run(
        "CREATE TABLE source_0 (file INTEGER, row BIGINT, file_name VARCHAR, frame VARCHAR, "
        "second_first DOUBLE, second_last DOUBLE, frame_bad VARCHAR)"
    )
    for number, (name, second) in enumerate(rows, start=1):
        text = None if second is None else str(second)
        database.run("INSERT INTO source_0 VALUES (0, ?, ?, ?, ?, NULL, NULL)", [number, name, text, second])
    database.run("CREATE TABLE files_0 (file INTEGER, url VARCHAR)")
    database.run("INSERT INTO files_0 VALUES (0, 't.csv')")
    files = (TableFile("t.csv", 1, "t", len(rows)),)
    frames = Frames("second", max_gap=0.5)
    return Loaded("t.csv", "source_0", files, len(rows), 0, (), has_frame=True, frames=frames)


def counted(path: str, ticks: list[int], unit: Fraction = Fraction(1, 30)) -> FrameCount:
    times = Times(unit, array("q", ticks))
    return FrameCount(path, len(ticks), digits_of(len(ticks)), "index", times=times)


def test_rows_of_a_video_without_times_are_rejected_and_those_of_the_whole_video_are_not() -> None:
    raw = FrameCount("raw.hevc.mp4", 3, 1, "scan", untimed=NO_TIMES)
    found = planned([("raw.hevc.mp4", 0.1), ("raw.hevc.mp4", None)], [raw])
    assert found == [
        (1, "media.untimed", '"raw.hevc.mp4": the stream carries no times'),
        (2, "", ".lightly/metadata/raw.hevc.json"),
    ]


def test_a_video_without_frames_or_without_a_count_has_none_at_any_time() -> None:
    empty = FrameCount("empty.mp4", 0, None, "index", times=Times(Fraction(1, 30), array("q")))
    broken = FrameCount("broken.mp4", None, None, reason="empty", untimed="not counted")
    found = planned([("empty.mp4", 0.0), ("broken.mp4", 0.0)], [empty, broken])
    assert [(row, code) for row, code, _ in found] == [
        (1, "record.frame_out_of_range"),
        (2, "media.unreadable"),
    ]


def test_of_frames_that_are_shown_at_one_time_it_is_the_first() -> None:
    found = planned([("a.mp4", 1.0)], [counted("a.mp4", [0, 30, 30, 30, 60])])
    assert found == [(1, "", ".lightly/metadata/a-1-mp4.json")]


def test_many_videos_and_frames_come_in_batches() -> None:
    ticks = list(range(600_000))
    counts = [counted("long.mp4", ticks), counted("other.mp4", ticks[:10])]
    found = planned([("long.mp4", 19_999.0), ("other.mp4", 0.1)], counts)
    assert [target for _, _, target in found] == [
        ".lightly/metadata/long-599970-mp4.json",
        ".lightly/metadata/other-03-mp4.json",
    ]
