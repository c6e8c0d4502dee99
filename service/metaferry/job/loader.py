"""From a job file to a `Job`: YAML with line numbers, `--set`, `${VAR}`, absolute paths, faults.

All faults of a file are listed, each with file, line and key. YAML is read by the core schema of 1.2: `no`,
`on` and `12:30` are text, since a job file holds mostly expressions and names. Values below `storage:`,
`options:`, `db_kwargs:` and `properties:`, and the URIs of databases, never appear in a message, since they
may be credentials.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from metaferry.errors import JobError, JobFault
from metaferry.job.keys import known_keys
from metaferry.job.parts import Model
from metaferry.job.paths import make_absolute
from metaferry.job.places import TextPlaces, text_places
from metaferry.job.variables import as_written, expand, remember_secrets
from metaferry.job.yaml_text import Fault, Key, Tree, read_yaml
from metaferry.lightly.schema import entry_faults
from metaferry.masking import mask
from metaferry.storage.local.disk_names import absolute, from_disk, to_disk


class Loadable(Model):
    """The model that a job file is validated against; it keeps the mapping it was read from."""

    def read_from(self, origin: Mapping[str, Any], places: TextPlaces) -> Self:
        """This value, with `origin` kept, and with where the queries and expressions of its sources stand."""
        raise NotImplementedError


J = TypeVar("J", bound=Loadable)

#: Keys below which values are not shown, since they may be credentials.
_SECRET: Final = frozenset({"options", "db_kwargs", "properties", "uri"})
#: Names of forms in the model, which the file does not have.
_TAGS: Final = frozenset({"[key]", "[joined]", "[expression]"})
_STEP: Final = re.compile(r'"([^"]*)"|([^.\[\]"]+)|\[([0-9]+)\]')


def load_job(kind: type[J], path: str | PathLike[str], overrides: Sequence[str] = ()) -> J:
    """`Job.load`: reads and validates the file."""
    name = os.fspath(path)
    base = Path(absolute(path)).parent
    try:
        with open(to_disk(from_disk(name)), "rb") as file:
            text = file.read().decode()
    except FileNotFoundError:
        raise JobError(
            "there is no such job file", place=name, advice="`metaferry init` writes one to start from"
        ) from None
    except IsADirectoryError:
        inside = os.path.join(name, "job.yaml")
        has_one = os.path.exists(to_disk(from_disk(inside)))
        advice = f"name {inside}" if has_one else "name a job file; `metaferry init` writes one to start from"
        raise JobError("is a folder, not a job file", place=name, advice=advice) from None
    except UnicodeDecodeError as error:
        raise JobError(f"is not UTF-8 text (byte {error.start})", place=name) from None
    except OSError as error:
        raise JobError(f"cannot be read: {error.strerror}", place=name) from None
    tree = read_yaml(text)
    return _job(kind, tree, name, base, overrides)


def job_of(
    kind: type[J],
    mapping: Mapping[str, Any],
    *,
    base: str | PathLike[str],
    overrides: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> J:
    """`Job.from_mapping`: the same validation of values that are in memory."""
    return _job(kind, Tree(_plain(mapping)), "", Path(absolute(base)), overrides, variables)


def job_from_text(kind: type[J], text: str, *, name: str, overrides: Sequence[str] = ()) -> J:
    """The job of a file that was read from elsewhere; `name` is where, for messages.

    Relative paths are relative to the working directory.
    """
    return _job(kind, read_yaml(text), name, Path(absolute(".")), overrides)


def storage_of(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The `storage` part of a job given by flags alone: `storage.s3.endpoint_url=…`."""
    tree = Tree({})
    for override in overrides:
        _override(tree, override)
    expand(tree)
    storage = tree.value.get("storage", {})
    for path in tree.flags:
        if path[0] != "storage":
            tree.fault(path, "only storage.SCHEME.OPTION=VALUE has a meaning here")
    for scheme, options in storage.items() if isinstance(storage, dict) else [("", None)]:
        if not isinstance(options, dict):
            tree.fault(("storage", scheme) if scheme else ("storage",), "should be a mapping")
    if tree.faults:
        raise _error(tree, "")
    return dict(storage)


