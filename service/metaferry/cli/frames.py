"""One frame count as a line: for people, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from metaferry.cli.text import safe

if TYPE_CHECKING:
    from metaferry.media.frames.model import FrameCount

FRAME_TITLES: Final = Text("   frames  digits  video", style="bold")


def frame_json(found: FrameCount) -> dict[str, Any]:
    """What a line of JSON holds; `reason` says why `frames` is null, and is "" otherwise."""
    return {
        "path": found.path,
        "frames": found.frames,
        "digits": found.digits,
        "basis": found.basis,
        "flags": list(found.flags),
        "requests": found.requests,
        "bytes": found.bytes,
        "reason": found.reason,
    }


def frame_line(found: FrameCount) -> Text:
    """Numbers first, aligned without knowing what comes later; the name and what is odd about it last."""
    frames = "?" if found.frames is None else f"{found.frames:,}"
    digits = "" if found.digits is None else str(found.digits)
    line = Text(f"{frames:>9}  {digits:>6}  {safe(found.path)}")
    if found.reason:
        line.append(f"  {safe(found.reason)}", style="red")
    if found.flags:
        line.append(f"  [{', '.join(found.flags)}]", style="yellow")
    return line
