"""What many long videos at once hold in memory: they take turns, and none waits for ever."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from pathlib import Path

from metaferry.media.frames.containers.reading import HEAD
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.ranges import LARGE_INDEX, LONG_INDEX, PARALLEL_LONG, Ranges, Reads
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic
from unit.media.frames.test_frame_index import padded


def free(reads: Reads) -> list[int]:
    """How many turns of each kind nobody has."""

    def slots(turn: threading.BoundedSemaphore) -> int:
        taken = 0
        while turn.acquire(blocking=False):
            taken += 1
        for _ in range(taken):
            turn.release()
        return taken

    return [slots(turn) for _, turn in reads.turns]


def with_moov_of(size: int) -> bytes:
    """A video of 30 frames whose index, at its end, has `size` bytes."""
    data = padded(synthetic.video(30, codec="libx264"))
    at = data.index(b"moov") - 4
    (old,) = struct.unpack(">I", data[at : at + 4])
    more = struct.pack(">I4s", size - old, b"udta") + bytes(size - old - 8)
    return data[:at] + struct.pack(">I", size) + data[at + 4 : at + old] + more + data[at + old :]


def test_a_long_index_takes_its_turn_and_gives_it_back(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    size = LARGE_INDEX + (1 << 20)
    (tmp_path / "a.mp4").write_bytes(bytes(size))
    reads = Reads(folder, portal)
    with contextlib.ExitStack() as held:
        ranges = Ranges(reads, "a.mp4", size, None, time.monotonic() + 60, held)
        ranges.fetch([(0, HEAD)])
        assert free(reads) == [PARALLEL_LONG, 1]
        ranges.fetch([(HEAD, LONG_INDEX + 1)])
        assert free(reads) == [PARALLEL_LONG - 1, 1]
        ranges.fetch([(LONG_INDEX + 1, LARGE_INDEX), (LARGE_INDEX, size)])
        assert free(reads) == [PARALLEL_LONG - 1, 0]
        ranges.begin_again()
        assert free(reads) == [PARALLEL_LONG, 1]


def test_many_long_videos_at_once_are_all_counted(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    """Indices of every length, more of them than there are turns."""
    videos = []
    for number in range(40):
        data = with_moov_of([4_000, LONG_INDEX + 1000, LARGE_INDEX + 1000][number % 3])
        (tmp_path / f"{number}.mp4").write_bytes(data)
        videos.append((f"{number}.mp4", len(data), ""))
    found = list(count_frames(folder, portal, videos, workers=1, deadline=120))
    assert {(count.frames, count.basis, count.reason) for count in found} == {(30, "index", "")}
    assert len(found) == 40
