"""Small pictures of media: made of what decodes; hostile and broken files are passed over with a reason."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from metaferry.media.frames.pictures import EDGE, Picture, make_pictures
from metaferry.media.frames.worker import protocol
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from unit.media import synthetic


def noise(width: int = 640, height: int = 480) -> Image.Image:
    """A picture with a red corner."""
    picture = Image.effect_noise((width, height), 80).convert("RGB")
    picture.paste((255, 0, 0), (0, 0, width // 4, height // 4))
    return picture


def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def pictures_of(folder: Path, files: dict[str, bytes], **how: Any) -> dict[str, Picture]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with Portal() as portal:
        storage = open_storage(str(folder), {})
        media = [(name, len(data), "") for name, data in files.items()]
        made = list(make_pictures(storage, portal, media, workers=1, **how))
        portal.run(storage.close())
    assert [each.path for each in made] == list(files)
    return {each.path: each for each in made}


def red_corners(picture: Image.Image) -> list[bool]:
    picture = picture.convert("RGB")
    width, height = picture.size
    places = ((3, 3), (width - 4, 3), (3, height - 4), (width - 4, height - 4))
    found = [picture.getpixel(place) for place in places]
    return [isinstance(each, tuple) and each[0] > 150 and each[1] < 120 for each in found]


def test_every_format_of_the_consumer_has_a_picture(tmp_path: Path) -> None:
    files = {
        f"x.{name}": saved(noise(), format)
        for name, format in (
            ("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("gif", "GIF"), ("tif", "TIFF"),
            ("webp", "WEBP"), ("ppm", "PPM"),
        )
    }  # fmt: skip
    files["x.pgm"] = saved(noise().convert("L"), "PPM")
    files["x.mp4"] = synthetic.video(5)
    files["y.jpg"] = saved(noise(), "PNG")  # by what it holds, not by its name
    for name, made in pictures_of(tmp_path, files).items():
        assert not made.reason, (name, made.reason)
        picture = Image.open(io.BytesIO(made.data))
        assert picture.format == "JPEG"
        assert max(picture.size) <= EDGE
        assert len(made.data) <= protocol.MAX_PICTURE
        if not name.endswith(".mp4"):
            assert picture.size == (160, 120), name


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_picture_is_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    data = saved(noise(), "JPEG", exif=exif)
    made = pictures_of(tmp_path, {"x.jpg": data})["x.jpg"]
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert turned is not None
    picture = Image.open(io.BytesIO(made.data))
    assert (picture.width > picture.height) == (turned.width > turned.height)
    assert red_corners(picture) == red_corners(turned)


def bomb(side: int) -> bytes:
    """A PNG of so many pixels a side, and of a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def test_broken_and_hostile_files_are_passed_over_and_the_next_one_is_shown(tmp_path: Path) -> None:
    good = saved(noise(), "PNG")
    secret = tmp_path / "secret.png"
    secret.write_bytes(good)
    files = {
        "empty.png": b"",
        "text.png": b"no picture at all",
        "cut.png": good[:200],
        "bomb.png": bomb(60_000),
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "list.mp4": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n".encode(),
        "concat.jpg": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "sound.mp4": synthetic.audio_only(),
        "good.png": good,
    }
    made = pictures_of(tmp_path, files)
    assert made.pop("good.png").reason == ""
    for name, picture in made.items():
        assert (picture.data, bool(picture.reason)) == (b"", True), name
    assert made["empty.png"].reason == "empty"
    assert "60000 x 60000" in made["bomb.png"].reason or "unreadable" in made["bomb.png"].reason


SPEAK = """
import os
from metaferry.media.frames.worker import protocol as p
def send(kind, payload): os.write(1, p.message(kind, payload))
send(p.HELLO, b"{}")
os.read(0, 65536)
"""


@pytest.mark.parametrize(
    "body",
    [
        "send(p.PICTURE, b'<script>'); send(p.DONE, b'{\"reason\": \"\"}')",
        'send(p.DONE, b\'{"reason": ""}\')',
        "send(p.DONE, b'{\"reason\": 7}')",
        "os.write(1, p.HEADER.pack(p.PICTURE, 1 << 30))",
        "os._exit(3)",
    ],
)
def test_what_a_worker_says_is_not_trusted(tmp_path: Path, body: str) -> None:
    command = (sys.executable, "-P", "-c", SPEAK + body)
    made = pictures_of(tmp_path, {"x.png": saved(noise(64, 64), "PNG")}, command=command)
    assert made["x.png"].data == b""
    assert made["x.png"].reason.startswith("crashed: ")


def test_a_file_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    with Portal() as portal:
        storage = open_storage(str(tmp_path), {})
        (made,) = make_pictures(storage, portal, [("gone.png", 10, "")], workers=1)
        portal.run(storage.close())
    assert made == Picture("gone.png", reason="gone")
