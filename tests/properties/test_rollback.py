"""For any changes of the tables: sync with a backup, roll back, and the tree is what it was, byte by byte."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.site import MemoryDisk, Site
from faults.test_rollback import rolled, run_id_of
from metaferry.lightly.names import DOCUMENTS, SCHEMA, document_path, frame_document_path

NAMES = ("a.png", "b/c.png", "d e.png", "ü.png", "clip.mp4")
FRAMES = 9
POLICY = {
    "max_rejects": "100%",
    "delete": "orphans",
    "max_delete": "100%",
    "existing": "replace",
    "allow_empty": True,
}
CELLS = st.sampled_from([None, "x", "y", "long " * 40])
ROWS = st.dictionaries(
    st.sampled_from((*NAMES, "nobody.png")),
    st.fixed_dictionaries({"scene": CELLS, "n": st.sampled_from([None, 0, 7])}),
    max_size=5,
)
FRAME_ROWS = st.dictionaries(
    st.tuples(st.just("clip.mp4"), st.integers(0, FRAMES)),
    st.fixed_dictionaries({"speed": st.sampled_from([None, 0.5, 2.0])}),
    max_size=3,
)
#: What others wrote, and no run has read: invalid, not UTF-8, empty, under a stale name.
FOREIGN = st.dictionaries(
    st.sampled_from(
        [
            document_path("a.png"),
            document_path("gone.png"),
            frame_document_path("clip.mp4", 4, 2),
            f"{DOCUMENTS}x.txt",
        ]
    ),
    st.sampled_from([b"{}", b"", b"\xff\xfe not JSON", b'{ "metadata": {"scene": 7} }\n']),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS, FRAME_ROWS, ROWS, FRAME_ROWS, FOREIGN, st.booleans(), st.booleans())
def test_rolled_back_is_as_it_was(
    rows: dict[str, dict[str, object]],
    frame_rows: dict[tuple[str, int], dict[str, object]],
    changed: dict[str, dict[str, object]],
    changed_frames: dict[tuple[str, int], dict[str, object]],
    foreign: dict[str, bytes],
    schema_in_place: bool,
    synced: bool,
) -> None:
    site = Site(MemoryDisk(), settings={"backup": "30d", "policy": POLICY})
    for name in NAMES:
        site.put_media(name, FRAMES if name.endswith(".mp4") else None)
    if schema_in_place:
        entry = b'[ {"valueDataType":"NUMERIC_INT", "name":"Kept","path":"kept","defaultValue":0} ]'
        site.put_document(SCHEMA, entry)
    if synced:
        site.rows, site.frame_rows = rows, frame_rows
        site.write_tables()
        assert site.sync().report is not None
    for target, data in foreign.items():
        site.put_document(target, data)
    before = site.documents()
    site.rows, site.frame_rows = changed, changed_frames
    site.write_tables()
    ran = site.sync()
    assert ran.report is not None, ran.error
    after = site.documents()
    if after == before:
        return
    done, report = rolled(site, run_id_of(ran))
    assert (done.code, report.findings) == (0, {})
    assert site.documents() == before
    again = site.sync()
    assert again.report is not None, again.error
    assert again.report.documents == ran.report.documents
    assert site.documents() == after
