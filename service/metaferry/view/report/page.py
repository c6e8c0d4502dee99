"""The file: payload, style and script in one HTML text that asks for nothing else.

Its policy lets in this one style and this one script, by their hashes, and no request at all. Data enters as
base64 of a gzip stream, so no text of it is ever markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import struct
import zlib
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any


def pack(head: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """One gzip stream: the length of `head` as JSON (4 bytes, little endian), `head`, the parts.

    `head["parts"]` has offset and length of each part, counted from the end of `head`.
    """
    places, at = {}, 0
    for name, data in parts.items():
        places[name] = (at, len(data))
        at += len(data)
    text = json.dumps({**head, "parts": places}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", errors="replace"
    )
    return gzip.compress(b"".join([struct.pack("<I", len(text)), text, *parts.values()]), 9, mtime=0)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """`head`, without `parts`, and the parts. ValueError for what `pack` has not made."""
    try:
        raw = gzip.decompress(data)
        (size,) = struct.unpack_from("<I", raw)
        head = json.loads(raw[4 : 4 + size])
        places = head.pop("parts")
        start = 4 + size
        return head, {name: raw[start + at : start + at + length] for name, (at, length) in places.items()}
    except (OSError, EOFError, zlib.error, struct.error, KeyError, AttributeError, TypeError) as error:
        raise ValueError("these are no counts of a page") from error


def page_html(title: str, payload: bytes, *, pictures: bool = False) -> str:
    """The page around a payload. `pictures`: it shows some, which are in it as `data:` URLs."""
    folder = files("metaferry.view.report")
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    scripts = sorted((each for each in folder.joinpath("script").iterdir()), key=lambda each: each.name)
    script = "\n".join(each.read_text(encoding="utf-8") for each in scripts if each.name.endswith(".js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"base-uri 'none'; form-action 'none'" + ("; img-src data:" if pictures else "")
    )
    return Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        script=script,
        payload=base64.b64encode(payload).decode("ascii"),
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
