"""The expressions of a source of samples, their form checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metaferry.errors import JobError
from metaferry.job.readers.time_join import Joined
from metaferry.job.sources import Source
from metaferry.lightly.key_paths import split_path
from metaferry.tables.expressions import Expression, parse_expression, parser
from metaferry.tables.faults import Collected
from metaferry.tables.files.folders import PATH
from metaferry.tables.mapping import Origins, nowhere
from metaferry.tables.staging import quote_ident

#: The columns that may have the time of a sample, where the job names none: as files of a telemetry format
#: have them, for an instant, for a clock without a zone, and for one without a date.
DEFAULT_TIMES = ("time", "local_time", "elapsed_ns")


@dataclass(frozen=True, slots=True)
class SampleMapping:
    """The expressions over samples. `video` None: the video beside the file; `time` None: see
    `DEFAULT_TIMES`; `start` is for a start from a column."""

    video: Expression | None
    time: Expression | None
    start: Expression | None
    where: Expression | None
    values: tuple[tuple[tuple[str, ...], Expression, Joined], ...]
    place: str

    @property
    def used(self) -> frozenset[str]:
        """The columns that any of them names, as `folded` gives them."""
        found = frozenset().union(*(expression.columns for _, expression, _ in self.values))
        for expression in (self.video, self.time, self.start, self.where):
            found |= expression.columns if expression is not None else frozenset()
        return found | (frozenset(DEFAULT_TIMES) if self.time is None else frozenset())

    def plain(self, column: str, place: str) -> Expression:
        """A column as an expression."""
        with parser() as con:
            return parse_expression(quote_ident(column), f"{self.place}.{place}", con)


def parse_samples(source: Source, place: str, origins: Origins = nowhere) -> SampleMapping:
    """The expressions of a source of samples. Raises JobError with all faults, below `place`."""
    faults = Collected()
    with parser() as con:

        def parsed(text: str | None, where: str) -> Expression | None:
            if text is None:
                return None
            try:
                return parse_expression(text, f"{place}.{where}", con, origins(where))
            except JobError as error:
                faults.add(error)
                return Expression(text, f"{place}.{where}")

        values = []
        for key, value in (source.metadata or {}).items():
            assert isinstance(value, Joined)  # the job has checked it
            expression = parsed(value.text, f"metadata.{key}.{value.how}")
            assert expression is not None
            gap = value if value.max_gap is not None else value.model_copy(update={"max_gap": source.max_gap})
            values.append((split_path(key), expression, gap))
        start = source.start.column if source.start is not None and source.start.from_ == "column" else None
        mapping = SampleMapping(
            video=parsed(source.video, "video"),
            time=parsed(source.time.column, "time.column"),
            start=parsed(start, "start.column"),
            where=parsed(source.where, "where"),
            values=tuple(values),
            place=place,
        )
    faults.raise_all()
    if mapping.video is None and (source.telemetry is None or not source.telemetry.url):
        raise JobError(
            "a table and a query have no file beside which a video could be",
            place=place,
            advice="write video: with the path of a sample's video below `input`",
        )
    return replace(mapping)


def is_path(mapping: SampleMapping) -> bool:
    """Whether the path of a file is asked for."""
    return mapping.video is not None and PATH in mapping.video.columns
