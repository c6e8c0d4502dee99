"""Errors as the user sees them, and the exit code of the process."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime

from metaferry.cli.show.traces import trace
from metaferry.errors import MetaferryError, UsageError, exit_code
from metaferry.masking import mask
from metaferry.runid import current

#: The logger of messages for the user.
CLI_LOGGER = "metaferry.cli"


def report_failure(error: BaseException, arguments: list[str]) -> int:
    """One clear message on stderr, with advice; a traceback only under -vv. Returns the exit code."""
    code = exit_code(error)
    traces = _verbosity(arguments) >= 2
    if isinstance(error, KeyboardInterrupt):
        message, advice = "interrupted", ""
    elif isinstance(error, OSError) and error.filename is None and _of_a_help_text(error):
        message, advice = f"the output could not be written: {error.strerror}", ""
    elif (usage := _usage_error(error)) is not None:
        code, (message, advice) = UsageError.exit_code, usage
    elif isinstance(error, MetaferryError):
        message, advice = mask(error.message), mask(error.advice)
    else:
        message = f"this is a bug in metaferry: {type(error).__name__}"
        advice = "" if traces else "run it again with -vv for the traceback, and report that"
    if wants_json(arguments):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "level": "error", "logger": CLI_LOGGER, "message": message, "advice": advice}
        if run_id := current():
            line["run_id"] = run_id
        if traces:
            line["exception"] = trace(error)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{json.dumps(line, ensure_ascii=False)}\n")
        return code
    with contextlib.suppress(OSError):
        if traces and not isinstance(error, KeyboardInterrupt):
            sys.stderr.write(trace(error))
        _write(message, advice)
    return code


def wants_json(arguments: list[str]) -> bool:
    """Whether these words of a command line ask for a JSON log, also where they cannot be used."""
    return _value(arguments, "--log-format") == "json"


def close_streams() -> bool:
    """Flushes the streams. False if output was still buffered (a help text) and could not be written.

    A pipe that its reader closed is no failure.
    """
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            from metaferry.cli.streams import give_up

            give_up(stream)
            written = written and (stream is sys.stderr or isinstance(error, BrokenPipeError))
    return written


def _usage_error(error: BaseException) -> tuple[str, str] | None:
    """Message and advice for what the command-line library found wrong; None for any other error."""
    import typer

    # The base class of its errors is not exported, and has moved between versions.
    base = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
    if not isinstance(error, base):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "metaferry"
    return mask(error.format_message()), f"`{command} -h` shows what it takes"  # type: ignore[attr-defined]


def _of_a_help_text(error: BaseException) -> bool:
    """Whether it came from the command-line library, which opens no files but the standard streams."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    module = "" if at is None else str(at.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in ("click", "typer", "rich")


def _write(message: str, advice: str) -> None:
    from rich.text import Text

    from metaferry.cli.show.text import safe
    from metaferry.cli.streams import PlainConsole

    console = PlainConsole(stderr=True)
    first, *rest = message.split("\n")
    console.print(Text.assemble(("error: ", "bold red"), safe(first)))
    for line in rest:
        console.print(Text(f"  {safe(line)}"))
    if advice:
        first, *rest = advice.split("\n")
        console.print(Text.assemble(("advice: ", "bold"), safe(first)))
        for line in rest:  # text to paste
            console.print(Text(f"  {safe(line)}"))


def _verbosity(arguments: list[str]) -> int:
    short = [word[1:] for word in arguments if word.startswith("-") and not word.startswith("--")]
    return sum(word.count("v") for word in short if set(word) <= set("qv")) + arguments.count("--verbose")


def _value(arguments: list[str], flag: str) -> str:
    for at, word in enumerate(arguments):
        if word == flag:
            return arguments[at + 1] if at + 1 < len(arguments) else ""
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""
