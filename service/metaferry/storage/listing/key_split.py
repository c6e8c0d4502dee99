"""Where to split a range of keys in two: a guess at the midpoint, from the keys seen so far.

Pure functions over strings. A guess need not be a key and need not be good: the caller asks the store
which key comes after it. Keys compare by code point here, which is the byte order of UTF-8, so a
guess between two keys lies between them for the store as well. Surrogates, which no key can hold,
are never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Greater than any character of a key: `x + LAST` is above all keys that begin with x.
LAST: Final = "\U0010ffff"

#: Characters after the first difference that are taken into account.
_DIGITS: Final = 6
_SURROGATES: Final = range(0xD800, 0xE000)
#: The last printable character of ASCII, where no key shows how high characters go.
_TOP: Final = 0x7E


def common(one: str, other: str) -> int:
    """The length of the common prefix of two strings."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    return next(at for at in range(size) if one[at] != other[at])


def midpoint_key(low: str, high: str, seen: Sequence[str]) -> str | None:
    """About the midpoint of the keys between two keys, both exclusive; None where nothing lies between.

    The characters after the first difference count as digits of a number whose base is the span of the
    characters that `seen` keys have at that position, so that decimal names are halved as decimals.
    """
    start = common(low, high)
    keys = (low, high, *seen)
    spans = []
    for at in range(start, start + _DIGITS):
        here = [ord(key[at]) for key in keys if len(key) > at]
        spans.append((min(here), max(here) - min(here) + 2) if here else (_TOP, 2))
    middle = (_number(low, start, spans) + _number(high, start, spans)) // 2
    guess = low[:start] + _text(middle, spans)
    if low < guess < high:
        return guess
    guess = low + " "  # just above `low`
    return guess if guess < high else None


def beyond(low: str, first: str, ceiling: str, seen: Sequence[str]) -> str | None:
    """A guess above `low` where no key is known to lie above, only that none reaches `ceiling`.

    `first` is the first key of the range, `ceiling` some prefix of `low` and LAST. The common prefix of
    `first` and `low` shows which of their characters count up; the characters before it are bisected.
    """
    shared = len(ceiling) - 1
    alike = common(first, low)
    if alike > shared + 1:
        return low[: (shared + alike + 1) // 2] + LAST
    if len(low) <= shared:
        return None
    own = ord(low[shared])
    highest = max((ord(key[shared]) for key in seen if len(key) > shared), default=own)
    if highest <= own:
        highest = _TOP
    if highest <= own:
        return low[: shared + 1] + LAST
    return midpoint_key(low, low[:shared] + _character(highest + 1), seen)


def _number(key: str, start: int, spans: Sequence[tuple[int, int]]) -> int:
    number = 0
    for place, (lowest, base) in enumerate(spans):
        at = start + place
        digit = ord(key[at]) - lowest + 1 if len(key) > at else 0  # 0: the key has ended
        number = number * base + digit
    return number


def _text(number: int, spans: Sequence[tuple[int, int]]) -> str:
    digits = []
    for lowest, base in reversed(spans):
        number, digit = divmod(number, base)
        digits.append((lowest, digit))
    text = ""
    for lowest, digit in reversed(digits):
        if not digit:
            break
        text += _character(lowest + digit - 1)
    return text


def _character(code: int) -> str:
    return chr(_SURROGATES.start - 1 if code in _SURROGATES else min(code, ord(LAST)))
