"""Lines of JSON into the engine by its own parser, each written again from what was read, to prove it.

The engine's parser takes a third of the time of Arrow's, but it takes `"5"` for a number, passes over keys
that it was not asked for, and lets a comma stand before a bracket. So each line is put together again from
its values, in the order and with the blanks of the first line. In a text without a backslash no value holds
a quote: where the line is the same byte for byte, it holds these values under these keys and nothing else.
Lines of which one is not the same are left to `typed` and `lines`.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.tables.json.records import Stretch
from metaferry.tables.json.shapes import Structure
from metaferry.tables.json.typed import EXACT, Schema, arrow_type, is_utf8, kept_type, sql_type
from metaferry.tables.model import folded
from metaferry.tables.staging import INCOMING, arrow_pool, quote_ident, quote_text

#: A line: what stands before, between and behind the members of an object.
_LINE: Final = re.compile(r'([ \t]*)\{"[^"\\]*":( ?)[^ ].*\}([ \t\r]*)')
#: Stretches that are not tried, at most, after one that was not the same.
_MOST_PASSED: Final = 63
#: Parts of a stretch, for the threads of the engine to share.
_PARTS: Final = 2
#: Values of a line: of more of them the engine makes columns more slowly than Arrow does.
_MOST_VALUES: Final = 24
#: What a query reads: the lines, with the rows that name them.
LINE: Final = "line"
ROW_OF_LINE: Final = "row"


class Insert(NamedTuple):
    """Lines with the rows that name them, and the SQL of the row and of each column (its key and type).

    The SQL is an error of the engine where a line is not the same; `source` is the relation that it is over.
    """

    lines: pa.Table
    row: str
    columns: Mapping[tuple[str, pa.DataType], str]
    source: str


class RoundTrip:
    """Makes the inserts of stretches. After one that failed, the next ones are not tried.

    Mostly a whole file is written in one way.
    """

    def __init__(self) -> None:
        self._failures = self._passed = 0
        self._small_by_exponent = False
        self._asked: tuple[Schema, _Form, bool] | None = None
        self._sql: _Sql | None = None

    def is_worth_a_try(self) -> bool:
        """Whether the next stretch is tried; to be asked once for each."""
        if self._passed < min(2**self._failures - 1, _MOST_PASSED):
            self._passed += 1
            return False
        self._passed = 0
        return True

    def ended(self, *, well: bool) -> None:
        """How an insert ended. After each failure small doubles are looked for as others write them."""
        self._failures = 0 if well else self._failures + 1
        self._small_by_exponent ^= not well

    def insert(self, stretches: Sequence[Stretch], schema: Schema) -> Insert | None:
        """The insert of the lines of some stretches; None where they are of no form that is read here."""
        is_plain = all(b"\\" not in each.text and is_utf8(each.text) for each in stretches)
        made = self._insert(stretches, schema) if is_plain else None
        if made is None:
            self.ended(well=False)
        return made

    def _insert(self, stretches: Sequence[Stretch], schema: Schema) -> Insert | None:
        first = stretches[0].text
        form = _form_of(first[: first.find(b"\n")] if b"\n" in first else first)
        if form is None:
            return None
        asked = (schema, form, self._small_by_exponent)
        if self._asked is None or self._asked[0] is not schema or self._asked[1:] != asked[1:]:
            self._asked, self._sql = asked, _sql_of(*asked)
        if self._sql is None:
            return None
        parts = []
        for stretch in stretches:
            lines, rows = _lines(stretch.text), stretch.rows
            if len(lines) != len(rows):
                return None
            share = -(-len(rows) // _PARTS)
            parts += [
                pa.record_batch({LINE: lines.slice(at, share), ROW_OF_LINE: rows.slice(at, share)})
                for at in range(0, len(rows), share)
            ]
        return Insert(pa.Table.from_batches(parts), *self._sql)


#: What `Insert` has beside the lines.
_Sql = tuple[str, Mapping[tuple[str, pa.DataType], str], str]


class _Form(NamedTuple):
    """How a line is written: its blanks, and its keys in their order, each with those of the object below."""

    before: str
    blank: str
    behind: str
    keys: tuple[tuple[str, Any], ...]


class _Pairs(tuple[tuple[str, Any], ...]):
    """The members of an object in their order."""


def _form_of(line: bytes) -> _Form | None:
    written = _LINE.fullmatch(text := line.decode())
    if written is None:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    return _Form(written[1], written[2], written[3], _keys(value))


def _keys(pairs: _Pairs) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _keys(value) if isinstance(value, _Pairs) else None) for key, value in pairs)


def _lines(text: bytes) -> pa.Array:
    """The lines of a text, without their ends."""
    length = len(text) - text.endswith(b"\n")
    whole = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("ii", 0, length)), pa.py_buffer(text))
    return pc.split_pattern(whole, "\n", memory_pool=arrow_pool()).values


class _Unproved(Exception):
    """Lines of a form that is not read here."""


def _sql_of(schema: Schema, form: _Form, small_by_exponent: bool) -> _Sql | None:
    """What is asked of lines of a form; None where they cannot be read so.

    `small_by_exponent`: doubles below 0.0001 are written like 9.3e-05, as Python does, not as 0.000093.
    """
    known = frozenset(schema.options.explicit_schema.names)

    def is_unused(key: str) -> bool:
        return key in known or (not schema.strict and folded(key) not in schema.used_names)

    try:
        return _Query(form, small_by_exponent).sql(schema.used, is_unused)
    except _Unproved:
        return None


def _anything(key: str) -> bool:
    return True


def _nothing(key: str) -> bool:
    return False


class _Query:
    """What is asked of lines of a form: fields that are read once, the text of them, what else is proved."""

    def __init__(self, form: _Form, small_by_exponent: bool) -> None:
        self._form = form
        self._small_by_exponent = small_by_exponent
        self._fields: list[str] = []
        self._text = [quote_text(form.before)]
        self._proved: list[str] = []

    def sql(self, used: Mapping[str, Structure], is_unused: Callable[[str], bool]) -> _Sql:
        """Raises _Unproved for lines that are not read here."""
        template, values = self._add_object(self._form.keys, "o", used, is_unused)
        if len(self._fields) > _MOST_VALUES:
            raise _Unproved
        text = _joined([*self._text, quote_text(self._form.behind)])
        proved = " AND ".join([f"concat({text}) = {LINE}", *self._proved])
        columns = {
            (key, kept_type(kind)): values[key]
            for key, member in used.items()
            if key in values and member.plain_type() and (kind := arrow_type(member)) is not None
        }
        source = (
            f"(SELECT {LINE}, {ROW_OF_LINE}, {', '.join(self._fields)} FROM (SELECT *, "
            f"from_json_strict({LINE}, {quote_text(json.dumps(template))}) AS o FROM {INCOMING}))"
        )
        row = f"CASE WHEN {proved} THEN {ROW_OF_LINE} ELSE error('another line') END"
        return row, columns, source

    def _add_object(
        self,
        keys: Sequence[tuple[str, Any]],
        path: str,
        members: Mapping[str, Structure],
        is_unused: Callable[[str], bool],
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The object that the SQL `path` is: what `from_json` takes it by, and the SQL of its values by key.

        Raises _Unproved for a key that is neither known nor unused, and for what is not read here.
        """
        if not keys or len({folded(key) for key, _ in keys}) != len(keys) or not all(key for key, _ in keys):
            raise _Unproved  # the engine does not tell them apart
        template: dict[str, Any] = {}
        values: dict[str, str] = {}
        mark, blank = "{", self._form.blank
        for key, below in keys:
            member = members.get(key)
            if member is None and not is_unused(key):
                raise _Unproved
            self._text.append(quote_text(f'{mark}"{key}":{blank}'))
            mark = f",{blank}"
            inner = f"struct_extract({path}, {quote_text(key)})"
            if below is None:
                template[key], values[key] = self._add_value(inner, member)
                continue
            if member is not None and member.kinds != {"object"}:
                raise _Unproved
            known = {} if member is None else member.members
            template[key], fields = self._add_object(
                below, inner, known, _anything if member is None else _nothing
            )
            packed = [f"{quote_ident(name)} := {sql}" for name, sql in _in_order(known, fields)]
            values[key] = f"struct_pack({', '.join(packed)})"
        self._text.append(quote_text("}"))
        return template, values

    def _add_value(self, path: str, member: Structure | None) -> tuple[str, str]:
        """What stands under a key that has no object: what `from_json` takes it by, and its SQL."""
        kind = "" if member is None else member.plain_type()
        if member is not None and (kind in ("STRUCT", "LIST") or (member.kinds and not kind)):
            raise _Unproved
        field = f"v{len(self._fields)}"
        if kind in ("BIGINT", "BOOLEAN", "VARCHAR"):
            self._fields.append(f"{path} AS {field}")
            value, template = field, kind
        else:  # as it is written: a double would take longer to write anew than to read
            self._fields.append(f"CAST({path} AS VARCHAR) AS {field}")
            value, template = f"CAST({field} AS DOUBLE)", "JSON"
        if member is not None and not kind:
            self._text.append("'null'")
        elif kind == "VARCHAR":
            quote = f"CASE WHEN {field} IS NULL THEN {{}} ELSE {{}} END"
            self._text += [quote.format("'null'", "'\"'"), field, quote.format("''", "'\"'")]
        else:
            text = f"CAST({field} AS VARCHAR)"
            if kind == "DOUBLE" and self._small_by_exponent:
                is_small = f"{value} <> 0 AND abs({value}) < 0.0001"
                text = f"CASE WHEN {is_small} THEN CAST({value} AS VARCHAR) ELSE {field} END"
            self._text.append(f"coalesce({text}, 'null')")
        if kind == "DOUBLE":  # an integer beyond may be another number as a double
            self._proved.append(f"coalesce(abs({value}) < {EXACT}, true)")
        elif kind == "BIGINT" and member is not None and "int64" not in member.kinds:
            self._proved.append(f"coalesce({field} BETWEEN -{EXACT} AND {EXACT}, true)")
        return template, value


def _in_order(members: Mapping[str, Structure], values: Mapping[str, str]) -> list[tuple[str, str]]:
    """The keys that hold values somewhere, with their SQL: null, where this form of line has no such key."""
    return [
        (key, values.get(key) or f"CAST(NULL AS {sql_type(member)})")
        for key, member in members.items()
        if member.plain_type()
    ]


def _joined(text: Sequence[str]) -> str:
    """Arguments of `concat`, literals that follow each other as one."""
    joined: list[str] = []
    for piece in text:
        if joined and piece.startswith("'") and joined[-1].startswith("'"):
            joined[-1] = joined[-1][:-1] + piece[1:]
        else:
            joined.append(piece)
    return ", ".join(joined)
