"""What the libraries of Delta and Iceberg say, as our errors. Pure functions."""

from __future__ import annotations

import re
from typing import Final

from metaferry.errors import Denied, JobError, MetaferryError, NotFound, Unavailable
from metaferry.masking import mask_foreign

_REFUSED: Final = re.compile(
    r"\b40[13]\b|access ?denied|forbidden|unauthori[sz]ed|invalidaccesskey|signaturedoesnotmatch"
    r"|no credentials|unable to locate credentials|expired ?token|permission denied",
    re.IGNORECASE,
)
_PASSING: Final = re.compile(
    r"\b(?:429|500|502|503|504)\b|timed? ?out|connection (?:refused|reset|closed|error|aborted)|connect error"
    r"|error sending request|could not connect|dns error|name or service not known|slow ?down|broken pipe",
    re.IGNORECASE,
)
_GONE: Final = re.compile(
    r"\b404\b|not ?found|does not exist|no such (?:file|key|bucket)|no files in log segment", re.IGNORECASE
)


def lake_error(error: Exception, shown: str, place: str, kind: str) -> MetaferryError:
    """The error of a table that cannot be read; `retryable` where it may pass."""
    name = type(error).__name__
    words = _words(error)
    text = f"{name} {error}"
    if isinstance(error, PermissionError) or _REFUSED.search(text):
        return Denied(
            f"{shown} may not be read: {words}",
            url=shown,
            advice="correct the credentials (options:, storage:, or the environment), or grant the right to "
            "list and read its folder",
        )
    if isinstance(error, ConnectionError | TimeoutError) or _PASSING.search(text):
        return Unavailable(
            f"{shown}: {words}",
            url=shown,
            advice="see that the store and the catalog can be reached from here",
        )
    if isinstance(error, FileNotFoundError) or _GONE.search(text):
        what = f"there is no {kind} table {shown}, or a file of it is gone: {words}"
        advice = (
            "correct the URL, which is the folder of the table; or, where an old version is read whose files "
            "were vacuumed away, name a newer one"
        )
        if "://" not in shown:  # nobody is about to put it there
            return JobError(what, place=place, advice=advice)
        return NotFound(what, url=shown, advice=advice)
    if "specified end version" in words or "invalid table version" in words.lower():
        return _version(shown, words, place)
    if name == "ValidationError":
        words = "its metadata is not what the format says"
    return JobError(
        f"{shown} cannot be read as {'an' if kind == 'Iceberg' else 'a'} {kind} table: {words}",
        place=place,
        advice="if it needs a newer library: pip install --upgrade 'metaferry[lake]'",
    )


def _version(shown: str, words: str, place: str) -> JobError:
    return JobError(
        f"{shown} does not have that version: {words}",
        place=f"{place}.version",
        advice="name one of its versions",
    )


def _words(error: Exception) -> str:
    """What a library says, in one line, without anything that may be a secret.

    Delta's errors are trees of causes, a line each: the first and the last tell.
    """
    text = _DRAWN.sub("", str(error))
    answer = _ANSWER.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    last = f"{answer[1]}, {answer[2]}" if answer else lines[-1]
    whole = mask_foreign(lines[0] if len(lines) == 1 else f"{lines[0]}: {last}")
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}…"


#: The lines and colours of a tree of causes.
_DRAWN: Final = re.compile(r"\x1b\[[0-9;]*m|↳")
#: An answer of S3 and its likes.
_ANSWER: Final = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")
_LONGEST: Final = 300
