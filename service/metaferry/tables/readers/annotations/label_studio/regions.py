"""Results of one annotation of Label Studio: regions with their labels, and answers. Pure functions.

In a video a region is there from a keyframe that is enabled to the next one; at one that is not it is seen
for the last time. After the last that is enabled it is there to `framesCount`, which the tool computes as
duration times frames a second. As the tool's own player has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import as_json, index, items, number, shown, table, text

#: Frames of all regions of one task, at most.
MOST_FRAMES: Final = 2_000_000
#: Types of results that answer a question, with the key of their value.
_ANSWERS: Final = {
    "choices": "choices",
    "rating": "rating",
    "number": "number",
    "textarea": "text",
    "datetime": "datetime",
    "taxonomy": "taxonomy",
}
#: Keys of a value that draw a region.
_DRAWN: Final = ("x", "points", "rle", "sequence", "ranges", "vertices")
_SIDES: Final = ("x", "y", "width", "height")
Box = tuple[float | None, float | None, float | None, float | None]
_NO_BOX: Final[Box] = (None, None, None, None)


@dataclass(slots=True)
class Region:
    """A region: what it is, and of a video in which frames, from 0. `boxes` are those of keyframes."""

    id: str | None
    control: str | None
    shape: str
    box: Box
    score: float | None
    labels: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    frames: list[range] = field(default_factory=list)
    boxes: dict[int, Box] = field(default_factory=dict)
    is_in_frames: bool = False

    def columns(self) -> dict[str, Any]:
        """The columns of `objects` that are the same in all frames. Answers were looked at before."""
        return {
            "id": self.id,
            "category": self.labels[0] if self.labels else None,
            "labels": self.labels,
            "control": self.control,
            "shape": self.shape,
            **dict(zip(_SIDES, self.box, strict=True)),
            "score": self.score,
            "answers": as_json(self.answers, "answers"),
        }

    def in_frames(self) -> Iterator[tuple[int, Box, bool]]:
        """Each frame, its box, and whether it is a keyframe. Between two of them a box moves in a line."""
        keys = sorted(self.boxes)
        ahead = dict(pairwise(keys))
        seen = -1
        for stretch in self.frames:
            begin = stretch.start
            end = ahead.get(begin)
            for frame in stretch:
                if frame <= seen:
                    continue
                seen = frame
                box = self.boxes.get(frame)
                if box is None:
                    box = _moved(self.boxes, begin, end, frame)
                yield frame, box, frame in self.boxes


def _moved(boxes: Mapping[int, Box], begin: int, end: int | None, frame: int) -> Box:
    first = boxes.get(begin, _NO_BOX)
    last = first if end is None else boxes[end]
    share = 0.0 if end is None else (frame - begin) / (end - begin)
    x, y, width, height = (
        None if a is None or b is None else a + (b - a) * share for a, b in zip(first, last, strict=True)
    )
    return x, y, width, height


def answers_and_regions(results: Sequence[Any]) -> tuple[dict[str, Any], list[Region]]:
    """The answers that are about the whole, by name, and the regions. Raises Bad."""
    regions: dict[str, Region] = {}
    answers: list[tuple[str, str, Any]] = []
    for at, result in enumerate(results):
        key = f"result[{at}]"
        if not isinstance(result, dict):
            raise Bad(f"{key} is {shown(result)}, and no object", "result")
        kind = text(result.get("type"), f"{key}.type") or ""
        value = table(result.get("value"), f"{key}.value")
        own = text(result.get("id"), f"{key}.id") or f"#{at}"
        if kind in _ANSWERS:
            name = text(result.get("from_name"), f"{key}.from_name") or kind
            answers.append((own, name, _answer(kind, value, key)))
        elif any(drawn in value for drawn in _DRAWN):
            region = regions.setdefault(own, _region(own, kind, result, value, key))
            region.labels += [one for one in _labels(kind, value, key) if one not in region.labels]
            _add_frames(region, value, key)
    of_all: dict[str, Any] = {}
    for own, name, answer in answers:
        target = regions[own].answers if own in regions else of_all
        target[name] = answer
    if sum(len(stretch) for region in regions.values() for stretch in region.frames) > MOST_FRAMES:
        raise Bad(f"its regions are in more than {MOST_FRAMES:,} frames")
    for region in regions.values():
        as_json(region.answers, "answers")
    return of_all, list(regions.values())


def _region(own: str, kind: str, result: Mapping[str, Any], value: Mapping[str, Any], key: str) -> Region:
    box = _box(value, f"{key}.value") if "width" in value and "x" in value else _NO_BOX
    return Region(
        None if own.startswith("#") else own,
        text(result.get("from_name"), f"{key}.from_name"),
        kind,
        box,
        number(result.get("score"), f"{key}.score"),
    )


def _box(value: Mapping[str, Any], key: str) -> Box:
    x, y, width, height = (number(value.get(side), f"{key}.{side}") for side in _SIDES)
    return x, y, width, height


def _labels(kind: str, value: Mapping[str, Any], key: str) -> list[str]:
    """The labels of a region, under the key of its type or under `labels`."""
    found = value.get(kind) if kind in value else value.get("labels")
    names = (text(one, f"{key}.value.{kind}") for one in items(found, f"{key}.value.{kind}"))
    return [name for name in names if name is not None]


def _answer(kind: str, value: Mapping[str, Any], key: str) -> Any:
    found = value.get(_ANSWERS[kind])
    if kind == "taxonomy":
        found = ["/".join(map(str, items(path, key))) for path in items(found, key)]
    if isinstance(found, list) and len(found) == 1:
        return found[0]
    return found


def _add_frames(region: Region, value: Mapping[str, Any], key: str) -> None:
    """The frames of a rectangle's keyframes, or of stretches of time with a label."""
    if "ranges" in value:
        region.is_in_frames = True
        for at, one in enumerate(items(value["ranges"], f"{key}.value.ranges")):
            where = f"{key}.value.ranges[{at}]"
            stretch = table(one, where)
            first, last = (_frame(stretch, side, where) for side in ("start", "end"))
            region.frames.append(range(first, last + 1))
        region.frames.sort(key=lambda stretch: stretch.start)
    if "sequence" in value:
        region.is_in_frames = True
        keyframes: dict[int, bool] = {}
        for at, one in enumerate(items(value["sequence"], f"{key}.value.sequence")):
            where = f"{key}.value.sequence[{at}]"
            keyframe = table(one, where)
            frame = _frame(keyframe, "frame", where)
            keyframes[frame] = keyframe.get("enabled") is not False
            region.boxes[frame] = _box(keyframe, where)
        count = index(value.get("framesCount"), f"{key}.value.framesCount") or 0
        ordered = sorted(keyframes)
        for at, frame in enumerate(ordered):
            following = ordered[at + 1] if at + 1 < len(ordered) else count
            stop = following if keyframes[frame] else frame + 1
            region.frames.append(range(frame, max(stop, frame + 1)))


def _frame(value: Mapping[str, Any], side: str, key: str) -> int:
    found = index(value.get(side), f"{key}.{side}", 1)
    if found is None:
        raise Bad(f"{key} has no {side}", side)
    return found
