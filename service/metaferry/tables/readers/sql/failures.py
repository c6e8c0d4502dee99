"""What drivers of databases say, as our errors: with a place, what to do, and no credentials. Pure functions.

A code decides (SQLSTATE, MySQL's numbers); the words of a driver do where it gives no code, as libpq does
of a connection that it could not make.
"""

from __future__ import annotations

import re
from typing import Final

from metaferry.errors import Denied, JobError, MetaferryError, Unavailable
from metaferry.masking import mask_foreign
from metaferry.tables.readers.sql.target import Target

#: SQLSTATEs of what passes: connections, shutdowns, too many clients, conflicts of transactions.
_PASSING: Final = ("08", "53", "58", "57P", "25P03", "40001", "40P01", "HYT")
_REFUSED: Final = ("28", "42501")
#: In the words of libpq where a connection was not made, in the order in which they are looked for.
_REFUSED_WORDS: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|role \".*\" does not exist"
    r"|not permitted to log in|permission denied",
    re.IGNORECASE,
)
_WRONG_WORDS: Final = re.compile(
    r"database \".*\" does not exist|invalid (?:URI|percent|connection|port|integer|sslmode|\w+ value)"
    r"|missing \"=\"|unsupported|not supported|could not open certificate|certificate file",
    re.IGNORECASE,
)
#: Of MySQL and MariaDB: their numbers of errors.
_MYSQL_REFUSED: Final = frozenset(
    {1044, 1045, 1130, 1142, 1143, 1227, 1251, 1370, 1698, 1820, 2059, 2061, 3118}
)
_MYSQL_PASSING: Final = frozenset(
    {1040, 1053, 1077, 1078, 1079, 1080, 1129, 1152, 1153, 1154, 1155, 1156, 1158, 1159, 1160, 1161, 1184}
    | {1203, 1205, 1213, 1226, 1927, 2002, 2003, 2004, 2005, 2006, 2012, 2013, 2014, 2026, 2027, 2055}
)
#: Statuses of ADBC, which tell of drivers without SQLSTATEs whether the question or the connection is at
#: fault: https://arrow.apache.org/adbc/current/cpp/concepts.html#error-handling
_REFUSED_STATUS: Final = frozenset({"UNAUTHENTICATED", "UNAUTHORIZED"})
_WRONG_STATUS: Final = frozenset(
    {"INVALID_ARGUMENT", "INVALID_DATA", "NOT_FOUND", "NOT_IMPLEMENTED", "ALREADY_EXISTS", "INTEGRITY"}
)
_READ_ONLY: Final = ("25006",)
_MYSQL_READ_ONLY: Final = frozenset({1290, 1792, 1836})

_PREFIX: Final = re.compile(
    r"^(?:[A-Z_]+: )?(?:\[\w+\] ?)?(?:Failed to \w+(?: \w+)*?(?: '.*?')?: |Execution error \[\w+\]: )?"
    r"(?:could not begin COPY: )?(?:connection to server (?:at|on) .*? failed: )?"
    r"(?:(?:ERROR|FATAL|PANIC): +)?",
    re.DOTALL,
)
_HINT: Final = re.compile(r"^HINT: +(.*)$", re.MULTILINE)
_LINE: Final = re.compile(r"^LINE (\d+): ", re.MULTILINE)


