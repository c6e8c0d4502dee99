"""One frame count as a line: for people, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from metaferry.cli.show.text import safe

if TYPE_CHECKING:
    from metaferry.media.frames.model import FrameCount

FRAME_TITLES: Final = Text("   frames  digits  video", style="bold")


def frame_json(found: FrameCount, *, explain: bool = False, times: bool = False) -> dict[str, Any]:
    """The JSON line of a video; `reason` says why `frames` is null, and is "" otherwise.

    explain, times: adds `explain`, a list of lines, and `timestamps`, seconds or null, with
    `no_timestamps`, why they are null.
    """
    line: dict[str, Any] = {
        "path": found.path,
        "frames": found.frames,
        "digits": found.digits,
        "basis": found.basis,
        "flags": list(found.flags),
        "requests": found.requests,
        "bytes": found.bytes,
        "reason": found.reason,
    }
    if explain:
        line["explain"] = list(found.explain)
    if times:
        line["timestamps"] = None if found.times is None else [float(time) for time in found.times]
        line["no_timestamps"] = found.untimed
    return line


def frame_details(found: FrameCount, *, explain: bool, times: bool) -> list[Text]:
    """The lines below a video: how it was counted, and the times of its frames."""
    lines = [f"{'':18}{safe(line)}" for line in found.explain] if explain else []
    if times and found.times is None:
        lines.append(f"{'':18}no timestamps: {found.untimed}")
    elif times and found.times is not None:
        lines.extend(f"{'':18}{index}  {float(time):.6f} s" for index, time in enumerate(found.times))
    return [Text(line, style="dim") for line in lines]


def frame_line(found: FrameCount) -> Text:
    """Numbers in fixed columns, since later lines are not known yet; then name, reason and flags."""
    frames = "?" if found.frames is None else f"{found.frames:,}"
    digits = "" if found.digits is None else str(found.digits)
    line = Text(f"{frames:>9}  {digits:>6}  {safe(found.path)}")
    if found.reason:
        line.append(f"  {safe(found.reason)}", style="red")
    if found.flags:
        line.append(f"  [{', '.join(found.flags)}]", style="yellow")
    return line
