"""Documents are judged by the same rules whichever way their text is read and their values are looked at."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaferry.lightly.nested import EntryTypes, unfit_places
from metaferry.lightly.values import ValueType
from metaferry.view.tree import document
from metaferry.view.tree.document import read_document

KEYS = st.sampled_from(["a", "b", "[0]", "tags", ""])
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(2**53 - 2, 2**53 + 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**400, -(10**310), 1.0, -0.0, 2.0**53]),
)
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["2026-01-01", "2026-02-30", "2026-01-01T00:00:00Z", "\ud800", "\udc00x", "😀", "\x00"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
TYPES = st.dictionaries(
    st.lists(KEYS, min_size=1, max_size=3).map(tuple), st.sampled_from(list(ValueType)), max_size=4
)


@settings(max_examples=300)
@given(METADATA, TYPES)
def test_the_quick_test_of_values_is_the_whole_rule(metadata: dict[str, Any], types: dict[Any, Any]) -> None:
    assert EntryTypes(types).fit(metadata) is (unfit_places(metadata, types) == {})


#: Text that no writer of JSON gives: what is between the quotes and the digits is any.
RAW = st.one_of(
    VALUES.map(json.dumps),
    VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(
        r'"(\\u[dD89aA][0-9a-fA-F]{3}|\\u00[0-9a-f]{2}|\\[nrt"\\/bfax]|[ -~\n\t]){0,4}"', fullmatch=True
    ),
    st.sampled_from(
        ["NaN", "-Infinity", "Infinity", "nul", "[1,]", "01", "1.", ".5", "+1", "-", "1 2", "\x0b1"]
    ),
    st.sampled_from(["[" * 2_000 + "]" * 2_000, "9" * 5_000, "1" * 310 + ".0", "1e400", "1e-400"]),
)


@settings(max_examples=300)
@given(RAW, st.sampled_from(["utf-8", "utf-16", "latin-1"]))
@example("1" * 310, "utf-8")
@example('"\\ud83d\\ude00"', "utf-8")
def test_both_readers_of_json_find_the_same(value: str, encoding: str) -> None:
    text = f'{{"file_name": "a.jpg", "metadata": {{"a": {value}}}}}'
    data = text.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")
    found = read_document(data, names=(), types=EntryTypes({}))

    class Refusing:
        def decode(self, data: bytes) -> Any:
            raise ValueError

    quick, document._FAST = document._FAST, Refusing()  # type: ignore[assignment, misc]
    try:
        slow = read_document(data, names=(), types=EntryTypes({}))
    finally:
        document._FAST = quick  # type: ignore[misc]
    assert found[1] == slow[1]
    assert repr(found[0]) == repr(slow[0])
    assert not any(isinstance(each, float) and math.isinf(each) for each in found[0].values())