def translated(error: Exception, target: Target, place: str) -> MetaferryError:
    """The error that a run ends with, or, where it is `retryable`, repeats the query for."""
    if target.kind == "mysql":
        return _of_mysql(error, target, place)
    state = getattr(error, "sqlstate", None) or ""
    text = str(error)
    what = primary(text)
    if text.partition(": ")[2].startswith("[Driver Manager]"):
        return JobError(
            f"the driver {target.driver} cannot be loaded: {what}",
            place=f"{place}.driver",
            advice="install it, and name its Python package (adbc_driver_…), its library, or its manifest",
        )
    if state in _READ_ONLY or "readonly database" in text:
        return _read_only(place)
    status = _status(error)
    if state.startswith(_REFUSED) or status in _REFUSED_STATUS or (not state and _REFUSED_WORDS.search(text)):
        return _denied(target, what, state)
    if state.startswith(_PASSING):
        return _broken(target, what, state)
    if target.kind == "sqlite":
        return _of_sqlite(text, what, target, place)
    if not state and status not in _WRONG_STATUS and not _WRONG_WORDS.search(text):
        return _broken(target, what, state)
    at = _LINE.search(text)
    hint = _HINT.search(text)
    wrong_uri = not state and _WRONG_WORDS.search(text) is not None
    key = "uri" if wrong_uri or state.startswith("3D") else "query"
    where = f" (line {at[1]} of the query)" if at and key == "query" and at[1] != "1" else ""
    return JobError(
        f"{target.shown}: {what}{where}",
        place=f"{place}.{key}",
        advice=mask_foreign(hint[1]) if hint else _advice(state, key),
    )


def primary(text: str) -> str:
    """The first line of a driver's message without its prefixes, and without anything that may be a
    secret."""
    bare = _PREFIX.sub("", text.strip(), count=1)
    first = bare.strip().split("\n", 1)[0]
    first = re.sub(r" \(using password: \w+\)", "", first)
    return mask_foreign(first.removesuffix(".").strip()) or "the driver does not say why"


def _status(error: Exception) -> str:
    """The name of ADBC's status; "" of an exception that is none of ADBC's."""
    return str(getattr(getattr(error, "status_code", None), "name", ""))


def _advice(state: str, key: str) -> str:
    if key == "uri":
        return "correct the URI, or the variable that it comes from"
    if state == "57014":
        return (
            "the server ends queries that take too long: ask for fewer rows, or have statement_timeout raised"
        )
    if state.startswith("22"):
        return "cast, or leave out, what does not fit in the query"
    return "correct the query: it is one SELECT in the SQL of that database"


def _of_sqlite(text: str, what: str, target: Target, place: str) -> MetaferryError:
    if "locked" in text or "busy" in text:
        return _broken(target, what, "")
    if "not a database" in text or "malformed" in text or "failed to allocate memory" in text:
        why = what if "allocate" not in text else "it cannot be opened"
        return JobError(
            f"{target.shown}: {why}", place=f"{place}.uri", advice="name a whole SQLite file that may be read"
        )
    return JobError(f"{target.shown}: {what}", place=f"{place}.query", advice=_advice("", "query"))


def _of_mysql(error: Exception, target: Target, place: str) -> MetaferryError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = str(error.args[1]) if len(error.args) > 1 else str(error)
    what = primary(words)
    if code in _MYSQL_READ_ONLY:
        return _read_only(place)
    if code in _MYSQL_REFUSED:
        return _denied(target, what, str(code))
    if code in _MYSQL_PASSING or code == 0:
        return _broken(target, what, str(code or ""))
    key = "uri" if code == 1049 else "query"
    advice = _advice("57014" if code in (1317, 1969, 3024) else "", key)
    return JobError(f"{target.shown}: {what}", place=f"{place}.{key}", advice=advice)


def _read_only(place: str) -> JobError:
    return JobError(
        "the query would change the database, and its session only reads",
        place=f"{place}.query",
        advice="ask with one SELECT that changes nothing",
    )


def _denied(target: Target, what: str, code: str) -> Denied:
    return Denied(
        f"{target.shown}: {what}",
        url=target.shown,
        code=code,
        advice="correct user and password, or have the right to read granted (GRANT SELECT … TO …)",
    )


def _broken(target: Target, what: str, code: str) -> Unavailable:
    return Unavailable(
        f"{target.shown}: {what}",
        url=target.shown,
        code=code,
        advice="see that the server runs and can be reached from here (firewalls, a network policy)",
    )
