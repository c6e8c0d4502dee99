"""Lines that the engine reads and writes again: which are, and that no other is taken for one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.json import lines as objects
from metaferry.tables.json.round_trip import RoundTrip
from unit.tables.table_loading import load

TIGHT = '{"file_name":"%d.png","n":%d,"x":%s,"b":true,"w":{"sky":"grey","t":-1.5},"s":"a b"}'
SPACED = TIGHT.replace('":', '": ').replace(',"', ', "')
ROWS = 600


@pytest.fixture
def inserts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How each insert ended."""
    ended: list[bool] = []
    whole = RoundTrip.ended

    def noted(trip: RoundTrip, *, well: bool) -> None:
        ended.append(well)
        whole(trip, well=well)

    monkeypatch.setattr(RoundTrip, "ended", noted)
    return ended


def written(form: str, odd: str | bytes = "", *, end: str = "\n") -> bytes:
    """Lines of a form, one of them odd."""
    lines = [(form % (n, n, n / 8)).encode() for n in range(ROWS)]
    if odd:
        lines[ROWS - 100] = odd if isinstance(odd, bytes) else odd.encode()
    return b"".join(line + end.encode() for line in lines)


def loaded(path: Path, text: bytes, **more: Any) -> Any:
    path.write_bytes(text)
    result = load(path, **more)
    return (
        result.types,
        [list(row.items()) for row in sorted(result.rows, key=repr)],
        sorted(result.rejects),
        result.findings,
        result.loaded.read,
    )


def one_by_one(path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(objects, "schema_of", lambda *given: None)
        return loaded(path, text, **more)


def outcome(read: Callable[..., Any], *given: Any, **more: Any) -> Any:
    try:
        return read(*given, **more)
    except JobError as error:
        return error.message, error.advice


def spelled(change: Callable[[str], str]) -> str:
    """A line as all are, but for a change."""
    line = change(TIGHT % (500, 500, 62.5))
    assert line != TIGHT % (500, 500, 62.5)
    return line


@pytest.mark.parametrize(
    "more", [{}, {"metadata": {"m": "n", "x": "x"}}, {"metadata": {"sky": "w.sky", "t": "w.t"}}]
)
@pytest.mark.parametrize(
    ("form", "end"),
    [
        (TIGHT, "\n"),
        (SPACED, "\n"),
        (TIGHT, "\r\n"),
        ("  " + TIGHT + " ", "\n"),
        (TIGHT.replace('"a b"', '"é🚗\'"').replace('"s"', '"ß it\'s"'), "\n"),
        (TIGHT.replace('"a b"', "null"), "\n"),
        (TIGHT.replace('"a b"', "[1,{},null]"), "\n"),
    ],
)
def test_lines_of_one_form_are_inserted(
    tmp_path: Path,
    inserts: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    end: str,
    more: Mapping[str, Any],
) -> None:
    text = written(form, end=end)
    given = {**more, "metadata": {"m": "n", "x": "x"}} if "[1," in form else more  # a list that is not used
    found = loaded(tmp_path / "t.jsonl", text, **given)
    assert inserts == [True]
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch, **given)


@pytest.mark.parametrize("key", ["n", "x", "b", "s"])
def test_a_null_is_of_the_form(
    tmp_path: Path, inserts: list[bool], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    values = {
        "n": ('"n":500', '"n":null'),
        "x": ("62.5", "null"),
        "b": ("true", "null"),
        "s": ('"a b"', "null"),
    }
    text = written(TIGHT, spelled(lambda line: line.replace(*values[key])))
    found = loaded(tmp_path / "t.jsonl", text)
    assert inserts == [True]
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch)


