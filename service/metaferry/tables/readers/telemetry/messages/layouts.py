"""Types of ROS messages as what their bytes are, one after the other.

rosbags parses the descriptions (.msg and .idl); a layout is what `wire` walks along. Times and durations of
ROS 1 are primitive there, and here the two numbers that they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from metaferry.tables.readers.telemetry.messages.limits import MOST_LEVELS, MOST_SCHEMA


class Unreadable(Exception):
    """Messages of a topic that nothing here can decode: why, and what to do about it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Base:
    """A number or a boolean: the code of `struct`, its bytes, and what it is to Python."""

    code: str
    size: int
    kind: str = "int"


@dataclass(frozen=True, slots=True)
class Text:
    """A text; `wide` in two bytes a character."""

    wide: bool = False


@dataclass(slots=True)
class Struct:
    """A message in a message: names and layouts of its fields, which are set once it is known. `least`: bytes
    that it takes at least, without alignment."""

    name: str
    fields: tuple[tuple[str, Layout], ...] = ()
    least: int = 0


@dataclass(frozen=True, slots=True)
class Items:
    """Several of one kind: so many, or where `count` is None, as many as stand before them."""

    item: Layout
    count: int | None = None


Layout: TypeAlias = "Base | Text | Struct | Items"

_BASES: Final[dict[str, Base]] = {
    "bool": Base("B", 1, "bool"),
    "byte": Base("B", 1),
    "octet": Base("B", 1),
    "char": Base("B", 1),
    "int8": Base("b", 1),
    "uint8": Base("B", 1),
    "int16": Base("h", 2),
    "uint16": Base("H", 2),
    "int32": Base("i", 4),
    "uint32": Base("I", 4),
    "int64": Base("q", 8),
    "uint64": Base("Q", 8),
    "float32": Base("f", 4, "single"),
    "float64": Base("d", 8, "double"),
}
_TIMES: Final = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")

#: Types as rosbags describes them: constants, and names with their kinds.
Described = Mapping[str, tuple[Any, Any]]


def described(name: str, text: str, *, is_idl: bool = False) -> Described:
    """The types of a description, and of all that it has appended. Raises Unreadable."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if len(text) > MOST_SCHEMA:
        raise Unreadable(f"the description of {name} has {len(text) >> 20} MiB")
    try:
        return get_types_from_idl(text) if is_idl else get_types_from_msg(text, full_name(name))
    except Exception as error:  # noqa: BLE001 - whatever the parser meets in a damaged description
        raise Unreadable(f"the description of {name} cannot be read ({type(error).__name__})") from None


def layout_of(name: str, types: Described, *, is_ros1: bool) -> Struct:
    """The layout of a type. Raises Unreadable for one that nobody describes, or that holds itself."""
    return _Compiler(types, is_ros1).struct(full_name(name), 0)


def full_name(name: str) -> str:
    """`std_msgs/Header` as `std_msgs/msg/Header`."""
    package, slash, rest = name.partition("/")
    return name if not slash or "/" in rest else f"{package}/msg/{rest}"


class _Compiler:
    def __init__(self, types: Described, is_ros1: bool) -> None:
        self._types = types
        self._is_ros1 = is_ros1
        self._known: dict[str, Struct] = {}

    def struct(self, name: str, level: int) -> Struct:
        known = self._known.get(name)
        if known is not None:
            return known
        if level > MOST_LEVELS:
            raise Unreadable(f"{name} has more than {MOST_LEVELS} levels, or holds itself")
        made = Struct(name)
        if name in _TIMES:
            # Signed are the seconds of ROS 2, and both halves of a duration of ROS 1.
            is_signed = (name == _TIMES[1]) if self._is_ros1 else True
            seconds = _BASES["int32" if is_signed else "uint32"]
            made.fields = (("sec", seconds), ("nanosec", seconds if self._is_ros1 else _BASES["uint32"]))
        elif name in self._types:
            _, fields = self._types[name]
            made.fields = tuple((key, self._layout(kind, level + 1)) for key, kind in fields)
            if not made.fields and not self._is_ros1:
                made.fields = (("structure_needs_at_least_one_member", _BASES["uint8"]),)
        else:
            raise Unreadable(f"nothing describes the type {name}")
        made.least = sum(least(layout) for _, layout in made.fields)
        self._known[name] = made
        return made

    def _layout(self, kind: Any, level: int) -> Layout:
        node, what = kind
        match node.name:
            case "BASE":
                name = what[0]
                if name in ("string", "wstring"):
                    return Text(wide=name == "wstring")
                if name not in _BASES:
                    raise Unreadable(f"there is no way to read {name}")
                return _BASES[name]
            case "NAME":
                return self.struct(full_name(what), level)
            case "ARRAY":
                return Items(self._layout(what[0], level), what[1])
            case _:
                return Items(self._layout(what[0], level))


def least(layout: Layout) -> int:
    """Bytes that it takes at least, without alignment."""
    match layout:
        case Base():
            return layout.size
        case Struct():
            return layout.least
        case Items(item, count):
            return 4 if count is None else least(item) * count
        case _:
            return 4
