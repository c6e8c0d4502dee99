"""What the first bytes of a container promise about its length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.media.frames.worker.headers import ends_early
from unit.media import synthetic


@pytest.mark.parametrize(
    ("format", "codec"), [("webm", "libvpx"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mp4", "mpeg4")]
)
def test_a_whole_file_keeps_its_promise(format: str, codec: str) -> None:
    data = synthetic.video(20, format=format, codec=codec)
    assert not ends_early(data[:64], len(data))


@pytest.mark.parametrize(("format", "codec"), [("webm", "libvpx"), ("matroska", "mpeg4"), ("avi", "mpeg4")])
def test_one_byte_less_breaks_it(format: str, codec: str) -> None:
    data = synthetic.video(20, format=format, codec=codec)
    assert ends_early(data[:64], len(data) - 1)


def test_an_unknown_length_promises_nothing() -> None:
    header = b"\x1aE\xdf\xa3" + b"\x84" + b"abcd"  # an EBML header of 4 bytes
    unknown = header + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7
    assert not ends_early(unknown, len(unknown))
    known = header + b"\x18\x53\x80\x67" + b"\x01" + (1000).to_bytes(7, "big")
    assert ends_early(known, len(known) + 999)
    assert not ends_early(known, len(known) + 1000)


@given(st.sampled_from([b"", b"RIFF", b"\x1aE\xdf\xa3"]), st.binary(max_size=64), st.integers(0, 1 << 62))
def test_any_bytes_are_answered(start: bytes, rest: bytes, size: int) -> None:
    assert ends_early((start + rest)[:64], size) in (True, False)
