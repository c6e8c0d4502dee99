"""JSON objects that no reader takes for rows, recognised for advice: with the names of media as their keys,
or with columns as pandas writes them.

Looked at only where a table could not be used.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from metaferry.errors import JobError, MetaferryError
from metaferry.lightly.names import media_kind
from metaferry.storage.io.portal import Portal
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.files.find import TableObject

_TOKEN: Final = re.compile(r'\s*([{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+)')
#: Objects around the one with the names: a path that a command can follow.
_DEEPEST: Final = 2
#: How tables of columns begin, and what makes rows of one (`d`), for a shell.
_COLUMNS: Final = (
    (re.compile(r'\s*\{\s*"columns"\s*:\s*\['), "dict(zip(d['columns'], r)))) for r in d['data']"),
    (
        re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:'),
        "{c: v.get(k) for c, v in d.items()})) for k in next(iter(d.values()))",
    ),
    (
        re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[[^\[\]{}]*\]\s*,\s*"(?:[^"\\]|\\.)*"\s*:\s*\['),
        "dict(zip(d, r)))) for r in zip(*d.values())",
    ),
)


@dataclass(frozen=True, slots=True)
class Keyed:
    """Where an object with the names of media as keys is, and the first of them.

    `value` is what that key has: `{`, `[` for a list of objects, "" for all else.
    """

    path: tuple[str, ...]
    name: str
    value: str

    def command(self, file: str, *, by_line: bool = False) -> str:
        """The line of a shell that makes JSON Lines of a file, with one line a record.

        With `by_line` each line of the file is such an object.
        """
        members = "json.load(sys.stdin)" + "".join(f"['{step}']" for step in self.path)
        each = f"for k, v in {members}.items()"
        if by_line:
            each = "for line in sys.stdin for k, v in json.loads(line).items()"
        record, more = "{**v, 'file_name': k}", ""
        if self.value == "[":
            more = " for v in v"
        elif not self.value:
            record = "{'file_name': k, 'value': v}"
        code = f"import json, sys; [print(json.dumps({record})) {each}{more}]"
        name, made = file.rpartition("/")[2], made_of(file)
        return f'python3 -c "{code}" < {shlex.quote(name)} > {shlex.quote(made)}'


def keyed_by_media(head: str) -> Keyed | None:
    """The first object of media names near the beginning of a JSON text; None where there is none."""
    path: list[str] = []
    tokens = [match[1] for match in _TOKEN.finditer(head)]
    at = depth = 0
    while at + 2 < len(tokens):
        if tokens[at] != "{" or depth > _DEEPEST:
            return None
        at += 1
        # The members of this object, up to the first that is an object itself.
        while tokens[at : at + 1] and tokens[at].startswith('"') and tokens[at + 1 : at + 2] == [":"]:
            key, value = tokens[at][1:-1], "".join(tokens[at + 2 : at + 3])
            if media_kind(key) is not None and "\\" not in key:
                opened = "".join(tokens[at + 2 : at + 4])
                return Keyed(tuple(path), key, "{" if value == "{" else "[" if opened == "[{" else "")
            if value == "{":
                if not re.fullmatch(r"\w+", key):
                    return None
                path.append(key)
                depth, at = depth + 1, at + 2
                break
            if value == "[" or tokens[at + 3 : at + 4] != [","]:
                return None
            at += 4
        else:
            return None
    return None


def made_of(file: str) -> str:
    """The name of the JSON Lines that are made of a file."""
    name = file.rpartition("/")[2]
    stem = name.removesuffix(".jsonl").removesuffix(".json")
    return f"{stem}.jsonl" if stem + ".jsonl" != name else f"{stem}.rows.jsonl"


def keyed_fault(
    file: TableObject, portal: Portal, place: str, *, encoding: str, lines: bool
) -> JobError | None:
    """What to say of a table that cannot be used since it is such an object, of either kind; None for others.

    `lines` says that it is JSON Lines, where nothing but the objects themselves is looked at.
    """
    stream = ByteStream(file, portal, place, encoding)
    try:
        head = next(stream.text(), b"")
    except MetaferryError:  # the fault that is there already says more
        return None
    if stream.packed:
        return None
    text = head.decode(errors="ignore")
    # One line of JSON Lines may well hold lists.
    rows = next((code for pattern, code in _COLUMNS if pattern.match(text) and not lines), "")
    if rows:
        code = f"import json, sys; d = json.load(sys.stdin); [print(json.dumps({rows}]"
        name, made = file.url.rpartition("/")[2], made_of(file.url)
        return JobError(
            f"{file.url} has a list for each column, where rows are expected",
            place=place,
            advice="pandas writes rows with to_json(…, orient='records', lines=True); or make a line of "
            f"each, and name that file ({made}): "
            f'python3 -c "{code}" < {shlex.quote(name)} > {shlex.quote(made)}',
        )
    found = keyed_by_media(text)
    if found is None or (lines and found.path):
        return None
    where = f" at {'.'.join(('$', *found.path))}" if found.path else ""
    return JobError(
        f'{file.url} has an object with the names of media as its keys{where}, such as "{found.name}", where '
        "rows are expected",
        place=place,
        advice=f"make a line of each, and name that file ({made_of(file.url)}): "
        + found.command(file.url, by_line=lines),
    )
