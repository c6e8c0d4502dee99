"""Canonical bytes of documents: the exact text, since equality of documents is equality of bytes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from metaferry.lightly.document import ESCAPES, document, json_string, md5_hex
from metaferry.lightly.names import Kind


def metadata(values: dict[str, Any]) -> str:
    """The text between the braces of `metadata`."""
    head, text = '{"file_name":"a.png","type":"image","metadata":{', document("a.png", Kind.IMAGE, values)
    assert text.decode().startswith(head)
    assert text.decode().endswith("}}")
    return text.decode()[len(head) : -2]


def test_the_document_of_the_format_page() -> None:
    body = document("sub/clip.mp4", Kind.VIDEO, {"weather": {"temperature": 23.2}, "scene": "city street"})
    assert body == (
        b'{"file_name":"sub/clip.mp4","type":"video",'
        b'"metadata":{"scene":"city street","weather":{"temperature":23.2}}}'
    )
    assert md5_hex(body) == "3743ba9d8695debd0145fc09e9c12f41"


def test_nothing_to_say_is_an_empty_object() -> None:
    assert metadata({}) == ""


def test_keys_are_sorted_by_code_point_at_every_level() -> None:
    assert metadata({"b": 1, "a": {"é": 1, "Z": 2, "z": 3}, "\U0001f600": 4, "\uffff": 5}) == (
        '"a":{"Z":2,"z":3,"é":1},"b":1,"\uffff":5,"\U0001f600":4'
    )


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_form_for_is_left_out(missing: object) -> None:
    assert metadata({"a": missing, "b": {"c": missing}, "d": 1}) == '"d":1'


def test_lists_keep_their_positions() -> None:
    values = [None, float("nan"), 1, {}, {"a": None}, [], "x"]
    assert metadata({"list": values}) == '"list":[null,null,1,{},{},[],"x"]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-(2**63), "-9223372036854775808"),
        (2**64, "18446744073709551616"),
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (1e16, "1e+16"),
        (123456789012345680.0, "1.2345678901234568e+17"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (Decimal("1.50"), "1.5"),
        (Decimal("2.00"), "2.0"),
        (Decimal("2"), "2"),
        (date(2026, 1, 2), '"2026-01-02"'),
        (time(3, 4, 5), '"03:04:05"'),
        (time(3, 4, 5, 600, tzinfo=timezone(timedelta(hours=-2, minutes=-30))), '"03:04:05.0006-02:30"'),
        (datetime(2026, 1, 2, 3, 4, 5, 670_000), '"2026-01-02T03:04:05.67"'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05Z"'),
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), '"2026-01-01T23:00:00Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    ],
)
def test_scalars(value: object, text: str) -> None:
    assert metadata({"x": value}) == f'"x":{text}'


def test_what_has_to_be_escaped_and_nothing_else() -> None:
    assert set(ESCAPES) == {chr(code) for code in range(0x20)} | {'"', "\\"}
    assert json_string('"\\/\b\t\n\f\r\x00\x1f\x7f\x85\u2028é😀') == (
        '"\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\x85\u2028é😀"'
    )


@pytest.mark.parametrize("code", range(0x100))
def test_escapes_are_those_of_the_standard_library(code: int) -> None:
    assert json_string(chr(code)) == json.dumps(chr(code), ensure_ascii=False)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, 1j, object()])
def test_what_has_no_place_in_a_document(value: object) -> None:
    with pytest.raises(TypeError, match="no place in a document"):
        document("a.png", Kind.IMAGE, {"x": value})


def test_text_that_is_no_unicode_is_an_error_and_not_a_question_mark() -> None:
    with pytest.raises(UnicodeEncodeError):
        document("a.png", Kind.IMAGE, {"x": "\ud800"})
