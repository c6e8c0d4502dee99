"""A small, real dataset to try metaferry on: images, videos and the tables that speak of them.

Made on the spot with PyAV and the standard library, the same on every run: `data/` holds PNG
images and MP4 and WebM videos of 9, 10, 200 and 1000 frames in folders, `tables/` holds a CSV of
image metadata, a Parquet of per-frame metadata and a JSONL of per-video metadata with nested
values. Everything is made in memory first and written only where the file in place differs, so a
second call changes nothing. Writes nothing outside the folder it is given, and runs nothing.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

#: Pixels; a multiple of 16 each way, as the encoders like it.
WIDTH: Final = 64
HEIGHT: Final = 48
RATE: Final = 25  # frames a second

#: Videos by path below `data/`, with their numbers of frames: one on each side of a digit's edge.
VIDEOS: Final[Mapping[str, int]] = {
    "videos/front/2026-05-14_0801.mp4": 1000,
    "videos/front/2026-05-14_0930.mp4": 10,
    "videos/rear/2026-05-14_0801.webm": 200,
    "videos/rear/2026-05-14_0930.webm": 9,
}

#: Scene, weather, time of day and degrees Fahrenheit of each image folder.
IMAGES: Final[Mapping[str, tuple[str, str, str, float]]] = {
    "images/berlin": ("city street", "rainy", "dawn/dusk", 51.8),
    "images/harz": ("highway", "snowy", "daytime", 30.2),
    "images/ruegen": ("residential", "clear", "night", 59.0),
}
IMAGES_A_FOLDER: Final = 4


@dataclass(frozen=True, slots=True)
class DemoDataset:
    """Where the dataset is, and what a correct run makes of it.

    media: the folder to give as `input`. images_table, frames_table, videos_table: the tables.
    images: paths below `media`; videos: path to number of frames. frame_rows: rows of the frames
    table, one for each frame of each video. written, kept: files written and found in place.
    """

    root: Path
    media: Path
    images_table: Path
    frames_table: Path
    videos_table: Path
    images: tuple[str, ...]
    videos: Mapping[str, int]
    frame_rows: int
    written: int
    kept: int


def make_dataset(folder: Path) -> DemoDataset:
    """Makes the dataset in `folder`, or completes it; about a second and 0.3 MB.

    Raises `OSError` where the folder cannot be written.
    """
    written = kept = 0
    for name, content in _files():
        if _write(folder / name, content):
            written += 1
        else:
            kept += 1
    return DemoDataset(
        root=folder,
        media=folder / "data",
        images_table=folder / "tables/images.csv",
        frames_table=folder / "tables/frames.parquet",
        videos_table=folder / "tables/videos.jsonl",
        images=tuple(_image_names()),
        videos=dict(VIDEOS),
        frame_rows=sum(VIDEOS.values()),
        written=written,
        kept=kept,
    )


def _files() -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(_image_names()):
        yield f"data/{name}", _png(number)
    for number, (name, frames) in enumerate(VIDEOS.items()):
        yield f"data/{name}", _video(name.rpartition(".")[2], frames, number)
    yield "tables/images.csv", _images_csv()
    yield "tables/frames.parquet", _frames_parquet()
    yield "tables/videos.jsonl", _videos_jsonl()


def _image_names() -> Iterator[str]:
    for folder in IMAGES:
        for number in range(1, IMAGES_A_FOLDER + 1):
            yield f"{folder}/cam_front_{number:04}.png"


# -- tables


def _images_csv() -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image_path", "scene", "weather", "timeofday", "temp_f", "pedestrians", "lens_clean"])
    rng = random.Random("images")
    for name in _image_names():
        scene, weather, time_of_day, fahrenheit = IMAGES[name.rpartition("/")[0]]
        rows.writerow(
            [
                name,
                scene,
                weather,
                time_of_day,
                round(fahrenheit + rng.uniform(-2, 2), 1),
                rng.randrange(0, 9) if scene == "city street" else 0,
                "true" if rng.randrange(8) else "false",
            ]
        )
    return text.getvalue().encode()


def _frames_parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {
        name: [] for name in ("video", "frame_idx", "speed_kmh", "lat", "lon", "braking", "vehicles")
    }
    for number, (name, frames) in enumerate(VIDEOS.items()):
        rng = random.Random(name)
        for index, values in enumerate(_drive(rng, frames, 52.52 + number / 100, 13.4)):
            for column, value in zip(columns.values(), (name, index, *values), strict=True):
                column.append(value)
    types = [pa.string(), pa.int32(), pa.float64(), pa.float64(), pa.float64(), pa.bool_(), pa.int16()]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _drive(
    rng: random.Random, frames: int, lat: float, lon: float
) -> Iterator[tuple[float, float, float, bool, int]]:
    """Speed in km/h, position in degrees, whether the car brakes, and how many cars are in sight."""
    speed = rng.uniform(20, 40)
    heading = rng.uniform(0, 2 * math.pi)
    vehicles = rng.randrange(2, 7)
    for index in range(frames):
        change = 0.4 * math.sin(index / 40) + rng.uniform(-0.15, 0.15)
        speed = min(58.0, max(0.0, speed + change))
        heading += rng.uniform(-0.01, 0.01)
        metres = speed / 3.6 / RATE
        lat += metres * math.cos(heading) / 111_320
        lon += metres * math.sin(heading) / (111_320 * math.cos(math.radians(lat)))
        if index % RATE == RATE - 1:
            vehicles = max(0, vehicles + rng.randrange(-1, 2))
        yield round(speed, 1), round(lat, 6), round(lon, 6), change < -0.25, vehicles


def _videos_jsonl() -> bytes:
    lines = []
    for number, name in enumerate(VIDEOS):
        _, camera, file = name.split("/")
        early = "_0801" in file
        lines.append(
            {
                "video": name,
                "scene": "city street" if early else "tunnel",
                "weather": {
                    "description": "rainy" if early else "undefined",
                    "temperature": 11.5 if early else 14.0,
                },
                "vehicle": {"id": "B-MF 2026", "camera": camera, "odometer_km": 18_204 + 31 * number},
                "reviewed": early,
            }
        )
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


# -- media


def _png(number: int) -> bytes:
    """A colour gradient, another one for each number."""
    import av

    context: Any = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "rgb24"
    context.time_base = Fraction(1, RATE)
    frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
    line = frame.planes[0].line_size
    rows = []
    for y in range(HEIGHT):
        pixels = bytearray()
        for x in range(WIDTH):
            pixels += bytes(((4 * x + 17 * number) % 256, 5 * y, (61 * number) % 256))
        rows.append(bytes(pixels).ljust(line, b"\0"))
    frame.planes[0].update(b"".join(rows))
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def _video(extension: str, frames: int, number: int) -> bytes:
    """Stripes that wander, `frames` of them. One thread and bit-exact: the same bytes every time.

    A `cpu-used` below zero is a speed; one above is where libvpx begins, and it goes on by the clock.
    """
    import av

    sink = io.BytesIO()
    codec, options = {
        "mp4": ("mpeg4", {"qscale": "12"}),
        "webm": ("libvpx", {"deadline": "realtime", "cpu-used": "-8", "crf": "40", "b": "60k"}),
    }[extension]
    with av.open(sink, "w", format=extension, options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options={**options, "flags": "+bitexact"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(frames):
            frame = _stripes(index, number)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def _stripes(index: int, number: int) -> Any:
    import av

    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    ramp = bytes(40 + 6 * (x % 32) for x in range(WIDTH + 32))
    for plane, value in zip(frame.planes, (None, 90 + 20 * number, 170 - 20 * number), strict=True):
        line, height = plane.line_size, plane.height
        if value is None:
            rows = []
            for y in range(height):
                start = (index + y // 4) % 32
                rows.append(ramp[start : start + WIDTH].ljust(line, b"\0"))
            plane.update(b"".join(rows))
        else:
            plane.update(bytes([value]) * (line * height))
    return frame


def _write(path: Path, content: bytes) -> bool:
    """Puts the content in place all at once; False when it is there already."""
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True
