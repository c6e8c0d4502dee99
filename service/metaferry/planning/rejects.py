"""Every row that could not be used, by name: the rejects table, its counts, and findings with advice.

`rejects` has one row for each fault (a row with two bad values has two); rows under
`policy.unmatched: report` and rows of excluded media are in it too, since they were not used, but
do not count as rejected. Rows that repeat another are no rejects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.planning.advice.frames import out_of_range_advice
from metaferry.planning.advice.queries import duplicate_advice
from metaferry.planning.advice.spelling import written
from metaferry.planning.database import Database
from metaferry.planning.formats import SourceCounts
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded

#: A name as the table has it, cut to what a person reads.
_NAME: Final = "left(m.given, 200)"

#: How many frames a video has, and which of a range are none of them.
_FRAMES_THERE: Final = (
    "CASE m.frames WHEN 0 THEN 'none' WHEN 1 THEN '1 frame (0)' "
    "ELSE m.frames || ' frames (0 to ' || (m.frames - 1) || ')' END"
)


def _from_to(first: str, last: str) -> str:
    return f"CASE WHEN {first} = {last} THEN {last}::VARCHAR ELSE {first} || ' to ' || {last} END"


_FRAMES_MISSING: Final = (
    "CASE WHEN m.last IS NULL THEN '' ELSE ': missing ' || concat_ws(' and ', "
    f"CASE WHEN m.frame < 0 THEN {_from_to('m.frame', 'least(m.last, -1)')} END, "
    f"CASE WHEN m.last >= m.frames THEN {_from_to('greatest(m.frame, m.frames)', 'm.last')} END) END"
)

_OF_VIDEO: Final = (
    "video",
    "m.given",
    "a video that samples can be joined to",
    "'\"' || m.media || '\": ' || m.detail",
)

#: The reject of each code: (column, SQL of the value, what was expected, SQL of the message).
_MESSAGES: Final = {
    Code.RECORD_UNNAMED: ("file_name", "NULL", "the path of a media file", "'the row names no file'"),
    Code.NAME_HOSTILE: (
        "file_name",
        "m.given",
        "a plain relative path",
        f"'the file name \"' || {_NAME} || '\" has ' || m.detail",
    ),
    Code.NAME_TOO_LONG: (
        "file_name",
        "m.given",
        "a name that the store can hold the document of",
        "'the document of \"' || m.name || '\" ' || m.detail",
    ),
    Code.RECORD_UNMATCHED: (
        "file_name",
        "m.given",
        "a media file of the input",
        f"'no media file is called \"' || {_NAME} || '\"'",
    ),
    Code.RECORD_AMBIGUOUS: (
        "file_name",
        "m.given",
        "a name that one media file alone has",
        f"'\"' || {_NAME} || '\" is the name of several media: ' || m.detail",
    ),
    Code.RECORD_EXCLUDED: (
        "file_name",
        "m.given",
        "a media file that the job takes in",
        f"'\"' || {_NAME} || CASE WHEN m.detail = 'several' "
        "THEN '\" is the name of several media, and include, exclude or --prefix leaves out all of them' "
        "WHEN m.media IS NULL THEN '\" is outside --prefix' "
        "ELSE '\" is there, but include, exclude or --prefix leaves it out' END",
    ),
    Code.RECORD_FRAME_INVALID: (
        "frame",
        "m.written",
        "a whole number, on a video",
        "CASE WHEN starts_with(m.detail, 'why:') THEN substr(m.detail, 5) WHEN m.detail = 'image' "
        "THEN '\"' || m.media || '\" is an image: it has no frames' "
        "ELSE 'the frame \"' || m.detail || '\" is no whole number' END",
    ),
    Code.RECORD_FRAME_OUT_OF_RANGE: (
        "frame",
        "m.written",
        "0 to the number of frames less one",
        f"coalesce(m.detail, CASE WHEN m.last IS NULL THEN 'frame ' || m.frame "
        f"ELSE 'frames ' || m.frame || ' to ' || m.last END || ' of \"' || m.media || '\", which has ' "
        f"|| {_FRAMES_THERE} || {_FRAMES_MISSING})",
    ),
    Code.MEDIA_UNREADABLE: (
        "frame",
        "m.written",
        "a video that decodes",
        "'\"' || m.media || '\": ' || m.detail",
    ),
    Code.MEDIA_UNPROVED: (
        "frame",
        "m.written",
        "a video whose frames can be counted",
        "'\"' || m.media || '\": ' || m.detail",
    ),
    Code.MEDIA_UNTIMED: (
        "frame",
        "m.written",
        "a video whose frames have times",
        "'\"' || m.media || '\": ' || m.detail",
    ),
    Code.MEDIA_COLLISION: (
        "file_name",
        "m.given",
        "a document of its own",
        "'the document of \"' || m.media || '\" would be shared by ' || m.detail",
    ),
    Code.TELEMETRY_NO_START: _OF_VIDEO,
    Code.TELEMETRY_UNFILLED: _OF_VIDEO,
    Code.RECORD_DUPLICATE: (
        "file_name",
        "m.given",
        "one row a document in each source",
        "CASE WHEN m.last IS NULL THEN 'several rows are for ' || m.target || ': ' "
        "ELSE 'several rows say different things of ' END || m.detail",
    ),
}

_ADVICE: Final = {
    Code.NAME_HOSTILE: "correct file_name, or leave such rows out with `where`",
    Code.NAME_TOO_LONG: "shorten the name of the media, or the path of the datasource of its document",
    Code.RECORD_UNMATCHED: "change the job's file_name expression if all names are off alike",
    Code.RECORD_AMBIGUOUS: "let file_name give the path below `input`, without `match`; or rename the media",
    Code.RECORD_EXCLUDED: "nothing, where that is meant; else see media.include, media.exclude and --prefix",
    Code.RECORD_FRAME_INVALID: "frames are whole numbers counted from 0, and null for an image or a whole "
    "video; leave such rows out with `where`, or correct `frame`",
    Code.MEDIA_UNREADABLE: "replace the file; or leave its rows out with `where`, "
    "or the file with media.exclude",
    Code.MEDIA_UNPROVED: "see `metaferry frames --explain`, and run again; or leave its rows out by `where`",
    Code.MEDIA_UNTIMED: "name the frames by their index; `metaferry frames --timestamps` shows what is known",
    Code.MEDIA_COLLISION: "rename one of the files, or take one out with media.exclude",
    Code.TELEMETRY_BAD_TIME: "leave such samples out with `where`, or mend them",
    Code.TELEMETRY_NO_ZONE: "say which clock it is of, beside `telemetry`: time: {zone: UTC} …",
    Code.TELEMETRY_SWAPPED: "if latitude and longitude stand in each other's place, swap the expressions; "
    "else leave such samples out with `where`",
    Code.TELEMETRY_NO_START: "see `start`: another `from`, or leave its samples out with `where`",
    Code.TELEMETRY_UNFILLED: "see `start` (means, zone, offset) and `time` (zone, unit): where one is "
    "wrong, track and video do not meet; or leave its samples out with `where`",
    Code.VALUE_TYPE: "mend the value, cast it in the mapping, or give its schema entry another type",
    Code.VALUE_RANGE: "integers beyond 2^53 lose digits in readers: map them as text, or divide them",
}


#: SQL of the advice for a row that could not be read, by what is said of it (see `tables`).
_OF_MALFORMED: Final = (
    "CASE WHEN contains(r.message, ' under encoding: ') THEN 'where that is what it should be, write beside "
    "table: ' || regexp_extract(r.message, 'encoding: \\S+') "
    "WHEN contains(r.message, ' is not UTF-8') THEN 'name the encoding of the table beside it, such as "
    "encoding: cp1252, or save it as UTF-8' "
    "WHEN contains(r.message, 'and `columns` names ') THEN 'mend the row in the table; where all rows "
    "have as many, name all columns' "
    r"WHEN try_cast(regexp_extract(r.message, 'the row has (\d+) cells', 1) AS INTEGER) = "
    r"try_cast(regexp_extract(r.message, 'the header has (\d+)$', 1) AS INTEGER) + 1 "
    "THEN 'mend the row in the table; where all rows have one more, as R writes the names of rows: "
    "skip: {before: 1}, header: false, and columns: with a name for each' "
    "ELSE 'mend the row in the table' END"
)

#: Codes of rows that are not used, and are not rejected for that by themselves, as SQL.
_NOT_REJECTED: Final = tuple(
    str(code) for code in (Code.RECORD_UNMATCHED, Code.RECORD_EXCLUDED, Code.RECORD_REPEATED)
)


def collect_rejects(database: Database, sources: Sequence[Loaded]) -> None:
    """Names every unusable row of the `match_*` tables in `rejects`."""
    for index, source in enumerate(sources):
        found = database.rows(
            f"SELECT DISTINCT code FROM match_{index} "
            f"WHERE code <> '{Code.RECORD_REPEATED}' AND NOT starts_with(code, 'value.')"
        )
        for (code,) in sorted(found):
            column, value, expected, message = _MESSAGES[Code(code)]
            database.run(
                f"""
                INSERT INTO rejects
                SELECT {sql.quote_text(source.label)}, f.url, m.row, m.code, {sql.quote_text(column)},
                       left({value}, 200), {sql.quote_text(expected)}, {message}
                FROM match_{index} m JOIN files_{index} f ON f.file = m.file
                WHERE m.lead AND m.code = {sql.quote_text(code)}
                """
            )


def count_rows(
    database: Database, sources: Sequence[Loaded], *, reject_unmatched: bool
) -> list[SourceCounts]:
    """Rows of each source by what became of them; they add up to what was read."""
    counts = []
    for index, source in enumerate(sources):
        # A row of a range is used when one of its records is: the others say what rows before it said.
        used_rows = "DISTINCT rid" if source.frames.is_range else "*"
        rows, used, unmatched, excluded, other = database.row(
            f"""
            SELECT count(*) FILTER (lead), count({used_rows}) FILTER (code IS NULL),
                   count(*) FILTER (lead AND code = '{Code.RECORD_UNMATCHED}'),
                   count(*) FILTER (lead AND code = '{Code.RECORD_EXCLUDED}'),
                   count(*) FILTER (lead AND code NOT IN {_NOT_REJECTED})
            FROM match_{index}
            """
        )
        repeated = rows - used - unmatched - excluded - other
        meant = source.read - excluded - source.filtered - repeated
        rejected = other + source.malformed + (unmatched if reject_unmatched else 0)
        counts.append(
            SourceCounts(
                name=source.label,
                read=source.read,
                used=used,
                rejected=rejected,
                unmatched=0 if reject_unmatched else unmatched,
                excluded=excluded,
                filtered=source.filtered,
                repeated=repeated,
                used_share=used / meant if meant else None,
            )
        )
    return counts


def count_rejects(database: Database) -> dict[str, int]:
    """How many faults of each code kept rows from being used: the rows of `rejects.parquet`."""
    return dict(database.rows("SELECT code, count(*) FROM rejects GROUP BY code ORDER BY code"))


def findings_of_rejects(
    database: Database, job: Job, sources: Sequence[Loaded], *, reject_unmatched: bool
) -> None:
    """One finding a reject, with the advice of its code."""
    advice = _by_source(Code.RECORD_UNNAMED, {one.label: _without_names(one.file_name) for one in sources})
    advice += _by_source(
        Code.RECORD_FRAME_OUT_OF_RANGE,
        {one.label: out_of_range_advice(source) for source, one in zip(job.sources, sources, strict=True)},
    )
    advice += _by_source(
        Code.RECORD_DUPLICATE,
        {
            one.label: duplicate_advice(source, one.keys)
            for source, one in zip(job.sources, sources, strict=True)
        },
    )
    advice += f"WHEN '{Code.SOURCE_MALFORMED}' THEN {_OF_MALFORMED} "
    advice += " ".join(f"WHEN '{code}' THEN {sql.quote_text(text)}" for code, text in _ADVICE.items())
    unmatched = "error" if reject_unmatched else "warning"
    database.run(
        f"""
        INSERT INTO findings
        SELECT r.code,
               CASE r.code WHEN '{Code.RECORD_UNMATCHED}' THEN '{unmatched}'
                           WHEN '{Code.RECORD_EXCLUDED}' THEN 'info' ELSE 'error' END,
               r.message, coalesce(h.hint, t.advice, CASE r.code {advice} ELSE '' END), r.source, r.file,
               r.row, '', ''
        FROM rejects r LEFT JOIN hints h ON r.code IN ('{Code.RECORD_UNMATCHED}', '{Code.NAME_HOSTILE}')
             AND h.source = r.source AND h.given = r.value
        LEFT JOIN sticky t ON r.code = '{Code.VALUE_TYPE}' AND t.path = r."column"
        """
    )


def _without_names(file_name: str) -> str:
    plain = re.fullmatch(r'\w+|"[^"]+"', file_name.strip())
    line = written("where", f"{file_name.strip() if plain else f'({file_name})'} <> ''")
    return f"give the row a file name, or leave such rows out: {line}"


def _by_source(code: Code, advice: dict[str, str]) -> str:
    """SQL of the branch of a code whose advice differs by source."""
    whens = " ".join(
        f"WHEN {sql.quote_text(label)} THEN {sql.quote_text(text)}" for label, text in advice.items()
    )
    return f"WHEN '{code}' THEN CASE r.source {whens} END "
