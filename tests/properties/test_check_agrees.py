"""What `check` calls drift is what a sync changes, whatever became of the tables, the media and the tree."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metaferry
from metaferry.api_view import open_check
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly.names import document_path, frame_document_path
from unit.media import synthetic

#: Images, a video of 12 frames, and some of its frames by their index.
NAMES: Final = ("a.png", "b.png", "d/c.png", "d/e.png", "v.mp4", "v.mp4#0", "v.mp4#7", "v.mp4#11")
VALUES: Final = st.sampled_from([None, "x", "y"])
ROWS: Final = st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1)
#: What becomes of a document between two runs: nothing, gone, other bytes that mean the same, other values,
#: or of a frame a name with another number of digits.
FATES: Final = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from(["gone", "indented", "other", "digits"])
)
VIDEO: Final = synthetic.video(12)


def parts(name: str) -> tuple[str, int | None]:
    media, _, frame = name.partition("#")
    return media, int(frame) if frame else None


def document(name: str, *, digits: int = 2) -> str:
    media, frame = parts(name)
    return document_path(media) if frame is None else frame_document_path(media, frame, digits)


def tree(folder: Path) -> dict[str, bytes]:
    below = folder / ".lightly"
    return {
        f".lightly/{path.relative_to(below)}": path.read_bytes()
        for path in below.rglob("*")
        if path.is_file()
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, ROWS, FATES, st.sets(st.sampled_from(NAMES), max_size=2), st.booleans(), st.booleans())
def test_drift_is_what_a_sync_changes(
    before: dict[str, Any],
    after: dict[str, Any],
    fates: dict[str, str],
    media_gone: set[str],
    delete: bool,
    more: bool,
) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        data = root / "data"
        for name in {parts(name)[0] for name in NAMES}:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(VIDEO if name.endswith(".mp4") else b"image")

        def write(rows: dict[str, Any], **columns: Any) -> None:
            lines = [
                json.dumps({"f": media, "i": frame, "scene": value, **columns})
                for (media, frame), value in ((parts(name), value) for name, value in rows.items())
            ]
            (root / "t.jsonl").write_text("\n".join(lines))

        write(before)
        policy = {"delete": "orphans" if delete else "never", "max_delete": "100%", "existing": "replace"}
        job = Job.from_mapping(
            {
                "input": "data",
                "sources": [{"table": "t.jsonl", "file_name": "f", "frame": "i"}],
                "policy": policy | {"allow_empty": True},
            },
            base=root,
        )
        metaferry.sync(job)
        write(after, **({"count": 1} if more else {}))
        for name, fate in fates.items():
            path = data / document(name)
            if not path.exists():
                continue
            if fate == "gone":
                path.unlink()
            elif fate == "indented":
                path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
            elif fate == "other":
                path.write_text('{"metadata": {"scene": "z"}}')
            elif "#" in name:
                path.rename(data / document(name, digits=3))
        for name in media_gone:
            (data / parts(name)[0]).unlink(missing_ok=True)
        was = tree(data)
        with open_check(job) as checked:
            report = checked.report
            outdated = {
                each.target
                for each in checked.findings()
                if each.code in (Code.DOCUMENT_OUTDATED, Code.SCHEMA_CHANGED)
            }
        assert tree(data) == was
        assert report.drift is not None
        done = metaferry.sync(job)
        documents = done.documents
        assert (report.drift.create, report.drift.update, report.drift.delete) == (
            documents.create, documents.update, documents.delete,
        )  # fmt: skip
        assert report.drift.schema == done.schema.written
        now = tree(data)
        changed = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
        assert changed <= outdated
        assert report.drift.any == bool(outdated)
        again = metaferry.check(job)
        assert (again.exit_code, again.invalid, again.documents.unread) == (0, 0, 0)
