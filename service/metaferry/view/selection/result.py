"""What can be said of a selection: the result of `metaferry select`, and its JSON form. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

#: Version of the JSON form: a field is added with a default, a renamed one gets a new version.
VERSION: Final = 1


class Verdict(StrEnum):
    """`NOT_KNOWN`: the metadata or the documentation does not say. `NOT_JUDGED`: not about metadata."""

    FEASIBLE = "feasible"
    NOT_FEASIBLE = "not feasible"
    NOT_KNOWN = "not known"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class ValueShare:
    """One value of a BALANCE: samples that have it among those that pass all thresholds, and how many it
    takes. `best` is the largest share (0 to 1) that it can have; None where the number of samples is not
    known.

    `name` None: all values that the target does not name, together.
    """

    name: str | None
    target: float
    available: int
    needed: float | None = None
    best: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A sample of the highest weights: its document, its media, the index of its frame (None: an image, or
    a frame without a document of its own), and its weight."""

    target: str
    media: str
    frame: int | None
    weight: float


@dataclass(frozen=True, slots=True)
class TopWeights:
    """The `samples` highest weights: their sum and the least of them. Where `tied` samples have that weight,
    only `tied_in` of them are among these."""

    samples: int
    sum: float
    least: float
    tied: int
    tied_in: int
    first: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """One strategy. `number` counts from 0 as in the config.

    `reasons` say why it is not feasible, or not known; `notes` what else there is to know. `passing`: samples
    that pass this threshold. `default`: samples that show the entry's default. `most`: the largest number of
    samples at which a target can be met exactly; None: any, or not known.
    """

    number: int
    input: str
    type: str
    key: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    passing: int | None = None
    default: int | None = None
    most: float | None = None
    values: tuple[ValueShare, ...] = ()
    weights: TopWeights | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection config can have of a tree.

    `samples` are the units of a selection, images and frames of videos; `passing` those that pass all
    thresholds on metadata; `wanted` how many the config asks for, None where it does not say. The verdict is
    of each strategy by itself: whether several can be met together is not judged.
    """

    url: str
    samples: int
    passing: int
    wanted: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    strategies: tuple[Judged, ...]
    keys: tuple[str, ...]  # the paths of the schema entries
    version: int = VERSION

    @property
    def exit_code(self) -> int:
        """3 where it is not feasible, else 0."""
        return 3 if self.verdict is Verdict.NOT_FEASIBLE else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready."""
        return asdict(self)