ODD: list[Any] = [
    spelled(lambda line: line.replace('"n":500', '"n":"500"')),
    spelled(lambda line: line.replace('"n":500', '"n":500.5')),
    spelled(lambda line: line.replace('"n":500', '"n":5e2')),
    spelled(lambda line: line.replace('"n":500', '"n":true')),
    spelled(lambda line: line.replace('"n":500', '"n":-0')),
    spelled(lambda line: line.replace('"n":500', '"n":9223372036854775808')),
    spelled(lambda line: line.replace("62.5", '"62.5"')),
    spelled(lambda line: line.replace("62.5", "62.50")),
    spelled(lambda line: line.replace("62.5", "1e-07")),
    spelled(lambda line: line.replace("62.5", "9007199254740993")),
    spelled(lambda line: line.replace("62.5", "NaN")),
    spelled(lambda line: line.replace("62.5", "-Infinity")),
    spelled(lambda line: line.replace("62.5", "1e400")),
    spelled(lambda line: line.replace("62.5", "[62.5]")),
    spelled(lambda line: line.replace("true", '"true"')),
    spelled(lambda line: line.replace("true", "1")),
    spelled(lambda line: line.replace('"a b"', "7")),
    spelled(lambda line: line.replace('"a b"', '"a \\" b"')),
    spelled(lambda line: line.replace('"a b"', '"a\\u0020b"')),
    spelled(lambda line: line.replace('"a b"', '"\\u0000"')),
    spelled(lambda line: line.replace("}}", "}").replace('{"sky"', '"sky"')),
    spelled(lambda line: line.replace('{"sky":"grey","t":-1.5}', "null")),
    spelled(lambda line: line.replace('{"sky":"grey","t":-1.5}', '"{sky:grey}"')),
    spelled(lambda line: line.replace('"t":-1.5', '"t":-1.5,"u":1')),
    spelled(lambda line: line.replace('"b":true,', "")),
    spelled(lambda line: line.replace('"b":true', '"b":true,"new":1')),
    spelled(lambda line: line.replace('"b":true', '"b":true,"b":true')),
    spelled(lambda line: line.replace('"b":true', '"b":false,"b":true')),
    spelled(lambda line: line.replace('"b"', '"B"')),
    spelled(lambda line: line.replace('"b"', '"\\u0062"')),
    spelled(lambda line: line.replace('"n":500,"x":62.5', '"x":62.5,"n":500')),
    spelled(lambda line: line.replace('"n":500', '"n": 500')),
    spelled(lambda line: line[:-1] + ",}"),
    spelled(lambda line: line[:-1]),
    spelled(lambda line: line + line),
    spelled(lambda line: line + " 7"),
    spelled(lambda line: "[" + line + "]"),
    spelled(lambda line: line + "\n"),
    (TIGHT % (500, 500, 62.5)).replace("a b", "a \tb"),
    (TIGHT % (500, 500, 62.5)).encode().replace(b"a b", b"a\xff b"),
    (TIGHT % (500, 500, 62.5)).encode().replace(b"a b", b"a\xed\xa0\xbd b"),
    "7",
    "no JSON",
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("more", [{}, {"metadata": {"m": "s"}}])
def test_a_line_that_is_written_in_another_way_is_read_as_it_is_alone(
    tmp_path: Path,
    inserts: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    odd: str | bytes,
    more: Mapping[str, Any],
) -> None:
    text = written(TIGHT, odd)
    found = outcome(loaded, tmp_path / "t.jsonl", text, **more)
    assert inserts  # it was tried
    assert found == outcome(one_by_one, tmp_path / "t.jsonl", text, monkeypatch, **more)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few lines, one of them inserted at once."""
    whole = ByteStream.pieces

    def pieces(stream: ByteStream, *, carriage_returns: bool) -> Iterator[bytes]:
        for piece in whole(stream, carriage_returns=carriage_returns):
            kept = piece.splitlines(keepends=True)
            yield from (b"".join(kept[at : at + 10]) for at in range(0, len(kept), 10))

    monkeypatch.setattr(ByteStream, "pieces", pieces)
    monkeypatch.setattr(objects, "_INSERT_BYTES", 1)


@pytest.mark.usefixtures("small_pieces")
def test_a_file_in_another_form_is_tried_less_and_less(tmp_path: Path, inserts: list[bool]) -> None:
    text = written(TIGHT.replace('"x":%s', '"x":%s0'))
    loaded(tmp_path / "t.jsonl", text)
    assert 0 < len(inserts) < 10
    assert not any(inserts)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("small", ["9.3e-05", "-1.25e-07", "0.000093", "1e-7"])
def test_small_numbers_are_looked_for_in_both_ways_to_write_them(
    tmp_path: Path, inserts: list[bool], monkeypatch: pytest.MonkeyPatch, small: str
) -> None:
    text = written(TIGHT.replace("%s", "%s" + f',"y":{small}'))
    found = loaded(tmp_path / "t.jsonl", text)
    assert inserts.count(False) <= 1
    assert inserts.count(True) > 40
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch)


@pytest.mark.usefixtures("small_pieces")
def test_lines_are_inserted_again_after_one_that_was_odd(tmp_path: Path, inserts: list[bool]) -> None:
    text = written(TIGHT, spelled(lambda line: line.replace("62.5", "62.50")))
    _, rows, rejects, _, read = loaded(tmp_path / "t.jsonl", text)
    assert inserts.count(False) == 1
    assert inserts[-1]
    assert (len(rows), rejects, read) == (ROWS, [], ROWS)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("other", ["7", '"x"'])
def test_a_key_that_comes_late_is_not_passed_over(
    tmp_path: Path, inserts: list[bool], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Also where a key that is not used holds several kinds, so that no schema has all keys."""
    late = [f'{{"file_name":"{n}.png","late":{n},"other":7}}' for n in range(2 * ROWS)]
    early = [line.replace(',"late"', ',"early"') for line in late[:ROWS]]
    early[10] = early[10].replace("7}", f"{other}}}")
    text = "\n".join(early + late[ROWS:]).encode()
    given = {"metadata": {"late": "late"}}
    found = loaded(tmp_path / "t.jsonl", text, **given)
    assert inserts[-3:] == [True, True, True]
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch, **given)
    assert sum(dict(row)["late"] is not None for row in found[1]) == ROWS


