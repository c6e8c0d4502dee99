"""What a frame count costs: files a second, requests and bytes, against reading more of the file.

    python -m benchmarks.frames [FOLDER] [--json PATH]

FOLDER (default: METAFERRY_VIDEOS, else `../shared/videos` beside the repository) holds videos and
a `truth.csv` with the number of frames that decode. Prints a table by container: how many of the
clean files (no decode error, at least one frame) are answered, by their index and at all, how
many of the answers are exact, and requests and bytes against the whole files and against PyAV over
read-ahead blocks of 5 MiB, and how often `ffprobe -count_packets` is exact. Then files a second
against `ffprobe -count_packets` (where there is one), and the cost of a video of 300 MB, made by
looping a clip without encoding it again, against PyAV over read-ahead blocks of 5 MiB.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import av

from benchmarks import record
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount, Level
from metaferry.media.frames.worker.decode import FORMATS
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal

BLOCK = 5 << 20
LARGE = 300_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    default = os.environ.get("METAFERRY_VIDEOS", Path(__file__).parents[3] / "shared/videos")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--looped", type=int, default=LARGE, help="bytes of the long video")
    asked, found = record.begin(parser, looped=LARGE // 100)
    folder: Path = asked.folder
    if not (folder / "truth.csv").is_file():
        print(f"no truth.csv in {folder}: name a folder of videos")
        return 0
    with (folder / "truth.csv").open(newline="") as file:
        truth = {row["file"]: row for row in csv.DictReader(file)}
    clean = [name for name, row in truth.items() if is_clean(row)]
    containers, wrong = by_container(folder, some_of_each(truth) if asked.tiny else truth)
    rates = speed(folder, [name for name in clean if truth[name]["container"][:3] == "mov"])
    looped = large(folder, [name for name in clean if name.endswith(".mp4")], asked.looped)
    found.write({"containers": containers, "wrong": wrong, "files_per_second": rates, "looped": looped})
    return 1 if wrong else 0


def some_of_each(truth: dict[str, dict[str, str]], number: int = 3) -> dict[str, dict[str, str]]:
    """A few files of each container, the largest."""
    by_size = sorted(truth.items(), key=lambda each: -int(each[1]["size"]))
    seen: dict[str, int] = defaultdict(int)
    kept = {}
    for name, row in by_size:
        seen[row["container"]] += 1
        if seen[row["container"]] <= number:
            kept[name] = row
    return kept


def is_clean(row: dict[str, str]) -> bool:
    return int(row["decoded_frames"] or 0) > 0 and "strict decode raises" not in row["notes"]


def count(folder: Path, names: list[str], level: Level | None) -> dict[str, FrameCount]:
    with Portal() as portal:
        storage = open_storage(str(folder))
        videos = [(name, (folder / name).stat().st_size, "") for name in names]
        found = {c.path: c for c in count_frames(storage, portal, videos, level=level)}
        portal.run(storage.close())
    return found


def by_container(folder: Path, truth: dict[str, dict[str, str]]) -> tuple[dict[str, Any], int]:
    """Prints the table; its figures, and the number of counts that are wrong."""
    figures = {}
    found = count(folder, list(truth), None)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, row in truth.items():
        if is_clean(row):
            groups[row["container"].partition(",")[0]].append(name)
    ahead = {name: read_ahead(folder / name) for names in groups.values() for name in names}
    probed = {name: probe(folder / name) for name in ahead} if shutil.which("ffprobe") else {}
    print(f"{'':67}   PyAV, 5 MiB ahead   ffprobe")
    print(
        "clean files   all  answered  by index  exact  requests      bytes  of the whole"
        "  requests       bytes  exact"
    )
    for container, names in [*sorted(groups.items()), ("all", [n for g in groups.values() for n in g])]:
        counts = [found[name] for name in names]
        answered = [c for c in counts if c.frames is not None]
        exact = sum(str(c.frames) == truth[c.path]["decoded_frames"] for c in answered)
        whole = sum((folder / n).stat().st_size for n in names)
        right = sum(probed.get(n) == truth[n]["decoded_frames"] for n in names) if probed else None
        row = {
            "files": len(names),
            "answered": len(answered),
            "by_index": sum(c.basis == "index" for c in counts),
            "exact": exact,
            "requests": sum(c.requests for c in counts),
            "bytes": sum(c.bytes for c in counts),
            "bytes_of_files": whole,
            "pyav_requests": sum(ahead[n][0] for n in names),
            "pyav_bytes": sum(ahead[n][1] for n in names),
            "ffprobe_exact": right,
        }
        print(
            f"{container:12} {row['files']:4} {row['answered']:9} {row['by_index']:9} {row['exact']:6} "
            f"{row['requests']:9} {row['bytes']:10,} {row['bytes'] / whole:12.1%}  "
            f"{row['pyav_requests']:8} {row['pyav_bytes']:11,} {'-' if right is None else right:>6}"
        )
        figures[container] = row
    given = [c for c in found.values() if c.frames is not None]
    wrong = [c for c in given if str(c.frames) != truth[c.path]["decoded_frames"]]
    digits = [c for c in wrong if len(str(c.frames)) != len(truth[c.path]["decoded_frames"])]
    print(f"all {len(found)} files: {len(given)} answered, {len(wrong)} wrong, {len(digits)} in digits")
    return figures, len(wrong)


def speed(folder: Path, names: list[str]) -> dict[str, float]:
    """Files a second, of ours and where there is one of `ffprobe`."""
    times = max(1, 150 // max(1, len(names)))
    with tempfile.TemporaryDirectory() as copies:
        several = [f"{index}-{name}" for index in range(times) for name in names]
        for name in several:
            shutil.copyfile(folder / name.partition("-")[2], Path(copies, name))
        begin = time.perf_counter()
        count(Path(copies), several, "index")
        ours = len(several) / (time.perf_counter() - begin)
    print(f"index: {ours:.0f} files/s ({len(several)} local MP4 and MOV)")
    if shutil.which("ffprobe") is None:
        print("ffprobe is not installed: not compared")
        return {"index": ours}
    begin = time.perf_counter()
    for name in names:
        probe(folder / name)
    theirs = len(names) / (time.perf_counter() - begin)
    print(f"ffprobe -count_packets: {theirs:.1f} files/s; index is {ours / theirs:.0f} times as fast")
    return {"index": ours, "ffprobe": theirs}


def read_ahead(path: Path) -> tuple[int, int]:
    """(requests, bytes) that PyAV needs over blocks of 5 MiB: its index, or all packets where it has none."""
    file = ReadAhead(path)
    try:
        with av.open(file, options={"format_whitelist": FORMATS}) as container:
            if container.format.name.partition(",")[0] not in ("mov", "avi"):
                for _ in container.demux():
                    pass
    except av.FFmpegError:
        pass  # what it cannot open has cost what was read until then
    return file.requests, file.bytes


def probe(path: Path) -> str:
    """The packets that `ffprobe -count_packets` counts, reading the whole file."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets"]
    command += ["-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip().rstrip(",")


class ReadAhead(io.RawIOBase):
    """A file read in blocks of 5 MiB, as fsspec's read-ahead cache does; counts what it reads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._size = path.stat().st_size
        self._at = self._start = 0
        self._block = b""
        self.requests = self.bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._start <= self._at < self._start + len(self._block):
            self._file.seek(self._at)
            self._start, self._block = self._at, self._file.read(BLOCK)
            self.requests += 1
            self.bytes += len(self._block)
        begin = self._at - self._start
        part = self._block[begin:] if size is None or size < 0 else self._block[begin : begin + size]
        self._at += len(part)
        return part


def large(folder: Path, names: list[str], length: int) -> dict[str, Any] | None:
    """Counts a video of `length` bytes with its index at the end; None where no clip can be repeated."""
    by_size = sorted(names, key=lambda name: -(folder / name).stat().st_size)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "large.mp4")
        clip = next((name for name in by_size if loop(folder / name, path, length)), None)
        if clip is None:
            print("no MP4 here can be repeated: a large video is not counted")
            return None
        size = path.stat().st_size
        begin = time.perf_counter()
        found = count(Path(place), ["large.mp4"], "index")["large.mp4"]
        seconds = time.perf_counter() - begin
        print(
            f"{size / 1e6:.0f} MB made of {clip}: {found.frames} frames {found.reason}, "
            f"{found.requests} requests, {found.bytes:,} bytes ({found.bytes / size:.2%}), "
            f"{seconds * 1000:.0f} ms"
        )
        ahead = ReadAhead(path)
        with av.open(ahead) as container:
            entries = len(container.streams.video[0].index_entries)
        print(
            f"PyAV over blocks of 5 MiB: {entries} entries, {ahead.requests} requests, {ahead.bytes:,} bytes"
        )
    return {
        "size": size,
        "clip": clip,
        "frames": found.frames,
        "seconds": seconds,
        "requests": found.requests,
        "bytes": found.bytes,
        "pyav_requests": ahead.requests,
        "pyav_bytes": ahead.bytes,
    }


def loop(clip: Path, target: Path, size: int) -> bool:
    """Repeats the packets of a clip until the file has that size; False where they cannot be repeated."""
    with av.open(str(clip)) as source:
        stream = source.streams.video[0]
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(stream) if p.size]
        if len(packets) < 2 or not packets[0][3] or any(p[1] is None or p[2] is None for p in packets):
            return False
        average = sum(len(p[0]) for p in packets) / len(packets)
        if average < 2_000:
            return False
        length = max(p[2] for p in packets) - min(p[2] for p in packets) + (packets[1][2] - packets[0][2])
        with av.open(str(target), "w", format="mp4") as sink:
            copy = sink.add_stream_from_template(stream)
            written = turn = 0
            while written < size:
                for data, pts, dts, key in packets:
                    packet = av.Packet(data)
                    packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, key
                    packet.pts, packet.dts = pts + turn * length, dts + turn * length
                    sink.mux(packet)
                    written += len(data)
                turn += 1
    return True


if __name__ == "__main__":
    raise SystemExit(main())
