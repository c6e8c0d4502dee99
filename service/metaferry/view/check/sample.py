"""Which documents are read where not all are, and what those that were read say about the others.

A document is chosen by the hash of a seed and its key, so the choice is the same on every machine. Each
folder is looked into, with at most as many again, or 1,000: faults come by folder. Pure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from metaferry.errors import UsageError
from metaferry.planning.sql.rules import quote_text

#: How sure the bound is.
CONFIDENCE: Final = 0.95
#: Documents that are read in a folder in any case.
FLOOR: Final = 3
#: Values of the hash: 60 bits of an MD5.
_HASHES: Final = 1 << 60
_ADVICE: Final = "write a share (1%), a part (3/7) or a number of documents (10000)"


@dataclass(frozen=True, slots=True)
class Sample:
    """What to read: `part` of `parts` equal parts (from 1), a `share` from 0 to 1, or `number` documents."""

    share: float | None = None
    part: int | None = None
    parts: int | None = None
    number: int | None = None
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Sample:
        """Raises UsageError for what is none."""
        given = text.strip()
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", given):
            share = float(match[1]) / 100
            if 0 < share <= 1:
                return cls(share=share, seed=seed)
        elif match := re.fullmatch(r"(\d+)/(\d+)", given):
            part, parts = int(match[1]), int(match[2])
            if 1 <= part <= parts:
                return cls(part=part, parts=parts, seed=seed)
        elif (match := re.fullmatch(r"\d[\d_,]*", given)) and (number := int(re.sub("[_,]", "", given))):
            return cls(number=number, seed=seed)
        raise UsageError(f"{text!r} is no sample", advice=_ADVICE)

    def hash_sql(self, target: str) -> str:
        """SQL of the hash of a key: a number below 2^60."""
        return f"('0x' || left(md5({quote_text(f'{self.seed}:')} || {target}), 15))::BIGINT"

    def chosen_sql(self, hashed: str, rank: str) -> str:
        """SQL of whether a document is in the sample; `rank` is its place by hash, from 1."""
        if self.number is not None:
            return f"{rank} <= {self.number}"
        if self.share is not None:
            return f"{hashed} < {int(self.share * _HASHES)}"
        return f"{hashed} % {self.parts} = {(self.part or 1) - 1}"


def at_most(total: int, read: int, found: int) -> int:
    """How many of `total` have a fault, at most, where `found` of `read` drawn from them have it.

    The one-sided exact limit at `CONFIDENCE` for drawing without return (hypergeometric), which for a large
    total is that of Clopper and Pearson.
    """
    if read >= total:
        return found
    low, high = found, total - (read - found)  # the last number that is likely enough lies in between
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most_found(total, middle, read, found) >= 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


def in_words(total: int, read: int, found: int) -> str:
    """The sentence for people: "0 of 3,000 read are invalid: with 95 % confidence at most 0.1 % …"."""
    said = f"{found:,} of {read:,} read {'is' if found == 1 else 'are'} invalid"
    if read >= total:
        return said
    limit = at_most(total, read, found)
    return (
        f"{said}: with {CONFIDENCE:.0%}".replace("%", " %")
        + f" confidence at most {percent(limit / total)} (about {limit:,} of {total:,}) are"
    )


def percent(share: float) -> str:
    """A share as `0.1 %`: two digits that count, rounded up, since it is a limit."""
    if share <= 0:
        return "0 %"
    value = share * 100
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    rounded = min(math.ceil(value / unit - 1e-9) * unit, 100)
    return f"{rounded:.12f}".rstrip("0").rstrip(".") + " %"


def _at_most_found(total: int, faulty: int, read: int, found: int) -> float:
    """The chance that of `read` drawn from `total`, `faulty` of them faulty, at most `found` are faulty."""
    most, least = min(found, faulty, read), max(0, read - (total - faulty))
    if most >= math.ceil(read * faulty / total):  # the median and beyond: half or more, which is likely
        return 1.0
    chance = math.exp(
        _log_ways(faulty, most) + _log_ways(total - faulty, read - most) - _log_ways(total, read)
    )
    whole = 0.0
    # From the likeliest number down, each by the one before, until the rest is too little to count.
    for k in range(most, least - 1, -1):
        whole += chance
        if chance <= whole * 1e-16:
            break
        chance *= k / (faulty - k + 1) * ((total - faulty - read + k) / (read - k + 1))
    return whole


def _log_ways(of: int, number: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)
