"""Our reading of a listing page against botocore's, on pages plain and strange."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from botocore.compat import unquote_str
from botocore.parsers import ResponseParserError, ResponseParserFactory
from hypothesis import given
from hypothesis import strategies as st

from metaferry.storage.s3.listing import Listed, read_page

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@cache
def shape() -> Any:
    import botocore.session

    return botocore.session.Session().get_service_model("s3").operation_model("ListObjectsV2").output_shape


def by_botocore(body: bytes) -> tuple[Listed, dict[str, Any]]:
    """Keys and the rest, as `S3Adapter` would have them from botocore."""
    parser = ResponseParserFactory().create_parser("rest-xml")
    parsed = parser.parse({"status_code": 200, "headers": {}, "body": body}, shape())
    decoded = unquote_str if parsed.get("EncodingType") == "url" else str
    items = parsed.pop("Contents", ())
    listed = Listed(
        [decoded(item["Key"]) for item in items],
        [item["Size"] for item in items],
        [item.get("ETag", "").strip('"') for item in items],
        [item["LastModified"].timestamp() for item in items],
    )
    return listed, parsed


def classes_by_botocore(body: bytes) -> list[str]:
    parser = ResponseParserFactory().create_parser("rest-xml")
    parsed = parser.parse({"status_code": 200, "headers": {}, "body": body}, shape())
    return [item.get("StorageClass", "") for item in parsed.get("Contents", ())]


def agrees(body: bytes) -> bool:
    """Whether we read the page ourselves; then it has to be what botocore reads."""
    page = read_page(body)
    described = read_page(body, classes=True)
    if described is not None:
        assert described[0].classes == classes_by_botocore(body)
    if page is None:
        return False
    listed, rest = page
    keys, others = by_botocore(body)
    assert listed == keys
    assert described is None or described[0]._replace(classes=None) == listed
    assert by_botocore(rest) == (Listed([], [], [], []), others)
    return True


texts = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from("%+&<>\"'/ .\n\t日😀"),
    min_size=1,
    max_size=12,
)
keys = texts | st.sampled_from(
    ["dir/", "/x", "a//b", "a/../b", "\x01", "tab\t", "&amp;", "%41", "a+b", "e\u0301"]
)
tags = st.none() | st.sampled_from(["", "d41d8cd98f00b204e9800998ecf8427e", "x-2", 'W/"x'])
quotes = st.sampled_from(['"', "&quot;", "&#34;"])
instants = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
extras = st.lists(
    st.sampled_from(
        [
            "<StorageClass>STANDARD</StorageClass>",
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>",
            "<ChecksumType>FULL_OBJECT</ChecksumType>",
            "<Owner><ID>a&amp;b</ID><DisplayName>日</DisplayName></Owner>",
            "<Owner/>",
            "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>",
            "<UserMetadata></UserMetadata>",
            "\n  ",
        ]
    ),
    max_size=4,
    unique=True,
)


@st.composite
def contents(draw: st.DrawFn, *, encoded: bool) -> str:
    key = draw(keys)
    tag, quote_ = draw(tags), draw(quotes)
    moment = draw(instants).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = [
        f"<Key>{quote(key) if encoded else escape(key)}</Key>",
        f"<Size>{draw(st.integers(0, 2**53))}</Size>",
        f"<LastModified>{moment}</LastModified>",
        *draw(extras),
    ]
    if tag is not None:
        fields.append(f"<ETag>{quote_}{escape(tag)}{quote_}</ETag>")
    return f"<Contents>{''.join(draw(st.permutations(fields)))}</Contents>"


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    encoded = draw(st.booleans())
    rest = ["<Name>b</Name>", "<KeyCount>3</KeyCount>", "<Prefix/>", "<IsTruncated>true</IsTruncated>"]
    rest += ["<NextContinuationToken>a&amp;b+%41=</NextContinuationToken>"]
    rest += ["<EncodingType>url</EncodingType>"] if encoded else []
    cut = draw(st.integers(0, len(rest)))
    midpoint_key = draw(st.sampled_from(["", "\n", "\n  "]))
    items = midpoint_key.join(draw(st.lists(contents(encoded=encoded), min_size=1, max_size=6)))
    root = draw(st.sampled_from([f"<ListBucketResult {SPACE}>", "<ListBucketResult>"]))
    return (
        draw(st.sampled_from([HEAD, ""]))
        + root
        + midpoint_key.join([*rest[:cut], items, *rest[cut:]])
        + "</ListBucketResult>"
    ).encode()


@given(pages())
def test_a_page_is_read_as_botocore_reads_it(body: bytes) -> None:
    try:
        by_botocore(body)
    except ResponseParserError:  # control characters that were not encoded
        assert read_page(body) is None
    else:
        agrees(body)


@given(st.lists(keys, min_size=1, max_size=8))
def test_encoded_keys_are_exact_and_need_no_help(names: list[str]) -> None:
    items = "".join(
        f"<Contents><Key>{quote(name)}</Key><LastModified>2026-11-23T03:31:41.000Z</LastModified>"
        f"<ETag>&quot;x&quot;</ETag><Size>1</Size></Contents>"
        for name in names
    )
    body = f"{HEAD}<ListBucketResult {SPACE}><EncodingType>url</EncodingType>{items}</ListBucketResult>"
    assert agrees(body.encode())
    page = read_page(body.encode())
    assert page is not None
    assert page[0].keys == names


ONE = "<Key>a</Key><LastModified>2026-11-23T03:31:41.000Z</LastModified><ETag>x</ETag><Size>1</Size>"


@given(pages(), st.data())
def test_a_page_with_something_strange_in_it_is_read_alike_or_left(body: bytes, data: st.DataObject) -> None:
    strange = data.draw(
        st.sampled_from(
            [
                "<!-- <Contents> -->",
                "<![CDATA[<Key>x</Key>]]>",
                "<Contents/>",
                "<Contents></Contents>",
                f"<Contents >{ONE}</Contents>",
                f"<Contents>{ONE}<Key>b</Key></Contents>",
                f"<Contents>{ONE}<Owner><Key>b</Key></Owner></Contents>",
                f"<Contents>{ONE.replace('<Size>1</Size>', '')}</Contents>",
                f"<Contents>{ONE.replace('<Size>1', '<Size> 1 ')}</Contents>",
                f"<Contents>{ONE.replace('Z<', '<')}</Contents>",
                f"<Contents>{ONE.replace('<Key>a', '<Key>a&#13;&#x41;')}</Contents>",
                f"<Contents>{ONE.replace('<Key>a', '<Key>a&nbsp;')}</Contents>",
                "<Contents>" + ONE.replace("<Key>", "<Key x='y'>") + "</Contents>",
                f"<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes><Contents>{ONE}</Contents>",
                f"<Else><Contents>{ONE}</Contents></Else>",
                f'<s:Contents xmlns:s="u">{ONE}</s:Contents>',
                "\r\n",
                "]]>",
                "<?pi?>",
                "text",
                "\x0b",
                "<Contents>",
                "</ListBucketResult>",
            ]
        )
    )
    spots = [number for number in range(len(body)) if body[number : number + 1] == b"<"]
    spot = data.draw(st.sampled_from(spots))
    spoiled = body[:spot] + strange.encode() + body[spot:]
    try:
        by_botocore(spoiled)
    except (ResponseParserError, KeyError, ValueError, AttributeError, TypeError) as error:
        page = read_page(spoiled)
        if page is not None:  # what is wrong is in what botocore is still to read
            with pytest.raises(type(error)):
                by_botocore(page[1])
    else:
        agrees(spoiled)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Error><Code>InternalError</Code></Error>",
        b"<ListBucketResult></ListBucketResult>",
        b"not xml <Contents>",
        f"<ListBucketResult><Contents>{ONE}</Contents>".encode("utf-16"),
        b"\xff<Contents>",
    ],
)
def test_what_is_no_page_with_keys_is_left_to_botocore(body: bytes) -> None:
    assert read_page(body) is None
