"""A selection config is read as the API's own model reads it, and every fault has its place."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaferry.errors import UsageError
from metaferry.view.selection import shapes
from metaferry.view.selection.config import Config, Strategy, load_config, parse_config
from unit.lightly.consumer import selection_config

SNAKE: dict[str, Any] = {
    "n_samples": 50,
    "strategies": [
        {
            "input": {"type": "METADATA", "key": "weather.temperature"},
            "strategy": {"type": "THRESHOLD", "threshold": 20, "operation": "BIGGER_EQUAL"},
        },
        {
            "input": {"type": "METADATA", "key": "weather.description"},
            "strategy": {"type": "BALANCE", "target": {"sunny": 0.2, "cloudy": 0.4}, "strength": 1.5},
        },
        {
            "input": {"type": "METADATA", "key": "speed"},
            "strategy": {
                "type": "WEIGHTS",
                "stopping_condition_max_sum": 9,
                "target_range": {"min_sum": 1, "max_sum": 8.5},
            },
        },
        {
            "input": {
                "type": "PREDICTIONS",
                "task": "a/b",
                "name": "CLASS_DISTRIBUTION",
                "categories": ["x"],
            },
            "strategy": {"type": "BALANCE", "distribution": "UNIFORM"},
        },
        {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
        {"input": {"type": "RANDOM", "random_seed": 7}, "strategy": {"type": "WEIGHTS"}},
        {
            "input": {"type": "EMBEDDINGS", "dataset_id": "0123456789abcdef01234567", "tag_name": "best"},
            "strategy": {"type": "TYPICALITY", "num_nearest_neighbors": 3},
        },
    ],
}
WANTED = Config(
    (
        Strategy("METADATA", "THRESHOLD", "weather.temperature", 20, "BIGGER_EQUAL"),
        Strategy(
            "METADATA",
            "BALANCE",
            "weather.description",
            target={"sunny": 0.2, "cloudy": 0.4},
            distribution="TARGET",
            strength=1.5,
        ),
        Strategy("METADATA", "WEIGHTS", "speed", min_sum=1, max_sum=8.5, max_total=9),
        Strategy("PREDICTIONS", "BALANCE", distribution="UNIFORM"),
        Strategy("EMBEDDINGS", "DIVERSITY"),
        Strategy("RANDOM", "WEIGHTS"),
        Strategy("EMBEDDINGS", "TYPICALITY"),
    ),
    n_samples=50,
)
TABLES = (shapes.CONFIG, shapes.ENTRY, shapes.INPUT, shapes.STRATEGY, shapes.RANGE)
ALIASES = {name: key.alias for table in TABLES for name, key in table.items() if key.alias}


def camel(value: Any) -> Any:
    """The same with the names of the API."""
    if isinstance(value, dict):
        return {ALIASES.get(key, key): camel(each) for key, each in value.items()}
    return [camel(each) for each in value] if isinstance(value, list) else value


def changed(**changes: Any) -> dict[str, Any]:
    """SNAKE with other values: `at__0__strategy__threshold=…`; `...` takes one away."""
    config = copy.deepcopy(SNAKE)
    for dotted, value in changes.items():
        steps: list[Any] = [int(step) if step.isdigit() else step for step in dotted.split("__")]
        node: Any = config
        for step in steps[:-1]:
            node = node[step]
        if value is ...:
            del node[steps[-1]]
        else:
            node[steps[-1]] = value
    return config


@pytest.mark.parametrize("form", [SNAKE, camel(SNAKE)], ids=["snake_case", "camelCase"])
def test_both_spellings_in_yaml_and_json_are_one_config(form: dict[str, Any]) -> None:
    assert parse_config(form) == WANTED
    assert parse_config(yaml.safe_dump(form)) == WANTED
    assert parse_config(json.dumps(form, indent="\t").encode()) == WANTED


def test_a_share_of_the_samples() -> None:
    config = parse_config(changed(n_samples=..., proportion_samples=0.25))
    assert (config.n_samples, config.proportion) == (None, 0.25)


#: Configs that the API's model takes.
TAKEN = [
    SNAKE,
    changed(n_samples=-1),
    changed(n_samples=...),
    changed(n_samples=None, proportion_samples=1),
    changed(lightly_path_regex="(?P<a>x)"),
    changed(strategies__0__strategy__threshold=-0.5),
    changed(strategies__1__strategy__strength=-1e9),
    changed(strategies__5__input__random_seed=None),
    changed(strategies__3__input__task=""),
]
#: And those that it refuses: ours does too.
REFUSED = [
    changed(n_samples=-2),
    changed(n_samples=50.0),
    changed(n_samples="50"),
    changed(n_samples=True),
    changed(n_samples=..., proportion_samples=1.5),
    changed(strategies=[]),
    changed(strategies=...),
    changed(strategies=[{"input": {"type": "RANDOM"}}]),
    changed(strategies__0__input__type="metadata"),
    changed(strategies__0__input__type=...),
    changed(strategies__0__input__key=""),
    changed(strategies__0__input__key=3),
    changed(strategies__0__input__path="a"),
    changed(strategies__0__strategy__type="TRESHOLD"),
    changed(strategies__0__strategy__threshold="20"),
    changed(strategies__0__strategy__threshold=True),
    changed(strategies__0__strategy__operation="ABOVE"),
    changed(strategies__1__strategy__target=["sunny"]),
    changed(strategies__1__strategy__strength=1e10),
    changed(strategies__1__strategy__distribution="EVEN"),
    changed(strategies__2__strategy__stopping_condition_max_sum=-1),
    changed(strategies__2__strategy__target_range={"min_sum": -1}),
    changed(strategies__2__strategy__target_range={"least": 1}),
    changed(strategies__3__input__name="CLASSES"),
    changed(strategies__3__input__task="a b"),
    changed(strategies__3__input__categories=[]),
    changed(strategies__3__input__categories=["x", "x"]),
    changed(strategies__5__input__random_seed=1.5),
    changed(strategies__6__input__dataset_id="0123"),
    changed(strategies__6__input__tag_name="a"),
    changed(strategies__6__strategy__num_nearest_neighbors=1),
    changed(strategies__6__strategy__stopping_condition_minimum_typicality=0),
    changed(lightly_path_regex=""),
    changed(seed=1),
]
#: What the model leaves open, and no strategy can do without.
STRICTER = [
    changed(strategies__0__input__key=...),
    changed(strategies__0__strategy__threshold=...),
    changed(strategies__0__strategy__operation=...),
    changed(strategies__1__strategy__target=...),
    changed(strategies__1__strategy__target={"sunny": 20}),
    changed(strategies__1__strategy__target={"sunny": "a lot"}),
    changed(strategies__2__strategy__target_range={"min_sum": 9, "max_sum": 8}),
    changed(strategies__4__strategy__target_range={"min_sum": 9}),
    changed(proportion_samples=0.5),
]


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    """The API's own model of a config."""
    with pytest.MonkeyPatch.context() as patch:
        yield selection_config(patch)


