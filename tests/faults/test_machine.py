"""Any sequence of what users, others and the weather do to a datasource, against a model in plain Python.

The model of the tree is `Site.expected`: what a good run makes of the documents that it finds. It is
compared after every good run; after every other one the tree is somewhere between the two.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from faults.invariants import check, converges, is_done, look
from faults.mixture import mixture
from faults.site import MemoryDisk, Site
from metaferry.lightly.names import digits, document_path, frame_document_path
from metaferry.storage.protocol import Adapter
from metaferry.storage.testing.rules import Kill, Meddle, Rule

#: These two stay, so that no table is ever empty and the schema has its keys.
LASTING_IMAGE, LASTING_FRAME = "a.png", ("clip.mp4", 0)
IMAGES = ("b/c.png", "b/d e.png", "u.png")
FRAMES = {"clip.mp4": (9, 12), "b/long.mp4": (12, 9)}
ROWS = st.fixed_dictionaries(
    {"scene": st.sampled_from(["city", "road", "x y"]), "n": st.sampled_from([1, 2, -3])}
)
TARGETS = (
    *(document_path(name) for name in (LASTING_IMAGE, *IMAGES, "gone.png")),
    *(frame_document_path(name, 4, width) for name in FRAMES for width in (1, 2)),
    frame_document_path("clip.mp4", 11, digits(12)),
    frame_document_path("gone.mp4", 1, 1),
)
THEIRS = st.sampled_from([b"{}", b'{"by":"somebody"}'])
CALLS = st.integers(0, 40)


class SyncMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.site = Site(MemoryDisk(), settings={"concurrency": 4})
        self.site.put_media(LASTING_IMAGE)
        self.site.put_media("clip.mp4", 9)
        self.site.rows[LASTING_IMAGE] = {"scene": "city", "n": 1}
        self.site.frame_rows[LASTING_FRAME] = {"speed": 0.5}
        self.site.write_tables()

    # -- users

    @rule(name=st.sampled_from(IMAGES))
    def put_image(self, name: str) -> None:
        self.site.put_media(name)

    @rule(name=st.sampled_from(sorted(FRAMES)), which=st.booleans())
    def put_video(self, name: str, which: bool) -> None:
        """A new one, or another in its place: then its frames may have other digits."""
        self.site.put_media(name, FRAMES[name][which])

    @precondition(lambda self: len(self.site.media) > 1)
    @rule(picked=st.data())
    def delete_media(self, picked: st.DataObject) -> None:
        self.site.delete_media(picked.draw(st.sampled_from(sorted(self.site.media.keys() - {LASTING_IMAGE}))))

    @rule(name=st.sampled_from([LASTING_IMAGE, *IMAGES, *FRAMES]), row=ROWS)
    def put_row(self, name: str, row: dict[str, object]) -> None:
        self.site.rows[name] = row
        self.site.write_tables()

    @rule(name=st.sampled_from(IMAGES))
    def delete_row(self, name: str) -> None:
        self.site.rows.pop(name, None)
        self.site.write_tables()

    @rule(name=st.sampled_from(sorted(FRAMES)), index=st.sampled_from([0, 4, 8, 9, 11, 12]))
    def put_frame_row(self, name: str, index: int) -> None:
        self.site.frame_rows[name, index] = {"speed": index + 0.5}
        self.site.write_tables()

    @rule(index=st.sampled_from([4, 9, 11, 12]))
    def delete_frame_rows(self, index: int) -> None:
        for name in FRAMES:
            self.site.frame_rows.pop((name, index), None)
        self.site.write_tables()

    @rule(delete=st.sampled_from(["never", "orphans"]))
    def change_policy(self, delete: str) -> None:
        self.site.delete = delete

    # -- others

    @rule(key=st.sampled_from(TARGETS), data=THEIRS)
    def somebody_writes(self, key: str, data: bytes) -> None:
        self.site.put_document(key, data)

    @rule(picked=st.data())
    def somebody_deletes(self, picked: st.DataObject) -> None:
        there = sorted(self.site.documents().keys() & set(TARGETS))
        if there:
            self.site.disk.delete(f"data/{picked.draw(st.sampled_from(there))}")

    @rule()
    def lose_the_state(self) -> None:
        self.site.lose_state()

    @rule(days=st.sampled_from([1, 40]))
    def let_time_pass(self, days: int) -> None:
        self.site.time.seconds += days * 86400.0

    # -- runs

    @rule()
    def run(self) -> None:
        before = look(self.site)
        ran = self.site.sync()
        check(self.site, before, ran)
        is_done(self.site, before, ran)

    @rule(number=CALLS, after=st.booleans())
    def run_and_kill(self, number: int, after: bool) -> None:
        before = look(self.site)
        ran = self.site.sync([Rule(fault=Kill("after" if after else "before"), number=number)])
        event(f"killed: {ran.killed}")
        check(self.site, before, ran)
        if not ran.killed:
            is_done(self.site, before, ran)

    @rule(seed=st.integers(0, 10_000))
    def run_in_bad_weather(self, seed: int) -> None:
        before = look(self.site)
        ran = self.site.sync(mixture(seed), seed=seed)
        event(f"ended: {type(ran.error).__name__ if ran.report is None else ran.code}")
        check(self.site, before, ran)

    @rule(seed=st.integers(0, 10_000), number=CALLS)
    def run_in_bad_weather_and_kill(self, seed: int, number: int) -> None:
        before = look(self.site)
        ran = self.site.sync([Rule(fault=Kill(), number=number), *mixture(seed)], seed=seed)
        check(self.site, before, ran)

    @rule(key=st.sampled_from(TARGETS), data=THEIRS, after=st.integers(0, 12))
    def run_while_somebody_writes(self, key: str, data: bytes, after: int) -> None:
        async def act(adapter: Adapter) -> None:
            await adapter.put(key, data)

        before = look(self.site)
        # A call for a document: the listing is over then. schema.json may be read before it.
        meddle = Rule(fault=Meddle(act), path=r"^\.lightly/.*(?<!/schema)\.json$", after=after, times=1)
        ran = self.site.sync([meddle])
        wrote = any(call.fault is not None for call in ran.faults.calls)
        event(f"somebody wrote: {wrote}, {ran.report and ran.code}")
        check(self.site, before, ran, theirs={key: data} if wrote else {})

    def teardown(self) -> None:
        converges(self.site)
        self.site.reset({})


TestSync = pytest.mark.slow(SyncMachine.TestCase)
TestSync.settings = settings(
    max_examples=7, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
