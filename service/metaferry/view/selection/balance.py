"""Whether a BALANCE can be met: enough samples of every value among those that pass all thresholds. Pure.

At n samples a target of t takes n × t samples of its value. What the targets leave below 1 goes to the other
values, which have to be there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from metaferry.tables.binding import nearest
from metaferry.view.selection.config import Strategy
from metaferry.view.selection.facts import MOST_VALUES, KeyFacts
from metaferry.view.selection.result import Judged, ValueShare, Verdict

#: Values that a message names.
_NAMED: Final = 5
#: What floating point adds to a product; and what rounded targets (three of 0.33) leave to other values.
_EXACT: Final = 1e-12
_ROUNDING: Final = 0.01 + 1e-9


@dataclass(frozen=True, slots=True)
class Balance:
    """What is known: the values of an entry, the samples and those that pass all thresholds, how many are
    asked for. `thresholds`: whether some do not pass. `open`: there are more samples than are counted."""

    found: KeyFacts
    samples: int
    passing: int
    wanted: Fraction | None
    thresholds: bool = False
    open: bool = False


def judge_balance(number: int, strategy: Strategy, known: Balance) -> Judged:
    """The verdict on one BALANCE strategy over an entry of the right type."""

    def judged(
        verdict: Verdict,
        reasons: Iterable[str] = (),
        values: Iterable[ValueShare] = (),
        most: Fraction | None = None,
    ) -> Judged:
        if known.open and verdict is Verdict.NOT_FEASIBLE:
            verdict = Verdict.NOT_KNOWN
        return Judged(
            number,
            strategy.input,
            strategy.type,
            strategy.key,
            verdict,
            tuple(reasons),
            most=None if most is None else float(most),
            values=tuple(values),
        )

    if strategy.strength <= 0:
        why = f"strength is {strategy.strength:g}: what that aims at is not known"
        return judged(Verdict.NOT_KNOWN, [why])
    everything, passing = known.found.values, known.found.passing_values
    if everything is None or passing is None:
        return judged(Verdict.NOT_KNOWN, [f"the entry has more than {MOST_VALUES:,} values"])
    if strategy.distribution == "TARGET":
        targets = {name: Fraction(str(share)) for name, share in strategy.target.items()}
        reasons = _faults(targets, everything)
        shares = _shares(targets, passing, known.wanted)
        # A name that never occurs is a reason of its own.
        lacking = _lacking([each for each in shares if each.name in (None, *everything)], known.wanted)
        most = _most(targets, passing)
        if reasons:
            # Such a target is not feasible however many samples there are.
            verdict = Verdict.NOT_FEASIBLE
            return judged(
                verdict, [*reasons, *(text for text in lacking if text not in reasons)], shares, most
            )
        if lacking:
            return judged(Verdict.NOT_FEASIBLE, [*lacking, *_until(most)], shares, most)
        if known.wanted is None:
            return judged(Verdict.NOT_KNOWN, ["the number of samples is not given"], shares, most)
        return judged(Verdict.FEASIBLE, (), shares, most)
    if known.wanted is None:
        return judged(Verdict.NOT_KNOWN, ["the number of samples is not given"])
    if strategy.distribution == "UNIFORM":
        if not passing:
            return judged(Verdict.NOT_FEASIBLE, ["no sample that passes has a value"])
        if passing.keys() != everything.keys():
            gone = len(everything) - len(passing)
            why = f"{gone:,} of {len(everything):,} values are of no sample that passes all thresholds"
            return judged(Verdict.NOT_KNOWN, [f"{why}: whether UNIFORM counts them is not known"])
        targets = {name: Fraction(1, len(passing)) for name in passing}
    else:
        total = sum(everything.values())
        targets = {name: Fraction(count, total) for name, count in everything.items()}
    shares = _shares(targets, passing, known.wanted, rest=False)
    lacking = _lacking(shares, known.wanted)
    most = _most(targets, passing)
    if lacking and strategy.distribution == "INPUT":
        why = "the input's shares cannot be met among the samples that pass all thresholds"
        return judged(
            Verdict.NOT_KNOWN, [f"{why}; whether INPUT is before or after them is not known"], shares, most
        )
    if lacking:
        return judged(Verdict.NOT_FEASIBLE, [*_some(lacking), *_until(most)], shares, most)
    return judged(Verdict.FEASIBLE, (), shares, most)


def _faults(targets: Mapping[str, Fraction], values: Mapping[str, int]) -> list[str]:
    """What is wrong with the target itself: names that never occur, shares that are more than all."""
    reasons = []
    for name in targets:
        if name not in values:
            near = nearest(name, list(values))
            hint = f"; did you mean {' or '.join(repr(each) for each in near)}?" if near else _there(values)
            reasons.append(f"no sample has the value {name!r}{hint}")
    total = sum(targets.values())
    if total > 1:
        reasons.append(f"the targets sum to {float(total):g}, which is more than 1")
    return reasons


def _there(values: Mapping[str, int]) -> str:
    common = sorted(values, key=lambda name: (-values[name], name))[:_NAMED]
    return f"; the most common are {', '.join(repr(name) for name in common)}" if common else ""


def _shares(
    targets: Mapping[str, Fraction], passing: Mapping[str, int], wanted: Fraction | None, *, rest: bool = True
) -> list[ValueShare]:
    """One for each target, and one for all other values where the targets leave room for them."""
    shares = [_share(name, share, passing.get(name, 0), wanted) for name, share in targets.items()]
    left = 1 - sum(targets.values(), Fraction(0))
    if rest and left > 0:
        others = sum(count for name, count in passing.items() if name not in targets)
        shares.append(_share(None, left, others, wanted))
    return shares


def _share(name: str | None, target: Fraction, available: int, wanted: Fraction | None) -> ValueShare:
    if not wanted:
        return ValueShare(name, float(target), available)
    best = min(Fraction(1), Fraction(available) / wanted)
    return ValueShare(name, float(target), available, float(wanted * target), float(best))


def _lacking(shares: Sequence[ValueShare], wanted: Fraction | None) -> list[str]:
    """Why the values that have too few samples cannot have their shares."""
    return [
        _lack(share, wanted)
        for share in shares
        if share.needed is not None
        and share.needed > share.available * (1 + _EXACT)
        and not (share.name is None and share.target <= _ROUNDING)
    ]


def _lack(share: ValueShare, wanted: Fraction | None) -> str:
    assert share.needed is not None
    assert share.best is not None
    assert wanted is not None
    what = "all other values together" if share.name is None else repr(share.name)
    return (
        f"{what} should have {_percent(share.target)} of {float(wanted):,g} samples, which is "
        f"{share.needed:,g}, and has {share.available:,}: at most {_percent(share.best)}"
    )


def _some(texts: list[str]) -> list[str]:
    more = len(texts) - _NAMED
    return [*texts[:_NAMED], f"and {more:,} more values"] if more > 0 else texts


def _most(targets: Mapping[str, Fraction], passing: Mapping[str, int]) -> Fraction | None:
    """The largest number of samples at which every value has its share."""
    limits = [Fraction(passing.get(name, 0)) / share for name, share in targets.items() if share]
    left = 1 - sum(targets.values(), Fraction(0))
    if left > Fraction(_ROUNDING):
        limits.append(Fraction(sum(n for name, n in passing.items() if name not in targets)) / left)
    return min(limits, default=None)


def _until(most: Fraction | None) -> list[str]:
    return [f"it can be met with {int(most):,} samples at most"] if most is not None and most >= 1 else []


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
