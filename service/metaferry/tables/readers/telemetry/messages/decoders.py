"""How the messages of a topic are decoded: by their encoding, and the description that the file has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metaferry.tables.readers.telemetry.messages.json_text import json_message
from metaferry.tables.readers.telemetry.messages.layouts import (
    Described,
    Struct,
    Unreadable,
    described,
    layout_of,
)
from metaferry.tables.readers.telemetry.messages.limits import LeftOut
from metaferry.tables.readers.telemetry.messages.protobuf import protobuf_decoder
from metaferry.tables.readers.telemetry.messages.wire import cdr_message, ros1_message

#: What makes an object of the bytes of a message. Raises Bad.
Decoder = Callable[[bytes], dict[str, Any]]


def decoder_of(encoding: str, kind: str, schema: str, description: bytes, left_out: LeftOut) -> Decoder:
    """What decodes messages of the type `kind`, as MCAP names encodings. Raises Unreadable."""
    match encoding, schema:
        case ("json", _):
            return lambda data: json_message(data, left_out)
        case ("protobuf", "protobuf"):
            return protobuf_decoder(kind, description, left_out)
        case ("cdr", "ros2msg" | "ros2idl"):
            types = described(kind, text_of(kind, description), is_idl=schema == "ros2idl")
            return cdr_decoder(layout_of(kind, types, is_ros1=False), left_out)
        case ("ros1", "ros1msg"):
            return ros1_decoder(kind, described(kind, text_of(kind, description)), left_out)
        case _:
            of = f" ({schema})" if schema else ""
            raise Unreadable(f"messages encoded as {encoding or 'nothing that is named'}{of} cannot be read")


def cdr_decoder(layout: Struct, left_out: LeftOut) -> Decoder:
    """What decodes messages of ROS 2."""
    return lambda data: cdr_message(data, layout, left_out)


def ros1_decoder(kind: str, types: Described, left_out: LeftOut) -> Decoder:
    """What decodes messages of ROS 1. Raises Unreadable."""
    layout = layout_of(kind, types, is_ros1=True)
    return lambda data: ros1_message(data, layout, left_out)


def text_of(kind: str, description: bytes) -> str:
    """The description of a type, as text. Raises Unreadable."""
    try:
        return description.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"the description of {kind} is no text") from None
