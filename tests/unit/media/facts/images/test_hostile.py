"""Images that are made to break a reader: a result or a refusal, within the budget of reads and bytes."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unit.media.facts.images.making import (
    WHOLE,
    checked,
    chunk,
    exif_segment,
    facts_of,
    jpeg,
    png,
    segment,
    webp,
    xmp_segment,
)

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples")) / "exif"


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM"])
    | st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"P6\n", b"\xff\xd8\xff\xe1\0\x40Exif\0\0"]),
    st.binary(max_size=600),
)
@example(b"RIFF\0\0\0\0WEBP", b"")
def test_any_bytes_end_in_facts_or_a_refusal(magic: bytes, rest: bytes) -> None:
    if magic + rest:
        checked(magic + rest)


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(1, 400),
)
def test_damaged_images_end_in_facts_or_a_refusal(
    whole: bytes, changed: list[tuple[int, int]], kept: int
) -> None:
    data = bytearray(whole)
    for at, byte in changed:
        data[at % len(data)] = byte
    checked(bytes(data))
    checked(bytes(data[:kept]))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")
def test_real_images_that_are_cut_anywhere() -> None:
    for path in sorted(SAMPLES.iterdir()):
        data = path.read_bytes()
        for kept in sorted({*range(1, 200, 7), *range(200, len(data), max(97, len(data) // 60))}):
            checked(data[:kept])


def many_values() -> bytes:
    """A block whose thousand entries all claim the same 60 KiB as their value."""
    entries = b"".join(struct.pack(">HHII", 0x010F + n, 2, 60_000, 14) for n in range(1_000))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", 1_000) + entries + b"x" * 50_000


BOMB = zlib.compress(b" " * (64 << 20))
HOSTILE = {
    "entries": jpeg(exif_segment(b"MM\0*\0\0\0\x08\xff\xff" + bytes(60_000))),
    "values": jpeg(exif_segment(many_values())),
    "circle": jpeg(exif_segment(b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08" + bytes(8))),
    "no directory": jpeg(exif_segment(b"MM\0*\xff\xff\xff\xff")),
    "packed xmp": png(before=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)]),
    "packed exif": png(before=[chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB)]),
    "long text": png(before=[chunk(b"tEXt", b"prompt\0" + bytes(1 << 20))]),
    "long chunk": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", bytes(3) + b"\1" + bytes(3) + b"\1" + bytes(5))
    # a length beyond the file
    + b"\x7f\xff\xff\xffeXIf",
    "odd chunk": png(before=[b"\0\0\xff\xffa\n\0\x1b"]),
    "many chunks": png(before=[chunk(b"gAMA", bytes(4))] * 5_000),
    "chunks in pixels": png(after=[chunk(b"eXIf", b"eXIf" * 7_000)], pixels=9_000),
    "depth": jpeg(xmp_segment(b"<a>" * 10_000)),
    "entities": jpeg(
        xmp_segment(
            b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]><x>&b;&b;&b;</x>'
        )
    ),
    "segments": jpeg(*[segment(0xE5, b"")] * 200_000),
    "restarts": b"\xff\xd8" + b"\xff\xd0" * 400_000,
    "fill": b"\xff\xd8" + b"\xff" * 400_000,
    "frames": webp(*[(b"ANMF", b"")] * 50_000, flags=0x0C),
    "numbers": b"P6\n" + b"9" * 100_000 + b" 1\n",
    "big": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + struct.pack("<Q", (1 << 64) - 1),
    "big directory": b"II+\0\x08\0\0\0" + struct.pack("<Q", (1 << 64) - 8) + bytes(64),
    "wide": b"BM" + bytes(12) + struct.pack("<Iii", 40, -5, -(1 << 31)),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_images_take_little_memory_and_few_reads(name: str) -> None:
    tracemalloc.start()
    try:
        found = checked(HOSTILE[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    told = {
        "odd chunk",
        "packed xmp",
        "packed exif",
        "long chunk",
        "depth",
        "entities",
        "entries",
        "no directory",
    }
    assert found is not None or name in {"numbers", "restarts", "fill", "big", "big directory", "wide"} | {
        "segments"
    }
    assert name not in told or (found is not None and found.problems)


def test_huge_sizes_are_numbers_like_others() -> None:
    size = struct.pack(">IIBBBBB", (1 << 31) - 1, (1 << 31) - 1, 8, 2, 0, 0, 0)
    found = facts_of(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IEND", b""))
    assert (found.values["width"], found.values["height"]) == ((1 << 31) - 1, (1 << 31) - 1)
