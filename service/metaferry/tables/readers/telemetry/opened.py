"""What formats of recordings have in common: samples into batches, notes, and a query to start from."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaferry.findings import Code
from metaferry.tables.readers.annotations.opened import OpenedFiles, Placed
from metaferry.tables.readers.contract import Facts, Note, Wanted
from metaferry.tables.readers.telemetry.columns import SAMPLES


@dataclass(slots=True)
class OpenedRecordings(OpenedFiles):
    """The base of `contract.Opened` of such formats."""

    notes: list[Note] = field(default_factory=list)

    def note(
        self,
        code: Code,
        message: str,
        advice: str = "",
        *,
        is_usual: bool = False,
        place: int | None = None,
    ) -> None:
        """Something to know of the file that is being read; `is_usual` where nobody has to look."""
        file = len(self.files)
        self.notes.append(Note(code, "info" if is_usual else "warning", message, advice, file, place))

    def note_cut(self, what: str) -> None:
        """The file ends before its end: what came before is used."""
        self.note(
            Code.SOURCE_CUT,
            f"the file {what}; the samples before that are used",
            "a device that lost its power leaves such files; otherwise upload it again",
        )

    def note_nowhere(self, count: int) -> None:
        """Samples whose position was left out."""
        if count:
            self.note(
                Code.TELEMETRY_NO_POSITION,
                f"{counted(count)} at latitude 0 and longitude 0, as devices write that know no position: "
                "both are left out",
                is_usual=True,
            )

    def note_invalid(self, count: int, why: str) -> None:
        """Samples that the device itself calls no samples."""
        if count:
            self.note(
                Code.TELEMETRY_NO_FIX,
                f"{counted(count)} that the device itself marks as invalid ({why}): left out",
                is_usual=True,
            )

    def needs(self) -> Wanted:
        """As `contract.Opened.needs`; not asked, since the rows are the records."""
        return {SAMPLES: None}

    def records(self, facts: Facts) -> str:
        """The same of `contract.Opened.records`."""
        return f"SELECT * FROM {SAMPLES}"


def counted(count: int) -> str:
    """So many samples, for people."""
    return "1 sample" if count == 1 else f"{count:,} samples"


def sample_of(place: int, size: int, values: dict[str, object]) -> Placed:
    """A row."""
    return Placed(SAMPLES, place, size, values)
