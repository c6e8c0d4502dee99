"""Tracebacks without secrets: where an error was raised, without the text of foreign exceptions.

Libraries put signed URLs, headers and connection strings into their exceptions. The text is shown
only of our own exceptions and of some of the interpreter's; of all others only the type.
"""

from __future__ import annotations

import traceback
from typing import Final

from metaferry.errors import MetaferryError
from metaferry.masking import mask

#: Raised by the interpreter; their texts are about the program, not its data.
_HARMLESS: Final = (AttributeError, ImportError, NameError, RecursionError, ZeroDivisionError)


def trace(error: BaseException) -> str:
    """The traceback of the error and of its causes, oldest first, as lines that end with a newline."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nwhich led to\n\n".join(_one(each) for each in reversed(chain))


def _one(error: BaseException) -> str:
    lines = ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    known = isinstance(error, MetaferryError) or type(error) in _HARMLESS
    lines.append(f"{name}: {error}\n" if known else f"{name}\n")
    if isinstance(error, BaseExceptionGroup):
        lines += [f"\none of them:\n\n{trace(each)}" for each in error.exceptions]
    return mask("".join(lines))
