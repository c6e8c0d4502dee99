"""Messages of Protocol Buffers, by the descriptions that the file has of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.telemetry.messages.layouts import Unreadable
from metaferry.tables.readers.telemetry.messages.limits import (
    MISSING,
    MOST_ITEMS,
    MOST_LEVELS,
    MOST_SCHEMA,
    Budget,
    LeftOut,
    bounded,
    single,
)


def protobuf_decoder(name: str, description: bytes, left_out: LeftOut) -> Callable[[bytes], dict[str, Any]]:
    """What decodes messages of a type, whose description is a FileDescriptorSet. Raises Unreadable."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from google.protobuf.message import DecodeError
    except ImportError:
        raise Unreadable(
            f"{name} is of Protocol Buffers, whose library is not installed", "pip install protobuf"
        ) from None
    if len(description) > MOST_SCHEMA:
        raise Unreadable(f"the description of {name} has {len(description) >> 20} MiB")
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(description)
        pool = descriptor_pool.DescriptorPool()
        for file in _in_order(list(files.file)):
            pool.Add(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except Exception as error:  # noqa: BLE001 - whatever the library meets in a damaged description
        raise Unreadable(f"the description of {name} cannot be read ({type(error).__name__})") from None

    def decode(data: bytes) -> dict[str, Any]:
        try:
            message = kind.FromString(data)
        except (DecodeError, RecursionError, ValueError):
            raise Bad(f"it is no message of the type {name}") from None
        return _object(message, Budget(left_out), "", 0)

    return decode


def _in_order(files: list[Any]) -> list[Any]:
    """Files after those that they import."""
    by_name = {file.name: file for file in files}
    found: dict[str, Any] = {}
    waiting = list(reversed(files))
    opened: set[str] = set()
    while waiting:
        file = waiting[-1]
        if file.name in found or file.name in opened:
            found.setdefault(file.name, waiting.pop())
            continue
        opened.add(file.name)
        waiting += [by_name[one] for one in file.dependency if one in by_name and one not in found]
    return list(found.values())


def _object(message: Any, budget: Budget, path: str, level: int) -> dict[str, Any]:
    if level > MOST_LEVELS:
        raise Bad(f"it has more than {MOST_LEVELS} levels")
    found = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        where = f"{path}.{field.name}" if path else field.name
        value = _value(getattr(message, field.name), field, budget, where, level)
        if value is not MISSING:
            found[field.name] = value
    return found


def _value(value: Any, field: Any, budget: Budget, path: str, level: int) -> Any:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if len(value) > MOST_ITEMS:
            budget.left_out.add(path)
            return MISSING
        held = entry.fields_by_name["value"]
        items = {str(key): _one(value[key], held, budget, path, level) for key in value}
        return {key: item for key, item in items.items() if item is not MISSING}
    if not hasattr(value, "append"):
        return _one(value, field, budget, path, level)
    if len(value) > MOST_ITEMS:
        budget.left_out.add(path)
        return MISSING
    kept = [_one(item, field, budget, path, level) for item in value]
    return [None if item is MISSING else item for item in kept]


def _one(value: Any, field: Any, budget: Budget, path: str, level: int) -> Any:
    if field.message_type is not None:
        return _object(value, budget, path, level + 1)
    if isinstance(value, bytes):
        budget.left_out.add(path)
        return MISSING
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return bounded(known.name if known is not None else value, budget, path)
    if field.type == field.TYPE_FLOAT:
        return single(value) if budget.take(path) else MISSING
    return bounded(value, budget, path)