@pytest.mark.usefixtures("small_pieces")
def test_a_long_integer_is_learned_before_a_double_follows(
    tmp_path: Path, inserts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f'{{"file_name":"{n}.png","n":{n}}}' for n in range(ROWS)]
    lines[400] = lines[400].replace('"n":400', f'"n":{2**53 + 1}')
    lines[500] = lines[500].replace('"n":500', '"n":0.5')
    text = "\n".join(lines).encode()
    found = loaded(tmp_path / "t.jsonl", text)
    assert True in inserts
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch)


@pytest.mark.parametrize(("keys", "well"), [(24, True), (25, False)])
def test_lines_of_many_values_are_left_to_arrow(
    tmp_path: Path, inserts: list[bool], keys: int, well: bool
) -> None:
    more = "".join(f',"k{number}":{number}' for number in range(keys - 1))
    text = "".join(f'{{"file_name":"{row}.png"{more}}}\n' for row in range(ROWS))
    *_, read = loaded(tmp_path / "t.jsonl", text.encode())
    assert (inserts[0], read) == (well, ROWS)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("there", "gone"),
    [
        ('"k":1,', ""),
        ('"k":[],', ""),
        ('"k":[{"z":null,"y":1}],', ""),
        ('"k":{"a":1,"b":2},', '"k":{"a":1},'),
        ('"k":{"a":1,"b":[]},', '"k":{"a":1},'),
        ('"k":{"a":1,"b":{}},', '"k":{"a":1},'),
    ],
)
def test_a_key_that_later_lines_lack_is_null_in_them(
    tmp_path: Path, inserts: list[bool], monkeypatch: pytest.MonkeyPatch, there: str, gone: str
) -> None:
    keys = [there] * (ROWS // 2) + [gone] * (ROWS // 2)
    text = "".join(f'{{"file_name":"{row}.png",{key}"x":1}}\n' for row, key in enumerate(keys)).encode()
    found = loaded(tmp_path / "t.jsonl", text)
    assert inserts[-1]
    assert found == one_by_one(tmp_path / "t.jsonl", text, monkeypatch)