def _job(
    kind: type[J],
    tree: Tree,
    name: str,
    base: Path,
    overrides: Sequence[str],
    variables: Mapping[str, str] | None = None,
) -> J:
    for override in overrides:
        _override(tree, override)
    if not tree.faults or isinstance(tree.value, dict):
        origin = _plain(tree.value)
        before = len(tree.faults)
        expand(tree, variables)
        unknown = [fault.path for fault in tree.faults[before:]]
        remember_secrets(tree.value)
        if not isinstance(tree.value, dict):
            tree.fault((), "is empty" if tree.value is None else "should be a mapping of keys")
        else:
            make_absolute(tree.value, base)
            job = _validate(kind, tree, unknown)
            if job is not None and not tree.faults:
                make_absolute(origin, base, as_written=True)
                return job.read_from(origin, text_places(tree, name))
    raise _error(tree, name)


# -- overrides


def _override(tree: Tree, override: str) -> None:
    """Sets `key=value` in the tree. The value is YAML; its faults name the flag."""
    dotted, mark, text = override.partition("=")
    flag = f"--set {dotted.strip()}"
    path = _steps(dotted.strip())
    if not mark or path is None:
        tree.faults.append(Fault((), "should be key=value, such as policy.max_rejects=5", flag=flag))
        return
    value = read_yaml(text)
    if value.faults:
        tree.faults += [Fault((), fault.message, flag=flag) for fault in value.faults]
        return
    if tree.value is None:
        tree.value = {}
    node = tree.value
    for at, step in enumerate(path[:-1]):
        below = node.get(step) if isinstance(node, dict) and isinstance(step, str) else _item(node, step)
        if isinstance(below, str) and path[:1] == ("tables",) and at == 1:
            below = {"table": below}
        elif isinstance(below, str) and path[at + 1] in ("url", "options", "value", "base"):
            # The short form of a location or a frame becomes the long one.
            below = {"url" if path[at + 1] in ("url", "options") else "value": below}
        elif below is None and isinstance(node, dict):
            below = {}
            tree.flags.setdefault(path[: at + 1], flag)
        if not isinstance(below, dict | list):
            tree.faults.append(Fault((), f"there is no {_dotted(path[: at + 1])} to set it in", flag=flag))
            return
        if isinstance(node, dict):
            node[step] = below
        else:
            node[step] = below
        node = below
    last = path[-1]
    in_list = isinstance(node, list) and isinstance(last, int) and last < len(node)
    if not in_list and not (isinstance(node, dict) and isinstance(last, str)):
        tree.faults.append(Fault((), f"there is no {_dotted(path)}", flag=flag))
        return
    node[last] = value.value
    tree.flags[path] = flag


def _item(node: Any, step: Key) -> Any:
    return node[step] if isinstance(node, list) and isinstance(step, int) and step < len(node) else None


def _steps(dotted: str) -> tuple[Key, ...] | None:
    """`sources[0].metadata.weather.temperature` as steps; below `metadata` the rest is one key."""
    steps: list[Key] = []
    at = 0
    while at < len(dotted):
        if len(steps) == 3 and steps[0] == "sources" and steps[2] == "metadata":
            rest = dotted[at:]
            steps.append(rest[1:-1] if len(rest) > 2 and rest[0] == rest[-1] == '"' else rest)
            return tuple(steps)
        match = _STEP.match(dotted, at)
        if match is None:
            return None
        quoted, plain, position = match.groups()
        if position is not None:
            steps.append(int(position))
        elif plain is not None and plain.isdigit() and steps == ["sources"]:
            steps.append(int(plain))
        else:
            steps.append(quoted if quoted is not None else plain)
        at = match.end()
        if at < len(dotted) and dotted[at] == ".":
            at += 1
            if at == len(dotted):
                return None
        elif at < len(dotted) and dotted[at] != "[":
            return None
    return tuple(steps) or None


# -- checks


