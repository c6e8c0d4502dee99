"""The keys of a source whose rows are joined to frames by time: `video`, `time`, `start`, and how each value
is joined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from metaferry.job.parts import Expression, Model, Short
from metaferry.job.readers.keys import READER_KEYS, ReaderKeys
from metaferry.job.readers.samples import Samples

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
How: TypeAlias = Literal["linear", "angular", "nearest", "previous"]

#: Nanoseconds of the units of a duration.
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION: Final = re.compile(r"([+-]?)\s*(\d{1,12}(?:\.\d{1,12})?)\s*(ns|us|ms|s|min|h|d)")
#: No clock of a recording is off by more, in nanoseconds: 100 years.
_LARGEST: Final = 100 * 366 * _UNITS["d"]
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*|[+-]\d\d:[0-5]\d")
#: What a pattern of a file name may hold, and how many digits each has.
DIRECTIVES: Final = {
    "Y": r"\d{4}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "H": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,9}",
    "s": r"\d{1,12}",
}


def nanoseconds(text: str) -> int:
    """A duration such as `-2.5s` or `1h` in nanoseconds. Raises ValueError for what is none, or is less than
    a nanosecond."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no duration: write a number with its unit, such as -2.5s, 100ms, 30min or 1h"
        )
    value = Decimal(match[2]) * _UNITS[match[3]]
    if value != int(value):
        raise ValueError(f"{text!r} has a fraction of a nanosecond")
    if value > _LARGEST:
        raise ValueError(f"{text!r} is more than 100 years")
    return -int(value) if match[1] == "-" else int(value)


