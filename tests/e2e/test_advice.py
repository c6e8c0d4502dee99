"""The advice of every finding is right: what it says is done to the example, and the finding is gone.

`CASES` has an example of each code. It makes the example, is given the finding as a run has it, does what
the advice says (a line of YAML or a flag is taken out of its text), and the same command is run again. The
codes of `OUTSIDE` have no remedy in a job or its tables; the reason stands beside each.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from e2e.advice_of_samples import SAMPLES
from e2e.world import Ran, World
from metaferry.demo import make_dataset
from metaferry.findings import Code
from metaferry.media.frames.model import FrameCount
from metaferry.runs import gather
from unit.media import synthetic
from unit.media.facts.images.making import block, exif_segment, jpeg, text_entry

OUTSIDE: Final = {
    Code.SOURCE_PASSED_OVER: "such files hold no rows; nothing is wrong, and nothing is to be done",
    Code.SOURCE_CONTRADICTION: "the annotations are exported again (tests/unit/tables/readers/test_coco.py)",
    Code.SOURCE_CUT: "the recording is uploaded again (tests/e2e/sources/test_telemetry.py)",
    # Those of recordings (tests/unit/tables/readers/telemetry).
    Code.TELEMETRY_NO_FIX: "receivers write such samples; nothing is to be done",
    Code.TELEMETRY_NO_POSITION: "devices write such samples; nothing is to be done",
    Code.TELEMETRY_UNDATED: "the day is of a log of NMEA (test_nmea.py)",
    Code.TELEMETRY_ASSUMED: "the bag is as ROS 2 wrote it (test_rosbag.py)",
    Code.TELEMETRY_LEFT_OUT: "long lists are no metadata (test_mcap.py)",
    Code.TELEMETRY_UNREAD: "the topic is recorded again, or left out (test_mcap.py)",
    Code.TELEMETRY_UNTIMED: "the track is exported with its times (test_gpx.py)",
    # Those of the objects themselves (tests/e2e/sources/test_object_facts.py).
    Code.MEDIA_METADATA_UNREADABLE: "the metadata of the object is set again in its store",
    Code.MEDIA_NO_FACTS: "a store without tags has none; a local folder, for instance",
    Code.SOURCE_ASKED_AGAIN: "a connection broke; nothing is to be done (tests/e2e/sources)",
    Code.MEDIA_OLD_LISTING: "the store makes its reports at its own time (tests/faults/test_old_listings.py)",
    Code.DOCUMENT_CONFLICT: "whoever else writes there has to stop",
    Code.DOCUMENT_FAILED: "the store, or whoever protects the document, has to allow the write",
    Code.DOCUMENT_CORRUPT: "a proxy, a gateway or a disk is damaged",
    # Those of `check` (tests/unit/view/check).
    Code.DOCUMENT_INVALID: "the document is mended, or its job writes it",
    Code.DOCUMENT_MISNAMED: "its job writes it under the right name, as `document.stale`",
    Code.DOCUMENT_OUTDATED: "a sync writes it (tests/properties/test_check_agrees.py)",
    Code.DOCUMENT_MISSING: "nothing is wrong",
    Code.DOCUMENT_DEFAULT: "nothing is wrong",
    Code.SCHEMA_INVALID: "the file is mended; `schema check` has its own tests",
    Code.STORAGE_NOT_ATOMIC: "another kind of file system is needed",
    Code.STORAGE_OUTAGE: "the store has to be well again",
    Code.STORAGE_NO_CONDITIONS: "the store has no conditional writes",
}


@dataclass
class Example:
    """A world with four images and a video of ten frames; the job has one source, `t.jsonl`."""

    world: World
    command: tuple[str, ...] = ("plan",)
    flags: list[str] = field(default_factory=list)
    #: The exit code of the run without the finding.
    code: int = 0
    monkeypatch: pytest.MonkeyPatch | None = None

    @property
    def job(self) -> dict[str, Any]:
        return self.world.job

    @property
    def source(self) -> dict[str, Any]:
        return self.world.source

    def rows(self, *rows: dict[str, Any], name: str = "t.jsonl") -> None:
        self.world.put(name, "".join(f"{json.dumps(row)}\n" for row in rows))

    def csv(self, text: str) -> None:
        self.source["table"] = "t.csv"
        self.world.put("t.csv", text)

    def sync(self) -> None:
        self.world.write_job()
        assert self.world.run("sync", "job.yaml").code in (0, 3)

    def run(self) -> Ran:
        self.world.write_job()
        return self.world.run(*self.command, "job.yaml", "--format", "json", *self.flags)

    def write_in_source(self, advice: str, key: str) -> Any:
        """Puts the line `key: …` of an advice into the source."""
        value = line(advice, key)
        self.source[key] = value
        return value


def line(advice: str, key: str) -> Any:
    """The value of the first `key: value` of an advice, as YAML reads it up to a `;`, or to what follows."""
    found = re.search(rf"(?:^|[\s,`]){re.escape(key)}: (.+)", advice)
    assert found, f"{key} in {advice!r}"
    text = found[1]
    for end in sorted({len(text), *(m.start() for m in re.finditer(r"[;`?]| makes (?=all|it|[0-9])", text))}):
        try:
            return yaml.safe_load(text[:end])
        except yaml.YAMLError:
            continue
    raise AssertionError(text)


Case = Callable[[Example], Generator[None, dict[str, Any], None]]
CASES: dict[Code, list[Case]] = {}


def case(code: Code) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES.setdefault(code, []).append(function)
        return function

    return register


# -- rows


@case(Code.SOURCE_MALFORMED)
def a_line_that_is_cut(example: Example) -> Generator[None, dict[str, Any], None]:
    example.csv("file_name,x\na.png,1\nb.png\n")
    finding = yield
    assert "mend the row" in finding["advice"]
    lines = (example.world.root / "t.csv").read_text().splitlines()
    lines[finding["row"] - 1] += ",2"
    example.csv("\n".join(lines))


@case(Code.SOURCE_EMPTY)
def rows_that_are_not_there_yet(example: Example) -> Generator[None, dict[str, Any], None]:
    example.csv("file_name,x\n")
    finding = yield
    assert finding["advice"].startswith("nothing, where that is normal for now")
    example.csv("file_name,x\na.png,1\n")  # the next day has rows


@case(Code.SOURCE_UNUSED)
def absolute_paths(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows(*({"file_name": f"/mnt/fleet/{n}.png", "x": 1} for n in "abcd"))
    finding = yield
    example.write_in_source(finding["advice"], "file_name")


@case(Code.SOURCE_NULLS)
def words_that_are_meant(example: Example) -> Generator[None, dict[str, Any], None]:
    example.csv("file_name,x\na.png,1\nb.png,NA\n")
    finding = yield
    example.write_in_source(finding["advice"], "nulls")


@case(Code.RECORD_UNNAMED)
def a_row_without_a_name(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": None, "x": 2}, {"file_name": "", "x": 3})
    finding = yield
    example.write_in_source(finding["advice"], "where")


@case(Code.RECORD_UNMATCHED)
def a_folder_in_front(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "fleet/b.png", "x": 2})
    finding = yield
    example.write_in_source(finding["advice"], "file_name")


@case(Code.RECORD_UNMATCHED)
def blanks_around_a_name(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "b.png ", "x": 2})
    finding = yield
    example.write_in_source(finding["advice"], "file_name")


@case(Code.RECORD_UNMATCHED)
def another_letter_case(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "B.png", "x": 2})
    finding = yield
    found = re.search(r'the media is called "?([^"]+)"?$', finding["advice"])
    assert found
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": found[1], "x": 2})


@case(Code.RECORD_UNMATCHED)
def a_name_that_is_mistyped(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/highway_0001.png", b"image")
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "higway_0001.png", "x": 2})
    finding = yield
    found = re.search(r'the nearest names are "?([^",]+)', finding["advice"])
    assert found
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": found[1], "x": 2})


@case(Code.RECORD_AMBIGUOUS)
def a_base_name_in_two_folders(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/d/a.png", b"image")
    example.source["match"] = "basename"
    example.rows({"file_name": "x/a.png", "x": 1}, {"file_name": "x/b.png", "x": 2})
    finding = yield
    assert "let file_name give the path below `input`, without `match`" in finding["advice"]
    del example.source["match"]
    example.rows({"file_name": "d/a.png", "x": 1}, {"file_name": "b.png", "x": 2})


@case(Code.NAME_HOSTILE)
def a_path_of_windows(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/d/e.png", b"image")
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "d\\e.png", "x": 2})
    finding = yield
    example.write_in_source(finding["advice"], "file_name")


@case(Code.NAME_HOSTILE)
def a_path_from_another_folder(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "../b.png", "x": 2})
    finding = yield
    example.write_in_source(finding["advice"], "file_name")


@case(Code.NAME_HOSTILE)
def a_path_that_leads_out(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "../elsewhere.png", "x": 2})
    finding = yield
    assert "leave such rows out with `where`" in finding["advice"]
    example.source["where"] = "file_name NOT LIKE '%..%'"


@case(Code.NAME_HOSTILE)
def a_media_file_that_cannot_have_a_document(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/q\\r.png", b"image")
    finding = yield
    assert "take it out with media.exclude" in finding["advice"]
    example.job["media"] = {"exclude": ["q*"]}


@case(Code.RECORD_EXCLUDED)
def a_glob_that_is_too_narrow(example: Example) -> Generator[None, dict[str, Any], None]:
    example.job["media"] = {"include": ["a*"]}
    finding = yield
    assert "media.include" in finding["advice"]
    example.job["media"] = {"include": ["*.png"]}


@case(Code.RECORD_EXCLUDED)
def a_glob_that_excludes(example: Example) -> Generator[None, dict[str, Any], None]:
    example.job["media"] = {"exclude": ["b*"]}
    finding = yield
    assert "media.exclude" in finding["advice"]
    del example.job["media"]


@case(Code.RECORD_EXCLUDED)
def a_prefix(example: Example) -> Generator[None, dict[str, Any], None]:
    example.flags = ["--prefix", "a"]
    finding = yield
    assert "--prefix" in finding["advice"]
    example.flags = []


@case(Code.RECORD_DUPLICATE)
def two_rows_that_differ(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "a.png", "x": 2})
    finding = yield
    assert "keep one of the rows, or leave the others out with `where`" in finding["advice"]
    example.source["where"] = "x <> 2"


@case(Code.RECORD_REPEATED)
def two_rows_that_say_the_same(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "a.png", "x": 1})
    finding = yield
    assert "take them out of the table" in finding["advice"]
    example.rows({"file_name": "a.png", "x": 1})


@case(Code.RECORD_OVERLAP)
def two_sources_with_one_key(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 5}, name="u.jsonl")
    example.job["sources"].append({"table": "u.jsonl"})
    finding = yield
    assert "leave x out of the `metadata:` of all but one" in finding["advice"]
    example.job["sources"][1]["metadata"] = {}


@case(Code.RECORD_FRAME_INVALID)
def a_frame_of_an_image(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    example.rows({"file_name": "a.png", "f": 0, "x": 1}, {"file_name": "v.mp4", "f": 0, "x": 1})
    finding = yield
    assert "null for an image" in finding["advice"]
    example.rows({"file_name": "a.png", "f": None, "x": 1}, {"file_name": "v.mp4", "f": 0, "x": 1})


@case(Code.RECORD_FRAME_INVALID)
def a_frame_that_is_no_number(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    example.rows({"file_name": "v.mp4", "f": "1.5", "x": 1}, {"file_name": "v.mp4", "f": "3", "x": 1})
    finding = yield
    assert "whole numbers counted from 0" in finding["advice"]
    assert "leave such rows out with `where`" in finding["advice"]
    example.source["where"] = "f <> '1.5'"


@case(Code.RECORD_FRAME_OUT_OF_RANGE)
def frames_that_count_from_one(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    example.rows(*({"file_name": "v.mp4", "f": number, "x": number} for number in range(1, 11)))
    finding = yield
    example.source["frame"] = line(finding["advice"], "frame")


@case(Code.RECORD_FRAME_OUT_OF_RANGE)
def frames_that_count_from_zero(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"value": '"Frame No"', "base": 1}, "metadata": {"x": "x"}})
    example.rows(*({"file_name": "v.mp4", "Frame No": number, "x": number} for number in range(10)))
    finding = yield
    example.source["frame"] = line(finding["advice"], "frame")
    assert example.source["frame"] == '"Frame No"'


@case(Code.RECORD_FRAME_OUT_OF_RANGE)
def ranges_that_count_from_one(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"from": "a", "to": "b"}, "metadata": {"x": "x"}})
    example.rows(
        {"file_name": "v.mp4", "a": 1, "b": 5, "x": 1}, {"file_name": "v.mp4", "a": 6, "b": 10, "x": 2}
    )
    finding = yield
    example.source["frame"] = line(finding["advice"], "frame")


@case(Code.RECORD_FRAME_OUT_OF_RANGE)
def ranges_whose_end_is_excluded(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"from": "a", "to": "b"}, "metadata": {"x": "x"}})
    example.rows({"file_name": "v.mp4", "a": 5, "b": 10, "x": 1})
    finding = yield
    _, _, other = finding["advice"].partition("where the end is excluded: ")
    example.source["frame"] = line(other, "frame")


@case(Code.NAME_TOO_LONG)
def a_media_file_with_a_long_name(example: Example) -> Generator[None, dict[str, Any], None]:
    name = "n" * 251 + ".png"
    (example.world.data / "b.png").rename(example.world.data / name)
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": name, "x": 2})
    finding = yield
    assert "shorten the name of the media" in finding["advice"]
    (example.world.data / name).rename(example.world.data / "b.png")
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "b.png", "x": 2})


@case(Code.VALUE_TYPE)
def a_number_with_a_fraction(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.rows({"file_name": "a.png", "x": 1.5}, {"file_name": "b.png", "x": 2})
    finding = yield
    example.job["schema"] = line(finding["advice"], "schema")


@case(Code.VALUE_TYPE)
def a_word_among_numbers(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/.lightly/metadata/schema.json", json.dumps([entry("x", "NUMERIC_INT", 0)]))
    example.rows({"file_name": "a.png", "x": "fast"}, {"file_name": "b.png", "x": "2"})
    finding = yield
    assert "give the entry another type in schema.json or in `schema:`" in finding["advice"]
    example.job["schema"] = [entry("x", "CATEGORICAL_STRING", "?")]


@case(Code.VALUE_RANGE)
def identifiers_as_numbers(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 2**60})
    finding = yield
    assert "map them as text" in finding["advice"]
    example.source["metadata"] = {"x": "x::VARCHAR"}


@case(Code.VALUE_NOT_FINITE)
def a_nan(example: Example) -> Generator[None, dict[str, Any], None]:
    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "x": [1.5, float("nan")]}), sink)
    example.world.put("t.parquet", sink.getvalue())
    example.source.update(table="t.parquet", metadata={"x": "x"})
    finding = yield
    assert "CASE WHEN isfinite(x) THEN x ELSE 0 END" in finding["advice"]
    example.source["metadata"] = {"x": "CASE WHEN isfinite(x) THEN x ELSE 0 END"}


@case(Code.VALUE_NOT_FINITE)
def a_nan_in_json_lines(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("t.jsonl", '{"file_name": "a.png", "x": NaN}\n{"file_name": "b.png", "x": 1}\n')
    finding = yield
    assert "replace it in the table" in finding["advice"]
    example.rows({"file_name": "a.png", "x": 0}, {"file_name": "b.png", "x": 1})


# -- media


@case(Code.MEDIA_NONE)
def an_input_that_is_mistyped(example: Example) -> Generator[None, dict[str, Any], None]:
    (example.world.root / "dta").mkdir()
    example.job["input"] = "dta"
    finding = yield
    example.job["input"] = line(finding["advice"], "input")


@case(Code.MEDIA_COLLISION)
def two_files_with_one_document(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/a.jpg", b"image")
    finding = yield
    assert "take one out with media.exclude" in finding["advice"]
    example.job["media"] = {"exclude": ["a.jpg"]}


@case(Code.MEDIA_UNREADABLE)
def a_video_that_is_damaged(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    example.world.put("data/w.mp4", b"no video")
    example.rows({"file_name": "v.mp4", "f": 0, "x": 1}, {"file_name": "w.mp4", "f": 0, "x": 1})
    finding = yield
    assert "leave its rows out with `where`" in finding["advice"]
    example.source["where"] = "file_name <> 'w.mp4'"


@case(Code.MEDIA_UNREADABLE)
def a_video_that_is_replaced(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    whole = (example.world.data / "v.mp4").read_bytes()
    example.world.put("data/v.mp4", whole[: len(whole) // 2])
    example.rows({"file_name": "v.mp4", "f": 0, "x": 1})
    finding = yield
    assert "replace the video" in finding["advice"]
    example.world.put("data/v.mp4", whole)


@case(Code.MEDIA_DAMAGED)
def an_exif_block_that_is_cut(example: Example) -> Generator[None, dict[str, Any], None]:
    data = block({0x010F: text_entry("Acme")})
    example.world.put("data/cut.jpg", jpeg(exif_segment(data[:30])))
    example.job.update({"sources": [{"media_facts": {}}], "media": {"include": ["cut.jpg"]}})
    finding = yield
    assert "replace the file" in finding["advice"]
    example.world.put("data/cut.jpg", jpeg(exif_segment(data)))


@case(Code.MEDIA_UNTIMED)
def a_video_without_times(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"seconds": "t"}, "metadata": {"x": "x"}})
    example.world.put("data/raw.hevc", synthetic.video(12, format="hevc", codec="libx265"))
    example.rows(
        {"file_name": "raw.hevc", "t": 0.1, "f": 2, "x": 1}, {"file_name": "v.mp4", "t": 0.1, "f": 2, "x": 1}
    )
    finding = yield
    assert re.search("name (the )?frames by their index", finding["advice"])
    example.source["frame"] = "f"


@case(Code.RECORD_DUPLICATE)
def ranges_that_contradict_each_other(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"from": "a", "to": "b"}})
    example.rows(
        {"file_name": "v.mp4", "a": 0, "b": 3, "x": 1}, {"file_name": "v.mp4", "a": 2, "b": 5, "x": 2}
    )
    finding = yield
    example.job["tables"] = line(finding["advice"], "tables")
    example.job["sources"] = [{key: line(finding["advice"], key) for key in ("query", "frame")}]


@case(Code.RECORD_FRAME_OUT_OF_RANGE)
def a_time_behind_the_end(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source.update({"frame": {"seconds": "t"}, "metadata": {"x": "x"}})
    example.rows({"file_name": "v.mp4", "t": 0.1, "x": 1}, {"file_name": "v.mp4", "t": 2.0, "x": 2})
    finding = yield
    assert "`max_gap`" in finding["advice"]
    example.source["frame"]["max_gap"] = 3


@case(Code.MEDIA_UNPROVED)
def a_video_that_took_too_long(example: Example) -> Generator[None, dict[str, Any], None]:
    assert example.monkeypatch is not None

    def too_slow(storage: Any, portal: Any, videos: Any, **_: Any) -> Iterator[FrameCount]:
        return (FrameCount(path, None, None, reason="deadline: not counted") for path, _, _ in videos)

    example.monkeypatch.setattr(gather, "count_frames", too_slow)
    example.source["frame"] = "f"
    example.rows({"file_name": "v.mp4", "f": 0, "x": 1}, {"file_name": "a.png", "f": None, "x": 1})
    finding = yield
    assert re.search("leave its rows out (with|by) `where`", finding["advice"])
    example.source["where"] = "file_name <> 'v.mp4'"


# -- documents


@case(Code.DOCUMENT_ORPHAN)
def rows_that_are_gone(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.rows({"file_name": "a.png", "x": 1})
    finding = yield
    example.job["policy"] = {"delete": line(finding["advice"], "policy.delete").split()[0], "max_delete": 1}
    example.sync()


@case(Code.DOCUMENT_STALE)
def a_video_with_more_frames(example: Example) -> Generator[None, dict[str, Any], None]:
    example.source["frame"] = "f"
    example.rows({"file_name": "v.mp4", "f": 0, "x": 1})
    example.sync()
    example.world.put("data/v.mp4", synthetic.video(9))
    finding = yield
    assert finding["message"].startswith("to be deleted")  # by this run; nothing is left to be done
    example.sync()


@case(Code.DOCUMENT_MODIFIED_EXTERNALLY)
def a_document_that_was_edited(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.world.put("data/.lightly/metadata/a.json", document("a.png", x=7))
    finding = yield
    assert "keep changes in the tables" in finding["advice"]
    example.rows({"file_name": "a.png", "x": 7}, {"file_name": "b.png", "x": 2})
    example.sync()


@case(Code.DOCUMENT_EXISTING)
def a_tree_with_other_values(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/.lightly/metadata/a.json", document("a.png", x=7))
    finding = yield
    assert "keep what should last in the tables" in finding["advice"]
    example.rows({"file_name": "a.png", "x": 7}, {"file_name": "b.png", "x": 2})
    example.sync()


@case(Code.DOCUMENT_UNSOURCED)
def a_tree_with_other_keys_that_are_given_up(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/.lightly/metadata/a.json", document("a.png", y=7))
    finding = yield
    example.flags += flag(finding["advice"])


@case(Code.DOCUMENT_UNSOURCED)
def a_tree_with_other_keys_that_come_into_a_table(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/.lightly/metadata/a.json", document("a.png", y=7))
    finding = yield
    assert "bring these keys into a table" in finding["advice"]
    example.rows({"file_name": "a.png", "x": 1, "y": 7}, {"file_name": "b.png", "x": 2})


@case(Code.DOCUMENT_UNSOURCED)
def a_tree_with_other_keys_that_are_kept(example: Example) -> Generator[None, dict[str, Any], None]:
    target = "data/.lightly/metadata/a.json"
    example.world.put(target, document("a.png", y=7, deep={"note": "R"}))
    finding = yield
    command = re.search(r"`metaferry (.+?)`", finding["advice"])
    assert command
    arguments = [{"JOB": "job.yaml"}.get(word, word) for word in shlex.split(command[1])]
    assert example.world.run(*arguments).code == 0
    named = re.search(r"the source in (\S+) the first of the job", finding["advice"])
    assert named
    exported = yaml.safe_load((example.world.root / named[1]).read_text())
    example.job["sources"].insert(0, exported["sources"][0])
    example.sync()
    kept = json.loads((example.world.root / target).read_text())["metadata"]
    assert (kept["y"], kept["deep"], kept["x"]) == (7, {"note": "R"}, 1)


# -- the schema


@case(Code.SCHEMA_CHANGED)
def entries_that_are_new(example: Example) -> Generator[None, dict[str, Any], None]:
    finding = yield
    assert "schema.json gains 1 entry" in finding["message"]  # nothing is to be done but to sync
    example.sync()


@case(Code.SCHEMA_CHANGED)
def an_entry_that_is_removed(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.job["schema"] = {"entries": [], "exact": True}
    finding = yield
    assert "without exact: true they would stay" in finding["advice"]
    example.job["schema"]["exact"] = False


@case(Code.SCHEMA_CHANGED)
def an_entry_that_is_widened(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.rows({"file_name": "a.png", "x": 1.5}, {"file_name": "b.png", "x": 2})
    example.job["schema"] = {"infer": {"widen": True}}
    example.code = 5  # as the advice says: such rows are then rejected
    finding = yield
    assert "without widen: true the entry stays, and rows with fractions are rejected" in finding["advice"]
    example.job["schema"] = "infer"


@case(Code.SCHEMA_DEFAULT_CHANGED)
def a_default_that_documents_were_left_out_by(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 0})
    example.job.update(compact=True, schema=[entry("x", "NUMERIC_INT", 0)])
    example.sync()
    example.job["schema"] = [entry("x", "NUMERIC_INT", 1)]
    finding = yield
    assert "put the default back" in finding["advice"]
    example.job["schema"] = [entry("x", "NUMERIC_INT", 0)]


@case(Code.SCHEMA_MISFIT)
def a_type_that_others_do_not_fit(example: Example) -> Generator[None, dict[str, Any], None]:
    example.sync()
    example.rows({"file_name": "a.png", "x": 1})
    example.job["schema"] = [entry("x", "CATEGORICAL_BOOLEAN", False)]
    example.source["metadata"] = {"x": "x = 1"}
    finding = yield
    assert "keep the type of the entry" in finding["advice"]
    example.job["schema"] = "infer"
    del example.source["metadata"]


@case(Code.SCHEMA_UNPROVED)
def a_prefix_that_hides_documents(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put("data/d/e.png", b"image")
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "d/e.png", "x": 2})
    example.sync()
    example.job["schema"] = [entry("y", "NUMERIC_INT", 0)]
    example.flags = ["--prefix", "d/"]
    finding = yield
    assert "run it without --prefix" in finding["advice"]
    example.flags = []


def numbers_that_are_text(cell: str, *, mapped: bool) -> Case:
    def a_column(example: Example) -> Generator[None, dict[str, Any], None]:
        example.csv(f'file_name,x,y\na.png,1,day\nb.png,2,night\nc.png,"{cell}",day\n')
        if mapped:
            example.source["metadata"] = {"x": "x", "y": "y"}
        finding = yield
        advice = finding["advice"]
        if "nulls: " in advice:
            example.write_in_source(advice, "nulls")
            return
        beside = advice.partition("write beside table: ")[2]
        if beside:
            for option in beside.split(" and "):
                example.source.update(yaml.safe_load(option))
            return
        # The other keys stay: the advice says that they have to be named.
        assert mapped or "name the other columns" in advice
        assert advice.startswith("write in metadata: ")
        value = line(advice, "x")
        example.source["metadata"] = {"x": value.removesuffix(", null where it is none"), "y": "y"}

    return a_column


for cell in ("about 3", "unknown", "1,5", "1.234,5", " 3", "x" * 30):
    for mapped in (True, False):
        case(Code.SCHEMA_TEXT)(numbers_that_are_text(cell, mapped=mapped))


@case(Code.SCHEMA_TEXT)
def numbers_under_a_text_entry(example: Example) -> Generator[None, dict[str, Any], None]:
    example.world.put(
        "data/.lightly/metadata/schema.json", json.dumps([entry("x", "CATEGORICAL_STRING", "?")])
    )
    example.csv("file_name,x\na.png,1\nb.png,2\n")
    finding = yield
    assert "give the entry another type" in finding["advice"]
    example.job["schema"] = [entry("x", "NUMERIC_INT", 0)]


@case(Code.SCHEMA_UNCOVERED)
def a_list(example: Example) -> Generator[None, dict[str, Any], None]:
    example.rows({"file_name": "a.png", "x": 1, "tags": ["day", "rain"]})
    example.sync()
    finding = yield
    assert "add an entry to schema.json" in finding["advice"]
    assert "one for each position" in finding["advice"]
    path = example.world.data / ".lightly/metadata/schema.json"
    entries = json.loads(path.read_bytes())
    entries += [entry(f"tags[{position}]", "CATEGORICAL_STRING", "?") for position in (0, 1)]
    path.write_text(json.dumps(entries))


# -- how they are run


def entry(path: str, kind: str, default: Any) -> dict[str, Any]:
    return {"name": path, "path": path, "defaultValue": default, "valueDataType": kind}


def document(name: str, **metadata: Any) -> str:
    return json.dumps({"file_name": name, "type": "image", "metadata": metadata})


def flag(advice: str) -> list[str]:
    """The `--set key=value` of an advice."""
    found = re.search(r"--set \S+", advice)
    assert found
    return shlex.split(found[0])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture(scope="module")
def video() -> bytes:
    return synthetic.video(10)


for _code, _case in SAMPLES.items():
    case(_code)(_case)
ALL = [(code, one) for code, several in CASES.items() for one in several]


@pytest.mark.parametrize(
    ("code", "case"), ALL, ids=[f"{code}-{one.__name__}-{at}" for at, (code, one) in enumerate(ALL)]
)
def test_what_the_advice_says_is_done_and_the_finding_is_gone(
    tmp_path: Path,
    picture: bytes,
    video: bytes,
    monkeypatch: pytest.MonkeyPatch,
    code: Code,
    case: Case,
) -> None:
    world = World(tmp_path)
    for name in "abcd":
        world.put(f"data/{name}.png", picture)
    world.put("data/v.mp4", video)
    world.job = {"input": "data", "sources": [{"table": "t.jsonl"}]}
    example = Example(world, monkeypatch=monkeypatch)
    example.rows({"file_name": "a.png", "x": 1}, {"file_name": "b.png", "x": 2})
    steps = case(example)
    next(steps)
    before = example.run()
    found = [one for one in before.report["finding_examples"] if one["code"] == code]
    assert found, (before.report["findings"], before.err)
    with pytest.raises(StopIteration):
        steps.send(found[0])
    after = example.run()
    assert code not in after.report["findings"], after.report["finding_examples"]
    assert after.code == example.code, (after.report["stopped"], after.report["finding_examples"])
    used = [sum(source["used"] for source in ran.report["sources"]) for ran in (before, after)]
    assert after.code == 5 or used[1] >= used[0]  # nothing right was lost on the way


def test_every_code_has_an_example_or_a_reason_why_not() -> None:
    text = (Path(__file__).parents[2] / "docs/findings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)
    assert set(CASES).isdisjoint(OUTSIDE)
    assert {*CASES, *OUTSIDE} == set(documented) == set(Code)
    assert all(OUTSIDE.values())