def _validate(kind: type[J], tree: Tree, unknown: Sequence[tuple[Key, ...]]) -> J | None:
    """The job; None with its faults in the tree. `unknown`: places of texts whose variables have no value."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(tree.value)
    except ValidationError as error:
        known = {fault.path for fault in tree.faults}
        entries = _schema_faults(tree.value)
        for one in error.errors(include_url=False, include_context=True, include_input=True):
            path, missing = _path(tree.value, one["loc"])
            # pydantic counts a list as empty if all its items are invalid; the items are reported already.
            hollow = one["type"] == "too_short" and one["input"]
            # Of `workers`: a value that is not a number is reported by the check of numbers.
            other = one["type"] == "literal_error" and any(fault.path == path for fault in tree.faults)
            # The model names the first of them alone.
            other |= bool(entries) and path == ("schema",) and one["type"] == "value_error"
            # What a part lacks as a whole may be what its variable holds.
            other |= one["type"] == "value_error" and any(path == each[: len(path)] for each in unknown)
            if path not in known and not hollow and not other:
                tree.fault(path, as_written(tree, path, _message(kind, one, path, missing, tree)))
        said = {fault.path[:length] for fault in tree.faults for length in range(len(fault.path) + 1)}
        for path, message in entries:
            if path not in said:
                tree.fault(path, as_written(tree, path, message))
    return None


def _schema_faults(mapping: dict[str, Any]) -> list[tuple[tuple[Key, ...], str]]:
    """The faults of the schema entries that a job spells out, each with its place."""
    schema = mapping.get("schema")
    above: tuple[Key, ...] = ("schema",)
    if isinstance(schema, dict):
        schema, above = schema.get("entries"), ("schema", "entries")
    found = entry_faults(schema) if isinstance(schema, list) else []
    return [((*above, one.index, *([one.key] if one.key else [])), one.message) for one in found]


def _path(value: Any, loc: Iterable[int | str]) -> tuple[tuple[Key, ...], bool]:
    """The loc of a check as a path in the file: steps that exist in the model only are left out."""
    path: list[Key] = []
    steps = [step for step in loc if step not in _TAGS]
    for at, step in enumerate(steps):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, dict) and "infer" in value and isinstance(value["infer"], dict):
            if step != "infer" and step in value["infer"]:
                path.append("infer")
                value = value["infer"][step]
            else:
                continue
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif isinstance(value, dict) and at == len(steps) - 1:
            return (*path, step), True
        else:
            continue
        path.append(step)
    return tuple(path), False


def _message(kind: type[Loadable], error: Any, path: tuple[Key, ...], missing: bool, tree: Tree) -> str:
    secret = not _SECRET.isdisjoint(path) or path[:1] == ("storage",)
    code, context, value = error["type"], error.get("ctx", {}), error["input"]
    echoed = tree.written[path][0] if path in tree.written else value
    is_ = "" if secret or isinstance(value, dict | list) else f", is {_shown(echoed)}"
    if code == "missing" and missing:
        return "is missing"
    if code == "extra_forbidden":
        known = known_keys(kind, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, 1, 0.6)
        return "unknown key; " + (f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}")
    if code in ("value_error", "assertion_error"):
        return str(context["error"])
    if code == "literal_error":
        return f"should be {context['expected'].replace(chr(39), '')}{is_}"
    if code in ("too_short", "string_too_short"):
        return "should not be empty"
    texts = {
        "bool_type": "should be true or false",
        "string_type": "should be text",
        "dict_type": "should be a mapping",
        "model_type": "should be a mapping",
        "model_attributes_type": "should be a mapping",
        "tuple_type": "should be a list",
        "int_type": "should be a whole number",
        "int_parsing": "should be a whole number",
        "int_from_float": "should be a whole number",
        "float_type": "should be a number",
        "float_parsing": "should be a number",
        "finite_number": "should be a number",
    }
    if code in texts:
        return texts[code] + is_
    if code == "string_pattern_mismatch":
        return f"should be a size such as 1GB or 512MiB{is_}"
    bounds = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}
    if code in bounds:
        word, name = bounds[code]
        return f"should be {word} {context[name]:g}{is_}"
    return str(error["msg"])


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and "://" in value:
        return "a URL"  # may hold credentials
    text = mask(repr(value), shortest=1)
    return text if len(text) <= 60 else f"{text[:57]}…"


# -- the error


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def _error(tree: Tree, name: str) -> JobError:
    faults = sorted(tree.faults, key=lambda fault: (fault.flag, fault.line or tree.line(fault.path)))
    lines = [_line(tree, fault, name) for fault in faults]
    advice = "docs/job-file.md describes every key"
    each = tuple(JobFault(one.path, one.line or tree.line(one.path), one.message) for one in faults)
    if len(lines) == 1:
        return JobError(lines[0].message, place=lines[0].place, advice=advice, faults=each)
    text = f"{len(lines)} faults in the job\n" + "\n".join(map(str, lines))
    return JobError(text, advice=advice, faults=each)


def _line(tree: Tree, fault: Fault, name: str) -> _Line:
    flag = fault.flag or tree.flag(fault.path)
    dotted = _dotted(fault.path)
    if flag:
        return _Line(flag if not dotted or dotted in flag else f"{flag}: {dotted}", fault.message)
    line = fault.line or tree.line(fault.path)
    where = f"{name}:{line}" if name and line else name
    return _Line(": ".join(part for part in (where, dotted) if part), fault.message)


def _dotted(path: tuple[Key, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dict and list, so that one walk fits all."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, PathLike) else value