def _duration(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError(f"{value!r} has no unit: write {value}s, {value}ms …")
    if isinstance(value, str):
        nanoseconds(value)
    return value


def _positive(value: Any) -> Any:
    if isinstance(_duration(value), str) and nanoseconds(value) <= 0:
        raise ValueError(f"{value!r} should be more than nothing")
    return value


Duration = Annotated[str, BeforeValidator(_duration, json_schema_input_type=str)]
Gap = Annotated[str, BeforeValidator(_positive, json_schema_input_type=str)]


def _zone(zone: str | None) -> str | None:
    if zone is not None and not _ZONE.fullmatch(zone):
        raise ValueError(f"{zone!r} is no time zone: write UTC, Europe/Berlin, or an offset such as +02:00")
    return zone


class SampleTime(Short):
    """The time of a sample, and what its numbers or its clock mean."""

    short = "column"

    column: Expression | None = Field(
        default=None,
        description="SQL expression of the time: a timestamp, ISO 8601 text, or a number in `unit`. Default: "
        "`time`; of files of a telemetry format what they have, also `local_time` (with `zone`) and "
        "`elapsed_ns`.",
    )
    unit: Unit | None = Field(
        default=None,
        description="Of a number: s, ms, us or ns. Default: by its magnitude, where all are times between "
        "1990 and 2100 in one of the units.",
    )
    zone: str | None = Field(
        default=None,
        description="Of times that say none: UTC, Europe/Berlin, or an offset such as +02:00.",
    )

    _known_zone = field_validator("zone")(_zone)


class Start(Short):
    """When a video begins, which is when presentation time 0 is, by the clock of the samples."""

    short = "from"

    from_: Literal["container", "file_name", "column", "first_sample", "table", "zero"] = Field(
        alias="from",
        description="`container`: the creation time of the file. `file_name`: out of its name, by `pattern`. "
        "`column`: an expression over the samples. `table`: a row of one of `tables`. `first_sample`: the "
        "first sample is at its time 0. `zero`: the times of samples count from the video's own.",
    )
    means: Literal["start", "end"] = Field(
        default="start",
        description="What that time is of: cameras write the start, or the end of a recording. To be said "
        "with `container`.",
    )
    zone: str | None = Field(
        default=None,
        description="Of a time that says none: UTC, Europe/Berlin, +02:00. Default for `container`: UTC, as "
        "its format says; cameras that write local time have a zone.",
    )
    pattern: str | None = Field(
        default=None,
        min_length=1,
        description="Of `file_name`: where in the name the time is. %Y %m %d %H %M %S are digits of a date, "
        "%f those of a fraction, %s seconds since 1970, ? is any character: NO%Y%m%d-%H%M%S.",
    )
    column: Expression | None = Field(
        default=None, description="Of `column` and `table`: SQL expression of the time."
    )
    unit: Unit | None = Field(default=None, description="Of a number: s, ms, us or ns.")
    table: str | None = Field(
        default=None, min_length=1, description="Of `table`: the name of one of `tables`."
    )
    video: Expression | None = Field(
        default=None,
        description="Of `table`: SQL expression of the video's path below `input`. Default: `video`.",
    )
    offset: Duration = Field(
        default="0s", description="What is added to the start: -2.5s where the video begins earlier."
    )

    _known_zone = field_validator("zone")(_zone)

    @field_validator("pattern")
    @classmethod
    def _date(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            pattern_regex(pattern)
        return pattern

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        given = {key for key in ("pattern", "column", "unit", "table", "video") if getattr(self, key)}
        takes: dict[str, set[str]] = {
            "file_name": {"pattern"},
            "column": {"column", "unit"},
            "table": {"table", "column", "unit", "video"},
        }
        own = takes.get(self.from_, set())
        if given - own:
            key = sorted(given - own)[0]
            owner = " and ".join(f"`{kind}`" for kind, keys in takes.items() if key in keys)
            raise ValueError(f"`{key}` is for {owner}, and this is from `{self.from_}`")
        lacking = next(
            (key for key in ("pattern", "table", "column") if key in own and key not in given), None
        )
        if lacking is not None:
            raise ValueError(f"from `{self.from_}` needs `{lacking}`: {_EXAMPLES[lacking]}")
        said = self.model_fields_set
        if self.from_ == "container" and "means" not in said:
            raise ValueError(
                "some cameras write when a recording began, others when it ended: say which, means: start or "
                "means: end"
            )
        if self.from_ == "file_name" and self.zone is None and "%s" not in (self.pattern or ""):
            raise ValueError("a time in a file name says no zone: write zone: UTC, zone: Europe/Berlin …")
        if self.from_ in ("first_sample", "zero") and ("means" in said or "zone" in said):
            key = "means" if "means" in said else "zone"
            raise ValueError(f"`{key}` has no meaning from `{self.from_}`: leave it out")
        return self


_EXAMPLES: Final = {
    "pattern": "NO%Y%m%d-%H%M%S",
    "table": "the name of one of `tables`",
    "column": "the expression of the time",
}


def pattern_regex(pattern: str) -> str:
    """The regular expression of a pattern, its groups named as the directives. Raises ValueError."""
    parts, seen, at = list[str](), set[str](), 0
    while at < len(pattern):
        mark = pattern[at]
        at += 1
        if mark == "%":
            name = pattern[at : at + 1]
            at += 1
            if name == "%":
                parts.append("%")
                continue
            if name not in DIRECTIVES:
                known = " ".join(f"%{one}" for one in DIRECTIVES)
                raise ValueError(f"%{name} is not known in a pattern: there are {known} and %%")
            if name in seen:
                raise ValueError(f"%{name} stands twice in the pattern")
            seen.add(name)
            parts.append(f"(?P<{name}>{DIRECTIVES[name]})")
        else:
            parts.append("." if mark == "?" else re.escape(mark))
    if not (seen >= set("YmdHM") or "s" in seen):
        raise ValueError(f"{pattern!r} gives no time: write %Y, %m, %d, %H and %M (and %S), or %s")
    if "s" in seen and seen - {"s", "f"}:
        raise ValueError("%s is a whole time by itself: leave the other parts out")
    return "".join(parts)


class Joined(Model):
    """A value of the samples, and what it is at the time of a frame."""

    linear: Expression | None = Field(
        default=None, description="SQL expression of a number: on the line between the samples around."
    )
    angular: Expression | None = Field(
        default=None,
        description="Of degrees: on the shortest way, over 0/360 as over ±180, as headings and longitudes.",
    )
    nearest: Expression | None = Field(
        default=None, description="Of any value: that of the nearest sample, of two the earlier."
    )
    previous: Expression | None = Field(
        default=None, description="Of any value: that of the last sample before, or at, the frame."
    )
    max_gap: Gap | None = Field(default=None, description="`max_gap` of this value alone.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [how for how in _HOWS if getattr(self, how) is not None]
        if len(given) != 1:
            which = " and ".join(f"`{how}`" for how in given) or "none of them"
            raise ValueError(f"should have one of {', '.join(f'`{how}`' for how in _HOWS)}, and has {which}")
        return self

    @property
    def how(self) -> How:
        """How it is joined."""
        return next(how for how in _HOWS if getattr(self, how) is not None)

    @property
    def text(self) -> str:
        """The expression."""
        text: str = getattr(self, self.how)
        return text


_HOWS: Final[tuple[How, ...]] = ("linear", "angular", "nearest", "previous")


def _value_kind(value: Any) -> str:
    return "[joined]" if isinstance(value, dict | Joined) else "[expression]"


#: A value of the mapping of a source: an expression; where rows are joined by time, how as well.
MappedValue = Annotated[
    Annotated[Expression, Tag("[expression]")] | Annotated[Joined, Tag("[joined]")],
    Discriminator(_value_kind),
]


class TimeJoin(ReaderKeys):
    """The keys of a source of samples, which are joined to the frames of videos by time."""

    telemetry: Samples | None = Field(
        default=None,
        description="Samples of sensors, which are joined to the frames of videos by time: files, {table}, "
        "or {query} ([time-join.md](sources/time-join.md)).",
    )
    video: Expression | None = Field(
        default=None,
        description="Of `telemetry`: SQL expression of the path, below `input`, of the video that a sample "
        "belongs to. Default: the video beside the file that has its name.",
    )
    time: SampleTime = Field(
        default=SampleTime(), description="Of `telemetry`: when a sample was taken: {column, unit, zone}."
    )
    start: Start | None = Field(
        default=None,
        description="Of `telemetry`: when a video begins by the clock of its samples: {from, means, zone, "
        "offset, …}. To be said: what containers and names tell differs from camera to camera.",
    )
    max_gap: Gap = Field(
        default="1s",
        description="Of `telemetry`: most time between the two samples around a frame, or from the sample "
        "whose value is taken to it. Beyond, the key is left out.",
    )


#: The keys that have a meaning for samples alone.
TIME_KEYS: Final = tuple(key for key in TimeJoin.model_fields if key not in READER_KEYS)


def check_time_join(source: TimeJoin, values: Mapping[str, str | Joined]) -> None:
    """Raises ValueError for keys of a source that do not fit together; `values` is its mapping."""
    given = source.model_fields_set
    if source.telemetry is None:
        fields = type(source).model_fields
        extra = next((key for key in TIME_KEYS if getattr(source, key) != fields[key].default), None)
        if extra is not None:
            raise ValueError(f"`{extra}` is for samples that are joined by time: name them by `telemetry`")
        joined = next((key for key, value in values.items() if isinstance(value, Joined)), None)
        if joined is not None:
            raise ValueError(
                f"metadata.{joined}: this way of joining is for samples that are joined by time, and this "
                "is a table: write the expression alone"
            )
        return
    for key, why in (
        ("file_name", "name the video of a sample with `video`"),
        ("match", "write the path of the video in `video`"),
        ("frame", "its samples find their frames by time"),
    ):
        if key in given:
            raise ValueError(f"`{key}` has no meaning for `telemetry`: {why}")
    if not values:
        raise ValueError(
            "say which values of the samples are taken, and how: metadata: {speed: {linear: speed}}"
        )
    plain = next((key for key, value in values.items() if not isinstance(value, Joined)), None)
    if plain is not None:
        raise ValueError(
            f"metadata.{plain}: say what it is between two samples: {{linear: {values[plain]}}}, angular, "
            "nearest or previous"
        )
    if source.start is None:
        raise ValueError(
            "say when a video begins by the clock of its samples: start: {from: container, means: start}, or "
            "from file_name, column, table, first_sample or zero"
        )