def is_taken(config: dict[str, Any]) -> bool:
    try:
        parse_config(config)
    except UsageError:
        return False
    return True


def test_what_is_taken_and_refused_is_what_the_model_takes_and_refuses(model: Any) -> None:
    def by_model(config: dict[str, Any]) -> bool:
        try:
            model.parse_obj(config)
        except ValueError:
            return False
        return True

    for form in (lambda config: config, camel):
        for number, config in enumerate(TAKEN):
            assert (by_model(form(config)), is_taken(form(config))) == (True, True), number
        for number, config in enumerate(REFUSED):
            assert (by_model(form(config)), is_taken(form(config))) == (False, False), number
        for number, config in enumerate(STRICTER):
            assert (by_model(form(config)), is_taken(form(config))) == (True, False), number


def test_the_keys_and_words_are_those_of_the_model(model: Any) -> None:
    def keys(kind: Any) -> dict[str, str]:
        return {name: field.alias for name, field in kind.__fields__.items()}

    def ours(table: Any) -> dict[str, str]:
        return {name: key.alias or name for name, key in table.items()}

    entry = model.__fields__["strategies"].type_
    source, strategy = (entry.__fields__[name].type_ for name in ("input", "strategy"))
    assert ours(shapes.CONFIG) == keys(model)
    assert ours(shapes.ENTRY) == keys(entry)
    assert ours(shapes.INPUT) == keys(source)
    assert ours(shapes.STRATEGY) == keys(strategy)
    assert ours(shapes.RANGE) == keys(strategy.__fields__["target_range"].type_)
    words = {
        shapes.INPUTS: source.__fields__["type"].type_,
        shapes.STRATEGIES: strategy.__fields__["type"].type_,
        shapes.OPERATIONS: strategy.__fields__["operation"].type_,
        shapes.PREDICTIONS: source.__fields__["name"].type_,
    }
    for mine, enum in words.items():
        assert set(mine) == {member.value for member in enum}


def error_of(text: str | bytes | dict[str, Any], name: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        parse_config(text, name)
    return caught.value.message


def test_every_fault_is_named_with_its_place() -> None:
    text = """\
n_samples: many
strategies:
  - input: {type: METADATA, key: weather}
    strategy:
      type: THRESHOLD
      treshold: 20
      operation: BIGGER
  - input: {type: METADATA}
    strategy: {type: BALANCE, target: {sunny: 2}}
"""
    assert error_of(text, "selection.yaml").splitlines() == [
        "5 faults in the selection config",
        "selection.yaml:1:12: n_samples: should be a whole number",
        "selection.yaml:4: strategies[0].strategy: THRESHOLD needs threshold",
        'selection.yaml:6:17: strategies[0].strategy.treshold: unknown key; did you mean "threshold"?',
        "selection.yaml:8: strategies[1].input: METADATA needs a key: the path of a schema entry",
        "selection.yaml:9: strategies[1].strategy.target: the share of 'sunny' should be a number from 0 "
        "to 1",
    ]


def test_json_has_lines_and_columns_too() -> None:
    text = '{"nSamples": 5,\n "strategies": [{"input": {"type": "X"}, "strategy": {"type": "WEIGHTS"}}]}'
    assert error_of(text, "s.json").startswith("s.json:2:36: strategies[0].input.type: should be one of EMB")
    assert error_of('{"nSamples": 5,}', "s.json").startswith("s.json:1:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a", "should be a mapping of keys"),
        (b"\xff", "is not UTF-8 text"),
        ("a: [", "not YAML"),
        ("n_samples: 1", "strategies is missing"),
        ("n_samples: 1\nnSamples: 1\nstrategies: []", "stands twice, as n_samples and nSamples"),
        ("strategies: 5", "strategies: should be a list"),
        ("strategies: [5]", "strategies[0]: should be a mapping with input and strategy"),
        ("strategies:\n - {input: 3, strategy: {type: WEIGHTS}}", "strategies[0].input: should be a mapping"),
        (changed(strategies__0__strategy__threshold=math.nan), "threshold: should be a number"),
    ],
)
def test_a_text_that_is_no_config(text: str | bytes | dict[str, Any], message: str) -> None:
    assert message in error_of(text)


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "selection.yaml").write_text(yaml.safe_dump(SNAKE))
    assert load_config(tmp_path / "selection.yaml") == WANTED
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
