"""What a job keeps to take a run back: the value of `backup`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from pydantic import Field, field_validator

from metaferry.job.parts import Short

_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGE: Final = re.compile(r"([0-9]{1,5})\s*([hdw])")


class Backup(Short):
    """Old versions of documents, for `metaferry rollback`."""

    short = "keep"

    keep: str = Field(
        min_length=1,
        description="How long a backup is kept, from the start of its run: hours, days or weeks, `12h`, "
        "`30d`, `8w`. `keep_runs` has no say in it.",
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _age(cls, value: Any) -> Any:
        match = _AGE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or not int(match[1]):
            raise ValueError(f"should be hours, days or weeks, such as 12h, 30d or 8w, is {value!r}")
        return f"{int(match[1])}{match[2]}"

    @property
    def age(self) -> timedelta:
        """`keep` as a duration."""
        return int(self.keep[:-1]) * _UNITS[self.keep[-1]]
