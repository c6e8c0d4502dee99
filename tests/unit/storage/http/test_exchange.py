"""Headers of an answer: those of a part are the ones that all of them together say."""

from __future__ import annotations

import pytest

from metaferry.storage.http.exchange import Answer

PART = (
    b"HTTP/1.1 206 Partial Content\r\n",
    b"Server: a\r\n",
    b"LAST-modified: Sat, 28 Nov 2026 14:00:00 GMT\r\n",
    b'Etag:  "abc" \r\n',
    b"Content-Range:bytes 0-1/2\r\n",
    b"X-Not-Etag: no\r\n",
    b"\r\n",
)


@pytest.mark.parametrize(
    "lines",
    [
        PART,
        (b"HTTP/1.1 100 Continue\r\n", b'etag: "interim"\r\n', b"\r\n", *PART),
        (*PART[:-1], b'ETag: "twice"\r\n', b"\r\n"),
        (PART[0], b"via: HTTP/1.1 proxy\r\n", *PART[1:]),
        (PART[0], b"\r\n"),
    ],
    ids=["plain", "after an interim head", "a header twice", "a word like a head's", "none"],
)
def test_the_headers_of_a_part_are_those_among_all_headers(lines: tuple[bytes, ...]) -> None:
    answer = Answer(206, lines, b"ab")
    names = ("etag", "content-range", "last-modified")
    found = answer.headers_of_part(token="etag")
    assert {name: found[name] for name in names if name in found} == {
        name: answer.headers[name] for name in names if name in answer.headers
    }


def test_an_answer_that_is_no_part_has_all_its_headers() -> None:
    answer = Answer(200, PART, b"ab")
    assert answer.headers_of_part(token="x-goog-generation") == answer.headers
