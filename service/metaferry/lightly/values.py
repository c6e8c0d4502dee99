"""Casts of values to the type of a schema entry: which values fit, what they become, why others do not.

Nothing is guessed or rounded: a value either has exactly one meaning under the type, or it is a
:class:`Misfit`, and the caller names its row. `planning/sql/rules.py` states the
same rules in SQL and is held equal to this module by tests. The rules are in docs/format.md,
"Values".
"""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from metaferry.lightly.document import plain

#: Larger integers lose digits in readers that use doubles.
MAX_INTEGER: Final = 2**53

#: What a cast value can be; None is a missing value.
Scalar: TypeAlias = bool | int | float | str | None


class ValueType(StrEnum):
    """`valueDataType` of a schema entry. The last three are accepted when named, never inferred."""

    NUMERIC_INT = "NUMERIC_INT"
    NUMERIC_FLOAT = "NUMERIC_FLOAT"
    CATEGORICAL_INT = "CATEGORICAL_INT"
    CATEGORICAL_STRING = "CATEGORICAL_STRING"
    CATEGORICAL_BOOLEAN = "CATEGORICAL_BOOLEAN"
    CATEGORICAL_DATETIME = "CATEGORICAL_DATETIME"
    CATEGORICAL_TIMESTAMP = "CATEGORICAL_TIMESTAMP"
    OTHER_STRING = "OTHER_STRING"


class Shape(StrEnum):
    """The JSON shape of a type's values; several types share one."""

    INTEGER = "integer"
    FLOAT = "float"
    STRING = "string"
    BOOLEAN = "boolean"
    DATETIME = "datetime"  # a string that is an ISO 8601 date, or date and time


SHAPES: Final = MappingProxyType(
    {
        ValueType.NUMERIC_INT: Shape.INTEGER,
        ValueType.NUMERIC_FLOAT: Shape.FLOAT,
        ValueType.CATEGORICAL_INT: Shape.INTEGER,
        ValueType.CATEGORICAL_STRING: Shape.STRING,
        ValueType.CATEGORICAL_BOOLEAN: Shape.BOOLEAN,
        ValueType.CATEGORICAL_DATETIME: Shape.DATETIME,
        ValueType.CATEGORICAL_TIMESTAMP: Shape.INTEGER,
        ValueType.OTHER_STRING: Shape.STRING,
    }
)

#: What a finding says was expected.
EXPECTED: Final = MappingProxyType(
    {
        Shape.INTEGER: "a whole number within ±2^53",
        Shape.FLOAT: "a number",
        Shape.STRING: "text",
        Shape.BOOLEAN: "true or false",
        Shape.DATETIME: "an ISO 8601 date, or date and time",
    }
)

MisfitCode: TypeAlias = Literal["type", "range", "not_finite"]


class Misfit(ValueError):
    """A value that does not fit its type.

    code: `type`; `range` (a number that the type cannot hold); `not_finite` (NaN, Infinity: no
        JSON number, so its key is left out and the row is used).
    expected: completes "expected …".
    """

    def __init__(self, code: MisfitCode, expected: str) -> None:
        super().__init__(f"{code}: expected {expected}")
        self.code: MisfitCode = code
        self.expected = expected


def cast(value: object, value_type: ValueType) -> Scalar:
    """The value as an entry of that type holds it, None for a missing one, or Misfit.

    Takes what :func:`metaferry.lightly.document.plain` takes. Lists, mappings and bytes fit no type.
    """
    if value is None:
        return None
    match SHAPES[value_type]:
        case Shape.INTEGER:
            return _integer(value)
        case Shape.FLOAT:
            return _float(value)
        case Shape.BOOLEAN:
            return _boolean(value)
        case Shape.STRING:
            return _string(value)
        case Shape.DATETIME:
            return _datetime(value)


#: A decimal literal, entirely: no white space, no underscores, ASCII digits, no hexadecimal.
DECIMAL_LITERAL: Final = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
#: A literal that is a whole number on its face: no exponent, only zeros after the point.
INTEGER_LITERAL: Final = r"[+-]?[0-9]+(?:\.0*)?"
#: A date, or date and time, of ISO 8601 in its extended form; the calendar is checked apart.
DATETIME_LITERAL: Final = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?"
)

_DECIMAL = re.compile(DECIMAL_LITERAL)
_INTEGER = re.compile(INTEGER_LITERAL)
_DATETIME = re.compile(DATETIME_LITERAL)


def _integer(value: object) -> int:
    expected = EXPECTED[Shape.INTEGER]
    if isinstance(value, Decimal) and value.is_finite():
        value = format(value, "f")  # its exact digits: a float could round a fraction away
    match plain(value):
        case bool():
            raise Misfit("type", expected)
        case int(number):
            return _in_range(number)
        case float(number):
            if not math.isfinite(number):
                raise Misfit("not_finite", expected)
            if not number.is_integer():
                raise Misfit("type", expected)
            return _in_range(int(number))
        case str(text) if _INTEGER.fullmatch(text):
            sign, whole = text[0], text.lstrip("+-").partition(".")[0].lstrip("0")
            if len(whole) > len(str(MAX_INTEGER)):  # also: Python refuses to convert thousands of digits
                raise Misfit("range", expected)
            number = int(whole or "0")
            return _in_range(-number if sign == "-" else number)
        case _:
            raise Misfit("type", expected)


def _in_range(number: int) -> int:
    if abs(number) > MAX_INTEGER:
        raise Misfit("range", EXPECTED[Shape.INTEGER])
    return int(number)


def _float(value: object) -> float:
    expected = EXPECTED[Shape.FLOAT]
    match plain(value):
        case bool():
            raise Misfit("type", expected)
        case int() | float() as number:
            try:
                number = float(number)
            except OverflowError:
                raise Misfit("range", expected) from None
            if not math.isfinite(number):
                # A decimal NaN arrives here as a float's.
                raise Misfit("not_finite", expected)
            return number
        case str(text) if _DECIMAL.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise Misfit("range", expected)
            return number
        case _:
            raise Misfit("type", expected)


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise Misfit("type", EXPECTED[Shape.BOOLEAN])


def _string(value: object) -> str:
    text = plain(value)
    if isinstance(text, str):
        return text
    # A number printed as text has many forms (1, 1.0, 1e0): which one is meant is for the mapping to say.
    raise Misfit("type", EXPECTED[Shape.STRING])


def _datetime(value: object) -> str:
    text = plain(value)
    if isinstance(text, str) and _DATETIME.fullmatch(text):
        try:
            date.fromisoformat(text[:10])
        except ValueError:  # 30 February
            pass
        else:
            return text
    raise Misfit("type", EXPECTED[Shape.DATETIME])
