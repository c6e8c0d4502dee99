"""The facts of real videos: cameras whose values are known, and a hundred files beside FFmpeg.

The files are not part of the project: METAFERRY_SAMPLES and METAFERRY_VIDEOS name their folders (default:
`shared/samples` and `shared/videos` beside the repository). Nothing of them is copied.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from metaferry.media.facts.model import Found, Unreadable
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.reader import VIDEOS
from metaferry.media.frames import index
from metaferry.media.frames.containers.reading import NoProof
from unit.media.facts.video_files import Reads, facts_of

ROOT = Path(__file__).parents[5] / "shared"
SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", ROOT / "samples"))
CORPUS = Path(os.environ.get("METAFERRY_VIDEOS", ROOT / "videos"))
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")

UTC = datetime.UTC


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


@needs_samples
def test_a_phone_says_where_it_was() -> None:
    assert facts_of(sample("video-facts/with-gps.mp4")) == VideoFacts(
        container="mp4",
        codec="h264",
        codec_mark="avc1",
        width=1920,
        height=1080,
        shown_width=1920,
        shown_height=1080,
        rotation=0,
        mirrored=False,
        frames=3,
        several_streams=False,
        fps=Fraction(45_000, 1499),
        vfr=False,
        duration=Fraction(1499, 15_000),
        creation_time=datetime.datetime(2017, 2, 22, 8, 20, 28, tzinfo=UTC),
        latitude=51.4169,
        longitude=-0.0806,
    )


@needs_samples
def test_a_dashcam_says_a_date_of_years_before_its_file_name() -> None:
    """And that date in every file: a creation time is reported, and not trusted."""
    found = facts_of(sample("dashcam/NO20191130-120156-000121.MP4"))
    assert found.creation_time == datetime.datetime(2014, 11, 14, 7, 34, 24, tzinfo=UTC)
    assert (found.width, found.height, found.codec) == (48, 144, "h264")


@needs_samples
@pytest.mark.parametrize(
    "name", ["EV20191130-121156-000131", "NO20191130-120256-000122", "PA20191130-121756-000137"]
)
def test_dashcam_files_whose_index_is_broken_are_refused(name: str) -> None:
    with pytest.raises(NoProof, match="the file is cut or damaged"):
        facts_of(sample(f"dashcam/{name}.MP4"))


@needs_samples
def test_a_camera_in_an_avi_has_a_clock_without_a_zone() -> None:
    data = sample("video-facts/RIFF.avi")
    found = index.run(VIDEOS.read(len(data)), Reads(data))
    assert found == Found(
        {
            "format": "avi",
            "codec": "mjpeg",
            "codec_mark": "MJPG",
            "width": 320,
            "height": 240,
            "shown_width": 320,
            "shown_height": 240,
            "rotation": 0,
            "mirrored": False,
            "taken": "2003-03-10T15:04:43",
        },
        ("the file ends before its header says: it is cut",),
    )


@needs_samples
def test_a_matroska_file_that_is_cut_keeps_what_its_headers_say() -> None:
    found = facts_of(sample("video-facts/Matroska.mkv"))
    assert (found.codec, found.width, found.height, found.duration) == ("h264", 704, 576, None)


@needs_samples
def test_a_quicktime_film_keeps_the_date_of_its_header() -> None:
    found = facts_of(sample("video-facts/QuickTime.mov"))
    assert found.creation_time == datetime.datetime(2005, 8, 11, 14, 3, 54, tzinfo=UTC)
    assert (found.codec, found.width, found.height, found.rotation) == ("mjpeg", 320, 240, 0)


#: Where a fact of the corpus is another than FFmpeg's, and why: what we say, what it says.
DIFFERENT: dict[str, dict[str, tuple[Any, Any]]] = {
    # The duration that is left out, since the index does not prove it and the header of the part in
    # moov is that of its first frames alone; FFmpeg adds the fragments up.
    "10445573a46e.mp4": {"duration": (None, 33.333)},
    "311ca6a338ad.mp4": {"duration": (None, 33.333)},
    # Cut: FFmpeg says what the header says of the whole.
    "11230a2f0e73.mp4": {"duration": (None, 33.333)},
    "144e7a94c4de.mp4": {"duration": (None, 19.2)},
    "1f5077e29b8e.mp4": {"duration": (None, 41.64)},
    "22fbfdcd391e.webm": {"duration": (None, 60.0)},
    "2c6f901814e4.webm": {"duration": (None, 10.0)},
    # One segment of a longer video, whose header has the duration of all.
    "147616953d2b.mp4": {"duration": (19_063.542, 49.958)},
    # Not proved: the edit list, which FFmpeg shortens to what decodes.
    "275c1b5b4251.mp4": {"duration": (33.034, 33.0)},
    "65636b0523df.mp4": {"duration": (34.933, None)},
    # From the first frame to the end of the last one: FFmpeg takes the end of the last decode time, counts
    # an empty edit of ten seconds in front, or takes the edit list, which ends within a frame.
    "2f3c2f6f6d6a.mp4": {"duration": (2.035, 2.002)},
    "3dac5c38ff40.mp4": {"duration": (7.26, 7.227)},
    "3839257a48de.mp4": {"duration": (7.591, 17.591)},
    "50718586a5a1.mov": {"duration": (0.083, 0.099)},
    # No size in the description of the samples; FFmpeg decodes them for it.
    "54e5f8e837a5.mp4": {"width": (None, 640), "height": (None, 480)},
}

#: Files that FFmpeg opens and that have no facts, and the other way round.
NO_FACTS = {
    "3c94b9a6bbfa.mp4": "no container whose headers are known",  # a JPEG
}
NO_FFMPEG = {"09897b1f09ce.webm"}  # a cut file: its headers are there, and no frame
STREAMS = {
    "1eff9a36ef0e.m4v": "mpeg",
    "21136378cc85.mpg": "mpeg",
    "31e9291b5218.hevc": "hevc",
    "3925f8f12c63.mp4": "mpeg",
    "4b5fc9944136.mpg": "mpeg",
    "592653a4a5b6.mpg": "mpeg",
}


def of_ffmpeg(path: Path) -> dict[str, Any] | None:
    """What FFmpeg says of a video; None for what it cannot open. The rotation needs a frame that decodes."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            seconds = container.duration / 1e6 if container.duration else None
            if stream.duration is not None and stream.time_base is not None:
                seconds = float(stream.duration * stream.time_base)
            said: dict[str, Any] = {
                "codec": stream.codec_context.name,
                "width": stream.width,
                "height": stream.height,
                "duration": None if not seconds else round(seconds, 3),
            }
            with contextlib.suppress(av.FFmpegError, StopIteration):
                said["rotation"] = -next(container.decode(video=0)).rotation % 360
            return said
    except (av.FFmpegError, IndexError):
        return None


