"""Findings: what a run noticed about single rows and files, and the closed list of their codes.

An *error* (`errors.py`) stops a run. A *finding* does not: it names one row or one file that
could not be used, or that the user will want to know of, and says what to do. Findings are
shown by `plan` and `sync`, counted in `run.json` and kept beside the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"  # a row was rejected, or a document refused
    WARNING = "warning"  # used, or left alone, but somebody should look
    INFO = "info"


class Code(StrEnum):
    """Closed and documented in docs/findings.md (a test compares the two)."""

    # -- rows
    SOURCE_MALFORMED = "source.malformed"  # a line that is no record: ragged, bad JSON, bad encoding
    SOURCE_EMPTY = "source.empty"  # a table without rows, or a glob without tables
    SOURCE_UNUSED = "source.unused"  # it has rows, and none of them is used
    SOURCE_PASSED_OVER = "source.passed_over"  # files that a glob matches and that hold no table
    SOURCE_CONTRADICTION = "source.contradiction"  # annotations of an image that is not listed, and the like
    SOURCE_CUT = "source.cut"  # a recording that ends in the middle: what came before is used
    SOURCE_ASKED_AGAIN = "source.asked_again"  # a connection broke, and all of the query was asked again
    SOURCE_NULLS = "source.nulls"  # words such as NA that are read as no value
    RECORD_UNNAMED = "record.unnamed"  # the row's file_name is null or empty
    RECORD_UNMATCHED = "record.unmatched"  # no media of that name
    RECORD_AMBIGUOUS = "record.ambiguous"  # several media have that base name
    RECORD_EXCLUDED = "record.excluded"  # its media is outside include/exclude/--prefix
    RECORD_DUPLICATE = "record.duplicate"  # rows of one source that say different things of one document
    RECORD_REPEATED = "record.repeated"  # rows that say what another row of the source says
    RECORD_OVERLAP = "record.overlap"  # a later source replaced values of an earlier one
    RECORD_FRAME_INVALID = "record.frame_invalid"  # a frame that is no whole number, or on an image
    RECORD_FRAME_OUT_OF_RANGE = "record.frame_out_of_range"  # frame >= number of frames, or negative
    NAME_HOSTILE = "name.hostile"  # `..`, backslash, control characters …
    NAME_TOO_LONG = "name.too_long"  # its document's key would be too long for the store
    VALUE_TYPE = "value.type"  # the value does not fit its schema entry
    VALUE_RANGE = "value.range"  # an integer beyond 2^53
    VALUE_NOT_FINITE = "value.not_finite"  # NaN or Infinity: the key is left out
    # -- telemetry
    TELEMETRY_NO_FIX = "telemetry.no_fix"  # samples that the device itself marks as invalid
    TELEMETRY_NO_POSITION = "telemetry.no_position"  # samples at latitude 0 and longitude 0
    TELEMETRY_UNDATED = "telemetry.undated"  # times of day without a day
    TELEMETRY_ASSUMED = "telemetry.assumed"  # a type that the bag does not describe, as ROS 2 has it
    TELEMETRY_LEFT_OUT = "telemetry.left_out"  # long lists and bytes of messages
    TELEMETRY_UNREAD = "telemetry.unread"  # a topic whose messages cannot be decoded
    TELEMETRY_UNTIMED = "telemetry.untimed"  # points without a time
    TELEMETRY_UNIT = "telemetry.unit"  # the unit of a time was told by its magnitude
    TELEMETRY_BAD_TIME = "telemetry.bad_time"  # a sample without a time
    TELEMETRY_NO_ZONE = "telemetry.no_zone"  # a sample whose time says no zone
    TELEMETRY_SWAPPED = "telemetry.swapped"  # a latitude that there is not
    TELEMETRY_NO_START = "telemetry.no_start"  # a video of which nothing says when it begins
    TELEMETRY_UNFILLED = "telemetry.unfilled"  # a video of which no frame gets a value
    TELEMETRY_OVERLAP = "telemetry.overlap"  # samples that cover less than half of their video
    TELEMETRY_BACKWARDS = "telemetry.backwards"  # samples whose clock runs backwards
    TELEMETRY_REPEATED = "telemetry.repeated"  # samples of one time
    TELEMETRY_GAPS = "telemetry.gaps"  # frames that lack a value
    # -- media
    MEDIA_COLLISION = "media.collision"  # two media that would share one document
    MEDIA_UNREADABLE = "media.unreadable"  # a video that does not decode, or a file without readable headers
    MEDIA_DAMAGED = "media.damaged"  # headers of which a part is damaged: facts may be missing
    MEDIA_UNPROVED = "media.unproved"  # a video whose frame count nothing proves
    MEDIA_UNTIMED = "media.untimed"  # a video whose frames have no times, and rows that name some
    MEDIA_NONE = "media.none"  # the input holds no media, or the job takes none of them in
    MEDIA_OLD_LISTING = "media.old_listing"  # the media come from an inventory, or a listing gone on with
    MEDIA_METADATA_UNREADABLE = "media.metadata_unreadable"  # user metadata of objects that are no text
    MEDIA_NO_FACTS = "media.no_facts"  # a job wants metadata or tags that the store does not have
    # -- documents
    DOCUMENT_ORPHAN = "document.orphan"  # its media or its records are gone
    DOCUMENT_STALE = "document.stale"  # a frame document with the digits of an older encoding
    DOCUMENT_MODIFIED_EXTERNALLY = "document.modified_externally"  # since our last run, or during this
    DOCUMENT_EXISTING = "document.existing"  # in place before any run that is known of, and replaced
    DOCUMENT_UNSOURCED = "document.unsourced"  # the same, with keys that no table gives
    DOCUMENT_CONFLICT = "document.conflict"  # changed by somebody else during this run
    DOCUMENT_FAILED = "document.failed"  # could not be written; the next run tries again
    DOCUMENT_CORRUPT = "document.corrupt"  # read back as other bytes than were written
    # -- of a check
    DOCUMENT_INVALID = "document.invalid"  # a consumer cannot use it, or stops at it
    DOCUMENT_MISNAMED = "document.misnamed"  # a frame document whose number has the wrong digits
    DOCUMENT_OUTDATED = "document.outdated"  # a sync would create, replace or delete it
    DOCUMENT_MISSING = "document.missing"  # media without a document
    DOCUMENT_DEFAULT = "document.default"  # a document that has no value of any entry
    SCHEMA_INVALID = "schema.invalid"  # a schema.json that cannot be used, or none beside documents
    # -- the schema and the store
    SCHEMA_CHANGED = "schema.changed"  # schema.json gains or changes entries
    SCHEMA_DEFAULT_CHANGED = "schema.default_changed"  # documents were left out by another default
    SCHEMA_TEXT = "schema.text"  # a column of numbers that is text, or becomes it
    SCHEMA_UNCOVERED = "schema.uncovered"  # a key that no schema entry describes
    SCHEMA_MISFIT = "schema.misfit"  # a document in place that an entry's type would make invalid
    SCHEMA_UNPROVED = "schema.unproved"  # not all documents in place were held to an entry's type
    STORAGE_NOT_ATOMIC = "storage.not_atomic"  # this file system cannot rename
    STORAGE_OUTAGE = "storage.outage"  # the store took no document any more: the rest is deferred
    STORAGE_NO_CONDITIONS = "storage.no_conditions"  # this store has no conditional writes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed, with its place. Empty strings and None mean "does not apply"."""

    code: Code
    severity: Severity
    message: str
    advice: str = ""
    source: str = ""  # the source's name: its table as the job file gives it
    file: str = ""  # the file of that table, where a source is several
    row: int | None = None  # line of a text file, row number (from 1) otherwise
    media: str = ""
    target: str = ""
