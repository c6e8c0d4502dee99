"""Media with a source of each reader that speaks of them, and the documents that a run makes of these."""

from __future__ import annotations

from typing import Any, Final

from unit.media import synthetic
from unit.media.facts.images.making import block, exif_segment, jpeg, text_entry

FRAMES: Final = 4
POINT: Final = (
    '<trkpt lat="48.1" lon="11.5"><ele>{ele}</ele><time>2026-05-01T12:00:0{second}Z</time></trkpt>\n'
)
SOURCES: Final[dict[str, dict[str, Any]]] = {
    # The content type, which differs from store to store, takes a request on S3.
    "object": {
        "object": {"headers": True},
        "metadata": {"size": "size", "kind": "kind || coalesce(left(content_type, 0), '')"},
    },
    "media_facts": {"media_facts": {}, "metadata": {"width": "width", "make": '"camera.make"'}},
    "telemetry": {"start": {"from": "first_sample"}, "metadata": {"ele": {"linear": "ele"}}},
}
CLIP: Final = synthetic.video(FRAMES)


def image(make: str) -> bytes:
    return jpeg(exif_segment(block({0x010F: text_entry(make)})))


def files(count: int = 2) -> dict[str, bytes]:
    """The media, and the recording beside each video: by their paths below the input."""
    made = {}
    for place in ("first", "second"):
        # 25 m a second: each frame of 40 ms is a metre above the one before.
        points = "".join(POINT.format(ele=100 * count + 25 * at, second=at) for at in range(2))
        made |= {
            f"{place}/a.jpg": image("m" * count),
            f"{place}/drive.mp4": CLIP,
            f"{place}/drive.gpx": f"<gpx><trk><trkseg>\n{points}</trkseg></trk></gpx>".encode(),
        }
    return made


def expected(count: int = 2) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place in ("first", "second"):
        size = len(image("m" * count))
        found[f"{place}/a"] = {"size": size, "kind": "image", "width": 40, "make": "m" * count}
        video = {"size": len(CLIP), "kind": "video", "width": 32}
        found[f"{place}/drive"] = video
        for frame in range(FRAMES):  # what is said of a video is said of each frame
            found[f"{place}/drive-{frame}-mp4"] = {**video, "ele": 100.0 * count + frame}
    return found


def sources(url: str, names: tuple[str, ...] = tuple(SOURCES)) -> list[dict[str, Any]]:
    """The sources of the job, of an input at `url`."""
    more = {"telemetry": {"telemetry": f"{url}/**/*.gpx"}}
    return [{"name": name, **more.get(name, {}), **SOURCES[name]} for name in names]
