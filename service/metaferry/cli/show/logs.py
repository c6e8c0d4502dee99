"""The process's log on stderr: one line a record, as text or as JSON.

Below the level error only metaferry's own records are shown. Records of other libraries may hold
tokens, signed URLs and headers, so only their errors are shown, whatever level they set themselves, with
the secrets of the job and of the environment masked. Every JSON line has the id of its run.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from metaferry.cli.show.failures import CLI_LOGGER
from metaferry.cli.show.text import safe
from metaferry.cli.show.traces import trace
from metaferry.masked_logs import is_foreign
from metaferry.masking import mask, mask_foreign, remember_environment
from metaferry.runid import current


def start_logging(console: Console, *, quiet: bool, verbose: int, as_json: bool) -> None:
    """Sets the one handler of the process; a second call replaces it."""
    remember_environment(os.environ)
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(console, as_json=as_json, traces=verbose >= 2)
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or not is_foreign(record.name))
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    logging.getLogger("metaferry").setLevel(level)
    # Messages for the user (`Session.say`) where the log is JSON: shown without -v.
    logging.getLogger(CLI_LOGGER).setLevel(logging.ERROR if quiet else min(level, logging.INFO))
    logging.captureWarnings(True)


class _Handler(logging.Handler):
    """Through the console, so that lines and progress bars do not write over each other."""

    def __init__(self, console: Console, *, as_json: bool, traces: bool) -> None:
        super().__init__()
        self._console = console
        self._json = as_json
        self._traces = traces

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print(Text(self._as_json(record) if self._json else self._as_text(record)))
        except Exception:  # noqa: BLE001 - as logging does itself: a log record must not end a run
            self.handleError(record)

    def _as_json(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if run_id := current():
            line["run_id"] = run_id
        if self._traces and (error := _error(record)) is not None:
            line["exception"] = trace(error)
        return json.dumps(line, ensure_ascii=False)

    def _as_text(self, record: logging.LogRecord) -> str:
        message = safe(_message(record))
        if self._traces and (error := _error(record)) is not None:
            message += "\n" + trace(error).rstrip()
        if self._console.is_terminal:
            return f"{record.levelname.lower()}: {message}"
        return f"{_time(record)} {record.levelname.lower()} {record.name}: {message}"


def _message(record: logging.LogRecord) -> str:
    return mask_foreign(record.getMessage()) if is_foreign(record.name) else mask(record.getMessage())


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
