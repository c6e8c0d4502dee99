"""Which file a task of Label Studio is about: an export has no configuration, which would say it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from metaferry.lightly.names import media_kind
from metaferry.tables.readers.annotations.values import path_of

#: Keys of `data` that name media by convention, the first of them first.
_KEYS: Final = ("image", "video", "img", "url", "ocr")
#: What the tool puts before the name of a file that was uploaded: the project, and eight hexadecimal digits.
_UPLOADED: Final = re.compile(r"/?data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(?=[^/])")
_LOCAL: Final = re.compile(r"/?data/local-files/?\?")


def file_name_of(data: Mapping[str, Any]) -> str | None:
    """The path of the one file that `data` names; None for none, and where it is not clear which."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    named = [key for key in texts if media_kind(_path_of(texts[key])) is not None]
    usual = [key for key in _KEYS if key in named] or [key for key in _KEYS[:2] if key in texts and not named]
    key = usual[0] if usual else named[0] if len(named) == 1 else None
    return None if key is None else _path_of(texts[key])


def _path_of(value: str) -> str:
    """The path of a file, as its store or its folder has it."""
    local = _LOCAL.match(value)
    if local is not None:
        return parse_qs(urlsplit(value).query).get("d", [value])[0].lstrip("/")
    path = path_of(value)
    uploaded = _UPLOADED.match(path)
    return path[uploaded.end() :] if uploaded is not None else path.lstrip("/")
