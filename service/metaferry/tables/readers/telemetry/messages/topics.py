"""Which topics are read: those that the job names, or all but those of pictures and points."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

#: Types whose messages are pictures or points, or nothing else that a frame could say.
_LARGE: Final = frozenset(
    {
        "sensor_msgs/Image",
        "sensor_msgs/CompressedImage",
        "sensor_msgs/PointCloud",
        "sensor_msgs/PointCloud2",
        "foxglove_msgs/CompressedVideo",
        "foxglove.CompressedImage",
        "foxglove.CompressedVideo",
        "foxglove.RawImage",
        "foxglove.RawAudio",
        "foxglove.PointCloud",
        "foxglove.VoxelGrid",
        "audio_common_msgs/AudioData",
        "theora_image_transport/Packet",
        "ffmpeg_image_transport_msgs/FFMPEGPacket",
    }
)
#: Topics that a message names.
_MOST_NAMED: Final = 20


class Topics:
    """What the job says of topics, and which of them there are."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.is_named = bool(patterns)
        self._patterns = {
            one: re.compile(".*".join(map(re.escape, one.split("*"))), re.DOTALL) for one in patterns
        }
        self._missing = dict.fromkeys(patterns)
        self._seen: dict[str, None] = {}

    def takes(self, topic: str, kind: str) -> bool:
        """Whether the messages of a topic are read."""
        if len(self._seen) < 10_000:
            self._seen[topic] = None
        if not self._patterns:
            return short_name(kind) not in _LARGE
        matching = [one for one, pattern in self._patterns.items() if pattern.fullmatch(topic)]
        for one in matching:
            self._missing.pop(one, None)
        return bool(matching)

    def fault(self) -> tuple[str, str] | None:
        """The topic that the job names and no file has, and what to do; to be asked at the end."""
        if not self._missing:
            return None
        (missing, *_) = self._missing
        near = difflib.get_close_matches(missing, self._seen, 1, 0.6)
        known = sorted(self._seen)
        listed = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
        advice = f"did you mean {near[0]}?" if near else f"there are {listed}" if known else "there are none"
        return f"there is no topic {missing}", advice


def short_name(kind: str) -> str:
    """`sensor_msgs/msg/Image` as `sensor_msgs/Image`."""
    package, slash, rest = kind.partition("/msg/")
    return f"{package}/{rest}" if slash else kind
