"""What the log of a task says: advice in the words of an operator, findings with examples, whole numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from metaferry.errors import UsageError

if TYPE_CHECKING:
    from metaferry.planning.formats import Report

_FLAG: Final = re.compile(r"--set[ =](?:'([^']*)'|([^\s`,;]*[^\s`,;.:]))")


def in_airflow(text: str) -> str:
    """A message of the library with the flags of the command line as arguments of an operator."""
    return _FLAG.sub(lambda found: f"overrides=[{(found[1] or found[2])!r}]", text)


def finding_lines(report: Report) -> Iterator[str]:
    """The findings of a report with examples and advice, as the command prints them; then its own advice."""
    from metaferry.cli.show.render import findings_lines

    for line in findings_lines(report):
        text = line if isinstance(line, str) else line.plain
        if text.strip():
            yield in_airflow(text.rstrip())
    if report.advice:
        yield in_airflow(f"{report.stopped or 'advice'} → {report.advice}")


def whole_number(name: str, given: Any, *, most: int | None = None) -> int | None:
    """An argument, also as the text of a template; None where it is not given. Raises UsageError."""
    if given is None or given in ("", "None"):
        return None
    text = str(given).strip()
    number = int(text) if text.isascii() and text.isdigit() and not isinstance(given, bool) else 0
    if number < 1 or (most is not None and number > most):
        limits = f"from 1 to {most}" if most is not None else "from 1"
        raise UsageError(f"{name} should be a whole number {limits}, is {given!r}")
    return number


def unsigned(url: str) -> str:
    """The URL of a plan or of a table, which Airflow stores and shows; UsageError if it holds credentials."""
    from metaferry.urls import holds_secret, redact

    if holds_secret(url):
        raise UsageError(
            f"{redact(url)}: this URL holds credentials, and Airflow shows it to all users",
            advice="remove them from the URL, and use a connection (`azure_conn_id`)",
        )
    return url
