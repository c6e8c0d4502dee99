"""What a tree allows of a selection: counted over the typed table, and judged without a forecast."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from metaferry.lightly.schema import Entry, ValueType
from metaferry.view.export.values import load_values
from metaferry.view.selection.config import parse_config
from metaferry.view.selection.facts import gather_facts
from metaferry.view.selection.judge import judge
from metaferry.view.selection.result import Judged, Selection, ValueShare, Verdict
from unit.view.export.tree_rows import Document, database_with, of_frame, of_media

ENTRIES = (
    Entry("Weather", "weather.description", "undefined", ValueType.CATEGORICAL_STRING),
    Entry("Temperature", "weather.temperature", 0.0, ValueType.NUMERIC_FLOAT),
    Entry("Lanes", "lanes", 0, ValueType.CATEGORICAL_INT),
    Entry("Cars", "cars", 0, ValueType.NUMERIC_INT),
    Entry("Night", "night", False, ValueType.CATEGORICAL_BOOLEAN),
    Entry("Delta", "delta", -1, ValueType.NUMERIC_INT),
)
#: 10 images: 6 sunny, 3 cloudy, 1 rainy; 0 to 9 degrees; 0 to 9 cars; one lane or two.
KINDS = ["sunny"] * 6 + ["cloudy"] * 3 + ["rainy"]
IMAGES = [
    of_media(
        f"i{n}.png",
        {"weather": {"description": kind, "temperature": n}, "cars": n, "lanes": 1 + n % 2},
    )
    for n, kind in enumerate(KINDS)
]


#: The planning engine with IMAGES in it, opened once for all tests of them.
images: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def opened_images() -> Iterator[None]:
    with database_with([each.media for each in IMAGES]) as database:
        images[:] = database, load_values(database, IMAGES, ENTRIES)
        yield
        images.clear()


def metadata(key: str, **strategy: Any) -> dict[str, Any]:
    return {"input": {"type": "METADATA", "key": key}, "strategy": strategy}


def above(key: str, threshold: float) -> dict[str, Any]:
    return metadata(key, type="THRESHOLD", threshold=threshold, operation="BIGGER_EQUAL")


def balance(key: str = "weather.description", **more: Any) -> dict[str, Any]:
    return metadata(key, type="BALANCE", **more)


def preview(
    *strategies: dict[str, Any],
    documents: Sequence[Document] = IMAGES,
    media: Sequence[str] | None = None,
    frames: Iterable[tuple[str, int]] = (),
    **config: Any,
) -> Selection:
    read = parse_config({"strategies": list(strategies), **config})
    if documents is IMAGES and media is None and not frames:
        facts = gather_facts(*images, read)
    else:
        paths = media if media is not None else sorted({each.media for each in documents})
        with database_with(paths) as database:
            facts = gather_facts(database, load_values(database, documents, ENTRIES), read, frames)
    return judge(read, ENTRIES, facts, url="s3://fleet/")


def one(*strategies: dict[str, Any], **more: Any) -> Judged:
    """The judgement of the last strategy."""
    return preview(*strategies, **more).strategies[-1]


# -- thresholds


@pytest.mark.parametrize(
    ("operation", "passing"), [("SMALLER", 4), ("SMALLER_EQUAL", 5), ("BIGGER", 5), ("BIGGER_EQUAL", 6)]
)
def test_how_many_pass_a_threshold(operation: str, passing: int) -> None:
    found = one(metadata("weather.temperature", type="THRESHOLD", threshold=4, operation=operation))
    assert (found.passing, found.verdict) == (passing, Verdict.FEASIBLE)


def test_how_many_pass_all_thresholds() -> None:
    found = preview(above("cars", 3), metadata("cars", type="THRESHOLD", threshold=8, operation="SMALLER"))
    assert [each.passing for each in found.strategies] == [7, 8]
    assert (found.samples, found.passing, found.verdict) == (10, 5, Verdict.FEASIBLE)


def test_too_few_samples_pass() -> None:
    found = preview(above("cars", 8), n_samples=3)
    assert found.verdict is Verdict.NOT_FEASIBLE
    assert found.reasons == ("3 samples are asked for, and 2 samples pass all thresholds",)
    assert found.exit_code == 3
    assert preview(above("cars", 8), n_samples=2).exit_code == 0
    assert preview(balance(distribution="INPUT"), n_samples=11).reasons == (
        "11 samples are asked for, and there are 10",
    )


def test_no_sample_passes() -> None:
    assert preview(above("cars", 10)).reasons == ("strategies[0]: no sample passes this threshold",)
    both = preview(above("cars", 9), metadata("cars", type="THRESHOLD", threshold=1, operation="SMALLER"))
    assert both.reasons[0] == "strategies[0]: no sample passes all thresholds"


# -- targets


def test_a_target_that_can_be_met() -> None:
    found = one(balance(target={"sunny": 0.6, "rainy": 0.2}), n_samples=5)
    assert (found.verdict, found.reasons, found.most) == (Verdict.FEASIBLE, (), 5.0)
    assert found.values == (
        ValueShare("sunny", 0.6, 6, 3.0, 1.0),
        ValueShare("rainy", 0.2, 1, 1.0, 0.2),
        ValueShare(None, 0.2, 3, 1.0, 0.6),
    )


def test_a_target_with_too_few_samples_names_the_best_share() -> None:
    found = one(balance(target={"sunny": 0.5, "rainy": 0.3}), n_samples=10)
    assert found.verdict is Verdict.NOT_FEASIBLE
    assert found.reasons == (
        "'rainy' should have 30 % of 10 samples, which is 3, and has 1: at most 10 %",
        "it can be met with 3 samples at most",
    )
    assert found.values[1].best == pytest.approx(0.1)


def test_targets_are_judged_among_what_passes() -> None:
    assert one(above("cars", 6), balance(target={"sunny": 0.5}), n_samples=2).reasons == (
        "'sunny' should have 50 % of 2 samples, which is 1, and has 0: at most 0 %",
    )
    assert one(balance(target={"sunny": 0.5}), n_samples=2).verdict is Verdict.FEASIBLE


def test_a_name_that_never_occurs_is_named_with_the_nearest() -> None:
    found = one(balance(target={"suny": 0.2}), n_samples=1)
    assert found.verdict is Verdict.NOT_FEASIBLE
    assert found.reasons[0] == "no sample has the value 'suny'; did you mean 'sunny'?"
    far = one(balance(target={"x": 0.2}), n_samples=1)
    assert far.reasons[0].endswith("the most common are 'sunny', 'cloudy', 'rainy'")


def test_targets_that_sum_to_more_than_one() -> None:
    found = one(balance(target={"sunny": 0.7, "cloudy": 0.4}), n_samples=1)
    assert "the targets sum to 1.1, which is more than 1" in found.reasons
    assert one(balance(target={"sunny": 0.7, "cloudy": 0.3}), n_samples=3).verdict is Verdict.FEASIBLE
    # Sums of shares are exact: 0.1 + 0.2 + 0.7 is 1.
    exact = {"sunny": 0.1, "cloudy": 0.2, "rainy": 0.7}
    assert one(balance(target=exact), n_samples=1).verdict is Verdict.FEASIBLE


def test_the_rest_of_a_target_needs_other_values() -> None:
    found = one(balance(target={"sunny": 0.2, "cloudy": 0.2, "rainy": 0.1}), n_samples=10)
    assert found.reasons[0] == (
        "all other values together should have 50 % of 10 samples, which is 5, and has 0: at most 0 %"
    )
    rounded = one(balance(target={"sunny": 0.33, "cloudy": 0.33, "rainy": 0.33}), n_samples=3)
    assert rounded.verdict is Verdict.FEASIBLE


def test_integers_are_named_as_text() -> None:
    found = one(balance("lanes", target={"1": 0.5, "2": 0.5}), n_samples=10)
    assert (found.verdict, [each.available for each in found.values]) == (Verdict.FEASIBLE, [5, 5])
    assert one(balance("lanes", target={"3": 0.5}), n_samples=1).verdict is Verdict.NOT_FEASIBLE


def test_without_a_number_the_largest_is_told() -> None:
    found = one(balance(target={"sunny": 0.5, "rainy": 0.25}), n_samples=-1)
    assert (found.verdict, found.most) == (Verdict.NOT_KNOWN, 4.0)
    assert "n_samples is -1" in " ".join(preview(balance(target={"sunny": 0.5}), n_samples=-1).notes)


def test_a_share_of_the_samples_is_of_all_of_them() -> None:
    found = preview(balance(target={"rainy": 0.5}), proportion_samples=0.2)
    assert (found.wanted, found.verdict) == (2.0, Verdict.FEASIBLE)
    assert preview(balance(target={"rainy": 0.5}), proportion_samples=0.21).verdict is Verdict.NOT_FEASIBLE


def test_uniform_needs_as_many_of_each_value() -> None:
    assert one(balance(distribution="UNIFORM"), n_samples=3).verdict is Verdict.FEASIBLE
    found = one(balance(distribution="UNIFORM"), n_samples=6)
    assert found.verdict is Verdict.NOT_FEASIBLE
    assert found.reasons[0] == (
        "'rainy' should have 33.33 % of 6 samples, which is 2, and has 1: at most 16.67 %"
    )
    # Which values count once thresholds took one away is nowhere said.
    assert one(above("cars", 6), balance(distribution="UNIFORM"), n_samples=2).verdict is Verdict.NOT_KNOWN


def test_the_shares_of_the_input() -> None:
    assert one(balance(distribution="INPUT"), n_samples=10).verdict is Verdict.FEASIBLE
    assert one(above("cars", 1), balance(distribution="INPUT"), n_samples=5).verdict is Verdict.FEASIBLE
    found = one(above("cars", 6), balance(distribution="INPUT"), n_samples=4)
    assert found.verdict is Verdict.NOT_KNOWN
    assert "whether INPUT is before or after them is not known" in found.reasons[0]


def test_a_strength_below_zero_is_not_judged() -> None:
    found = one(balance(target={"rainy": 0.9}, strength=-1), n_samples=10)
    assert (found.verdict, found.reasons) == (
        Verdict.NOT_KNOWN,
        ("strength is -1: what that aims at is not known",),
    )


# -- weights


def test_the_top_of_a_lone_weights() -> None:
    found = one(metadata("cars", type="WEIGHTS"), n_samples=3)
    assert found.weights is not None
    assert (found.weights.samples, found.weights.sum, found.weights.least) == (3, 24.0, 7.0)
    assert [each.media for each in found.weights.first] == ["i9.png", "i8.png", "i7.png"]
    after = one(
        metadata("cars", type="THRESHOLD", threshold=8, operation="SMALLER"), found_weights(), n_samples=1
    )
    assert after.weights is not None
    assert after.weights.first[0].media == "i7.png"


def found_weights() -> dict[str, Any]:
    return metadata("cars", type="WEIGHTS")


def test_ties_at_the_end_of_the_top_are_told() -> None:
    documents = [of_media(f"i{n}.png", {"cars": 1 + (n == 0)}) for n in range(5)]
    found = one(found_weights(), documents=documents, n_samples=3)
    assert found.weights is not None
    assert (found.weights.least, found.weights.tied, found.weights.tied_in) == (1.0, 4, 2)


def test_the_top_is_not_told_where_it_need_not_be_taken() -> None:
    beside = preview(found_weights(), balance(target={"sunny": 0.5}), n_samples=2).strategies[0]
    assert (beside.weights, beside.verdict) == (None, Verdict.FEASIBLE)
    assert "with other strategies beside it" in beside.notes[0]
    assert one(metadata("cars", type="WEIGHTS", strength=-1), n_samples=2).weights is None
    assert one(metadata("delta", type="WEIGHTS"), n_samples=2).weights is None, "weights below 0"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ({"min_sum": 17}, Verdict.FEASIBLE),
        ({"min_sum": 18}, Verdict.NOT_FEASIBLE),
        ({"max_sum": 1}, Verdict.FEASIBLE),
        ({"max_sum": 0.5}, Verdict.NOT_FEASIBLE),
    ],
)
def test_a_sum_that_no_choice_of_samples_has(target: dict[str, float], verdict: Verdict) -> None:
    assert one(metadata("cars", type="WEIGHTS", target_range=target), n_samples=2).verdict is verdict


# -- keys and types


def test_a_key_is_the_path_of_an_entry() -> None:
    for key, message in (
        ("weather", "there is no schema entry with the path 'weather'; there are: weather.description, "),
        ("wether.temperature", "did you mean weather.temperature?"),
        ("Temperature", "'Temperature' is the name of an entry; a key is its path: weather.temperature"),
    ):
        found = one(above(key, 1))
        assert found.verdict is Verdict.NOT_FEASIBLE
        assert message in found.reasons[0]


@pytest.mark.parametrize(
    ("strategy", "verdict", "reason"),
    [
        (above("weather.description", 1), Verdict.NOT_FEASIBLE, "THRESHOLD needs a number"),
        (metadata("lanes", type="WEIGHTS"), Verdict.NOT_FEASIBLE, "WEIGHTS needs a number"),
        (balance("cars", target={"1": 0.5}), Verdict.NOT_FEASIBLE, "BALANCE needs CATEGORICAL_INT or"),
        (balance("night", target={"true": 0.5}), Verdict.NOT_KNOWN, "takes CATEGORICAL_BOOLEAN is not known"),
        (metadata("cars", type="DIVERSITY"), Verdict.NOT_KNOWN, "whether DIVERSITY takes metadata"),
        (metadata("cars", type="SIMILARITY"), Verdict.NOT_KNOWN, "whether SIMILARITY takes metadata"),
        (above("lightly.sharpness", 1), Verdict.NOT_JUDGED, "is computed by the consumer"),
        (
            {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
            Verdict.NOT_JUDGED,
            "EMBEDDINGS are not metadata",
        ),
    ],
)
def test_what_a_strategy_takes(strategy: dict[str, Any], verdict: Verdict, reason: str) -> None:
    found = preview(strategy, n_samples=1)
    assert found.strategies[0].verdict is found.verdict is verdict
    assert reason in found.strategies[0].reasons[0]


def test_a_key_may_come_out_of_file_names() -> None:
    found = preview(balance("site", target={"a": 0.5}), lightly_path_regex="(?P<site>a)", n_samples=1)
    assert found.verdict is Verdict.NOT_KNOWN


def test_thresholds_of_other_inputs_leave_at_most_so_many() -> None:
    scores = {
        "input": {"type": "SCORES", "task": "t", "score": "s"},
        "strategy": {"type": "THRESHOLD", "threshold": 1, "operation": "BIGGER"},
    }
    found = preview(scores, above("cars", 9), n_samples=2)
    assert found.reasons == ("2 samples are asked for, and at most 1 sample passes all thresholds",)
    assert "fewer samples may pass" in found.notes[0]


def test_several_goals_are_each_judged_by_themselves() -> None:
    found = preview(balance(target={"sunny": 0.5}), balance("lanes", target={"1": 0.5}), n_samples=2)
    assert found.verdict is Verdict.FEASIBLE
    assert (
        found.notes[-1] == "each strategy is judged by itself: whether all can be met together is not judged"
    )


def test_an_entry_that_is_mostly_default() -> None:
    documents = [of_media("a.png", {"cars": 3}), of_media("b.png", {}), of_media("c.png", {"cars": 0})]
    found = one(above("cars", 1), documents=documents, media=["a.png", "b.png", "c.png", "d.png"])
    assert found.default == 3
    assert found.notes == (
        "3 of 4 samples show the default 0: they have no value of their own, or the same one",
    )
    assert one(above("cars", 1)).default == 1


# -- samples


def test_the_samples_of_a_video_are_its_frames() -> None:
    """Those without documents of their own show the values of their video."""
    documents = [
        of_media("v.mp4", {"cars": 5}),
        of_frame("v.mp4", 0, 1, {"cars": 7}),
        of_frame("v.mp4", 1, 1, {"lanes": 2}),
        of_media("a.png", {"cars": 1}),
    ]
    found = preview(
        above("cars", 5), found_weights(), documents=documents, frames=[("v.mp4", 4)], n_samples=3
    )
    assert (found.samples, found.passing) == (5, 4)
    top = found.strategies[1].weights
    assert top is not None
    assert (top.sum, top.least, top.tied, top.tied_in) == (17.0, 5.0, 3, 2)
    assert [(each.media, each.frame) for each in top.first] == [("v.mp4", 0), ("v.mp4", 1), ("v.mp4", None)]


def test_a_video_without_documents_shows_defaults() -> None:
    found = preview(above("cars", 1), media=["v.mp4"], documents=[], frames=[("v.mp4", 3)])
    assert (found.samples, found.strategies[0].default, found.verdict) == (3, 3, Verdict.NOT_FEASIBLE)


def test_frames_that_are_not_counted_leave_it_open() -> None:
    documents = [of_media("v.mp4", {"cars": 5}), *IMAGES]
    found = preview(above("cars", 10), balance(target={"rainy": 0.9}), documents=documents, n_samples=20)
    assert [each.verdict for each in found.strategies] == [Verdict.NOT_KNOWN, Verdict.NOT_KNOWN]
    assert found.verdict is Verdict.NOT_KNOWN
    assert found.notes[0].startswith("the number of frames of 1 video is not known")


def test_documents_without_media_and_invalid_ones() -> None:
    documents = [
        *IMAGES,
        of_media("gone.png", {"cars": 99}, orphan=True),
        of_media("x.png", {}, invalid=True),
    ]
    found = preview(above("cars", 9), documents=documents, media=[*(e.media for e in IMAGES), "x.png"])
    assert (found.samples, found.passing) == (11, 1)
    assert found.notes[0] == "1 document is invalid, over which the consumer stops: metaferry check"


def test_the_result_is_json() -> None:
    found = preview(above("cars", 3), balance(target={"sunny": 0.5}), found_weights(), n_samples=4)
    value = json.loads(json.dumps(found.to_dict()))
    assert value["version"] == 1
    assert value["verdict"] == "feasible"
    assert value["keys"] == [entry.path for entry in ENTRIES]
