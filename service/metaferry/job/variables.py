"""Environment variables, files and secrets in a job file.

`${NAME}` in a text is replaced by the variable's value, `${file:/path}` by what the file holds, `$${` by
`${`. A fault in such a text shows the
text as its author wrote it. Secrets are registered (`masking.py`) before any message is written.
"""

from __future__ import annotations

import json
import os
import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Final

from metaferry.job.yaml_text import Key, Tree
from metaferry.masking import mask, remember, remember_path, remember_url
from metaferry.secret_files import PREFIX, FileText, SecretFileError, read_secret_file
from metaferry.urls import SCHEMES, split_scheme

#: Keys below which every text may be a credential.
_SECRET: Final = frozenset({"options", "db_kwargs", "properties"})
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


def expand(tree: Tree, variables: Mapping[str, str] | None = None) -> None:
    """Puts variables and files in the place of `${NAME}` and `${file:/path}` in every text value.

    variables: by name, over those of the environment.
    """
    given = ChainMap(dict(variables or {}), os.environ)

    def walk(value: Any, path: tuple[Key, ...]) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, at)) for at, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _expanded(tree, path, value, given)
        return value

    tree.value = walk(tree.value, ())


def remember_secrets(value: Any, path: tuple[Key, ...] = ()) -> None:
    """Registers as secret what is below `storage:`, `options:`, `db_kwargs:` and `properties:`, and the
    credentials in URLs."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _SECRET or (key == "storage" and not path):
                remember({str(key): item})
            else:
                remember_secrets(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            remember_secrets(item, (*path, at))
    elif isinstance(value, str) and "://" in value:
        remember_url(value)


def as_written(tree: Tree, path: tuple[Key, ...], message: str) -> str:
    """The message with `${NAME}` where the value of a variable of this place stands, and no secret."""
    for name, value in tree.written.get(path, ("", ()))[1]:
        for text in filter(None, (value, json.dumps(value)[1:-1], repr(value)[1:-1])):
            message = message.replace(text, f"${{{name}}}")
    return mask(message, shortest=1)


def _expanded(tree: Tree, path: tuple[Key, ...], text: str, given: Mapping[str, str]) -> str:
    """The text with the values of what it names; a `FileText` where files are among it."""
    parts: list[str | tuple[str]] = []
    values: list[str] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[at : match.start()])
        values.append(text[at : match.start()])
        at = match.end()
        file = (match[1] or "").removeprefix(PREFIX)
        if match[0].endswith("}") and file != match[1] and match[1]:
            parts.append((file,))
            values.append(_file(tree, path, file, text))
        else:
            value = _variable(tree, path, match, text, given)
            parts.append(value)
            values.append(value)
    expanded = "".join([*values, text[at:]])
    has_files = any(isinstance(part, tuple) for part in parts)
    return FileText(expanded, text, (*parts, text[at:])) if has_files else expanded


def _file(tree: Tree, path: tuple[Key, ...], file: str, text: str) -> str:
    if not file:
        tree.fault(path, "${file:} names no file; write ${file:/run/secrets/key}")
        return ""
    try:
        value = read_secret_file(file)
    except SecretFileError as error:
        tree.fault(path, f"the file {file} {error}")
        return ""
    tree.written.setdefault(path, (text, []))[1].append((PREFIX + file, value))
    return value


def _variable(
    tree: Tree, path: tuple[Key, ...], match: re.Match[str], text: str, given: Mapping[str, str]
) -> str:
    if match[0] == "$${":
        return "${"
    name = match[1]
    if not match[0].endswith("}") or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        what = f"{match[0]} names no environment variable and no file"
        tree.fault(path, f"{what}; a literal ${{ is written $${{")
        return ""
    value = given.get(name)
    if value is None:
        tree.fault(path, f"the environment variable {name} is not set")
        return ""
    tree.written.setdefault(path, (text, []))[1].append((name, value))
    # What stands in the path of a web server's URL may be a token. Buckets, folders below them and local
    # paths are names, which are shown.
    scheme, _ = split_scheme(text.rpartition("::")[2])
    if scheme and scheme not in SCHEMES:
        remember_path(value)
    return value
