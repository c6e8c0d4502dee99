"""How a stored picture is shown: turned, mirrored, scaled. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

#: The part of a matrix that turns and scales: (a, b) is where one pixel to the right goes, (c, d) where
#: one pixel down goes.
Matrix: TypeAlias = tuple[int, int, int, int]

#: Clockwise degrees by the direction in which the right of the stored picture points.
_DEGREES: Final = {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}


@dataclass(frozen=True, slots=True)
class Turn:
    """A picture that is mirrored left to right, or not, and then turned clockwise."""

    degrees: int
    mirrored: bool


def matrix_at(data: bytes, at: int) -> Matrix | None:
    """The matrix of an mvhd or tkhd box (9 numbers of 4 bytes); None where the box is too short."""
    if at + 36 > len(data):
        return None
    a, b, _, c, d, _, _, _, _ = struct.unpack(">9i", data[at : at + 36])
    return a, b, c, d


def product(first: Matrix, then: Matrix) -> Matrix:
    """What two matrices do, one after the other."""
    a, b, c, d = first
    e, f, g, h = then
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h


def turn_of(matrix: Matrix) -> Turn | None:
    """How a matrix turns the picture; None where it does not turn by quarters, or leaves nothing of it."""
    least = max(abs(number) for number in matrix) // 1000  # what rounding leaves of a zero
    a, b, c, d = ((number > least) - (number < -least) for number in matrix)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    degrees = _DEGREES.get((a, b))
    return None if degrees is None or (c, d) != (-b, a) else Turn(degrees, mirrored)


def of_degrees(clockwise: float, *, mirrored: bool = False) -> Turn | None:
    """The turn by an angle; None unless it is one of quarters."""
    whole = round(clockwise)
    return Turn(whole % 360, mirrored) if whole == clockwise and not whole % 90 else None


def shown(width: int, height: int, turn: Turn | None) -> tuple[int, int] | tuple[None, None]:
    """The size of a picture that is turned; unknown where the turn is."""
    if turn is None or width <= 0 or height <= 0:
        return None, None
    return (height, width) if turn.degrees % 180 else (width, height)


def stretched(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size in square pixels of a picture whose pixels are `aspect` as wide as high; the height stays."""
    return (width if aspect is None else max(1, round(width * aspect)), height)
