"""What a file is by its first bytes, whatever its name says. Pure functions.

The magic numbers are those of the formats' own descriptions. Text has none: what is not recognised is
left to the reader that the name or the job asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

#: Bytes from the start of a file that tell what it is.
HEAD: Final = 1024

Content = Literal[
    "",
    "gzip",
    "zstd",
    "zip",
    "parquet",
    "arrow",
    "feather",
    "excel",
    "html",
    "xml",
    "lfs",
    "bzip2",
    "xz",
    "7z",
    "orc",
    "avro",
    "sqlite",
    "hdf5",
    "pdf",
    "opendocument",
    "lz4",
    "tar",
    "numpy",
    "pickle",
]

#: What an Arrow file begins with; a stream follows, as it stands alone in a stream file.
ARROW_FILE: Final = b"ARROW1\0\0"
#: A message of a stream: the mark, and the size of its description, below 16 MiB.
_ARROW_STREAM: Final = re.compile(rb"\xff\xff\xff\xff(?!\0\0\0)...\0", re.DOTALL)

_MAGIC: Final[tuple[tuple[bytes, Content], ...]] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # without a file in it
    (b"PAR1", "parquet"),
    (b"PARE", "parquet"),  # with an encrypted footer
    (ARROW_FILE, "arrow"),
    (b"FEA1", "feather"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "excel"),  # before 2007
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"ORC", "orc"),
    (b"Obj\x01", "avro"),
    (b"SQLite format 3\0", "sqlite"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"%PDF-", "pdf"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x93NUMPY", "numpy"),
    (b"\x80\x04\x95", "pickle"),
    (b"\x80\x05\x95", "pickle"),
    (b"version https://git-lfs.github.com/spec/", "lfs"),
)
_HTML: Final = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_XML: Final = re.compile(rb"\s*<\?xml\s")
#: Byte order marks, the longer ones first; and the encoding without a mark.
_MARKS: Final = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a file that is no table is called, and what to do about it."""

    called: str
    advice: str


_UNPACK: Final = "unpack it, or pack it with gzip, zstd or zip"
_AS_TABLE: Final = "save it as CSV or Parquet"
REFUSALS: Final[dict[Content, Refusal]] = {
    "feather": Refusal("a Feather file of the first version", "save it again with pandas, or as Parquet"),
    "excel": Refusal("an Excel workbook", "save the sheet that is wanted as CSV or Parquet"),
    "opendocument": Refusal("an OpenDocument file", "save the sheet that is wanted as CSV or Parquet"),
    "html": Refusal(
        "a web page (HTML)",
        "a login or an error page is often saved in place of a file: download the table again",
    ),
    "xml": Refusal("XML", _AS_TABLE),
    "lfs": Refusal("a pointer of Git LFS, not the file itself", "fetch the file with `git lfs pull`"),
    "bzip2": Refusal("packed with bzip2", _UNPACK),
    "xz": Refusal("packed with xz", _UNPACK),
    "7z": Refusal("a 7z archive", _UNPACK),
    "orc": Refusal("an ORC file", _AS_TABLE),
    "avro": Refusal("an Avro file", _AS_TABLE),
    "sqlite": Refusal("an SQLite database", "export the table that is wanted as CSV or Parquet"),
    "hdf5": Refusal("an HDF5 file", _AS_TABLE),
    "pdf": Refusal("a PDF document", _AS_TABLE),
    "lz4": Refusal("packed with lz4", _UNPACK),
    "tar": Refusal("a tar archive", _UNPACK),
    "numpy": Refusal("an array of NumPy", _AS_TABLE),
    "pickle": Refusal("a pickle of Python", _AS_TABLE),
}
#: What files are that no reader takes, by their extensions.
EXTENSIONS: Final[dict[str, Content]] = {
    "xlsx": "excel",
    "xlsm": "excel",
    "xls": "excel",
    "ods": "opendocument",
    "orc": "orc",
    "avro": "avro",
    "bz2": "bzip2",
    "xz": "xz",
    "lz4": "lz4",
    "7z": "7z",
    "tar": "tar",
    "sqlite": "sqlite",
    "h5": "hdf5",
    "hdf5": "hdf5",
    "npy": "numpy",
    "npz": "numpy",
    "pkl": "pickle",
    "pickle": "pickle",
    "html": "html",
    "xml": "xml",
}


def content_of(head: bytes) -> Content:
    """What the first bytes of a file say it is; "" for text, and for what is not known."""
    for magic, content in _MAGIC:
        if head.startswith(magic):
            return content
    if head[257:262] == b"ustar":
        return "tar"
    if _ARROW_STREAM.match(head):
        return "arrow"
    if _HTML.match(head):
        return "html"
    return "xml" if _XML.match(head) else ""


def mark_of(head: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark tells, and the mark's length; `("", 0)` without one."""
    return next(((name, len(mark)) for mark, name in _MARKS if head.startswith(mark)), ("", 0))


def looks_like_text(head: bytes) -> bool:
    """Whether the first bytes may be a text table: UTF-8 without control characters, or marked."""
    if mark_of(head)[0]:
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) - error.start > 3 or error.reason != "unexpected end of data":
            return False
        text = head[: error.start].decode()  # a character that is cut
    return not any(ord(character) < 32 and character not in "\t\r\n\f" for character in text)
