"""What the head of a CVAT file says of the whole: kind of export, video, frames, types of attributes.

From the description of the format at docs.cvat.ai (xml_format), version 1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown

#: Attributes of labels that are remembered.
_MOST_ATTRIBUTES: Final = 100_000
_OF_FRAMES: Final = frozenset({"start_frame", "stop_frame", "mode", "frame_filter"})
_STEP: Final = re.compile(r"\s*step\s*=\s*(\d{1,9})\s*")


@dataclass(slots=True)
class Meta:
    """`kind` is task, job or project, "" before it is known; numbers are None where the file has none."""

    kind: str = ""
    source: str | None = None
    mode: str = ""
    start: int | None = None
    stop: int | None = None
    step: int = 1
    width: int | None = None
    height: int | None = None
    types: dict[tuple[str, str], str] = field(default_factory=dict)
    _label: str = ""
    _attribute: str = ""

    @property
    def frames(self) -> range | None:
        """The frames of a task; None where the file does not tell them.

        A job counts its own from the first of the task, whose number it does not say.
        """
        if self.kind != "task" or self.start is None or self.stop is None or self.stop < self.start:
            return None
        return range(self.start, self.stop + 1, self.step)

    def end(self, path: tuple[str, ...], text: str) -> None:
        """An element below <meta> ends. Raises Bad for a number that is none."""
        match path:
            case (_, _, ("task" | "job" | "project") as kind):
                self.kind = self.kind or kind
            case (_, _, "source") | (_, _, "task" | "job", "source"):
                self.source = text or None
            case (_, _, "task" | "job" as kind, key) if key in _OF_FRAMES:
                self.kind = self.kind or kind
                self._frames(key, text)
            case (_, _, "project", *_):
                self.kind = "project"
                self._labels(path, text)
            case (_, _, _, "original_size", ("width" | "height") as side):
                setattr(self, side, whole(text, side) if text else None)
            case _:
                self._labels(path, text)

    def _frames(self, key: str, text: str) -> None:
        if key == "mode":
            self.mode = text
        elif key == "frame_filter":
            step = _STEP.fullmatch(text)
            if text and (step is None or not int(step[1])):
                raise Bad(f"frame_filter is {shown(text)}, where step=N is expected")
            self.step = int(step[1]) if step is not None else 1
        elif text:
            number = whole(text, key)
            if key == "start_frame":
                self.start = number
            else:
                self.stop = number

    def _labels(self, path: tuple[str, ...], text: str) -> None:
        match path[-3:]:
            case (_, "label", "name"):
                self._label = text
            case (_, "attribute", "name"):
                self._attribute = text
            case (_, "attribute", "input_type") if len(self.types) < _MOST_ATTRIBUTES:
                self.types[self._label, self._attribute] = text

    def typed(self, label: str, name: str, text: str) -> Any:
        """The value of an attribute by its `input_type`: all of them are text in the file."""
        kind = self.types.get((label, name))
        if kind == "checkbox" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "number" and _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        return text


#: As people write numbers; 0003 is one too, where the label says that it is a number.
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(\.\d{0,15})?")


def whole(text: str, key: str) -> int:
    """A number from 0. Raises Bad."""
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise Bad(f"{key} is {shown(text)}, and no whole number from 0")
    return int(text)
