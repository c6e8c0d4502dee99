"""Whether a selection config can be met by what was counted. Pure: nothing is read, nothing is forecast.

Said is what follows from the metadata alone. Thresholds come first, and all other strategies are judged among
the samples that pass them. Sources of the rules: docs/select.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from metaferry.lightly.schema import Entry, ValueType
from metaferry.tables.binding import nearest
from metaferry.view.selection.balance import Balance, judge_balance
from metaferry.view.selection.config import Config, Strategy
from metaferry.view.selection.facts import NUMERIC, Facts, KeyFacts
from metaferry.view.selection.result import Judged, Selection, Verdict

#: Computed by the consumer from the images themselves.
_COMPUTED: Final = "lightly."
_NAMED: Final = frozenset({ValueType.CATEGORICAL_INT, ValueType.CATEGORICAL_STRING})
#: Keys that a message names.
_KEYS: Final = 20


def judge(config: Config, entries: Sequence[Entry], facts: Facts, *, url: str = "") -> Selection:
    """The verdict on each strategy, and on the whole: not feasible where one of them is not."""
    wanted = _wanted(config, facts)
    judged = [
        _judge_one(config, number, strategy, entries, facts, wanted)
        for number, strategy in enumerate(config.strategies)
    ]
    reasons = [
        f"strategies[{each.number}]: {reason}"
        for each in judged
        if each.verdict is Verdict.NOT_FEASIBLE
        for reason in each.reasons
    ]
    other = any(s.type == "THRESHOLD" and s.input != "METADATA" for s in config.strategies)
    if wanted is not None and wanted > facts.passing and not facts.uncounted:
        thresholds = any(each.passing is not None for each in judged)
        most = "at most " if other else ""
        which = f"{most}{_samples(facts.passing)} pass{'es' * (facts.passing == 1)} all thresholds"
        there = which if thresholds else f"there {_are(facts.passing)}"
        reasons.insert(0, f"{_number(wanted)} samples are asked for, and {there}")
    verdict = Verdict.FEASIBLE
    if reasons:
        verdict = Verdict.NOT_FEASIBLE
    elif all(each.verdict is Verdict.NOT_JUDGED for each in judged):
        verdict = Verdict.NOT_JUDGED
    elif any(each.verdict is Verdict.NOT_KNOWN for each in judged):
        verdict = Verdict.NOT_KNOWN
    return Selection(
        url,
        facts.samples,
        facts.passing,
        None if wanted is None else float(wanted),
        verdict,
        tuple(reasons),
        tuple(_notes(config, facts, judged, other=other)),
        tuple(judged),
        tuple(entry.path for entry in entries),
    )


def _wanted(config: Config, facts: Facts) -> Fraction | None:
    if config.proportion is not None:
        return Fraction(str(config.proportion)) * facts.samples
    return None if config.n_samples in (None, -1) else Fraction(config.n_samples)


def _notes(config: Config, facts: Facts, judged: Sequence[Judged], *, other: bool) -> list[str]:
    notes = []
    if facts.invalid:
        documents = "document is" if facts.invalid == 1 else "documents are"
        notes.append(f"{facts.invalid:,} {documents} invalid, over which the consumer stops: metaferry check")
    if facts.uncounted:
        videos = "video is" if facts.uncounted == 1 else "videos are"
        notes.append(
            f"the number of frames of {facts.uncounted:,} {videos} not known: there are more samples than "
            "are counted here"
        )
    if other:
        notes.append("thresholds on other inputs than METADATA are not judged: fewer samples may pass")
    if config.n_samples is None and config.proportion is None:
        notes.append("neither n_samples nor proportion_samples is given: no number is judged")
    elif config.n_samples == -1:
        notes.append("n_samples is -1, which leaves the number to the strategies: no number is judged")
    goals = [each for each in config.strategies if each.type != "THRESHOLD"]
    if len(goals) > 1 and not any(each.verdict is Verdict.NOT_FEASIBLE for each in judged):
        notes.append("each strategy is judged by itself: whether all can be met together is not judged")
    return notes


def _judge_one(
    config: Config,
    number: int,
    strategy: Strategy,
    entries: Sequence[Entry],
    facts: Facts,
    wanted: Fraction | None,
) -> Judged:
    def judged(verdict: Verdict, *reasons: str) -> Judged:
        return Judged(number, strategy.input, strategy.type, strategy.key, verdict, reasons)

    if strategy.input != "METADATA":
        return judged(Verdict.NOT_JUDGED, f"{strategy.input} are not metadata")
    by_path = {entry.path: entry for entry in entries}
    entry = by_path.get(strategy.key)
    if entry is None:
        if strategy.key.startswith(_COMPUTED):
            return judged(Verdict.NOT_JUDGED, f"{strategy.key} is computed by the consumer")
        if config.path_regex and strategy.type == "BALANCE":
            why = f"{strategy.key} is no schema entry; lightly_path_regex may take it out of file names"
            return judged(Verdict.NOT_KNOWN, why)
        return judged(Verdict.NOT_FEASIBLE, _no_entry(strategy.key, entries))
    if strategy.type not in ("THRESHOLD", "WEIGHTS", "BALANCE"):
        return judged(Verdict.NOT_KNOWN, f"whether {strategy.type} takes metadata is not known")
    kind = entry.type
    if strategy.type != "BALANCE" and kind not in NUMERIC:
        why = f"{strategy.type} needs a number (NUMERIC_INT, NUMERIC_FLOAT), and {entry.path} is {kind}"
        return judged(Verdict.NOT_FEASIBLE, why)
    if strategy.type == "BALANCE" and kind not in _NAMED:
        why = f"BALANCE needs CATEGORICAL_INT or CATEGORICAL_STRING, and {entry.path} is {kind}"
        if kind in NUMERIC:
            return judged(Verdict.NOT_FEASIBLE, why)
        return judged(Verdict.NOT_KNOWN, f"whether BALANCE takes {kind} is not known")
    found = facts.keys[number]
    if strategy.type == "THRESHOLD":
        one = _threshold(number, strategy, found, facts)
    elif strategy.type == "WEIGHTS":
        alone = all(each is strategy or each.type == "THRESHOLD" for each in config.strategies)
        one = _weights(number, strategy, found, facts, wanted, alone=alone)
    else:
        thresholds = facts.passing < facts.samples
        balance = Balance(found, facts.samples, facts.passing, wanted, thresholds, bool(facts.uncounted))
        one = judge_balance(number, strategy, balance)
    return _with_default(one, entry, found, facts)


def _no_entry(key: str, entries: Sequence[Entry]) -> str:
    """That no entry has this path, with what may be meant."""
    named = next((entry for entry in entries if entry.name == key), None)
    if named is not None:
        return f"{key!r} is the name of an entry; a key is its path: {named.path}"
    paths = [entry.path for entry in entries]
    near = nearest(key, paths)
    if near:
        return f"there is no schema entry with the path {key!r}; did you mean {' or '.join(near)}?"
    shown = ", ".join(paths[:_KEYS]) + (f" … and {len(paths) - _KEYS} more" if len(paths) > _KEYS else "")
    return f"there is no schema entry with the path {key!r}; there are: {shown or 'none'}"


def _threshold(number: int, strategy: Strategy, found: KeyFacts, facts: Facts) -> Judged:
    passing = found.passing or 0
    reasons = ["no sample passes this threshold"] if not passing else []
    if passing and not facts.passing:
        reasons = ["no sample passes all thresholds"]
    verdict = Verdict.FEASIBLE
    if reasons:
        verdict = Verdict.NOT_KNOWN if facts.uncounted else Verdict.NOT_FEASIBLE
    return Judged(
        number, strategy.input, strategy.type, strategy.key, verdict, tuple(reasons), passing=passing
    )


def _weights(
    number: int, strategy: Strategy, found: KeyFacts, facts: Facts, wanted: Fraction | None, *, alone: bool
) -> Judged:
    reasons, notes = list[str](), list[str]()
    verdict, top = Verdict.FEASIBLE, found.top
    ranged = strategy.min_sum is not None or strategy.max_sum is not None
    if top is not None and found.least_sum is not None and top.samples == wanted and not facts.uncounted:
        samples = f"{top.samples:,} samples"
        if strategy.min_sum is not None and top.sum < strategy.min_sum:
            reasons.append(
                f"the {top.samples:,} highest weights sum to {top.sum:g}, and min_sum is {strategy.min_sum:g}"
            )
        if strategy.max_sum is not None and found.least_sum > strategy.max_sum:
            reasons.append(
                f"the {top.samples:,} least weights sum to {found.least_sum:g}, and max_sum is "
                f"{strategy.max_sum:g}"
            )
        if strategy.max_total is not None and found.least_sum > strategy.max_total:
            notes.append(f"stopping_condition_max_sum may end the selection before {samples}")
        if reasons:
            verdict = Verdict.NOT_FEASIBLE
    elif ranged:
        verdict = Verdict.NOT_KNOWN
        reasons.append("whether the sum can be met is not known without the number of samples")
    if not alone:
        notes.append("with other strategies beside it, the highest weights need not be what is taken")
    exact = alone and strategy.strength > 0 and (found.least is None or found.least >= 0) and not ranged
    if alone and strategy.strength <= 0:
        notes.append(f"strength is {strategy.strength:g}: what that prefers is not known")
    elif alone and not exact and not ranged:
        notes.append("there are weights below 0: what they do is not known")
    return Judged(
        number,
        strategy.input,
        strategy.type,
        strategy.key,
        verdict,
        tuple(reasons),
        tuple(notes),
        weights=top if exact and not facts.uncounted else None,
    )


def _with_default(judged: Judged, entry: Entry, found: KeyFacts, facts: Facts) -> Judged:
    from dataclasses import replace

    notes = judged.notes
    if found.default * 2 > facts.samples:
        notes = (
            *notes,
            f"{found.default:,} of {_samples(facts.samples)} show the default {entry.default!r}: they have "
            "no value of their own, or the same one",
        )
    return replace(judged, default=found.default, notes=notes)


def _number(value: Fraction) -> str:
    return f"{int(value):,}" if value.denominator == 1 else f"about {float(value):,.1f}"


def _samples(number: int) -> str:
    return "1 sample" if number == 1 else f"{number:,} samples"


def _are(number: int) -> str:
    return "is 1" if number == 1 else f"are {number:,}"