@pytest.mark.skipif(not (CORPUS / "truth.csv").is_file(), reason=f"there is no corpus in {CORPUS}")
def test_the_facts_of_a_hundred_files_are_those_of_ffmpeg() -> None:
    different, no_facts, no_ffmpeg, streams = {}, {}, set(), {}
    for path in sorted(CORPUS.iterdir()):
        if path.suffix == ".csv":
            continue
        data = path.read_bytes()
        said = of_ffmpeg(path)
        try:
            found = index.run(VIDEOS.read(len(data)), Reads(data)).values
        except Unreadable as error:
            if said is not None:
                no_facts[path.name] = str(error)
            continue
        if found.keys() == {"format"}:
            streams[path.name] = found["format"]
        elif said is None:
            no_ffmpeg.add(path.name)
        else:
            pairs = {name: (_rounded(found.get(name)), value) for name, value in said.items()}
            odd = {name: (ours, theirs) for name, (ours, theirs) in pairs.items() if not _same(ours, theirs)}
            if odd:
                different[path.name] = odd
    assert different == DIFFERENT
    assert {name: why.partition(":")[0] for name, why in no_facts.items()} == NO_FACTS
    assert no_ffmpeg == NO_FFMPEG
    assert streams == STREAMS


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _same(ours: Any, theirs: Any) -> bool:
    both = isinstance(ours, float) and isinstance(theirs, float)
    return abs(ours - theirs) <= 0.001001 if both else ours == theirs


@pytest.mark.skipif(not (CORPUS / "truth.csv").is_file(), reason=f"there is no corpus in {CORPUS}")
def test_the_facts_of_a_hundred_files_cost_no_read_more_than_their_count() -> None:
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        alone, both = Reads(data), Reads(data)
        source, container = index.open_source(len(data), alone)
        with contextlib.suppress(NoProof):
            index.count(source, container, alone, times=True)
        with contextlib.suppress(NoProof):
            facts_of(data, both)
        assert (path.name, both.trips, both.bytes) == (path.name, alone.trips, alone.bytes)
