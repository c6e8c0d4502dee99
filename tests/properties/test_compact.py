"""Whatever there was before, a compact tree shows of all media what the tree with all documents shows."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import metaferry
from metaferry.job.model import Job
from unit.media import synthetic

IMAGES: Final = ("a.png", "b.png")
#: Videos with their numbers of frames.
VIDEOS: Final = {"v.mp4": 3, "w.mp4": 2}

#: 0 and "" are the defaults of entries that are inferred.
VALUES: Final = st.fixed_dictionaries(
    {}, optional={"n": st.sampled_from([0, 1]), "s": st.sampled_from(["", "x"])}
)
#: The rows of a video: of the whole, of its frames one by one, or the same for all of them.
OF_VIDEO: Final = st.one_of(
    st.builds(lambda each: dict.fromkeys(range(3), each), VALUES),
    st.dictionaries(st.sampled_from([None, 0, 1, 2]), VALUES, max_size=4),
)
TABLES: Final = st.fixed_dictionaries(
    {name: st.none() | VALUES for name in IMAGES} | dict.fromkeys(VIDEOS, OF_VIDEO)
)
ALL_ONE: Final[dict[str, Any]] = {
    "a.png": {"n": 0},
    "b.png": None,
    "v.mp4": {index: {"n": 1, "s": "x"} for index in range(3)},
    "w.mp4": {index: {"n": 0} for index in range(2)},
}
ODD: Final[dict[str, Any]] = {**ALL_ONE, "v.mp4": {**ALL_ONE["v.mp4"], 1: {"n": 0}}, "a.png": {"n": 1}}


@cache
def video(frames: int) -> bytes:
    return synthetic.video(frames)


def lines(table: dict[str, Any]) -> str:
    rows = [{"file_name": name, **table[name]} for name in IMAGES if table[name] is not None]
    for name, frames in VIDEOS.items():
        for frame, values in table[name].items():
            if frame is None or frame < frames:
                rows.append({"file_name": name, "frame": frame, **values})
    if table["b.png"] is None:  # so that there is always a row
        rows.append({"file_name": "b.png"})
    return "".join(json.dumps({"frame": None, "n": None, "s": None, **row}) + "\n" for row in rows)


def document(data: Path, stem: str) -> dict[str, Any] | None:
    path = data / ".lightly/metadata" / f"{stem}.json"
    return json.loads(path.read_bytes())["metadata"] if path.exists() else None


def shown(data: Path, *, fills: bool) -> dict[str, Any]:
    """What the consumer shows of each image and frame; with `fills`, a video's values show through where a
    document of a frame lacks the key."""
    schema = data / ".lightly/metadata/schema.json"
    defaults = {entry["path"]: entry["defaultValue"] for entry in json.loads(schema.read_bytes())}
    found: dict[str, Any] = {}
    for name in IMAGES:
        found[name] = defaults | (document(data, name.removesuffix(".png")) or {})
    for name, frames in VIDEOS.items():
        stem = name.removesuffix(".mp4")
        whole = document(data, stem) or {}
        for index in range(frames):
            own = document(data, f"{stem}-{index}-mp4")
            below = whole if own is None or fills else {}
            found[f"{name}:{index}"] = defaults | below | (own or {})
    return found


def job(root: Path, *, compact: bool, delete: str) -> Job:
    entries = [
        {"name": "n", "path": "n", "defaultValue": 0, "valueDataType": "NUMERIC_INT"},
        {"name": "s", "path": "s", "defaultValue": "", "valueDataType": "CATEGORICAL_STRING"},
    ]
    policy = {"delete": delete, "max_delete": "100%", "allow_empty": True}
    source = {"table": "t.jsonl", "frame": "frame"}
    return Job.from_mapping(
        {"input": "data", "sources": [source], "schema": entries, "policy": policy, "compact": compact},
        base=root,
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(TABLES, TABLES, st.booleans(), st.sampled_from(["orphans", "never"]))
@example(ALL_ONE, ALL_ONE, False, "orphans")
@example(ALL_ONE, ALL_ONE, False, "never")
@example(ALL_ONE, ODD, True, "orphans")
@example(ALL_ONE, ODD, True, "never")
@example(ODD, ALL_ONE, False, "orphans")
@example(ODD, ALL_ONE, True, "never")
def test_what_is_shown_does_not_depend_on_compaction(
    before: dict[str, Any], after: dict[str, Any], was_compact: bool, delete: str
) -> None:
    with tempfile.TemporaryDirectory() as made:
        small, full = Path(made) / "small", Path(made) / "full"
        (small / "data").mkdir(parents=True)
        for name in IMAGES:
            (small / "data" / name).write_bytes(b"image")
        for name, frames in VIDEOS.items():
            (small / "data" / name).write_bytes(video(frames))
        (small / "t.jsonl").write_text(lines(before))
        metaferry.sync(job(small, compact=was_compact, delete=delete))
        (small / "t.jsonl").write_text(lines(after))
        shutil.copytree(small, full)
        one = metaferry.sync(job(small, compact=True, delete=delete))
        metaferry.sync(job(full, compact=False, delete=delete))
        # An orphan of a video that may not be deleted shows through either way, but not in the same places.
        for fills in (False, True) if delete == "orphans" else (False,):
            assert shown(small / "data", fills=fills) == shown(full / "data", fills=fills)
        assert one.exit_code == 0
        for name in VIDEOS:
            stem = name.removesuffix(".mp4")
            if delete == "orphans" and None not in after[name]:
                frames = list((small / "data/.lightly/metadata").glob(f"{stem}-*.json"))
                assert not (frames and document(small / "data", stem) is not None), "it has both kinds"
        again = metaferry.sync(job(small, compact=True, delete=delete))
        assert again.changes == 0
        checked = metaferry.check(job(small, compact=True, delete=delete))
        assert (checked.exit_code, checked.invalid) == (0, 0)
        assert checked.drift is not None
        assert not checked.drift.any
