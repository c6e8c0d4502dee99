"""User metadata and tags as text that a table can hold, or counted as what is not."""

from __future__ import annotations

import pytest

from metaferry.storage.facts.model import ObjectFacts
from metaferry.storage.facts.texts import facts_of_headers, header_text, readable, tags_of_xml


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("day", "day"),
        ("", ""),
        ("=?UTF-8?Q?=E6=97=A5?=", "日"),
        ("=?utf-8?b?5pel?=", "日"),
        ("Z\u00c3\u00bcrich", "Zürich"),  # UTF-8, read as Latin-1
        ("Zürich 日", "Zürich 日"),  # UTF-8, read as such
        ("Z\udcfcrich", "Zürich"),  # Latin-1, read as UTF-8 with what is none escaped
        ("=?x-none?B?AA==?=", None),
        ("=?UTF-8?B?/w==?=", None),
        ("50% =? x", "50% =? x"),
    ],
)
def test_a_header_is_the_text_that_was_meant_or_none(header: str, text: str | None) -> None:
    assert header_text(header) == text


def test_what_no_table_can_hold_is_left_out_and_counted() -> None:
    pairs = [("b", "2"), ("a", "1"), ("half", "\ud800"), ("nul", "x\0"), ("n", None), (3, "x"), ("a", "9")]
    assert readable(pairs) == ({"a": "1", "b": "2"}, 5)


def test_control_characters_and_long_texts_are_text() -> None:
    assert readable([("k", "a\n\x07"), ("l", "x" * 100_000)]) == ({"k": "a\n\x07", "l": "x" * 100_000}, 0)


def test_what_the_store_left_out_is_counted_too() -> None:
    headers = {
        "content-type": "video/mp4",
        "x-amz-meta-b": "2",
        "x-amz-meta-a": "=?x-none?B?AA==?=",
        "x-amz-missing-meta": "3",
        "x-amz-storage-class": "GLACIER_IR",
    }
    found = facts_of_headers(headers, "x-amz-meta-", etag="e", class_header="x-amz-storage-class")
    assert found == ObjectFacts("e", "video/mp4", "GLACIER_IR", {"b": "2"}, None, 4)


@pytest.mark.parametrize("count", ["", "-1", "x", "9" * 400])
def test_a_count_that_is_none_is_no_error(count: str) -> None:
    found = facts_of_headers({"x-amz-missing-meta": count}, "x-amz-meta-", etag="", class_header="c")
    assert found.unreadable in (0, 999_999_999)


TAGGING = '<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>%s</TagSet></Tagging>'
PAIR = "<Tag><Key>%s</Key><Value>%s</Value></Tag>"


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (TAGGING % "", {}),
        (TAGGING % (PAIR % ("b", "2") + PAIR % ("a", "&lt;1&gt;")), {"a": "<1>", "b": "2"}),
        (f"<Tags><TagSet>{PAIR % ('a', '')}</TagSet></Tags>", {"a": ""}),
        (TAGGING % "<Tag><Key>a</Key></Tag>", None),
        ("<html/>", None),
        ("", None),
        ("<Tagging>", None),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Tagging>&b;</Tagging>', None),
    ],
)
def test_tags_are_read_out_of_what_is_an_answer_about_tags(body: str, tags: dict[str, str] | None) -> None:
    assert tags_of_xml(body.encode()) == tags
