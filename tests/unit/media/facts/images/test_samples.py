"""Facts of real images: values by hand, and what Pillow reads of the same files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metaferry.media.facts.images.reader import IMAGES
from metaferry.media.facts.model import Unreadable
from unit.media.facts.images.making import facts_of, stored

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples"))
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")

#: What the makers' documentation, exiftool's pages and the bytes themselves say of these files.
BY_HAND: dict[str, dict[str, Any]] = {
    # Local time and time of GPS a day apart: the camera's date is wrong.
    "DSCN0010.jpg": {
        "format": "jpeg",
        "width": 640,
        "height": 480,
        "orientation": 1,
        "taken": "2008-10-22T16:28:39",
        "taken_utc": "2008-10-23T14:27:07.24Z",
        "make": "NIKON",
        "model": "COOLPIX P6000",
        "exposure_time": 4 / 300,
        "f_number": 5.9,
        "iso": 64,
        "focal_length": 24.0,
        "focal_length_35mm": 112.0,
        "lat": 43.467448333,
        "lon": 11.885126667,
    },
    # Degrees and decimal minutes, west; no date of GPS, so nothing tells UTC.
    "GPS.jpg": {
        "format": "jpeg",
        "width": 120,
        "height": 80,
        "orientation": 1,
        "taken": "2002-07-13T15:58:28",
        "make": "FUJIFILM",
        "model": "FinePixS1Pro",
        "f_number": 1639 / 2560,
        "lat": 54.989666667,
        "lon": -1.914166667,
    },
    # Below the level of the sea.
    "GoPro.jpg": {
        "format": "jpeg",
        "width": 8,
        "height": 8,
        "orientation": 1,
        "taken": "2017-10-03T10:58:29",
        "taken_utc": "2017-10-03T14:58:14Z",
        "make": "GoPro",
        "model": "HERO6 Black",
        "exposure_time": 1 / 1205,
        "f_number": 2.8,
        "iso": 100,
        "focal_length": 3.0,
        "focal_length_35mm": 15.0,
        "lat": 40.6584192,
        "lon": -73.9933543,
        "altitude": -3.983,
    },
    # A latitude of 4294967295 without a reference, a date of GPS of 1999:99:99, an endless exposure.
    "exif_gps.jpg": {
        "format": "jpeg",
        "width": 8,
        "height": 8,
        "taken": "2099-09-29T10:10:10",
        "make": "Make",
        "model": "XXX-XXX",
    },
    # The fraction of the second is inside the date.
    "test_exif.jpg": {
        "format": "jpeg",
        "width": 16,
        "height": 16,
        "orientation": 2,
        "taken": "2018-06-26T17:46:33.847",
        "taken_utc": "2011-07-15T09:14:39Z",
        "make": "HTC",
        "model": "Legend",
        "iso": 75,
        "focal_length": 3.53,
        "lat": 35.912516667,
        "lon": 14.498805556,
        "altitude": 69.0,
    },
    "portrait_6.jpg": {"format": "jpeg", "width": 600, "height": 450, "orientation": 6},
    "BigTIFF.btf": {"format": "tiff", "width": 8, "height": 8},
    "GeoTiff.tif": {"format": "tiff", "width": 25, "height": 24},
    "PNG.png": {"format": "png", "width": 16, "height": 16},
    "RIFF.webp": {"format": "webp", "width": 1, "height": 1},
}
#: Files whose first directory is of a thumbnail: Pillow gives that one's size.
THUMBNAILS = {"DNG.dng": (3516, 2328), "Nikon.nef": (3040, 2014)}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_real_files_say_what_was_found_by_hand(name: str) -> None:
    found = facts_of((SAMPLES / "exif" / name).read_bytes())
    assert stored(found) == pytest.approx(BY_HAND[name])
    assert found.problems == ()


def test_subseconds_are_the_digits_of_the_camera() -> None:
    taken = {
        name: facts_of((SAMPLES / "exif" / name).read_bytes()).values["taken"]
        for name in ("32-lens_data.jpeg", "corrupt_exif.jpg", "Canon_40D.jpg", "empty_gps_ifd.jpg")
    }
    assert taken == {
        "32-lens_data.jpeg": "2012-07-14T16:30:12.68",
        "corrupt_exif.jpg": "2016-07-07T21:42:20.68367",
        "Canon_40D.jpg": "2008-05-30T15:56:01",
        "empty_gps_ifd.jpg": "2020-07-27T14:46:48.780685",
    }


def test_all_samples_agree_with_pillow() -> None:
    compared = 0
    for path in sorted((SAMPLES / "exif").iterdir()):
        try:
            found = facts_of(path.read_bytes()).values
        except Unreadable:
            assert path.suffix in (".cr3", ".avif"), path  # no media of a datasource
            continue
        with Image.open(path) as image:
            exif = image.getexif()
            camera, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
            size = THUMBNAILS.get(path.name, image.size)
        assert (found["width"], found["height"]) == size, path
        assert found.get("orientation") == exif.get(0x0112), path
        assert found.get("make") == _text(exif.get(0x010F)), path
        assert found.get("model") == _text(exif.get(0x0110)), path
        assert (
            found.get("taken", "")[:19].replace("T", " ").replace("-", ":")
            == (_text(camera.get(0x9003)) or "").partition(".")[0]
        ), path
        assert found.get("f_number") == pytest.approx(camera.get(0x829D)), path
        lat = place.get(2) if isinstance(place.get(2), tuple) and place.get(1) else None
        sign = -1 if place.get(1) == "S" else 1
        expected = None if lat is None else sign * float(lat[0] + lat[1] / 60 + lat[2] / 3600)
        assert found.get("lat") == pytest.approx(expected, abs=1e-8), path
        assert set(found) <= {fact.name for fact in IMAGES.facts}
        compared += 1
    assert compared == 28


def _text(value: Any) -> str | None:
    return value.strip(" \0\r\n") or None if isinstance(value, str) else None


@pytest.mark.parametrize("name", ["truncated.heic", "QuickTime.heic", "RGB_8__128x128.heif"])
def test_heic_under_any_name_is_refused_by_what_it_is(name: str) -> None:
    with pytest.raises(Unreadable, match="ISO media file"):
        facts_of((SAMPLES / "heic" / name).read_bytes())


def test_a_cut_block_is_told_and_the_size_stays() -> None:
    found = facts_of((SAMPLES / "exif/truncated_exif_dpi.jpg").read_bytes())
    assert stored(found) == {"format": "jpeg", "width": 480, "height": 640}
    assert found.problems == ("Exif: the block ends before the TIFF header does",)


def test_a_picture_that_is_turned_is_shown_with_other_sides() -> None:
    found = facts_of((SAMPLES / "exif/portrait_6.jpg").read_bytes()).values
    assert [found[name] for name in ("width", "height", "shown_width", "shown_height")] == [
        600,
        450,
        450,
        600,
    ]
