"""Images made by hand for tests: containers around blocks, and Exif blocks with any entries."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from metaferry.media.facts.images.reader import IMAGES, read
from metaferry.media.facts.images.window import HEAD, LARGE_READ, READS
from metaferry.media.facts.model import Found, Unreadable

#: What values of the types of Arrow are.
TYPES = {"int64": int, "double": float, "string": str}
#: An entry: its type, the number of values, and their bytes.
Entry = tuple[int, int, bytes]


def facts_of(data: bytes, asked: list[tuple[int, int]] | None = None) -> Found:
    """What the reader finds in a file; the ranges that it asked for are added to `asked`."""
    asking = read(len(data))
    try:
        wanted = next(asking)
        while True:
            if asked is not None:
                asked += wanted
            wanted = asking.send([data[start:end] for start, end in wanted])
    except StopIteration as done:
        found: Found = done.value
        return found


def checked(data: bytes) -> Found | None:
    """The facts of a file, None for one that is refused; asserts what holds for every file."""
    asked: list[tuple[int, int]] = []
    found, reason = None, "-"
    try:
        found = facts_of(data, asked)
    except Unreadable as error:
        reason = str(error)
    assert len(asked) <= 1 + READS
    assert all(0 <= start < end <= len(data) for start, end in asked)
    assert sum(end - start for start, end in asked) <= HEAD + READS * LARGE_READ
    if found is None:
        assert reason
        assert "\n" not in reason
        return None
    types = {fact.name: TYPES[str(fact.type)] for fact in IMAGES.facts}
    assert all(type(value) is types[name] for name, value in found.values.items())
    assert all(-(2**63) <= value < 2**63 for value in found.values.values() if isinstance(value, int))
    assert all("\n" not in problem for problem in found.problems)
    return found


def text_entry(text: str) -> Entry:
    data = text.encode() + b"\0"
    return 2, len(data), data


def short(*values: int) -> Entry:
    return 3, len(values), struct.pack(f">{len(values)}H", *values)


def rationals(*values: tuple[int, int]) -> Entry:
    return 5, len(values), b"".join(struct.pack(">II", *value) for value in values)


def block(
    main: Mapping[int, Entry] | None = None,
    exif: Mapping[int, Entry] | None = None,
    gps: Mapping[int, Entry] | None = None,
) -> bytes:
    """An Exif block, big-endian, with three directories one after the other."""
    entries = dict(main or {})
    offsets: dict[int, int] = {}
    for _ in range(2):  # the second time the offsets are known
        data = b"MM\0*\0\0\0\x08"
        entries |= {tag: (4, 1, struct.pack(">I", at)) for tag, at in offsets.items()}
        pointers = {0x8769: exif, 0x8825: gps}
        known = {tag: inner for tag, inner in pointers.items() if inner is not None}
        entries |= {tag: entries.get(tag, (4, 1, bytes(4))) for tag in known}
        data += _directory(entries, len(data))
        for tag, inner in known.items():
            offsets[tag] = len(data)
            data += _directory(inner, len(data))
    return data


def _directory(entries: Mapping[int, Entry], at: int) -> bytes:
    table, behind = struct.pack(">H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, (kind, count, data) in sorted(entries.items()):
        table += struct.pack(">HHI", tag, kind, count)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(">I", start + len(behind))
            behind += data
    return table + bytes(4) + behind


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(*segments: bytes, width: int = 40, height: int = 30) -> bytes:
    """A JPEG with these segments before the frame header; its pixels are none."""
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + b"".join(segments) + segment(0xC0, frame) + segment(0xDA, bytes(6)) + b"\xff\xd9"


def exif_segment(data: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + data)


def xmp_segment(packet: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def packet(properties: str, elements: str = "") -> bytes:
    """An XMP packet with these attributes and elements of one description."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f"{properties}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(before: Sequence[bytes] = (), after: Sequence[bytes] = (), *, pixels: int = 100) -> bytes:
    """A PNG with chunks before and after so many bytes of pixels, in chunks of 8 KiB as libpng has them."""
    size = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)
    data = b"".join(chunk(b"IDAT", bytes(min(8192, pixels - at))) for at in range(0, pixels, 8192))
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", size), *before, data, *after, chunk(b"IEND", b"")]
    return b"".join(parts)


def webp(*chunks: tuple[bytes, bytes], flags: int = 0) -> bytes:
    """A WebP of the extended form with these chunks behind its header."""
    header = (b"VP8X", struct.pack("<B3x", flags) + (39).to_bytes(3, "little") + (29).to_bytes(3, "little"))
    body = b"WEBP"
    for kind, data in (header, *chunks):
        body += kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


Values = dict[str, Any]


def stored(found: Found) -> Values:
    """The facts without those that follow from others."""
    return {name: value for name, value in found.values.items() if not name.startswith("shown_")}


#: Images with an Exif block or an XMP packet, to be damaged.
WHOLE = [
    jpeg(exif_segment(block({0x010F: text_entry("Acme")}, {0x9003: text_entry("2026:03:01 10:20:30")}))),
    jpeg(xmp_segment(packet('exif:FNumber="28/10"', "<tiff:Make>Acme</tiff:Make>"))),
    png(before=[chunk(b"eXIf", block({0x010F: text_entry("Acme")}))], after=[chunk(b"tEXt", b"a\0b")]),
    webp((b"VP8 ", bytes(11)), (b"EXIF", block({0x010F: text_entry("Acme")})), flags=0x0C),
    block({0x0100: (3, 1, b"\0\x28"), 0x010F: text_entry("Acme")}, {}, {1: text_entry("N")}),
]
