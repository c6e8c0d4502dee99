"""Each rule of the plan, one at a time, in a world of plain values."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from planner_world import Plan, Table, decide, document

from metaferry.lightly.document import document as body_of
from metaferry.lightly.names import Kind
from metaferry.lightly.schema import Entry, ValueType


def image(name: str, n: int) -> bytes:
    return body_of(name, Kind.IMAGE, {"n": n})


# -- records and media


def test_a_row_becomes_the_document_of_its_media() -> None:
    plan = decide(["sub/a.png"], Table([("./sub/a.png", None, 1)]))
    assert plan.actions == {document("sub/a.json"): "create"}
    assert plan.bodies[document("sub/a.json")] == {
        "file_name": "sub/a.png",
        "type": "image",
        "metadata": {"n": 1},
    }


def test_a_null_value_is_left_out_and_an_empty_metadata_stays() -> None:
    plan = decide(["a.png"], Table([("a.png", None, None)]))
    assert plan.bodies[document("a.json")]["metadata"] == {}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (None, "record.unnamed"),
        ("", "record.unnamed"),
        ("../a.png", "name.hostile"),
        ("x\\a.png", "name.hostile"),
        ("x//a.png", "name.hostile"),
        ("a\n.png", "name.hostile"),
        ("b.png", "record.unmatched"),
        ("s3://bucket/sub/a.png", "record.unmatched"),
    ],
)
def test_rows_without_a_media(given: str | None, code: str) -> None:
    plan = decide(["a.png"], Table([(given, None, 1)]))
    assert plan.codes() == {2: code}
    assert plan.actions == {}


def test_rows_add_up() -> None:
    plan = decide(
        ["a.png", "b.png"],
        Table(
            [("a.png", None, 1), ("nope.png", None, 1), ("../x", None, 1), ("b.png", None, 1)], malformed=2
        ),
        media={"exclude": ["b.*"]},
    )
    (counts,) = plan.decided.sources
    assert (counts.read, counts.used, counts.rejected, counts.unmatched, counts.excluded) == (6, 1, 3, 1, 1)


def test_unmatched_rows_are_rejected_when_the_policy_says_so() -> None:
    plan = decide(
        ["a.png"], Table([("b.png", None, 1)]), policy={"unmatched": "reject", "max_rejects": "100%"}
    )
    (counts,) = plan.decided.sources
    assert (counts.rejected, counts.unmatched) == (1, 0)


@pytest.mark.parametrize(
    ("media", "given", "hint"),
    [
        ("Sub/A.png", "sub/a.PNG", "letter case"),
        ("caf\u00e9.png", "cafe\u0301.png", "another Unicode form"),
        ("sub/a.png", "s3://fleet/2026/sub/a.png", 'has "s3://fleet/2026/" in front'),
        ("sub/a.png", "/data/images/sub/a.png", 'has "/data/images/" in front'),
        ("deep/down/a.png", "a.png", 'lies in a folder: "deep/down/a.png"'),
        ("images/street_0001.png", "images/street_001.png", 'nearest names are "images/street_0001.png"'),
    ],
)
def test_an_unmatched_name_gets_a_hint(media: str, given: str, hint: str) -> None:
    plan = decide([media, "zzz.mp4"], Table([(given, None, 1)]))
    (advice,) = plan.advice("record.unmatched")
    assert hint in advice


def test_two_rows_for_one_document_are_both_named() -> None:
    plan = decide(["a.png"], Table([("a.png", None, 1), ("./a.png", None, 2)]))
    assert plan.codes() == {2: "record.duplicate", 3: "record.duplicate"}
    assert all("row 2, row 3" in message for _, _, message in plan.rejects)


# -- frames


def test_frames_are_padded_to_the_digits_of_the_count() -> None:
    plan = decide(
        ["v.MP4"],
        Table([("v.MP4", 0, 1), ("v.MP4", 9, 2)]),
        frames={"v.MP4": 10},
    )
    assert set(plan.actions) == {document("v-00-MP4.json"), document("v-09-MP4.json")}
    assert plan.bodies[document("v-09-MP4.json")]["file_name"] == "v-09-MP4.png"


@pytest.mark.parametrize(
    ("frame", "frames", "code"),
    [
        (10, 10, "record.frame_out_of_range"),
        (-1, 10, "record.frame_out_of_range"),
        (0, 0, "record.frame_out_of_range"),
        ("1.5", 10, "record.frame_invalid"),
        (0, "unreadable: no moov", "media.unreadable"),
        (0, "deadline: 600 s", "media.unproved"),
    ],
)
def test_frames_that_have_no_document(frame: int | str, frames: int | str, code: str) -> None:
    plan = decide(["v.mp4"], Table([("v.mp4", frame, 1)]), frames={"v.mp4": frames})
    assert plan.codes() == {2: code}
    assert plan.actions == {}


def test_an_image_has_no_frames() -> None:
    plan = decide(["a.png"], Table([("a.png", 3, 1)]))
    assert plan.codes() == {2: "record.frame_invalid"}
    assert '"a.png" is an image' in plan.rejects[0][2]


def test_only_videos_with_frame_rows_are_counted() -> None:
    plan = decide(
        ["v.mp4", "w.mp4", "x.mp4"],
        Table([("v.mp4", 0, 1), ("w.mp4", None, 1)]),
        frames={"v.mp4": 10},
    )
    assert plan.counted == ["v.mp4"]


def test_a_videos_values_lie_below_its_frames_own() -> None:
    keys = {"scene": "VARCHAR", "speed": "DOUBLE"}
    plan = decide(
        ["v.mp4"],
        Table([("v.mp4", None, "city", 1.0), ("v.mp4", 0, None, 2.0), ("v.mp4", 1, "tunnel", None)], keys),
        frames={"v.mp4": 9},
    )
    assert plan.bodies[document("v-0-mp4.json")]["metadata"] == {"scene": "city", "speed": 2.0}
    assert plan.bodies[document("v-1-mp4.json")]["metadata"] == {"scene": "tunnel", "speed": 1.0}
    assert plan.bodies[document("v.json")]["metadata"] == {"scene": "city", "speed": 1.0}


# -- several sources


def test_later_sources_win_key_by_key_and_a_null_does_not_clear() -> None:
    plan = decide(
        ["a.png"],
        Table([("a.png", None, 1, "x")], {"n": "BIGINT", "w.d": "VARCHAR"}, label="one.csv"),
        Table([("a.png", None, 2, None, True)], {"n": "BIGINT", "w.d": "VARCHAR", "b": "BOOLEAN"}, "two.csv"),
    )
    assert plan.bodies[document("a.json")]["metadata"] == {"b": True, "n": 2, "w": {"d": "x"}}
    (overlap,) = [message for code, _, message, _ in plan.findings if code == "record.overlap"]
    assert overlap.startswith("n comes from several sources in 1 document;")


def test_sources_that_disagree_on_a_type_are_a_fault_of_the_job() -> None:
    from metaferry.errors import JobError

    with pytest.raises(JobError, match=r"n is .*integer.* in one\.csv, but .*string.* in two\.csv"):
        decide(
            ["a.png"],
            Table([("a.png", None, 1)], {"n": "BIGINT"}, label="one.csv"),
            Table([("a.png", None, "x")], {"n": "VARCHAR"}, label="two.csv"),
        )


# -- values


def test_values_that_do_not_fit_their_entry_are_named_by_row_and_column() -> None:
    entry = Entry("n", "n", 0, ValueType.NUMERIC_INT)
    plan = decide(
        ["a.png", "b.png", "c.png", "d.png"],
        Table(
            [
                ("a.png", None, "12"),
                ("b.png", None, "n/a"),
                ("c.png", None, "3.0"),
                ("d.png", None, "9007199254740993"),
            ],
            {"n": "VARCHAR"},
        ),
        in_place=(entry,),
    )
    assert plan.codes() == {3: "value.type", 5: "value.range"}
    assert plan.bodies[document("c.json")]["metadata"] == {"n": 3}
    assert "n is n/a, expected" in plan.rejects[0][2]


def test_a_row_with_two_bad_values_is_named_for_both() -> None:
    entries = (Entry("n", "n", 0, ValueType.NUMERIC_INT), Entry("m", "m", 0, ValueType.NUMERIC_INT))
    plan = decide(
        ["a.png"], Table([("a.png", None, "x", "y")], {"n": "VARCHAR", "m": "VARCHAR"}), in_place=entries
    )
    assert [code for code, _, _ in plan.rejects] == ["value.type", "value.type"]
    assert plan.decided.sources[0].rejected == 1


def test_a_value_that_is_not_finite_is_left_out_and_its_row_used() -> None:
    plan = decide(["a.png"], Table([("a.png", None, float("nan"), 1.5)], {"x": "DOUBLE", "y": "DOUBLE"}))
    assert plan.bodies[document("a.json")]["metadata"] == {"y": 1.5}
    assert "value.not_finite" in {code for code, *_ in plan.findings}
    assert plan.rejects == []


def test_categorical_integers_only_when_asked_for() -> None:
    table = Table([("a.png", None, 1), ("b.png", None, 2)])
    plan = decide(["a.png", "b.png"], table)
    assert plan.decided.entries.entries[0].type is ValueType.NUMERIC_INT
    plan = decide(["a.png", "b.png"], table, schema={"infer": {"categorical_integers": 2}})
    assert plan.decided.entries.entries[0].type is ValueType.CATEGORICAL_INT


def test_a_key_without_a_single_value_gets_no_entry() -> None:
    plan = decide(["a.png"], Table([("a.png", None, None)], {"n": "VARCHAR"}))
    assert plan.decided.entries.entries == ()
    assert not plan.decided.entries.changed


# -- collisions


def test_two_media_of_one_document_are_both_refused() -> None:
    plan = decide(["a.png", "a.jpg"], Table([("a.png", None, 1), ("a.jpg", None, 1)]))
    assert plan.codes() == {2: "media.collision", 3: "media.collision"}
    assert all('"a.jpg" and "a.png"' in message for _, _, message in plan.rejects)
    assert plan.actions == {}


def test_videos_that_collide_still_have_their_frames() -> None:
    plan = decide(
        ["v.mp4", "v.avi"],
        Table([("v.mp4", None, 1), ("v.mp4", 0, 1), ("v.avi", 0, 2)]),
        frames={"v.mp4": 5, "v.avi": 5},
    )
    assert plan.codes() == {2: "media.collision"}
    assert set(plan.actions) == {document("v-0-mp4.json"), document("v-0-avi.json")}


@pytest.mark.parametrize(("frames", "collides"), [(10, True), (9, False), (5, False), (100, False)])
def test_an_image_named_like_a_frame(frames: int, collides: bool) -> None:
    plan = decide(["v.mp4", "v-09-mp4.png"], Table([("v-09-mp4.png", None, 1)]), frames={"v.mp4": frames})
    assert (plan.codes() == {2: "media.collision"}) is collides
    assert plan.counted == ["v.mp4"]


def test_an_image_called_schema_at_the_root_is_refused() -> None:
    plan = decide(
        ["schema.png", "sub/schema.png"], Table([("schema.png", None, 1), ("sub/schema.png", None, 1)])
    )
    assert plan.codes() == {2: "media.collision"}
    assert set(plan.actions) == {document("sub/schema.json")}


def test_an_excluded_media_collides_with_nothing() -> None:
    plan = decide(["a.png", "a.jpg"], Table([("a.png", None, 1)]), media={"exclude": ["*.jpg"]})
    assert set(plan.actions) == {document("a.json")}


# -- documents in place


def test_equal_by_the_listing_is_kept_without_a_ledger() -> None:
    plan = decide(["a.png"], Table([("a.png", None, 1)]), documents={document("a.json"): image("a.png", 1)})
    assert plan.actions == {document("a.json"): "keep"}
    assert not plan.ledger_loaded


def ledger_of(target: str, body: bytes, *, token: str | None = None) -> dict[str, tuple[str, str]]:
    md5 = hashlib.md5(body).hexdigest()
    return {target: (token or f"token-{md5}", md5)}


@pytest.mark.parametrize(
    ("ledger", "action"),
    [
        (ledger_of(document("a.json"), image("a.png", 1)), "keep"),
        (ledger_of(document("a.json"), image("a.png", 1), token="older"), "update"),
        ({}, "update"),
    ],
)
def test_where_the_listing_proves_nothing_the_ledger_does(
    ledger: dict[str, tuple[str, str]], action: str
) -> None:
    plan = decide(
        ["a.png"],
        Table([("a.png", None, 1)]),
        documents={document("a.json"): image("a.png", 1)},
        proved=False,
        ledger=ledger,
    )
    assert plan.actions == {document("a.json"): action}


def test_a_real_md5_in_the_listing_is_believed_before_the_ledger() -> None:
    target, theirs = document("a.json"), b"theirs"
    token = f"token-{hashlib.md5(theirs).hexdigest()}"
    plan = decide(
        ["a.png"],
        Table([("a.png", None, 1)]),
        documents={target: theirs},
        ledger=ledger_of(target, image("a.png", 1), token=token),
    )
    assert plan.actions == {target: "update"}


@pytest.mark.parametrize(("report", "found"), [(True, True), (False, False)])
def test_what_somebody_else_changed_is_reported_unless_a_run_was_cut_off(report: bool, found: bool) -> None:
    target = document("a.json")
    plan = decide(
        ["a.png"],
        Table([("a.png", None, 1)]),
        documents={target: b"theirs"},
        ledger=ledger_of(target, b"ours"),
        ledger_complete=report,
    )
    assert plan.actions == {target: "update"}
    assert ("document.modified_externally" in {code for code, *_ in plan.findings}) is found


ORPHANS = {"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"}


@pytest.mark.parametrize("policy", [{"max_rejects": "100%"}, ORPHANS])
def test_other_digits_are_stale_and_deleted_whatever_the_policy(policy: dict[str, Any]) -> None:
    plan = decide(
        ["v.mp4"],
        Table([("v.mp4", 3, 1)]),
        documents={document("v-3-mp4.json"): b"{}", document("v-003-mp4.json"): b"{}"},
        frames={"v.mp4": 10},
        policy=policy | {"max_delete": 0},
    )
    assert plan.actions == {
        document("v-03-mp4.json"): "create",
        document("v-3-mp4.json"): "delete",
        document("v-003-mp4.json"): "delete",
    }
    assert not plan.decided.stopped, "what has a new name is not lost, so it does not count"


def wrong_digits(**changes: Any) -> Plan:
    """Ten documents with one digit too many, and a row for the first frame alone."""
    world: dict[str, Any] = {
        "documents": {document(f"v-{n:02d}-mp4.json"): b"{}" for n in range(10)},
        "frames": {"v.mp4": 9},
    }
    return decide(["v.mp4"], Table([("v.mp4", 0, 1)]), **(world | changes))


def test_a_stale_document_that_nothing_replaces_is_an_orphan() -> None:
    plan = wrong_digits()
    assert plan.actions.pop(document("v-0-mp4.json")) == "create"
    assert [t for t, action in plan.actions.items() if action == "delete"] == [document("v-00-mp4.json")]
    assert [code for code, *_ in plan.findings].count("document.orphan") == 9
    assert plan.why[document("v-01-mp4.json")] == (
        "no row is for it; digits of the frame number: 2 in its name, now 1"
    )
    assert plan.why[document("v-09-mp4.json")].startswith("frame gone; ")


@pytest.mark.parametrize(("most", "stopped"), [(8, True), (9, False)])
def test_a_stale_document_that_nothing_replaces_counts_as_deleted(most: int, stopped: bool) -> None:
    plan = wrong_digits(policy=ORPHANS | {"max_delete": most})
    assert list(plan.actions.values()).count("delete") == 10
    assert bool(plan.decided.stopped) is stopped


def test_a_stale_document_whose_row_may_be_a_rejected_one_stays() -> None:
    bad = {"n": "VARCHAR"}
    entry = (Entry("n", "n", 0, ValueType.NUMERIC_INT),)
    rejected = Table([("v.mp4", 0, "1"), ("v.mp4", 1, "x")], bad)
    malformed = Table([("v.mp4", 0, "1")], bad, malformed=1)
    for table, left in (
        (rejected, ["v-01-mp4.json"]),
        (malformed, [f"v-{n:02d}-mp4.json" for n in range(1, 9)]),
    ):
        plan = decide(
            ["v.mp4"],
            table,
            documents={document(f"v-{n:02d}-mp4.json"): b"{}" for n in range(9)},
            frames={"v.mp4": 9},
            in_place=entry,
            policy=ORPHANS,
        )
        assert [t for t, a in sorted(plan.actions.items()) if a == "skip"] == [document(t) for t in left]
        assert plan.actions[document("v-00-mp4.json")] == "delete"


@pytest.mark.parametrize(("policy", "counted"), [({"max_rejects": "100%"}, 0), (ORPHANS, 2)])
def test_a_document_that_goes_itself_replaces_nothing(policy: dict[str, Any], counted: int) -> None:
    """Of a frame without a record both names are in place: the right one replaces where it stays."""
    plan = decide(
        ["v.mp4"],
        Table([("v.mp4", 0, 1)]),
        documents={document("v-1-mp4.json"): b"{}", document("v-01-mp4.json"): b"{}"},
        frames={"v.mp4": 9},
        policy=policy | {"max_delete": 1},
    )
    assert plan.actions[document("v-01-mp4.json")] == "delete"
    assert plan.actions[document("v-1-mp4.json")] == ("delete" if counted else "skip")
    assert bool(plan.decided.stopped) is bool(counted), "two orphans, or none"


def test_a_limit_defers_the_delete_of_a_stale_document_with_its_replacement() -> None:
    """Also where the name that goes is the first of them by name."""
    world: dict[str, Any] = {
        "documents": {document(f"v-0{n}-mp4.json"): b"{}" for n in range(2)},
        "frames": {"v.mp4": 9},
    }
    rows = Table([("v.mp4", n, 1) for n in range(2)])
    plan = decide(["v.mp4"], rows, limit=1, **world)
    assert [t for t, a in plan.actions.items() if a in ("create", "delete")] == [document("v-0-mp4.json")]
    plan = decide(["v.mp4"], rows, limit=3, **world)
    assert sorted(plan.actions.values()) == ["create", "create", "delete", "skip"]


def test_a_stale_looking_document_of_an_image_is_the_images() -> None:
    plan = decide(
        ["v.mp4", "v-3-mp4.png"],
        Table([("v.mp4", 3, 1)]),
        documents={document("v-3-mp4.json"): b"{}"},
        frames={"v.mp4": 10},
        media={"exclude": ["*.png"]},
        policy={"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"},
    )
    assert plan.actions[document("v-3-mp4.json")] == "skip"


def orphans(**changes: Any) -> Plan:
    world: dict[str, Any] = {
        "documents": {
            document("gone.json"): b"{}",  # its media is gone
            document("b.json"): b"{}",  # its record is gone
            document("v-7-mp4.json"): b"{}",  # its frame is gone
            document("notes.txt"): b"",  # no document
        },
        "frames": {"v.mp4": 5},
        "policy": {"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"},
    }
    rows = Table([("a.png", None, 1), ("v.mp4", 0, 1)])
    return decide(["a.png", "b.png", "v.mp4"], rows, **(world | changes))


def test_orphans_are_deleted_when_the_policy_says_so() -> None:
    plan = orphans()
    assert {t for t, a in plan.actions.items() if a == "delete"} == {
        document("gone.json"),
        document("b.json"),
        document("v-7-mp4.json"),
    }
    assert plan.why[document("gone.json")] == "media gone"
    assert plan.why[document("b.json")] == "no row is for it"
    assert plan.why[document("v-7-mp4.json")] == "frame gone"


def test_orphans_are_left_by_default() -> None:
    plan = orphans(policy={"max_rejects": "100%"})
    assert "delete" not in plan.actions.values()
    assert [code for code, *_ in plan.findings].count("document.orphan") == 3


def test_documents_of_excluded_media_are_no_orphans() -> None:
    plan = orphans(media={"exclude": ["b.png"]})
    assert plan.actions[document("b.json")] == "skip"


def test_the_document_of_a_rejected_row_stays() -> None:
    plan = decide(
        ["a.png"],
        Table([("a.png", None, 1), ("a.png", None, 2)]),
        documents={document("a.json"): b"{}"},
        policy={"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"},
    )
    assert plan.actions == {document("a.json"): "skip"}
    assert "rejected" in plan.why[document("a.json")]


def test_a_malformed_row_could_have_been_for_any_document() -> None:
    plan = decide(
        ["a.png", "b.png"],
        Table([("a.png", None, 1)], malformed=1),
        documents={document("b.json"): b"{}", document("gone.json"): b"{}"},
        policy={"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"},
    )
    assert plan.actions[document("b.json")] == "skip"
    assert plan.actions[document("gone.json")] == "delete"


def test_frames_of_an_unproved_video_stay() -> None:
    plan = orphans(frames={"v.mp4": "deadline: 1 s"})
    assert plan.actions[document("v-7-mp4.json")] == "skip"


def test_a_prefix_narrows_orphans_too() -> None:
    plan = orphans(prefix="a")
    assert "delete" not in plan.actions.values()


# -- limits


def test_limit_counts_changes_in_order_of_their_targets() -> None:
    names = [f"{n}.png" for n in range(5)]
    plan = decide(names, Table([(name, None, 1) for name in names]), limit=2)
    assert [t for t, a in sorted(plan.actions.items()) if a == "create"] == [
        document("0.json"),
        document("1.json"),
    ]
    assert plan.decided.documents.deferred == 3


@pytest.mark.parametrize(
    ("most", "stopped"), [(0, True), (1, False), ("49%", True), ("50%", False), ("100%", False)]
)
def test_max_rejects(most: int | str, stopped: bool) -> None:
    plan = decide(["a.png"], Table([("a.png", None, 1), ("../b", None, 1)]), policy={"max_rejects": most})
    assert bool(plan.decided.stopped) is stopped


@pytest.mark.parametrize(("most", "stopped"), [(2, True), (3, False), ("74%", True), ("75%", False)])
def test_max_delete(most: int | str, stopped: bool) -> None:
    plan = orphans(policy={"max_rejects": "100%", "delete": "orphans", "max_delete": most})
    assert bool(plan.decided.stopped) is stopped


# -- names that cannot be written


def test_a_hostile_media_name_is_reported_unless_it_is_excluded() -> None:
    table = Table([("a.png", None, 1)])
    plan = decide(["a.png", "x\\b.png"], table)
    assert [code for code, *_ in plan.findings].count("name.hostile") == 1
    plan = decide(["a.png", "x\\b.png"], table, media={"exclude": ["x*"]})
    assert "name.hostile" not in {code for code, *_ in plan.findings}


def test_a_document_under_a_hostile_name_is_no_orphan() -> None:
    plan = decide(
        ["a.png", "x\\b.png"],
        Table([("a.png", None, 1)]),
        documents={document("x\\b.json"): b"{}"},
        policy={"delete": "orphans", "max_delete": "100%"},
    )
    assert plan.actions[document("x\\b.json")] == "skip"


def test_a_name_that_is_no_utf8_is_reported_and_stops_nothing() -> None:
    plan = decide(["a.png", "b\udcff.png"], Table([("a.png", None, 1)]))
    assert [code for code, *_ in plan.findings].count("name.hostile") == 1
    assert set(plan.actions) == {document("a.json")}
